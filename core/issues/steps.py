"""The single writes of a change to an Issue at a tracker, each with its way back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .issue import Issue
from .merge import Change, same_text
from .tracker import Tracker


@dataclass(frozen=True, slots=True)
class Step:
    """One request."""

    says: str
    """For people: ``label a added``."""
    do: Callable[[Tracker], object]
    undo: Callable[[Tracker], object]
    """Idempotent, and leaves alone what somebody else made of it since."""


def steps(current: Issue, change: Change) -> Iterator[Step]:
    """Yield the writes that make ``change`` of ``current``: additions, then what is replaced, then removals.

    So an Issue is never without a status in between, and never closed before it has its last one.
    """
    number = current.number
    for label in change.add_labels:
        yield _added("label", number, label)
    for name in change.add_assignees:
        yield _added("assignee", number, name)
    if change.scalars:
        yield _replaced(current, change.scalars)
    for label in change.remove_labels:
        yield _removed("label", number, label)
    for name in change.remove_assignees:
        yield _removed("assignee", number, name)


def _added(kind: str, number: int, name: str) -> Step:
    add, remove = _calls(kind, number, name)
    return Step(f"{kind} {name} added", add, remove)


def _removed(kind: str, number: int, name: str) -> Step:
    add, remove = _calls(kind, number, name)
    return Step(f"{kind} {name} removed", remove, add)


def _calls(kind: str, number: int, name: str) -> tuple[Callable[[Tracker], object], Callable[[Tracker], object]]:
    if kind == "label":
        return lambda tracker: tracker.add_label(number, name), lambda tracker: tracker.remove_label(number, name)
    return lambda tracker: tracker.add_assignee(number, name), lambda tracker: tracker.remove_assignee(number, name)


def _replaced(current: Issue, new: dict[str, str]) -> Step:
    old = {field: str(getattr(current, field)) for field in new}

    def undo(tracker: Tracker) -> None:
        put_back(tracker, current.number, new, old)

    return Step(
        f"{', '.join(new)} replaced",
        lambda tracker: tracker.write(
            current.number, title=new.get("title"), body=new.get("body"), state=new.get("state")
        ),
        undo,
    )


def put_back(tracker: Tracker, number: int, new: dict[str, str], old: dict[str, str]) -> tuple[str, ...]:
    """Write ``old`` where ``new`` is still there; return the fields that somebody else changed since."""
    now = tracker.get(number)
    back = {field: old[field] for field in new if same_text(field, str(getattr(now, field)), new[field])}
    back = {field: value for field, value in back.items() if value != getattr(now, field)}
    if back:
        tracker.write(number, title=back.get("title"), body=back.get("body"), state=back.get("state"))
    return tuple(
        field for field in new if field not in back and not same_text(field, str(getattr(now, field)), old[field])
    )
