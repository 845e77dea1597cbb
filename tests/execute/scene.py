"""A repository with a bad commit under good ones, uncommitted work of every kind, and a rollback about to begin."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rollcage.core.clock import SystemClock
from rollcage.core.config import Level, Settings
from rollcage.core.execute.runner import carry_out, start_rollback, work_for
from rollcage.core.execute.safe import make_safe
from rollcage.core.fleet.handovers import unfinished
from rollcage.core.fleet.mailbox import post, read
from rollcage.core.fleet.runs import Run, register
from rollcage.core.gitrepo.repository import Repository
from rollcage.core.model import (
    AgentState,
    CheckRuns,
    Diagnosis,
    Finding,
    Incident,
    IncidentState,
    OptionType,
    PlanStep,
    Reach,
    RecoveryPlan,
    Rollback,
    Severity,
    Signal,
    SignalKind,
    Suspect,
    Verdict,
)
from rollcage.core.plan.options import build_options
from rollcage.core.plan.recovery import recovery_steps
from rollcage.core.services import Services, open_services
from rollcage.core.store.inbox import connect
from rollcage.core.store.paths import RepositoryPaths
from rollcage.core.store.signals import Signals
from rollcage.core.store.store import Store
from tests.conftest import git
from tests.gitrepo.worlds import LINES, edited, files_of, status

GOOD, BAD = LINES, edited(LINES, 3, "the fault")
MINE = edited(BAD, 15, "not committed")
"""An edit of somebody's in the very file that goes back."""
AFTER = edited(GOOD, 15, "not committed")
AT = datetime(2024, 11, 20, 14, tzinfo=UTC)


@dataclass(frozen=True)
class Scene:
    """The repository ``top`` and the state of it, below one folder."""

    place: Path

    @property
    def top(self) -> Path:
        return self.place / "my shop ü"

    @property
    def paths(self) -> RepositoryPaths:
        return RepositoryPaths(self.place / "state")

    @property
    def flag(self) -> Path:
        """While this file exists, the check fails whatever the code is."""
        return self.place / "flag"

    def settings(self, **more: object) -> Settings:
        check = f"! grep -q fault calc && test ! -e '{self.flag}'"
        agents = {name: {"commits": {"trailer": name}} for name in ("executor", "planner")}
        tests = {"name": "tests", "run": ["sh", "-c", check], "retries": 0}
        return Settings.model_validate({"level": "auto", "checks": [tests], "agents": agents, **more})

    def services(self, **settings: object) -> Services:
        """Open everything, as a new process would."""
        clock = SystemClock()
        store = Store.open(self.paths, clock)
        return open_services(
            Repository.discover(self.top), self.paths, store, self.settings(**settings), "0" * 64, clock
        )

    def commit(self, agent: str, summary: str, **files: str) -> str:
        for name, text in files.items():
            (self.top / name).write_text(text)
            git(self.top, "add", "--", name)
        git(self.top, "commit", "-q", "-m", f"{summary}\n\nAgent: {agent}\n", "--only", "--", *files)
        return git(self.top, "rev-parse", "HEAD")

    def tree(self, revision: str = "main") -> str:
        return git(self.top, "rev-parse", f"{revision}^{{tree}}")

    def world(self) -> dict[str, object]:
        """Return all that must be the same whoever was killed: the repository, the agent's own, the database, audit."""
        own = self.place / "own"
        seen = self.picture()
        if own.exists():
            seen |= {
                "own head": git(own, "symbolic-ref", "HEAD"),
                "own status": status(own),
                "own files": files_of(own),
            }
        seen["messages"] = [message.text for message in read(self.paths, "executor")]
        signals = Signals(self.paths.inbox_db)
        seen["handovers"] = sorted(str(each) for each in unfinished(signals, ["planner", "executor"]))
        signals.close()
        if self.database.exists():
            with closing(sqlite3.connect(self.database)) as connection:
                seen["database"] = list(connection.iterdump())
        return seen

    @property
    def database(self) -> Path:
        return self.place / "app.db"

    def picture(self) -> dict[str, object]:
        """Return what a user sees of the repository; commits by their trees, for their ids have times in them."""
        return {
            "trees": git(self.top, "log", "--format=%T %s", "main"),
            "branches": git(self.top, "for-each-ref", "--format=%(refname) %(tree)"),
            "head": git(self.top, "symbolic-ref", "HEAD"),
            "index": git(self.top, "ls-files", "--stage"),
            "status": status(self.top),
            "files": files_of(self.top),
            "locks": sorted(path.name for path in (self.top / ".git").iterdir() if "lock" in path.name),
            "leftovers": sorted(path.name for path in (self.top / ".git").iterdir() if "rollcage" in path.name),
        }


