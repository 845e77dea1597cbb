"""What GitHub answered last of Issues and short lists, with ETags: a conditional read that finds nothing new is free.

A cache that proves itself: it is used only where the server answers 304. Beside ``state.db``; losing it costs requests.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..clock import iso, parse_iso
from ..errors import StoreError
from ..store.connections import Connections
from ..store.database import connect
from .issue import Issue

FILE = "kept.db"
ROWS = 20_000
"""So many Issues are kept."""
LISTS, LIST_SIZE = 200, 200_000
"""So many lists are kept, of so many characters each at most."""
_OFTEN = 256
_NOTE = 0
"""The number of the row that says that the ETags of writes are of no use there; no Issue has it."""

_MIGRATIONS = (
    """
    CREATE TABLE kept (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        repository TEXT NOT NULL, number INTEGER NOT NULL, etag TEXT NOT NULL, of_write INTEGER NOT NULL,
        body TEXT NOT NULL,
        UNIQUE (repository, number)
    )
    """,
    """
    CREATE TABLE listed (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        repository TEXT NOT NULL, query TEXT NOT NULL, etag TEXT NOT NULL, body TEXT NOT NULL,
        UNIQUE (repository, query)
    )
    """,
)


@dataclass(frozen=True, slots=True)
class Known:
    """An Issue as it was answered last; an empty ``etag``: it was changed by us since, so that a look is no use."""

    issue: Issue
    etag: str
    of_write: bool
    """Whether it came with the answer to a write."""


class Kept:
    """The answers about one repository. Safe between threads. What cannot be read or written is as if not known."""

    def __init__(self, file: Path, repository: str) -> None:
        """Open or make the file. Raises StoreError.

        ``repository`` says whose Issues, by whose token: an ETag is good for one. Only a hash of it is written.
        """
        self._repository = hashlib.sha256(f"kept\0{repository}".encode()).hexdigest()[:32]
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{file.parent} cannot be made ({error.strerror}); make its folder writable") from error
        # NORMAL: what a power cut takes is asked for again.
        self._connections = Connections(file, lambda: connect(str(file), _MIGRATIONS, synchronous="NORMAL"))

    def find(self, number: int) -> Known | None:
        """Return what was kept of the Issue."""
        query = "SELECT etag, of_write, body FROM kept WHERE repository = ? AND number = ?"
        with suppress(StoreError), self._connections.reading() as connection:
            row = connection.execute(query, (self._repository, number)).fetchone()
            return None if row is None else Known(_read(number, row[2]), row[0], bool(row[1]))
        return None

    def keep(self, issue: Issue, etag: str, *, of_write: bool = False) -> None:
        """Keep what was answered."""
        body = _text(issue)
        with suppress(StoreError), self._connections.transaction() as connection:
            if of_write and self._is_noted(etag):
                etag = ""
            seq = connection.execute(
                "INSERT OR REPLACE INTO kept (repository, number, etag, of_write, body) VALUES (?, ?, ?, ?, ?)",
                (self._repository, issue.number, etag, of_write, body),
            ).lastrowid
            if seq and seq % _OFTEN == 0:
                connection.execute("DELETE FROM kept WHERE seq <= ?", (seq - ROWS,))

    def changed(self, number: int) -> None:
        """Note that we changed the Issue without being told what it is as a whole."""
        with suppress(StoreError), self._connections.transaction() as connection:
            query = "UPDATE kept SET etag = '' WHERE repository = ? AND number = ?"
            connection.execute(query, (self._repository, number))

    def no_use_of_writes(self) -> None:
        """Note that the ETag of a write's answer is another than that of a read here: nobody uses one any more."""
        with suppress(StoreError), self._connections.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO kept (repository, number, etag, of_write, body) VALUES (?, ?, '', 1, '')",
                (self._repository, _NOTE),
            )

    def find_list(self, query: str) -> tuple[str, list[Issue]] | None:
        """Return the ETag and the Issues of a list that was answered in one page."""
        words = "SELECT etag, body FROM listed WHERE repository = ? AND query = ?"
        with suppress(StoreError), self._connections.reading() as connection:
            row = connection.execute(words, (self._repository, query)).fetchone()
            return None if row is None else (row[0], [_read(each[0], each[1]) for each in json.loads(row[1])])
        return None

    def keep_list(self, query: str, etag: str, issues: list[Issue]) -> None:
        """Keep a whole list; an empty ``etag``, or one too long: forget what was kept of it."""
        body = json.dumps([[issue.number, _text(issue)] for issue in issues])
        values = (self._repository, query)
        with suppress(StoreError), self._connections.transaction() as connection:
            if not etag or len(body) > LIST_SIZE:
                connection.execute("DELETE FROM listed WHERE repository = ? AND query = ?", values)
                return
            seq = connection.execute(
                "INSERT OR REPLACE INTO listed (repository, query, etag, body) VALUES (?, ?, ?, ?)",
                (*values, etag, body),
            ).lastrowid
            connection.execute("DELETE FROM listed WHERE seq <= ?", ((seq or 0) - LISTS,))

    def close(self) -> None:
        """Close the file."""
        self._connections.close()

    def _is_noted(self, etag: str) -> bool:
        if not etag:
            return False
        query = "SELECT 1 FROM kept WHERE repository = ? AND number = ?"
        with self._connections.reading() as connection:
            return connection.execute(query, (self._repository, _NOTE)).fetchone() is not None


def _text(issue: Issue) -> str:
    values = (issue.title, issue.body, issue.state, issue.labels, issue.assignees)
    return json.dumps([*values, iso(issue.created), iso(issue.updated)])


def _read(number: int, body: str) -> Issue:
    title, text, state, labels, assignees, created, updated = json.loads(body)
    return Issue(number, title, text, state, tuple(labels), tuple(assignees), parse_iso(created), parse_iso(updated))
