"""The engine's eyes on a tracker that is not ours: each change of an Issue becomes an event ``issue``."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping

from ...clock import Clock
from ...config import TrackerSettings
from ...errors import RollcageError
from ...store.paths import RepositoryPaths
from ...store.store import Store
from ...text import clean
from ..errors import TrackerLimitError
from .polling import Change, Poller
from .tracker import GitHubTracker, open_github
from .webhook import WebhookReceiver, open_webhook

FILE = "watched.db"
"""Beside ``state.db``; what is lost with it is found again by a sweep."""


class IssueWatch:
    """Looks for changes in rounds. Opens everything at its first look, which may fail and be tried again."""

    def __init__(
        self,
        settings: TrackerSettings,
        paths: RepositoryPaths,
        store: Store,
        clock: Clock,
        leave: threading.Event,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """Take where Issues live, where events go, and what ends all waiting."""
        self._settings, self._paths, self._store, self._clock = settings, paths, store, clock
        self._leave, self._environ = leave, environ
        self._tracker: GitHubTracker | None = None
        self._poller: Poller | None = None
        self._webhook: WebhookReceiver | None = None
        self._not_before = float("-inf")
        self._problem: RollcageError | None = None

    def look(self) -> None:
        """Look where it is time, unless the tracker asked to wait; what keeps it from that is raised till it is over.

        Raises TrackerError, StoreError, or UsageError for wrong variables of the webhook.
        """
        if self._poller is None:
            self._tracker = open_github(self._settings, self._paths, self._clock, self._environ, leave=self._leave)
            self._poller = Poller(self._tracker, self._paths.root / FILE, self._clock)
        if self._webhook is None:
            self._webhook = open_webhook(self._environ, self._poller.hint)
        if self._clock.boot() < self._not_before:
            return
        try:
            looked = self._poller.look_if_due(self._tell)
        except TrackerLimitError as limit:  # the status line shows what is left; there is nothing to mend
            self._not_before = self._clock.boot() + limit.seconds
            return
        except RollcageError as problem:
            self._problem = problem
            raise
        if looked:
            self._problem = None
        elif self._problem is not None:
            raise self._problem.with_traceback(None)

    def close(self) -> None:
        """Close what was opened."""
        if self._webhook is not None:
            self._webhook.close()
        if self._poller is not None:
            self._poller.close()
        if self._tracker is not None:
            self._tracker.close()

    def _tell(self, change: Change) -> None:
        body: dict[str, object] = {"number": change.number, "change": change.kind}
        if change.issue is not None:
            issue = change.issue
            body |= {
                "title": clean(issue.title, limit=200),
                "state": issue.state,
                "labels": [clean(label, limit=60) for label in issue.labels],
                "version": issue.version,
            }
        self._store.append_event("issue", body)
