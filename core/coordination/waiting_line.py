"""The wait for a lock: a place in its queue, a bell that is rung when it may be free, and the taking of it.

What is written is written by short statements, since all who use ``locks.db`` write one after the other: the place in
the queue by one, the taking by another that looks once more. The look whether it is worth while, who is dead and who
stands ahead, only reads.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ..errors import LeaseError, StoreError, UsageError
from . import lease_table
from .bells import Bell, ring
from .lease_rows import LeaseRow, WaiterRow, read_leases, read_waiter, waiting_before
from .lease_table import LeaseTable
from .leases import DeadlockError, HeldLease, WaitLog
from .tokens import NoTokenError
from .waits import may_pass, refusal

POLL = 0.05
"""Seconds between two looks of a waiter whether those it waits for are alive."""
LOOK = 1.0
"""Seconds after which a waiter that nobody woke looks at the queue all the same."""

_INSERT = """
    INSERT INTO lease (name, token, holder, holder_id, session, permits, slots, ttl, since, boot_id, expires)
    SELECT ?1, next_token(), ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10
"""
_TAKE_IN_TURN = f"""{_INSERT}
    WHERE NOT EXISTS (SELECT 1 FROM lease WHERE name = ?1)
    AND NOT EXISTS (SELECT 1 FROM waiter WHERE name = ?1 AND seq < ?11)
    AND EXISTS (
        SELECT 1 FROM waiter WHERE seq = ?11 AND name = ?1 AND holder_id = ?3 AND bell = ?12 AND refused IS NULL
    )
    RETURNING token
"""  # noqa: S608 - no word of others
# The places are microseconds of the boot clock, so that they grow though the queue is empty meanwhile; a row a day
# ahead is none of ours, and must not use up the numbers.
_QUEUE = """
    INSERT OR REPLACE INTO waiter
    (seq, name, holder, holder_id, bell, session, permits, slots, came, boot_id, expires)
    SELECT max(?1, 1 + coalesce((SELECT max(seq) FROM waiter WHERE seq < ?1 + 86400000000), 0)),
    ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11
"""
_QUEUE_WITH_NOTHING = f"""{_QUEUE}
    WHERE NOT EXISTS (SELECT 1 FROM lease WHERE session = ?6 OR (name = ?2 AND permits != ?7))
    AND NOT EXISTS (SELECT 1 FROM waiter WHERE name = ?2 AND permits != ?7)
    RETURNING seq
"""  # noqa: S608
_IS_WAITED_FOR = "SELECT 1 FROM lease JOIN waiter USING (name) WHERE lease.session = ? LIMIT 1"
_KEEP = "UPDATE waiter SET expires = ? WHERE seq = ? AND holder_id = ? AND bell = ? RETURNING seq"
_LEAVE = "DELETE FROM waiter WHERE seq = ? AND holder_id = ? AND bell = ? RETURNING seq"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody asks for."""

    name: str
    holder: str
    session: str
    ttl: float
    permits: int
    slots: int


