"""What is to be written where two changed an Issue: a three-way merge of its fields. Pure.

The base is what the caller saw, *theirs* is what is there now, *ours* is what the caller wants. Labels and people are
sets: both sides' additions and removals hold. A body is merged by lines (diff3; Khanna, Kunal, Pierce: A Formal
Investigation of Diff3, 2007). Where both changed the same, a human chooses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import UsageError
from ..gitrepo.token_merge import Edit, applied, sequence_edits
from ..text import clean
from .issue import Issue
from .values import check_body, check_labels, check_people, check_state, check_title, name_key

SCALARS = ("title", "body", "state")
SETS = ("labels", "assignees")
NAMES = (*SCALARS, *SETS, "add_labels", "remove_labels", "add_assignees", "remove_assignees")
"""What an update may name."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a caller wants of an Issue; ``None``: that is left alone."""

    title: str | None = None
    body: str | None = None
    state: str | None = None
    labels: tuple[str, ...] | None = None
    """All that it shall have."""
    assignees: tuple[str, ...] | None = None
    add_labels: tuple[str, ...] = ()
    remove_labels: tuple[str, ...] = ()
    add_assignees: tuple[str, ...] = ()
    remove_assignees: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """The single writes that lead there from the Issue as it is now; ``None`` and empty: nothing of that kind."""

    title: str | None = None
    body: str | None = None
    state: str | None = None
    add_labels: tuple[str, ...] = ()
    remove_labels: tuple[str, ...] = ()
    add_assignees: tuple[str, ...] = ()
    remove_assignees: tuple[str, ...] = ()

    @property
    def scalars(self) -> dict[str, str]:
        """Return title, body and state, as far as they change."""
        given = {"title": self.title, "body": self.body, "state": self.state}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def fields(self) -> set[str]:
        """Return the names of the fields that change."""
        labels = {"labels"} if self.add_labels or self.remove_labels else set[str]()
        people = {"assignees"} if self.add_assignees or self.remove_assignees else set[str]()
        return {*self.scalars, *labels, *people}

    def __bool__(self) -> bool:
        """Tell whether anything is to be written."""
        return self != _NOTHING


_NOTHING = Change()


class Conflicting(Exception):
    """The fields ``names`` cannot be merged."""

    def __init__(self, names: Iterable[str], theirs: Mapping[str, object] | None = None) -> None:
        """Take the names of the fields, and what others made of them where a look at the Issue does not tell."""
        self.names, self.theirs = tuple(names), dict(theirs or {})
        super().__init__(", ".join(self.names))


def wanted_of(updates: Mapping[str, object]) -> Wanted:
    """Return ``updates``, checked. Raises UsageError: an unknown field, a bad value, nothing at all."""
    if not updates:
        raise UsageError(f"the update names no field; allowed: {', '.join(NAMES)}")
    values: dict[str, object] = {}
    for name, value in updates.items():
        if name not in NAMES:
            raise UsageError(f"'{clean(str(name), limit=60)}' is no field of an Issue; allowed: {', '.join(NAMES)}")
        values[name] = _checked(name, value)
    wanted = Wanted(**values)  # type: ignore[arg-type]
    for kind in SETS:
        added, removed = getattr(wanted, f"add_{kind}"), getattr(wanted, f"remove_{kind}")
        if both := {name_key(name) for name in added} & {name_key(name) for name in removed}:
            raise UsageError(f"'{clean(min(both))}' is both added to and removed from the {kind}; allowed: one of them")
        if getattr(wanted, kind) is not None and (added or removed):
            raise UsageError(f"{kind} is given beside additions or removals; allowed: all of them, or the changes")
    return wanted


def _checked(name: str, value: object) -> object:
    if name in SCALARS:
        if not isinstance(value, str):
            raise UsageError(f"{name} is no text; allowed: text")
        {"title": check_title, "body": check_body, "state": check_state}[name](value)
        return value
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise UsageError(f"{name} is no list; allowed: a list of names")
    names = [str(item) for item in value]
    if name.startswith("remove_"):  # what is there already may have any form
        return tuple(sorted(set(names)))
    return check_labels(names) if name.endswith("labels") else check_people(names)


def plan(base: Mapping[str, object] | None, current: Issue, wanted: Wanted, *, written: bool = False) -> Change:
    """Return what is to be written. ``base``: the fields that the caller saw; ``None``: not known any more.

    ``written``: it was written once; then what the tracker made of a text (see `same_text`) counts as that text.
    Raises Conflicting, naming all fields that both changed, and differently.
    """
    conflicts: list[str] = []
    values: dict[str, object] = {}
    for name in SCALARS:
        ours, theirs = getattr(wanted, name), getattr(current, name)
        if ours is None or ours == theirs or (written and same_text(name, ours, theirs)):
            continue
        was = None if base is None else base[name]
        if was == theirs:
            values[name] = ours
        elif ours == was:
            continue  # the caller did not change it: theirs stays
        elif name == "body" and isinstance(was, str) and (merged := merge_lines(was, ours, theirs)) is not None:
            if merged != theirs:
                values[name] = merged
        else:
            conflicts.append(name)
    for kind in SETS:
        there = getattr(current, kind)
        goal = getattr(wanted, kind)
        added, removed = getattr(wanted, f"add_{kind}"), getattr(wanted, f"remove_{kind}")
        if goal is None and not added and not removed:
            continue
        if goal is not None:
            if base is None and _keys(goal) != _keys(there):
                conflicts.append(kind)
            was_there = there if base is None else _names(base[kind])
            added, removed = _without(goal, was_there), _without(was_there, goal)
        values[f"add_{kind}"] = _without(added, there)
        values[f"remove_{kind}"] = tuple(name for name in there if name_key(name) in _keys(removed))
    if conflicts:
        raise Conflicting(conflicts)
    return Change(**values)  # type: ignore[arg-type]


def same_text(field: str, one: str, other: str) -> bool:
    """Tell whether two values are the same but for what a tracker may do to them: line ends, spaces at the ends."""
    if field == "title":
        return one.strip() == other.strip()
    if field == "body":
        return one.replace("\r\n", "\n").rstrip() == other.replace("\r\n", "\n").rstrip()
    return one == other


def merge_lines(base: str, ours: str, theirs: str) -> str | None:
    """Merge two texts that both came of ``base``, by lines; ``None`` where both changed the same ones, not alike.

    It conflicts, too, where both put something in at one place: in which order it belongs would be a guess.
    """
    if ours in (theirs, base):
        return theirs
    if theirs == base:
        return ours
    parts = _lines(base)
    mine, others = sequence_edits(parts, _lines(ours)), sequence_edits(parts, _lines(theirs))
    if any(one != other and _overlap(one, other) for one in mine for other in others):
        return None
    every = sorted({*mine, *others}, key=lambda edit: (edit.start, edit.end))
    return applied(parts, every).decode()[:-1]


def _overlap(one: Edit, other: Edit) -> bool:
    if one.start == other.start and one.end == other.end:
        return True
    return one.start < other.end and other.start < one.end


def _lines(text: str) -> list[bytes]:
    # Each with an end, the last too: a line that comes behind it does not change it.
    return [f"{line}\n".encode() for line in text.split("\n")]


def _names(value: object) -> Sequence[str]:
    assert isinstance(value, (tuple, list))
    return value


def _keys(names: Iterable[str]) -> set[str]:
    return {name_key(name) for name in names}


def _without(names: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    keys = _keys(others)
    return tuple(name for name in names if name_key(name) not in keys)
