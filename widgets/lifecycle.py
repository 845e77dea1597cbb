"""The agents in the order in which they work, each with its state and what it waits for."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.model import AgentState, AgentStatus, Health, Hold
from . import figures, graph
from .line_view import TextLines
from .marks import HEALTH, agent_mark
from .spans import Line, Span, cut_line, line, line_width
from .view import Unpicking, View

NAME = 16
MOST_LISTED = 60
_RESTING = frozenset({AgentState.IDLE, AgentState.COMPLETED})


class LifecyclePanel(Unpicking, TextLines):
    """Draws the graph of the agents where it fits, else lists them."""

    def __init__(self, *, id: str = "lifecycle") -> None:  # noqa: A002 - Textual's word
        """Take the id."""
        super().__init__(id=id, focusable=True)
        self._view: View | None = None
        self._wanted = 1
        self._edges = 0

    def show(self, view: View) -> None:
        """See `Panel.show`."""
        self._view = view
        self._wanted = len(lifecycle_lines(view, self.cells or 60, 24))
        self._draw()

    def on_mount(self) -> None:
        """Draw once the size is known."""
        self._draw()

    def on_resize(self, event: object) -> None:
        """Draw for the new size."""
        self._draw()

    def _draw(self) -> None:
        if self._view is not None:
            height = self.size.height or self._wanted
            self.show_lines(lifecycle_lines(self._view, self.cells or 60, height))

    def title(self) -> Line:
        """See `Panel.title`."""
        return (Span("Lifecycle"),)

    def wanted(self) -> int:
        """See `Panel.wanted`."""
        return self._wanted


def lifecycle_lines(view: View, cells: int, height: int) -> list[Line]:
    """Return the graph in ``cells`` by ``height``, or a list of the agents where it does not fit or has a cycle."""
    agents = view.board.agents
    if not agents:
        return [line(cut_line(line("no agents yet"), cells)[0].text, "muted")]
    if len(agents) > graph.MOST_NODES:
        return _listed(view, cells)
    nodes = _nodes(view)
    cycle = graph.find_cycle(nodes)
    if cycle:
        warning = cut_line(line(f"▲ they wait for each other  {' → '.join(cycle)}", "warning"), cells)
        return [warning, *_listed(view, cells)]
    tight = [graph.Node(node.name, _tight(node.lines), node.after, node.layer) for node in nodes]
    short = [graph.Node(node.name, node.lines[:2], node.after, node.layer) for node in nodes]
    for shape in (nodes, tight, short):
        for gap in graph.GAPS:
            drawn = graph.draw(shape, cells, height, gap)
            if drawn is not None:
                return drawn
    return _listed(view, cells)


def _tight(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Return a node's lines with the last cut to the width of those above."""
    return (*lines[:2], cut_line(lines[2], max(line_width(line) for line in lines[:2])))


def _nodes(view: View) -> list[graph.Node]:
    order = [stage for stage in view.board.stage_order if any(a.stage == stage for a in view.board.agents)]
    names = {status.name for status in view.board.agents}
    nodes = []
    for status in view.board.agents:
        health = HEALTH[status.health]
        well = status.health is Health.HEALTHY
        name: Line = (Span(status.name, "strong") if well else Span(f"{health.glyph} {status.name}", health.style),)
        lines = graph.cut_node((name, (agent_mark(status).span,), line(_detail(status, view), "muted")), NAME)
        layer = order.index(status.stage) if status.stage in order else 0
        nodes.append(graph.Node(status.name, lines, tuple(n for n in status.depends_on if n in names), layer))
    return nodes


def _blockers(status: AgentStatus, agents: Sequence[AgentStatus]) -> list[str]:
    if not status.depends_on:
        return []
    done = {agent.name for agent in agents if agent.state is AgentState.COMPLETED}
    return [name for name in status.depends_on if name not in done]


def _detail(status: AgentStatus, view: View) -> str:
    blockers = _blockers(status, view.board.agents)
    if blockers and (status.hold is Hold.WAITING or status.state is AgentState.IDLE):
        return "for " + ", ".join(blockers)
    if status.since is None:
        return figures.UNKNOWN
    passed = figures.since(status.since, view.now)
    return f"{passed} ago" if status.state in _RESTING else f"for {passed}"


def _listed(view: View, cells: int) -> list[Line]:
    lines = []
    agents = view.board.agents
    for status in agents[:MOST_LISTED]:
        mark = agent_mark(status)
        after = f"after {', '.join(status.depends_on)}" if status.depends_on else ""
        spans = (
            Span(f"{status.name}  "),
            mark.span,
            Span(f"  {_detail(status, view)}", "muted"),
            Span(f"  {after}" if after else "", "muted"),
        )
        lines.append(cut_line(spans, cells))
    if len(agents) > MOST_LISTED:
        more = figures.count(len(agents) - MOST_LISTED, "more agent")
        lines.append(cut_line(line(f"and {more}: the fleet lists all", "muted"), cells))
    return lines
