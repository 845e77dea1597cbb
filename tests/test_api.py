"""The Python API does what the specification's functions promise, on a repository named from anywhere."""

from __future__ import annotations

import inspect
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rollcage import api
from rollcage.core.errors import LeaseError, RefusedError, RollcageError, UsageError
from rollcage.core.model import DecisionVerdict, Health, IncidentState, RiskLevel, Severity
from tests.conftest import git
from tests.loop import BAD, GOOD, Shop, eventually

OF_THE_SPECIFICATION = {
    "monitoring_config": (),
    "start_continuous_monitoring": (),
    "check_system_health": (),
    "generate_alert": ("severity", "details"),
    "notify_human_operator": ("alert",),
    "diagnose_problem": ("symptoms",),
    "identify_root_cause": ("problem",),
    "generate_rollback_options": ("problem",),
    "assess_rollback_risk": ("option",),
    "create_recovery_plan": ("problem",),
    "validate_recovery_plan": ("plan",),
    "should_auto_execute": ("option",),
    "execute_rollback": ("option",),
    "execute_phase_rollback": ("phases",),
    "verify_rollback_success": ("result",),
    "perform_integrity_check": (),
    "detect_potential_deadlock": ("requests",),
    "prevent_deadlock_formation": ("plan",),
    "break_existing_deadlock": ("agents",),
    "ensure_execution_isolation": ("agent", "competition"),
    "validate_operation_scope": ("operation", "scope"),
    "enforce_competition_isolation": ("operation",),
    "set_blockers": ("number", "add", "remove"),
    "create_issue_atomically": ("title", "body", "labels", "assignees"),
    "update_issue_with_optimistic_lock": ("number", "updates", "expected"),
    "batch_operation_atomically": ("operations",),
}


@pytest.fixture
def used(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Yield the shop in use by the API, with a program that stands somewhere else."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    api.use(shop.path, tmp_path / "shop.yml")
    yield shop
    api.close()


@pytest.fixture
def broken(used: Shop) -> Shop:
    used.mark_good()
    used.break_it()
    used.incident()
    return used


def test_the_names_and_arguments_are_those_of_the_specification() -> None:
    for name, arguments in OF_THE_SPECIFICATION.items():
        assert name in api.__all__
        given = inspect.signature(getattr(api, name)).parameters.values()
        assert tuple(each.name for each in given if each.kind is not each.KEYWORD_ONLY) == arguments
        assert getattr(api, name).__doc__
    assert set(api.__all__) <= set(dir(api))


def test_the_bands_that_are_watched(used: Shop) -> None:
    used.configure(rules={"queue": {"normal": 10, "warning": 30}, "error_rate": {"warning": "2%"}})
    api.use(used.path, used.path.parent / "shop.yml")
    config = api.monitoring_config()
    assert set(config.performance_thresholds) == {"batch_processing_time", "error_rate"}
    assert set(config.quality_thresholds) == {"matching_accuracy", "data_consistency"}
    assert set(config.resource_thresholds) == {"memory_usage", "queue"}
    assert config.performance_thresholds["error_rate"].warning == 0.02


def test_health(broken: Shop) -> None:
    report = api.check_system_health()
    assert report.overall_status is Health.CRITICAL
    assert report.recommendations


def test_an_alert_is_shown_and_kept(used: Shop) -> None:
    alert = api.generate_alert("critical", "the\x1b[31m disk\nis full")
    assert (alert.severity, alert.details) == (Severity.CRITICAL, "the disk is full")
    api.notify_human_operator(alert)
    store = used.services.store
    assert store.recent_events(1)[0].body == {"severity": "critical", "text": "the disk is full"}
    assert store.audit_records()[-1].why == "the disk is full"
    with pytest.raises(ValueError, match="dreadful"):
        api.generate_alert("dreadful", "x")


def test_from_a_problem_to_its_verified_end(broken: Shop) -> None:
    """Nothing has looked at the incident yet: each function finds out what it needs."""
    head = broken.head()
    assert api.identify_root_cause("inc-1").culprits[0].agent == "executor"
    options = api.generate_rollback_options("inc-1")
    assert [option.rank for option in options] == list(range(1, len(options) + 1))
    best = options[0]
    assert api.generate_rollback_options("inc-1")[0] == best, "what is known is not made again"
    risk = api.assess_rollback_risk(best)
    assert (risk.points, risk.level) == (best.risk_points, RiskLevel.LOW)
    plan = api.create_recovery_plan("inc-1")
    assert plan.plan_hash == best.plan_hash
    assert api.validate_recovery_plan(plan).valid
    assert not api.should_auto_execute(best), "the level of the settings is propose"
    assert broken.head() == head
    result = api.execute_phase_rollback(plan)
    assert result.success
    assert result.rollback is not None
    assert git(broken.path, "show", "main:calc.py") + "\n" == GOOD
    verified = api.verify_rollback_success(result)
    assert (verified.verified, verified.problems) == (True, ())
    assert api.perform_integrity_check().whole
    incident = broken.services.store.incident("inc-1")
    assert incident is not None
    assert incident.state is IncidentState.RECOVERED
    decided = [(each.verdict, each.taken) for each in broken.services.store.decisions()]
    assert decided == [(DecisionVerdict.APPROVE, True)], "as every other way does"


def test_whether_the_engine_would_do_it_alone(broken: Shop) -> None:
    broken.configure(level="auto")
    api.use(broken.path, broken.path.parent / "shop.yml")
    best, *others = api.generate_rollback_options("inc-1")
    assert api.should_auto_execute(best)
    assert not any(api.should_auto_execute(other) for other in others)


def test_a_plan_that_was_changed_by_hand_or_is_old_is_not_carried_out(broken: Shop) -> None:
    plan = api.create_recovery_plan("inc-1")
    with pytest.raises(UsageError, match="not valid"):
        api.execute_phase_rollback(replace(plan, targets=()))
    with pytest.raises(UsageError, match="no longer that of"):
        api.execute_phase_rollback(replace(plan, plan_hash="f" * 64))
    option = api.generate_rollback_options("inc-1")[0]
    with pytest.raises(RefusedError, match="look at it again"):
        api.execute_rollback(replace(option, plan_hash="f" * 64))
    assert broken.services.store.rollbacks() == []


def test_monitoring_goes_on_until_it_is_stopped(used: Shop) -> None:
    monitoring = api.start_continuous_monitoring()
    try:
        assert monitoring.running
        with pytest.raises(LeaseError, match="another engine leads"):
            api.start_continuous_monitoring()
        used.commit("executor", "tidy add", {"calc.py": BAD})
        store = used.services.store
        eventually(lambda: (i := store.incident("inc-1")) and i.state is IncidentState.WAITING, "options", seconds=60)
        assert api.execute_rollback(api.generate_rollback_options("inc-1")[0]).success, "by the engine that runs"
    finally:
        monitoring.stop()
    assert (monitoring.running, monitoring.failure) == (False, "")
    monitoring.stop()
    with api.start_continuous_monitoring() as again:
        assert again.running
    assert not again.running


def test_a_rollback_can_be_asked_for_from_any_thread(broken: Shop) -> None:
    best = api.generate_rollback_options("inc-1")[0]
    results: list[api.RollbackResult] = []
    thread = threading.Thread(target=lambda: results.append(api.execute_rollback(best)))
    thread.start()
    thread.join(60)
    assert [result.success for result in results] == [True]


def test_nobody_is_asked_to_trust_settings_also_on_a_terminal(shop: Shop) -> None:
    (shop.path / "rollcage.yml").write_text("version: 1\nlevel: auto\n")
    program = f"from rollcage import api; api.use({str(shop.path)!r}); api.monitoring_config()"
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", program], stdin=theirs, stdout=theirs, stderr=theirs, timeout=60, check=False
    )
    os.close(theirs)
    said = os.read(ours, 65_536).decode()
    os.close(ours)
    assert done.returncode == 1
    assert "UntrustedError" in said
    assert "[y/N]" not in said


