"""Several operations as one: all of them, or nothing.

Where Issues lie beside the records, a batch is one transaction. Elsewhere it is a saga (H. Garcia-Molina and K. Salem,
"Sagas", SIGMOD 1987), visible while it runs: all leases first, in one global order; for each request a line in the
journal before it, which says how to undo it; on failure all is undone, the last first. Whoever finds a batch whose
process was killed undoes it: nobody was told that it was done. `recover` does, at the next opening of a desk.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from graphlib import CycleError, TopologicalSorter
from typing import Any

from ..errors import LeaseError, RollcageError, StoreError, UsageError
from ..text import clean
from . import journal
from .comment import add_comment, delete_marked
from .create import create_draft, recover_creations, undo_creation
from .desk import Desk, Holds
from .errors import (
    BatchOperationError,
    ConcurrencyConflictError,
    ScopeViolationError,
    TrackerError,
    TrackerLimitError,
    TrackerOfflineError,
    TrackerRefusedError,
)
from .identity import identity
from .inflight import numbers_in_flight
from .issue import Draft
from .journal import DONE, LEFT, RUNNING, UNDOING, UNDONE, Batch, Entry, Operation
from .merge import wanted_of
from .scope import check_write, completed
from .steps import Inverse, change_back, in_turn, patiently
from .update import Merging, bring, escalate
from .values import check_body, check_draft, check_number

__all__ = ["BatchResult", "Operation", "batch_operation_atomically", "checked", "in_order", "recover", "run_batch"]

_ARGS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "create": (frozenset({"title"}), frozenset({"body", "labels", "assignees"})),
    "update": (frozenset({"number", "set"}), frozenset({"expect"})),
    "comment": (frozenset({"number", "body"}), frozenset()),
    "label": (frozenset({"number"}), frozenset({"add", "remove"})),
    "close": (frozenset({"number"}), frozenset()),
}
"""What each operation needs, and what it may have."""


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of a batch that was done."""

    success: bool
    executed_operations: tuple[str, ...]
    """Their ids, in the order in which they were done."""
    undone_operations: tuple[str, ...]
    total_operations: int
    numbers: Mapping[str, int] = field(default_factory=dict)
    """The Issues of the operations, those created among them, by the operations' ids; what is not known is left out."""


def batch_operation_atomically(desk: Desk, operations: Sequence[Operation | Mapping[str, Any]]) -> BatchResult:
    """Do all ``operations``, each after those that it names, or nothing. Mappings have the keys of `Operation`.

    Raises BatchOperationError where one failed: it says what was undone, and what could not be; UsageError for a batch
    that is none, LeaseError where a lease was not had; and where nothing was sent ScopeViolationError,
    TrackerOfflineError and TrackerLimitError.
    """
    return run_batch(desk, operations, uuid.uuid4().hex)


def run_batch(desk: Desk, operations: Sequence[Operation | Mapping[str, Any]], name: str) -> BatchResult:
    """Do a batch that has an id of its own: one that was done is not done again. Raises as above."""
    ordered = in_order([checked(operation) for operation in operations])
    drafts = {each.id: _draft(desk, each) for each in ordered if each.op == "create"}
    with desk.hold(_locks(ordered, drafts)) as holds:
        acting = desk.holding(holds)
        known = journal.find(desk.records, name)
        if known is not None and known.state in (RUNNING, UNDOING):  # whoever was at it is dead: the leases are ours
            _Undoing(acting, known, holds).run()
            known = journal.find(desk.records, name)
        if known is not None and known.state == DONE:
            return BatchResult(True, tuple(each.id for each in ordered), (), len(ordered))
        if known is not None:
            journal.forget(desk.records, name)
        _check_scopes(desk, ordered, drafts)
        run = _Run(acting, name, ordered, drafts, holds)
        return run.at_once() if desk.is_local else run.one_by_one()


def in_order(operations: Sequence[Operation]) -> list[Operation]:
    """Return the operations, each after those that it names, else as they were given. Raises UsageError."""
    known: dict[str, Operation] = {}
    for operation in operations:
        if operation.id in known:
            raise UsageError(f"operation '{clean(operation.id, limit=60)}' is there twice; allowed: an id of its own")
        known[operation.id] = operation
    if not known:
        raise UsageError("the batch has no operation; allowed: one or more")
    for operation in operations:
        for other in operation.after:
            if other not in known:
                raise UsageError(
                    f"operation '{clean(operation.id, limit=60)}' comes after '{clean(other, limit=60)}', which is not"
                    " in the batch"
                )
    place = {name: index for index, name in enumerate(known)}
    sorter = TopologicalSorter({operation.id: operation.after for operation in operations})
    try:
        sorter.prepare()
    except CycleError as error:
        circle = " after ".join(clean(str(name), limit=60) for name in reversed(error.args[1]))
        raise UsageError(f"the operations wait for each other: {circle}; nothing was written") from None
    ordered: list[Operation] = []
    ready: list[str] = []
    while sorter.is_active():
        ready = sorted([*ready, *sorter.get_ready()], key=place.__getitem__)
        name = ready.pop(0)
        ordered.append(known[name])
        sorter.done(name)
    return ordered


