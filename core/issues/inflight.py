"""Notes of writes that are on their way to GitHub, so that one that lands late replaces nothing that came after it.

A process can be killed, or paused beyond its lease's time, while its request is under way. Its lease is free then, but
GitHub, which knows no fencing tokens, may still do what it was asked: over what the next holder wrote in the meantime.
So before the requests of a change a note is written into ``issues.db``: what they replace and by what; it goes once
they were answered, and once the history of the body was looked at. Whoever next takes the lease of an Issue with
another's note (`settle`, called by `Desk.hold`) waits until nothing of it can land any more, then looks what did land,
and puts back what it has overwritten, before anything else is done. The same where an answer was lost by a process that
lives: before its next attempt, and before it takes anything back.

Why `LANDS_WITHIN_S` is enough: GitHub ends each request after 10 s ("Troubleshooting the REST API", Timeouts), and our
own client gives up after `TIMEOUT_S` without an answer, which is taken as the longest that a request can be on its way.
The time counts from when somebody else had the lease, so from after the last moment at which its holder could send.

Over several machines (Redis) the note is seen by those with the same state directory only, and these alone notice a
holder's death at once, by its flock. All others wait for the end of its lease: each was renewed just before the request
and lasts `rollcage.core.issues.desk.TTL`, longer than turn, request and what GitHub does after it together. And a
living holder gives no lease back while one of its answers is lost: it settles that first, or lets the lease lapse.

What was paused between its last look at the lease and the request itself can still write late: then it notices by its
lease, when it has its answer, that it came late, and its note is there again, for `recover` and the next holder. What
was acknowledged since is put back by the history of the body, and by the audit for the rest.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..clock import iso
from ..errors import LeaseError, RollcageError
from ..text import clean
from .errors import ConcurrencyConflictError, OutcomeUnknownError, TrackerRefusedError
from .issue import Issue
from .merge import Change, merge_lines, same_text
from .values import name_key

if TYPE_CHECKING:
    from ..coordination.leases import HeldLease
    from .desk import Desk, Holds
    from .records import Records

LANDS_WITHIN_S = 25.0
"""Seconds after which a request cannot be done any more: 15 on its way, our client's time-out, and GitHub's own 10."""
_BACK = 1_000
"""So many audit records are looked at for what was acknowledged since a note."""
_RENEWED_EVERY = 10.0
"""Seconds after which a lease is renewed while its holder waits."""

IN_FLIGHT_SCHEMA = """
    CREATE TABLE in_flight (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        number INTEGER NOT NULL,
        token INTEGER NOT NULL,
        holder TEXT NOT NULL,
        pid INTEGER NOT NULL,
        at TEXT NOT NULL,
        mark INTEGER NOT NULL,
        change TEXT NOT NULL,
        boot_id TEXT,
        over REAL
    );
    CREATE INDEX in_flight_of_issue ON in_flight (number)
