"""What changed on GitHub since one looked last: by conditional lists, and a sweep over everything now and then.

A look asks for what was updated since the newest time seen, less 2 s: times have whole seconds, and two changes within
one are told apart by their version only. Nothing new is a 304, which costs no request. A list may lag and deletions
are in none, so at times all is listed; what is missing there is asked for by its number before it counts as gone.
All times are GitHub's own. What was told is kept in a file, so that a restart tells nothing again and misses nothing:
a change is told at least once, twice only where the process dies between telling and writing down.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ...clock import Clock, iso, parse_iso
from ...store.connections import Connections
from ...store.database import connect
from ..errors import TrackerRefusedError
from ..issue import Issue
from .tracker import GitHubTracker, github_time

OVERLAP = timedelta(seconds=2)
LOOK_S = 15.0
"""So often one looks without a hint: 240 requests an hour, which cost nothing while nothing changes."""
SWEEP_S = 3600.0
"""So often all is listed: a request for 100 Issues."""
HINT_S = 1.0
"""A hint is obeyed at most so often."""

_MIGRATIONS = (
    """
    CREATE TABLE known (
        number INTEGER PRIMARY KEY, version TEXT NOT NULL, state TEXT NOT NULL, sweep INTEGER NOT NULL
    );
    CREATE TABLE place (
        repository TEXT PRIMARY KEY, since TEXT, etag TEXT NOT NULL DEFAULT '', sweep INTEGER NOT NULL DEFAULT 0,
        swept TEXT
    ) WITHOUT ROWID
    """,
)


@dataclass(frozen=True, slots=True)
class Change:
    """An Issue that is not as it was when one looked last."""

    number: int
    kind: str
    """``created``, ``changed``, ``closed``, ``reopened`` or ``gone`` (deleted, or moved to another repository)."""
    issue: Issue | None
    """As it is now; ``None``: gone."""


class Poller:
    """Looks for changes of one repository. One thread looks; any may hint."""

    def __init__(self, tracker: GitHubTracker, file: Path, clock: Clock) -> None:
        """Take the tracker and the file that keeps what was seen. Raises StoreError."""
        self._tracker, self._clock = tracker, clock
        # NORMAL: a power cut tells the last changes once more.
        self._connections = Connections(file, lambda: connect(str(file), _MIGRATIONS, synchronous="NORMAL"))
        self._hinted = threading.Event()
        self._looked: float | None = None

    def hint(self) -> None:
        """Say that something may have changed, as a webhook does: the next `look_if_due` looks."""
        self._hinted.set()

    def look_if_due(self, tell: Callable[[Change], object]) -> bool:
        """Look where it is time, or where there was a hint; return whether it did. See `look`."""
        passed = self._clock.boot() - self._looked if self._looked is not None else LOOK_S
        due = passed >= LOOK_S or (self._hinted.is_set() and passed >= HINT_S)
        if due:
            self.look(tell)
        return due

    def look(self, tell: Callable[[Change], object], *, sweep: bool = False) -> None:
        """Tell what changed; the first time of all, nothing: all is new then. ``sweep``: list everything.

        Raises TrackerError and StoreError; what was not told yet is told by the next look.
        """
        self._looked = self._clock.boot()
        self._hinted.clear()
        since, etag, number, swept = self._place()
        if since is None:
            self._sweep(number + 1, lambda change: None)
        elif sweep or swept is None or self._is_old(swept):
            self._sweep(number + 1, tell)
        else:
            self._look_since(since, etag, number, tell)

    def close(self) -> None:
        """Close the file."""
        self._connections.close()

    # -- a look

    def _look_since(self, since: str, etag: str, sweep: int, tell: Callable[[Change], object]) -> None:
        # The newest first: whatever changes is on the first page, whose ETag therefore stands for all pages.
        start = github_time(parse_iso(since) - OVERLAP)
        parameters = {"state": "all", "sort": "updated", "direction": "desc", "since": start}
        newest, first_etag = since, ""
        for place, (answer, issues) in enumerate(self._tracker.listed(parameters, etag)):
            if answer.status == 304:
                return
            if place == 0:
                first_etag = answer.headers.get("etag", "")
                newest = max([newest, *(iso(issue.updated) for issue in issues)])
            self._take_in(issues, sweep, tell)
        # Its ETag belongs to this `since`: where that moves on, the next look is a plain one.
        self._keep("since = ?, etag = ?", newest, first_etag if newest == since else "")

    def _sweep(self, sweep: int, tell: Callable[[Change], object]) -> None:
        newest = iso(datetime.fromtimestamp(0, UTC))
        parameters = {"state": "all", "sort": "updated", "direction": "desc"}
        for place, (answer, issues) in enumerate(self._tracker.listed(parameters)):
            if place == 0:  # what changes while pages are read is newer than these
                begun = iso(answer.date) if answer.date is not None else newest
                newest = max((iso(issue.updated) for issue in issues), default=begun)
            self._take_in(issues, sweep, tell)
        for number in list(self._missing(sweep)):
            self._look_for(number, sweep, tell)
        self._keep("since = ?, etag = '', sweep = ?, swept = ?", newest, sweep, iso(self._clock.now()))

    def _look_for(self, number: int, sweep: int, tell: Callable[[Change], object]) -> None:
        """Ask for one that is in no list: it may be gone, or the list lags."""
        try:
            issue = self._tracker.get(number)
        except TrackerRefusedError as refused:
            if refused.status not in {301, 404, 410}:
                raise
            tell(Change(number, "gone", None))
            with self._connections.transaction() as connection:
                connection.execute("DELETE FROM known WHERE number = ?", (number,))
        else:
            self._take_in([issue], sweep, tell)

    def _take_in(self, issues: list[Issue], sweep: int, tell: Callable[[Change], object]) -> None:
        """Tell each Issue whose version is another than the one that was told last, and write that down."""
        with self._connections.reading() as connection:
            marks = ", ".join("?" * len(issues))
            rows = connection.execute(
                f"SELECT number, version, state FROM known WHERE number IN ({marks})",  # noqa: S608 - marks alone
                [issue.number for issue in issues],
            ).fetchall()
        known = {number: (version, state) for number, version, state in rows}
        for issue in reversed(issues):  # oldest change first
            before = known.get(issue.number)
            if before is None:
                tell(Change(issue.number, "created", issue))
            elif before[0] != issue.version:
                tell(Change(issue.number, _kind(before[1], issue.state), issue))
        with self._connections.transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO known (number, version, state, sweep) VALUES (?, ?, ?, ?)",
                [(issue.number, issue.version, issue.state, sweep) for issue in issues],
            )

    # -- what is kept

    def _place(self) -> tuple[str | None, str, int, str | None]:
        """Return where the last look came to; another repository begins anew."""
        repository = f"{self._tracker.client.server} {self._tracker.repository}".lower()
        query = "SELECT since, etag, sweep, swept FROM place WHERE repository = ?"
        with self._connections.reading() as connection:
            row = connection.execute(query, (repository,)).fetchone()
        if row is None:
            with self._connections.transaction() as connection:
                connection.execute("DELETE FROM place")
                connection.execute("DELETE FROM known")
                connection.execute("INSERT INTO place (repository) VALUES (?)", (repository,))
            return None, "", 0, None
        return row[0], row[1], row[2], row[3]

    def _keep(self, fields: str, *values: object) -> None:
        with self._connections.transaction() as connection:
            connection.execute(f"UPDATE place SET {fields}", values)  # noqa: S608 - our own words

    def _missing(self, sweep: int) -> Iterator[int]:
        with self._connections.reading() as connection:
            rows = connection.execute("SELECT number FROM known WHERE sweep < ? ORDER BY number", (sweep,)).fetchall()
        yield from (row[0] for row in rows)

    def _is_old(self, swept: str) -> bool:
        passed = (self._clock.now() - parse_iso(swept)).total_seconds()
        return not 0 <= passed < SWEEP_S  # a clock that went back: sweep, rather than never again


def _kind(before: str, now: str) -> str:
    if before == now:
        return "changed"
    return "closed" if now == "closed" else "reopened"
