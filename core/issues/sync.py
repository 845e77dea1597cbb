"""Writes to Issues that are done at once where the tracker can be reached, and queued where it cannot.

The outbox is sent in its order, each operation by the same atomic functions as one that was never queued. A conflict is
shown and not guessed: it waits for an operator, and with it what was queued later on the same Issues; others go on.

Nothing is sent twice, whenever the one who sends dies: a creation and a batch go by an id that was written down before
them, and an update that is there already is no change.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, cast

from ..errors import LeaseError, RollcageError, StoreError, UsageError
from ..text import clean
from .batch import BatchResult, Operation, batch_operation_atomically, checked, in_order, run_batch
from .create import CreateResult, create_draft
from .desk import Desk, Holds
from .errors import ConcurrencyConflictError, OutcomeUnknownError, TrackerLimitError, TrackerOfflineError
from .identity import identity, marks_of
from .issue import Draft, Issue
from .merge import wanted_of
from .outbox import (
    BATCH,
    CONFLICT,
    CREATE,
    DROPPED,
    OPERATION_ID,
    SENT,
    UPDATE,
    WAITING,
    Target,
    Waiting,
    as_created,
    find,
    last_seen,
    put,
    remember,
    save,
    unsent,
    with_updates,
)
from .records import DONE
from .scope import check_write, completed
from .update import UpdateResult, read_issue, update_issue_with_optimistic_lock
from .values import check_draft

LEASE = "issue-outbox"
"""Who holds it sends: one at a time, so that the order stays."""


@dataclass(frozen=True, slots=True)
class Queued:
    """A write that could not be done at once; ``operation`` is its id."""

    operation: str
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """An Issue as far as it is known."""

    issue: Issue
    at: datetime | None
    """When it was so, where the tracker cannot be reached; ``None``: it is so now."""
    waiting: tuple[str, ...]
    """What is queued for it."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What became of the outbox."""

    sent: tuple[Waiting, ...]
    left: tuple[Waiting, ...]
    """What waits and what is in conflict, in its order."""
    problem: str = ""
    """Why it stopped before its end; empty: it did not."""


# Do it, or queue it


def create(desk: Desk, draft: Draft) -> CreateResult | Queued:
    """Create an Issue as `create_issue_atomically` does; queue that where the tracker cannot be reached.

    Raises as that does.
    """
    draft = completed(desk.scope, check_draft(replace(draft, title=draft.title.strip())))
    check_write(desk.scope, CREATE, None, draft)
    replay(desk)
    try:
        result = create_draft(desk, draft, uuid.uuid4().hex)
    except TrackerOfflineError:
        return _queued(desk, CREATE, asdict(draft), ())
    _remember(desk, result.issue)
    return result


def update(
    desk: Desk, target: Target, updates: Mapping[str, object], expected: str | None = None
) -> UpdateResult | Queued:
    """Change an Issue as `update_issue_with_optimistic_lock` does; queue that where the tracker cannot be reached.

    ``target`` may be the operation that is to create it. Queued without ``expected``, it expects the Issue as it was
    seen last. Raises as that does, and UsageError for an operation that creates nothing.
    """
    wanted_of(updates)
    waiting = replay(desk).left
    number = _number(desk, target)
    args = {"number": target if number is None else number, "updates": dict(updates), "expect": expected}
    if number is None or _is_behind(desk, {number}, waiting):
        return _queued(desk, UPDATE, args, () if number is None else (number,))
    try:
        result = update_issue_with_optimistic_lock(desk, number, updates, expected)
    except TrackerOfflineError:
        return _queued(desk, UPDATE, args, (number,))
    _remember(desk, result.issue)
    return result