"""
"""``mark``: the newest audit record when it was written. ``over``: since when, on the boot clock, nothing of it is sent
any more, as far as that is known."""


@dataclass(frozen=True, slots=True)
class Note:
    """A change whose requests may be under way."""

    seq: int
    number: int
    token: int
    holder: str
    pid: int
    mark: int
    change: Mapping[str, Any]
    """As `rollcage.core.issues.steps.inverse_of` makes it: old and new values."""
    boot_id: str | None
    over: float | None


class Flight:
    """The notes of one line of work on one Issue. Not for trackers beside the records: those know no late writes."""

    def __init__(self, desk: Desk, number: int, holds: Holds) -> None:
        """Take where it is done, and under which leases."""
        self._desk, self._number, self._holds = desk, number, holds
        self._name = f"issue/{number}"
        self._answered: list[int] = []
        self._now: int | None = None
        self._row: tuple[object, ...] = ()
        self._sent = self._lost = False

    @contextmanager
    def sending(self, change: Mapping[str, Any], beside: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Have a durable note of ``change`` while it is sent and looked at within; ``beside`` is written with it.

        What is sent is to be told to `sent`. Where it fails, and where an answer was lost, the note stays open for
        `settle`. Raises LostLeaseError where a later holder was here, StoreError.
        """
        self._begin(change, beside)
        try:
            yield
        except ConcurrencyConflictError:  # it was looked at, and what others wrote stands
            raise
        except RollcageError as error:
            self._lost |= isinstance(error, OutcomeUnknownError)
            if self._sent or self._lost:
                self.left_open(landed=not self._lost)
            else:
                self.end()
            raise
        if self._lost:
            self.left_open(landed=False)

    def sent(self, *, lost: bool = False) -> None:
        """A request of it was sent; ``lost``: its answer was lost."""
        self._sent, self._lost = True, self._lost or lost

    def left_open(self, *, landed: bool) -> None:
        """What was sent last was not looked at, and may have replaced something; ``landed``: it can land no more.

        The note stays, or comes back where a later holder has taken it away, until somebody settles it. Raises
        StoreError.
        """
        clock = self._desk.clock
        over = clock.boot() - (LANDS_WITHIN_S if landed else 0.0)
        with self._desk.records.connected() as connection:
            connection.execute(
                "INSERT INTO in_flight (seq, number, token, holder, pid, at, mark, change, boot_id, over)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (seq) DO UPDATE SET boot_id = excluded.boot_id, over = excluded.over",
                (self._now, *self._row, clock.boot_id(), over),
            )
        self._lost = True

    def end(self) -> None:
        """Forget all that was answered and looked at. Raises StoreError."""
        self._next()
        if self._answered:
            with self._desk.records.connected() as connection:
                self._forget(connection)

    def _begin(self, change: Mapping[str, Any], beside: Callable[[], None]) -> None:
        self._next()
        desk = self._desk
        with desk.recording(self._holds, [self._name]), desk.records.connected() as connection:
            beside()
            self._forget(connection)
            (mark,) = connection.execute("SELECT COALESCE(MAX(seq), 0) FROM audit_head").fetchone()
            now, text = iso(desk.clock.now()), json.dumps(change)
            self._row = (self._number, self._holds.token(self._name), desk.holder, os.getpid(), now, mark, text)
            self._now = connection.execute(
                "INSERT INTO in_flight (number, token, holder, pid, at, mark, change) VALUES (?, ?, ?, ?, ?, ?, ?)",
                self._row,
            ).lastrowid

    def _next(self) -> None:
        """The last note goes with the next write, unless it is open: then it goes when it is settled."""
        if self._now is not None and not self._lost:
            self._answered.append(self._now)
        self._now, self._sent, self._lost = None, False, False

    def _forget(self, connection: sqlite3.Connection) -> None:
        connection.executemany("DELETE FROM in_flight WHERE seq = ?", [(seq,) for seq in self._answered])
        self._answered = []


def numbers_of(names: Collection[str]) -> list[int]:
    """Return the Issues that the leases ``names`` are of."""
    parts = (name.removeprefix("issue/") for name in names if name.startswith("issue/"))
    return [int(part) for part in parts if part.isdecimal()]


def numbers_in_flight(records: Records) -> list[int]:
    """Return the Issues with notes. Raises StoreError."""
    with records.reading() as connection:
        return [row[0] for row in connection.execute("SELECT DISTINCT number FROM in_flight ORDER BY number")]


def unsettled(desk: Desk, numbers: Sequence[int], holds: Holds) -> list[Note]:
    """Return the notes on these Issues, oldest first, but for those that this process itself is at under this lease.

    Another process under the same lease (of ``rollcage lock run``) may be dead. Raises StoreError.
    """
    with desk.records.reading() as connection:
        rows = connection.execute(
            "SELECT seq, number, token, holder, pid, mark, change, boot_id, over FROM in_flight"
            " WHERE number IN (SELECT value FROM json_each(?)) ORDER BY seq",
            (json.dumps(list(numbers)),),
        ).fetchall()
    own = os.getpid()
    notes = [Note(row[0], row[1], row[2], row[3], row[4], row[5], json.loads(row[6]), row[7], row[8]) for row in rows]
    return [
        note
        for note in notes
        if note.over is not None or note.pid != own or note.token != holds.token(f"issue/{note.number}")
    ]


