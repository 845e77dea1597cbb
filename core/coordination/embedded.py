"""Leases on this machine: rows in ``locks.db``, a fair queue, an expiry, and fencing tokens that only grow.

A lease is over when its time is up on the boot clock (or the machine was started anew), or when its holder's process
is dead. ``locks.db`` is written with ``synchronous=NORMAL``: a power cut may take the last grants with it, and starts
the machine anew.

Who wants a name that is held, or awaited by others, queues. Whoever frees permits rings the bell of the first in the
queue, who then takes them; all others go to the queue's end, so that nobody barges. A waiter looks by itself, too,
whether those it waits for are alive, so that a lost ring or a death holds nobody up for longer than `POLL`.
"""

from __future__ import annotations

import builtins
import math
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TypeVar

from ..clock import Clock
from ..errors import LeaseError, StoreError, UsageError
from ..model import Lease, Waiter
from ..store.files import make_private
from ..store.paths import RepositoryPaths
from ..text import clean
from .bells import Bell, Bells, ring
from .holders import Holder, is_alive, sweep
from .lease_file import LeaseFile
from .lease_rows import LeaseRow, WaiterRow, next_seq, read_leases, read_waiter, read_waiters, waiting_before
from .leases import DeadlockError, HeldLease, Holding, LostLeaseError, Recorder, Waiting, WaitLog, lock_name
from .tokens import NoTokenError
from .waits import may_pass, refusal

T = TypeVar("T")

POLL = 0.05
"""Seconds between two looks of a waiter whether those it waits for are alive."""
LOOK = 1.0
"""Seconds after which a waiter that nobody woke looks at the queue all the same."""
WAITER_TTL = 5.0
"""Seconds after which a waiter that no longer looks (stopped, hung) loses its place in the queue."""
_LONGEST_PLACE = 60.0
"""Nobody's place lasts longer than so many seconds, whatever its row says."""
_FEW = 100
"""Of a queue, so many are looked at for one who lives, to wake it."""
_BREAKS = 1_000
"""How many breaks are kept to tell the holder why."""

