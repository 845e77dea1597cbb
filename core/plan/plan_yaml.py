"""A recovery plan as YAML that an operator edits: which way back, what goes, what is made again, what is sent.

The rest of a plan follows from these and is not edited. What comes back is rehearsed anew before it can be approved.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import yaml

from ..lined_yaml import LinedYaml, YamlError, read
from ..model import OptionType, RecoveryPlan
from ..text import clean, clean_lines
from .recovery import step

_FULL_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SHORT_ID = re.compile(r"[0-9a-f]{4,64}")
_LONGEST_MESSAGE = 10_000
_LONGEST_PART = 1_000
_RESTART = frozenset({"restart_agent", "metrics"})
_OF_CODE = [kind for kind in OptionType if kind is not OptionType.RESTART_ONLY]
_ONLY_OF = {"parts": OptionType.FILE_SELECTIVE, "keep": OptionType.BRANCH_RESET, "rewrite": OptionType.BRANCH_RESET}
"""Keys that one type only has."""

Edit = Callable[[RecoveryPlan, object, LinedYaml], tuple[RecoveryPlan, list[str]]]


_TYPE = "The way back: SINGLE_COMMIT | FILE_SELECTIVE | BRANCH_RESET | FULL_AGENT_RESET.\n# Keys of another one go."
_TARGETS = "The commits to take back, newest first, by their full ids."
_PARTS = """The parts of those commits that go: a file as 'path', the second hunk of it as 'path#2', the first piece
# of that as 'path#2.1'; where the commits do not follow one another, with the commit: '0123456789ab:path#2'."""
_KEEP = "The later commits that are made again on the last good tree, oldest first; what is not named is lost."
_REWRITE = "Move the branch itself back instead, so that all commits since are gone from it? true | false"
_MESSAGE = "The message of the commit that takes them back."
_PUSH = "Send the branch to its remote when all is verified? true | false"


def plan_yaml(plan: RecoveryPlan) -> str:
    """Return what may be edited of ``plan`` as YAML, with comments that explain it; `parse_plan` reads it back."""
    head = (
        f"# The plan of {clean(plan.option)} for {clean(plan.incident)}: {plan.type}.\n"
        "# Save and leave the editor: the plan is rehearsed again, with the checks. That alone carries nothing out.\n"
    )
    keys: list[tuple[str, str]] = []
    if plan.type is not OptionType.RESTART_ONLY:
        keys += [(_TYPE, f"type: {plan.type}\n"), (_TARGETS, _list("targets", plan.targets))]
        if plan.type is OptionType.FILE_SELECTIVE:
            keys.append((_PARTS, _list("parts", plan.parts)))
        if plan.type is OptionType.BRANCH_RESET:
            keys += [(_KEEP, _list("keep", plan.keeps)), (_REWRITE, f"rewrite: {_word(plan.rewrite)}\n")]
        keys += [(_MESSAGE, _literal("message", plan.message)), (_PUSH, f"push: {_word(_has(plan, 'push'))}\n")]
    if plan.agent:
        about = f"Start {clean(plan.agent)} again afterwards? true | false"
        keys.append((about, f"restart: {_word(_has(plan, 'restart_agent'))}\n"))
    steps = [f"#   {each.phase} {clean(each.does)}" for each in plan.steps]
    tail = "\n".join(["# What it does now, phase by phase (this follows from the above):", *steps, ""])
    return "\n".join([head, *(f"# {about}\n{key}" for about, key in keys), tail])


def _list(key: str, items: tuple[str, ...]) -> str:
    """Return ``key`` with ``items`` below it, each quoted where YAML needs that."""
    if not items:
        return f"{key}: []\n"
    nodes = [yaml.ScalarNode("tag:yaml.org,2002:str", item) for item in items]
    lines = [str(yaml.serialize(node, allow_unicode=True, width=100_000)) for node in nodes]
    # A bare scalar ends with the mark of a document's end.
    return f"{key}:\n" + "".join(f"  - {line.removesuffix('...' + chr(10)).rstrip(chr(10))}\n" for line in lines)