def is_open(records: Records, held: HeldLease) -> bool:
    """Tell whether something that was sent under this lease may still land. Raises StoreError."""
    with records.reading() as connection:
        found = connection.execute(
            "SELECT EXISTS (SELECT 1 FROM in_flight WHERE number IN (SELECT value FROM json_each(?)) AND token = ?)",
            (json.dumps(numbers_of([held.name])), held.token),
        ).fetchone()
    return bool(found[0])


def settle(desk: Desk, names: Collection[str], holds: Holds, wait: float = math.inf) -> None:
    """Under the leases ``names``: wait until what others had sent can no longer land, and see to what did land.

    Costs one look into ``issues.db`` where there is nothing to settle. Raises LeaseError where that would take longer
    than ``wait`` seconds; LostLeaseError, TrackerError and StoreError: then the notes are still there.
    """
    notes = unsettled(desk, numbers_of(names), holds)
    if not notes:
        return
    notes = _over(desk, notes, holds)
    ripe = max(note.over or 0.0 for note in notes) + LANDS_WITHIN_S
    left = ripe - desk.clock.boot()
    if left > wait:
        last = notes[-1]
        raise LeaseError(
            f"Issue {last.number} is not free yet: what {clean(last.holder, limit=60)} had sent may still be done on"
            f" the server; try again in {left:.0f} s"
        )
    while (left := ripe - desk.clock.boot()) > 0:
        desk.clock.wait(threading.Event(), min(left, _RENEWED_EVERY))
        holds.renew()
    from .steps import patiently  # only then; that module needs this one

    for number in sorted({note.number for note in notes}):
        own = [note for note in notes if note.number == number]
        patiently(desk, holds, partial(_look, desk, number, own, holds))


def _over(desk: Desk, notes: Sequence[Note], holds: Holds) -> list[Note]:
    """Write down since when the notes' holders send nothing any more: the leases are ours, so since now at least."""
    clock = desk.clock
    now, boot = clock.boot(), clock.boot_id()
    names = sorted({f"issue/{note.number}" for note in notes})
    fresh = [note.seq for note in notes if note.over is None or note.boot_id != boot]
    if fresh:
        with desk.recording(holds, names), desk.records.connected() as connection:
            connection.executemany(
                "UPDATE in_flight SET over = ?, boot_id = ? WHERE seq = ?", [(now, boot, seq) for seq in fresh]
            )
    return [replace(note, boot_id=boot, over=now) if note.seq in fresh else note for note in notes]


def _look(desk: Desk, number: int, notes: Sequence[Note], holds: Holds) -> None:
    """See to what the notes' requests did to an Issue, then take the notes away. Raises as `settle` does."""
    try:
        for note in notes:
            _look_at_names_and_title(desk, note, holds)
            _look_at_body(desk, note, holds)
    except TrackerRefusedError as error:
        if error.status not in (404, 410):  # else the Issue is gone, and nothing in it can be wrong
            raise
    with desk.recording(holds, [f"issue/{number}"]), desk.records.connected() as connection:
        # One whose holder lives after all, and has noticed that it came late, has another time by now: it stays.
        connection.executemany(
            "DELETE FROM in_flight WHERE seq = ? AND over = ?", [(note.seq, note.over) for note in notes]
        )


