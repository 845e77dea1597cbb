"""One agent in full: what it is, what it uses, how its states followed each other, what went wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import ClassVar

from textual.geometry import Region, Size
from textual.widget import Widget

from ...core.model import AgentStatus
from ...widgets import figures
from ...widgets.evidence import labelled
from ...widgets.frame import Need, stack
from ...widgets.line_view import TextLines
from ...widgets.marks import HEALTH, agent_mark, incident_mark, state_mark
from ...widgets.metrics import MetricsPanel
from ...widgets.spans import Line, Span, cut_line, line
from ...widgets.view import Unpicking, View
from .base import BoardScreen

LABEL = 13


class AgentPanel(Unpicking, TextLines):
    """What is known of an agent."""

    def __init__(self, agent: str) -> None:
        """Take the agent's name."""
        super().__init__(id="agent", focusable=True)
        self._agent = agent

    def show(self, view: View) -> None:
        """See `Panel.show`."""
        status = next((status for status in view.board.agents if status.name == self._agent), None)
        cells = max(self.cells, 30)
        if status is None:
            self.show_lines([line(f"{self._agent} is not in the fleet any more", "muted")])
        else:
            self.show_lines(agent_lines(status, view, cells))

    def title(self) -> Line:
        """See `Panel.title`."""
        return (Span(f"Agent {self._agent}"),)

    def wanted(self) -> int:
        """See `Panel.wanted`."""
        return self.total()


def agent_lines(status: AgentStatus, view: View, cells: int) -> list[Line]:
    """Return an agent's facts, states and incidents."""
    mark, health = agent_mark(status), HEALTH[status.health]
    lines: list[Line] = [
        (Span("now".ljust(LABEL), "muted"), mark.span, Span("   "), Span(f"{health.glyph} {health.word}", health.style))
    ]
    state = state_mark(status.state)
    held = f", held: {status.hold.value}" if status.hold.value != "none" else ""
    since = f", since {figures.day_and_clock(status.since, view.now)}" if status.since else ""
    lines += labelled("state", f"{state.word}{held}{since}", cells, indent=LABEL)
    for label, value in (
        ("stage", status.stage),
        ("kind", status.kind),
        ("competition", status.competition),
        ("process", str(status.pid) if status.pid else ""),
        ("after", ", ".join(status.depends_on)),
        ("heard", f"{figures.since(status.seen, view.now)} ago" if status.seen else ""),
        ("files", figures.count(status.descriptors, "open descriptor") if status.descriptors is not None else ""),
    ):
        lines += labelled(label, value or figures.UNKNOWN, cells, indent=LABEL)
    lines.append(())
    lines.append(line("states, newest first", "heading"))
    for at, before, after in reversed(view.board.transitions.get(status.name, ())):
        text = f"{figures.day_and_clock(at, view.now)}  {before} → {after}"
        lines.append(cut_line(line(text), cells))
    lines.append(())
    lines.append(line("incidents", "heading"))
    found = [item.incident for item in view.board.incidents if item.incident.agent == status.name]
    for incident in found:
        span = incident_mark(incident).span
        lines.append(cut_line((Span(f"{incident.id}  "), span, Span(f"  {incident.title}")), cells))
    if not found:
        lines.append(line("none", "muted"))
    return lines


class AgentScreen(BoardScreen):
    """Everything about one agent."""

    FIRST: ClassVar[str] = "metrics"

    def __init__(self, agent: str) -> None:
        """Take the agent's name."""
        self.agent = agent
        super().__init__()

    def make_panels(self) -> Iterable[Widget]:
        """See `BoardScreen.make_panels`."""
        return [AgentPanel(self.agent), MetricsPanel(agent=self.agent)]

    def picked(self, view: View) -> View:
        """See `BoardScreen.picked`."""
        return replace(view, agent=self.agent)

    def boxes_for(self, size: Size, wants: Mapping[str, int]) -> dict[str, Region]:
        """See `BoardScreen.boxes_for`."""
        if size.width < 110:
            return stack(
                size.region,
                [Need("agent", 4, wants["agent"], 1), Need("metrics", 3, wants["metrics"], 2, grow=True)],
            )
        middle = size.width * 2 // 5
        return {
            "agent": Region(0, 0, middle + 1, size.height),
            "metrics": Region(middle, 0, size.width - middle, size.height),
        }
