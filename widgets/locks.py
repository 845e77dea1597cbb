"""Leases with their holders and who waits for them; a circle of waiters is shown above all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from ..core.model import Lease
from . import figures
from .live_table import Cell, Column, LiveTable
from .spans import Line, Span, cut_line
from .titles import counted
from .view import Unpicking, View


@dataclass(frozen=True, slots=True)
class _Row:
    key: str
    cells: tuple[Cell, ...]


def cycles(leases: Iterable[Lease]) -> list[tuple[str, ...]]:
    """Return the circles of waiting: agent, lease, agent, lease ... and the first agent again.

    A waiter waits for the holder; a circle of such waits never ends by itself.
    """
    held_by = {lease.name: lease.holder for lease in leases}
    waits: dict[str, list[str]] = {}
    for lease in leases:
        for waiter in lease.waiters:
            waits.setdefault(waiter.holder, []).append(lease.name)
    found: dict[frozenset[str], tuple[str, ...]] = {}
    done: set[str] = set()
    for start in waits:
        if start in done:
            continue
        path: list[str] = []  # agent, lease, agent, lease ...
        on_path: dict[str, int] = {}
        stack: list[tuple[str, int]] = [(start, 0)]
        while stack:
            agent, turn = stack.pop()
            if turn == 0:
                on_path[agent] = len(path)
                path.append(agent)
            names = waits.get(agent, [])
            if turn >= len(names):
                del path[on_path.pop(agent) :]
                if path:
                    path.pop()  # the lease that led here
                done.add(agent)
                continue
            stack.append((agent, turn + 1))
            name = names[turn]
            holder = held_by[name]
            if holder in on_path:
                circle = (*path[on_path[holder] :], name, holder)
                found.setdefault(frozenset(circle), circle)
            elif holder not in done:
                path.append(name)
                stack.append((holder, 0))
    return list(found.values())


def expiry(seconds: float) -> str:
    """Return when a lease ends, in steps: one that is renewed all the time keeps the screen still."""
    if seconds <= 0:
        return "over"
    for limit, text in ((5, "<5s"), (15, "<15s"), (60, "<1m")):
        if seconds < limit:
            return text
    return figures.age(seconds)


class LocksPanel(Unpicking, LiveTable[_Row]):
    """A row for each lease, and one for each circle of waiters."""

    COLUMNS: ClassVar[Sequence[Column]] = (
        Column("lease", 12, most=22),
        Column("holder", 9, most=18),
        Column("token", 7, right=True, drop=3),
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

    def show(self, view: View) -> None:
        """See `Panel.show`."""
        if self._read is None or view.board.leases is not self._leases:
            self._leases, self._read = view.board.leases, view.now
        passed = (view.now - self._read).total_seconds()
        circles = cycles(self._leases)
        self._circles = len(circles)
        rows = [_Row("\n".join(circle), (Span(f"▲ deadlock  {' → '.join(circle)}", "warning"),)) for circle in circles]
        self.show_items([*rows, *(_Row(lease.name, _cells(lease, passed)) for lease in self._leases)])

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


def _cells(lease: Lease, passed: float) -> tuple[Cell, ...]:
    ends = expiry(lease.expires_in_s - passed)
    return (
        Span(lease.name),
        Span(lease.holder or figures.UNKNOWN),
        Span(f"{lease.token:,}", "muted"),
        Span(ends, "warning" if ends == "over" else ""),
        Span(" ← " + ", ".join(waiter.holder for waiter in lease.waiters) if lease.waiters else "", "info"),
    )
