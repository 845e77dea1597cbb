"""The single writes of a change to an Issue, and the way back of a whole change, which can be begun at any point."""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from .desk import Desk, Holds
from .errors import ConcurrencyConflictError, OutcomeUnknownError, TrackerLimitError, TrackerOfflineError
from .inflight import Flight, settle
from .issue import FIELDS, BodyEdit, Issue
from .merge import SETS, Change, merge_lines, same_text
from .records import fields_of
from .tracker import Tracker
from .values import name_key

T = TypeVar("T")

DELAYS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before an undoing is tried again whose answer was lost."""

LONGEST_PAUSE = 30.0
"""Seconds for which a tracker that asks to wait is waited for at most, each time: half of what a lease gives."""
KEEPING = 5
"""So often what others write while a body is put back is put into it."""

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


def answered(now: Issue | None, told: object) -> Issue | None:
    """Return the Issue after a step, by what it ``told``; ``None``: only a look tells."""
    if isinstance(told, Issue):
        return told
    return replace(now, labels=told) if now is not None and isinstance(told, tuple) else None


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


def patiently(desk: Desk, holds: Holds, undo: Callable[[], None]) -> None:
    """Undo, again after a while where the tracker does not answer or asks to wait: what stands half hurts most.

    Raises as ``undo`` does, and LostLeaseError: then nothing may be written any more.
    """
    for delay in DELAYS:
        try:
            undo()
            return
        except TrackerLimitError as error:
            pause = max(delay, min(error.seconds, LONGEST_PAUSE))
        except (OutcomeUnknownError, TrackerOfflineError):
            pause = delay
        holds.renew()
        desk.clock.wait(threading.Event(), pause)
        holds.renew()
    undo()


def in_turn(desk: Desk, holds: Holds, begin: Callable[[], T]) -> T:
    """Do what ``begin`` does; where limits ask to wait longer than its patience, wait as `patiently` does.

    For what belongs to an operation that is under way: there, breaking off hurts more than waiting.
    """
    for _ in DELAYS:
        try:
            return begin()
        except TrackerLimitError as error:
            holds.renew()
            desk.clock.wait(threading.Event(), min(error.seconds, LONGEST_PAUSE))
            holds.renew()
    return begin()


def change_back(desk: Desk, inverses: Sequence[Inverse], holds: Holds) -> None:
    """Undo the changes of one Issue, the last first, whether they were made or not; what others made since stays.

    Raises TrackerError, LostLeaseError, and ConcurrencyConflictError where somebody has since changed the very lines.
    """
    tracker = desk.tracker
    settled: set[str] = set()
    flights = {each["number"]: Flight(desk, each["number"], holds) for each in inverses}
    settle(desk, [f"issue/{number}" for number in flights], holds)  # what is still on its way cannot be undone
    began = tracker.get(inverses[0]["number"]) if inverses else None
    wrote = False
    for inverse in reversed(inverses):
        number = inverse["number"]
        now = tracker.get(number)
        values = _old_values(now, inverse, settled)
        back = {field: value for field, value in values.items() if value != getattr(now, field)}
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
        if not change:
            continue
        flight = flights[number]
        with flight.sending(inverse_of(now, change)):
            for step in steps(number, change):
                holds.renew()
                step.do(tracker)
                flight.sent()
                wrote = True
            if change.body is not None:
                _keep_what_came_between(desk, now, change.body, holds)
    if began is not None and wrote:
        _record(desk, began, tracker.get(began.number), holds)
    for flight in flights.values():
        flight.end()


def replace_at_once(desk: Desk, now: Issue, change: Change, holds: Holds) -> Issue:
    """Replace texts of ``now`` by one request, and keep what others write into its body meanwhile.

    Return what the request's answer told. Raises as `change_back` does.
    """
    flight = Flight(desk, now.number, holds)
    with flight.sending(inverse_of(now, change)):
        holds.renew()
        after = desk.tracker.write(now.number, title=change.title, body=change.body, state=change.state)
        flight.sent()
        if change.body is not None:
            _keep_what_came_between(desk, now, change.body, holds)
    flight.end()
    return after


def _record(desk: Desk, began: Issue, after: Issue, holds: Holds) -> None:
    before, now = fields_of(began), fields_of(after)
    changed = [field for field in FIELDS if before[field] != now[field]]
    desk.records.wrote(
        desk.holder,
        "undo update",
        f"issue {began.number}",
        before={field: before[field] for field in changed},
        after={field: now[field] for field in changed},
        token=holds.token(f"issue/{began.number}"),
    )


def came_between(tracker: Tracker, number: int, before: str, ours: str) -> str | None:
    """Return the body that somebody wrote between our read of ``before`` and our write of ``ours``; ``None``: none.

    Only the history of edits tells, where the tracker has one.
    """
    edits, mine = edits_about(tracker, number, ours) or ((), None)
    if mine is None or mine + 1 >= len(edits):
        return None  # not written, or nothing is known of what was before
    theirs = edits[mine + 1].body
    return None if theirs is None or _same(theirs, before) else theirs


def edits_about(tracker: Tracker, number: int, ours: str) -> tuple[tuple[BodyEdit, ...], int | None] | None:
    """Return the edits of a body, newest first, far enough back to show who wrote before ``ours``, and which is ours.

    ``None``: this tracker has no history. Most often the first few tell; so the many are asked for only where not.
    """
    edits, mine = tuple[BodyEdit, ...](), None
    for most in (20, 100):
        found = tracker.body_edits(number, most)
        if found is None:
            return None
        edits = found
        mine = next((at for at, edit in enumerate(edits) if edit.body is not None and _same(edit.body, ours)), None)
        if len(edits) < most or (mine is not None and mine + 1 < most):
            break
    return edits, mine


def _keep_what_came_between(desk: Desk, now: Issue, ours: str, holds: Holds) -> None:
    """Put into the body what somebody wrote while we put it back: nobody else could know that it is gone.

    Raises ConcurrencyConflictError where it cannot be merged (then theirs stands), or where it comes on and on.
    """
    before, number = now.body, now.number
    clashes: list[str] = []  # all of them: of two that others wrote the later one may not have what the earlier had
    for _ in range(KEEPING):
        theirs = came_between(desk.tracker, number, before, ours)
        if theirs is None:
            break
        merged = merge_lines(before, ours, theirs)
        if merged is None:
            clashes.append(theirs)
            desk.records.wrote(  # at once: this process may be killed before anybody else tells it
                desk.holder,
                "put back",
                f"issue {number}",
                before={"body": theirs},
                after={"body": ours},
                token=holds.token(f"issue/{number}"),
                why="others wrote the same lines while the body was put back",
                outcome="persistent_conflict",
            )
            merged = theirs
        holds.renew()
        desk.tracker.write(number, body=merged)
        before, ours = ours, merged
    else:
        clashes.append(ours)
    if clashes:
        raise ConcurrencyConflictError(
            f"Issue {number}: others wrote its body while it was put back; theirs stays",
            {"body": ours},
            {"body": "\n\n".join(dict.fromkeys(clashes))},
            now,
        )


def _same(one: str, other: str) -> bool:
    return same_text("body", one, other)


def _old_values(now: Issue, inverse: Inverse, settled: Container[str]) -> dict[str, str]:
    back: dict[str, str] = {}
    for field, ours in inverse["new"].items():
        if field in settled:
            continue
        there, old = str(getattr(now, field)), str(inverse["old"][field])
        if same_text(field, there, old):
            continue
        if same_text(field, there, ours):
            back[field] = old
        elif field == "body":
            if _is_undone(there, ours, old):
                continue
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


def _is_undone(there: str, ours: str, old: str) -> bool:
    """Tell whether ``there`` has no line that was put in and all that were taken out: an undoing can be done again."""
    now, new, was = set(there.split("\n")), set(ours.split("\n")), set(old.split("\n"))
    return new != was and not (new - was) & now and was - new <= now


def _present(there: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    keys = {name_key(name) for name in names}
    return tuple(name for name in there if name_key(name) in keys)


def _absent(there: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    keys = {name_key(name) for name in there}
    return tuple(name for name in names if name_key(name) not in keys)
