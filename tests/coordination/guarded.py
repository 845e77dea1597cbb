"""Something that leases protect: a file whose every write carries a token, and who came when."""

from __future__ import annotations

import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rollcage.core.coordination.fence import FENCE_SCHEMA, accept
from rollcage.core.coordination.leases import LostLeaseError
from tests.coordination.history import now

Check = Callable[[sqlite3.Connection, str, int], None]
"""Raises LostLeaseError, in the transaction of the write, where a token may not write under a name."""


@dataclass(frozen=True, slots=True)
class Write:
    """One that was accepted."""

    name: str
    token: int
    process: str
    at: float


def accept_all(connection: sqlite3.Connection, name: str, token: int) -> None:
    """Look at no token: what a lock without tokens comes to."""


class Guarded:
    """The file; safe between threads and processes."""

    def __init__(self, path: Path, check: Check = accept) -> None:
        """Open it, made where it is missing."""
        self._check, self._guard = check, threading.Lock()
        self._connection = sqlite3.connect(path, timeout=20, isolation_level=None, check_same_thread=False)
        self._connection.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
            f"{FENCE_SCHEMA};"
            "CREATE TABLE IF NOT EXISTS written"
            " (seq INTEGER PRIMARY KEY, name TEXT, token INTEGER, process TEXT, at REAL)"
        )

    def write(self, name: str, token: int, process: str) -> bool:
        """Write under ``name``; return whether the token was good enough."""
        with self._guard:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._check(self._connection, name, token)
            except LostLeaseError:
                self._connection.execute("ROLLBACK")
                return False
            self._connection.execute(
                "INSERT INTO written (name, token, process, at) VALUES (?, ?, ?, ?)", (name, token, process, now())
            )
            self._connection.execute("COMMIT")
        return True

    def writes(self) -> list[Write]:
        """Return all that was accepted, in that order."""
        with self._guard:
            rows = self._connection.execute("SELECT name, token, process, at FROM written ORDER BY seq").fetchall()
        return [Write(*row) for row in rows]

    def close(self) -> None:
        """Close the file."""
        with self._guard:
            self._connection.close()


def faults(writes: list[Write]) -> list[str]:
    """Return the writes that came with a lower token than one before them, in words."""
    highest: dict[str, int] = defaultdict(int)
    wrong = []
    for write in writes:
        if write.token < highest[write.name]:
            wrong.append(f"{write.name}: {write.process} wrote with {write.token} after {highest[write.name]}")
        highest[write.name] = max(highest[write.name], write.token)
    return wrong
