"""What ``locks.db`` holds, judged: which leases and waiters live, why a lease was lost, whom to wake.

A lease or a place in a queue is over when its time is up on the boot clock, when the machine was started anew, or when
its holder's process is dead.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from ..clock import Clock
from ..errors import StoreError
from ..store.paths import RepositoryPaths
from ..text import clean
from .bells import ring
from .holders import is_alive, is_holder_id
from .lease_file import LeaseFile
from .lease_rows import LeaseRow, WaiterRow, read_leases, read_waiters
from .leases import Holding, LostLeaseError, Waiting, WaitLog
from .tokens import NoTokenError

T = TypeVar("T")

WAITER_TTL = 5.0
"""Seconds after which a waiter that no longer looks (stopped, hung) loses its place in the queue."""
_LONGEST_PLACE = 60.0
"""Nobody's place lasts longer than so many seconds, whatever its row says."""
_FEW = 100
"""Of a queue, so many are looked at for one who lives, to wake it."""


class LeaseTable:
    """The leases of a repository and their queues, as one process sees them."""

    def __init__(self, paths: RepositoryPaths, clock: Clock) -> None:
        """Open ``locks.db``, made where it is missing. Raises StoreError."""
        self.clock, self.boot_id = clock, clock.boot_id()
        self.holders: Path = paths.holders
        self.file = LeaseFile(paths, self.boot_id)
        self.me = ""
        """The id of this process as a holder, once it is one."""

    def lives(self, row: LeaseRow | WaiterRow, now: float) -> bool:
        """Return whether it counts."""
        return self._in_time(row, now) and self._is_alive(row.holder_id)

    def _in_time(self, row: LeaseRow | WaiterRow, now: float) -> bool:
        longest = row.ttl if isinstance(row, LeaseRow) else _LONGEST_PLACE
        return row.boot_id == self.boot_id and now < row.expires <= now + longest + 1  # later: no row of ours

    def _is_alive(self, holder_id: str) -> bool:
        return holder_id == self.me or is_alive(self.holders, holder_id)

    def living(self, connection: sqlite3.Connection) -> tuple[list[LeaseRow], list[WaiterRow]]:
        """Return all leases and all who wait, as far as they live."""
        now, alive = self.clock.boot(), lru_cache(None)(self._is_alive)
        return (
            [row for row in read_leases(connection) if self._in_time(row, now) and alive(row.holder_id)],
            [row for row in read_waiters(connection) if self._in_time(row, now) and alive(row.holder_id)],
        )

    def log(self, leases: Sequence[LeaseRow], waiters: Sequence[WaiterRow]) -> WaitLog:
        """Return them as what the wait-for graph is made of, in their order."""
        now = self.clock.boot()
        return WaitLog(
            tuple(Holding(row.name, row.session, row.holder, row.token, row.slots, row.permits) for row in leases),
            tuple(
                Waiting(row.name, row.session, row.holder, row.seq, row.slots, row.permits, max(0.0, now - row.came))
                for row in waiters
            ),
        )

    def held(self, connection: sqlite3.Connection, name: str, token: int) -> LeaseRow:
        """Return the lease that is held with ``token``. Raises LostLeaseError, saying why, where there is none."""
        leases, now = read_leases(connection, name), self.clock.boot()
        its = f"lock {clean(name, limit=200)!r}: token {token}"
        for lease in leases:
            if lease.token == token:
                if self.lives(lease, now):
                    return lease
                if self._in_time(lease, now):
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

    def wake(self, name: str) -> None:
        """Ring the bell of the first in the queue who lives."""
        with suppress(StoreError), self.file.snapshot() as connection:  # else it looks by itself in a while
            now = self.clock.boot()
            for row in read_waiters(connection, name, first=_FEW):
                if self.lives(row, now):
                    ring(self.holders, row.holder_id, row.bell)
                    return

    def wake_first(self, name: str, first: object) -> None:
        """Ring the bell of the first in the queue, ``ID.NUMBER`` as it was read just now, or of who comes after it."""
        holder_id, _, bell = str(first).partition(".")
        if is_holder_id(holder_id) and bell.isdecimal() and self._is_alive(holder_id):
            ring(self.holders, holder_id, int(bell))
        else:
            self.wake(name)

    def forget(self, holder_id: str) -> None:
        """Remove the leases and places of a holder that has ended, and wake who waited for them. Raises StoreError."""
        with self.file.transaction() as connection:
            names = connection.execute("DELETE FROM lease WHERE holder_id = ? RETURNING name", (holder_id,)).fetchall()
            names += connection.execute(
                "DELETE FROM waiter WHERE holder_id = ? RETURNING name", (holder_id,)
            ).fetchall()
        for name in {name for (name,) in names if isinstance(name, str)}:
            self.wake(name)

    def with_tokens(self, do: Callable[[], T]) -> T:
        """Do it, and once more with a new block of tokens where there were none. Raises StoreError."""
        try:
            return do()
        except NoTokenError:
            self.file.reserve_tokens()
        try:
            return do()
        except NoTokenError as error:
            raise StoreError(f"{self.holders.parent} gives no fencing tokens; is it writable, and its disk?") from error
