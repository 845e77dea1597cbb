"""One limiter for all processes of this machine that share a token: nobody asks GitHub for more than it allows.

Whoever wants to send books the first moment at which it may, and waits until then: first come, first served, and no
one asks again and again. Sources of the numbers (as of November 2026):
https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api

- primary: 5,000 requests an hour, or what the answers' ``x-ratelimit-*`` headers say; besides them 5,000 points of
  GraphQL an hour, one for each of our queries
  (https://docs.github.com/en/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api);
- secondary: 900 points a minute, a read 1, a write 5; 80 creations a minute and 500 an hour;
- what a 403 or 429 asks for is obeyed by all processes at once.

Moments are kept on the boot clock, which never steps; GitHub's are told as seconds from its own ``Date``. After a
restart of the machine they are carried over by the wall clock.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from datetime import timedelta
from math import ceil
from pathlib import Path

from ...clock import Clock, iso, parse_iso
from ...errors import StoreError
from ...store.connections import Connections
from ...store.database import connect
from ...store.paths import RepositoryPaths
from ..errors import TrackerLimitError, TrackerOfflineError
from ..issue import Budget
from .rates import CELLS, MINUTE, SECOND, Window, earliest


@dataclass(frozen=True, slots=True)
class Cost:
    """What one request takes of the limits."""

    requests: int = 1
    points: int = 1
    creations: int = 0
    queries: int = 0

    def __add__(self, other: Cost) -> Cost:
        """Return what both take together."""
        return Cost(*(one + more for one, more in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: Cost) -> Cost:
        """Return what is left of it after ``other``."""
        return Cost(*(one - less for one, less in zip(astuple(self), astuple(other), strict=True)))

    def covers(self, other: Cost) -> bool:
        """Tell whether ``other`` takes no more than this of any limit."""
        return all(one >= less for one, less in zip(astuple(self), astuple(other), strict=True))


NOTHING = Cost(0, 0)
READ = Cost()
WRITE = Cost(points=5)
CREATE = Cost(points=5, creations=1)
QUERY = Cost(requests=0, queries=1)
"""A GraphQL query that asks for little: its primary limit is another one, its points are shared."""

PATIENCE_S = 20.0
"""So long a caller waits for its turn; whoever would have to wait longer is told so at once and books nothing."""
PAUSE_S = 60.0
"""After a secondary limit without a time, doubled each time it comes again: GitHub's REST best practices."""
LONGEST_PAUSE_S = 960.0
CALM_S = 600.0
"""So long after a pause the next one counts as a first one again."""
FLIGHT_S = 90.0
"""A request that is out for longer was lost with its process: its time-out is shorter."""
CROWD, CROWD_S = 90, 0.05
"""At most so many are under way at once, of GitHub's 100; who has to wait for that looks again so often."""
SAME_WINDOW_S = 60.0
"""GitHub tells one and the same reset a second earlier or later; a new window ends much later."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What GitHub allows; ``requests`` is replaced by what it says in its answers."""

    requests: int = 5_000
    points: int = 900
    creations_per_minute: int = 80
    creations_per_hour: int = 500
    queries: int = 5_000


@dataclass(frozen=True, slots=True)
class Told:
    """What an answer says of the primary limit: ``seconds`` until it begins anew, by the server's own clock."""

    remaining: int
    limit: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Slot:
    """A booked request: ``wait`` seconds until it may be sent."""

    id: int
    wait: float
    at: float
    cost: Cost


_MIGRATIONS = (
    """
    CREATE TABLE spent (
        width INTEGER NOT NULL, cell INTEGER NOT NULL,
        requests INTEGER NOT NULL DEFAULT 0, points INTEGER NOT NULL DEFAULT 0, creations INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (width, cell)
    ) WITHOUT ROWID;
    CREATE TABLE flight (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, requests INTEGER NOT NULL);
    CREATE TABLE state (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        boot_id TEXT NOT NULL, boot REAL NOT NULL, wall TEXT NOT NULL,
        remaining INTEGER, quota INTEGER, resets REAL,
        paused REAL NOT NULL DEFAULT -1e18, strikes INTEGER NOT NULL DEFAULT 0,
        heard REAL, lost REAL
    )
    """,
    "ALTER TABLE spent ADD COLUMN queries INTEGER NOT NULL DEFAULT 0",
)