def _word(value: bool) -> str:
    return "true" if value else "false"


def _has(plan: RecoveryPlan, name: str) -> bool:
    return any(each.name == name for each in plan.steps)


def _literal(key: str, text: str) -> str:
    """Return ``key`` with ``text`` as a block of lines where YAML can write it so, else quoted."""
    name = yaml.ScalarNode("tag:yaml.org,2002:str", key)
    block = yaml.ScalarNode("tag:yaml.org,2002:str", text, style="|")
    node = yaml.MappingNode("tag:yaml.org,2002:map", [(name, block)])
    written: str = yaml.serialize(node, allow_unicode=True, width=1_000)
    return written


def parse_plan(text: str, plan: RecoveryPlan) -> tuple[RecoveryPlan | None, list[str]]:
    """Return ``plan`` with what was edited, or ``None`` and every problem as a line that names its place.

    What is left out stays as it was, as far as the type has it. Naming parts of a SINGLE_COMMIT makes it
    FILE_SELECTIVE. Tree, diff, hash and what else follows are those of before until it is rehearsed.
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
    given = document.value
    edited, wrong = _typed(plan, given, document)
    problems += wrong
    allowed = _allowed(plan, edited.type)
    for key in given:
        if key not in allowed:
            problems.append(f"line {document.line((key,))}: {_no_key(key, edited.type, allowed)}")
    for key in allowed:
        if key in given and key in _EDITS:
            edited, wrong = _EDITS[key](edited, given[key], document)
            problems += wrong
    if plan.type is OptionType.RESTART_ONLY and not _has(edited, "restart_agent"):
        problems.append(
            f"line {document.line(('restart',)) or 1}: restart: this plan only restarts; without it, reject it"
        )
    if edited.rewrite and edited.keeps:
        if "keep" in given and edited.keeps != plan.keeps:
            problems.append(
                f"line {document.line(('keep',))}: keep: nothing is made again with rewrite: true; allowed there: []"
            )
        edited = replace(edited, keeps=())
    return (None, problems) if problems else (edited, [])


def _typed(plan: RecoveryPlan, given: dict[str, object], document: LinedYaml) -> tuple[RecoveryPlan, list[str]]:
    """Return ``plan`` with the type that is wished for; without what that does not have."""
    kind, wrong = plan.type, []
    if plan.type is not OptionType.RESTART_ONLY:
        if "type" in given:
            known = {each.value: each for each in _OF_CODE}
            word = str(given["type"])
            if word in known:
                kind = known[word]
            else:
                allowed = " | ".join(known)
                wrong = [f"line {document.line(('type',))}: type: is {clean(word, limit=40)}; allowed: {allowed}"]
        if kind is plan.type is OptionType.SINGLE_COMMIT and given.get("parts"):
            kind = OptionType.FILE_SELECTIVE
    if kind is plan.type:
        return plan, wrong
    steps = tuple(each for each in plan.steps if each.name != "reset_agent")
    return replace(plan, type=kind, parts=(), keeps=(), rewrite=False, steps=steps), wrong


def _allowed(plan: RecoveryPlan, kind: OptionType) -> list[str]:
    keys = [] if kind is OptionType.RESTART_ONLY else ["type", "targets"]
    keys += [key for key, only in _ONLY_OF.items() if only is kind]
    keys += [] if kind is OptionType.RESTART_ONLY else ["message", "push"]
    return [*keys, "restart"] if plan.agent else keys


def _no_key(key: object, kind: OptionType, allowed: list[str]) -> str:
    name = clean(str(key), limit=40)
    if name in _ONLY_OF and kind is not OptionType.RESTART_ONLY:
        return f"{name}: is a key of {_ONLY_OF[name]} only; allowed: type: {_ONLY_OF[name]} with it"
    return f"{name}: is no key of this plan; allowed: {', '.join(allowed) or 'none'}"


def _targets(plan: RecoveryPlan, given: object, document: LinedYaml) -> tuple[RecoveryPlan, list[str]]:
    if not isinstance(given, list) or not given:
        return plan, [f"line {document.line(('targets',))}: targets: names no commit; allowed: a list of commit ids"]
    targets, problems = _ids("targets", given, plan.targets, document)
    return replace(plan, targets=targets), problems


def _keep(plan: RecoveryPlan, given: object, document: LinedYaml) -> tuple[RecoveryPlan, list[str]]:
    if given is None or given == "":
        given = []
    if not isinstance(given, list):
        return plan, [f"line {document.line(('keep',))}: keep: is no list; allowed: a list of commit ids, or []"]
    keeps, problems = _ids("keep", given, plan.keeps, document)
    both = [sha for sha in keeps if sha in plan.targets]
    problems += [f"line {document.line(('keep',))}: keep: {sha[:12]} is among the targets, too" for sha in both]
    return replace(plan, keeps=keeps), problems


def _ids(
    key: str, given: list[object], known: tuple[str, ...], document: LinedYaml
) -> tuple[tuple[str, ...], list[str]]:
    found: list[str] = []
    problems: list[str] = []
    for index, entry in enumerate(given):
        place = f"line {document.line((key, index))}: {key}:"
        sha = _commit(entry, known)
        if sha is None:
            problems.append(
                f"{place} {clean(str(entry), limit=80)} is no full commit id (40 hex digits): git rev-parse"
            )
        elif sha in found:
            problems.append(f"{place} {sha[:12]} is there twice")
        else:
            found.append(sha)
    return tuple(found), problems


def _parts(plan: RecoveryPlan, given: object, document: LinedYaml) -> tuple[RecoveryPlan, list[str]]:
    if not isinstance(given, list) or not given:
        return plan, [f"line {document.line(('parts',))}: parts: names none; allowed: a list such as [path, 'path#2']"]
    problems = []
    for index, entry in enumerate(given):
        place = f"line {document.line(('parts', index))}: parts:"
        if not isinstance(entry, str) or not 0 < len(entry) <= _LONGEST_PART or clean(entry) != entry:
            problems.append(f"{place} {clean(str(entry), limit=80)} is no part; allowed: such as path or 'path#2'")
        elif entry in given[:index]:
            problems.append(f"{place} {clean(entry, limit=80)} is there twice")
    return (plan, problems) if problems else (replace(plan, parts=tuple(given)), [])


def _rewrite(plan: RecoveryPlan, given: object, document: LinedYaml) -> tuple[RecoveryPlan, list[str]]:
    wanted, problems = _choice("rewrite", given, document)
    return (plan if wanted is None else replace(plan, rewrite=wanted)), problems


def _push(plan: RecoveryPlan, given: object, document: LinedYaml) -> tuple[RecoveryPlan, list[str]]:
    wanted, problems = _choice("push", given, document)
    if wanted is None or wanted == _has(plan, "push"):
        return plan, problems
    others = tuple(each for each in plan.steps if each.name != "push")
    return replace(plan, steps=(*others, step("push", "its remote")) if wanted else others), problems


def _choice(key: str, given: object, document: LinedYaml) -> tuple[bool | None, list[str]]:
    if given in {"true", "false"}:
        return given == "true", []
    return None, [f"line {document.line((key,))}: {key}: is {clean(str(given), limit=40)}; allowed: true | false"]


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
    wanted, problems = _choice("restart", given, document)
    if wanted is None or wanted == _has(plan, "restart_agent"):
        return plan, problems
    others = [each for each in plan.steps if each.name not in _RESTART]
    if wanted:
        at = next((index for index, each in enumerate(others) if each.name == "resume_others"), len(others))
        others[at:at] = [step("restart_agent", plan.agent), step("metrics", plan.agent)]
    return replace(plan, steps=tuple(others)), problems


_EDITS: dict[str, Edit] = {
    "targets": _targets,
    "parts": _parts,
    "keep": _keep,
    "rewrite": _rewrite,
    "message": _message,
    "push": _push,
    "restart": _restart,
}
