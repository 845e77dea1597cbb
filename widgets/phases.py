"""A rollback being carried out, phase by phase: what is done, what is being done, what is to come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..core.board import RollbackView
from ..core.model import PlanStep, RollbackState, Step, StepState
from . import figures
from .evidence import labelled
from .line_view import TextLines
from .marks import ROLLBACK, STEP
from .options import subject
from .remarks import remarks
from .spans import Line, Span, both_ends, cut_line, line, line_width
from .view import Unpicking, View, find_option

PHASES = {1: "make safe", 2: "analyse", 3: "roll back", 4: "verify"}
LABEL = 14


@dataclass(frozen=True, slots=True)
class _Part:
    phase: int
    text: str
    state: StepState
    seconds: str
    remarks: tuple[str, ...] = ()


def _words(name: str, subject_of: str) -> str:
    return " ".join(part for part in (name.replace("_", " "), subject_of) if part)


def parts_of(steps: Sequence[Step], planned: Sequence[PlanStep]) -> list[_Part]:
    """Return the steps of the journal, and those of the plan that are not in it yet."""
    parts = [
        _Part(
            step.phase,
            _words(step.name, step.subject),
            step.state,
            figures.took(step.started, step.ended) if step.ended else "",
            tuple(remarks(step)),
        )
        for step in steps
    ]
    parts += [
        _Part(step.phase, _words(step.name, step.subject), StepState.PENDING, "") for step in planned[len(steps) :]
    ]
    return parts


def phase_lines(view: RollbackView, moment: View, cells: int) -> Iterator[Line]:
    """Yield a rollback: its head, its phases with their steps, and how it ended."""
    rollback = view.rollback
    found = find_option(moment.board, rollback.option)
    what = f"{found[1].option.type.value} {subject(found[1])}" if found else ""
    verb = "" if rollback.kind == "rollback" else f"{rollback.kind} of {rollback.of or figures.UNKNOWN}"
    running = rollback.state is RollbackState.RUNNING
    passed = (moment.now - rollback.started).total_seconds() if running else None
    clock = figures.duration(passed) if running else figures.took(rollback.started, rollback.ended)
    about = f" of about {figures.duration(found[1].option.estimated_recovery_time)}" if found and running else ""
    title = "  ".join(part for part in (verb, what) if part) or rollback.id
    yield both_ends(line(title, "strong"), (Span(f"{clock}{about}", "info" if running else "muted"),), cells)
    parts = parts_of(view.steps, found[1].plan.steps if found and running and rollback.kind == "rollback" else ())
    for phase in sorted({part.phase for part in parts}):
        yield from _phase(phase, [part for part in parts if part.phase == phase], cells)
    for part in parts:
        for remark in part.remarks:
            style = "" if part.state is StepState.DONE else STEP[part.state].style
            yield from labelled("", f"{part.text}: {remark}", cells, style)
    if not running:
        yield from _end(view, cells)


def _phase(phase: int, parts: Sequence[_Part], cells: int) -> Iterator[Line]:
    """Yield one phase; its steps wrap between steps, never within one."""
    states = {part.state for part in parts}
    style = "strong" if StepState.DOING in states else "critical" if StepState.FAILED in states else ""
    spans: list[Span] = [Span(f"{phase} {PHASES.get(phase, '')}".ljust(LABEL), style)]
    used = LABEL
    for part in parts:
        mark = STEP[part.state]
        shown = (
            Span(f"{mark.glyph} ", mark.style),
            Span(part.text, "muted" if part.state is StepState.PENDING else ""),
            Span(f" {part.seconds}" if part.seconds else "", "muted"),
        )
        needed = line_width(shown) + (3 if used > LABEL else 0)
        if used > LABEL and used + needed > cells:
            yield cut_line(tuple(spans), cells)
            spans, used = [Span(" " * LABEL)], LABEL
            needed -= 3
        elif used > LABEL:
            spans.append(Span("   "))
        spans += shown
        used += needed
    yield cut_line(tuple(spans), cells)


def _end(view: RollbackView, cells: int) -> Iterator[Line]:
    rollback = view.rollback
    mark = ROLLBACK[rollback.state]
    head = f"{figures.short(rollback.head_before)} → {figures.short(rollback.head_after)}"
    moved = head if rollback.head_after and rollback.head_after != rollback.head_before else "the branch is not moved"
    yield cut_line((mark.span, Span(f"   {moved}"), Span(f"   approved by {rollback.approved_by}", "muted")), cells)
    if rollback.standby_s:
        text = f"   others stood by for {figures.duration(rollback.standby_s)}"
        yield cut_line((Span(text.strip(), "muted"),), cells)
    if rollback.note:
        yield from labelled("note", rollback.note, cells)


class PhasesPanel(Unpicking, TextLines):
    """The rollback that runs, or the newest of the incident picked."""

    def __init__(
        self,
        *,
        id: str = "phases",  # noqa: A002 - Textual's word
        rollback: str = "",
        always: bool = False,
    ) -> None:
        """Take the id, the rollback to show whatever is picked, and whether to show one however long ago it ended."""
        super().__init__(id=id, focusable=True)
        self._always = always
        self._rollback = rollback
        self._view: View | None = None

    @property
    def shown_view(self) -> RollbackView | None:
        """The rollback shown now."""
        if self._view is None:
            return None
        if self._rollback:
            return next((v for v in self._view.board.rollbacks if v.rollback.id == self._rollback), None)
        return self._view.rollback_view

    def show(self, view: View) -> None:
        """See `Panel.show`."""
        self._view = view
        self._draw()

    def on_resize(self, event: object) -> None:
        """Wrap for the new width."""
        self._draw()

    def _draw(self) -> None:
        shown = self.shown_view
        if self._view is None or shown is None:
            self.show_lines([line("nothing was rolled back", "muted")])
        else:
            self.show_lines(list(phase_lines(shown, self._view, self.cells or 60)))

    def title(self) -> Line:
        """See `Panel.title`."""
        shown = self.shown_view
        if shown is None:
            return (Span("Rollback"),)
        mark = ROLLBACK[shown.rollback.state]
        return (Span(f"Rollback {shown.rollback.id} "), Span(f"{mark.glyph} {mark.word}"))

    def wanted(self) -> int:
        """See `Panel.wanted`: it has something to say while a rollback runs, and of an incident that had one."""
        view, shown = self._view, self.shown_view
        if view is None or shown is None:
            return 0
        picked = view.incident_view
        if shown.rollback.state is RollbackState.RUNNING or self._rollback:
            return self.total()
        if picked and picked.rollbacks and (view.recent or self._always):
            return self.total()
        return 0
