"""Without a check evidence ranks: a commit, a restart or neither, in words, and never as a certainty."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rollcage.core.diagnose.causes import MOST, Judgement, error_files, root_cause, step_at, verdict_without_check
from rollcage.core.model import Commit, Finding, Incident, IncidentState, Severity, Suspect, Verdict
from tests.loop import Shop

ONSET = datetime(2026, 11, 20, 14, 0, 0, tzinfo=UTC)
LONG_AGO = 60 * 30


def incident(rule: str, agent: str = "executor", *, summary: str = "memory climbs") -> Incident:
    finding = Finding(ONSET, rule, agent, Severity.CRITICAL, summary, rule, ONSET)
    return Incident("inc-1", agent, rule, Severity.CRITICAL, "", IncidentState.OPEN, ONSET, ONSET, (finding,))


def suspect(minutes: float, agent: str = "executor", probability: float = 0.3, sha: str = "3f2a") -> Suspect:
    at = ONSET - timedelta(minutes=minutes)
    return Suspect(sha, agent, probability, (f"{minutes:g} min before the trouble began",), "tidy", at)


def judged(rule: str, *suspects: Suspect, agent: str = "executor", step: str = "") -> Judgement:
    found = verdict_without_check(incident(rule, agent), suspects, ONSET, step=step)
    assert found.verdict is not Verdict.ACT
    assert 0 <= found.confidence <= MOST
    assert found.root_cause.startswith("memory climbs")
    assert "no check fails" in found.root_cause
    return found


@pytest.mark.parametrize("rule", ["resource_leak", "memory_usage", "infinite_loop", "communication_failure"])
def test_a_state_of_the_process_without_a_commit_near_it_is_for_a_restart(rule: str) -> None:
    found = judged(rule, suspect(LONG_AGO), suspect(5, agent="planner"))
    assert found.verdict is Verdict.ASK
    assert found.root_cause.endswith("a restart alone may do: no commit of executor came in the half hour before")


@pytest.mark.parametrize("rule", ["error_storm", "resource_leak", "infinite_loop", "batch_processing_time", "my_own"])
def test_trouble_right_after_a_commit_of_that_agent_is_that_commits(rule: str) -> None:
    found = judged(rule, suspect(2), suspect(LONG_AGO, sha="77aa"))
    assert found.verdict is Verdict.ASK
    assert found.root_cause.endswith('it began 2 min after 3f2a "tidy" by executor, which is the likeliest cause')
    assert found.confidence > 0.3


def test_who_commits_every_few_minutes_is_near_anything() -> None:
    often = [suspect(minutes, probability=0.01) for minutes in range(1, 600, 5)]
    assert "commits came often anyway" in judged("infinite_loop", *often).root_cause


def test_bad_data_without_a_commit_near_may_come_from_outside() -> None:
    found = judged("matching_accuracy", suspect(LONG_AGO))
    assert found.verdict is Verdict.CANNOT_TELL
    assert "the data that came in" in found.reasons[0]


def test_nobody_in_particular_in_trouble_cannot_be_told_but_the_likeliest_is_named() -> None:
    found = judged("data_consistency", suspect(2, agent="planner"), agent="")
    assert found.verdict is Verdict.CANNOT_TELL
    assert found.root_cause.endswith('likeliest 3f2a "tidy" by planner: 2 min before the trouble began')
    assert judged("data_consistency", agent="").confidence == 0


def test_the_step_is_named_where_the_finding_does_not() -> None:
    assert "memory climbs in step import;" in judged("resource_leak", step="import").root_cause


def test_the_step_at_a_time_and_the_files_in_its_output(shop: Shop) -> None:
    services = shop.services
    shop.signal("step", "plan")
    between = services.clock.now()
    shop.signal("step", "import")
    shop.signal("error", "output", text='File "/x/agents/calc.py", line 3 in f: ValueError', attrs={"template": "t"})
    assert step_at(services, "executor", between) == "plan"
    assert step_at(services, "executor", None) == "import"
    assert step_at(services, "", None) == step_at(services, "planner", None) == ""
    found = shop.incident(shop.finding("error_storm", agent="executor"))
    assert "/x/agents/calc.py" in error_files(services, found, between)
    assert error_files(services, found, services.clock.now() + timedelta(hours=1)) == ()


def test_the_root_cause_of_failing_checks_names_who_did_what() -> None:
    one = Commit("3f2a9c81d0be7", ("p",), "Ann", ONSET, "tidy add", "executor")
    merge = Commit("77aa12345678f", ("p", "q"), "Ann", ONSET, "take in")
    assert root_cause([one], ["tests"]) == '3f2a9c81d0be "tidy add" by executor makes tests fail'
    assert root_cause([merge, one], ["tests", "lint"]) == (
        'merge 77aa12345678 "take in"; 3f2a9c81d0be "tidy add" by executor together make tests and lint fail'
    )
