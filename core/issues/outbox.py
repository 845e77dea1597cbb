"""The outbox: writes to Issues that wait until their tracker can be reached, durable in ``issues.db``.

A write is in the outbox before its caller is told so, and has an id by which later ones can refer to an Issue that it
is to create (``op-7`` in place of a number). With it is kept what its author last saw of each Issue that it changes:
so that what others changed meanwhile is merged, or shown as a conflict, and never overwritten in silence.
`rollcage.core.issues.sync` sends them.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ..clock import parse_iso
from ..codec import from_json, to_json
from ..text import clean
from .issue import Draft, Issue, sorted_names
from .records import Records
from .rows import row_of, text
from .scope import Scope
from .values import name_key

OPERATION_ID = re.compile(r"op-[1-9][0-9]{0,17}")
CREATE, UPDATE, BATCH = "create", "update", "batch"
WAITING, CONFLICT, SENT, DROPPED = "waiting", "conflict", "sent", "dropped"
KEPT = 10_000
"""So many of those that went or were dropped are remembered."""

Target = int | str
"""The number of an Issue, or the operation that is to create it."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A write in the outbox."""

    seq: int
    at: datetime
    tracker: str
    """Where it is to go; it goes nowhere else."""
    holder: str
    """Who wrote it, and in whose name it is sent."""
    scope: Scope | None
    kind: str
    """create, update or batch."""
    args: Mapping[str, Any]
    """create: title, body, labels, assignees; update: number, updates, expect; batch: operations."""
    bases: Mapping[str, Issue]
    """What its author saw, by number: with what was written before it, as if that had been sent."""
    state: str = WAITING
    """waiting, conflict; at the end sent or dropped."""
    key: str = ""
    """The id of the creation or the batch, by which it is known again, if whoever sends it dies: never sent twice."""
    number: int | None = None
    """Of the Issue that it created or changed; of a batch that changed several: none."""
    created: bool | None = None
    """Of a creation that was sent: whether it made a new Issue, or found that one."""
    note: str = ""
    """Why it still waits, or what is wrong."""
    ours: Mapping[str, Any] | None = None
    theirs: Mapping[str, Any] | None = None

    @property
    def id(self) -> str:
        """How people and other operations call it."""
        return f"op-{self.seq}"

    @property
    def targets(self) -> tuple[Target, ...]:
        """The Issues that it changes; what it creates itself is called by its own id."""
        if self.kind == CREATE:
            return (self.id,)
        if self.kind == UPDATE:
            return (self.args["number"],)
        return tuple(
            dict.fromkeys(each["args"]["number"] for each in self.args["operations"] if "number" in each["args"])
        )


_COLUMNS = (
    "seq, at, tracker, holder, scope, kind, args, bases, state, key, number, created, note, ours, theirs"  # as `_read`
)


