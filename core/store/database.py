"""Opening a SQLite file as rollcage does: pragmas, migrations, and errors as one line each. Light, for the inbox."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..errors import StoreError

BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process that writes."""


def connect(
    path: str,
    migrations: Sequence[str],
    *,
    synchronous: str,
    read_only: bool = False,
    busy_timeout: float = BUSY_TIMEOUT,
    page_size: int = 4096,
) -> sqlite3.Connection:
    """Open ``path`` in autocommit mode with a write-ahead log, and bring its schema up to the last of ``migrations``.

    Each migration is a script of statements ended by ``;`` (none within a statement) that runs in one transaction;
    ``PRAGMA user_version`` counts them. ``synchronous`` is FULL (a commit survives a power cut) or NORMAL (a power cut
    may take the last commits, a killed process none). ``read_only`` neither creates nor migrates. ``page_size``, in
    bytes, is that of a new file; each write costs a page. The connection may be handed to another thread, but not used
    by two at once.

    Raises StoreError: not there, not writable, locked, damaged, or written by a newer rollcage.
    """
    with explained(path):
        # In a URI these three have a meaning of their own: https://www.sqlite.org/uri.html
        name = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        connection = sqlite3.connect(
            f"file:{name}?mode={'ro' if read_only else 'rwc'}",
            uri=True,
            timeout=busy_timeout,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.execute("PRAGMA trusted_schema=OFF")
            if not read_only:
                connection.execute(f"PRAGMA page_size={page_size}")
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA fullfsync=ON")  # macOS: fsync alone does not reach the disk there
                connection.execute(f"PRAGMA synchronous={synchronous}")
            _migrate(connection, path, migrations, read_only)
        except BaseException:
            connection.close()
            raise
        return connection


def _migrate(connection: sqlite3.Connection, path: str, migrations: Sequence[str], read_only: bool) -> None:
    known = len(migrations)
    while (version := connection.execute("PRAGMA user_version").fetchone()[0]) != known:
        if version > known:
            raise StoreError(
                f"{path} was written by a newer rollcage (schema {version}, this one knows {known}); update rollcage"
            )
        if read_only:
            raise StoreError(f"{path} is of an older rollcage (schema {version}); run `rollcage health` once")
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Asked again within the transaction: another process may have been quicker.
            if connection.execute("PRAGMA user_version").fetchone()[0] == version:
                for statement in migrations[version].split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version={version + 1}")
            connection.execute("COMMIT")
        except BaseException:
            roll_back(connection)
            raise


def roll_back(connection: sqlite3.Connection) -> None:
    """End the transaction, if there is one: on a full disk SQLite may have ended it by itself."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


@contextmanager
def explained(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an error of SQLite within into a StoreError of one line: what is wrong, what was kept, what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(_explain(error, os.fspath(path))) from error


def _explain(error: sqlite3.Error, path: str) -> str:
    # The low byte is the primary result code: https://www.sqlite.org/rescode.html
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF:
        case sqlite3.SQLITE_FULL:
            return (
                f"{path}: the disk is full; this change was not written, nothing earlier was lost; make room, try again"
            )
        case sqlite3.SQLITE_IOERR:
            return (
                f"{path}: the disk does not take it ({error}); this change was not written, nothing earlier was lost;"
                " look for a full quota or a failing disk, then try again"
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return (
                f"{path} is locked by another process; this change was not written, nothing was lost;"
                " try again, or end the process that holds it"
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return f"{path} cannot be written; nothing was changed; make it and its folder writable for this user"
        case sqlite3.SQLITE_CANTOPEN:
            return (
                f"{path} cannot be opened; look whether its folder exists and who may read it, or run `rollcage doctor`"
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return (
                f"{path} is damaged ({error}); rollcage changed nothing; keep a copy of its folder,"
                " then put a backup in its place or move it away to begin anew"
            )
    return f"{path}: {error}; this change was not written"
