"""The approval: why, what changes, what is lost, what was checked, and the diff, before one key runs it.

The default answer is Cancel. HIGH asks for a second key, CRITICAL for the words that say what is lost. What is
approved is the plan that was shown: where it changes meanwhile, nothing can be approved until it was looked at again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Input

from ...core.board import IncidentView, OptionView
from ...core.model import OptionType, RiskLevel
from ...widgets import figures
from ...widgets.choices import Choice, ChoiceBar
from ...widgets.diff import DiffView, diff_summary
from ...widgets.effects import listed, option_facts
from ...widgets.evidence import labelled
from ...widgets.line_view import TextLines
from ...widgets.marks import PASSED, RISK
from ...widgets.options import fact_lines, subject
from ...widgets.spans import Line, Span, both_ends, line, line_width
from ...widgets.view import View, find_option
from ..actions import BY_ID, Selection, key_name, reason_against
from .dialog import Dialog

SURE_KEY = "Y"
_FIRST = frozenset({"refused", "instead", "loses", "database", "rewrites", ""})
"""Facts that stand before what the checks said."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the operator answered: ``approve``, ``edit`` or ``reject``, and the words typed for a CRITICAL one."""

    choice: str
    confirm: str = ""


def approval_lines(incident: IncidentView, view: OptionView, moment: View, cells: int) -> Iterator[Line]:
    """Yield what an operator must know before approving, most telling first."""
    option, plan, rehearsal = view.option, view.plan, view.option.rehearsal
    risk = Span(f"risk {option.risk_level.value} {option.risk_points}/10", RISK[option.risk_level])
    yield both_ends((Span(option.type.value, "strong"), Span(f"  {_takes_back(incident, view)}")), (risk,), cells)
    for place, text in enumerate(_why(incident)):
        yield from labelled("" if place else "why", text, cells)
    changes = diff_summary(plan.diff) if plan.diff else "no code"
    yield from labelled("changes", f"{changes} · {_agents(view)}", cells)
    facts = list(option_facts(view, incident.options, most=10))
    first = next((place for place, fact in enumerate(facts) if fact.label not in _FIRST), len(facts))
    yield from fact_lines(facts[:first], cells)
    for place, check in enumerate(rehearsal.checks):
        mark = PASSED[check.passed]
        took = f"{figures.count(check.runs, 'run')}, {figures.duration(check.duration_s)}"
        failing = f": {', '.join(check.failing)}" if check.failing else ""
        label = "" if place else "checked"
        yield from labelled(label, f"{mark.glyph} {check.name} {mark.word} ({took}){failing}", cells, mark.style)
    if not rehearsal.checks:
        yield from labelled("checked", "no check was run in the rehearsal", cells, "warning")
    yield from fact_lines([fact for fact in facts[first:] if fact.style != "muted"], cells)
    head = moment.board.head
    if plan.head and plan.head == head:
        yield from labelled("valid", f"the branch is still at {figures.short(head)}, as rehearsed", cells)
    elif plan.head:
        text = f"{plan.branch} moved {figures.short(plan.head)} → {figures.short(head)} since: "
        yield from labelled("valid", f"{text}the plan is rehearsed again, and runs if its effect is the same", cells)
    for place, factor in enumerate(factor for factor in option.risk_factors if factor.points):
        text = f"{factor.points:+d} {factor.name} {factor.value}: {factor.why}"
        yield from labelled("" if place else "risk", text, cells)
    if always := "; ".join(fact.text for fact in facts if fact.style == "muted"):
        yield from labelled("always", always, cells, "muted")


def _takes_back(incident: IncidentView, view: OptionView) -> str:
    """Say in words what the option takes back, naming the commit and whose it was where there is one."""
    commits = view.option.target_commits
    suspects = incident.diagnosis.suspects if incident.diagnosis else ()
    known = [suspect for suspect in suspects if suspect.sha in commits]
    part = "part of " if view.option.type is OptionType.FILE_SELECTIVE else ""
    if len(commits) == 1 and known:
        summary = f' "{known[0].summary}"' if known[0].summary else ""
        when = f", {figures.clock(known[0].at)}" if known[0].at else ""
        return f"takes back {part}{figures.short(commits[0])}{summary} ({known[0].agent or 'nobody known'}{when})"
    if len(commits) == len(known) > 1:
        named = [f"{figures.short(each.sha)} ({each.agent or 'nobody known'})" for each in known]
        return f"takes back {part}{listed(named, 3, 'commit')}"
    return subject(view)