# In one statement, since each costs a look at the file: take a lock that is neither held nor awaited.
_TAKE = """
    INSERT INTO lease (name, token, holder, holder_id, session, permits, slots, ttl, since, boot_id, expires)
    SELECT ?1, next_token(), ?2, ?3, ?4, 1, 1, ?5, ?6, ?7, ?8
    WHERE NOT EXISTS (SELECT 1 FROM lease WHERE name = ?1) AND NOT EXISTS (SELECT 1 FROM waiter WHERE name = ?1)
    RETURNING token
"""
_RENEW = """
    UPDATE lease SET expires = ?6, ttl = ?7
    WHERE name = ?1 AND token = ?2 AND holder_id = ?3 AND boot_id = ?4 AND expires > ?5 RETURNING token
"""
# Tells who is the first in the queue, if anybody is.
_RELEASE = """
    DELETE FROM lease WHERE name = ?1 AND token = ?2 AND holder_id = ?3 AND boot_id = ?4 AND expires > ?5
    RETURNING EXISTS (SELECT 1 FROM waiter WHERE name = ?1)
"""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What somebody asks for."""

    name: str
    holder: str
    session: str
    ttl: float
    permits: int
    slots: int


@dataclass(slots=True)
class _Place:
    """A place in the queue of one name; without a ``bell`` its owner does not wait."""

    bell: Bell | None
    seq: int = 0
    came: float = 0.0
    kept_until: float = 0.0
    obstacle: str = ""
    blockers: tuple[LeaseRow | WaiterRow, ...] = ()
    """Whose end is worth a look."""
    rings: builtins.list[WaiterRow] = field(default_factory=builtins.list)
    """Whom to wake once what was done is written."""
    more: bool = False
    """Whether permits are left for who comes next."""


class EmbeddedLeases:
    """The leases of one repository, held by this process; safe between threads and processes."""

    def __init__(self, paths: RepositoryPaths, clock: Clock) -> None:
        """Open ``locks.db``, made where it is missing. Raises StoreError."""
        self._paths, self._clock = paths, clock
        self._boot_id = clock.boot_id()
        self._file = LeaseFile(paths, self._boot_id)
        make_private(paths.holders)
        self._guard = threading.Lock()
        self._holder: Holder | None = None
        self._id = ""
        self._bells: Bells | None = None

    def acquire(
        self,
        name: str,
        holder: str,
        ttl: float = 30.0,
        wait: float = 0.0,
        *,
        permits: int = 1,
        slots: int = 1,
        session: str = "",
    ) -> HeldLease:
        """See `Leases.acquire`."""
        return self._acquire(self._wanted(name, holder, ttl, wait, permits, slots, session), wait)

    def acquire_all(
        self, names: Sequence[str], holder: str, ttl: float = 30.0, wait: float = 0.0, *, session: str = ""
    ) -> tuple[HeldLease, ...]:
        """See `Leases.acquire_all`."""
        wanted = [self._wanted(name, holder, ttl, wait, 1, 1, session) for name in dict.fromkeys(names)]
        wanted.sort(key=lambda each: each.name.encode())
        end = self._clock.boot() + wait
        kept = _Kept(self, self._clock)
        try:
            for each in wanted:
                kept.held.append(self._acquire(each, max(0.0, end - self._clock.boot()), kept))
            kept.renew_in_time()
        except BaseException:
            for held in reversed(kept.held):
                with suppress(LostLeaseError, StoreError):  # lost or not: it ends
                    self.release(held)
            raise
        return tuple(kept.held)

    def renew(self, held: HeldLease) -> HeldLease:
        """See `Leases.renew`."""
        now = self._clock.boot()
        expires = now + held.ttl
        if not self._file.write(_RENEW, (held.name, held.token, self._id, self._boot_id, now, expires, held.ttl)):
            with self._file.transaction() as connection:
                self._held(connection, held.name, held.token)
                expires = self._clock.boot() + held.ttl
                connection.execute(
                    "UPDATE lease SET expires = ?, ttl = ? WHERE name = ? AND token = ?",
                    (expires, held.ttl, held.name, held.token),
                )
        return replace(held, expires=expires)

    def release(self, held: HeldLease) -> None:
        """See `Leases.release`."""
        name, token = held.name, held.token
        rows = self._file.write(_RELEASE, (name, token, self._id, self._boot_id, self._clock.boot()))
        if not rows:
            with self._file.transaction() as connection:
                self._held(connection, name, token)
                connection.execute("DELETE FROM lease WHERE name = ? AND token = ?", (name, token))
        if not rows or rows[0][0]:
            self._wake(name)

    def find(self, name: str, token: int) -> HeldLease:
        """See `Leases.find`."""
        with self._file.snapshot() as connection:
            lease = self._held(connection, name, token)
        return HeldLease(lease.name, lease.holder, lease.token, lease.ttl, lease.expires, lease.slots)

    def list(self) -> builtins.list[Lease]:
        """See `Leases.list`."""
        with self._file.snapshot() as connection:
            leases, waiters = self._living(connection)
        return self._listed(leases, waiters)

    def _listed(self, leases: Sequence[LeaseRow], waiters: Sequence[WaiterRow]) -> builtins.list[Lease]:
        now, moment = self._clock.boot(), self._clock.now()
        queues: dict[str, builtins.list[Waiter]] = {}
        for each in waiters:
            since = _earlier(moment, now - each.came)
            queues.setdefault(each.name, []).append(Waiter(each.holder, since, each.session))
        return [
            Lease(
                lease.name,
                lease.holder,
                lease.token,
                lease.expires - now,
                datetime.fromtimestamp(lease.since, UTC),
                tuple(queues.get(lease.name, ())),
                lease.session,
                lease.permits,
                lease.slots,
            )
            for lease in leases
        ]

    def wait_log(self) -> WaitLog:
        """See `Leases.wait_log`."""
        with self._file.snapshot() as connection:
            return self._log(*self._living(connection))

    def refuse(self, waiting: Waiting, reason: str) -> bool:
        """See `Leases.refuse`."""
        rows = self._file.write(
            "UPDATE waiter SET refused = ? WHERE seq = ? AND name = ? AND session = ? AND refused IS NULL"
            " RETURNING holder_id, bell",
            (clean(reason) or "refused", waiting.seq, waiting.name, waiting.session),
        )
        for holder_id, bell in rows:
            if isinstance(holder_id, str) and isinstance(bell, int):
                self._ring(holder_id, bell)
        return bool(rows)

    def break_(self, name: str, by: str, reason: str, record: Recorder, token: int | None = None) -> Lease:
        """See `Leases.break_`; raises UsageError where several hold the name and ``token`` names none of them."""
        with self._file.transaction() as connection:
            listed = self._listed(*self._living(connection))
            leases = [lease for lease in listed if lease.name == name and token in (None, lease.token)]
            if not leases:
                raise LostLeaseError(f"nobody holds lock {clean(name)!r}; `rollcage locks` lists them")
            if len(leases) > 1:
                tokens = ", ".join(str(lease.token) for lease in leases)
                raise UsageError(f"several hold {clean(name)!r}; name the one to break by its token: {tokens}")
            lease = leases[0]
            record(by, "break lock", f"{lease.name}: token {lease.token}, held by {lease.holder}", reason)
            connection.execute("DELETE FROM lease WHERE name = ? AND token = ?", (name, lease.token))
            connection.execute(
                "INSERT OR REPLACE INTO broken (token, name, who, why) VALUES (?, ?, ?, ?)",
                (lease.token, name, clean(by, limit=200), clean(reason)),
            )
            connection.execute(
                "DELETE FROM broken WHERE token NOT IN (SELECT token FROM broken ORDER BY token DESC LIMIT ?)",
                (_BREAKS,),
            )
        self._wake(name)
        return lease

    def close(self) -> None:
        """See `Leases.close`."""
        with self._guard:
            holder, self._holder, self._id = self._holder, None, ""
            if holder is not None:
                forgotten = False
                with suppress(StoreError):  # what cannot be forgotten is over all the same: its flock is free
                    self._forget(holder.id)
                    forgotten = True
                holder.close(forgotten=forgotten)
            self._file.close()
            if self._bells is not None:
                self._bells.close()

    # -- who asks

    def _wanted(
        self, name: str, holder: str, ttl: float, wait: float, permits: int, slots: int, session: str
    ) -> _Wanted:
        if not 0 < ttl < math.inf or not 0 <= wait < math.inf:
            raise UsageError(
                f"lock {_name(name)!r}: a time to live of {ttl:g} s, a wait of {wait:g} s; allowed: numbers"
            )
        if not 0 < slots <= permits:
            raise UsageError(f"lock {_name(name)!r}: {slots} of {permits} permits; allowed: at least 1, at most all")
        me = self._id or self._begin()
        who = _cleaned(session) if session else f"{me}:{threading.get_ident()}"
        return _Wanted(_name(name), _cleaned(holder) or "nobody", who, float(ttl), permits, slots)

    def _begin(self) -> str:
        with self._guard:
            if self._holder is None:
                sweep(self._paths.holders, self._forget)
                self._holder = Holder(self._paths.holders)
                self._bells = Bells(self._paths.holders, self._holder.id)
                self._id = self._holder.id
            return self._id

    def _forget(self, holder_id: str) -> None:
        with self._file.transaction() as connection:
            rows = connection.execute("DELETE FROM lease WHERE holder_id = ? RETURNING name", (holder_id,)).fetchall()
            rows += connection.execute("DELETE FROM waiter WHERE holder_id = ? RETURNING name", (holder_id,)).fetchall()
        for name in {name for (name,) in rows if isinstance(name, str)}:
            self._wake(name)

    # -- taking and waiting

    def _acquire(self, wanted: _Wanted, wait: float, kept: _Kept | None = None) -> HeldLease:
        if wanted.permits == 1:
            held = self._take_at_once(wanted)
            if held is not None:
                return held
        if not wait:
            place = _Place(None)
            held = self._try(wanted, place)
            if held is None:
                raise _not_had(wanted, wait, place)
            return held
        bells = self._bells
        if bells is None:
            raise StoreError(f"{self._paths.locks_db} was closed; open the leases again")
        bell = bells.take()
        try:
            return self._wait(wanted, wait, _Place(bell), bell, kept)
        finally:
            bells.give_back(bell)

    def _take_at_once(self, wanted: _Wanted) -> HeldLease | None:
        expires = self._clock.boot() + wanted.ttl
        since = self._clock.now().timestamp()
        parameters = (
            wanted.name, wanted.holder, self._id, wanted.session, wanted.ttl, since, self._boot_id, expires,
        )  # fmt: skip
        rows = self._with_tokens(lambda: self._file.write(_TAKE, parameters))
        if not rows:
            return None
        return HeldLease(wanted.name, wanted.holder, int(str(rows[0][0])), wanted.ttl, expires)

    def _with_tokens(self, do: Callable[[], T]) -> T:
        """Do it, and once more with a new block of tokens where there were none. Raises StoreError."""
        try:
            return do()
        except NoTokenError:
            self._file.reserve_tokens()
        try:
            return do()
        except NoTokenError as error:
            raise StoreError(f"{self._paths.root} gives no fencing tokens; `rollcage doctor` looks into it") from error

    def _wait(self, wanted: _Wanted, wait: float, place: _Place, bell: Bell, kept: _Kept | None) -> HeldLease:
        end = self._clock.boot() + wait
        try:
            while True:
                bell.clear()
                held = self._try(wanted, place)
                if held is not None:
                    return held
                self._sleep(wanted, end, wait, place, bell, kept)
        except BaseException:
            if place.seq:
                with suppress(StoreError):  # the place lapses by itself
                    self._file.write(
                        "DELETE FROM waiter WHERE seq = ? AND holder_id = ? AND bell = ? RETURNING seq",
                        (place.seq, self._id, bell.number),
                    )
                    self._wake(wanted.name)
            raise

    def _try(self, wanted: _Wanted, place: _Place) -> HeldLease | None:
        """Have one look at the queue, see `_look`, and wake whom that concerns."""
        held = self._with_tokens(lambda: self._look_once(wanted, place))
        for row in place.rings:
            self._ring(row.holder_id, row.bell)
        place.rings = []
        if place.more:
            self._wake(wanted.name)
        return held

    def _sleep(self, wanted: _Wanted, end: float, wait: float, place: _Place, bell: Bell, kept: _Kept | None) -> None:
        """Return when a look at the queue is worth while. Raises LeaseError when the time is up."""
        look = self._clock.boot() + min(LOOK, WAITER_TTL / 4)
        while True:
            now = self._clock.boot()
            if now >= end:
                raise _not_had(wanted, wait, place)
            if kept is not None:
                kept.renew_in_time()
            if now >= look or not all(self._lives(each, now) for each in place.blockers):
                return
            if self._clock.wait(bell, min(POLL, end - now)):
                return

    def _look_once(self, wanted: _Wanted, place: _Place) -> HeldLease | None:
        with self._file.transaction() as connection:
            return self._look(connection, wanted, place)

    def _look(self, connection: sqlite3.Connection, wanted: _Wanted, place: _Place) -> HeldLease | None:
        """Take what is wanted if it can be had now; else keep the place in the queue, and note the obstacle.

        Raises DeadlockError, UsageError, NoTokenError.
        """
        now, name = self._clock.boot(), wanted.name
        leases = [lease for lease in read_leases(connection, name) if self._lives(lease, now)]
        mine = self._my_row(connection, wanted, place)
        ahead = self._nearest_ahead(connection, name, mine, now)
        others: tuple[LeaseRow | WaiterRow, ...] = (*leases, ahead) if ahead else tuple(leases)
        for other in others:
            if other.permits != wanted.permits:
                raise UsageError(
                    f"lock {name!r} has {other.permits} permits for {other.holder}, {wanted.permits} here;"
                    " all who use a name must mean the same number"
                )
        fits = sum(lease.slots for lease in leases) + wanted.slots <= wanted.permits
        if fits and ahead is None:
            return self._grant(connection, wanted, place, leases)
        if ahead is not None:
            place.blockers, place.obstacle = (ahead,), f"goes to {ahead.holder} first, who waits for it"
        if leases and not fits:
            place.obstacle = f"is held by {leases[0].holder} with token {leases[0].token}"
            if ahead is None:
                place.blockers = tuple(leases)
        if place.bell is None:
            return None
        if mine is None:
            self._queue(connection, wanted, place, place.bell, now)
        elif mine.expires < now + WAITER_TTL * 0.75:
            place.kept_until = now + WAITER_TTL
            connection.execute("UPDATE waiter SET expires = ? WHERE seq = ?", (place.kept_until, place.seq))
        if fits and wanted.permits > 1:
            log = self._log(*self._living(connection))
            if any(each.seq == place.seq and may_pass(log, each) for each in log.waitings):
                return self._grant(connection, wanted, place, leases)
        return None

    def _my_row(self, connection: sqlite3.Connection, wanted: _Wanted, place: _Place) -> WaiterRow | None:
        """Return our place in the queue; ``None``: we have none (any more). Raises DeadlockError: we are refused."""
        if place.bell is None or not place.seq:
            return None
        row = read_waiter(connection, place.seq)
        if row is None or (row.name, row.holder_id, row.bell) != (wanted.name, self._id, place.bell.number):
            return None
        if row.refused is not None:
            raise DeadlockError(f"lock {wanted.name!r}: the wait was ended: {clean(row.refused)}")
        return row

    def _nearest_ahead(
        self, connection: sqlite3.Connection, name: str, mine: WaiterRow | None, now: float
    ) -> WaiterRow | None:
        """Return who is next ahead in the queue and lives; removes who was ahead of us and does not."""
        end = mine.seq if mine is not None else None
        while (seq := waiting_before(connection, name, end)) is not None:
            row = read_waiter(connection, seq)
            if row is not None and self._lives(row, now):
                return row
            connection.execute("DELETE FROM waiter WHERE seq = ?", (seq,))
        return None

    def _queue(self, connection: sqlite3.Connection, wanted: _Wanted, place: _Place, bell: Bell, now: float) -> None:
        """Take the last place in the queue. Raises DeadlockError where that would close a circle."""
        place.seq = next_seq(connection, now)
        place.kept_until = now + WAITER_TTL
        connection.execute(
            "INSERT OR REPLACE INTO waiter (seq, name, holder, holder_id, bell, session, permits, slots, came, boot_id,"
            " expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                place.seq, wanted.name, wanted.holder, self._id, bell.number, wanted.session, wanted.permits,
                wanted.slots, place.came or now, self._boot_id, place.kept_until,
            ),
        )  # fmt: skip
        place.came = place.came or now
        held = connection.execute("SELECT 1 FROM lease WHERE session = ? LIMIT 1", (wanted.session,)).fetchall()
        if not held:
            return  # nobody can wait for this session
        leases, waiters = self._living(connection)
        log = self._log(leases, waiters)
        circle = refusal(log, wanted.session)
        if circle:
            raise DeadlockError(
                f"lock {wanted.name!r}: to wait for it would close a circle: {' -> '.join(circle)}", circle
            )
        # What now is stuck by the order of a queue alone, may pass.
        place.rings = [
            row
            for row, waiting in zip(waiters, log.waitings, strict=True)
            if row.permits > 1 and row.seq != place.seq and may_pass(log, waiting)
        ]

    def _grant(
        self, connection: sqlite3.Connection, wanted: _Wanted, place: _Place, leases: Sequence[LeaseRow]
    ) -> HeldLease:
        """Write the lease, in place of what is over, and wake the next in the queue if there is room for one more."""
        kept = [lease.token for lease in leases]
        connection.execute(
            f"DELETE FROM lease WHERE name = ? AND token NOT IN ({','.join('?' * len(kept))})",  # noqa: S608 - marks
            (wanted.name, *kept),
        )
        expires = self._clock.boot() + wanted.ttl
        rows = connection.execute(
            "INSERT INTO lease (name, token, holder, holder_id, session, permits, slots, ttl, since, boot_id, expires)"
            " VALUES (?, next_token(), ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING token",
            (
                wanted.name, wanted.holder, self._id, wanted.session, wanted.permits, wanted.slots, wanted.ttl,
                self._clock.now().timestamp(), self._boot_id, expires,
            ),
        ).fetchall()  # fmt: skip
        if place.bell is not None and place.seq:
            connection.execute(
                "DELETE FROM waiter WHERE seq = ? AND holder_id = ? AND bell = ?",
                (place.seq, self._id, place.bell.number),
            )
        place.more = sum(lease.slots for lease in leases) + wanted.slots < wanted.permits
        return HeldLease(wanted.name, wanted.holder, int(rows[0][0]), wanted.ttl, expires, wanted.slots)

    # -- who lives, and who is woken

    def _lives(self, row: LeaseRow | WaiterRow, now: float) -> bool:
        return self._in_time(row, now) and self._is_alive(row.holder_id)

    def _in_time(self, row: LeaseRow | WaiterRow, now: float) -> bool:
        longest = row.ttl if isinstance(row, LeaseRow) else _LONGEST_PLACE
        return row.boot_id == self._boot_id and now < row.expires <= now + longest + 1  # later: no row of ours

    def _is_alive(self, holder_id: str) -> bool:
        return holder_id == self._id or is_alive(self._paths.holders, holder_id)

    def _living(self, connection: sqlite3.Connection) -> tuple[builtins.list[LeaseRow], builtins.list[WaiterRow]]:
        """Return all leases and all who wait, as far as they live."""
        now, alive = self._clock.boot(), lru_cache(None)(self._is_alive)
        return (
            [row for row in read_leases(connection) if self._in_time(row, now) and alive(row.holder_id)],
            [row for row in read_waiters(connection) if self._in_time(row, now) and alive(row.holder_id)],
        )

    def _log(self, leases: Sequence[LeaseRow], waiters: Sequence[WaiterRow]) -> WaitLog:
        now = self._clock.boot()
        return WaitLog(
            tuple(Holding(row.name, row.session, row.holder, row.token, row.slots, row.permits) for row in leases),
            tuple(
                Waiting(row.name, row.session, row.holder, row.seq, row.slots, row.permits, max(0.0, now - row.came))
                for row in waiters
            ),
        )

    def _held(self, connection: sqlite3.Connection, name: str, token: int) -> LeaseRow:
        """Return the lease that is held with ``token``. Raises LostLeaseError, saying why, where there is none."""
        leases, now = read_leases(connection, name), self._clock.boot()
        its = f"lock {clean(name, limit=200)!r}: token {token}"
        for lease in leases:
            if lease.token == token:
                if self._lives(lease, now):
                    return lease
                if lease.boot_id == self._boot_id and lease.expires > now:
                    raise LostLeaseError(f"{its} is over: its holder {lease.holder} has ended", lapsed=True)
                raise LostLeaseError(f"{its} has lapsed; take the lock again", lapsed=True)
        for who, why in connection.execute(
            "SELECT who, why FROM broken WHERE token = ? AND name = ?", (token, name)
        ).fetchall():
            raise LostLeaseError(f"{its} was broken by {clean(str(who), limit=200)}: {clean(str(why)) or 'no reason'}")
        later = max(leases, key=lambda lease: lease.token, default=None)
        if later is not None and later.token > token:
            raise LostLeaseError(f"{its} is stale; {later.holder} has had the lock since, with token {later.token}")
        raise LostLeaseError(f"{its} is stale; it was given back, or its time was up and somebody else had it")

    def _wake(self, name: str) -> None:
        """Ring the bell of the first in the queue who lives."""
        with suppress(StoreError), self._file.snapshot() as connection:  # else it looks by itself in a while
            now = self._clock.boot()
            for row in read_waiters(connection, name, first=_FEW):
                if self._lives(row, now):
                    self._ring(row.holder_id, row.bell)
                    return

    def _ring(self, holder_id: str, number: int) -> None:
        ring(self._paths.holders, holder_id, number)


class _Kept:
    """Leases that were taken and are renewed while more are waited for."""

    def __init__(self, leases: EmbeddedLeases, clock: Clock) -> None:
        self.held: list[HeldLease] = []
        self._leases, self._clock = leases, clock

    def renew_in_time(self) -> None:
        """Renew what has less than two thirds of its time left. Raises LostLeaseError, StoreError."""
        now = self._clock.boot()
        if any(held.expires - now < held.ttl * 2 / 3 for held in self.held):
            self.held = [self._leases.renew(held) for held in self.held]


def _not_had(wanted: _Wanted, wait: float, place: _Place) -> LeaseError:
    return LeaseError(f"lock {wanted.name!r} was not had within {wait:g} s: it {place.obstacle}")


@lru_cache(1_000)
def _name(name: str) -> str:
    return lock_name(name)


@lru_cache(1_000)
def _cleaned(text: str) -> str:
    return clean(text, limit=200)


def _earlier(moment: datetime, seconds: float) -> datetime:
    return moment - timedelta(seconds=max(0.0, seconds))
