"""Every metric with its recent course and its band; the worst stands first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from ..core.board import Series
from ..core.model import EVERYBODY
from . import figures
from .live_table import Bars, Cell, Column, LiveTable
from .marks import BAND
from .spans import Line, Span
from .titles import counted
from .view import Unpicking, View

_URGENT = {"critical": 0, "warning": 1, "raised": 2}
_OF_THE_PROCESS = frozenset({"cpu", "descriptors", "processes"})
"""These every agent has; what agents report themselves stands before them."""


class MetricsPanel(Unpicking, LiveTable[Series]):
    """A row for each metric of each agent, or of one agent."""

    COLUMNS: ClassVar[Sequence[Column]] = (
        Column("  metric", 12, most=26),
        Column("agent", 8, most=16, drop=2),
        Column("course", 8, most=32, drop=3),
        Column("now", 10, right=True),
        Column(" band", 9, drop=1),
    )
    EMPTY: ClassVar[str] = "no metrics yet: rollcage signal metric NAME VALUE reports one"

    def __init__(self, *, id: str = "metrics", agent: str | None = None) -> None:  # noqa: A002 - Textual's word
        """Take the id, and the agent whose metrics alone are shown."""
        super().__init__(id=id)
        self._agent = agent

    def show(self, view: View) -> None:
        """See `Panel.show`."""
        series = [item for item in view.board.series if self._agent is None or item.agent == self._agent]
        self.show_items(sorted(series, key=lambda item: (_URGENT.get(item.band, 3), item.metric in _OF_THE_PROCESS)))

    def title(self) -> Line:
        """See `Panel.title`."""
        return counted("Metrics", self)

    def wanted(self) -> int:
        """See `Panel.wanted`."""
        return self.total() + 1

    def key_of(self, item: Series) -> str:
        """See `LiveTable.key_of`."""
        return f"{item.agent}\n{item.metric}"

    def cells_of(self, item: Series) -> Sequence[Cell]:
        """See `LiveTable.cells_of`."""
        mark = BAND.get(item.band, BAND["normal"])
        newest = item.values[-1] if item.values else None
        return (
            (mark.dot, Span(f" {item.metric}")),
            Span(item.agent if item.agent != EVERYBODY else "all", "" if item.agent != EVERYBODY else "muted"),
            Bars(item.values),
            Span(figures.figure(newest, item.unit, item.metric)),
            Span(f" {mark.word}", mark.style),
        )
