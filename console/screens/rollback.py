"""A rollback while it runs, and how it ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import ClassVar

from textual.geometry import Region, Size
from textual.widget import Widget

from ...widgets import figures
from ...widgets.events import EventsPanel
from ...widgets.frame import Need, stack
from ...widgets.line_view import TextLines
from ...widgets.marks import STEP
from ...widgets.phases import PhasesPanel
from ...widgets.spans import Line, Span, cut_line, line
from ...widgets.view import Unpicking, View, find_rollback
from .base import BoardScreen


class StepsPanel(Unpicking, TextLines):
    """Every step of the journal with its time and what it noted."""

    def __init__(self, rollback: str) -> None:
        """Take the rollback's id."""
        super().__init__(id="steps", focusable=True)
        self._rollback = rollback

    def show(self, view: View) -> None:
        """See `Panel.show`."""
        found = find_rollback(view.board, self._rollback)
        lines: list[Line] = []
        for step in found.steps if found else ():
            mark = STEP[step.state]
            took = figures.took(step.started, step.ended) if step.ended else ""
            row = (
                Span(f"{step.number:>3}  ", "muted"),
                Span(f"{figures.clock(step.started):>8}  ", "muted"),
                Span(f"{mark.glyph} {mark.word:<7}  ", mark.style),
                Span(f"{took:>7}  ", "muted"),
                Span(" ".join(part for part in (step.name.replace("_", " "), step.subject) if part)),
                Span(f"  {step.note}" if step.note else "", mark.style),
            )
            lines.append(cut_line(row, max(self.cells, 40)))
        self.show_lines(lines or [line("no step is in the journal yet", "muted")])

    def title(self) -> Line:
        """See `Panel.title`."""
        return (Span("Journal"),)

    def wanted(self) -> int:
        """See `Panel.wanted`."""
        return self.total()


class RollbackScreen(BoardScreen):
    """One rollback: phases, journal, events."""

    FIRST: ClassVar[str] = "phases"

    def __init__(self, rollback: str) -> None:
        """Take the rollback's id."""
        self.rollback = rollback
        super().__init__()

    def make_panels(self) -> Iterable[Widget]:
        """See `BoardScreen.make_panels`."""
        return [PhasesPanel(rollback=self.rollback), StepsPanel(self.rollback), EventsPanel()]

    def picked(self, view: View) -> View:
        """See `BoardScreen.picked`."""
        found = find_rollback(view.board, self.rollback)
        incident = found.rollback.incident if found else view.incident
        return replace(view, rollback=self.rollback, incident=incident)

    def boxes_for(self, size: Size, wants: Mapping[str, int]) -> dict[str, Region]:
        """See `BoardScreen.boxes_for`."""
        return stack(
            size.region,
            [
                Need("phases", min(5, wants["phases"] or 1), wants["phases"], 3),
                Need("steps", min(3, wants["steps"]), wants["steps"], 2),
                Need("events", 3, 10, 1, grow=True),
            ],
        )
