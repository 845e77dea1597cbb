"""Parts of the example boards: agents, an incident with its diagnosis and options, a rollback."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from rollcage.core.board import OptionView, RollbackView, Series
from rollcage.core.model import (
    AgentState,
    AgentStatus,
    CheckOutcome,
    CheckRuns,
    Decision,
    DecisionVerdict,
    Diagnosis,
    Event,
    Finding,
    Health,
    Hold,
    Incident,
    IncidentState,
    Lease,
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
    Snapshot,
    Step,
    StepState,
    Suspect,
    Verdict,
    Waiter,
)

NOW = datetime(2026, 11, 20, 14, 2, 31, tzinfo=UTC)
STAGES = ("planner", "analyzer", "executor", "monitor", "retrospective")
HEAD, BAD, GOOD, NEW = "3f2a91c" + "0" * 33, "a41be07" + "1" * 33, "81c0d2e" + "2" * 33, "9d02c44" + "3" * 33


def ago(seconds: float) -> datetime:
    """Return the moment ``seconds`` before NOW."""
    return NOW - timedelta(seconds=seconds)


DIFF = """diff --git a/calc.py b/calc.py
index 1111111..2222222 100644
--- a/calc.py
+++ b/calc.py
@@ -1,6 +1,6 @@
 \"\"\"Sums for the till.\"\"\"


 def add(a, b):
-    return a - b
+    return a + b

"""

WIDE_DIFF = (
    DIFF
    + """diff --git a/shop/basket.py b/shop/basket.py
index 3333333..4444444 100644
--- a/shop/basket.py
+++ b/shop/basket.py
@@ -10,8 +10,6 @@ class Basket:
     def total(self):
         total = 0
         for item in self.items:
-            total = add(total, item.price)
-            if total < 0:
-                total = 0
+            total = add(total, item.price)
         return total

