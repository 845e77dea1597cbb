"""A recovery plan as YAML that an operator edits: the commits to take back, the message, whether the agent restarts.

The rest of a plan follows from these and is not edited. What comes back is rehearsed anew before it can be approved.
"""

from __future__ import annotations

import re
from dataclasses import replace

import yaml

from ..lined_yaml import LinedYaml, YamlError, read
from ..model import OptionType, RecoveryPlan
from ..text import clean, clean_lines
from .recovery import step

_FULL_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SHORT_ID = re.compile(r"[0-9a-f]{4,64}")
_LONGEST_MESSAGE = 10_000
_RESTART = frozenset({"restart_agent", "metrics"})


def plan_yaml(plan: RecoveryPlan) -> str:
    """Return what may be edited of ``plan`` as YAML, with comments that explain it; `parse_plan` reads it back."""
    head = (
        f"# The plan of {clean(plan.option)} for {clean(plan.incident)}: {plan.type}.\n"
        "# Save and leave the editor: the plan is rehearsed again, with the checks. That alone carries nothing out.\n"
    )
    parts = [head]
    if plan.type is not OptionType.RESTART_ONLY:
        targets = "".join(f"\n  - {target}" for target in plan.targets) or " []"
        parts += [
            f"# The commits to take back, newest first, by their full ids.\ntargets:{targets}\n",
            f"# The message of the commit that takes them back.\n{_literal('message', plan.message)}",
        ]
    if plan.agent:
        wanted = "true" if _restarts(plan) else "false"
        parts.append(f"# Start {clean(plan.agent)} again afterwards? true | false\nrestart: {wanted}\n")
    steps = [f"#   {each.phase} {clean(each.does)}" for each in plan.steps]
    parts.append("\n".join(["# What it does now, phase by phase (this follows from the above):", *steps, ""]))
    return "\n".join(parts)


def _literal(key: str, text: str) -> str:
    """Return ``key`` with ``text`` as a block of lines where YAML can write it so, else quoted."""
    name = yaml.ScalarNode("tag:yaml.org,2002:str", key)
    block = yaml.ScalarNode("tag:yaml.org,2002:str", text, style="|")
    node = yaml.MappingNode("tag:yaml.org,2002:map", [(name, block)])
    written: str = yaml.serialize(node, allow_unicode=True, width=1_000)
    return written


def parse_plan(text: str, plan: RecoveryPlan) -> tuple[RecoveryPlan | None, list[str]]:
    """Return ``plan`` with what was edited, or ``None`` and every problem as a line that names its place.

    What is left out stays as it was. Only targets, message and the steps that restart the agent can differ; tree, diff
    and hash are those of before until it is rehearsed.
    """
    try:
        document = read(text)
    except YamlError as error:
        return None, [f"line {error.problem.line}: {error.problem.problem}"]
    problems = [
        f"line {each.line}: {clean('.'.join(map(str, each.path)))} {each.problem}" for each in document.problems
    ]
    if not isinstance(document.value, dict):
        return None, [*problems, "line 1: is no plan; allowed: keys with values, such as restart: true"]
    allowed = ["targets", "message"] * (plan.type is not OptionType.RESTART_ONLY) + ["restart"] * bool(plan.agent)
    for key in document.value:
        if key not in allowed:
            what = f"{clean(key, limit=40)}: is no key of this plan; allowed: {', '.join(allowed) or 'none'}"
            problems.append(f"line {document.line((key,))}: {what}")
    edited = plan
    for key in allowed:
        if key in document.value:
            given = document.value[key]
            edited, wrong = _EDITS[key](edited, given, document)
            problems += wrong
    if plan.type is OptionType.RESTART_ONLY and not _restarts(edited):
        problems.append(
            f"line {document.line(('restart',)) or 1}: restart: this plan only restarts; without it, reject it"
        )
    return (None, problems) if problems else (edited, [])


def _targets(plan: RecoveryPlan, given: object, document: LinedYaml) -> tuple[RecoveryPlan, list[str]]:
    if not isinstance(given, list) or not given:
        return plan, [f"line {document.line(('targets',))}: targets: names no commit; allowed: a list of commit ids"]
    targets: list[str] = []
    problems: list[str] = []
    for index, entry in enumerate(given):
        place = f"line {document.line(('targets', index))}: targets:"
        target = _commit(entry, plan.targets)
        if target is None:
            problems.append(
                f"{place} {clean(str(entry), limit=80)} is no full commit id (40 hex digits): git rev-parse"
            )
        elif target in targets:
            problems.append(f"{place} {target[:12]} is there twice")
        else:
            targets.append(target)
    return replace(plan, targets=tuple(targets)), problems


def _commit(entry: object, known: tuple[str, ...]) -> str | None:
    """Return the full id; a short one will do for a commit that the plan names already."""
    text = entry.lower() if isinstance(entry, str) else ""
    if _FULL_ID.fullmatch(text):
        return text
    matching = [sha for sha in known if _SHORT_ID.fullmatch(text) and sha.startswith(text)]
    return matching[0] if len(matching) == 1 else None


def _message(plan: RecoveryPlan, given: object, document: LinedYaml) -> tuple[RecoveryPlan, list[str]]:
    place = f"line {document.line(('message',))}: message:"
    if not isinstance(given, str) or not (message := clean_lines(given).strip()):
        return plan, [f"{place} is empty; allowed: text whose first line says what the commit does"]
    if len(message) > _LONGEST_MESSAGE:
        return plan, [f"{place} has {len(message):,} characters; allowed: {_LONGEST_MESSAGE:,}"]
    return replace(plan, message=message + "\n"), []


def _restart(plan: RecoveryPlan, given: object, document: LinedYaml) -> tuple[RecoveryPlan, list[str]]:
    if given not in {"true", "false"}:
        return plan, [
            f"line {document.line(('restart',))}: restart: is {clean(str(given), limit=40)}; allowed: true | false"
        ]
    if (given == "true") == _restarts(plan):
        return plan, []
    others = [each for each in plan.steps if each.name not in _RESTART]
    if given == "true":
        at = next((index for index, each in enumerate(others) if each.name == "resume_others"), len(others))
        others[at:at] = [step("restart_agent", plan.agent), step("metrics", plan.agent)]
    return replace(plan, steps=tuple(others)), []


_EDITS = {"targets": _targets, "message": _message, "restart": _restart}


def _restarts(plan: RecoveryPlan) -> bool:
    return any(each.name == "restart_agent" for each in plan.steps)
