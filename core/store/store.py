"""The store: everything durable about one repository that is the operator's, in ``state.db``."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Self

from ..clock import Clock
from . import schema
from .audit import Audit
from .checkpoints import Checkpoints
from .connections import Connections
from .database import BUSY_TIMEOUT, connect, explained
from .events import Events
from .facts import Facts
from .incidents import Incidents
from .journal import Journal
from .outgoing import Outgoing
from .paths import RepositoryPaths


class Store(Events, Incidents, Journal, Checkpoints, Facts, Outgoing, Audit):
    """Durable state, safe between threads (a connection each) and processes.

    Every method that writes is one durable transaction, or joins the one that its thread is in; each raises StoreError,
    in one line, where the file is locked for too long, read-only or damaged, or the disk is full: then nothing of that
    change was written, nothing earlier is lost, and the store works again as soon as the trouble is over. A list of
    nouns raises StoreError where one is damaged.
    """

    paths: RepositoryPaths

    def __init__(self, paths: RepositoryPaths, clock: Clock, connections: Connections) -> None:
        """See `open`."""
        self.paths, self.clock, self._connections = paths, clock, connections
        self._hint = _Hint((paths.state_db, paths.locks_db, paths.inbox_db))

    @classmethod
    def open(
        cls, paths: RepositoryPaths, clock: Clock, *, read_only: bool = False, busy_timeout: float = BUSY_TIMEOUT
    ) -> Self:
        """Open the store, made and migrated where needed; ``busy_timeout`` is in seconds. Raises StoreError."""

        def opened() -> sqlite3.Connection:
            return connect(
                str(paths.state_db),
                schema.MIGRATIONS,
                synchronous="FULL",
                read_only=read_only,
                busy_timeout=busy_timeout,
            )

        return cls(paths, clock, Connections(paths.state_db, opened))

    def close(self) -> None:
        """Close all connections; a later use is a StoreError."""
        self._connections.close()
        self._hint.close()

    def changed(self) -> bool:
        """Tell whether anybody wrote to state, leases or inbox since the last call; true the first time.

        Only a hint to look, but a cheap one: it reads no table.
        """
        return self._hint.changed()


class _Hint:
    """Looks at ``PRAGMA data_version`` on a connection of its own per file.

    It changes with the commits of other connections only (https://www.sqlite.org/pragma.html#pragma_data_version), and
    this one never writes and is never within a transaction: so it sees them all.
    """

    def __init__(self, files: tuple[Path, ...]) -> None:
        self._files = files
        self._guard = threading.Lock()
        self._connections: dict[Path, sqlite3.Connection] = {}
        self._seen: dict[Path, int] | None = None

    def changed(self) -> bool:
        with self._guard:
            now = {file: self._version(file) for file in self._files if file.exists()}
            changed, self._seen = now != self._seen, now
            return changed

    def _version(self, file: Path) -> int:
        with explained(file):
            if file not in self._connections:
                self._connections[file] = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
            return int(self._connections[file].execute("PRAGMA data_version").fetchone()[0])

    def close(self) -> None:
        with self._guard:
            while self._connections:
                self._connections.popitem()[1].close()
