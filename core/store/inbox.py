"""``inbox.db``: what agents report, and the registrations of their supervisors. Light: `rollcage signal` runs this.

Agents may write here, so whatever is read from it is foreign (`rollcage.core.store.signals` reads it with care).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable

from .database import connect as connect_database
from .database import explained, roll_back

LONGEST = 65_536
"""Characters of a text that are kept."""

# ``received`` is our own time, in seconds since 1970: ``at`` is whatever the agent said.
# ``argv`` is a JSON list, ``environment`` a JSON list of names, ``exit_code`` is null while it runs; ``updated`` has no
# type, so that it stays what the supervisor wrote.
MIGRATIONS = (
    """
    CREATE TABLE signal (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        received REAL NOT NULL,
        at TEXT NOT NULL,
        agent TEXT NOT NULL,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        value REAL,
        text TEXT,
        unit TEXT,
        attrs TEXT NOT NULL
    );
    CREATE INDEX signal_of_agent ON signal (agent, name, seq);
    CREATE INDEX signal_by_time ON signal (received);
    CREATE TABLE run (
        id TEXT PRIMARY KEY,
        agent TEXT NOT NULL,
        argv TEXT NOT NULL,
        cwd TEXT NOT NULL,
        environment TEXT,
        supervisor_pid INTEGER,
        supervisor_started REAL,
        boot_id TEXT,
        child_pid INTEGER,
        child_started REAL,
        state TEXT,
        since TEXT,
        output TEXT,
        exit_code INTEGER,
        competition TEXT,
        stage TEXT,
        updated
    );
    CREATE INDEX run_of_agent ON run (agent)
    """,
    "CREATE INDEX signal_of_kind ON signal (agent, kind, name, seq)",
)

Row = tuple[str, str, str, str, "float | None", "str | None", "str | None", str]
"""A signal as it is written: at (ISO 8601), agent, kind, name, value, text, unit, attrs (a JSON object)."""


def connect(path: str) -> sqlite3.Connection:
    """Open the inbox at ``path``, in autocommit mode; the schema is made where it is missing. Raises StoreError."""
    return connect_database(path, MIGRATIONS, synchronous="NORMAL")


def put(connection: sqlite3.Connection, rows: Iterable[Row]) -> int:
    """Write ``rows`` in one transaction; return the place (``seq``) of the last, 0 where there was none.

    Texts are cut at `LONGEST` characters. Raises StoreError; then none of them was written.
    """
    received = time.time()
    last = 0
    with explained(connection.execute("PRAGMA database_list").fetchone()[2]):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for row in rows:
                values = [_storable(item) if isinstance(item, str) else item for item in row]
                done = connection.execute(
                    "INSERT INTO signal (received, at, agent, kind, name, value, text, unit, attrs)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (received, *values),
                )
                last = done.lastrowid or 0
            connection.execute("COMMIT")
        except BaseException:
            roll_back(connection)
            raise
    return last


def _storable(text: str) -> str:
    # A lone surrogate (a byte that was no UTF-8) cannot be encoded; SQLite's own functions end a text at a NUL.
    return text[:LONGEST].encode(errors="replace").decode().replace("\0", " ")
