"""The worst counts, and nothing is called healthy while trouble is left."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from rollcage.core.config import Level
from rollcage.core.errors import ExitCode
from rollcage.core.model import Finding, Incident, IncidentState, Severity
from rollcage.core.outcome import EXIT_CODES, result_of

AT = datetime(2026, 11, 20, 14, 0, tzinfo=UTC)
FOUND = Finding(AT, "check_failed", "", Severity.CRITICAL, "check tests fails", "check:tests", AT)
INCIDENT = Incident("inc-1", "", "check:tests", Severity.CRITICAL, "tests fail", IncidentState.OPEN, AT, AT, (FOUND,))


def incident(state: IncidentState, severity: Severity = Severity.CRITICAL) -> Incident:
    return replace(INCIDENT, state=state, severity=severity)


def test_nothing_is_healthy() -> None:
    assert result_of([], [], Level.AUTO) == "healthy"


@pytest.mark.parametrize(
    ("state", "result", "code"),
    [
        (IncidentState.FAILED, "failed", 6),
        (IncidentState.UNDONE, "undone", 5),
        (IncidentState.ESCALATED, "escalated", 4),
        (IncidentState.REJECTED, "escalated", 4),
        (IncidentState.WAITING, "waiting", 3),
        (IncidentState.RECOVERED, "recovered", 0),
        (IncidentState.CLEARED, "healthy", 0),
    ],
)
def test_each_state_has_its_result_and_exit_code(state: IncidentState, result: str, code: int) -> None:
    assert result_of([incident(state)], [], Level.AUTO) == result
    assert EXIT_CODES[result] == ExitCode(code)


def test_the_worst_of_several_counts() -> None:
    order = [IncidentState.FAILED, IncidentState.UNDONE, IncidentState.ESCALATED, IncidentState.WAITING]
    results = []
    while order:
        results.append(result_of([incident(state) for state in reversed(order)], [], Level.AUTO))
        order.pop(0)
    assert results == ["failed", "undone", "escalated", "waiting"]
    assert (
        result_of([incident(IncidentState.RECOVERED), incident(IncidentState.CLEARED)], [], Level.AUTO) == "recovered"
    )


@pytest.mark.parametrize("state", [IncidentState.ESCALATED, IncidentState.REJECTED, IncidentState.UNDONE])
def test_what_an_earlier_run_left_to_a_human_is_still_with_the_human(state: IncidentState) -> None:
    assert result_of([], [incident(state)], Level.AUTO) == "escalated"


def test_what_waited_before_waits_still() -> None:
    assert result_of([], [incident(IncidentState.WAITING)], Level.AUTO) == "waiting"


def test_at_level_watch_a_human_is_told_of_everything() -> None:
    assert result_of([incident(IncidentState.OPEN)], [], Level.WATCH) == "escalated"
    assert result_of([incident(IncidentState.OPEN)], [], Level.AUTO) == "waiting"


def test_a_warning_is_not_followed_but_not_called_healthy() -> None:
    warning = incident(IncidentState.OPEN, Severity.WARNING)
    assert result_of([warning], [], Level.AUTO) == "waiting"
    assert result_of([], [warning], Level.AUTO) == "waiting"
    assert result_of([warning, incident(IncidentState.RECOVERED)], [], Level.AUTO) == "recovered"
    assert result_of([replace(warning, state=IncidentState.CLEARED)], [], Level.AUTO) == "healthy"
