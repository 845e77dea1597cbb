"""What the safety of Issue operations costs on this machine, and what many Issues and agents cost."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path

from rollcage.core.clock import SystemClock
from rollcage.core.issues.comment import comment_on_issue
from rollcage.core.issues.create import create_issue_atomically
from rollcage.core.issues.desk import Desk
from rollcage.core.issues.issue import Draft
from rollcage.core.issues.label_sync import sync_labels
from rollcage.core.issues.local import LocalTracker, open_connections
from rollcage.core.issues.update import update_issue_with_optimistic_lock
from rollcage.core.store.paths import RepositoryPaths
from tests.issues.desks import opened

from .measure import Row, interleaved, timed

RUNS = 400
BODY = "- [ ] a line of the task\n" * 20
ISSUES, AGENTS = 10_000, 1_000
AIM = 1.10
LIMIT_MIB = 200


def measure(place: Path) -> list[Row]:
    """Measure safe calls against the bare ones of the same tracker, run by run; then many."""
    folders = {name: place / name for name in ("bare", "safe", "many")}
    for folder in folders.values():
        folder.mkdir()
    rows: list[Row] = []
    bare_connections = open_connections(RepositoryPaths(folders["bare"]))
    bare = LocalTracker(bare_connections, SystemClock(), "ann")
    with opened(folders["safe"], SystemClock()) as desk:
        for tracker in (bare, desk.tracker):
            tracker.create(Draft("the one", BODY, ("status:waiting",)))
        for what, one, other in _ways(bare, desk):
            found = interleaved(RUNS, partial(timed, one), partial(timed, other), warm_up=20)
            rows.append(Row(f"safe {what}", found[1], f"bare {what}", found[0], AIM))
    bare_connections.close()
    rows.append(_disk(place))
    return rows + _many(folders["many"])


def _ways(bare: LocalTracker, desk: Desk) -> Iterator[tuple[str, Callable[[], object], Callable[[], object]]]:
    names = count()
    yield (
        "create",
        lambda: bare.create(Draft(f"task {next(names)}", BODY, ("status:waiting", "agent:ann"))),
        lambda: create_issue_atomically(desk, f"task {next(names)}", BODY, ("status:waiting", "agent:ann")),
    )
    yield (
        "update",
        lambda: bare.write(1, title=f"title {next(names)}"),
        lambda: update_issue_with_optimistic_lock(desk, 1, {"title": f"title {next(names)}"}),
    )
    yield "comment", lambda: bare.comment(1, BODY), lambda: comment_on_issue(desk, 1, BODY)


def _disk(place: Path) -> Row:
    """Return what one durable commit costs here: the less, the more the rest shows."""
    connection = sqlite3.connect(place / "disk.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE t (a)")
    found = interleaved(200, lambda: timed(lambda: connection.execute("INSERT INTO t VALUES (1)")))
    connection.close()
    return Row("a durable commit of this disk", found[0])


def _many(folder: Path) -> list[Row]:
    with opened(folder, SystemClock()) as desk:
        with desk.records.transaction():
            for number in range(ISSUES):
                labels = ("status:waiting", f"agent:a{number % AGENTS}", "comp:titanic")
                desk.tracker.create(Draft(f"[titanic] a{number % AGENTS}: task {number}", BODY, labels))
        # A lease and a fence of its own for each: as many agents that claim one Issue each.
        claims = [timed(partial(_claim, desk, agent)) for agent in range(AGENTS)]
        listed = timed(lambda: sum(1 for _ in desk.tracker.issues()))
        mine = [timed(partial(_mine, desk, agent)) for agent in range(100)]
        synced = timed(partial(sync_labels, desk))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024
    note = f"{ISSUES:,} open Issues, {AGENTS:,} agents"
    return [
        Row("claim one of 10,000 Issues", claims, note=note),
        Row("list the Issues of one agent", mine),
        Row("list all 10,000", [listed]),
        Row("synchronise the labels of 10,000", [synced]),
        Row("memory at most", [memory], aim=LIMIT_MIB, unit="MiB"),
    ]


def _claim(desk: Desk, agent: int) -> None:
    claim = {"add_labels": ["status:auto-processing"], "assignees": [f"a{agent}"]}
    update_issue_with_optimistic_lock(desk, agent + 1, claim)


def _mine(desk: Desk, agent: int) -> int:
    return sum(1 for _ in desk.tracker.issues(labels=(f"agent:a{agent}",)))