@dataclass(slots=True)
class _State:
    remaining: int | None
    quota: int | None
    resets: float | None
    paused: float
    strikes: int
    heard: float | None
    lost: float | None


def limits_file(paths: RepositoryPaths, server: str, identity: str) -> Path:
    """Return the file of a token's limits: beside the repositories, for they share it. Only a hash names it."""
    key = hashlib.sha256(f"rollcage\0{server}\0{identity}".encode()).hexdigest()[:32]
    return paths.root.parent.parent / "limits" / f"{key}.db"


class Limiter:
    """The limits of one token, in a file that all its processes share. Safe between threads. Raises StoreError."""

    def __init__(self, path: Path, clock: Clock, limits: Limits | None = None) -> None:
        """Open or make the file ``path``; its folder is made, for this user only."""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{path.parent} cannot be made ({error.strerror}); make its folder writable") from error
        self._clock, self._limits = clock, limits or Limits()
        # A crash of a process takes no commit; a power cut may, and then GitHub says what is left.
        self._connections = Connections(path, lambda: connect(str(path), _MIGRATIONS, synchronous="NORMAL"))

    # -- booking

    def reserve(self, cost: Cost, longest: float = PATIENCE_S) -> Slot:
        """Book the first moment at which a request of ``cost`` may be sent; who books must `settle` it.

        Raises TrackerLimitError where that is more than ``longest`` seconds away; nothing is booked then.
        """
        with self._transaction() as (connection, now, state):
            at = self._earliest(connection, now, state, cost)
            if at - now > longest:
                raise TrackerLimitError(self._why(now, state, at), ceil(at - now))
            for width in (SECOND, MINUTE):
                connection.execute(
                    "INSERT INTO spent VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET requests = requests + "
                    "excluded.requests, points = points + excluded.points, creations = creations + excluded.creations,"
                    " queries = queries + excluded.queries",
                    (width, int(at // width), *astuple(cost)),
                )
            under_way = connection.execute("SELECT COUNT(*) FROM flight WHERE at <= ?", (at,)).fetchone()[0]
            flight = connection.execute("INSERT INTO flight (at, requests) VALUES (?, ?)", (at, cost.requests))
            assert flight.lastrowid is not None
            return Slot(flight.lastrowid, max(at - now, CROWD_S if under_way >= CROWD else 0.0), at, cost)

    def enter(self, cost: Cost, leave: threading.Event, longest: float = PATIENCE_S) -> Slot:
        """Book, and wait for the turn, ``longest`` seconds at most.

        Raises TrackerLimitError, or TrackerOfflineError where ``leave`` is set meanwhile.
        """
        deadline = self._clock.boot() + longest
        slot = self.reserve(cost, longest)
        wait = slot.wait
        while wait > 0:
            if self._clock.wait(leave, wait):
                self.settle(slot, sent=False)
                raise TrackerOfflineError("the tracker was closed while it waited for its turn")
            paused, ahead = self._before(slot)
            if paused:  # all were asked to meanwhile: what was booked is given back, and asked for again
                self.settle(slot, sent=False)
                slot = self.reserve(cost, max(deadline - self._clock.boot(), 0.0))
                wait = slot.wait
            elif ahead < CROWD:
                break
            elif self._clock.boot() < deadline:
                wait = CROWD_S
            else:
                self.settle(slot, sent=False)
                raise TrackerLimitError(f"{ahead:,} requests with this token are under way; GitHub takes no more", 1.0)
        return slot

    def settle(
        self,
        slot: Slot,
        told: Told | None = None,
        *,
        sent: bool = True,
        free: bool = False,
        reached: bool | None = None,
    ) -> None:
        """Say how a booked request came out: what its answer tells, that it cost nothing (a 304), or was never sent.

        ``reached`` is what consoles show: whether the server answered; ``None``: it was not asked.
        """
        with self._transaction() as (connection, now, state):
            if reached is not None:
                connection.execute(f"UPDATE state SET {'heard' if reached else 'lost'} = ?", (now,))  # noqa: S608 - ours
            connection.execute("DELETE FROM flight WHERE id = ?", (slot.id,))
            if free or not sent:
                cost = slot.cost
                back = (cost.requests, *((0, 0, 0) if sent else (cost.points, cost.creations, cost.queries)))
                for width in (SECOND, MINUTE):
                    connection.execute(
                        "UPDATE spent SET requests = MAX(requests - ?, 0), points = MAX(points - ?, 0), "
                        "creations = MAX(creations - ?, 0), queries = MAX(queries - ?, 0) WHERE width = ? AND cell = ?",
                        (*back, width, int(slot.at // width)),
                    )
            if told is not None:
                resets = now + max(told.seconds, 0.0)
                new = state.resets is None or now >= state.resets or resets - state.resets > SAME_WINDOW_S
                # Answers overtake each other: within one window the smallest is the newest.
                left = told.remaining if new or state.remaining is None else min(state.remaining, told.remaining)
                connection.execute(
                    "UPDATE state SET remaining = ?, quota = ?, resets = ?",
                    (left, told.limit, resets if new else state.resets),
                )
            elif sent and not free and state.remaining is not None:
                connection.execute(
                    "UPDATE state SET remaining = MAX(remaining - ?, 0) WHERE resets > ?", (slot.cost.requests, now)
                )

    def pause(self, seconds: float | None) -> float:
        """Let all wait as an answer asked; ``None``: it told no time. Return the seconds from now."""
        with self._transaction() as (connection, now, state):
            if seconds is None:
                if now < state.paused:  # others were told at the same time: one pause, not the next longer one
                    return state.paused - now
                strikes = state.strikes + 1 if now - state.paused < CALM_S else 1
                seconds = min(PAUSE_S * 2 ** (strikes - 1), LONGEST_PAUSE_S)
                connection.execute("UPDATE state SET strikes = ?", (strikes,))
            until = max(state.paused, now + seconds)
            connection.execute("UPDATE state SET paused = ?", (until,))
            return until - now

    # -- looking

    def budget(self) -> Budget:
        """Return what is left, for all processes together, without asking the server."""
        with self._looking() as (connection, now, state):
            minute = self._sums(connection, SECOND, now)
            hour = self._sums(connection, MINUTE, now)
            fresh = state.resets is not None and now < state.resets
            wall = self._clock.now()
            return Budget(
                remaining=self._left(connection, now, state) if fresh else None,
                limit=state.quota,
                resets=wall + timedelta(seconds=state.resets - now) if fresh and state.resets is not None else None,
                points_per_minute=minute[1],
                creations_per_minute=minute[2],
                creations_per_hour=hour[2],
                paused_until=wall + timedelta(seconds=state.paused - now) if state.paused > now else None,
            )

    def online(self) -> bool | None:
        """Return whether the server answered the last time that any process asked; ``None``: nobody did yet."""
        with self._looking() as (_, _, state):
            if state.heard is None:
                return None if state.lost is None else False
            return state.lost is None or state.heard >= state.lost

    def close(self) -> None:
        """Close the file; what was booked stays."""
        self._connections.close()

    # -- parts

    @contextmanager
    def _transaction(self) -> Iterator[tuple[sqlite3.Connection, float, _State]]:
        with self._connections.transaction() as connection:
            now = self._carry_over(connection)
            connection.execute("DELETE FROM spent WHERE width = 1 AND cell < ?", (int(now) - CELLS - 1,))
            connection.execute("DELETE FROM spent WHERE width > 1 AND cell < ?", (int(now) // MINUTE - CELLS - 1,))
            connection.execute("DELETE FROM flight WHERE at < ?", (now - FLIGHT_S,))
            yield connection, now, self._read(connection)

    @contextmanager
    def _looking(self) -> Iterator[tuple[sqlite3.Connection, float, _State]]:
        """Read only: a picture that is drawn makes nobody wait. Before the first request after a restart: as new."""
        with self._connections.snapshot() as connection:
            known = connection.execute("SELECT boot_id FROM state").fetchone()
            if known is None or known[0] != self._clock.boot_id():
                yield connection, -1e9, _State(None, None, None, -1e18, 0, None, None)
            else:
                yield connection, self._clock.boot(), self._read(connection)

    @staticmethod
    def _read(connection: sqlite3.Connection) -> _State:
        return _State(
            *connection.execute("SELECT remaining, quota, resets, paused, strikes, heard, lost FROM state").fetchone()
        )

    def _carry_over(self, connection: sqlite3.Connection) -> float:
        """Return the boot clock's now; what an earlier boot wrote is moved to it by the wall clock."""
        now, wall, boot_id = self._clock.boot(), self._clock.now(), self._clock.boot_id()
        known = connection.execute("SELECT boot_id, boot, wall FROM state").fetchone()
        if known is None:
            connection.execute(
                "INSERT INTO state (one, boot_id, boot, wall) VALUES (1, ?, ?, ?)", (boot_id, now, iso(wall))
            )
        elif known[0] != boot_id:
            # A wall clock that went back counts as no time: too long a wait rather than too much sent.
            passed = max((wall - parse_iso(known[2])).total_seconds(), 0.0)
            by = now - (known[1] + passed)
            self._shift(connection, by)
            connection.execute("UPDATE state SET boot_id = ?, boot = ?, wall = ?", (boot_id, now, iso(wall)))
        elif now - known[1] > 1.0:
            connection.execute("UPDATE state SET boot = ?, wall = ?", (now, iso(wall)))
        return now

    @staticmethod
    def _shift(connection: sqlite3.Connection, by: float) -> None:
        rows = connection.execute("SELECT width, cell, requests, points, creations, queries FROM spent").fetchall()
        connection.execute("DELETE FROM spent")
        moved = [(width, cell + ceil(by / width), *amounts) for width, cell, *amounts in rows]
        connection.executemany("INSERT INTO spent VALUES (?, ?, ?, ?, ?, ?)", moved)
        connection.execute("DELETE FROM flight")
        connection.execute(
            "UPDATE state SET resets = resets + ?, paused = paused + ?, heard = heard + ?, lost = lost + ?", (by,) * 4
        )

    def _left(self, connection: sqlite3.Connection, now: float, state: _State) -> int:
        out = connection.execute(
            "SELECT COALESCE(SUM(requests), 0) FROM flight WHERE at >= ?", (now - FLIGHT_S,)
        ).fetchone()[0]
        return max((state.remaining or 0) - int(out), 0)

    @staticmethod
    def _sums(connection: sqlite3.Connection, width: int, now: float) -> tuple[int, int, int]:
        row = connection.execute(
            "SELECT COALESCE(SUM(requests), 0), COALESCE(SUM(points), 0), COALESCE(SUM(creations), 0) FROM spent "
            "WHERE width = ? AND cell > ? AND cell <= ?",
            (width, int(now // width) - CELLS, int(now // width)),
        ).fetchone()
        return int(row[0]), int(row[1]), int(row[2])

    def _earliest(self, connection: sqlite3.Connection, now: float, state: _State, cost: Cost) -> float:
        at = max(now, state.paused)
        if (
            state.resets is not None
            and now < state.resets
            and state.remaining is not None
            and self._left(connection, now, state) < cost.requests
        ):
            at = max(at, state.resets)
        used: dict[tuple[int, str], dict[int, int]] = defaultdict(dict)
        kinds = ("requests", "points", "creations", "queries")
        for width, cell, *spent in connection.execute(f"SELECT width, cell, {', '.join(kinds)} FROM spent"):  # noqa: S608
            for kind, amount in zip(kinds, spent, strict=True):
                used[width, kind][cell] = amount
        quota = state.quota if state.quota is not None else self._limits.requests
        windows = (
            Window(MINUTE, used[MINUTE, "requests"], cost.requests, quota),
            Window(SECOND, used[SECOND, "points"], cost.points, self._limits.points),
            Window(SECOND, used[SECOND, "creations"], cost.creations, self._limits.creations_per_minute),
            Window(MINUTE, used[MINUTE, "creations"], cost.creations, self._limits.creations_per_hour),
            Window(MINUTE, used[MINUTE, "queries"], cost.queries, self._limits.queries),
        )
        return earliest(at, windows)

    def _before(self, slot: Slot) -> tuple[bool, int]:
        """Return whether all must pause now, and how many requests that were booked earlier are still under way."""
        with self._looking() as (connection, now, state):
            query = "SELECT COUNT(*) FROM flight WHERE at >= ? AND (at < ? OR (at = ? AND id < ?))"
            ahead = connection.execute(query, (now - FLIGHT_S, slot.at, slot.at, slot.id)).fetchone()[0]
            return state.paused > max(now, slot.at), int(ahead)

    def _why(self, now: float, state: _State, at: float) -> str:
        seconds = f"{ceil(at - now):,} s"
        if state.paused >= at:
            return f"GitHub asked to wait; next try in {seconds}"
        if state.resets is not None and at >= state.resets > now:
            quota = state.quota or self._limits.requests
            return f"GitHub's limit of {quota:,} requests an hour is used up; next in {seconds}"
        return f"GitHub's limits for a minute or an hour are used up by all that share this token; next in {seconds}"
