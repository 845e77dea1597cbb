"""``locks.db`` as it is now, for all threads of a process: opened anew where it was deleted or replaced.

A write waits for other writers by short looks of its own: SQLite's, a millisecond and more, would be most of the time
that a lock takes to go from one process to the next.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from ..errors import StoreError
from ..store.connections import Connections
from ..store.database import BUSY_TIMEOUT, connect, explained, roll_back
from ..store.paths import RepositoryPaths
from .lease_rows import MIGRATIONS
from .tokens import HIGHEST, NoTokenError, Tokens

T = TypeVar("T")

PAGE = 1024
"""Bytes of a page: a grant or a release changes one, and its checksum is a good part of the cost."""
CHECKPOINT = 4_000
"""Pages in the log before they are moved to the file, which costs two syncs."""
_FIRST_LOOK, _LAST_LOOK = 0.000_05, 0.005
"""Seconds between two tries to write while another does: at first, at last."""


_inherited: list[Connections] = []


class LeaseFile:
    """The connections of one process to ``locks.db``, with its tokens."""

    def __init__(self, paths: RepositoryPaths, boot_id: str) -> None:
        """Open it, made where it is missing. Raises StoreError."""
        self._path, self._root, self._boot_id = str(paths.locks_db), paths.root, boot_id
        self._guard = threading.Lock()
        self._turn = threading.Lock()
        """To look whether one may write; not needed while one does."""
        self._over = ""
        """Why it can no longer be used."""
        self._open()

    def _open(self) -> None:
        tokens = Tokens(self._root, self._boot_id)

        def connected() -> sqlite3.Connection:
            connection = connect(self._path, MIGRATIONS, synchronous="NORMAL", page_size=PAGE)
            connection.execute("PRAGMA busy_timeout=0")
            connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT}")
            connection.text_factory = _text
            connection.create_function("next_token", 0, tokens.take)
            return connection

        self.tokens = tokens
        self.connections = Connections(Path(self._path), connected)
        with explained(self._path):
            self._inode = self._look()

    def _look(self) -> int:
        try:
            return os.stat(self._path).st_ino  # noqa: PTH116 - at every call, and three times as quick as a Path's
        except OSError:
            return 0

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """Give this thread's connection to the file that is there now. Raises StoreError."""
        with explained(self._path):
            if self._over:
                raise StoreError(self._over)
            if self._look() != self._inode:
                self._reopen()
            connections = self.connections
            try:
                yield connections.begin()
            finally:
                connections.done()

    def _reopen(self) -> None:
        with self._guard:
            if not self._over and self._look() != self._inode:
                self._open()  # what was open is closed when the last thread has done with it

    def write(self, statement: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
        """Run one statement as a transaction of its own; return its rows.

        Raises StoreError, and NoTokenError where the statement needs a token and there is none; then nothing counts.
        """
        while True:
            if self._over:
                raise StoreError(self._over)
            connections = self.connections
            try:
                rows = connections.run(statement, parameters)
            except sqlite3.Error as error:
                rows = self._write_patiently(connections, statement, parameters, error)
            # Asked afterwards: what was written into a file that is no longer there does not count.
            if self._look() == self._inode and self.connections is connections:
                return rows
            with explained(self._path):
                self._reopen()

    def _write_patiently(
        self, connections: Connections, statement: str, parameters: tuple[object, ...], first: sqlite3.Error
    ) -> list[tuple[Any, ...]]:
        with explained(self._path):
            try:
                if not _is_busy(first):
                    raise first
                return self._in_turn(lambda: connections.run(statement, parameters))
            except sqlite3.IntegrityError as error:
                raise NoTokenError from error

    def _in_turn(self, do: Callable[[], T]) -> T:
        """Like `_patiently`, but one thread of this process at a time: hundreds that look hold each other up."""
        try:
            return do()
        except sqlite3.OperationalError as error:
            deadline = time.monotonic() + BUSY_TIMEOUT
            if not _is_busy(error) or not self._turn.acquire(timeout=BUSY_TIMEOUT):
                raise
        try:
            return _patiently(do, deadline)
        finally:
            self._turn.release()

    def reserve_tokens(self) -> None:
        """Make sure that there are tokens, and remove what is long over. Raises StoreError."""
        with self.transaction() as connection:
            rows = connection.execute(
                "SELECT max(value) FROM (SELECT token AS value FROM lease UNION ALL SELECT token FROM broken"
                " UNION ALL SELECT reserved FROM token) WHERE typeof(value) = 'integer' AND value < ?",
                (HIGHEST,),
            ).fetchall()
            end = self.tokens.reserve(rows[0][0] or 0)
            connection.execute("UPDATE token SET next = ?, reserved = ?, boot_id = ?", (end, end, self._boot_id))
            connection.execute("DELETE FROM lease WHERE boot_id != ?", (self._boot_id,))
            connection.execute("DELETE FROM waiter WHERE boot_id != ?", (self._boot_id,))

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write within ``BEGIN IMMEDIATE``: all of it or, after an exception, nothing. Raises as `write` does."""
        with self._connected() as connection:
            try:
                self._in_turn(lambda: connection.execute("BEGIN IMMEDIATE"))
                try:
                    yield connection
                except sqlite3.IntegrityError as error:
                    raise NoTokenError from error
                _patiently(lambda: connection.execute("COMMIT"))
            except BaseException:
                roll_back(connection)
                raise
            if self._look() != self._inode:
                raise StoreError(f"{self._path} was deleted or replaced meanwhile; this change is lost; try again")

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Read one and the same state of the file. Raises StoreError."""
        with self._connected() as connection:
            connection.execute("BEGIN")
            try:
                _patiently(lambda: connection.execute("SELECT 1 FROM lease LIMIT 1").fetchall())
                yield connection
            finally:
                roll_back(connection)

    def after_fork(self, why: str) -> None:
        """Never touch it again, in a child: SQLite's connections do not survive a fork, not even to be closed."""
        self._over, self._guard, self._turn = why, threading.Lock(), threading.Lock()
        _inherited.append(self.connections)

    def close(self) -> None:
        """Close every thread's connection; a later use is a StoreError."""
        with self._guard:
            if not self._over:
                self._over = f"{self._path} was closed; open the leases again"
                self.connections.close()


def _text(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def _patiently(do: Callable[[], T], deadline: float = 0.0) -> T:
    """Return what ``do`` returns, tried again while another writes, until ``deadline``; 0: for `BUSY_TIMEOUT` s."""
    deadline, pause = deadline or time.monotonic() + BUSY_TIMEOUT, _FIRST_LOOK
    while True:
        try:
            return do()
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() >= deadline:
                raise
        time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311
        pause = min(pause * 1.5, _LAST_LOOK)