def batch(desk: Desk, operations: Sequence[Operation | Mapping[str, Any]]) -> BatchResult | Queued:
    """Do a batch as `batch_operation_atomically` does; queue it whole where the tracker cannot be reached.

    A number may also be the operation that is to create the Issue. Raises as that does, and UsageError for an
    operation that creates nothing.
    """
    operations = in_order([_checked(operation) for operation in operations])
    waiting = replay(desk).left
    resolved = [_resolved(desk, operation) for operation in operations]
    targets = {operation.args["number"] for operation in resolved if "number" in operation.args}
    numbers = sorted(target for target in targets if isinstance(target, int))
    args = {"operations": [_plain(operation) for operation in resolved]}
    if len(numbers) < len(targets) or _is_behind(desk, set(numbers), waiting):
        return _queued(desk, BATCH, args, numbers)
    try:
        return batch_operation_atomically(desk, resolved)
    except TrackerOfflineError:
        return _queued(desk, BATCH, args, numbers)


def see(desk: Desk, target: Target) -> Seen:
    """Return an Issue as it is, or as it was seen last where the tracker cannot be reached.

    Raises TrackerOfflineError where nobody here saw it, else as the tracker does, and UsageError for an operation that
    creates nothing, or did not create it yet.
    """
    number = _number(desk, target)
    if number is None:
        raise UsageError(f"{target} waits until the tracker can be reached; rollcage issue sync shows it")
    waiting = tuple(each.id for each in unsent(desk.records, place(desk)) if number in _targets(desk, each))
    try:
        issue = read_issue(desk, number)
    except TrackerOfflineError:
        copy = last_seen(desk.records, number)
        if copy is None:
            raise
        return Seen(copy.issue, copy.at, waiting)
    _remember(desk, issue)
    return Seen(issue, None, waiting)


def place(desk: Desk) -> str:
    """Return which tracker it is: what is queued for one is never sent to another."""
    return f"{desk.tracker.kind} {getattr(desk.tracker, 'repository', '')}".strip()


def _queued(desk: Desk, kind: str, args: Mapping[str, object], numbers: Sequence[int]) -> Queued:
    bases = {str(number): view for number in numbers if (view := _view(desk, number))}
    if kind == UPDATE:  # refused now rather than when it is sent, as far as one can know
        updates = cast(Mapping[str, object], args["updates"])
        change = {_SCOPE_NAMES.get(name, name): value for name, value in updates.items()}
        for base in bases.values():
            check_write(desk.scope, kind, base, change)
    waiting = put(desk.records, place(desk), desk.holder, desk.scope, kind, args, bases)
    return Queued(waiting.id, waiting.targets)


_SCOPE_NAMES = {"add_labels": "add", "remove_labels": "remove"}


def _view(desk: Desk, number: int) -> Issue | None:
    """Return the Issue as it was seen last, with what is queued for it; ``None``: nobody here saw it."""
    copy = last_seen(desk.records, number)
    if copy is None:
        return None
    issue = copy.issue
    for waiting in unsent(desk.records, place(desk)):
        if waiting.kind == UPDATE and _number(desk, waiting.args["number"]) == number:
            issue = with_updates(issue, waiting.args["updates"])
        for operation in waiting.args["operations"] if waiting.kind == BATCH else ():
            if _number(desk, operation["args"].get("number", 0)) == number:
                issue = with_updates(issue, _updates(operation["op"], operation["args"]))
    return issue


