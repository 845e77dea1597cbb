"""A fence around a SQLite database: who comes with an older token than somebody before is refused.

A holder that was paused beyond its lease's time does not know it, and writes late. So the write itself compares: the
highest token seen of each name lies in the database that is protected, and is looked at and raised in the transaction
of the write (M. Kleppmann, "How to do distributed locking", 2016).
"""

from __future__ import annotations

import sqlite3

from .leases import LostLeaseError

FENCE_SCHEMA = """
    CREATE TABLE IF NOT EXISTS fence (
        name TEXT PRIMARY KEY,
        token INTEGER NOT NULL
    ) WITHOUT ROWID
"""
"""To be run once, such as in a migration."""


def accept(connection: sqlite3.Connection, name: str, token: int) -> None:
    """Let the write of this transaction go on, for the lease ``name`` held with ``token``.

    To be called within the transaction that writes, which must be rolled back where this raises. Raises LostLeaseError
    where somebody with a later token of that name was here before, ValueError outside a transaction, sqlite3.Error.
    """
    if not connection.in_transaction:
        raise ValueError("a fence is passed within the transaction that it protects")
    rows = connection.execute(
        "INSERT INTO fence (name, token) VALUES (?1, ?2)"
        " ON CONFLICT (name) DO UPDATE SET token = excluded.token WHERE excluded.token >= fence.token RETURNING token",
        (name, token),
    ).fetchall()
    if not rows:
        seen = connection.execute("SELECT token FROM fence WHERE name = ?", (name,)).fetchone()[0]
        raise LostLeaseError(
            f"lock {name!r}: token {token} is stale; token {seen} has written since, so this write was refused"
        )