def lay_out(place: Path) -> tuple[Scene, str]:
    """Make the scene in ``place``; return it and the bad commit."""
    scene = Scene(place)
    scene.top.mkdir(parents=True)
    scene.paths.root.mkdir(mode=0o700)
    git(scene.top, "init", "-q", "-b", "main")
    (scene.top / ".gitignore").write_text("*.log\n")
    git(scene.top, "add", ".gitignore")
    scene.commit("planner", "start", calc=GOOD, plan="plan\n", other="other\n", **{"m.slow": "good\n"})
    bad = scene.commit("executor", "tidy calc", calc=BAD, **{"m.slow": "bad\n"})
    scene.commit("planner", "plan on", plan="plan\nmore\n")
    (scene.top / "calc").write_text(MINE)
    (scene.top / "plan").write_text("plan\nmore\nhalf a thought\n")
    (scene.top / "draft").write_text("untracked\n")
    (scene.top / "run.log").write_text("ignored\n")
    (scene.top / "other").write_text("staged\n")
    git(scene.top, "add", "other")
    return scene, bad


def incident_of(
    services: Services, agent: str = "executor", fingerprints: Sequence[str] = ("check:tests",)
) -> Incident:
    """Save and return an open critical incident about failing checks."""
    now = services.clock.now()
    findings = tuple(
        Finding(now, "check_failed", agent, Severity.CRITICAL, "tests fail", fingerprint, now)
        for fingerprint in fingerprints
    )
    incident = Incident(
        id=services.store.new_incident_id(),
        agent=agent,
        fingerprint=fingerprints[0],
        severity=Severity.CRITICAL,
        title="tests fail",
        state=IncidentState.OPEN,
        opened=now,
        since=now,
        findings=findings,
    )
    services.store.save_incident(incident)
    return incident


def diagnosis_of(
    incident: Incident, *culprits: str, agent: str | None = "executor", tables: Sequence[str] = ()
) -> Diagnosis:
    """Return a confirmed diagnosis that blames ``culprits``."""
    suspects = tuple(Suspect(sha, agent, 0.97, ("it fails there",), "tidy calc") for sha in culprits)
    return Diagnosis(
        incident=incident.id,
        verdict=Verdict.ACT,
        onset=incident.since,
        last_good=None,
        culprits=suspects,
        suspects=suspects,
        agents=(agent,) if agent else (),
        reach=Reach(tables=tuple(tables)),
        root_cause="it makes tests fail",
        confidence=0.97,
        check_runs=CheckRuns(),
        duration_s=1.0,
    )


Shape = Callable[[Scene, RecoveryPlan], RecoveryPlan]


def one_commit(scene: Scene, plan: RecoveryPlan) -> RecoveryPlan:
    return plan


def whole_agent(scene: Scene, plan: RecoveryPlan) -> RecoveryPlan:
    """Return the plan that also lets the executor start from nothing."""
    kind = OptionType.FULL_AGENT_RESET
    return replace(plan, type=kind, steps=_steps(kind, reset=["executor"]))


def history(scene: Scene, plan: RecoveryPlan) -> RecoveryPlan:
    """Return the plan that moves the branch back to its first commit."""
    first, *later = git(scene.top, "rev-list", "--reverse", "main").split()
    kind = OptionType.BRANCH_RESET
    return replace(
        plan, type=kind, tree=scene.tree(first), targets=tuple(later), rewrite=True, steps=_steps(kind, goal=first)
    )


