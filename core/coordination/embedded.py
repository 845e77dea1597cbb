"""Leases on this machine: rows in ``locks.db``, a fair queue, an expiry, and fencing tokens that only grow.

``locks.db`` is written with ``synchronous=NORMAL``: a power cut may take the last grants with it, and starts the
machine anew, which ends all leases; `tokens` sees to it that no token comes twice.

A lock that is neither held nor awaited is taken by one statement, and given back by one. Who wants another queues
(`waiting_line`), so that nobody barges; who frees it rings the bell of the first in the queue.
"""

from __future__ import annotations

import builtins
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from ..clock import Clock
from ..errors import StoreError, UsageError
from ..store.files import make_private
from ..store.paths import RepositoryPaths
from ..text import clean
from .bells import Bells
from .holders import Holder, sweep
from .lease_rows import LeaseRow, WaiterRow
from .lease_table import LeaseTable
from .leases import HeldLease, LostLeaseError, Recorder, Waiting, WaitLog, check_numbers, lock_name, verdict
from .several import all_or_none
from .tokens import NoTokenError
from .waiting_line import Line, Wanted

if TYPE_CHECKING:
    from ..model import Lease

_BREAKS = 1_000
"""How many breaks are kept to tell the holder why."""

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
_RELEASE = """
    DELETE FROM lease WHERE name = ?1 AND token = ?2 AND holder_id = ?3 AND boot_id = ?4 AND expires > ?5
    RETURNING (SELECT holder_id || '.' || bell FROM waiter WHERE name = ?1 ORDER BY seq LIMIT 1)
"""


def _nothing() -> None:
    """Do nothing meanwhile."""


