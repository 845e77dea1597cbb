"""Two locks that are broken on purpose, as real ones are: what the checks of this folder must not let pass."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rollcage.core.coordination.leases import HeldLease, LostLeaseError, Recorder
from rollcage.core.errors import LeaseError
from rollcage.core.model import Lease
from tests.coordination.history import now


class NoLock:
    """Says yes to all. Its tokens are right: only who looks at what goes on at once finds it out."""

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
        """Say yes."""
        return HeldLease(name, holder, time.clock_gettime_ns(time.CLOCK_BOOTTIME), ttl, now() + ttl, slots)

    def acquire_all(
        self, names: Sequence[str], holder: str, ttl: float = 30.0, wait: float = 0.0, *, session: str = ""
    ) -> tuple[HeldLease, ...]:
        """Say yes."""
        return tuple(self.acquire(name, holder, ttl) for name in names)

    def renew(self, held: HeldLease) -> HeldLease:
        """Say yes."""
        return replace(held, expires=now() + held.ttl)

    def release(self, held: HeldLease) -> None:
        """Say yes."""

    def break_(self, name: str, by: str, reason: str, record: Recorder, token: int | None = None) -> Lease:
        """Break nothing."""
        raise LostLeaseError("nobody holds it")

    def close(self) -> None:
        """Nothing was opened."""


class LeaseWithoutToken:
    """A row for each lock with the end of its time; nobody asks whose row it is, when it is renewed or given back.

    So who was late gives back what is another's by then: the fault of many a lock on Redis and in databases.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, made where it is missing."""
        self._guard = threading.Lock()
        self._connection = sqlite3.connect(path, timeout=20, isolation_level=None, check_same_thread=False)
        self._connection.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
            "CREATE TABLE IF NOT EXISTS lease (name TEXT PRIMARY KEY, expires REAL NOT NULL);"
            "CREATE TABLE IF NOT EXISTS grants (token INTEGER PRIMARY KEY AUTOINCREMENT)"
        )

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
        """Take it where nobody has it, or its time is up."""
        deadline = now() + wait
        while True:
            with self._transaction() as connection:
                row = connection.execute("SELECT expires FROM lease WHERE name = ?", (name,)).fetchone()
                if row is None or row[0] <= now():
                    expires = now() + ttl
                    connection.execute("INSERT OR REPLACE INTO lease VALUES (?, ?)", (name, expires))
                    token = connection.execute("INSERT INTO grants DEFAULT VALUES").lastrowid
                    return HeldLease(name, holder, token or 0, ttl, expires, slots)
            if now() >= deadline:
                raise LeaseError("not had in time")
            time.sleep(0.002)

    def acquire_all(
        self, names: Sequence[str], holder: str, ttl: float = 30.0, wait: float = 0.0, *, session: str = ""
    ) -> tuple[HeldLease, ...]:
        """Take one after the other."""
        taken: list[HeldLease] = []
        try:
            taken.extend(self.acquire(name, holder, ttl, wait) for name in sorted(names))
        except LeaseError:
            for held in taken:
                self.release(held)
            raise
        return tuple(taken)

    def renew(self, held: HeldLease) -> HeldLease:
        """Give it more time, whoever has it."""
        with self._transaction() as connection:
            expires = now() + held.ttl
            connection.execute("INSERT OR REPLACE INTO lease VALUES (?, ?)", (held.name, expires))
        return replace(held, expires=expires)

    def release(self, held: HeldLease) -> None:
        """Give it back, whoever has it."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM lease WHERE name = ?", (held.name,))

    def break_(self, name: str, by: str, reason: str, record: Recorder, token: int | None = None) -> Lease:
        """Break nothing."""
        raise LostLeaseError("nobody holds it")

    def close(self) -> None:
        """Close the file."""
        with self._guard:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._guard:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            finally:
                self._connection.execute("COMMIT")
