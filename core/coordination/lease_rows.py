"""The tables of ``locks.db``, and what is read from them: agents may write there, so a row is judged before it counts.

A row with a wrong type, a number or a time that cannot be, or a name that is none is passed over, and removed where it
is in the way: it must not stop anybody.
"""

from __future__ import annotations

import math
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from ..text import clean
from .holders import is_holder_id
from .leases import LONGEST
from .tokens import HIGHEST

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
    # since: Unix time. came, expires: the boot clock.
    """
    ALTER TABLE lease RENAME TO old_lease;
    CREATE TABLE lease (
        name TEXT NOT NULL,
        token INTEGER NOT NULL,
        holder TEXT NOT NULL,
        holder_id TEXT NOT NULL,
        session TEXT NOT NULL,
        permits INTEGER NOT NULL,
        slots INTEGER NOT NULL,
        ttl REAL NOT NULL,
        since REAL NOT NULL,
        boot_id TEXT NOT NULL,
        expires REAL NOT NULL,
        PRIMARY KEY (name, token)
    ) WITHOUT ROWID;
    INSERT INTO lease SELECT name, token, holder, holder_id, holder_id, 1, 1, 30.0, strftime('%s', since), boot_id,
        expires FROM old_lease;
    DROP TABLE old_lease;
    DROP TABLE waiter;
    CREATE TABLE waiter (
        seq INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        holder TEXT NOT NULL,
        holder_id TEXT NOT NULL,
        bell INTEGER NOT NULL,
        session TEXT NOT NULL,
        permits INTEGER NOT NULL,
        slots INTEGER NOT NULL,
        came REAL NOT NULL,
        boot_id TEXT NOT NULL,
        expires REAL NOT NULL,
        refused TEXT
    );
    CREATE INDEX waiter_of_lease ON waiter (name, seq);
    CREATE TABLE broken (token INTEGER PRIMARY KEY, name TEXT NOT NULL, who TEXT NOT NULL, why TEXT NOT NULL)
    """,
)

_LONGEST = 1_000
"""Characters of a text that can be one of ours."""


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """A row of ``lease`` that can be one; whether it is over is another matter."""

    name: str
    token: int
    holder: str
    holder_id: str
    session: str
    permits: int
    slots: int
    ttl: float
    since: float
    boot_id: str
    expires: float


@dataclass(frozen=True, slots=True)
class WaiterRow:
    """A row of ``waiter`` that can be one."""

    name: str
    seq: int
    holder: str
    holder_id: str
    bell: int
    session: str
    permits: int
    slots: int
    came: float
    boot_id: str
    expires: float
    refused: str | None


_LEASE = "SELECT name, token, holder, holder_id, session, permits, slots, ttl, since, boot_id, expires FROM lease"
_WAITER = (
    "SELECT name, seq, holder, holder_id, bell, session, permits, slots, came, boot_id, expires, refused FROM waiter"
)


def read_leases(connection: sqlite3.Connection, name: str | None = None) -> list[LeaseRow]:
    """Return what can be leases of ``name``, or of all names, by name and token."""
    if name is None:
        rows = connection.execute(f"{_LEASE} ORDER BY name, token")
    else:
        rows = connection.execute(f"{_LEASE} WHERE name = ? ORDER BY token", (name,))
    return [lease for row in rows.fetchall() if (lease := _lease(row))]


def read_waiters(connection: sqlite3.Connection, name: str | None = None, first: int = -1) -> list[WaiterRow]:
    """Return who can be waiting for ``name``, or for any, in turn; of all, or of the ``first`` so many rows."""
    if name is None:
        rows = connection.execute(f"{_WAITER} ORDER BY seq LIMIT ?", (first,))
    else:
        rows = connection.execute(f"{_WAITER} WHERE name = ? ORDER BY seq LIMIT ?", (name, first))
    return [waiter for row in rows.fetchall() if (waiter := _waiter(row))]


def read_waiter(connection: sqlite3.Connection, seq: int) -> WaiterRow | None:
    """Return who can be waiting at the place ``seq``."""
    rows = connection.execute(f"{_WAITER} WHERE seq = ?", (seq,)).fetchall()
    return _waiter(rows[0]) if rows else None


def waiting_before(connection: sqlite3.Connection, name: str, seq: int | None) -> int | None:
    """Return the last place in the queue of ``name`` before ``seq`` (``None``: of all); ``None``: there is none."""
    rows = connection.execute(
        "SELECT seq FROM waiter WHERE name = ?1 AND (?2 IS NULL OR seq < ?2) ORDER BY seq DESC LIMIT 1", (name, seq)
    ).fetchall()
    return int(rows[0][0]) if rows else None


def _lease(row: tuple[object, ...]) -> LeaseRow | None:
    match row:
        case (
            str(name),
            int(token),
            str(holder),
            str(holder_id),
            str(session),
            int(permits),
            int(slots),
            float(ttl),
            float(since),
            str(boot_id),
            float(expires),
        ) if (
            _is_plain(name, holder, session)
            and is_holder_id(holder_id)
            and 0 < token <= HIGHEST
            and 0 < slots <= permits <= HIGHEST
            and _is_span(ttl)
            and _is_moment(since)
            and math.isfinite(expires)
        ):
            return LeaseRow(name, token, holder, holder_id, session, permits, slots, ttl, since, boot_id, expires)
    return None


def _waiter(row: tuple[object, ...]) -> WaiterRow | None:
    match row:
        case (
            str(name),
            int(seq),
            str(holder),
            str(holder_id),
            int(bell),
            str(session),
            int(permits),
            int(slots),
            float(came),
            str(boot_id),
            float(expires),
            (str() | None) as refused,
        ) if (
            _is_plain(name, holder, session)
            and is_holder_id(holder_id)
            and 0 <= bell <= HIGHEST
            and 0 < slots <= permits <= HIGHEST
            and math.isfinite(came)
            and math.isfinite(expires)
        ):
            return WaiterRow(
                name, seq, holder, holder_id, bell, session, permits, slots, came, boot_id, expires, refused
            )
    return None


def _is_plain(*texts: str) -> bool:
    return all(map(_is_text_of_ours, texts))


@lru_cache(4_000)
def _is_text_of_ours(text: str) -> bool:
    return bool(text) and clean(text, limit=_LONGEST) == text


def _is_span(seconds: float) -> bool:
    return 0 < seconds <= LONGEST


def _is_moment(seconds: float) -> bool:
    try:
        datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return False
    return True