diff --git a/docs/notes.md b/docs/notes.md
deleted file mode 100644
index 5555555..0000000
--- a/docs/notes.md
+++ /dev/null
@@ -1,2 +0,0 @@
-# Notes
--- an old list
"""
)


def agents() -> tuple[AgentStatus, ...]:
    def agent(name: str, kind: str, state: AgentState, memory: float, since: float, *after: str) -> AgentStatus:
        return AgentStatus(
            name=name,
            state=state,
            hold=Hold.NONE,
            health=Health.HEALTHY,
            stage=name,
            kind=kind,
            competition="titanic",
            since=ago(since),
            seen=ago(1),
            pid=4000 + len(name),
            cpu=0.12,
            memory=memory,
            descriptors=31,
            error_rate=0.0004,
            depends_on=after,
        )

    return (
        replace(
            agent("planner", "thorough_todo_executor", AgentState.COMPLETED, 0.4e9, 4_100),
            pid=None,
            cpu=None,
            memory=None,
        ),
        agent("analyzer", "supabase_specialist", AgentState.RUNNING, 0.9e9, 3_780, "planner"),
        agent("executor", "batch_performance_optimizer", AgentState.RUNNING, 2.6e9, 1_500, "analyzer"),
        replace(
            agent("monitor", "data_quality_guardian", AgentState.RUNNING, 0.41e9, 900, "executor"), hold=Hold.WAITING
        ),
        AgentStatus(
            "retrospective", AgentState.IDLE, Hold.NONE, Health.HEALTHY, "retrospective", depends_on=("monitor",)
        ),
    )


def wave(low: float, high: float, phase: int) -> tuple[float, ...]:
    return tuple(low + (high - low) * (0.5 + 0.5 * math.sin((step + phase) / 2.3)) for step in range(32))


def series(*, bad: bool = False) -> tuple[Series, ...]:
    rising = tuple(2.4e9 + 0.145e9 * step for step in range(32))
    return (
        Series("", "data_consistency", "", (0.0,) * 12),
        Series("planner", "cpu", "share", wave(0.0, 0.1, 0)),
        Series("analyzer", "cpu", "share", wave(0.05, 0.4, 3)),
        Series("analyzer", "memory_usage", "B", wave(0.88e9, 0.92e9, 2)),
        Series("executor", "batch_processing_time", "s", tuple(2_700.0 + 20 * step for step in range(20))),
        Series("executor", "cpu", "share", wave(0.2, 0.98, 6)),
        Series("executor", "error_rate", "share", (0.0, 0.0, 0.001, 0.0, 0.004), "raised" if bad else "normal"),
        Series(
            "executor", "memory_usage", "B", rising if bad else wave(2.55e9, 2.65e9, 1), "warning" if bad else "normal"
        ),
        Series("monitor", "cpu", "share", wave(0.0, 0.06, 9)),
        Series("monitor", "matching_accuracy", "share", wave(0.974, 0.981, 4)),
    )


def early_events() -> tuple[Event, ...]:
    bodies: list[tuple[float, str, Mapping[str, object]]] = [
        (3_780, "agent", {"agent": "analyzer", "action": "start", "by": "engine"}),
        (
            2_550,
            "incident",
            {"id": "inc-11", "state": "open", "agent": "planner", "title": "planner is silent for 5 min"},
        ),
        (
            2_520,
            "incident",
            {"id": "inc-11", "state": "cleared", "agent": "planner", "title": "planner is silent for 5 min"},
        ),
        (1_500, "agent", {"agent": "executor", "action": "start", "by": "engine"}),
    ]
    return tuple(Event(seq, ago(seconds), event, body) for seq, (seconds, event, body) in enumerate(bodies, 1))


def leases() -> tuple[Lease, ...]:
    return (
        Lease("branch/main", "engine", 119, 8.4, ago(40)),
        Lease("issue/42", "executor", 118, 41.0, ago(75), (Waiter("planner", ago(12)),)),
    )


def later_events() -> tuple[Event, ...]:
    bodies: list[tuple[float, str, Mapping[str, object]]] = [
        (137, "finding", {"agent": "executor", "summary": "tests fail: test_add", "severity": "critical"}),
        (
            137,
            "incident",
            {"id": "inc-12", "state": "open", "agent": "executor", "title": "tests fail", "severity": "critical"},
        ),
        (
            135,
            "phase",
            {
                "incident": "inc-12",
                "phase": 1,
                "state": "done",
                "agent": "executor",
                "action": "pause",
                "told": ["analyzer", "monitor"],
                "snapshot": "snap-20261120T140016Z",
            },
        ),
        (
            128,
            "diagnosis",
            {"incident": "inc-12", "verdict": "act", "root_cause": "a41be07 turned the sum in add() into a difference"},
        ),
        (
            121,
            "option",
            {
                "id": "opt-12.1",
                "type": "FILE_SELECTIVE",
                "risk_level": "LOW",
                "rehearsal": {"applies": True, "checks": [{"name": "tests", "passed": True}]},
            },
        ),
        (
            121,
            "incident",
            {"id": "inc-12", "state": "waiting", "agent": "executor", "title": "tests fail, memory climbs"},
        ),
    ]
    early = early_events()
    return (
        *early,
        *(Event(len(early) + 1 + place, ago(s), event, body) for place, (s, event, body) in enumerate(bodies)),
    )


def old_incident() -> Incident:
    return Incident(
        id="inc-11",
        agent="planner",
        fingerprint="communication_failure",
        severity=Severity.WARNING,
        title="planner is silent for 5 min",
        state=IncidentState.CLEARED,
        opened=ago(2_550),
        since=ago(2_850),
        findings=(),
        closed=ago(2_520),
        note="the trouble is over",
    )


def snapshot(seconds: float) -> Snapshot:
    at = ago(seconds)
    return Snapshot(
        id=f"snap-{at:%Y%m%dT%H%M%SZ}",
        at=at,
        why="before rb-1",
        head=HEAD,
        path="/state/emergency_snapshots/x",
        size=10_400_000,
        worktrees=("/home/you/shop", "/home/you/shop-executor"),
        databases=("app.db",),
    )


def incident(state: IncidentState = IncidentState.WAITING) -> Incident:
    """Return the incident of these boards."""
    findings = (
        Finding(
            ago(137), "check_failed", "executor", Severity.CRITICAL, "tests fail: test_add", "check:tests", ago(261)
        ),
        Finding(
            ago(120),
            "memory_usage",
            "executor",
            Severity.WARNING,
            "memory_usage 6.9 GB, over 5 GB; critical in about 2 min",
            "memory_usage",
            ago(255),
            value=6.9e9,
        ),
    )
    return Incident(
        id="inc-12",
        agent="executor",
        fingerprint="check:tests",
        severity=Severity.CRITICAL,
        title="tests fail, memory climbs",
        state=state,
        opened=ago(137),
        since=ago(261),
        findings=findings,
    )


def diagnosis() -> Diagnosis:
    """Return what is known of it."""
    culprit = Suspect(
        BAD,
        "executor",
        0.97,
        (
            "test_add fails at a41be07 and passes on its parent, 3 of 3 each",
            "memory rises since the same minute",
            "changes calc.py, which is in the failing traceback",
        ),
        "tidy add",
        ago(275),
    )
    other = Suspect(
        "b7710fe" + "4" * 33, "analyzer", 0.02, ("before the onset, touches no failing file",), "speed up joins"
    )
    return Diagnosis(
        incident="inc-12",
        verdict=Verdict.ACT,
        onset=ago(261),
        last_good=GOOD,
        culprits=(culprit,),
        suspects=(culprit, other),
        agents=("executor",),
        reach=Reach(("calc.py",), ("executor",), ()),
        root_cause="a41be07 turned the sum in add() into a difference",
        confidence=0.97,
        check_runs=CheckRuns(3, 6, 4),
        duration_s=6.4,
        head=HEAD,
    )


_STEPS = (
    PlanStep(1, "stop_agent", "stop executor and all its processes", "no process is left", "none", "executor"),
    PlanStep(1, "stand_by", "tell the other agents to stand by", "they are frozen", "they work on"),
    PlanStep(3, "snapshot", "keep git, database and files", "whole", "none needed"),
    PlanStep(3, "commit", "make the commit", "its tree is the rehearsed one", "none needed"),
    PlanStep(3, "publish", "move the branch forward", "branch and worktrees are at it", "a further commit"),
    PlanStep(3, "checks", "run every check", "all pass", "none needed"),
    PlanStep(4, "verify", "look at repository, branch and database", "all whole", "none needed"),
    PlanStep(4, "restart_agent", "start executor again", "its process runs", "it is stopped", "executor"),
    PlanStep(4, "metrics", "measure executor afresh", "in band", "none needed", "executor"),
    PlanStep(4, "resume_others", "let the other agents work on", "they run", "none needed"),
)


def option(
    rank: int,
    kind: OptionType,
    level: RiskLevel,
    points: int,
    seconds: float,
    diff: str = DIFF,
    *,
    targets: tuple[str, ...] = (BAD,),
    files: tuple[str, ...] = ("calc.py",),
    loses: str = "",
    lost_commits: tuple[str, ...] = (),
    passed: bool | None = True,
    conflicts: tuple[str, ...] = (),
) -> OptionView:
    """Return one rehearsed option of the incident."""
    identifier, plan_hash = f"opt-12.{rank}", f"7c1f{rank}" + "e" * 59
    checks = (CheckOutcome("tests", passed, 1, 4.1), CheckOutcome("types", True, 1, 1.2))
    found = RollbackOption(
        id=identifier,
        incident="inc-12",
        rank=rank,
        type=kind,
        target_commits=targets,
        affected_files=files,
        estimated_recovery_time=seconds,
        risk_level=level,
        risk_points=points,
        risk_factors=(
            RiskFactor("size", "2 lines", 0, "few lines change"),
            RiskFactor("agents", "1", 1, "one agent restarts"),
            RiskFactor("age", "5 min", max(points - 1, 0), "later commits touch the same files"),
        ),
        side_effects=("executor restarts and begins its task again",),
        required_validation=("tests", "types"),
        plan_hash=plan_hash,
        rehearsal=Rehearsal(
            not conflicts, None if conflicts else "e" * 40, conflicts, len(lost_commits), lost_commits, checks
        ),
    )
    plan = RecoveryPlan(
        option=identifier,
        incident="inc-12",
        type=kind,
        agent="executor",
        branch="main",
        head=HEAD,
        tree="e" * 40,
        targets=targets,
        message='Take back "tidy add"',
        steps=_STEPS,
        plan_hash=plan_hash,
        diff=diff,
        loses=loses,
    )
    return OptionView(found, plan)


def options() -> tuple[OptionView, ...]:
    """Return one option of each risk, best first."""
    return (
        option(1, OptionType.FILE_SELECTIVE, RiskLevel.LOW, 2, 4.2),
        option(2, OptionType.SINGLE_COMMIT, RiskLevel.MEDIUM, 4, 4.4, WIDE_DIFF),
        option(3, OptionType.FULL_AGENT_RESET, RiskLevel.HIGH, 7, 6.0, WIDE_DIFF, targets=(BAD, GOOD, HEAD)),
        option(
            4,
            OptionType.BRANCH_RESET,
            RiskLevel.CRITICAL,
            9,
            3.1,
            WIDE_DIFF,
            targets=(BAD, HEAD),
            loses="lose 2 commits",
            lost_commits=(BAD, HEAD),
        ),
    )


def rollback(state: RollbackState, done: int) -> RollbackView:
    """Return a rollback of the first option with its first ``done`` steps done and the next being done."""
    started = ago(4.2)
    steps = []
    for number, planned in enumerate(_STEPS, 1):
        at = started + timedelta(seconds=0.4 * number)
        if number <= done:
            steps.append(
                Step(
                    "rb-1",
                    number,
                    planned.phase,
                    planned.name,
                    planned.subject,
                    StepState.DONE,
                    at,
                    at + timedelta(seconds=0.3),
                )
            )
        elif number == done + 1:
            steps.append(Step("rb-1", number, planned.phase, planned.name, planned.subject, StepState.DOING, at))
    ended = None if state is RollbackState.RUNNING else NOW
    record = Rollback(
        id="rb-1",
        incident="inc-12",
        option="opt-12.1",
        plan_hash="7c1f1" + "e" * 59,
        kind="rollback",
        state=state,
        approved_by="you@host",
        started=started,
        head_before=HEAD,
        head_after=NEW if done >= 5 else "",
        ended=ended,
        snapshot="snap-20261120T140227Z",
        standby_s=8.5 if ended else 0.0,
    )
    return RollbackView(record, tuple(steps))


def decided() -> Decision:
    return Decision(
        1, ago(5), "inc-12", "opt-12.1", "7c1f1" + "e" * 59, DecisionVerdict.APPROVE, "you@host", taken=True
    )
