"""A plan, an option and a diagnosis that all is well with, for the tests to change."""

from __future__ import annotations

from rollcage.core.model import (
    CheckOutcome,
    CheckRuns,
    Diagnosis,
    OptionType,
    Reach,
    RecoveryPlan,
    Rehearsal,
    RiskLevel,
    RollbackOption,
    Verdict,
)
from rollcage.core.plan.recovery import recovery_steps

FIRST, SECOND = "a" * 40, "b" * 40
HASH = "7c1f" * 16


def plan(kind: OptionType = OptionType.SINGLE_COMMIT, *, agent: str = "executor", restart: bool = True) -> RecoveryPlan:
    code = kind is not OptionType.RESTART_ONLY
    resets = kind is OptionType.FULL_AGENT_RESET
    agents = [agent] if agent else []
    return RecoveryPlan(
        option="opt-12.1",
        incident="inc-12",
        type=kind,
        agent=agent,
        branch="main",
        head="c" * 40,
        tree="d" * 40 if code else None,
        targets=(FIRST, SECOND) if code else (),
        message="Take back two commits\n\nIncident inc-12: tests fail\n" if code else "",
        steps=tuple(recovery_steps(kind, agents, has_checks=True, restart=restart, reset=agents * resets)),
        plan_hash=HASH,
        parts=("calc.py#2",) if kind is OptionType.FILE_SELECTIVE else (),
        keeps=("e" * 40,) if kind is OptionType.BRANCH_RESET else (),
    )


def option(kind: OptionType = OptionType.SINGLE_COMMIT, *, level: RiskLevel = RiskLevel.LOW) -> RollbackOption:
    passed = CheckOutcome("tests", True, 1, 2.0)
    return RollbackOption(
        id="opt-12.1",
        incident="inc-12",
        rank=1,
        type=kind,
        target_commits=(FIRST,),
        affected_files=("calc.py",),
        estimated_recovery_time=4.0,
        risk_level=level,
        risk_points=1,
        risk_factors=(),
        side_effects=(),
        required_validation=("tests",),
        plan_hash=HASH,
        rehearsal=Rehearsal(
            True, "d" * 40, (), 0, (), (passed,) if kind is not OptionType.RESTART_ONLY else (), proven=True
        ),
    )


def diagnosis(verdict: Verdict = Verdict.ACT) -> Diagnosis:
    return Diagnosis(
        incident="inc-12",
        verdict=verdict,
        onset=None,
        last_good=SECOND,
        culprits=(),
        suspects=(),
        agents=("executor",),
        reach=Reach(),
        root_cause="it did it",
        confidence=0.97,
        check_runs=CheckRuns(),
        duration_s=1.0,
    )
