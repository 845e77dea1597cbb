"""A SQLite database: read-only checks, snapshots beside its users, and restoring into the live file.

Both ways go by SQLite's online backup (https://www.sqlite.org/backup.html), in one step: copying the file misses what
is in the journal or the WAL, and replacing the file does nothing for those who have it open while a WAL is alive.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from ..config import DatabaseCheck
from ..errors import StoreError
from ..text import clean
from .database import CheckError, MissingDatabaseError, SnapshotFile
from .manifest import digest_of, sync_folder

if TYPE_CHECKING:
    from .capture import RowCapture

SNAPSHOT_NAME = "database.sqlite3"
BUSY_WAIT_S = 5.0
QUERY_LIMIT_S = 30.0
_STEPS_BETWEEN_LOOKS = 20_000
"""Of SQLite's virtual machine; some hundred microseconds."""
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PROBLEMS_SHOWN = 20


class SqliteDatabase:
    """A SQLite file. Every call has a connection of its own."""

    kind = "sqlite"

    def __init__(
        self,
        path: Path,
        checks: Sequence[DatabaseCheck] = (),
        *,
        captured: Sequence[str] = (),
        busy_wait: float = BUSY_WAIT_S,
        query_limit: float = QUERY_LIMIT_S,
    ) -> None:
        """Take the file, the tables recorded, and in seconds how long to wait for others' locks and for a check."""
        self.path, self.url = path, f"sqlite:///{path.absolute()}"
        self._captured = captured
        self._checks = checks
        self._busy_wait = busy_wait
        self._query_limit = query_limit

    @property
    def capture(self) -> RowCapture | None:
        """See `Database.capture`."""
        if not self._captured:
            return None
        from .capture_sqlite import SqliteCapture  # it opens its database as this does

        def ask(connection: sqlite3.Connection) -> list[CheckError]:
            return [self.ask(connection, check) for check in self._checks]

        return SqliteCapture(self.path, self._captured, busy_wait=self._busy_wait, ask=ask)

    def fingerprint(self) -> str:
        """See `Database.fingerprint`: time, size and inode of the file and of its write-ahead log."""
        said = []
        for path in (self.path, Path(f"{self.path}-wal")):
            try:
                about = path.stat()
            except OSError:
                said.append("-")
            else:
                said.append(f"{about.st_mtime_ns}:{about.st_size}:{about.st_ino}")
        return " ".join(said)

    def tables(self) -> list[str]:
        """See `Database.tables`."""
        query = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
        with self._reading() as connection:
            names = [str(name) for (name,) in connection.execute(query)]
        return [name for name in names if not name.startswith(("sqlite_", "rollcage_"))]

    def examine(self) -> str:
        """See `Database.examine`."""
        return f"SQLite {sqlite3.sqlite_version}"

    def check_errors(self) -> list[CheckError]:
        """See `Database.check_errors`.

        One row of one number counts ``|number - expect|``; any other answer counts its rows, so a query that lists
        faults should list more than one column. The lone ``ok`` of ``PRAGMA integrity_check`` counts 0.
        """
        try:
            with self._reading() as connection:
                return [self.ask(connection, check) for check in self._checks]
        except StoreError as error:
            count = 1 if isinstance(error, _DamagedError) else None
            return [CheckError(check.name, count, str(error)) for check in self._checks]

    def ask(self, connection: sqlite3.Connection, check: DatabaseCheck) -> CheckError:
        """Run one check on a connection that is open, as `check_errors` does."""
        deadline = time.monotonic() + self._query_limit
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
        try:
            with closing(connection.cursor()) as cursor:
                cursor.execute(check.sql)
                first = cursor.fetchone()
                rows = int(first is not None) + sum(1 for _ in cursor)
        except (sqlite3.Error, sqlite3.Warning) as error:  # Warning: two statements, before Python 3.12
            code = _code(error)
            if code == sqlite3.SQLITE_INTERRUPT:
                return CheckError(check.name, None, f"took longer than {self._query_limit:g} s and was stopped")
            # A table or column that is gone is damage; a query that was always wrong wants mending as well.
            return CheckError(check.name, None if code in _BUSY else 1, clean(f"fails: {error}"))
        if rows != 1 or len(first) != 1:
            return CheckError(check.name, rows)
        value = first[0]
        if isinstance(value, (int, float)) and math.isfinite(value):
            return CheckError(check.name, abs(value - check.expect))
        if value is None:
            return CheckError(check.name, 1, "answers NULL; a sum over no rows is NULL: write coalesce(..., 0)")
        return CheckError(check.name, 0 if value == "ok" else 1)

    def integrity(self) -> list[str]:
        """See `Database.integrity`: ``PRAGMA integrity_check``. A foreign key is for `database.checks` to look at."""
        try:
            with self._reading() as connection:
                return _problems(connection)
        except _DamagedError as error:
            return [str(error)]

    def snapshot(self, folder: Path) -> SnapshotFile:
        """See `Database.snapshot`. What SQLite cannot read is kept byte by byte with its journals, and a warning."""
        target, partial = folder / SNAPSHOT_NAME, folder / f"{SNAPSHOT_NAME}.partial"
        warning = ""
        try:
            partial.unlink(missing_ok=True)
            try:
                with self._reading() as source, closing(connect(partial, "rwc", 0)) as copy:
                    copy.execute("PRAGMA journal_mode = OFF")  # it is made durable below, once and whole
                    copy.execute("PRAGMA synchronous = OFF")
                    self._copy(source, copy)
            except _DamagedError as error:
                warning = f"{error}; it was kept byte by byte and cannot be restored from here"
                shutil.copyfile(self.path, partial)
                for ending in ("-wal", "-journal"):
                    with contextlib.suppress(FileNotFoundError):
                        shutil.copyfile(f"{self.path}{ending}", f"{target}{ending}")
            digest, size = digest_of(partial), partial.stat().st_size
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.replace(target)
            sync_folder(folder)
        except OSError as error:
            raise StoreError(
                f"the snapshot of {self._named} cannot be written to {folder}: {error.strerror}"
            ) from error
        return SnapshotFile(target.name, size, digest, warning)

    def restore(self, file: Path, *, sha256: str | None = None) -> None:
        """See `Database.restore`; a live file damaged beyond reading is emptied first, one that is gone is made."""
        try:
            digest = digest_of(file)
        except OSError as error:
            raise StoreError(f"the snapshot {file} cannot be read: {error.strerror}; nothing was changed") from error
        if sha256 is not None and digest != sha256:
            raise StoreError(f"the snapshot {file} is not what was kept: its SHA-256 differs; nothing was changed")
        with explained(f"the snapshot {file}"), closing(connect(file, "ro&immutable=1", 0)) as source:
            problems = _problems(source)
            if problems:
                raise StoreError(f"the snapshot {file} is damaged: {problems[0]}; nothing was changed")
            self._clear_wreck()
            with explained(self._named), closing(connect(self.path, "rwc", self._busy_wait)) as live:
                mode = self._match_page_size(source, live)
                try:
                    self._copy(source, live)
                finally:
                    live.execute(f"PRAGMA journal_mode = {mode}")
        problems = self.integrity()
        if problems:
            raise StoreError(f"{self._named} was restored but is damaged: {problems[0]}; look at its disk")

    def _clear_wreck(self) -> None:
        """Empty a live file that is no database any more: SQLite writes into an empty one, never into a wreck."""
        try:
            with self._reading():
                return
        except _DamagedError:
            os.truncate(self.path, 0)
        except MissingDatabaseError:
            return

    def _match_page_size(self, source: sqlite3.Connection, live: sqlite3.Connection) -> str:
        """Take the live file out of WAL where its page size is not the snapshot's; return the mode that it was in."""
        size = "PRAGMA page_size"
        mode = str(live.execute("PRAGMA journal_mode").fetchone()[0])
        if mode == "wal" and live.execute(size).fetchone() != source.execute(size).fetchone():
            live.execute("PRAGMA journal_mode = DELETE")  # raises SQLITE_BUSY while another has it open
        return mode

    def _copy(self, source: sqlite3.Connection, target: sqlite3.Connection) -> None:
        """Copy all pages in one step, so that a writer cannot make it start again for ever."""
        deadline = time.monotonic() + self._busy_wait

        def watch(status: int, remaining: int, total: int) -> None:
            if status & 0xFF in _BUSY and time.monotonic() >= deadline:  # Connection.backup itself never gives up
                raise _busy(self._named)

        source.backup(target, pages=-1, progress=watch, sleep=0.05)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Give a connection that can only read and has read. Raises StoreError in one line."""
        if not self.path.is_file():
            raise MissingDatabaseError(f"there is no {self._named}; mend database: url: or let its program create it")
        with explained(self._named), contextlib.ExitStack() as stack:
            mode = "rw" if self._rests_in_wal() else "ro"
            connection = stack.enter_context(closing(connect(self.path, mode, self._busy_wait)))
            try:
                _make_read_only(connection)
            except sqlite3.OperationalError as error:
                if _code(error) != sqlite3.SQLITE_READONLY:
                    raise
                # Its last writer was killed. Whoever reads next must roll that back, which "ro" cannot.
                connection = stack.enter_context(closing(connect(self.path, "rw", self._busy_wait)))
                _make_read_only(connection)
            yield connection

    def _rests_in_wal(self) -> bool:
        """Whether it is in WAL mode and nobody has it open: a reader in "ro" would leave -wal and -shm files behind."""
        try:
            with self.path.open("rb") as file:
                versions = file.read(20)[18:]  # https://www.sqlite.org/fileformat2.html#file_format_version_numbers
        except OSError as error:
            raise StoreError(f"{self._named} cannot be read: {error.strerror}") from error
        return versions == b"\2\2" and not Path(f"{self.path}-wal").exists()

    @property
    def _named(self) -> str:
        return f"database {clean(str(self.path))}"


class _DamagedError(StoreError):
    """SQLite says that the file is damaged."""


def _busy(subject: str) -> StoreError:
    return StoreError(f"{subject} is busy: another process holds it; end that, then try again")


def connect(path: Path, mode: str, wait: float) -> sqlite3.Connection:
    """Open ``path`` in autocommit, in the URI's ``mode``, waiting ``wait`` seconds for locks."""
    connection = sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?mode={mode}", uri=True, timeout=wait, isolation_level=None
    )
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)  # a check reads this database and no other file
    return connection


