"""The single writes of a change to an Issue, and the way back of a whole change, which can be begun at any point."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .desk import Desk, Holds
from .errors import ConcurrencyConflictError, OutcomeUnknownError
from .issue import Issue
from .merge import SETS, Change, merge_lines, same_text
from .tracker import Tracker
from .values import name_key

DELAYS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before an undoing is tried again whose answer was lost."""

Inverse = Mapping[str, Any]
"""What undoes a change, as JSON: ``number``; ``new`` and ``old`` values of texts; what was added to and removed from
the labels and assignees. ``instead``: the old ones stand for those of all changes before it, since somebody else had
written in between."""


@dataclass(frozen=True, slots=True)
class Step:
    """One request."""

    says: str
    """For people: ``label a added``."""
    do: Callable[[Tracker], object]


def steps(number: int, change: Change) -> Iterator[Step]:
    """Yield the writes of ``change``: additions, then what is replaced, then removals.

    So an Issue is never without a status in between, and never closed before it has its last one.
    """
    for label in change.add_labels:
        yield Step(f"label {label} added", lambda tracker, label=label: tracker.add_label(number, label))  # type: ignore[misc]
    for name in change.add_assignees:
        yield Step(f"assignee {name} added", lambda tracker, name=name: tracker.add_assignee(number, name))  # type: ignore[misc]
    new = change.scalars
    if new:
        yield Step(
            f"{', '.join(new)} replaced",
            lambda tracker: tracker.write(number, title=new.get("title"), body=new.get("body"), state=new.get("state")),
        )
    for label in change.remove_labels:
        yield Step(f"label {label} removed", lambda tracker, label=label: tracker.remove_label(number, label))  # type: ignore[misc]
    for name in change.remove_assignees:
        yield Step(f"assignee {name} removed", lambda tracker, name=name: tracker.remove_assignee(number, name))  # type: ignore[misc]


def inverse_of(current: Issue, change: Change) -> dict[str, Any]:
    """Return what undoes ``change``, which is to be made of ``current``."""
    return {
        "number": current.number,
        "new": change.scalars,
        "old": {field: getattr(current, field) for field in change.scalars},
        "added": {kind: list(getattr(change, f"add_{kind}")) for kind in SETS},
        "removed": {kind: list(getattr(change, f"remove_{kind}")) for kind in SETS},
    }


def instead(number: int, ours: str, theirs: str) -> dict[str, Any]:
    """Return what puts a body back that somebody wrote between our read and our write."""
    return {"number": number, "new": {"body": ours}, "old": {"body": theirs}, "instead": True}


def change_back(desk: Desk, inverses: Sequence[Inverse], holds: Holds) -> None:
    """Undo the changes of one Issue, the last first, whether they were made or not; what others made since stays.

    Raises TrackerError, LostLeaseError, and ConcurrencyConflictError where somebody has since changed the very lines.
    """
    for delay in (*DELAYS, None):
        try:
            _change_back(desk, inverses, holds)
            return
        except OutcomeUnknownError:
            if delay is None:
                raise
            desk.clock.wait(threading.Event(), delay)


def _change_back(desk: Desk, inverses: Sequence[Inverse], holds: Holds) -> None:
    tracker = desk.tracker
    settled: set[str] = set()
    for inverse in reversed(inverses):
        number = inverse["number"]
        now = tracker.get(number)
        back = {
            field: value
            for field, value in _old_values(now, inverse).items()
            if field not in settled and value != getattr(now, field)
        }
        if inverse.get("instead"):
            settled.update(inverse["new"])
        added, removed = inverse.get("added", {}), inverse.get("removed", {})
        change = Change(
            **back,
            add_labels=_absent(now.labels, removed.get("labels", ())),
            remove_labels=_present(now.labels, added.get("labels", ())),
            add_assignees=_absent(now.assignees, removed.get("assignees", ())),
            remove_assignees=_present(now.assignees, added.get("assignees", ())),
        )
        for step in steps(number, change):
            holds.renew()
            step.do(tracker)


def _old_values(now: Issue, inverse: Inverse) -> dict[str, str]:
    back: dict[str, str] = {}
    for field, ours in inverse["new"].items():
        there, old = str(getattr(now, field)), str(inverse["old"][field])
        if same_text(field, there, old):
            continue
        if same_text(field, there, ours):
            back[field] = old
        elif field == "body":
            merged = merge_lines(ours, old, there)
            if merged is None:
                raise ConcurrencyConflictError(
                    f"Issue {now.number}: its body was changed by others since, in the same lines",
                    {"body": old},
                    {"body": there},
                    now,
                )
            back[field] = merged
    return back


def _present(there: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    keys = {name_key(name) for name in names}
    return tuple(name for name in there if name_key(name) in keys)


def _absent(there: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    keys = {name_key(name) for name in there}
    return tuple(name for name in names if name_key(name) not in keys)
