"""Rollcage on one case: it sees the last good commit pass, then the branch as it is in the end, and acts alone."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from rollcage.core.clock import SystemClock
from rollcage.core.config import Level
from rollcage.core.coordination.embedded import EmbeddedLeases
from rollcage.core.coordination.leader import Leader
from rollcage.core.engine import Engine
from rollcage.core.gitrepo.repository import Repository
from rollcage.core.model import Severity
from rollcage.core.outcome import Outcome
from rollcage.core.services import Services, open_services
from rollcage.core.settings_file import parse
from rollcage.core.store.identity import identify
from rollcage.core.store.store import Store
from tests.conftest import git

from . import unit
from .cases import Case
from .grow import START
from .score import Score, dirty_lost, judge_culprits, judge_tree, settle, tree_files
from .script import clone, soil

LIMIT_S = 600.0
LATER = timedelta(minutes=5)
"""So long after the newest commit rollcage looks."""


class ShiftedClock(SystemClock):
    """The machine's clocks, but the wall time goes on from where it is put: next to the commits."""

    def __init__(self) -> None:
        """Begin with the machine's wall time."""
        super().__init__()
        self._shift = timedelta()

    def put(self, moment: datetime) -> None:
        """Let it be ``moment`` now."""
        self._shift = moment - datetime.now(UTC)

    def now(self) -> datetime:
        """See `Clock.now`."""
        return datetime.now(UTC) + self._shift


def run_rollcage(case: Case, place: Path) -> Score:
    """Let the engine handle one case alone, in a clone and a state directory of its own; never raises for a defect."""
    score, started = Score(case.name, case.kind), time.monotonic()
    try:
        _run(case, place, score)
    except Exception:
        score.crashed = traceback.format_exc()
    settle(score, case)
    score.seconds = time.monotonic() - started
    return score


def _run(case: Case, place: Path, score: Score) -> None:
    work = clone(case, place / "work")
    head = tree_files(work, "HEAD")
    clock = ShiftedClock()
    with _services(case, work, place, clock) as services:
        if case.good is not None:
            git(work, "reset", "-q", "--hard", case.good)
            clock.put(_when(work) + LATER)
            first = _once(services)
            if first.result != "healthy":
                score.alarm = True
                raise RuntimeError(f"the good commit is not healthy: {first}")
            _move_on(case, work)
        soil(case, work)
        clock.put(_when(work) + LATER)
        outcome = _once(services)
        _judge(case, services, outcome, work, head, score)


def _move_on(case: Case, work: Path) -> None:
    """Move main to the head commit by commit, as the log of the branch then shows it.

    Its way is by the parents that it was at: the first, or where main was moved forward to another branch (foxtrot) the
    one that has the last good commit behind it.
    """
    known = git(work, "rev-list", "--parents", f"{case.good}..{case.head}").split("\n")
    parents = {one: rest for one, *rest in (line.split() for line in known)}
    way = [case.head]
    while way[-1] != case.good:
        before = parents[way[-1]]
        way.append(next(each for each in before if len(before) == 1 or _has(work, each, case.good or "")))
    lines = [f"{'0' * 40} {case.good} Ann <ann@example.com> {START} +0000\tclone\n"]
    for old, new in pairwise(reversed(way)):
        moment = git(work, "log", "-1", "--format=%ct", new)
        lines.append(f"{old} {new} Ann <ann@example.com> {moment} +0000\tcommit\n")
    with (work / ".git/logs/refs/heads/main").open("w") as log:
        log.writelines(lines)
    git(work, "update-ref", "refs/heads/main", case.head)
    git(work, "reset", "-q", "--hard")


def _has(work: Path, sha: str, ancestor: str) -> bool:
    return git(work, "merge-base", sha, ancestor) == ancestor


def _judge(case: Case, services: Services, outcome: Outcome, work: Path, head: dict[str, str], score: Score) -> None:
    store = services.store
    critical = [each for each in store.incidents(limit=100) if each.severity is Severity.CRITICAL]
    incidents = [each for each in critical if each.fingerprint == "check:tests"]
    score.alarm = case.expect == "healthy" and bool(critical)
    score.acted = git(work, "rev-parse", "main") != case.head
    score.said = outcome.result
    score.dirty_lost = dirty_lost(case, work, not score.acted)
    if not incidents:
        return
    incident = incidents[0]
    diagnosis = store.diagnosis(incident.id)
    decisions = [each for each in store.decisions(incident=incident.id) if each.by == "engine"]
    score.said = " ".join(
        part
        for part in (
            outcome.result,
            diagnosis.verdict.value if diagnosis else "no diagnosis",
            decisions[-1].reason if decisions else "",
            "" if outcome.result == "recovered" else f"({incident.note})",
        )
        if part
    )
    if diagnosis is not None:
        judge_culprits(score, case, [suspect.sha for suspect in diagnosis.culprits])
        runs = diagnosis.check_runs
        score.search, score.confirm, score.rehearse = runs.search, runs.confirm, runs.rehearse
        score.said += f" | {'; '.join((diagnosis.root_cause, *diagnosis.reasons))}"
    options = store.options(incident.id)
    top = options[0][0] if options else None
    if top is not None:
        score.risk = top.risk_level.value
        score.said += f" | {top.type.value} {top.risk_level.value} {'; '.join(top.rehearsal.conflicts)}"
    if score.acted:
        judge_tree(score, case, head, tree_files(work, "main"))
    elif top is not None and top.rehearsal.tree is not None and top.type.value != "RESTART_ONLY":
        judge_tree(score, case, head, tree_files(services.mirror.path, top.rehearsal.tree))


def _when(work: Path) -> datetime:
    return datetime.fromtimestamp(int(git(work, "log", "-1", "--format=%ct")), UTC)


def _once(services: Services) -> Outcome:
    leader = Leader(services.repository.common_dir, EmbeddedLeases(services.paths, services.clock))
    if not leader.try_lead():
        raise RuntimeError(f"{leader.holder()} leads")
    engine = Engine(services, leader, Level.AUTO)
    watchdog = threading.Timer(LIMIT_S, engine.leaving.set)
    watchdog.start()
    try:
        return engine.run_once()
    finally:
        watchdog.cancel()
        leader.resign()


@contextmanager
def _services(case: Case, work: Path, place: Path, clock: SystemClock) -> Iterator[Services]:
    repository = Repository.discover(work)
    paths = identify(repository.common_dir, repository.root_commits, home=place / "state")
    store = Store.open(paths, clock)
    try:
        settings = parse(yaml.safe_dump(settings_of(case, place)).encode())
        yield open_services(repository, paths, store, settings, "pin", clock)
    finally:
        store.close()


def settings_of(case: Case, place: Path) -> dict[str, Any]:
    """Return the ``rollcage.yml`` of a case: its agents and its one check, all else as it comes."""
    check: dict[str, Any] = {
        "name": "tests",
        "run": [sys.executable, unit.__file__, "report.xml", *case.of.check],
        "junit": "report.xml",
        "timeout": "60s",
    }
    if case.flaky:
        check["env"] = {"CORPUS_COUNTER": str(place / "counter")}
    return {"version": 1, "level": "auto", "checks": [check], "agents": {name: {} for name in case.agents}}
