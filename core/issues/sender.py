"""The engine's part in the outbox: it sends what waits, and ends what killed processes left unfinished."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from ..clock import Clock
from ..store.connections import Connections
from ..store.paths import RepositoryPaths
from ..store.store import Store
from ..text import clean
from .desk import Desk
from .local import open_connections
from .outbox import CONFLICT, SENT, Waiting, has_waiting
from .records import Records
from .sync import replay

AFTER_PROBLEM_S = 60.0
"""Seconds until it is tried again where the tracker could not be reached or did not take it."""


class Sender:
    """Sends the outbox in rounds; for one thread."""

    def __init__(self, open_desk: Callable[[], Desk], paths: RepositoryPaths, store: Store, clock: Clock) -> None:
        """Take what opens a desk (which ends what was left unfinished), where all lies, and where events go."""
        self._open_desk, self._paths, self._store, self._clock = open_desk, paths, store, clock
        self._connections: Connections | None = None
        self._not_before = float("-inf")
        self._conflicts: frozenset[str] = frozenset()

    def look(self) -> None:
        """Send what waits; cheap where nothing does. Raises StoreError, TrackerError."""
        if self._clock.boot() < self._not_before:
            return
        if self._connections is None:
            if not self._paths.issues_db.exists():
                return  # nobody has an Issue yet
            self._connections = open_connections(self._paths)
        records = Records(self._connections, self._clock)
        if not records.has_unfinished() and not has_waiting(records):
            return
        self._not_before = self._clock.boot() + AFTER_PROBLEM_S
        with closing(self._open_desk()) as desk:
            done = replay(desk)
        if not done.problem:
            self._not_before = float("-inf")
        conflicts = [each for each in done.left if each.state == CONFLICT]
        for each in (*done.sent, *(each for each in conflicts if each.id not in self._conflicts)):
            self._tell(each)
        self._conflicts = frozenset(each.id for each in conflicts)

    def close(self) -> None:
        """Close what was opened."""
        if self._connections is not None:
            self._connections.close()

    def _tell(self, waiting: Waiting) -> None:
        body: dict[str, object] = {"operation": waiting.id, "state": waiting.state, "change": f"{waiting.kind} sent"}
        if waiting.state != SENT:
            body |= {"change": f"{waiting.kind} in conflict", "note": clean(waiting.note)}
        if waiting.number is not None:
            body["number"] = waiting.number
        self._store.append_event("issue", body)
