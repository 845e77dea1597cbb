"""Leases with their holders and who waits for them; a circle of waiters is shown above all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import ClassVar

from ..core.board import Board
from ..core.model import Lease
from . import figures
from .live_table import Cell, Column, LiveTable
from .spans import Line, Span, cut_line
from .titles import counted
from .view import View

_TOKEN = 7
"""Cells of a token. Those of Redis have 16 digits, and the last ones tell them apart."""


@dataclass(frozen=True, slots=True)
class _Row:
    key: str
    cells: tuple[Cell, ...]


def expiry(seconds: float) -> str:
    """Return when a lease ends, in steps: one that is renewed all the time keeps the screen still."""
    if seconds <= 0:
        return "over"
    for limit, text in ((5, "<5s"), (15, "<15s"), (60, "<1m")):
        if seconds < limit:
            return text
    return figures.age(seconds)


def lock_key(lease: Lease) -> str:
    """Return what stays the same while the lease is held: of a semaphore there are several of one name."""
    return f"{lease.name}\n{lease.token}"


def find_lock(board: Board, key: str) -> Lease | None:
    """Return the lease that `lock_key` names so, if the board has it."""
    return next((lease for lease in board.leases if lock_key(lease) == key), None)


def find_circle(board: Board, key: str) -> tuple[str, ...]:
    """Return the circle of waiters whose row has that key; empty: the board does not have it."""
    return next((circle for circle in board.cycles if circle_key(circle) == key), ())


def circle_key(circle: tuple[str, ...]) -> str:
    """Return the key of a circle's row."""
    return "\n".join(circle)


class LocksPanel(LiveTable[_Row]):
    """A row for each lease, and one for each circle of waiters."""

    COLUMNS: ClassVar[Sequence[Column]] = (
        Column("lease", 12, most=22),
        Column("holder", 9, most=18),
        Column("token", _TOKEN, right=True, drop=3),
        Column("ends in", 8, right=True, drop=2),
        Column(" waiters", 11, most=40, drop=1),
    )
    EMPTY: ClassVar[str] = "no leases are held"

    def __init__(self, *, id: str = "locks") -> None:  # noqa: A002 - Textual's word
        """Take the id."""
        super().__init__(id=id)
        self._leases: tuple[Lease, ...] = ()
        self._read: datetime | None = None
        self._circles = 0

    def pick(self, view: View) -> View:
        """See `Panel.pick`."""
        self._fill(view)
        return replace(view, lock=self.key)

    def show(self, view: View) -> None:
        """See `Panel.show`."""

    def _fill(self, view: View) -> None:
        if self._read is None or view.board.leases is not self._leases:
            self._leases, self._read = view.board.leases, view.now
        passed = (view.now - self._read).total_seconds()
        circles = view.board.cycles
        self._circles = len(circles)
        rows = [_Row(circle_key(circle), (Span(f"▲ deadlock  {' → '.join(circle)}", "warning"),)) for circle in circles]
        self.show_items([*rows, *(_Row(lock_key(lease), _cells(lease, view.now, passed)) for lease in self._leases)])

    def title(self) -> Line:
        """See `Panel.title`."""
        title = counted("Locks", self, len(self._leases))
        if self._circles:
            return (*title, Span(f" ▲ {figures.count(self._circles, 'deadlock')}", "warning"))
        return title

    def wanted(self) -> int:
        """See `Panel.wanted`."""
        return self.total() + 1

    def make(self, index: int, cells: int) -> Line:
        """See `LineView.make`; a circle takes the whole row."""
        if self.items and len(self.items[index].cells) == 1:
            (cell,) = self.items[index].cells
            assert isinstance(cell, Span)
            return cut_line((cell,), cells)
        return super().make(index, cells)

    def key_of(self, item: _Row) -> str:
        """See `LiveTable.key_of`."""
        return item.key

    def cells_of(self, item: _Row) -> Sequence[Cell]:
        """See `LiveTable.cells_of`."""
        return item.cells


def _cells(lease: Lease, now: datetime, passed: float) -> tuple[Cell, ...]:
    ends, token = expiry(lease.expires_in_s - passed), str(lease.token)
    waits = [f"{waiter.holder} {figures.age((now - waiter.since).total_seconds())}" for waiter in lease.waiters]
    return (
        Span(f"{lease.name} ({lease.slots} of {lease.permits})" if lease.permits > 1 else lease.name),
        Span(lease.holder or figures.UNKNOWN),
        Span(token if len(token) <= _TOKEN else f"…{token[1 - _TOKEN :]}", "muted"),
        Span(ends, "warning" if ends == "over" else ""),
        Span(" ← " + ", ".join(waits) if waits else "", "info"),
    )