def checked(given: Operation | Mapping[str, Any]) -> Operation:
    """Return an operation that can be one. Raises UsageError for an unknown one, and for args that it does not take."""
    if isinstance(given, Operation):
        operation = given
    else:
        if unknown := set(given) - {"id", "op", "args", "after"}:
            raise UsageError(f"an operation has '{clean(str(min(unknown)))}'; allowed: id, op, args, after")
        after = given.get("after", ())
        operation = Operation(
            str(given.get("id", "")), str(given.get("op", "")), given.get("args", {}), tuple(map(str, after))
        )
    name = clean(operation.id, limit=60)
    if not operation.id:
        raise UsageError("an operation has no id; allowed: any text, each its own")
    if operation.op not in _ARGS:
        raise UsageError(f"operation '{name}' is '{clean(operation.op, limit=60)}'; allowed: {', '.join(_ARGS)}")
    needed, allowed = _ARGS[operation.op]
    given_args: object = operation.args
    if not isinstance(given_args, Mapping) or not needed <= set(operation.args) <= needed | allowed:
        raise UsageError(
            f"operation '{name}' has other args than {operation.op} takes: {', '.join(sorted(needed))}"
            + (f", and maybe {', '.join(sorted(allowed))}" if allowed else "")
        )
    if "number" in needed:
        check_number(operation.args["number"])
    if operation.op == "comment":
        check_body(operation.args["body"])
    elif operation.op != "create":
        wanted_of(_updates(operation))
    return operation


def _updates(operation: Operation) -> Mapping[str, object]:
    args = operation.args
    match operation.op:
        case "update":
            if not isinstance(args["set"], Mapping):
                raise UsageError(f"operation '{clean(operation.id, limit=60)}': set is no object of fields")
            return dict(args["set"])
        case "label":
            given = {"add_labels": args.get("add") or (), "remove_labels": args.get("remove") or ()}
            return {name: value for name, value in given.items() if value} or given
        case _:
            return {"state": "closed"}


def _draft(desk: Desk, operation: Operation) -> Draft:
    args = operation.args
    draft = Draft(
        str(args["title"]).strip(),
        args.get("body") or "",
        tuple(args.get("labels") or ()),
        tuple(args.get("assignees") or ()),
    )
    return completed(desk.scope, check_draft(draft))


def _locks(operations: Sequence[Operation], drafts: Mapping[str, Draft]) -> list[str]:
    names = {f"issue/{operation.args['number']}" for operation in operations if operation.op != "create"}
    names |= {f"issue-create/{identity(draft.title, draft.labels)}" for draft in drafts.values()}
    return sorted(names)


def _check_scopes(desk: Desk, operations: Sequence[Operation], drafts: Mapping[str, Draft]) -> None:
    """Refuse the batch before anything is written where one of its operations may not be done."""
    if desk.scope is None:
        return
    for operation in operations:
        if operation.op == "create":
            check_write(desk.scope, "create", None, drafts[operation.id])
            continue
        issue = desk.tracker.get(operation.args["number"])
        updates = {} if operation.op == "comment" else dict(_updates(operation))
        names = {"add_labels": "add", "remove_labels": "remove"}
        change = {names.get(name, name): value for name, value in updates.items()}
        check_write(desk.scope, operation.op, issue, change)