def _why(incident: IncidentView) -> Iterator[str]:
    """Yield the evidence against the culprits; where there are several, the best against each."""
    diagnosis = incident.diagnosis
    culprits = diagnosis.culprits if diagnosis else ()
    if len(culprits) > 1:
        yield from (f"{figures.short(each.sha)} {each.evidence[0]}" for each in culprits if each.evidence)
    elif diagnosis is None or not culprits or not culprits[0].evidence:
        yield (diagnosis.root_cause if diagnosis else "") or incident.incident.title
    else:
        yield "; ".join(culprits[0].evidence)


def _agents(view: OptionView) -> str:
    again = [step.subject for step in view.plan.steps if step.name == "restart_agent" and step.subject]
    others = any(step.name == "resume_others" for step in view.plan.steps)
    verb = "restarts" if len(again) == 1 else "restart"
    parts = [f"{', '.join(again)} {verb}" if again else "", "the others resume" if others else ""]
    return "agents: " + (", ".join(part for part in parts if part) or "nothing")


class ApprovalScreen(Dialog[Answer]):
    """Shows one option as it is now, and takes the answer to exactly that."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "scroll(-1)", show=False),
        Binding("down", "scroll(1)", show=False),
        Binding("pageup", "scroll(-10)", show=False),
        Binding("pagedown", "scroll(10)", show=False),
    ]

    def __init__(self, option: str, view: View, operator: str, keys: dict[str, str], *, read_only: bool) -> None:
        """Take the option, the moment, who approves, and the keys of the actions."""
        found = find_option(view.board, option)
        incident = found[0].incident.id if found else ""
        super().__init__(f"Approve {option} of {incident}?")
        self._option, self._keys, self._read_only = option, keys, read_only
        self._seen = found
        self._view = view
        self.plan_hash = found[1].plan.plan_hash if found else ""
        self._note = f"plan {self.plan_hash[:8] or figures.UNKNOWN}   operator {operator or figures.UNKNOWN}"
        self._reason = ""
        self._sure = False

    def parts(self) -> Iterable[Widget]:
        """See `Dialog.parts`."""
        self._facts = TextLines(id="facts", focusable=True)
        self._diff = DiffView(id="approval-diff")
        self._state = TextLines(id="state")
        self._entry = Input(id="confirm", compact=True)
        self._entry.cursor_blink = False
        self._entry.display = False
        self._choices = ChoiceBar(self._answers())
        return [self._facts, self._diff, self._state, self._entry, self._choices]

    def on_mount(self) -> None:
        """Show the plan with Cancel in focus."""
        self.show(self._view)
        self._choices.focus()

    def on_resize(self) -> None:
        """Wrap for the new width."""
        self.call_after_refresh(self._fill)

    def show(self, view: View) -> None:
        """Take in a new moment: the answer counts only for the plan that was shown first."""
        self._view = view
        found = find_option(view.board, self._option)
        selection = Selection(option=self._option, read_only=self._read_only)
        if found is None or self._seen is None:
            self._reason = f"{self._option} is gone: its incident was diagnosed anew"
        elif found[1].plan.plan_hash != self.plan_hash:
            self._reason = "the plan has changed since this was opened: close it and look at the new one"
        else:
            self._seen = found
            self._reason = reason_against(BY_ID["approve"], view.board, selection) or ""
        if self._reason:
            self._sure = False
            self._entry.display = False
        self._fill()

    def _fill(self) -> None:
        if self._seen is None or not self.is_attached:
            return
        cells = max(self._facts.cells or self.app.size.width - 8, 30)
        lines = list(approval_lines(*self._seen, self._view, cells))
        room = max(self.app.size.height - 7, 3)
        diff = self._seen[1].plan.diff
        facts = min(len(lines), room if not diff else max(room * 3 // 5, room - 30))
        self._facts.styles.height = facts
        self._facts.show_lines(lines)
        self._diff.display = bool(diff)
        self._diff.show_diff(diff)
        self._diff.styles.height = max(min(self._diff.total(), room - facts - 1), 1)
        note: Line = (Span(self._note, "muted"),)
        state = self._state_line()  # what is to be typed is never cut for the note
        fits = line_width(state) + line_width(note) < cells
        self._state.show_lines([both_ends(state, note, cells) if fits else state])
        self._choices.show_choices(self._answers())

    def _state_line(self) -> Line:
        level = self._seen[1].option.risk_level if self._seen else None
        if self._reason:
            return (Span("▲ cannot be approved: ", "warning"), Span(self._reason, "warning"))
        if self._sure and level is RiskLevel.HIGH:
            return (Span(f"risk HIGH: {SURE_KEY} runs it, any other key goes back", "warning"),)
        if self._sure and level is RiskLevel.CRITICAL:
            return (Span("risk CRITICAL: type  ", "critical"), Span(self._words(), "strong"), Span("  and press Enter"))
        return line("Up, Down scroll the diff; Tab: facts", "muted")

    def _answers(self) -> list[Choice]:
        level = self._seen[1].option.risk_level if self._seen else None
        if self._sure and level is RiskLevel.HIGH:
            return [Choice("back", "", "Back"), Choice("sure", SURE_KEY, "run it: risk HIGH")]
        if self._sure:
            return [Choice("back", "", "Back")]
        can = not self._reason
        return [
            Choice("cancel", "", "Cancel"),
            Choice("approve", key_name(self._keys["approve"]), "approve and run", can),
            Choice("edit", key_name(self._keys["edit"]), "edit the plan", can),
            Choice("reject", key_name(self._keys["reject"]), "reject", can),
        ]

    def _words(self) -> str:
        """Return what a CRITICAL approval must repeat."""
        assert self._seen is not None
        return self._seen[1].plan.loses or self._option

    def on_key(self, event: events.Key) -> None:
        """Take an answer by its key."""
        if isinstance(self.focused, Input):
            return
        if not self.counts(event):
            event.stop()
            return
        if self._sure:
            if event.character == SURE_KEY:
                event.stop()
                self._answer("sure")
            elif event.key not in {"enter", "tab", "left", "right"}:
                event.stop()
                self._answer("back")
            return
        for action in ("approve", "edit", "reject"):
            if self._keys[action] in {event.key, event.character}:
                event.stop()
                self._answer(action)

    def on_choice_bar_given(self, event: ChoiceBar.Given) -> None:
        """Take the answer in focus."""
        self._answer(event.choice)

    def _answer(self, choice: str) -> None:
        level = self._seen[1].option.risk_level if self._seen else None
        if choice == "cancel":
            self.dismiss(None)
        elif choice == "back":
            self._sure = False
            self._entry.display = False
            self._fill()
        elif self._reason:
            self._fill()
        elif choice in {"edit", "reject"}:
            self.dismiss(Answer(choice))
        elif choice == "sure" or level in {RiskLevel.LOW, RiskLevel.MEDIUM}:
            self.dismiss(Answer("approve"))
        else:
            self._sure = True
            if level is RiskLevel.CRITICAL:
                self._entry.display = True
                self._entry.value = ""
                self._entry.placeholder = self._words()
                self._entry.focus()
            self._fill()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Approve a CRITICAL one where the words are right."""
        event.stop()
        if self._reason:
            return
        if event.value.strip() == self._words():
            plan = self._seen[1].plan if self._seen else None
            self.dismiss(Answer("approve", plan.loses if plan else ""))
        else:
            self.owner.tell(f"type exactly: {self._words()}", bad=True)

    def action_scroll(self, by: int) -> None:
        """Scroll the diff, wherever the focus is."""
        self._diff.scroll_to(y=self._diff.scroll_offset.y + by, animate=False)

    def action_close(self) -> None:
        """Close without an answer; from the second step, go back to the first."""
        if self._sure:
            self._answer("back")
            self._choices.focus()
        else:
            self.dismiss(None)
