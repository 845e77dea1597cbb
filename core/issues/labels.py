"""Labels kept in step: one status, one priority, a status that fits the state, and definitions with colours.

The rules:

- At most one ``status:`` and one ``priority:``. Of several the one that rollcage added last stays; where it added none
  of them, the one that comes first in `STATUS` or `PRIORITY`: what most needs a human. Unknown ones come last.
- A closed Issue with a status is ``done`` or ``failed``: any other status becomes ``done``.
- An open Issue is not ``done``: that becomes ``review``, since whoever opened it again, or never closed it, looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import UsageError
from .issue import Issue
from .merge import Change
from .values import name_key

STATUS = tuple(f"status:{name}" for name in ("failed", "blocked", "review", "waiting", "auto-processing", "done"))
PRIORITY = tuple(f"priority:{name}" for name in ("high", "medium", "low"))
ONE_OF = {"status:": STATUS, "priority:": PRIORITY}
DONE, FAILED, REVIEW = "status:done", "status:failed", "status:review"

DEFINITIONS: Mapping[str, tuple[str, str]] = {
    "status:auto-processing": ("1d76db", "an agent works on it"),
    "status:waiting": ("fbca04", "waits for its turn"),
    "status:blocked": ("b60205", "another Issue must be done first"),
    "status:review": ("5319e7", "done by an agent, to be looked at"),
    "status:done": ("0e8a16", "done"),
    "status:failed": ("d93f0b", "its agent could not do it"),
    "priority:high": ("e11d21", "before all others"),
    "priority:medium": ("eb6420", "in its turn"),
    "priority:low": ("c2e0c6", "when there is time"),
}
PREFIXES: Mapping[str, tuple[str, str]] = {
    "comp:": ("006b75", "the competition that it belongs to"),
    "agent:": ("bfd4f2", "the agent that it belongs to"),
    "status:": ("cccccc", "a status that rollcage does not know"),
    "priority:": ("cccccc", "a priority that rollcage does not know"),
}
"""Colours (six hexadecimal digits) and descriptions of labels that begin so."""


@dataclass(frozen=True, slots=True)
class Repair:
    """What was put right on one Issue."""

    number: int
    added: tuple[str, ...]
    removed: tuple[str, ...]


def group_of(label: str) -> str:
    """Return the prefix of the group of which an Issue has one label at most; empty: it is of none."""
    return next((prefix for prefix in ONE_OF if name_key(label).startswith(prefix)), "")


def in_step(current: Issue, change: Change) -> Change:
    """Return ``change`` with what it brings along: a new status or priority takes the place of the old one.

    Where it closes the Issue and names no status, a status that a closed one cannot have becomes ``done``. Raises
    UsageError where it adds two of a group.
    """
    if not change.add_labels and change.state != "closed":
        return change
    added, removed = list(change.add_labels), list(change.remove_labels)
    gone = {name_key(label) for label in removed}
    for prefix in ONE_OF:
        new = [label for label in added if group_of(label) == prefix]
        if len(new) > 1:
            raise UsageError(f"{' and '.join(new)} contradict each other; allowed: one label {prefix}")
        if new:
            removed += [label for label in current.labels if group_of(label) == prefix and name_key(label) not in gone]
    status = [label for label in current.labels if group_of(label) == "status:" and name_key(label) not in gone]
    named = any(group_of(label) == "status:" for label in added)
    if change.state == "closed" and not named and any(name_key(label) not in (DONE, FAILED) for label in status):
        removed += [label for label in status if name_key(label) not in (DONE, FAILED)]
        if all(name_key(label) not in (DONE, FAILED) for label in status):
            added.append(DONE)
    return replace(change, add_labels=tuple(added), remove_labels=tuple(removed))


def repair(issue: Issue, added: Mapping[str, int]) -> Change:
    """Return what puts the labels of ``issue`` right; ``added``: those that rollcage added, the newest highest."""
    keep: dict[str, str] = {}
    for prefix, known in ONE_OF.items():
        there = [label for label in issue.labels if group_of(label) == prefix]
        if there:
            keep[prefix] = min(there, key=lambda label: (-added.get(name_key(label), 0), _rank(label, known)))
    status = name_key(keep.get("status:", ""))
    if status and issue.state == "closed" and status not in (DONE, FAILED):
        keep["status:"] = DONE
    elif status == DONE and issue.state == "open":
        keep["status:"] = REVIEW
    kept = {name_key(label) for label in keep.values()}
    wrong = tuple(label for label in issue.labels if group_of(label) and name_key(label) not in kept)
    missing = kept - {name_key(label) for label in issue.labels}
    return Change(add_labels=tuple(sorted(missing)), remove_labels=wrong)


def _rank(label: str, known: Sequence[str]) -> tuple[int, str]:
    key = name_key(label)
    return (known.index(key) if key in known else len(known), key)


def definitions_missing(defined: Mapping[str, tuple[str, str]], used: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Yield name, colour and description of each label of ours that is not defined so: the fixed ones, and those used.

    A label of which only the description differs is left: somebody may have written a better one.
    """
    colours = {name_key(name): colour.lower().lstrip("#") for name, (colour, _) in defined.items()}
    described = {name_key(name): text for name, (_, text) in defined.items()}
    wanted = dict(DEFINITIONS)
    for label in used:
        prefix = next((prefix for prefix in PREFIXES if name_key(label).startswith(prefix)), None)
        if prefix is not None and name_key(label) not in DEFINITIONS:
            wanted.setdefault(label, PREFIXES[prefix])
    for name, (colour, text) in wanted.items():
        if colours.get(name_key(name)) != colour:
            yield name, colour, described.get(name_key(name)) or text