def _look_at_body(desk: Desk, note: Note, holds: Holds) -> None:
    """Put back what somebody wrote into the body between the read and the write of the note, and what is gone."""
    from .steps import came_between, replace_at_once

    if "body" not in note.change["new"]:
        return
    before, ours = str(note.change["old"]["body"]), str(note.change["new"]["body"])
    theirs = came_between(desk.tracker, note.number, before, ours)
    if theirs is None:
        return
    now = desk.tracker.get(note.number)
    if _has_all(now.body, before, theirs):
        return
    merged = merge_lines(before, ours, theirs)
    wanted = None if merged is None else merge_lines(ours, merged, now.body)
    if wanted is None:
        _escalate(desk, note, ours, theirs, holds)
        if not same_text("body", now.body, ours):
            return  # it has changed since, so that theirs cannot be put into it: a human was told
        wanted = theirs
    replace_at_once(desk, now, Change(body=wanted), holds)
    _record(desk, now, {"body": now.body}, {"body": wanted}, holds)


def _has_all(now: str, before: str, theirs: str) -> bool:
    """Tell whether ``now`` has the lines that they put in, and none of those that they took out."""
    there, was, is_ = set(now.split("\n")), set(before.split("\n")), set(theirs.split("\n"))
    return is_ - was <= there and not (was - is_) & there


def _look_at_names_and_title(desk: Desk, note: Note, holds: Holds) -> None:
    """Put back what others acknowledged since the note, and what its late requests then replaced."""
    from .steps import inverse_of, steps

    since = _acknowledged(desk.records, note)
    if not since:
        return
    now = desk.tracker.get(note.number)
    change = _against(now, note.change, since)
    if not change:
        return
    flight = Flight(desk, note.number, holds)
    with flight.sending(inverse_of(now, change)):
        for step in steps(note.number, change):
            holds.renew()
            step.do(desk.tracker)
            flight.sent()
    after = desk.tracker.get(note.number)
    with desk.records.transaction():
        _record(
            desk,
            now,
            {name: getattr(now, name) for name in change.fields},
            {name: getattr(after, name) for name in change.fields},
            holds,
        )
        flight.end()


def _against(now: Issue, late: Mapping[str, Any], since: Mapping[str, Any]) -> Change:
    """Return what makes good what the ``late`` change did to values that were acknowledged ``since``."""
    values: dict[str, Any] = {}
    for field in ("title", "state"):
        ours = late["new"].get(field)
        if ours is not None and field in since and getattr(now, field) == ours != since[field]:
            values[field] = since[field]
    for kind in ("labels", "assignees"):
        if kind not in since:
            continue
        there, wanted = _keys(getattr(now, kind)), _keys(since[kind])
        added, removed = late.get("added", {}).get(kind, ()), late.get("removed", {}).get(kind, ())
        values[f"remove_{kind}"] = tuple(name for name in added if name_key(name) in there - wanted)
        values[f"add_{kind}"] = tuple(name for name in removed if name_key(name) in wanted - there)
    return Change(**values)


def _acknowledged(records: Records, note: Note) -> dict[str, Any]:
    """Return the values of fields that others wrote with rollcage and were told to be there, since the note."""
    since: dict[str, Any] = {}
    for record in records.audit_records(_BACK, after=note.mark):
        detail = record.detail
        if record.subject == f"issue {note.number}" and record.outcome == "done" and detail.get("token") != note.token:
            after = detail.get("after")
            since |= after if isinstance(after, Mapping) else {}
    return since


def _record(desk: Desk, now: Issue, before: Mapping[str, object], after: Mapping[str, object], holds: Holds) -> None:
    desk.records.wrote(
        desk.holder,
        "undo late write",
        f"issue {now.number}",
        before=before,
        after=after,
        token=holds.token(f"issue/{now.number}"),
    )


def _escalate(desk: Desk, note: Note, ours: str, theirs: str, holds: Holds) -> None:
    """Write down that a human has to choose."""
    desk.records.wrote(
        desk.holder,
        "settle late write",
        f"issue {note.number}",
        before={"body": theirs},
        after={"body": ours},
        token=holds.token(f"issue/{note.number}"),
        why=f"what {note.holder} had sent replaced a body that others wrote meanwhile, in the same lines",
        outcome="persistent_conflict",
    )


def _keys(names: Sequence[str]) -> set[str]:
    return {name_key(name) for name in names}