def test_deadlocks_are_foreseen_kept_from_forming_and_broken(used: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, bob = api.LockRequest("ann", ("x", "y")), api.LockRequest("bob", ("y", "x"))
    assert api.detect_potential_deadlock([ann, bob]).affected_agents == ("ann", "bob")
    plan = api.prevent_deadlock_formation([api.PlannedAgent("bob", ("y", "x")), api.PlannedAgent("ann", ("x", "y"))])
    assert [step.locks for step in plan.safe_execution_plan] == [("x", "y")] * 2
    assert not api.break_existing_deadlock([]).deadlock_broken
    monkeypatch.setenv("ROLLCAGE_AGENT", "ann")
    with pytest.raises(RefusedError, match="agent ann may not break a deadlock"):
        api.break_existing_deadlock([])


def test_an_agent_gets_a_place_of_its_own(used: Shop) -> None:
    used.configure(agents={"executor": {"competition": "titanic"}}, competitions={"titanic": {}})
    api.use(used.path, used.path.parent / "shop.yml")
    isolation = api.ensure_execution_isolation("executor", "titanic")
    assert isolation.resource_namespace == "titanic_executor"
    assert (used.path / isolation.working_directory).is_dir()


def test_issues_are_created_updated_and_changed_in_batches(used: Shop) -> None:
    created = api.create_issue_atomically("fix it", "why", ["bug"])
    assert isinstance(created, api.CreateResult)
    assert created.created
    number, version = created.issue.number, created.issue.version
    blocker = api.create_issue_atomically("first this")
    assert isinstance(blocker, api.CreateResult)
    assert api.set_blockers(number, [blocker.issue.number]) == (blocker.issue.number,)
    assert api.set_blockers(number, remove=[blocker.issue.number]) == ()
    updated = api.update_issue_with_optimistic_lock(number, {"title": "fix it well"}, version)
    assert isinstance(updated, api.UpdateResult)
    with pytest.raises(RollcageError, match="title was changed by others"):
        api.update_issue_with_optimistic_lock(number, {"title": "fix it now"}, version)
    done = api.batch_operation_atomically(
        [
            api.Operation("a", "comment", {"number": number, "body": "done"}),
            {"id": "b", "op": "close", "args": {"number": number}, "after": ["a"]},
        ]
    )
    assert isinstance(done, api.BatchResult)
    assert done.executed_operations == ("a", "b")
    with pytest.raises(UsageError, match="other args than close takes"):
        api.batch_operation_atomically([{"id": "a", "op": "close", "args": {}}])


def test_unknown_problems_are_named(used: Shop) -> None:
    with pytest.raises(UsageError, match="there is no incident inc-9"):
        api.diagnose_problem("inc-9")
