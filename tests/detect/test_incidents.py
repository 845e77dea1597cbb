"""Findings that belong together are one incident, and the same problem is known again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rollcage.core.detect.incidents import assign, extend, open_incident, same_problem, still_open
from rollcage.core.model import EVERYBODY, Finding, Incident, IncidentState, Severity

from .signals import at


def finding(
    seconds: float,
    fingerprint: str,
    *,
    agent: str = "executor",
    severity: Severity = Severity.WARNING,
    rule: str = "",
    ended: bool = False,
) -> Finding:
    rule = rule or ("check_failed" if fingerprint.startswith("check:") else fingerprint)
    return Finding(at(seconds), rule, agent, severity, "summary", fingerprint, at(seconds - 5), ended=ended)


def critical(seconds: float, fingerprint: str, *, agent: str = "executor") -> Finding:
    return finding(seconds, fingerprint, agent=agent, severity=Severity.CRITICAL)


def incident(*findings: Finding, name: str = "inc-1", state: IncidentState = IncidentState.OPEN) -> Incident:
    made = open_incident(name, findings[0], findings[0].at)
    for each in findings[1:]:
        made = extend(made, each)
    return replace(made, state=state)


def test_an_incident_says_what_is_wrong_gravest_first() -> None:
    made = incident(finding(5, "memory_usage", rule="resource_leak"), critical(0, "check:tests"))
    assert made.title == "tests fail, memory climbs"
    assert made.severity is Severity.CRITICAL
    assert made.since == at(-5)
    assert made.fingerprint == "check:tests"
    assert made.opened == at(5)


def test_the_same_trouble_joins_in_whatever_state_the_incident_is_open() -> None:
    waiting = incident(finding(0, "memory_usage"), state=IncidentState.WAITING)
    assert assign(critical(9_000, "memory_usage"), [waiting], at(9_000)) is waiting
    ended = replace(waiting, state=IncidentState.RECOVERED)
    assert assign(critical(9_000, "memory_usage"), [ended], at(9_000)) is None


def test_other_trouble_of_the_same_agent_joins_within_ten_minutes_while_nothing_was_decided() -> None:
    opened = incident(finding(0, "memory_usage"))
    late = finding(600, "error_rate")
    assert assign(late, [opened], at(600)) is opened
    assert assign(late, [opened], at(601)) is None
    assert assign(late, [replace(opened, state=IncidentState.WAITING)], at(600)) is None
    assert assign(finding(1, "error_rate", agent="planner"), [opened], at(1)) is None


def test_the_newest_incident_is_joined_first() -> None:
    old, new = incident(finding(0, "a"), name="inc-1"), incident(finding(60, "b"), name="inc-2")
    assert assign(finding(61, "c"), [old, new], at(61)) is new


def test_a_check_that_is_everybodys_meets_the_same_check_of_an_agent() -> None:
    known = incident(critical(0, "check:tests"))
    assert assign(critical(9_000, "check:tests", agent=EVERYBODY), [known], at(9_000)) is known
    nobodys = incident(critical(0, "check:tests", agent=EVERYBODY))
    named = critical(1, "check:tests")
    assert assign(named, [nobodys], at(1)) is nobodys
    assert extend(nobodys, named).agent == "executor"


def test_trouble_of_one_agent_is_not_laid_at_everybodys_door() -> None:
    nobodys = incident(critical(0, "check:tests", agent=EVERYBODY))
    assert assign(finding(1, "memory_usage"), [nobodys], at(1)) is None


def test_an_end_finds_its_incident_and_no_other() -> None:
    opened = incident(finding(0, "memory_usage"))
    assert assign(finding(5, "memory_usage", ended=True), [opened], at(5)) is opened
    assert assign(finding(5, "error_rate", ended=True), [opened], at(5)) is None


def test_what_is_still_going_on_is_known() -> None:
    begun, other = finding(0, "memory_usage"), finding(1, "error_rate")
    over = finding(2, "memory_usage", ended=True)
    made = incident(begun, other, over)
    assert still_open(made) == (other,)
    assert still_open(extend(made, finding(3, "error_rate", ended=True))) == ()
    assert made.severity is Severity.WARNING


def test_the_same_finding_twice_is_once() -> None:
    made = incident(finding(0, "memory_usage"))
    assert extend(made, finding(0, "memory_usage")) is made


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        # The order and a passing warning beside the failing check do not matter.
        ((finding(0, "memory_usage"), critical(1, "check:tests")), (critical(9_000, "check:tests"),), True),
        ((critical(0, "check:tests"), critical(1, "data")), (critical(9_000, "data"),), True),
        ((critical(0, "check:tests"),), (critical(9_000, "check:lint"),), False),
        ((critical(0, "check:tests"),), (critical(9_000, "check:tests", agent="planner"),), False),
        ((critical(0, "check:tests"),), (critical(9_000, "check:tests", agent=EVERYBODY),), True),
        ((finding(0, "memory_usage"), critical(1, "check:tests")), (finding(9_000, "memory_usage"),), False),
    ],
)
def test_the_same_problem_is_known_again(first: tuple[Finding, ...], second: tuple[Finding, ...], same: bool) -> None:
    one, two = incident(*first), incident(*second, name="inc-2")
    assert same_problem(one, two) is same
    assert same_problem(two, one) is same