def put(
    records: Records,
    tracker: str,
    holder: str,
    scope: Scope | None,
    kind: str,
    args: Mapping[str, object],
    bases: Mapping[str, Issue],
) -> Waiting:
    """Write it into the outbox, at its end; it is on the disk when this returns. Raises StoreError."""
    values = (
        records.now(),
        tracker,
        holder,
        json.dumps(to_json(scope)) if scope is not None else None,
        kind,
        json.dumps(args),
        json.dumps({number: to_json(base) for number, base in bases.items()}),
        WAITING,
        uuid.uuid4().hex,
    )
    with records.connected() as connection:
        seq = connection.execute(
            "INSERT INTO outbox (at, tracker, holder, scope, kind, args, bases, state, key)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        ).lastrowid
        assert seq is not None
        records.audit(holder, f"queue {kind}", f"op-{seq}", "the tracker cannot be reached")
        found = find(records, f"op-{seq}")
    assert found is not None
    return found


def save(records: Records, waiting: Waiting) -> None:
    """Write ``waiting`` as it is now. Raises StoreError."""
    with records.connected() as connection:
        connection.execute(
            "UPDATE outbox SET args = ?, bases = ?, state = ?, key = ?, number = ?, created = ?, note = ?, ours = ?,"
            " theirs = ? WHERE seq = ?",
            (
                json.dumps(waiting.args),
                json.dumps({key: to_json(base) for key, base in waiting.bases.items()}),
                waiting.state,
                waiting.key,
                waiting.number,
                waiting.created,
                clean(waiting.note, limit=500),
                None if waiting.ours is None else json.dumps(waiting.ours),
                None if waiting.theirs is None else json.dumps(waiting.theirs),
                waiting.seq,
            ),
        )
        if waiting.state in {SENT, DROPPED} and waiting.seq % 64 == 0:
            connection.execute(
                "DELETE FROM outbox WHERE state IN ('sent', 'dropped') AND seq <= ? AND seq <"
                " COALESCE((SELECT MIN(seq) FROM outbox WHERE state IN ('waiting', 'conflict')), ?)",
                (waiting.seq - KEPT, waiting.seq),
            )


def unsent(records: Records, tracker: str) -> list[Waiting]:
    """Return what waits for ``tracker`` or is in conflict, in its order; cheap where nothing is. Raises StoreError."""
    query = f"SELECT {_COLUMNS} FROM outbox WHERE state IN ('waiting', 'conflict') AND tracker = ? ORDER BY seq"  # noqa: S608
    with records.reading() as connection:
        return [_read(row) for row in connection.execute(query, (tracker,)).fetchall()]


def has_waiting(records: Records) -> bool:
    """Tell whether anything waits to be sent, to whichever tracker. Raises StoreError."""
    with records.reading() as connection:
        query = "SELECT EXISTS (SELECT 1 FROM outbox WHERE state = 'waiting')"
        return bool(connection.execute(query).fetchone()[0])


def find(records: Records, operation: str) -> Waiting | None:
    """Return the operation with that id, also one that was sent. Raises StoreError."""
    if not OPERATION_ID.fullmatch(operation):
        return None
    with records.reading() as connection:
        row = connection.execute(
            f"SELECT {_COLUMNS} FROM outbox WHERE seq = ?",  # noqa: S608 - a constant
            (int(operation[3:]),),
        ).fetchone()
    return None if row is None else _read(row)


def _read(row: Sequence[Any]) -> Waiting:
    seq, at, tracker, holder, scope, kind, args, bases, state, key, number, created, note, ours, theirs = row
    with row_of(f"operation op-{seq}"):
        waiting = Waiting(
            seq,
            parse_iso(at),
            text(tracker),
            text(holder),
            None if scope is None else from_json(Scope, scope),
            text(kind),
            _object(args),
            {target: from_json(Issue, base) for target, base in _object(bases).items()},
            text(state),
            text(key),
            number,
            None if created is None else bool(created),
            text(note),
            None if ours is None else _object(ours),
            None if theirs is None else _object(theirs),
        )
        if waiting.kind not in {CREATE, UPDATE, BATCH} or not all(
            isinstance(each, (int, str)) for each in waiting.targets
        ):
            raise ValueError("no operation that there is")
        return waiting


def _object(value: object) -> dict[str, Any]:
    found = json.loads(text(value))
    if not isinstance(found, dict):
        raise ValueError("no object of fields")  # noqa: TRY004
    return found


# What was seen last


@dataclass(frozen=True, slots=True)
class Copy:
    """An Issue as it was when somebody here saw it last."""

    issue: Issue
    at: datetime


def remember(records: Records, issues: Iterable[Issue]) -> None:
    """Keep copies of ``issues`` as they are now, for when the tracker cannot be reached. Raises StoreError."""
    at = records.now()
    rows = [(issue.number, at, json.dumps(to_json(issue))) for issue in issues]
    with records.connected() as connection:
        connection.executemany("INSERT OR REPLACE INTO last_seen VALUES (?, ?, ?)", rows)


def last_seen(records: Records, number: int) -> Copy | None:
    """Return the Issue as it was seen last; ``None``: nobody here saw it. Raises StoreError."""
    with records.reading() as connection:
        row = connection.execute("SELECT at, body FROM last_seen WHERE number = ?", (number,)).fetchone()
    return None if row is None else _copy(*row)


def all_seen(records: Records) -> list[Copy]:
    """Return all Issues as they were seen last, newest number first. Raises StoreError."""
    with records.reading() as connection:
        rows = connection.execute("SELECT at, body FROM last_seen ORDER BY number DESC").fetchall()
    return [_copy(*row) for row in rows]


def _copy(at: str, body: str) -> Copy:
    with row_of("what was seen last of an Issue"):
        return Copy(from_json(Issue, text(body)), parse_iso(at))


def with_updates(issue: Issue, updates: Mapping[str, Any]) -> Issue:
    """Return ``issue`` as ``updates`` (`rollcage.core.issues.merge.NAMES`) would make it."""
    return replace(
        issue,
        title=updates.get("title", issue.title),
        body=updates.get("body", issue.body),
        state=updates.get("state", issue.state),
        labels=_changed(issue.labels, updates, "labels"),
        assignees=_changed(issue.assignees, updates, "assignees"),
    )


def _changed(names: Iterable[str], updates: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    names = updates.get(kind, names)
    removed = {name_key(name) for name in (*updates.get(f"remove_{kind}", ()), *updates.get(f"add_{kind}", ()))}
    return sorted_names([*(name for name in names if name_key(name) not in removed), *updates.get(f"add_{kind}", ())])


def as_created(draft: Draft, number: int, at: datetime) -> Issue:
    """Return the Issue that ``draft`` asks for."""
    return Issue(number, draft.title, draft.body, "open", draft.labels, draft.assignees, at, at)
