"""One connection per thread to one SQLite file, and transactions that nest."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import StoreError
from .database import explained, roll_back


class _Own(threading.local):
    """What a thread has: its connection, how deep it is in a transaction, and whether that must not be committed."""

    connection: sqlite3.Connection | None = None
    depth: int = 0
    doomed: bool = False


class Connections:
    """Hands each thread its own connection; those of ended threads are closed when a new one is opened."""

    def __init__(self, path: Path, connect: Callable[[], sqlite3.Connection]) -> None:
        """Take the file, for messages, and what opens it. Opens at once, so that errors come early."""
        self.path = path
        self._connect = connect
        self._own = _Own()
        self._guard = threading.Lock()
        self._open: dict[threading.Thread, sqlite3.Connection] = {}
        self._closed = False
        self.own()

    def own(self) -> sqlite3.Connection:
        """Return this thread's connection, opened at its first use. Raises StoreError, and what opening raises."""
        if self._closed:
            raise StoreError(f"{self.path} was closed; open the store again")
        if self._own.connection is None:
            connection = self._connect()
            with self._guard:
                for thread in [thread for thread in self._open if not thread.is_alive()]:
                    self._open.pop(thread).close()
                self._open[threading.current_thread()] = connection
            self._own.connection = connection
        return self._own.connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give the thread's connection; within its transaction it sees what that wrote. Raises StoreError."""
        with explained(self.path):
            yield self.own()

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Like `reading`, but all reads within see one and the same state of the file."""
        with self.reading() as connection:
            if connection.in_transaction:
                yield connection
                return
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                roll_back(connection)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write within ``BEGIN IMMEDIATE``: all of it or, after an exception, nothing.

        Within another transaction of the same thread it joins that; an error here then dooms the whole, even where
        the caller catches it, since SQLite may have ended the transaction by itself. Raises StoreError.
        """
        own = self._own
        with explained(self.path):
            connection = self.own()
            if own.depth and own.doomed:
                raise self._half_failed()
            if not own.depth:
                connection.execute("BEGIN IMMEDIATE")
                own.doomed = False
            own.depth += 1
            try:
                yield connection
                if own.depth == 1:
                    if own.doomed:
                        raise self._half_failed()
                    connection.execute("COMMIT")
            except BaseException:
                own.doomed = True
                if own.depth == 1:
                    roll_back(connection)
                raise
            finally:
                own.depth -= 1

    def _half_failed(self) -> StoreError:
        return StoreError(f"{self.path}: an earlier part of this change failed, so none of it was written")

    def close(self) -> None:
        """Close every thread's connection; a later use is a StoreError."""
        with self._guard:
            self._closed = True
            while self._open:
                self._open.popitem()[1].close()