def only_restart(scene: Scene, plan: RecoveryPlan) -> RecoveryPlan:
    """Return the plan that changes no code."""
    kind = OptionType.RESTART_ONLY
    return replace(plan, type=kind, tree=None, targets=(), message="", steps=_steps(kind, has_checks=False))


def _steps(kind: OptionType, *, has_checks: bool = True, **more: Any) -> tuple[PlanStep, ...]:
    return tuple(recovery_steps(kind, ["executor"], has_checks=has_checks, **more))


SHAPES: dict[str, Shape] = {
    "one_commit": one_commit,
    "whole_agent": whole_agent,
    "history": history,
    "only_restart": only_restart,
}
"""A plan of every shape that the executor carries out, made from the plan of one commit. Add to it for a new step."""


def give_worktree(scene: Scene) -> Path:
    """Give the executor a working tree and branch of its own, ahead of the fleet's, with uncommitted work in it.

    It also has a message, and something is about to be handed over to it, and something else to somebody else.
    """
    own = scene.place / "own"
    git(scene.top, "worktree", "add", "-q", "-b", "agents/executor", str(own), "main")
    (own / "idea").write_text("idea\n")
    git(own, "add", "idea")
    git(own, "commit", "-q", "-m", "idea\n\nAgent: executor\n")
    (own / "plan").write_text("plan\nmore\nnot committed\n")
    (own / "scratch").write_text("untracked\n")
    run = Run("executor-1", "executor", ("true",), str(own), 1, 0.0, "another boot", None, AgentState.COMPLETED, AT, "")
    with closing(connect(str(scene.paths.inbox_db))) as inbox:
        register(inbox, replace(run, exit_code=0))
    post(scene.paths, "executor", "do this next", "planner", AT)
    signals = Signals(scene.paths.inbox_db)
    for name, to in (("h-1", "executor"), ("h-2", "tester")):
        signals.put([Signal(AT, "planner", SignalKind.HANDOVER, name, attrs={"to": to, "state": "ready"})])
    signals.close()
    return own


def begin(scene: Scene, bad: str, shape: Shape = one_commit, **settings: object) -> Rollback:
    """Plan the rollback of ``bad`` and write it into the journal; nothing has happened yet."""
    services = scene.services(**settings)
    try:
        incident = incident_of(services)
        # What an engine that saw the check fail has in its cache.
        tip = git(scene.top, "rev-parse", "main")
        services.checks.run_all(tip, scene.tree())
        pairs = build_options(services, incident, diagnosis_of(incident, bad))
        services.store.save_options(incident.id, pairs)
        return start_rollback(services, shape(scene, pairs[0][1]), approved_by="engine")
    finally:
        services.store.close()


def carry_on(scene: Scene, rollback: str = "rb-1", /, **settings: object) -> Rollback:
    """Carry the rollback on as the next engine would; return its record."""
    services = scene.services(**settings)
    try:
        found = services.store.rollback(rollback)
        assert found is not None
        return carry_out(work_for(services, found, lambda run: []))
    finally:
        services.store.close()


def made_safe(scene: Scene) -> str:
    """Make the incident of the scene safe as an engine would; return the snapshot."""
    services = scene.services()
    try:
        incident = services.store.incident("inc-1")
        assert incident is not None
        return make_safe(services, incident, Level.AUTO)
    finally:
        services.store.close()


def journal(scene: Scene, rollback: str = "rb-1") -> dict[str, object]:
    """Return what the state says of a rollback, without times and ids."""
    store = Store.open(scene.paths, SystemClock(), read_only=True)
    try:
        record = store.rollback(rollback)
        assert record is not None
        return {
            "state": record.state,
            "moved": bool(record.head_after),
            "note": record.note,
            "snapshot": store.snapshot(record.snapshot) is not None,
            "steps": [(step.name, step.state) for step in store.steps(rollback)],
            "holds": {agent: hold.hold for agent, hold in store.holds().items()},
            "audit": store.verify_audit().ok,
        }
    finally:
        store.close()


def copied(source: Path, target: Path) -> None:
    """Put a copy of ``source`` in the place of ``target``."""
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(source, target, symlinks=True)
