"""What all tables of ``state.db`` stand on: the connections, the clock, and nouns as JSON text."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TypeVar

from ..clock import Clock, iso
from ..codec import from_json, to_json
from .connections import Connections

T = TypeVar("T")


class Tables:
    """The base of the groups of tables that `rollcage.core.store.store.Store` is composed of."""

    clock: Clock
    _connections: Connections

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write all within or nothing, durably when it ends (``BEGIN IMMEDIATE``, ``synchronous=FULL``).

        All writers of the store join it; within another of the same thread it joins that. An error within dooms the
        whole, even if it is caught. Raises StoreError (locked, full disk, read-only): then nothing was written.
        """
        with self._connections.transaction():
            yield

    @contextmanager
    def at_one_moment(self) -> Iterator[None]:
        """Let all that is read within come from one and the same state of the file, whoever writes meanwhile."""
        with self._connections.snapshot():
            yield

    def _now(self) -> str:
        return iso(self.clock.now())

    def _next_id(self, name: str) -> str:
        """Return ``NAME-1``, ``NAME-2`` and so on; a number is never given twice, a crash may leave one out."""
        with self._connections.transaction() as connection:
            connection.execute(
                "INSERT INTO counter VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1", (name,)
            )
            number = one(connection, "SELECT value FROM counter WHERE name = ?", name)
        return f"{name}-{number}"

    def _nouns(self, kind: type[T], query: str, *parameters: object) -> list[T]:
        with self._connections.reading() as connection:
            return [from_json(kind, row[0]) for row in connection.execute(query, parameters)]

    def _noun(self, kind: type[T], query: str, *parameters: object) -> T | None:
        with self._connections.reading() as connection:
            text = one(connection, query, *parameters)
        return None if text is None else from_json(kind, str(text))


def one(connection: sqlite3.Connection, query: str, *parameters: object) -> object:
    """Return the first column of the first row; ``None`` where there is no row."""
    row = connection.execute(query, parameters).fetchone()
    return None if row is None else row[0]


def body_of(noun: object) -> str:
    """Return a dataclass as JSON text for `from_json`. Raises ValueError for a number that JSON does not have."""
    return json.dumps(to_json(noun), allow_nan=False)


def json_of(value: object) -> str:
    """Return JSON text of plain values, times as ISO 8601. Raises TypeError or ValueError for what JSON cannot hold."""
    return json.dumps(value, allow_nan=False, default=_special)


def _special(value: object) -> object:
    if isinstance(value, datetime):
        return iso(value)
    raise TypeError(f"an event cannot hold a {type(value).__name__}")
