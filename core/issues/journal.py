"""The journal of batches in ``issues.db``: what a batch is about to do, and how to undo it, before it is done."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from .records import Records
from .rows import row_of, text, texts

RUNNING, UNDOING, DONE, UNDONE, LEFT = "running", "undoing", "done", "undone", "left"
"""Of a batch; the last three are its ends. ``left``: something of it could not be undone and stands."""
PLANNED, BEGUN = "planned", "begun"
"""Of a step, beside done, undone and left. planned: nothing of it was sent."""
KEPT = 2_000
"""So many batches that came to an end are remembered."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a batch: create, update, comment, label or close."""

    id: str
    op: str
    args: Mapping[str, Any]
    """create: title, body, labels, assignees; update: number, set, expect; comment: number, body; label: number, add,
    remove; close: number."""
    after: tuple[str, ...] = ()
    """The ids of those that must be done before it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An operation as the journal has it."""

    position: int
    operation: Operation
    state: str
    inverse: tuple[Mapping[str, Any], ...]
    """What undoes it, to be done from the last on; each is idempotent."""
    note: str


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as the journal has it, its operations in the order in which they are done."""

    id: str
    holder: str
    state: str
    entries: tuple[Entry, ...]


def begin(records: Records, name: str, holder: str, operations: Sequence[Operation], state: str = RUNNING) -> None:
    """Write down a batch of which nothing is done yet, or, with ``state`` done, one that is done whole."""
    step = PLANNED if state == RUNNING else state
    with records.connected() as connection:
        connection.execute(
            "INSERT INTO batch (id, holder, since, state) VALUES (?, ?, ?, ?)", (name, holder, records.now(), state)
        )
        connection.executemany(
            "INSERT INTO batch_step (batch, position, operation, state) VALUES (?, ?, ?, ?)",
            [(name, position, _text(operation), step) for position, operation in enumerate(operations)],
        )
        connection.execute(
            "DELETE FROM batch_step WHERE batch IN (SELECT id FROM batch WHERE state IN ('done', 'undone') AND seq <="
            " (SELECT MAX(seq) FROM batch) - ?)",
            (KEPT,),
        )
        connection.execute(
            "DELETE FROM batch WHERE state IN ('done', 'undone') AND seq <= (SELECT MAX(seq) FROM batch) - ?", (KEPT,)
        )


def begun(records: Records, name: str, position: int, inverse: Mapping[str, Any]) -> None:
    """Write down how to undo what is about to be sent; of one operation several can come."""
    with records.connected() as connection:
        row = connection.execute(
            "SELECT inverse FROM batch_step WHERE batch = ? AND position = ?", (name, position)
        ).fetchone()
        known = json.loads(row[0]) if row[0] else []
        connection.execute(
            "UPDATE batch_step SET state = 'begun', inverse = ? WHERE batch = ? AND position = ?",
            (json.dumps([*known, inverse]), name, position),
        )


def ended(records: Records, name: str, position: int, state: str, note: str = "") -> None:
    """Write down that an operation is done, undone or left."""
    with records.connected() as connection:
        connection.execute(
            "UPDATE batch_step SET state = ?, note = ? WHERE batch = ? AND position = ?", (state, note, name, position)
        )


def become(records: Records, name: str, state: str) -> None:
    """Write down what a batch is now."""
    with records.connected() as connection:
        connection.execute("UPDATE batch SET state = ? WHERE id = ?", (state, name))


def forget(records: Records, name: str) -> None:
    """Forget a batch of which nothing was sent."""
    with records.connected() as connection:
        connection.execute("DELETE FROM batch_step WHERE batch = ?", (name,))
        connection.execute("DELETE FROM batch WHERE id = ?", (name,))


def find(records: Records, name: str) -> Batch | None:
    """Return the batch with this id; ``None``: it is not known (any more)."""
    with records.reading() as connection:
        row = connection.execute("SELECT holder, state FROM batch WHERE id = ?", (name,)).fetchone()
        if row is None:
            return None
        steps = connection.execute(
            "SELECT position, operation, state, inverse, note FROM batch_step WHERE batch = ? ORDER BY position",
            (name,),
        ).fetchall()
    return Batch(name, row[0], row[1], tuple(_entry(step) for step in steps))


def unfinished(records: Records) -> list[str]:
    """Return the ids of the batches that did not come to an end yet, oldest first."""
    with records.reading() as connection:
        rows = connection.execute("SELECT id FROM batch WHERE state IN ('running', 'undoing') ORDER BY seq").fetchall()
    return [row[0] for row in rows]


def _text(operation: Operation) -> str:
    return json.dumps([operation.id, operation.op, dict(operation.args), operation.after])


def _entry(row: tuple[Any, ...]) -> Entry:
    position, operation, state, inverse, note = row
    with row_of("the journal of a batch"):
        name, kind, args, after = json.loads(operation)
        if kind != "create" and not isinstance(args["number"], int):
            raise ValueError("no number of an Issue")
        back = tuple(json.loads(inverse or "[]"))
        for each in back:
            if not ({"intent", "identity"} <= set(each) or {"comment", "number"} <= set(each)) and not (
                isinstance(each["number"], int) and set(each["new"]) <= set(each["old"])
            ):
                raise ValueError("no way back")
        return Entry(position, Operation(text(name), kind, args, texts(after)), state, back, note)


class Alone:
    """The journal of a single update of several requests: if its process is killed between two, they are undone."""

    def __init__(
        self, records: Records, number: int, holder: str, guard: Callable[[], AbstractContextManager[None]]
    ) -> None:
        """Take whose update it is; ``guard`` lets a record be written only while the lease is held."""
        self._records, self._number, self._holder, self._guard = records, number, holder, guard
        self._name = uuid.uuid4().hex
        self._inverses: list[Mapping[str, Any]] = []
        self._written = 0

    def note(self, inverse: Mapping[str, Any]) -> None:
        """Write down how to undo what is about to be sent; one single request needs no way back."""
        self._inverses.append(inverse)
        if not self._written and sum(map(_requests, self._inverses)) < 2:
            return
        with self._guard():
            if not self._written:
                operation = Operation("update", "update", {"number": self._number, "set": {}})
                begin(self._records, self._name, self._holder, [operation])
            for each in self._inverses[self._written :]:
                begun(self._records, self._name, 0, each)
        self._written = len(self._inverses)

    def end(self, stands: bool) -> None:
        """Forget it: all of it is there, or nothing. ``stands``: something could not be undone, and is to be later."""
        if self._written:
            with self._guard():
                if stands:
                    become(self._records, self._name, UNDOING)
                else:
                    forget(self._records, self._name)


def _requests(inverse: Mapping[str, Any]) -> int:
    names = [*inverse.get("added", {}).values(), *inverse.get("removed", {}).values()]
    return bool(inverse["new"]) + sum(map(len, names))