def _make_read_only(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA query_only = ON")
    connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()


def _problems(connection: sqlite3.Connection) -> list[str]:
    """Return what SQLite finds wrong with the structure, without what it cannot look at."""
    try:
        rows = connection.execute(f"PRAGMA integrity_check({_PROBLEMS_SHOWN})").fetchall()
    except sqlite3.DatabaseError as error:
        if _code(error) in _DAMAGED:
            return [clean(str(error))]
        if _code(error) != sqlite3.SQLITE_ERROR:
            raise
        # A table's index has a collation or function of its program's own: look at the other tables.
        rows = []
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            with contextlib.suppress(sqlite3.OperationalError):
                rows += connection.execute(f"PRAGMA integrity_check({_quoted(table)})").fetchall()
    return [clean(str(row[0])) for row in rows if row[0] != "ok"]


def _quoted(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"


@contextmanager
def explained(subject: str) -> Iterator[None]:
    """Turn SQLite's errors into a StoreError that says in one line what is wrong and what to do."""
    try:
        yield
    except sqlite3.Error as error:
        code = _code(error)
        said = clean(str(error))
        if code in _BUSY:
            raise _busy(subject) from error
        if code == sqlite3.SQLITE_FULL:
            raise StoreError(f"the disk is full: no room to copy {subject}; free some, then try again") from error
        if code in _DAMAGED:
            raise _DamagedError(f"{subject} is damaged: {said}") from error
        raise StoreError(f"{subject} cannot be used: {said}; look at its disk and permissions") from error


def _code(error: Exception) -> int:
    """Return SQLite's primary result code; 0 where the error is Python's own."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
