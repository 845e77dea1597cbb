"""One incident in full: findings, diagnosis with its evidence, suspects, options, decisions, rollbacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from textual.geometry import Region, Size
from textual.widget import Widget

from ...core.model import Decision
from ...widgets import figures
from ...widgets.diff import DiffPanel
from ...widgets.evidence import EvidencePanel
from ...widgets.frame import Need, stack
from ...widgets.live_table import Cell, Column, LiveTable
from ...widgets.options import OptionsPanel
from ...widgets.phases import PhasesPanel
from ...widgets.spans import Line, Span
from ...widgets.titles import counted
from ...widgets.view import Unpicking, View
from .base import BoardScreen


class DecisionsPanel(Unpicking, LiveTable[Decision]):
    """Who decided what about an incident, newest last."""

    COLUMNS: ClassVar[Sequence[Column]] = (
        Column("time", 8),
        Column("verdict", 9),
        Column("option", 8, most=12),
        Column("by", 8, most=20),
        Column("why", 10, most=80, drop=1),
    )
    EMPTY: ClassVar[str] = "nothing is decided yet"

    def __init__(self) -> None:
        """Start empty."""
        super().__init__(id="decisions")

    def show(self, view: View) -> None:
        """See `Panel.show`."""
        picked = view.incident_view
        self.show_items(picked.decisions if picked else ())

    def title(self) -> Line:
        """See `Panel.title`."""
        return counted("Decisions", self)

    def wanted(self) -> int:
        """See `Panel.wanted`."""
        return self.total() + 1

    def key_of(self, item: Decision) -> str:
        """See `LiveTable.key_of`."""
        return str(item.id)

    def cells_of(self, item: Decision) -> Sequence[Cell]:
        """See `LiveTable.cells_of`."""
        waits = "" if item.taken else "waits for the engine"
        return (
            Span(figures.clock(item.at), "muted"),
            Span(item.verdict.value, "strong"),
            Span(item.option or figures.UNKNOWN),
            Span(item.by),
            Span("; ".join(part for part in (item.reason, waits) if part)),
        )


class IncidentScreen(BoardScreen):
    """Everything about one incident."""

    FIRST: ClassVar[str] = "options"

    def __init__(self, incident: str) -> None:
        """Take the incident's id."""
        self.incident = incident
        super().__init__()

    def make_panels(self) -> Iterable[Widget]:
        """See `BoardScreen.make_panels`."""
        return [
            EvidencePanel(always=True),
            OptionsPanel(always=True),
            PhasesPanel(always=True),
            DiffPanel(),
            DecisionsPanel(),
        ]

    def picked(self, view: View) -> View:
        """See `BoardScreen.picked`."""
        return replace(view, incident=self.incident)

    def boxes_for(self, size: Size, wants: Mapping[str, int]) -> dict[str, Region]:
        """See `BoardScreen.boxes_for`."""
        return arrange_incident(size, wants)


def arrange_incident(size: Size, wants: Mapping[str, int]) -> dict[str, Region]:
    """Return the boxes of an incident's screen."""
    least = {"evidence": (4, 5), "options": (3, 6), "phases": (3, 4), "diff": (4, 2), "decisions": (2, 1)}
    grow = {"evidence"} if size.width >= 100 or not wants.get("diff") else {"diff"}

    def needs(*panels: str, grows: str = "") -> list[Need]:
        return [
            Need(
                panel,
                min(least[panel][0], wants[panel]),
                wants[panel],
                least[panel][1],
                panel in grow or panel == grows,
            )
            for panel in panels
            if wants.get(panel)
        ]

    if size.width < 100:
        return stack(size.region, needs("evidence", "options", "phases", "decisions", "diff"))
    left = needs("evidence", "decisions")
    right = needs("options", "phases", "diff", grows="diff")
    if not right:
        return stack(size.region, left)
    middle = size.width // 2
    return stack(Region(0, 0, middle + 1, size.height), left) | stack(
        Region(middle, 0, size.width - middle, size.height), right
    )
