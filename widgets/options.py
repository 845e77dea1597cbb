"""The ways back, best first: what each takes back, its risk, and whether its rehearsal held."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar, cast

from textual.app import ComposeResult
from textual.geometry import NULL_OFFSET, NULL_SPACING, Region, Size
from textual.layout import ArrangeResult, Layout, WidgetPlacement
from textual.widget import Widget

from ..core.board import OptionView
from ..core.model import IncidentState, OptionType, Rehearsal
from . import figures
from .diff import numbers, totals
from .effects import Fact, option_facts
from .evidence import LABEL, labelled
from .line_view import LineView, TextLines
from .live_table import Cell, Column, LiveTable
from .marks import PASSED, RISK
from .spans import Line, Span, cut_line, line
from .titles import counted
from .view import View

_SETTLED = frozenset({IncidentState.ROLLING_BACK, IncidentState.RECOVERED, IncidentState.CLEARED})
"""Nothing is left to choose between."""


def subject(view: OptionView) -> str:
    """Return in a few words what an option takes back."""
    option, plan = view.option, view.plan
    added, removed = totals(plan.diff)
    size = f" {numbers(added, removed)}" if plan.diff else ""
    if option.type is OptionType.RESTART_ONLY:
        return f"restart {plan.agent or 'the agents'}"
    if option.type is OptionType.FILE_SELECTIVE:
        parts = plan.parts or option.affected_files
        return (parts[0] if len(parts) == 1 else figures.count(len(parts), "part")) + size
    if option.rehearsal.lost_commits:
        return f"loses {figures.count(len(option.rehearsal.lost_commits), 'commit')}{size}"
    if option.type is OptionType.BRANCH_RESET and plan.keeps:
        return f"makes {figures.count(len(plan.keeps), 'commit')} again{size}"
    commits = option.target_commits
    return (figures.short(commits[0]) if len(commits) == 1 else figures.count(len(commits), "commit")) + size


def held(rehearsal: Rehearsal) -> bool | None:
    """Return whether a rehearsal held: it applies and no check fails; None where a check has no verdict."""
    if not rehearsal.applies or any(check.passed is False for check in rehearsal.checks):
        return False
    return None if any(check.passed is None for check in rehearsal.checks) else True


class OptionsTable(LiveTable[OptionView]):
    """A row for each option of an incident."""

    COLUMNS: ClassVar[Sequence[Column]] = (
        Column("#", 1),
        Column("type", 16),
        Column("takes back", 10, most=40, drop=1),
        Column("risk", 8),
        Column("ok", 2),
        Column("takes", 5, right=True, drop=2),
    )
    EMPTY: ClassVar[str] = "no options yet"

    def key_of(self, item: OptionView) -> str:
        """See `LiveTable.key_of`."""
        return item.option.id

    def cells_of(self, item: OptionView) -> Sequence[Cell]:
        """See `LiveTable.cells_of`."""
        option = item.option
        return (
            Span(str(option.rank)),
            Span(option.type.value, "strong" if option.rank == 1 else ""),
            Span(subject(item)),
            Span(option.risk_level.value, RISK[option.risk_level]),
            PASSED[held(option.rehearsal)].dot,
            Span(figures.duration(option.estimated_recovery_time), "muted"),
        )


class _TableAndDetail(Layout):
    """Gives the detail at most half of the panel, and the table always its head and one row."""

    name = "table-and-detail"

    def arrange(self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True) -> ArrangeResult:
        panel = cast("OptionsPanel", parent)
        table, detail = panel.table, panel.detail
        rows = min(table.total() + 1, max(size.height - min(detail.total(), size.height // 2), 2))
        regions = {table: Region(0, 0, size.width, rows), detail: Region(0, rows, size.width, size.height - rows)}
        return [
            WidgetPlacement(region, NULL_OFFSET, NULL_SPACING, child)
            for child in children
            if isinstance(child, LineView) and (region := regions.get(child)) and region.height > 0
        ]


class OptionsPanel(Widget):
    """The options of the incident picked, and below them what the one under the cursor means."""

    DEFAULT_CSS = """
    OptionsPanel OptionsTable, OptionsPanel TextLines { width: 1fr; height: 1fr; }
    """

    def __init__(self, *, id: str = "options", always: bool = False) -> None:  # noqa: A002 - Textual's word
        """Take the id, and whether it is shown however long ago the incident ended."""
        super().__init__(id=id)
        self._always = always
        self.table = OptionsTable(id=f"{id}-table")
        self.detail = TextLines(id=f"{id}-detail")
        self._view: View | None = None
        self._split: tuple[int, int] = (0, 0)
        self._placing = _TableAndDetail()

    @property
    def layout(self) -> Layout:
        """See `Widget.layout`: always ours."""
        return self._placing

    def compose(self) -> ComposeResult:
        """Yield the table and the detail."""
        yield self.table
        yield self.detail

    def pick(self, view: View) -> View:
        """See `Panel.pick`."""
        picked = view.incident_view
        options = picked.options if picked else ()
        # An option of another incident, or one that is gone, must not hand its place in the list to a stranger.
        if all(item.option.id != self.table.key for item in options):
            self.table.reset()
        self.table.show_items(options)
        return replace(view, option=self.table.key)

    def show(self, view: View) -> None:
        """See `Panel.show`."""
        self._view = view
        self._draw()

    def on_resize(self) -> None:
        """Wrap for the new width."""
        self._draw()

    def _draw(self) -> None:
        view = self._view
        option = view.option_view if view else None
        if view is None or option is None:
            picked = view.incident_view if view else None
            text = picked.activity if picked else ""
            self.detail.show_lines([line(text, "info")] if text else [])
        else:
            self.detail.show_lines(list(option_lines(option, view, self.detail.cells or 40)))
        split = (self.table.total(), self.detail.total())
        if split != self._split:
            self._split = split
            self.refresh(layout=True)

    def title(self) -> Line:
        """See `Panel.title`."""
        picked = self._view.incident_view if self._view else None
        return counted("Options", self.table, about=f"for {picked.incident.id}" if picked else "")

    def wanted(self) -> int:
        """See `Panel.wanted`."""
        picked = self._view.incident_view if self._view else None
        if picked is None or (picked.incident.state in _SETTLED and not self._always):
            return 0
        if not (picked.options or picked.activity) or not (self._view and (self._view.recent or self._always)):
            return 0
        return self.table.total() + 1 + self.detail.total()


def checks_text(rehearsal: Rehearsal) -> tuple[str, str]:
    """Return what the checks said in a rehearsal, and its meaning."""
    if not rehearsal.checks:
        return "no check was run in the rehearsal", "warning"
    parts = []
    for check in rehearsal.checks:
        failing = f" ({figures.count(len(check.failing), 'test')})" if check.failing else ""
        parts.append(f"{check.name} {PASSED[check.passed].word}{failing}")
    passed = held(rehearsal)
    return ", ".join(parts), "" if passed else "warning" if passed is None else "critical"


def option_lines(view: OptionView, moment: View, cells: int) -> Iterator[Line]:
    """Yield what an option means, most telling first."""
    option, plan = view.option, view.plan
    incident = next((each for each in moment.board.incidents if each.incident.id == option.incident), None)
    facts = list(option_facts(view, incident.options if incident else ()))
    refused = [fact for fact in facts if fact.label in {"refused", "instead"}] if not option.rehearsal.applies else []
    yield from fact_lines(refused, cells)
    text, style = checks_text(option.rehearsal)
    yield from labelled("checks", text, cells, style)
    head = moment.board.head
    if plan.head and head and plan.head != head:
        yield from labelled("head", f"moved since {figures.short(plan.head)}: rehearsed again before it runs", cells)
    yield from fact_lines(facts[len(refused) :], cells, before_routine=risk_line(view, cells))
    decisions = incident.decisions if incident else ()
    for decision in decisions[-3:]:
        if decision.option == option.id:
            text = f"{decision.verdict.value} by {decision.by} {figures.clock(decision.at)} {decision.reason}".strip()
            yield from labelled("decided", text, cells, "info")


def risk_line(view: OptionView, cells: int) -> Line:
    """Return the risk of an option with the factors that count, the heaviest first."""
    option = view.option
    factors = sorted((each for each in option.risk_factors if each.points), key=lambda each: -each.points)
    level = Span(f"{option.risk_level.value} {option.risk_points}/10", RISK[option.risk_level])
    words = (Span(f"  {each.name.replace('_', ' ')} {each.points:+d}", "muted") for each in factors)
    return cut_line((Span("risk".ljust(LABEL), "muted"), level, *words), cells)


def fact_lines(facts: Sequence[Fact], cells: int, before_routine: Line | None = None) -> Iterator[Line]:
    """Yield facts, wrapped; ``before_routine`` comes before the first that always holds, or at the end."""
    for fact in facts:
        if before_routine is not None and fact.label == "besides":
            yield before_routine
            before_routine = None
        yield from labelled(fact.label, fact.text, cells, fact.style)
    if before_routine is not None:
        yield before_routine
