"""What an option means for people, as labelled lines, most telling first: the same on screens and command line.

The engine gives side effects as lines of text. What the plan says in its own fields is told once, from there; of the
rest, what could hurt comes before what always happens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..core.board import OptionView
from ..core.model import OptionType, RiskLevel
from . import figures

_SHA = re.compile(r"\b([0-9a-f]{7})[0-9a-f]{5}(?=\b|:)")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?Z")
_TOLD = re.compile(r"only these parts go: |database: |.*'s locks, messages, hand-overs and own |.* is sent to ")
"""Told by fields of the plan."""
_ALARMING = re.compile(r"lost with it|it goes though|it cannot be published|tests or settings|.* itself moves back")
_ROUTINE = re.compile(r"the other agents stand by|a new commit on |.* is started again$|.* gets it only when it is")
_STAYS = re.compile(r"(?!it goes)\S+: later work ")


@dataclass(frozen=True, slots=True)
class Fact:
    """One line: its label, its text, and the meaning that gives its style."""

    label: str
    text: str
    style: str = ""


def option_facts(view: OptionView, beside: Sequence[OptionView] = (), *, most: int = 3) -> Iterator[Fact]:
    """Yield what must be known of an option beside its checks and its risk.

    ``beside`` are the options of its incident: where it is refused, the best ones that are not are named. Of a long
    list the first ``most`` are shown, and how many there are.
    """
    option, plan = view.option, view.plan
    if not option.rehearsal.applies:
        reasons = option.rehearsal.conflicts or ("it does not apply",)
        yield from _each("refused", reasons, most, "critical")
        if others := instead(view, beside):
            yield Fact("instead", others, "info")
    data = " · database nothing" if plan.database == "nothing" else ""
    if plan.loses and option.risk_level is RiskLevel.CRITICAL:
        yield Fact("loses", f"{plan.loses}: approved only by typing these words{data}", "critical")
    else:
        text, style = loses_text(view)
        if text == "nothing" and not data:
            text = "no commit and no line"  # what the database loses stands below
        yield Fact("loses", f"{text}{data}", style)
    if plan.database != "nothing":
        yield Fact("database", _short(plan.database), "warning")
    if plan.rewrite:
        text = f"history: {plan.branch} itself moves back, and no new commit is made"
        yield Fact("rewrites", text, "critical")
    if plan.parts:
        stays = "" if option.type is not OptionType.FILE_SELECTIVE else "; the rest stays"
        yield Fact("goes", listed([_short(part) for part in plan.parts], most, "part") + stays)
    if plan.keeps:
        made = listed([figures.short(sha) for sha in plan.keeps], most, "commit")
        yield Fact("kept", f"{made}: made again on top")
    if agents := [step.subject for step in plan.steps if step.name == "reset_agent"]:
        text = f"{', '.join(agents)}: leases, queue items, hand-overs and own branch and worktree go too"
        yield Fact("resets", text, "warning")
    if remote := next((step.subject for step in plan.steps if step.name == "push"), ""):
        lease = ", under a lease on what it has" if plan.rewrite else ""
        yield Fact("push", f"{plan.branch} is sent to {remote}{lease}, or waits until it can be")
    effects = [_short(effect) for effect in option.side_effects if not _TOLD.match(effect)]
    for place, effect in enumerate(each for each in effects if _ALARMING.match(each)):
        yield Fact("" if place else "beware", effect, "warning")
    stays_on = [each for each in effects if _STAYS.match(each)]
    yield from _each("stays", stays_on, most)
    rest = [each for each in effects if not _ALARMING.match(each) and each not in stays_on]
    rest.sort(key=lambda each: _ROUTINE.match(each) is not None)
    for place, effect in enumerate(rest):
        yield Fact("" if place else "besides", effect, "muted" if _ROUTINE.match(effect) else "")


def loses_text(view: OptionView) -> tuple[str, str]:
    """Return what an option loses, and its meaning."""
    rehearsal = view.option.rehearsal
    if view.plan.loses:
        return view.plan.loses, "critical"
    parts = [
        figures.count(number, one)
        for number, one in ((len(rehearsal.lost_commits), "commit"), (rehearsal.lost_lines, "line"))
        if number
    ]
    return (", ".join(parts), "warning") if parts else ("nothing", "")


def instead(view: OptionView, beside: Sequence[OptionView]) -> str:
    """Return the best two options beside a refused one that are not refused themselves; empty: there is none."""
    others = [each.option for each in beside if each.option.rehearsal.applies and each.option.id != view.option.id]
    others.sort(key=lambda option: option.type is OptionType.RESTART_ONLY)  # it takes nothing back
    return ", ".join(f"{option.id} {option.type.value} (risk {option.risk_level.value})" for option in others[:2])


def listed(items: Sequence[str], most: int, one: str) -> str:
    """Return the first ``most`` of ``items``, and how many there are where these are not all."""
    if len(items) <= most:
        return ", ".join(items)
    return f"{figures.count(len(items), one)}: {', '.join(items[:most])} and {len(items) - most} more"


def _each(label: str, items: Sequence[str], most: int, style: str = "") -> Iterator[Fact]:
    for place, item in enumerate(items[:most]):
        yield Fact("" if place else label, _short(item), style)
    if len(items) > most:
        yield Fact("", f"and {len(items) - most} more", "muted")


def _short(text: str) -> str:
    """Return ``text`` with commits and moments as short as they are elsewhere on the screen."""
    return _MOMENT.sub(r"\1 \2 UTC", _SHA.sub(r"\1", text))