class _Run:
    """A batch under way, under its leases."""

    def __init__(
        self, desk: Desk, name: str, operations: Sequence[Operation], drafts: Mapping[str, Draft], holds: Holds
    ) -> None:
        self._desk, self._name, self._operations, self._holds = desk, name, operations, holds
        self._drafts = drafts
        self._locks = _locks(operations, drafts)
        self._numbers: dict[str, int] = {}
        self._at = operations[0]

    def at_once(self) -> BatchResult:
        """Do it in one transaction: it is there whole, or not at all."""
        done: list[str] = []
        try:
            with self._desk.guarded(self._holds, self._locks):
                for position, operation in enumerate(self._operations):
                    self._do(position, operation)
                    done.append(operation.id)
                journal.begin(self._desk.records, self._name, self._desk.holder, self._operations, DONE)
        except _PLAIN:
            raise
        except RollcageError as error:
            raise self._failed(error, tuple(reversed(done)), ()) from error
        return self._result()

    def one_by_one(self) -> BatchResult:
        """Do it by single requests, each with a way back that is written down before."""
        desk, records = self._desk, self._desk.records
        with desk.recording(self._holds, self._locks):
            journal.begin(records, self._name, desk.holder, self._operations)
        try:
            for position, operation in enumerate(self._operations):
                self._do(position, operation)
                with desk.recording(self._holds, self._locks):
                    journal.ended(records, self._name, position, DONE)
            with desk.recording(self._holds, self._locks):
                journal.become(records, self._name, DONE)
                records.wrote(
                    desk.holder, "batch", self._name, after={"operations": [each.id for each in self._operations]}
                )
        except RollcageError as error:
            batch = journal.find(records, self._name)
            assert batch is not None
            begun = [entry for entry in batch.entries if entry.state != journal.PLANNED]
            unsent = isinstance(error, (TrackerOfflineError, TrackerLimitError)) and all(
                entry.operation.id == self._at.id for entry in begun
            )
            if not begun or unsent:  # begun is written down before the request; these say that none was sent
                journal.forget(records, self._name)
                if isinstance(error, (*_PLAIN, *_AWAY)):
                    raise
                raise self._failed(error, (), ()) from error
            undone, left = _Undoing(desk, batch, self._holds).run()
            if not left and all(entry.state != DONE for entry in batch.entries) and isinstance(error, _AWAY):
                raise  # not even the first of them came through
            raise self._failed(error, undone, left) from error
        return self._result()

    def _do(self, position: int, operation: Operation) -> None:
        self._at = operation
        desk, args = self._desk, operation.args
        if operation.op == "create":
            intent = uuid.uuid4().hex
            self._begun(position, {"intent": intent, "identity": identity(*_identified(self._drafts[operation.id]))})
            make = partial(create_draft, desk, self._drafts[operation.id], intent)
            made = in_turn(desk, self._holds, make) if position else make()
            self._numbers[operation.id] = made.issue.number
            return
        number = args["number"]
        self._numbers[operation.id] = number
        if operation.op == "comment":
            mark = uuid.uuid4().hex
            self._begun(position, {"comment": mark, "number": number})
            with ExitStack() as turn:
                if position:
                    in_turn(desk, self._holds, lambda: turn.enter_context(desk.tracker.booked(0, creations=1)))
                add_comment(desk, number, args["body"], mark, self._holds)
            return
        goal = Merging(desk, number, wanted_of(_updates(operation)), args.get("expect"))

        bring(desk, number, goal, self._holds, lambda inverse: self._begun(position, inverse), under_way=bool(position))

    def _begun(self, position: int, inverse: Inverse) -> None:
        if self._desk.is_local:
            return  # nothing of it is there before all of it is
        with self._desk.recording(self._holds, self._locks):
            journal.begun(self._desk.records, self._name, position, inverse)

    def _result(self) -> BatchResult:
        names = tuple(operation.id for operation in self._operations)
        return BatchResult(True, names, (), len(names), self._numbers)

    def _failed(self, error: RollcageError, undone: tuple[str, ...], left: tuple[str, ...]) -> BatchOperationError:
        if isinstance(error, ConcurrencyConflictError):
            escalate(self._desk, self._at.args["number"], "batch", error, self._holds)
        what = f"operation '{clean(self._at.id, limit=60)}' of the batch failed: {clean(str(error), limit=1_000)}"
        rest = "; nothing of the batch is left"
        if left:
            rest = f"; undone: {_list(undone)}; not undone, it stands: {_list(left)}"
        return BatchOperationError(what + rest, undone, left, len(self._operations))


_PLAIN = (UsageError, ScopeViolationError, LeaseError, StoreError)
"""Errors that are clear as they are, where nothing was written."""
_MENDABLE = (401, 403)
"""Refusals that a new token or another right mends: what is to be undone then is tried again by `recover`."""
_AWAY = (TrackerOfflineError, TrackerLimitError)
"""Errors after which the same can be asked again later."""


