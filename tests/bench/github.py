"""What the safety of Issue operations costs against GitHub at the rate that it allows: by its limits, not the network.

A clock that nobody waits for: whoever has to wait moves it on. Both sides go through rollcage's limiter to a GitHub
that enforces its limits by that clock (5,000 requests an hour, 900 points a minute, 80 creations a minute and 500 an
hour), one after the other and without latency: so what is measured is how much of the limits an operation takes.
*Bare* are the same writes sent to the tracker as they are, unsafe.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path

from rollcage.core.clock import SystemClock
from rollcage.core.config import Settings
from rollcage.core.issues.create import create_issue_atomically
from rollcage.core.issues.desk import Desk, open_desk
from rollcage.core.issues.errors import IssueUpdateError, TrackerLimitError
from rollcage.core.issues.issue import Draft
from rollcage.core.issues.update import update_issue_with_optimistic_lock
from rollcage.core.store.paths import RepositoryPaths
from tests.issues.conftest import GitHub, new_repository
from tests.issues.emulate import Emulate, missing
from tests.issues.fault_proxy import FaultProxy
from tests.issues.manners import CREATION

from .measure import Row

AIM = 1.10
LABELS = ["comp:shop", "agent:ann"]
STATUS = ("status:waiting", "status:auto-processing", "status:review")


class WaitedClock(SystemClock):
    """Stands still but where somebody waits."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 10_000.0

    def now(self) -> datetime:
        return datetime(2026, 11, 20, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def boot(self) -> float:
        return self.seconds

    def wait(self, event: threading.Event, timeout: float) -> bool:
        self.seconds += timeout
        return event.is_set()


@dataclass(frozen=True, slots=True)
class Cost:
    """What a row of operations took."""

    seconds: float
    requests: float
    """For each operation, without those that cost nothing (304)."""
    queries: float
    """GraphQL's, which have a primary limit of their own."""
    points: float
    creations: float
    again: int
    """Operations that were told to wait, and begun anew."""
    broken: int
    """Operations that were told so when part of them was written; begun anew, too."""

    @property
    def steady(self) -> float:
        """Seconds for each where the limits alone decide, for hours."""
        return max(self.requests * 3_600 / 5_000, self.points * 60 / 900, self.creations * 3_600 / 500)


Work = Callable[[Desk, int], Iterator[Callable[[], object]]]
"""Yields the operations that make so many rounds."""


def creations(safe: bool) -> Work:
    """Return creations, nothing else."""

    def work(desk: Desk, rounds: int) -> Iterator[Callable[[], object]]:
        for number in range(rounds):
            yield partial(_create, desk, f"task {number}", safe)

    return work


def labels(safe: bool) -> Work:
    """Return changes of a status: one label more, one less."""

    def work(desk: Desk, rounds: int) -> Iterator[Callable[[], object]]:
        number = desk.tracker.create(Draft("task", "", ("comp:shop", STATUS[0]))).number
        for turn in range(rounds):
            old, new = STATUS[turn % 3], STATUS[(turn + 1) % 3]
            yield partial(_relabel, desk, number, old, new, safe)

    return work


def bodies(safe: bool) -> Work:
    """Return new bodies, as they come while an agent works."""

    def work(desk: Desk, rounds: int) -> Iterator[Callable[[], object]]:
        number = desk.tracker.create(Draft("task", "", ("comp:shop",))).number
        for turn in range(rounds):
            yield partial(_write, desk, number, {"body": f"step {turn}"}, safe)

    return work


def lives(safe: bool) -> Work:
    """Return whole lives of Issues: created, three states, a result in the body, closed."""

    def work(desk: Desk, rounds: int) -> Iterator[Callable[[], object]]:
        for turn in range(rounds):
            made: list[int] = []
            yield partial(_create, desk, f"task {turn}", safe, made)
            number = made[-1]
            for old, new in zip(("", *STATUS), STATUS, strict=False):
                yield partial(_relabel, desk, number, old, new, safe)
            yield partial(_write, desk, number, {"body": "the result"}, safe)
            yield partial(_close, desk, number, STATUS[-1], safe)

    return work


def _create(desk: Desk, title: str, safe: bool, made: list[int] | None = None) -> None:
    if safe:
        issue = create_issue_atomically(desk, title, "what is to be done", LABELS).issue
    else:
        issue = desk.tracker.create(Draft(title, "what is to be done", tuple(LABELS)))
    if made is not None:
        made.append(issue.number)


def _relabel(desk: Desk, number: int, old: str, new: str, safe: bool) -> None:
    if safe:
        update_issue_with_optimistic_lock(desk, number, {"add_labels": [new], "remove_labels": [old] if old else []})
        return
    desk.tracker.add_label(number, new)
    if old:
        desk.tracker.remove_label(number, old)


def _close(desk: Desk, number: int, status: str, safe: bool) -> None:
    """Close an Issue, its status along with it: bare the same three writes."""
    if not safe:
        desk.tracker.add_label(number, "status:done")
    _write(desk, number, {"state": "closed"}, safe)
    if not safe:
        desk.tracker.remove_label(number, status)


def _write(desk: Desk, number: int, fields: Mapping[str, str], safe: bool) -> None:
    if safe:
        update_issue_with_optimistic_lock(desk, number, fields)
    else:
        desk.tracker.write(number, title=None, body=fields.get("body"), state=fields.get("state"))


WORKS: tuple[tuple[str, Callable[[bool], Work], int], ...] = (
    ("520 creations", creations, 520),
    ("360 operations of 60 lives of Issues", lives, 60),
    ("100 new bodies", bodies, 100),
    ("100 changes of status", labels, 100),
)


def measure(place: Path) -> list[Row]:
    """Measure each work, safe and bare, each in a repository and with a state of its own.

    The rows *for hours* are computed: what the limits give of such operations where nothing else bounds them.
    """
    if why := missing():
        raise RuntimeError(why)
    (place / "emulate").mkdir()
    rows, steady = [], []
    with FaultProxy.serving(lambda url: Emulate.started(place / "emulate", url)) as proxy:
        numbers = count(1)
        for what, work, rounds in WORKS:
            safe, bare = (_cost(proxy, place / f"state-{next(numbers)}", work(way), rounds) for way in (True, False))
            more = f"each {safe.requests:.2f} requests, {safe.queries:.2f} queries and {safe.points:.1f} points,"
            more += (
                f" bare {bare.requests:.2f} and {bare.points:.1f}; told to wait {safe.again} times, bare {bare.again}"
            )
            more += f"; BROKEN OFF IN THE MIDDLE {safe.broken}" if safe.broken else ""
            if bare.seconds:  # else they were too few to be held up
                rows.append(Row(what, [safe.seconds], "bare", [bare.seconds], AIM))
            name = f"1,000 {what.partition(' ')[2]}, for hours"
            steady.append(Row(name, [1_000 * safe.steady], "bare", [1_000 * bare.steady], AIM, note=more))
    return rows + steady


def _cost(proxy: FaultProxy, state: Path, work: Work, rounds: int) -> Cost:
    proxy.reset()
    github, clock, again, broken, done = new_repository(proxy), WaitedClock(), 0, 0, 0
    limits = proxy.manners.limits
    limits.enforced, limits.clock = True, lambda: clock.now().timestamp()
    with _desk(github, state, clock) as desk:
        begun = clock.seconds
        for operation in work(desk, rounds):
            while True:
                try:
                    operation()
                    break
                except TrackerLimitError as limit:
                    again += 1
                    clock.seconds += limit.seconds
                except IssueUpdateError:
                    broken += 1
                    clock.seconds += 60.0
            done += 1
    exchanges = tuple(proxy.exchanges)
    refused = sum(1 for each in exchanges if each.answer is not None and each.answer.status in {403, 429})
    if refused:
        raise RuntimeError(f"GitHub refused {refused} requests: the limiter let too many through")
    asked = [each.request for each in exchanges]
    queries = sum(1 for each in asked if each.path == "/graphql")
    free = sum(1 for each in exchanges if each.answer is not None and each.answer.status == 304)
    points = sum(1 if each.method == "GET" or each.path == "/graphql" else 5 for each in asked)
    created = sum(1 for each in asked if each.method == "POST" and CREATION.search(each.path))
    return Cost(
        seconds=clock.seconds - begun,
        requests=(len(asked) - queries - free) / done,
        queries=queries / done,
        points=points / done,
        creations=created / done,
        again=again,
        broken=broken,
    )


@contextmanager
def _desk(github: GitHub, state: Path, clock: WaitedClock) -> Iterator[Desk]:
    os.environ["GITHUB_TOKEN"] = github.token
    root = state / "repositories" / "bench"
    root.mkdir(parents=True)
    settings = Settings.model_validate(
        {"tracker": {"kind": "github", "repo": github.repository, "base_url": github.url}}
    )
    desk = open_desk(settings, RepositoryPaths(root), clock, holder="bench")
    try:
        yield desk
    finally:
        desk.close()
        del os.environ["GITHUB_TOKEN"]
