"""A failing check is an emergency; a flaky one is not; a commit of doubtful origin is worth a warning."""

from __future__ import annotations

import pytest

from rollcage.core.config import Settings
from rollcage.core.detect.detectors import build
from rollcage.core.model import EVERYBODY, Finding, Severity, Signal, SignalKind

from .signals import at, feed, short, signal


def check(seconds: float, result: str, *, suspect: str = "", failing: tuple[str, ...] = ()) -> Signal:
    attrs = {"check": True, "sha": "a41be07", "failing": list(failing), "suspect_agent": suspect}
    return signal(seconds, SignalKind.TEST, "tests", agent=EVERYBODY, text=result, attrs=attrs)


def run(*signals: Signal) -> list[Finding]:
    return feed(build(Settings()), signals)


def test_a_failed_check_is_critical_and_names_some_failing_tests_and_the_suspect() -> None:
    (found,) = run(check(0, "failed", suspect="executor", failing=("test_a", "test_b", "test_c", "test_d", "test_e")))
    assert found.severity is Severity.CRITICAL
    assert (found.rule, found.fingerprint, found.agent) == ("check_failed", "check:tests", "executor")
    assert found.summary == "check tests fails: test_a, test_b, test_c and 2 more"


def test_without_a_suspect_it_is_everybodys() -> None:
    (found,) = run(check(0, "failed"))
    assert (found.agent, found.summary) == (EVERYBODY, "check tests fails")


def test_once_its_incident_is_settled_a_check_that_still_fails_is_reported_anew() -> None:
    detectors = build(Settings())
    first = detectors.feed(check(0, "failed"))
    assert detectors.feed(check(1, "failed")) == []
    detectors.forget(first)
    assert short(detectors.feed(check(2, "failed"))) == [("check:tests", "critical")]


@pytest.mark.parametrize("result", ["flaky", "unknown", "passed"])
def test_nothing_else_is_a_finding(result: str) -> None:
    assert run(check(0, result)) == []


def test_it_ends_when_the_check_passes_and_only_then() -> None:
    found = run(
        check(0, "failed", suspect="executor"),
        check(1, "failed"),
        check(2, "flaky"),
        check(3, "unknown"),
        check(4, "passed"),
        check(5, "passed"),
    )
    assert short(found) == [("check:tests", "critical"), ("check:tests", "ended")]
    assert found[1].agent == "executor"


def test_a_test_that_an_agent_reports_is_no_check() -> None:
    assert run(signal(0, SignalKind.TEST, "tests", text="failed")) == []


def test_foreign_test_names_are_cleaned() -> None:
    (found,) = run(check(0, "failed", failing=("test\x1b[31m_red",)))
    assert "\x1b" not in found.summary


def test_every_commit_whose_trailer_contradicts_its_origin_is_reported_and_forgotten_after_an_hour() -> None:
    text = "trailer says planner, made in the worktree of executor"
    commits = [signal(60 * i, SignalKind.COMMIT, f"{i}" * 40, attrs={"mismatch": text}) for i in (1, 2)]
    detectors = build(Settings())
    found = feed(detectors, [signal(0, SignalKind.COMMIT, "0" * 40, attrs={"parents": []}), *commits])
    assert short(found) == [("commit_attribution", "warning")] * 2
    assert found[0].summary == f"commit 111111111111: {text}"
    assert detectors.tick(at(3_600)) == []
    assert short(detectors.tick(at(3_800))) == [("commit_attribution", "ended")]
