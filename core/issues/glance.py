"""How it stands with the tracker, for consoles: read from this machine's files, the server is not asked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from ..board import TrackerView
from ..clock import Clock
from ..config import TrackerSettings
from ..errors import StoreError
from ..store.connections import Connections
from ..store.paths import RepositoryPaths
from .github.credentials import identity, server_of
from .github.limiter import Limiter, limits_file
from .local import open_connections


class TrackerGlance:
    """Reads again and again, from one thread."""

    def __init__(
        self, settings: TrackerSettings, paths: RepositoryPaths, clock: Clock, environ: Mapping[str, str] = os.environ
    ) -> None:
        """Take where Issues live; files are opened when they are there."""
        self._settings, self._paths, self._clock, self._environ = settings, paths, clock, environ
        self._limiter: Limiter | None = None
        self._outbox: Connections | None = None

    def read(self) -> TrackerView | None:
        """Return how it stands; ``None``: Issues live on this machine. What cannot be read now is left out.

        A damaged file of limits blinds no console: who wants to write is told of it, and `doctor` tells it.
        """
        settings = self._settings
        if settings.kind == "local":
            return None
        view = TrackerView(settings.kind)
        with suppress(StoreError):
            waiting, conflicts = self._unsent()
            view = replace(view, waiting=waiting, conflicts=conflicts)
        with suppress(StoreError):
            if (limiter := self._open_limiter()) is not None:
                budget = limiter.budget()
                view = replace(view, online=limiter.online(), remaining=budget.remaining, limit=budget.limit)
        return view

    def close(self) -> None:
        """Close the files."""
        if self._limiter is not None:
            self._limiter.close()
        if self._outbox is not None:
            self._outbox.close()

    def _open_limiter(self) -> Limiter | None:
        if self._limiter is None:
            who = identity(self._settings, self._environ)
            file = limits_file(self._paths, server_of(self._settings), who)
            if who and file.exists():  # nobody has asked anything yet: there is nothing to see
                self._limiter = Limiter(file, self._clock)
        return self._limiter

    def _unsent(self) -> tuple[int, int]:
        """Return how many operations wait to be sent, and how many an operator has to settle."""
        if self._outbox is None:
            if not self._paths.issues_db.exists():
                return 0, 0
            self._outbox = open_connections(self._paths)
        # The states are written out as the partial index has them: else all that was ever sent is read through.
        query = "SELECT state FROM outbox WHERE state IN ('waiting', 'conflict') AND tracker = ?"
        with self._outbox.reading() as connection:
            states = connection.execute(query, (f"{self._settings.kind} {self._settings.repo}",)).fetchall()
        return states.count(("waiting",)), states.count(("conflict",))