def _updates(kind: str, args: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what an operation of a batch makes of its Issue."""
    match kind:
        case "update":
            return dict(args["set"])
        case "label":
            return {"add_labels": args.get("add", ()), "remove_labels": args.get("remove", ())}
        case "close":
            return {"state": "closed"}
    return {}


def _remember(desk: Desk, issue: Issue) -> None:
    if not desk.is_local:
        remember(desk.records, [issue])


# Send it


def replay(desk: Desk) -> Replay:
    """Send what waits, in its order; cheap where nothing does. Raises StoreError."""
    waiting = unsent(desk.records, place(desk))
    if not waiting:
        return Replay((), ())
    if all(each.state == CONFLICT for each in waiting):
        return Replay((), tuple(waiting))
    try:
        with desk.hold([LEASE], wait=0) as holds:
            return _send_all(desk, holds)
    except LeaseError as error:
        return Replay((), tuple(unsent(desk.records, place(desk))), f"another process is at it: {error}")


def settle(desk: Desk, operation: str, *, ours: bool, by: str) -> Waiting:
    """Let the operator choose: send the operation ``ours`` whatever is there, or drop it for theirs; return it then.

    Raises UsageError where it is not in conflict.
    """
    waiting = find(desk.records, operation)
    if waiting is None or waiting.state != CONFLICT:
        state = f"is {waiting.state}, not in conflict" if waiting else "is not in the outbox"
        raise UsageError(f"{clean(operation, limit=40)} {state}; rollcage issue sync lists what is")
    with desk.records.transaction():
        desk.records.audit(by, f"keep {'ours' if ours else 'theirs'}", operation, waiting.note)
        settled = replace(waiting, state=DROPPED, note=f"dropped by {by}: {waiting.note}")
        if ours:
            forced = {**waiting.args, "forced": True}
            settled = replace(waiting, state=WAITING, args=forced, bases={}, note="", ours=None, theirs=None)
        save(desk.records, settled)
    return settled


def _send_all(desk: Desk, holds: Holds) -> Replay:
    sent, left, problem = list[Waiting](), list[Waiting](), ""
    blocked: set[Target] = set()
    for waiting in unsent(desk.records, place(desk)):
        targets, now = _targets(desk, waiting), waiting
        if not problem and waiting.state == WAITING and targets.isdisjoint(blocked):
            holds.renew()
            now, problem = _tried(desk, waiting)
            save(desk.records, now)
        if now.state == SENT:
            sent.append(now)
        else:
            blocked |= targets
            left.append(now)
    return Replay(tuple(sent), tuple(left), problem)


def _tried(desk: Desk, waiting: Waiting) -> tuple[Waiting, str]:
    """Send one; return it as it is then, and why no more can be sent now. Raises StoreError."""
    if holder := _holder(desk, waiting):  # not waited for: others may go on
        return replace(waiting, note=holder), ""
    acting = replace(desk, holder=waiting.holder, scope=waiting.scope)
    send = {CREATE: _send_create, UPDATE: _send_update, BATCH: _send_batch}[waiting.kind]
    try:
        return replace(send(acting, waiting), state=SENT, note=""), ""
    except (TrackerOfflineError, TrackerLimitError) as error:
        return replace(waiting, note=str(error)), str(error)
    except (LeaseError, OutcomeUnknownError) as error:
        return replace(waiting, note=str(error)), ""
    except ConcurrencyConflictError as error:
        return replace(waiting, state=CONFLICT, note=str(error), ours=error.ours, theirs=error.theirs), ""
    except StoreError:
        raise
    except RollcageError as error:
        return replace(waiting, state=CONFLICT, note=str(error)), ""


def _holder(desk: Desk, waiting: Waiting) -> str:
    """Return which of the Issues that it changes somebody else holds, in words; empty: none."""
    names = {f"issue/{target}" for target in _targets(desk, waiting)} - set(desk.held.tokens() if desk.held else ())
    held = [lease for lease in desk.leases.list() if lease.name in names]
    return f"lock {held[0].name!r} is held by {held[0].holder}" if held else ""


def _send_create(desk: Desk, waiting: Waiting) -> Waiting:
    draft = _draft(waiting)
    known = {intent.id: intent for intent in desk.records.intents(identity(draft.title, draft.labels))}
    intent = known.get(waiting.key)
    if intent is not None and intent.state == DONE:  # whoever sent it died before it could say so
        return replace(waiting, number=intent.number, created=True)
    result = create_draft(desk, draft, waiting.key)
    _remember(desk, result.issue)
    created = result.created or waiting.key in marks_of(result.issue.body)
    return replace(waiting, number=result.issue.number, created=created)


def _send_update(desk: Desk, waiting: Waiting) -> Waiting:
    number = _must_exist(desk, waiting.args["number"])
    expected: str | Issue | None = waiting.args["expect"] or waiting.bases.get(str(number))
    if waiting.args.get("forced"):
        expected = None
    elif expected is None:
        expected = _drafted(desk, waiting.args["number"], number)
    result = update_issue_with_optimistic_lock(desk, number, waiting.args["updates"], expected)
    _remember(desk, result.issue)
    return replace(waiting, number=number)


def _send_batch(desk: Desk, waiting: Waiting) -> Waiting:
    operations = []
    for each in waiting.args["operations"]:
        args = dict(each["args"])
        if "number" in args:
            target, args["number"] = args["number"], _must_exist(desk, args["number"])
            if each["op"] == UPDATE and waiting.args.get("forced"):
                args["expect"] = None
            elif each["op"] == UPDATE and not args.get("expect"):
                base = waiting.bases.get(str(args["number"])) or _drafted(desk, target, args["number"])
                args["expect"] = desk.records.saw(base).version if base is not None else None
        operations.append(Operation(each["id"], each["op"], args, tuple(each["after"])))
    run_batch(desk, operations, waiting.key)
    numbers = {operation.args["number"] for operation in operations if "number" in operation.args}
    return replace(waiting, number=min(numbers) if len(numbers) == 1 else None)


def _drafted(desk: Desk, target: Target, number: int) -> Issue | None:
    """Return what an author saw who knew only the draft, where its creation found another Issue in its place."""
    creation = find(desk.records, target) if isinstance(target, str) else None
    if creation is None or creation.created is not False:
        return None
    return as_created(_draft(creation), number, creation.at)


def _draft(waiting: Waiting) -> Draft:
    args = waiting.args
    return Draft(args["title"], args["body"], tuple(args["labels"]), tuple(args["assignees"]))


# Which Issue is meant


def _number(desk: Desk, target: Target) -> int | None:
    """Return the number that ``target`` stands for; ``None``: its creation waits. Raises UsageError."""
    if isinstance(target, int):
        return target
    creation = find(desk.records, target)
    if creation is None or creation.kind != CREATE or creation.tracker != place(desk):
        raise UsageError(
            f"{clean(target, limit=40)} is no operation that creates an Issue; rollcage issue sync lists them"
        )
    if creation.state == DROPPED:
        raise UsageError(f"{target} was dropped: the Issue was never created")
    return creation.number if creation.state == SENT else None


def _must_exist(desk: Desk, target: Target) -> int:
    number = _number(desk, target)
    if number is None:
        raise UsageError(f"{target}, which is to create the Issue, was not sent")
    return number


def _targets(desk: Desk, waiting: Waiting) -> set[Target]:
    """Return the Issues that it changes, by number where they have one."""
    found: set[Target] = set()
    for target in waiting.targets:
        creation = find(desk.records, target) if isinstance(target, str) else None
        found.add(target if creation is None or creation.number is None else creation.number)
    return found


def _is_behind(desk: Desk, numbers: set[int], waiting: Sequence[Waiting]) -> bool:
    """Tell whether something that waits comes before a write to one of these Issues."""
    return any(not _targets(desk, each).isdisjoint(numbers) for each in waiting)


def _checked(given: Operation | Mapping[str, Any]) -> Operation:
    """Return an operation that can be one, whose number may also be an operation. Raises UsageError."""
    args = given.args if isinstance(given, Operation) else given.get("args", {})
    target = args.get("number") if isinstance(args, Mapping) else None
    if not isinstance(target, str) or not OPERATION_ID.fullmatch(target):
        return checked(given)
    known = {**args, "number": 1}
    operation = replace(given, args=known) if isinstance(given, Operation) else {**given, "args": known}
    return replace(checked(operation), args=args)


def _resolved(desk: Desk, operation: Operation) -> Operation:
    target = operation.args.get("number")
    number = _number(desk, target) if isinstance(target, str) else None
    return operation if number is None else replace(operation, args={**operation.args, "number": number})


def _plain(operation: Operation) -> dict[str, object]:
    return {"id": operation.id, "op": operation.op, "args": dict(operation.args), "after": list(operation.after)}
