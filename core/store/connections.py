"""One connection per thread to one SQLite file, and transactions that nest."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import StoreError
from .database import explained, roll_back


class _Own:
    """What a thread has: its connection, how deep it is in a transaction, and whether that must not be committed."""

    __slots__ = ("connection", "depth", "doomed", "uses")

    def __init__(self) -> None:
        self.connection: sqlite3.Connection | None = None
        self.depth = 0
        self.doomed = False
        self.uses = 0
        """Begun and not done: while there are any, nobody else may close the connection."""


class _Here(threading.local):
    """Where each thread finds its own."""

    def __init__(self) -> None:
        self.own = _Own()


class Connections:
    """Hands each thread its own connection; those of ended threads are closed when a new one is opened."""

    def __init__(self, path: Path, connect: Callable[[], sqlite3.Connection]) -> None:
        """Take the file, for messages, and what opens it. Opens at once, so that errors come early."""
        self.path = path
        self._connect = connect
        self._here = _Here()
        self._guard = threading.Lock()
        self._open: dict[threading.Thread, _Own] = {}
        self._closed = False
        try:
            self.begin()
        finally:
            self.done()

    def begin(self) -> sqlite3.Connection:
        """Return this thread's connection, opened at its first use, to be used until `done`.

        That must follow, also where this raises: StoreError, and what opening raises.
        """
        own = self._here.own
        own.uses += 1  # before the look: `close` closes first and looks for uses then, so that one sees the other
        return own.connection if own.connection is not None and not self._closed else self._opened(own)

    def _opened(self, own: _Own) -> sqlite3.Connection:
        if self._closed:
            raise StoreError(f"{self.path} was closed; open the store again")
        connection = self._connect()
        with self._guard:
            for thread in [thread for thread in self._open if not thread.is_alive()]:
                _close(self._open.pop(thread))
            self._open[threading.current_thread()] = own
        own.connection = connection
        return connection

    def done(self) -> None:
        """End what `begin` began."""
        own = self._here.own
        own.uses -= 1
        if self._closed and not own.uses:
            _close(own)

    def run(self, statement: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        """Run one statement between `begin` and `done`; return its rows. Raises as `begin` does, and sqlite3.Error."""
        own = self._here.own
        own.uses += 1
        try:
            connection = own.connection
            if connection is None or self._closed:
                connection = self._opened(own)
            return connection.execute(statement, parameters).fetchall()
        finally:
            own.uses -= 1
            if self._closed and not own.uses:
                _close(own)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give the thread's connection; within its transaction it sees what that wrote. Raises StoreError."""
        with explained(self.path):
            try:
                yield self.begin()
            finally:
                self.done()

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
        own = self._here.own
        with self.reading() as connection:
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
        """Close every thread's connection; a later use is a StoreError.

        One that is in use is closed by its thread, once it has done with it: SQLite under another's feet would end the
        process.
        """
        with self._guard:
            self._closed = True
            while self._open:
                own = self._open.popitem()[1]
                if not own.uses:
                    _close(own)


def _close(own: _Own) -> None:
    if own.connection is not None:
        own.connection.close()
