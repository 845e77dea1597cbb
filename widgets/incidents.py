"""Incidents, those that are open first, with how long they have been going on and what is being done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from ..core.board import IncidentView
from ..core.model import EVERYBODY
from . import figures
from .live_table import Cell, Column, LiveTable
from .marks import incident_mark, severity_mark
from .spans import Line, Span
from .titles import counted
from .view import View, is_open


class IncidentsPanel(LiveTable[IncidentView]):
    """A row for each incident."""

    COLUMNS: ClassVar[Sequence[Column]] = (
        Column("  id", 8, most=10),
        Column("agent", 8, most=14, drop=2),
        Column("what", 25, most=70),
        Column("state", 11, most=13, drop=1),
        Column("for", 3, right=True),
    )
    EMPTY: ClassVar[str] = "no incidents"

    def __init__(self, *, id: str = "incidents") -> None:  # noqa: A002 - Textual's word
        """Take the id."""
        super().__init__(id=id)
        self._view: View | None = None
        self._known: frozenset[str] = frozenset()

    def pick(self, view: View) -> View:
        """See `Panel.pick`. An incident that opens takes the cursor only from one that has ended."""
        self._view = view
        board = view.board
        opened = [item for item in board.incidents if is_open(item) and item.incident.id not in self._known]
        current = self.item
        self._known = frozenset(item.incident.id for item in board.incidents)
        self.show_items(board.incidents)
        picked = next((item for item in board.incidents if current and item.incident.id == current.incident.id), None)
        if opened and (picked is None or not is_open(picked)):
            self.move_to(opened[0].incident.id)
        return replace(view, incident=self.key)

    def show(self, view: View) -> None:
        """See `Panel.show`."""

    def title(self) -> Line:
        """See `Panel.title`."""
        title = counted("Incidents", self)
        waiting = self._view.board.needs_you if self._view else 0
        if waiting:
            return (*title, Span(f" ? {waiting} need you" if waiting > 1 else " ? 1 needs you", "warning"))
        return title

    def wanted(self) -> int:
        """See `Panel.wanted`."""
        return self.total() + 1

    def key_of(self, item: IncidentView) -> str:
        """See `LiveTable.key_of`."""
        return item.incident.id

    def cells_of(self, item: IncidentView) -> Sequence[Cell]:
        """See `LiveTable.cells_of`."""
        incident = item.incident
        mark = incident_mark(incident)
        quiet = "" if is_open(item) else "muted"
        now = self._view.now if self._view else incident.opened
        return (
            (severity_mark(incident.severity).dot if is_open(item) else mark.dot, Span(f" {incident.id}", quiet)),
            Span(incident.agent if incident.agent != EVERYBODY else "all", quiet),
            Span(incident.title, quiet),
            mark.span,
            Span(figures.since(incident.since if is_open(item) else incident.closed, now), "muted"),
        )