class _Undoing:
    """A batch that is taken back, the last operation first, under its leases. Can be begun again at any point."""

    def __init__(self, desk: Desk, batch: Batch, holds: Holds) -> None:
        self._desk, self._batch, self._holds = desk, batch, holds
        self._locks = locks_of(batch)

    def run(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the ids of what was undone, and of what was not: it stands, or is tried again by `recover`."""
        desk = self._desk
        undone: list[str] = []
        left: list[str] = []
        later = False
        try:
            with desk.recording(self._holds, self._locks):
                journal.become(desk.records, self._batch.id, UNDOING)
        except LeaseError:  # somebody else is at it by now
            return (), tuple(entry.operation.id for entry in self._sent())
        stuck: set[object] = set()
        every = {entry.operation.args.get("number") for entry in self._sent()}
        for entry in reversed(self._sent()):
            if entry.operation.args.get("number") in stuck:
                left.append(entry.operation.id)
                continue
            state, note = UNDONE, ""
            try:
                patiently(desk, self._holds, partial(undo, desk, entry, self._holds))
            except (ConcurrencyConflictError, TrackerError, LeaseError) as error:
                if not _is_final(error):
                    later = True
                    left.append(entry.operation.id)
                    # Of one Issue the last must be undone first; and who does not answer does not answer the next.
                    stuck |= {entry.operation.args.get("number")} if isinstance(error, TrackerRefusedError) else every
                    continue
                state, note = LEFT, str(error)
            (undone if state == UNDONE else left).append(entry.operation.id)
            with suppress(LeaseError):
                self._ended(entry, state, note)
        stands = [entry.operation.id for entry in self._batch.entries if entry.state == LEFT]
        if not later:
            with suppress(LeaseError):
                self._end(LEFT if left or stands else UNDONE, undone, [*left, *stands])
        return tuple(undone), (*left, *stands)

    def _sent(self) -> list[Entry]:
        return [entry for entry in self._batch.entries if entry.state in (journal.BEGUN, DONE)]

    def _end(self, state: str, undone: Sequence[str], left: Sequence[str]) -> None:
        with self._desk.recording(self._holds, self._locks):
            journal.become(self._desk.records, self._batch.id, state)
            self._desk.records.wrote(
                self._desk.holder,
                "undo batch",
                self._batch.id,
                before={"holder": self._batch.holder},
                after={"undone": list(undone), "left": list(left)},
                outcome=state,
            )

    def _ended(self, entry: Entry, state: str, note: str) -> None:
        with self._desk.recording(self._holds, self._locks):
            journal.ended(self._desk.records, self._batch.id, entry.position, state, note)


def _is_final(error: RollcageError) -> bool:
    """Tell whether trying again later is no use."""
    if isinstance(error, TrackerRefusedError):
        return error.status not in _MENDABLE
    return isinstance(error, ConcurrencyConflictError)


def undo(desk: Desk, entry: Entry, holds: Holds) -> None:
    """Undo an operation, whether it was done or not. Raises TrackerError, LeaseError, ConcurrencyConflictError."""
    for inverse in reversed(entry.inverse):
        if "intent" in inverse:
            undo_creation(desk, inverse["intent"], inverse["identity"])
        elif "comment" in inverse:
            delete_marked(desk, inverse["number"], inverse["comment"], holds)
        else:
            change_back(desk, entry.inverse, holds)
            return


def locks_of(batch: Batch) -> list[str]:
    """Return the leases of a batch, by its journal."""
    names = {f"issue/{entry.operation.args['number']}" for entry in batch.entries if entry.operation.op != "create"}
    names |= {
        f"issue-create/{each['identity']}" for entry in batch.entries for each in entry.inverse if "intent" in each
    }
    return sorted(names)


def recover(desk: Desk) -> int:
    """Bring to an end what killed processes left unfinished: batches are undone, creations found or given up, and what
    was on its way is seen to once it can land no more.

    Returns how many are still under way, since their processes live or the tracker does not answer. Raises StoreError.
    """
    waiting = 0
    for name in journal.unfinished(desk.records):
        batch = journal.find(desk.records, name)
        if batch is None:
            continue
        try:
            with desk.hold(locks_of(batch), wait=0) as holds:
                batch = journal.find(desk.records, name)
                if batch is not None and batch.state in (RUNNING, UNDOING):
                    _Undoing(desk.holding(holds), batch, holds).run()
        except (LeaseError, TrackerError):
            waiting += 1
            continue
        batch = journal.find(desk.records, name)
        waiting += batch is not None and batch.state in (RUNNING, UNDOING)
    for number in numbers_in_flight(desk.records):
        try:
            with desk.hold([f"issue/{number}"], wait=0):
                pass  # whoever has the lease has seen to it
        except (LeaseError, TrackerError):
            waiting += 1
    try:
        return waiting + recover_creations(desk)
    except (TrackerError, LeaseError):
        return waiting + len(desk.records.intents())


def _identified(draft: Draft) -> tuple[str, tuple[str, ...]]:
    return draft.title, draft.labels


def _list(names: Sequence[str]) -> str:
    return clean(", ".join(names) or "nothing", limit=400)
