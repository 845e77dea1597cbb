"""Where a series changed: a sudden shift, or a slope that began. Pure.

A shift is where the standardised Mann-Whitney statistic of what lies before and behind is greatest: ranks only, so that
a few wild values and any distribution do (A. Sen and M. Srivastava, On tests for detecting change in mean, 1975; as
used on ranks by D. M. Hawkins and Q. Deng, A nonparametric change-point control chart, J. Quality Technology 42,
2010). A slope begins at the knot of the least-squares line that is level first and then rises (D. V. Hinkley, Inference
in two-phase regression, JASA 66, 1971), on the medians of blocks. Whichever of the two shapes leaves less is believed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import sqrt
from statistics import median

SIGNIFICANT = 3.7
"""Beyond it is a change: measured on 200 series of 900 independent values without one, it was passed in 1.5 % of them.
Five values behind a change can reach it."""
BLOCKS = 120
"""A longer series is first made the medians of so many blocks, to find its shape."""
_SLOPE = 5
"""A slope has at least so many blocks; what is shorter is a shift."""
_CLEARLY = 0.7
"""What a slope leaves is below this share of what a shift leaves."""
_ROUNDS = 16


@dataclass(frozen=True, slots=True)
class Change:
    """Where a series became bad."""

    index: int
    """Of the first value behind it."""
    is_slope: bool
    """It has climbed from there; else it jumped."""


def find_change(times: Sequence[float], values: Sequence[float], *, falls: bool = False) -> Change | None:
    """Return the newest lasting change of ``values`` for the worse; ``None``: none is seen, or there are too few.

    ``times`` in seconds, in the order in which the values came; a step back of the clock counts as no time at all. Bad
    is upwards, or downwards with ``falls``.
    """
    up = [-value for value in values] if falls else list(values)
    if len(up) < 2 * _SLOPE:
        return None
    clock = _without_steps(times)
    start = 0
    for _ in range(_ROUNDS):
        change = _change(clock[start:], up[start:])
        if change is None:
            return None
        found = Change(start + change.index, change.is_slope)
        # Where it got better since, that was an earlier trouble: what counts lies behind.
        better = None if change.is_slope else shift([-value for value in up[found.index :]])
        if better is None:
            return found
        start = found.index + better
    return None


def shift(values: Sequence[float]) -> int | None:
    """Return the index of the first value behind the most significant shift upwards; ``None``: none is significant."""
    count = len(values)
    ordered = sorted(values)
    # Centred mid-ranks: their sum over the values behind a point is half the Mann-Whitney statistic, ties included.
    ranks = [bisect_left(ordered, value) + bisect_right(ordered, value) - count for value in values]
    best, index = 0.0, None
    for at, before in enumerate(accumulate(ranks[:-1]), 1):
        score = -before / 2 / sqrt(at * (count - at) * (count + 1) / 12)
        if score > best:
            best, index = score, at
    return _refined(values, index) if index is not None and best > SIGNIFICANT else None


def _refined(values: Sequence[float], index: int) -> int:
    """Return ``index``, moved past the values beside it that are nearer to the other side's median."""
    before, behind = median(values[:index]), median(values[index:])
    middle = (before + behind) / 2
    while index < len(values) - 1 and values[index] < middle:
        index += 1
    while index > 1 and values[index - 1] > middle:
        index -= 1
    return index


def _change(times: Sequence[float], up: Sequence[float]) -> Change | None:
    jump = shift(up)
    if jump is None:
        return None
    size = -(-len(up) // BLOCKS)
    starts = range(0, len(up), size)
    levels = [median(up[at : at + size]) for at in starts]
    knot, left = _knot([times[at] for at in starts], levels)
    if knot is None or len(levels) - knot < _SLOPE or left > _CLEARLY * _left_of_shift(levels):
        return Change(jump, is_slope=False)
    return Change(starts[knot], is_slope=True)


def _knot(times: Sequence[float], values: Sequence[float]) -> tuple[int | None, float]:
    """Return where the best line, level up to there and rising behind, has its knot, and the squares that it leaves."""
    best, index = float("inf"), None
    middle = sum(values) / len(values)
    total = sum((value - middle) ** 2 for value in values)
    for knot in range(len(values) - 2):
        rise = [max(0.0, time - times[knot]) for time in times]
        mean = sum(rise) / len(rise)
        spread = sum((each - mean) ** 2 for each in rise)
        together = sum((each - mean) * value for each, value in zip(rise, values, strict=True))
        if spread <= 0 or together <= 0:
            continue
        left = total - together**2 / spread
        if left < best:
            best, index = left, knot
    return index, best


def _left_of_shift(values: Sequence[float]) -> float:
    """Return the squares that the best two levels leave."""
    sums = [0.0, *accumulate(values)]
    count, whole = len(values), sums[-1]
    squares = sum(value * value for value in values)
    explained = max(sums[at] ** 2 / at + (whole - sums[at]) ** 2 / (count - at) for at in range(1, count))
    return squares - explained


def _without_steps(times: Sequence[float]) -> list[float]:
    """Return seconds from the first on, the steps back of a clock left out."""
    return list(accumulate((max(0.0, later - earlier) for earlier, later in pairwise(times)), initial=0.0))
