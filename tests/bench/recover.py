"""From the moment when a failing check becomes a finding to the end of its verified rollback, through the engine."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import psutil

from rollcage.core.clock import SystemClock
from rollcage.core.config import Level
from rollcage.core.coordination.embedded import EmbeddedLeases
from rollcage.core.coordination.leader import Leader
from rollcage.core.engine import Engine
from rollcage.core.fleet.control import stop_tree
from rollcage.core.fleet.runs import current_runs
from rollcage.core.fleet.start import start_agent
from rollcage.core.gitrepo.repository import Repository
from rollcage.core.model import Event
from rollcage.core.outcome import Outcome
from rollcage.core.services import Services, open_services
from rollcage.core.settings_file import parse
from rollcage.core.store.identity import identify
from rollcage.core.store.store import Store
from tests.conftest import git

from .history import FILES_A_FOLDER, make_history
from .measure import Row

RUNS = 4
AIM_S = 2.0
DATABASE_SIZE = 10 * 10**6

GOOD, BAD = "rate = 19\n", "rate = 91\n"
AGENT = (
    "import signal, sys, threading; signal.signal(15, lambda *_: sys.exit(0)); print('up'); threading.Event().wait()"
)
SETTINGS = f"""\
version: 1
branch: main
level: auto
checks:
  - name: rate
    run: [grep, -q, "rate = 19", tax.conf]
agents:
  executor: {{commits: {{trailer: executor}}, run: ['{sys.executable}', -u, -c, "{AGENT}"]}}
database:
  url: sqlite:///app.db
  checks: [{{name: orphans, sql: "select count(*) from part where size < 0"}}]
"""


def measure(place: Path) -> list[Row]:
    """Measure whole recoveries, each in a repository of its own, and where their time goes."""
    rows = []
    for folders in (2, 40):
        found = [_recovery(place / f"shop-{folders}-{number}", folders) for number in range(RUNS + 1)][1:]
        whole, diagnosed, rehearsed, carried_out = (list(times) for times in zip(*found, strict=True))
        rows += [
            Row(f"a tree of {folders * FILES_A_FOLDER:,} files", whole, aim=AIM_S),
            Row("  make safe, diagnose", diagnosed),
            Row("  find options, rehearse", rehearsed),
            Row("  decide, carry out, verify", carried_out),
        ]
    note = f"a database of {DATABASE_SIZE / 10**6:g} MB; the check is a bare grep, its few milliseconds count as ours"
    return [replace(rows[0], note=note), *rows[1:]]


def _recovery(top: Path, folders: int) -> tuple[float, ...]:
    """Return the seconds from the finding to the end of the rollback, and the stages of which they are the sum."""
    make_history(top, 200, folders=folders)
    _commit(top, "planner", "start", {"tax.conf": GOOD, ".gitignore": "app.db*\n"})
    _fill(top / "app.db")
    with _services(top) as services:
        run = start_agent(services.paths, "executor", services.settings.agents["executor"], top)
        try:
            _expect(_once(services), "healthy")
            _commit(top, "executor", "tidy up", {"tax.conf": BAD})
            _commit(top, "planner", "plan on", {"plan.md": "plan\n"})
            before = services.store.last_seq()
            _expect(_once(services), "recovered")
            return _times(services.store.events_since(before, 10_000))
        finally:
            for live in current_runs(services.paths.inbox_db):
                stop_tree(live)
            if psutil.pid_exists(run.supervisor_pid):
                psutil.Process(run.supervisor_pid).wait(20)


def _commit(top: Path, agent: str, summary: str, files: dict[str, str]) -> None:
    for name, text in files.items():
        (top / name).write_text(text)
    git(top, "add", "--", *files)
    git(top, "commit", "-q", "-m", f"{summary}\n\nAgent: {agent}\n")


def _fill(path: Path) -> None:
    row = "x" * 1_000
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("create table part (id integer primary key, size integer, text text)")
        rows = ((number, row) for number in range(DATABASE_SIZE // 1_040))
        connection.executemany("insert into part (size, text) values (?, ?)", rows)


@contextmanager
def _services(top: Path) -> Iterator[Services]:
    clock, repository = SystemClock(), Repository.discover(top)
    paths = identify(repository.common_dir, repository.root_commits)
    store = Store.open(paths, clock)
    try:
        yield open_services(repository, paths, store, parse(SETTINGS.encode()), "pin", clock)
    finally:
        store.close()


def _once(services: Services) -> Outcome:
    leader = Leader(services.repository.common_dir, EmbeddedLeases(services.paths, services.clock))
    if not leader.try_lead():
        raise RuntimeError(f"{leader.holder()} leads")
    try:
        return Engine(services, leader, Level.AUTO).run_once()
    finally:
        leader.resign()


def _expect(outcome: Outcome, result: str) -> None:
    if outcome.result != result:
        raise RuntimeError(f"the outcome is not {result}: {outcome}")


def _times(events: Sequence[Event]) -> tuple[float, ...]:
    first = {event.event: event.at for event in reversed(events)}
    last = {event.event: event.at for event in events}
    marks = [first["finding"], first["diagnosis"], last["plan"], last["verification"]]
    stages = [(later - earlier).total_seconds() for earlier, later in pairwise(marks)]
    return (sum(stages), *stages)
