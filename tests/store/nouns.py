"""Nouns to put into a store."""

from __future__ import annotations

from datetime import UTC, datetime

from rollcage.core.model import (
    CheckOutcome,
    CheckRuns,
    Diagnosis,
    Finding,
    Incident,
    IncidentState,
    OptionType,
    PlanStep,
    Reach,
    RecoveryPlan,
    Rehearsal,
    RiskFactor,
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
    Suspect,
    Verdict,
)

AT = datetime(2026, 11, 20, 14, 2, 31, 120_000, tzinfo=UTC)


def incident(number: int, state: IncidentState = IncidentState.OPEN) -> Incident:
    signal = Signal(AT, "executor", SignalKind.METRIC, "memory_usage", 7.2e9, unit="B", attrs={"pid": 47}, seq=3)
    finding = Finding(AT, "memory_usage", "executor", Severity.CRITICAL, "7.2 GB", "memory_usage", AT, 7.2e9, (signal,))
    return Incident(
        f"inc-{number}", "executor", "memory_usage", Severity.CRITICAL, "tests fail", state, AT, AT, (finding,)
    )


def diagnosis(number: int, root_cause: str) -> Diagnosis:
    culprit = Suspect("a41be07", "executor", 0.97, ("test_add fails there",), "tidy add", AT)
    return Diagnosis(
        f"inc-{number}",
        Verdict.ACT,
        AT,
        "81c0d2e",
        (culprit,),
        (culprit,),
        ("executor",),
        Reach(("calc.py",)),
        root_cause,
        0.97,
        CheckRuns(5, 6, 1),
        2.5,
    )


def option(incident_number: int, rank: int, plan_hash: str = "7c1f") -> tuple[RollbackOption, RecoveryPlan]:
    option_id, incident_id = f"opt-{incident_number}.{rank}", f"inc-{incident_number}"
    check = CheckOutcome("tests", True, 3, 4.2)
    return (
        RollbackOption(
            option_id,
            incident_id,
            rank,
            OptionType.SINGLE_COMMIT,
            ("a41be07",),
            ("calc.py", '"sp\\303\\244t"'),
            6.0,
            RiskLevel.LOW,
            2,
            (RiskFactor("files", "1", 0, "one file"),),
            (),
            ("tests",),
            plan_hash,
            Rehearsal(True, "f00", (), 0, (), (check,)),
        ),
        RecoveryPlan(
            option_id,
            incident_id,
            OptionType.SINGLE_COMMIT,
            "executor",
            "main",
            "3f2a91c",
            "f00",
            ("a41be07",),
            "Take back a41be07",
            (PlanStep(1, "stop_agent", "stop executor", "it is gone", "start it", "executor"),),
            plan_hash,
            "-a\n+b\n",
        ),
    )


def rollback(number: int, state: RollbackState = RollbackState.RUNNING) -> Rollback:
    return Rollback(f"rb-{number}", "inc-1", "opt-1.1", "7c1f", "rollback", state, "ann@host", AT, "3f2a91c")


def step(number: int, state: StepState = StepState.DOING) -> Step:
    return Step("rb-1", number, 3, "publish", "main", state, AT, data={"old": "3f2a91c", "worktrees": ["/a b", "/c"]})


def snapshot(name: str) -> Snapshot:
    return Snapshot(name, AT, "before rb-1", "3f2a91c", "/snapshots/" + name, 10, ("/shop",), ("app.db",))