class Line:
    """One who wants a lock that is not there for the taking; without a bell it does not wait."""

    def __init__(self, table: LeaseTable, wanted: Wanted, wait: float, bell: Bell | None = None) -> None:
        """Take what is wanted, and how long to wait for it, seconds, for messages. Touches nothing yet."""
        self._table, self._clock = table, table.clock
        self._wanted, self._wait, self._bell = wanted, wait, bell
        self._seq = 0
        self._came = 0.0
        self._obstacle = "is wanted by others"
        self._blockers: tuple[LeaseRow | WaiterRow, ...] = ()
        """Whose end is worth a look."""
        self._rings: list[WaiterRow] = []
        """Whom to wake once what was done is written."""
        self._room_left = False

    def take(self, end: float, meanwhile: Callable[[], None]) -> HeldLease:
        """Return the lease, once it is had, until ``end`` on the boot clock; calls ``meanwhile`` many times a second.

        Raises LeaseError where it is not had in time, DeadlockError, UsageError, StoreError.
        """
        woken = False
        try:
            self._queue_with_nothing()
            while True:
                held = self._take_in_turn() if woken else None
                if held is None and self._is_worth_while():
                    held = self._table.with_tokens(self._look)
                self._wake_others()
                if held is not None:
                    return held
                woken = self._sleep(end, meanwhile)
        except BaseException:
            self._leave()
            raise

    def _sleep(self, end: float, meanwhile: Callable[[], None]) -> bool:
        """Return when a look at the queue is worth while, and whether the bell rang.

        Raises LeaseError when the time is up.
        """
        look = self._clock.boot() + min(LOOK, lease_table.WAITER_TTL / 4)
        while True:
            now = self._clock.boot()
            if now >= end or self._bell is None:
                raise LeaseError(f"lock {self._wanted.name!r} was not had within {self._wait:g} s: it {self._obstacle}")
            meanwhile()
            if now >= look or not all(self._table.lives(each, now) for each in self._blockers):
                return False
            if self._clock.wait(self._bell, min(POLL, end - now)):
                self._bell.clear()
                return True

    def _leave(self) -> None:
        if self._seq and self._bell is not None:
            with suppress(StoreError):  # the place lapses by itself
                self._table.file.write(_LEAVE, (self._seq, self._table.me, self._bell.number))
                self._table.wake(self._wanted.name)

    def _wake_others(self) -> None:
        rings, self._rings = self._rings, []
        for row in rings:
            ring(self._table.holders, row.holder_id, row.bell)
        if self._room_left:
            self._table.wake(self._wanted.name)

    # -- short ways

    def _queue_with_nothing(self) -> None:
        """Take the last place in the queue at once, where this session holds nothing: nobody can wait for it.

        Not where others mean other permits: a place that is wrong would make theirs seem wrong.
        """
        if self._bell is not None and self._wanted.permits == 1:
            rows = self._table.file.write(_QUEUE_WITH_NOTHING, self._place(self._bell, self._clock.boot()))
            self._seq = int(rows[0][0]) if rows else 0

    def _take_in_turn(self) -> HeldLease | None:
        """Take what was freed for the first in the queue, if that is us."""
        if self._bell is None or not self._seq or self._wanted.permits != 1:
            return None
        lease, expires = self._lease()
        mine = (self._seq, self._bell.number)
        rows: list[tuple[Any, ...]] = []
        with suppress(NoTokenError), self._table.file.transaction() as connection:
            rows = connection.execute(_TAKE_IN_TURN, (*lease, *mine)).fetchall()
            if rows:
                connection.execute(_LEAVE, (self._seq, self._table.me, self._bell.number)).fetchall()
        return self._as_held(rows, expires) if rows else None

    # -- the long way

    def _is_worth_while(self) -> bool:
        """Look at the queue, reading only; return whether there is something to write about it. Raises as `_look`."""
        if self._bell is None or not self._seq:
            return True
        now = self._clock.boot()
        with self._table.file.snapshot() as connection:
            leases, mine, ahead = self._judge(connection, now)
            used = sum(lease.slots for lease in leases)
            if mine is not None and ahead is None and used < self._wanted.permits < used + self._wanted.slots:
                # What became free is not enough for us: who behind is stuck by our place alone, nobody else would tell.
                everything, waiters = self._table.living(connection)
                self._rings = self._who_may_pass(self._table.log(everything, waiters), waiters)
        if mine is None:
            return True
        if mine.expires < now + lease_table.WAITER_TTL * 0.75:
            self._table.file.write(_KEEP, (now + lease_table.WAITER_TTL, mine.seq, self._table.me, self._bell.number))
        return self._fits(leases) and (ahead is None or self._wanted.permits > 1)

    def _look(self) -> HeldLease | None:
        """Take what is wanted if it can be had now; else keep a place in the queue.

        Raises DeadlockError, UsageError, NoTokenError, StoreError.
        """
        with self._table.file.transaction() as connection:
            now = self._clock.boot()
            leases, mine, ahead = self._judge(connection, now)
            fits = self._fits(leases)
            if fits and ahead is None:
                self._clear_ahead(connection, mine)
                return self._grant(connection, leases)
            if self._bell is None:
                return None
            if mine is None:
                self._queue(connection, self._bell, now)
            if fits and self._wanted.permits > 1:
                log = self._table.log(*self._table.living(connection))
                if any(each.seq == self._seq and may_pass(log, each) for each in log.waitings):
                    return self._grant(connection, leases)
        return None

    def _judge(
        self, connection: sqlite3.Connection, now: float
    ) -> tuple[list[LeaseRow], WaiterRow | None, WaiterRow | None]:
        """Return who holds it, our place if we have one, and who is next ahead; all living. Notes the obstacle.

        Raises DeadlockError where we were refused, UsageError where others mean other permits.
        """
        wanted = self._wanted
        leases = [lease for lease in read_leases(connection, wanted.name) if self._table.lives(lease, now)]
        mine = self._my_row(connection)
        ahead = self._nearest_ahead(connection, mine, now)
        others: tuple[LeaseRow | WaiterRow, ...] = (*leases, ahead) if ahead else tuple(leases)
        for other in others:
            if other.permits != wanted.permits:
                raise UsageError(
                    f"lock {wanted.name!r} has {other.permits} permits for {other.holder}, {wanted.permits} here;"
                    " all who use a name must mean the same number"
                )
        self._blockers = (ahead,) if ahead else tuple(leases)
        if leases and not self._fits(leases):
            self._obstacle = f"is held by {leases[0].holder} with token {leases[0].token}"
        elif ahead is not None:
            self._obstacle = f"goes to {ahead.holder} first, who waits for it"
        return leases, mine, ahead

    def _fits(self, leases: Sequence[LeaseRow]) -> bool:
        return sum(lease.slots for lease in leases) + self._wanted.slots <= self._wanted.permits

    def _my_row(self, connection: sqlite3.Connection) -> WaiterRow | None:
        if self._bell is None or not self._seq:
            return None
        row = read_waiter(connection, self._seq)
        if row is None or (row.name, row.holder_id, row.bell) != (
            self._wanted.name, self._table.me, self._bell.number,
        ):  # fmt: skip
            return None
        if row.refused is not None:
            raise DeadlockError.refused(row.name, row.refused)
        return row

    def _nearest_ahead(self, connection: sqlite3.Connection, mine: WaiterRow | None, now: float) -> WaiterRow | None:
        seq = mine.seq if mine is not None else None
        while (seq := waiting_before(connection, self._wanted.name, seq)) is not None:
            row = read_waiter(connection, seq)
            if row is not None and self._table.lives(row, now):
                return row
        return None

    def _queue(self, connection: sqlite3.Connection, bell: Bell, now: float) -> None:
        """Take the last place in the queue. Raises DeadlockError where that would close a circle."""
        place = self._place(bell, now)
        self._seq = int(connection.execute(f"{_QUEUE} RETURNING seq", place).fetchall()[0][0])
        if not connection.execute(_IS_WAITED_FOR, (self._wanted.session,)).fetchall():
            return
        leases, waiters = self._table.living(connection)
        log = self._table.log(leases, waiters)
        circle = refusal(log, self._wanted.session)
        if circle:
            raise DeadlockError.closing(self._wanted.name, circle)
        self._rings = self._who_may_pass(log, waiters)

    def _who_may_pass(self, log: WaitLog, waiters: Sequence[WaiterRow]) -> list[WaiterRow]:
        """Return who of the others is stuck by the order of a queue alone."""
        return [
            row
            for row, waiting in zip(waiters, log.waitings, strict=True)
            if row.permits > 1 and row.seq != self._seq and may_pass(log, waiting)
        ]

    def _clear_ahead(self, connection: sqlite3.Connection, mine: WaiterRow | None) -> None:
        """Remove those ahead of us: none of them lives."""
        if mine is None:
            connection.execute("DELETE FROM waiter WHERE name = ?", (self._wanted.name,))
        else:
            connection.execute("DELETE FROM waiter WHERE name = ? AND seq < ?", (self._wanted.name, mine.seq))

    def _grant(self, connection: sqlite3.Connection, leases: Sequence[LeaseRow]) -> HeldLease:
        """Write the lease, in place of what is over, and give up the place in the queue."""
        kept = [lease.token for lease in leases]
        connection.execute(
            f"DELETE FROM lease WHERE name = ? AND token NOT IN ({','.join('?' * len(kept))})",  # noqa: S608 - marks
            (self._wanted.name, *kept),
        )
        lease, expires = self._lease()
        rows = connection.execute(f"{_INSERT} RETURNING token", lease).fetchall()
        if self._bell is not None and self._seq:
            connection.execute(_LEAVE, (self._seq, self._table.me, self._bell.number)).fetchall()
        self._room_left = sum(lease.slots for lease in leases) + self._wanted.slots < self._wanted.permits
        return self._as_held(rows, expires)

    def _lease(self) -> tuple[tuple[object, ...], float]:
        """Return what a lease from now on is, as `_INSERT` takes it, and when it ends."""
        wanted, table = self._wanted, self._table
        expires, since = self._clock.boot() + wanted.ttl, self._clock.now().timestamp()
        return (
            wanted.name, wanted.holder, table.me, wanted.session, wanted.permits, wanted.slots, wanted.ttl, since,
            table.boot_id, expires,
        ), expires  # fmt: skip

    def _place(self, bell: Bell, now: float) -> tuple[object, ...]:
        """Return what a place in the queue from now on is, as `_QUEUE` takes it."""
        wanted, table = self._wanted, self._table
        self._came = self._came or now
        return (
            int(now * 1e6), wanted.name, wanted.holder, table.me, bell.number, wanted.session, wanted.permits,
            wanted.slots, self._came, table.boot_id, now + lease_table.WAITER_TTL,
        )  # fmt: skip

    def _as_held(self, rows: Sequence[tuple[Any, ...]], expires: float) -> HeldLease:
        wanted = self._wanted
        return HeldLease(wanted.name, wanted.holder, int(rows[0][0]), wanted.ttl, expires, wanted.slots)
