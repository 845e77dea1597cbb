"""Leases on this machine: rows in ``locks.db``, a fair queue, an expiry, and fencing tokens that only grow.

A lease is over when its time is up on the boot clock (or the machine was started anew), or when its holder's process
is dead. A holder that was only paused does not notice: so whatever a lease protects compares the token with the
highest it has seen, and refuses a lower one (M. Kleppmann, "How to do distributed locking", 2016).

``locks.db`` is written with ``synchronous=NORMAL``: a power cut may take the last grants with it. So the tokens come
from blocks that are reserved durably before the first of a block is given out; on another boot the rest of the block
is skipped, since nobody can tell how much of it was used.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import suppress
from dataclasses import dataclass, replace

from ..clock import Clock, iso, parse_iso
from ..errors import LeaseError, StoreError
from ..model import Lease, Waiter
from ..store.connections import Connections
from ..store.database import connect
from ..store.files import make_private
from ..store.paths import RepositoryPaths
from ..text import clean
from .holders import Holder, is_alive, sweep
from .leases import HeldLease, LostLeaseError, Recorder, lock_name

BLOCK = 10_000
"""Tokens that are reserved at once."""
POLL = 0.05
"""Seconds between two looks of a waiter."""
WAITER_TTL = 5.0
"""Seconds after which a waiter that no longer looks (stopped, hung) loses its place in the queue."""

MIGRATIONS = (
    """
    CREATE TABLE lease (
        name TEXT PRIMARY KEY,
        holder TEXT NOT NULL,
        holder_id TEXT NOT NULL,
        token INTEGER NOT NULL,
        since TEXT NOT NULL,
        boot_id TEXT NOT NULL,
        expires REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE waiter (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL,
        holder TEXT NOT NULL,
        holder_id TEXT NOT NULL,
        boot_id TEXT NOT NULL,
        expires REAL NOT NULL
    );
    CREATE INDEX waiter_of_lease ON waiter (name, seq);
    CREATE TABLE token (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        next INTEGER NOT NULL,
        reserved INTEGER NOT NULL,
        boot_id TEXT NOT NULL
    );
    INSERT INTO token VALUES (1, 1, 1, '')
    """,
)


_Leases = list[Lease]  # within the class, ``list`` is its method


class EmbeddedLeases:
    """The leases of one repository, held by this process; safe between threads and processes."""

    def __init__(self, paths: RepositoryPaths, clock: Clock) -> None:
        """Open ``locks.db``, made where it is missing. Raises StoreError."""
        self._paths, self._clock = paths, clock
        self._connections = Connections(
            paths.locks_db, lambda: connect(str(paths.locks_db), MIGRATIONS, synchronous="NORMAL")
        )
        make_private(paths.holders)
        self._guard = threading.Lock()
        self._holder: Holder | None = None

    def acquire(self, name: str, holder: str, ttl: float = 30.0, wait: float = 0.0) -> HeldLease:
        """Take the lease ``name`` for ``ttl`` seconds; who waits (at most ``wait`` seconds) is served in turn.

        ``holder`` tells people who it is. Not re-entrant. Raises LeaseError where it is not had in time, UsageError for
        a name that is empty, too long or no plain text, StoreError.
        """
        lock_name(name)
        me = _Party(clean(holder, limit=200), self._holder_id(), self._clock.boot_id())
        deadline = self._clock.boot() + wait
        never, place = threading.Event(), 0
        try:
            while True:
                with self._connections.transaction() as connection:
                    if wait > 0:
                        place = self._queue(connection, name, me, place)
                    obstacle = self._obstacle(connection, name, place)
                    token = None if obstacle else self._take_token(connection)
                    if token is not None:
                        connection.execute("DELETE FROM waiter WHERE seq = ?", (place,))
                        return self._grant(connection, name, me, token, ttl)
                if not obstacle:
                    self._reserve_tokens()
                    continue
                left = deadline - self._clock.boot()
                if left <= 0:
                    raise LeaseError(f"lock {name!r} was not had within {wait:g} s: it {obstacle}")
                self._clock.wait(never, min(POLL, left))
        except BaseException:
            if place:
                with suppress(StoreError):  # the place lapses by itself
                    self._leave(place)
            raise

    def renew(self, held: HeldLease) -> HeldLease:
        """Give ``held`` its whole time again; return it as it is now. Raises LostLeaseError if it is no longer held."""
        expires = self._clock.boot() + held.ttl
        with self._connections.transaction() as connection:
            self._check_held(connection, held)
            connection.execute("UPDATE lease SET expires = ? WHERE name = ?", (expires, held.name))
        return replace(held, expires=expires)

    def release(self, held: HeldLease) -> None:
        """Give ``held`` back. Raises LostLeaseError if it is no longer held: the work under it may have been late."""
        with self._connections.transaction() as connection:
            self._check_held(connection, held)
            connection.execute("DELETE FROM lease WHERE name = ?", (held.name,))

    def list(self) -> _Leases:
        """Return the leases that are held now, by name, each with who waits for it, in turn."""
        with self._connections.snapshot() as connection:
            leases = connection.execute(
                "SELECT holder, holder_id, boot_id, expires, name, token, since FROM lease ORDER BY name"
            ).fetchall()
            waiters = connection.execute(
                "SELECT holder, holder_id, boot_id, expires, name FROM waiter ORDER BY seq"
            ).fetchall()
        queue = [
            (name, Waiter(clean(who), self._clock.now()))
            for who, holder_id, boot_id, expires, name in waiters
            if self._lives(holder_id, boot_id, expires)
        ]
        return [
            Lease(
                clean(name),
                clean(who),
                token,
                expires - self._clock.boot(),
                parse_iso(since),
                tuple(waiter for waited, waiter in queue if waited == name),
            )
            for who, holder_id, boot_id, expires, name, token, since in leases
            if self._lives(holder_id, boot_id, expires)
        ]

    def break_(self, name: str, by: str, reason: str, record: Recorder) -> Lease:
        """Take the lease ``name`` from its holder, who notices at its next renewal; return what it was.

        ``record`` is called first, with who, what, subject and why: a break that cannot be recorded is not done.
        Raises LostLeaseError where nobody holds it.
        """
        with self._connections.transaction() as connection:
            lease = next((lease for lease in self.list() if lease.name == name), None)
            if lease is None:
                raise LostLeaseError(f"nobody holds lock {clean(name)!r}; `rollcage locks` lists them")
            record(by, "break lock", f"{lease.name}: token {lease.token}, held by {lease.holder}", reason)
            connection.execute("DELETE FROM lease WHERE name = ?", (name,))
        return lease

    def close(self) -> None:
        """End this holder: what it still holds is free at once. A later use is a StoreError."""
        with self._guard:
            if self._holder is not None:
                self._holder.close()
                self._holder = None
            self._connections.close()

    def _holder_id(self) -> str:
        with self._guard:
            if self._holder is None:
                sweep(self._paths.holders, self._forget)
                self._holder = Holder(self._paths.holders)
            return self._holder.id

    def _forget(self, holder_id: str) -> None:
        with self._connections.transaction() as connection:
            connection.execute("DELETE FROM lease WHERE holder_id = ?", (holder_id,))
            connection.execute("DELETE FROM waiter WHERE holder_id = ?", (holder_id,))

    def _lives(self, holder_id: str, boot_id: str, expires: float) -> bool:
        if boot_id != self._clock.boot_id() or expires <= self._clock.boot():
            return False
        return is_alive(self._paths.holders, holder_id)

    def _queue(self, connection: sqlite3.Connection, name: str, me: _Party, place: int) -> int:
        """Return our place in the queue, kept alive; a new one at its end where there is none (any more)."""
        now = self._clock.boot()
        row = connection.execute("SELECT expires FROM waiter WHERE seq = ?", (place,)).fetchone()
        if row is None:
            return (
                connection.execute(
                    "INSERT INTO waiter (name, holder, holder_id, boot_id, expires) VALUES (?, ?, ?, ?, ?)",
                    (name, me.holder, me.id, me.boot_id, now + WAITER_TTL),
                ).lastrowid
                or 0
            )
        if row[0] < now + WAITER_TTL - 1:  # not at every look: each write wakes whoever watches the file
            connection.execute("UPDATE waiter SET expires = ? WHERE seq = ?", (now + WAITER_TTL, place))
        return place

    def _leave(self, place: int) -> None:
        with self._connections.transaction() as connection:
            connection.execute("DELETE FROM waiter WHERE seq = ?", (place,))

    def _obstacle(self, connection: sqlite3.Connection, name: str, place: int) -> str:
        """Return what keeps the one at ``place`` (0: behind all) from having the lease; empty: nothing."""
        row = connection.execute(
            "SELECT holder, token, holder_id, boot_id, expires FROM lease WHERE name = ?", (name,)
        ).fetchone()
        if row is not None and self._lives(*row[2:]):
            return f"is held by {clean(row[0])} with token {row[1]}"
        ahead = connection.execute(
            "SELECT seq, holder, holder_id, boot_id, expires FROM waiter"
            " WHERE name = ? AND (? = 0 OR seq < ?) ORDER BY seq",
            (name, place, place),
        ).fetchall()
        for seq, holder, *life in ahead:
            if self._lives(*life):
                return f"goes to {clean(holder)} first, who waits for it"
            connection.execute("DELETE FROM waiter WHERE seq = ?", (seq,))
        return ""

    def _grant(self, connection: sqlite3.Connection, name: str, me: _Party, token: int, ttl: float) -> HeldLease:
        expires = self._clock.boot() + ttl
        connection.execute(
            "INSERT OR REPLACE INTO lease (name, holder, holder_id, token, since, boot_id, expires)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (name, me.holder, me.id, token, iso(self._clock.now()), me.boot_id, expires),
        )
        return HeldLease(name, me.holder, token, ttl, expires)

    def _check_held(self, connection: sqlite3.Connection, held: HeldLease) -> None:
        row = connection.execute("SELECT token, boot_id, expires FROM lease WHERE name = ?", (held.name,)).fetchone()
        if row is None or row[0] != held.token:
            raise LostLeaseError(f"lock {held.name!r}: token {held.token} is stale; it was broken, or taken by another")
        if row[1] != self._clock.boot_id() or row[2] <= self._clock.boot():
            raise LostLeaseError(f"lock {held.name!r}: token {held.token} has lapsed; take the lock again", lapsed=True)

    def _take_token(self, connection: sqlite3.Connection) -> int | None:
        """Return the next token of the block reserved in this boot; ``None`` where there is none left."""
        done = connection.execute(
            "UPDATE token SET next = next + 1 WHERE next < reserved AND boot_id = ?", (self._clock.boot_id(),)
        )
        if not done.rowcount:
            return None
        return int(connection.execute("SELECT next - 1 FROM token").fetchone()[0])

    def _reserve_tokens(self) -> None:
        boot_id = self._clock.boot_id()
        with self._connections.reading() as connection:
            connection.execute("PRAGMA synchronous=FULL")
            try:
                with self._connections.transaction():
                    connection.execute(
                        "UPDATE token SET next = reserved, reserved = reserved + ?, boot_id = ?"
                        " WHERE next >= reserved OR boot_id != ?",
                        (BLOCK, boot_id, boot_id),
                    )
            finally:
                connection.execute("PRAGMA synchronous=NORMAL")


@dataclass(frozen=True, slots=True)
class _Party:
    """Who asks for a lease."""

    holder: str
    id: str
    boot_id: str
