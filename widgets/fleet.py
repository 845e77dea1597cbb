"""The fleet: each agent with its state, its health and what it uses. What is worst stands first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from ..core.model import AgentStatus, Health
from . import figures
from .live_table import Bars, Cell, Column, LiveTable
from .marks import HEALTH, agent_mark
from .spans import Line, Span
from .titles import counted
from .view import View

_URGENT = {Health.CRITICAL: 0, Health.WARNING: 1, Health.HEALTHY: 2}
_UNKNOWN = Span(figures.UNKNOWN, "muted")


class FleetPanel(LiveTable[AgentStatus]):
    """A row for each agent."""

    COLUMNS: ClassVar[Sequence[Column]] = (
        Column("  agent", 11, most=26),
        Column("stage", 8, most=14, drop=5),
        Column("state", 11, most=12),
        Column("health", 8, most=9),
        Column("cpu", 4, most=16, drop=4),
        Column("memory", 8, most=10, right=True, drop=3),
        Column("err%", 5, most=7, right=True, drop=2),
        Column("age", 3, right=True),
    )
    EMPTY: ClassVar[str] = "no agents yet: name them in rollcage.yml, or start one with rollcage run NAME -- CMD"

    def __init__(self, *, id: str = "fleet") -> None:  # noqa: A002 - Textual's word
        """Take the id."""
        super().__init__(id=id)
        self._view: View | None = None
        self._series: dict[tuple[str, str], Sequence[float]] = {}

    def pick(self, view: View) -> View:
        """See `Panel.pick`."""
        self._view = view
        self._series = {
            (series.agent, series.metric): series.values
            for series in view.board.series
            if series.metric in {"cpu", "memory_usage"}
        }
        self.show_items(sorted(view.board.agents, key=lambda status: _URGENT[status.health]))
        return replace(view, agent=self.key)

    def show(self, view: View) -> None:
        """See `Panel.show`."""

    def title(self) -> Line:
        """See `Panel.title`."""
        return counted("Fleet", self)

    def wanted(self) -> int:
        """See `Panel.wanted`."""
        return self.total() + 1

    def key_of(self, item: AgentStatus) -> str:
        """See `LiveTable.key_of`."""
        return item.name

    def cells_of(self, item: AgentStatus) -> Sequence[Cell]:
        """See `LiveTable.cells_of`."""
        health = HEALTH[item.health]
        cpu = self._series.get((item.name, "cpu"), ())
        memory = figures.size(item.memory)
        arrow = figures.trend(self._series.get((item.name, "memory_usage"), ())) if item.memory is not None else " "
        now = self._view.now if self._view else None
        return (
            (health.dot, Span(f" {item.name}", "strong" if item.health is Health.CRITICAL else "")),
            Span(item.stage or figures.UNKNOWN, "" if item.stage else "muted"),
            agent_mark(item).span,
            Span(health.word, health.style),
            _UNKNOWN if item.cpu is None else _cpu(item.cpu, cpu),
            Span(f"{memory}{arrow}", "" if item.memory is not None else "muted"),
            Span(figures.percent(item.error_rate), "" if item.error_rate is not None else "muted"),
            Span(figures.since(item.seen, now) if now else figures.UNKNOWN, "muted"),
        )


def _cpu(share: float, values: Sequence[float]) -> Cell:
    """Show a sparkline on the scale of one core, or the bare share where there is no history."""
    if len(values) < 2:
        return Span(f"{figures.percent(share, 0)} %")
    return Bars(values, 0.0, max(1.0, *values))