class EmbeddedLeases:
    """The leases of one repository, held by this process; safe between threads and processes."""

    def __init__(self, paths: RepositoryPaths, clock: Clock) -> None:
        """Open ``locks.db``, made where it is missing. Raises StoreError."""
        self._paths, self._clock = paths, clock
        self._table = LeaseTable(paths, clock)
        self._file = self._table.file
        make_private(paths.holders)
        self._guard = threading.Lock()
        self._holder: Holder | None = None
        self._bells: Bells | None = None
        self._over = ""
        """Why it can no longer be used."""
        _open.add(self)

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
        wanted = self._wanted(name, holder, ttl, wait, permits, slots, session)
        return self._acquire(wanted, wait, self._clock.boot() + wait)

    def acquire_all(
        self, names: Sequence[str], holder: str, ttl: float = 30.0, wait: float = 0.0, *, session: str = ""
    ) -> tuple[HeldLease, ...]:
        """See `Leases.acquire_all`."""
        end = self._clock.boot() + wait
        wanted = [self._wanted(name, holder, ttl, wait, 1, 1, session) for name in dict.fromkeys(names)]
        return all_or_none(self, self._clock, ttl, wanted, lambda one, keep: self._acquire(one, wait, end, keep))

    def renew(self, held: HeldLease) -> HeldLease:
        """See `Leases.renew`."""
        table, now = self._table, self._clock.boot()
        expires = now + held.ttl
        if not self._file.write(_RENEW, (held.name, held.token, table.me, table.boot_id, now, expires, held.ttl)):
            with self._file.transaction() as connection:
                table.held(connection, held.name, held.token)
                expires = self._clock.boot() + held.ttl
                connection.execute(
                    "UPDATE lease SET expires = ?, ttl = ? WHERE name = ? AND token = ?",
                    (expires, held.ttl, held.name, held.token),
                )
        return replace(held, expires=expires)

    def release(self, held: HeldLease) -> None:
        """See `Leases.release`."""
        name, token, table = held.name, held.token, self._table
        rows = self._file.write(_RELEASE, (name, token, table.me, table.boot_id, self._clock.boot()))
        if not rows:
            with self._file.transaction() as connection:
                table.held(connection, name, token)
                connection.execute("DELETE FROM lease WHERE name = ? AND token = ?", (name, token))
            table.wake(name)
        elif rows[0][0] is not None:
            table.wake_first(name, rows[0][0])

    def find(self, name: str, token: int) -> HeldLease:
        """See `Leases.find`."""
        with self._file.snapshot() as connection:
            lease = self._table.held(connection, name, token)
        return HeldLease(lease.name, lease.holder, lease.token, lease.ttl, lease.expires, lease.slots)

    def list(self) -> builtins.list[Lease]:
        """See `Leases.list`."""
        with self._file.snapshot() as connection:
            leases, waiters = self._table.living(connection)
        return self._listed(leases, waiters)

    def _listed(self, leases: Sequence[LeaseRow], waiters: Sequence[WaiterRow]) -> builtins.list[Lease]:
        from ..model import Lease, Waiter  # all nouns together are dear, and who takes a lock needs none of them

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
            return self._table.log(*self._table.living(connection))

    def refuse(self, waiting: Waiting, reason: str, cycle: Sequence[str] = ()) -> bool:
        """See `Leases.refuse`."""
        rows = self._file.write(
            "UPDATE waiter SET refused = ? WHERE seq = ? AND name = ? AND session = ? AND refused IS NULL"
            " RETURNING holder_id, bell",
            (verdict(reason, cycle), waiting.seq, waiting.name, waiting.session),
        )
        for holder_id, bell in rows:
            self._table.wake_first(waiting.name, f"{holder_id}.{bell}")
        return bool(rows)

    def break_(self, name: str, by: str, reason: str, record: Recorder, token: int | None = None) -> Lease:
        """See `Leases.break_`; raises UsageError where several hold the name and ``token`` names none of them."""
        with self._file.transaction() as connection:
            listed = self._listed(*self._table.living(connection))
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
        self._table.wake(name)
        return lease

    def close(self) -> None:
        """See `Leases.close`."""
        with self._guard:
            self._over = self._over or f"{self._paths.locks_db} was closed; open the leases again"
            holder, self._holder, self._table.me = self._holder, None, ""
            if holder is not None:
                forgotten = False
                with suppress(StoreError):  # what cannot be forgotten is over all the same: its flock is free
                    self._table.forget(holder.id)
                    forgotten = True
                holder.close(forgotten=forgotten)
            self._file.close()
            if self._bells is not None:
                self._bells.close()

    def after_fork(self) -> None:
        """Let go, in a child, of what is the parent's: else its leases would live as long as the child."""
        self._over = f"{self._paths.locks_db} was opened before this process forked; each process opens its own"
        self._guard = threading.Lock()
        if self._holder is not None:
            self._holder.close_in_child()
            self._holder = None
        self._table.me = ""
        self._file.after_fork(self._over)

    def _wanted(
        self, name: str, holder: str, ttl: float, wait: float, permits: int, slots: int, session: str
    ) -> Wanted:
        check_numbers(_name(name), ttl, wait, permits, slots)
        me = self._table.me or self._begin()
        who = _cleaned(session) if session else f"{me}:{threading.get_ident()}"
        return Wanted(_name(name), _cleaned(holder) or "nobody", who, float(ttl), permits, slots)

    def _begin(self) -> str:
        with self._guard:
            if self._over:
                raise StoreError(self._over)
            if self._holder is None:
                sweep(self._paths.holders, self._table.forget)
                self._holder = Holder(self._paths.holders)
                self._bells = Bells(self._paths.holders, self._holder.id)
                self._table.me = self._holder.id
            return self._holder.id

    def _acquire(self, wanted: Wanted, wait: float, end: float, meanwhile: Callable[[], None] = _nothing) -> HeldLease:
        if wanted.permits == 1:
            held = self._take_at_once(wanted)
            if held is not None:
                return held
        if not wait:
            return Line(self._table, wanted, wait).take(end, meanwhile)
        bells = self._bells
        if bells is None:
            raise StoreError(self._over)
        bell = bells.take()
        try:
            return Line(self._table, wanted, wait, bell).take(end, meanwhile)
        finally:
            bells.give_back(bell)

    def _take_at_once(self, wanted: Wanted) -> HeldLease | None:
        table = self._table
        expires = self._clock.boot() + wanted.ttl
        parameters = (
            wanted.name, wanted.holder, table.me, wanted.session, wanted.ttl, self._clock.now().timestamp(),
            table.boot_id, expires,
        )  # fmt: skip
        try:
            rows = self._file.write(_TAKE, parameters)
        except NoTokenError:
            rows = table.with_tokens(lambda: self._file.write(_TAKE, parameters))
        if not rows:
            return None
        return HeldLease(wanted.name, wanted.holder, rows[0][0], wanted.ttl, expires)


_open: weakref.WeakSet[EmbeddedLeases] = weakref.WeakSet()


def _after_fork() -> None:
    for leases in _open:
        leases.after_fork()


os.register_at_fork(after_in_child=_after_fork)


@lru_cache(1_000)
def _name(name: str) -> str:
    return lock_name(name)


@lru_cache(1_000)
def _cleaned(text: str) -> str:
    return clean(text, limit=200)


def _earlier(moment: datetime, seconds: float) -> datetime:
    return moment - timedelta(seconds=max(0.0, seconds))
