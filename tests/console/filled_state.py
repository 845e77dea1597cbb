"""A state with one of each: an incident, its option and plan, a rollback with a step, a snapshot, signals."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from rollcage.console.context import Context
from rollcage.core.model import (
    CheckOutcome,
    Finding,
    Incident,
    IncidentState,
    OptionType,
    RecoveryPlan,
    Rehearsal,
    RiskLevel,
    Rollback,
    RollbackOption,
    RollbackState,
    Severity,
    Signal,
    SignalKind,
    Snapshot,
    Step,
    StepState,
)
from rollcage.core.plan.recovery import recovery_steps
from tests.conftest import git

AT = datetime(2026, 11, 20, 14, 2, 31, 120_000, tzinfo=UTC)


def fill(context: Context, repository: Path) -> None:
    """Fill the state of ``repository``, and give it a second commit, which the rollback made."""
    before = git(repository, "rev-parse", "HEAD")
    (repository / "README").write_text("shop [/] \n")
    git(repository, "commit", "-q", "-a", "-m", "x")
    after = git(repository, "rev-parse", "HEAD")
    store = context.store
    found = Finding(AT, "check_failed", "executor", Severity.CRITICAL, "tests fail [/]", "check:tests", AT)
    store.save_incident(
        Incident(
            id="inc-1",
            agent="executor",
            fingerprint="check:tests",
            severity=Severity.CRITICAL,
            title="tests fail [/]",
            state=IncidentState.WAITING,
            opened=AT,
            since=AT,
            findings=(found,),
        )
    )
    rehearsal = Rehearsal(True, "t" * 40, (), 2, (), (CheckOutcome("tests", True, 1, 0.5),))
    option = RollbackOption(
        id="opt-1.1",
        incident="inc-1",
        rank=1,
        type=OptionType.SINGLE_COMMIT,
        target_commits=(after,),
        affected_files=("README",),
        estimated_recovery_time=4.0,
        risk_level=RiskLevel.CRITICAL,
        risk_points=9,
        risk_factors=(),
        side_effects=(),
        required_validation=("tests",),
        plan_hash="a" * 64,
        rehearsal=rehearsal,
    )
    plan = RecoveryPlan(
        option="opt-1.1",
        incident="inc-1",
        type=OptionType.SINGLE_COMMIT,
        agent="executor",
        branch="main",
        head=after,
        tree="t" * 40,
        targets=(after,),
        message="Take back x",
        steps=tuple(recovery_steps(OptionType.SINGLE_COMMIT, ["executor"], has_checks=True)),
        plan_hash="a" * 64,
        diff="-shop [/]\n+shop\n",
        loses="lose 2 lines",
    )
    store.save_options("inc-1", [(option, plan)])
    store.save_rollback(
        Rollback(
            "rb-1", "inc-1", "opt-1.1", "a" * 64, "rollback", RollbackState.DONE, "ann@host", AT, before, after, AT
        )
    )
    store.save_step(Step("rb-1", 1, 1, "stop_agent", "executor", StepState.DONE, AT, AT))
    store.save_snapshot(Snapshot("snap-1", AT, "inc-1", before, "/nowhere", 1_500_000, (), ("app.db",)))
    context.signals.put(
        [
            Signal(AT, "executor", SignalKind.METRIC, "memory_usage", 3e9, unit="B"),
            Signal(AT, "executor", SignalKind.ERROR, "error", text="é [/]\x1b[31m"),
        ]
    )
