"""When a request may be sent so that no window of time has more than its limit: pure, over cells of time.

A window is counted in cells: a minute in those of 1 s, an hour in those of 60 s. It may begin within a cell, so that it
touches one cell more than it has; all of them are counted. So there is never too much in any window, and in the worst
case one cell in sixty goes unused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

SECOND, MINUTE = 1, 60
"""The widths of cells, in seconds."""
CELLS = 60
"""Of a window, besides the one that it begins in."""


@dataclass(frozen=True, slots=True)
class Window:
    """A limit in ``CELLS`` times ``width`` seconds, and what a request takes of it."""

    width: int
    used: Mapping[int, int]
    """By cell what was sent, or is booked; cells are counted from the beginning of the clock."""
    amount: int
    """What is larger than the limit itself would never fit: it counts as one that fills it."""
    limit: int


def earliest(at: float, windows: Iterable[Window]) -> float:
    """Return the first moment from ``at`` on, in seconds, at which all windows have room."""
    windows, settled = [window for window in windows if window.amount], False
    while not settled:  # a later moment for one window may be none for another
        settled = True
        for window in windows:
            cell = _free_cell(window, int(at // window.width))
            if cell * window.width > at:
                at, settled = float(cell * window.width), False
    return at


def _free_cell(window: Window, first: int) -> int:
    amount = min(window.amount, window.limit)
    near = {cell: spent for cell, spent in window.used.items() if cell >= first - CELLS}
    if sum(near.values()) + amount <= window.limit:
        return first
    last = max(near)
    for cell in range(first, last + CELLS + 1):
        # What was booked behind it can make a window that ends later fuller than the one that ends here.
        ends = [cell, *(end for end in near if cell < end <= cell + CELLS)]
        if all(_sum(near, end) + amount <= window.limit for end in ends):
            return cell
    return last + CELLS + 1


def _sum(used: Mapping[int, int], end: int) -> int:
    return sum(used.get(cell, 0) for cell in range(end - CELLS, end + 1))
