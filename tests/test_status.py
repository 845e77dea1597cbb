"""How all is, in figures that are true now, with what to do about it in words that name the command."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rollcage.core.config import Level
from rollcage.core.model import EVERYBODY, Health, Hold, Incident, IncidentState, Severity, SystemHealthReport
from rollcage.core.status import health_report, overall_health, worst_by_agent
from tests.loop import Shop
from tests.room import Room


def report(shop: Shop) -> SystemHealthReport:
    return health_report(shop.context.view, shop.services.clock.now())


def put(shop: Shop, state: IncidentState, **about: object) -> Incident:
    incident = replace(shop.incident(shop.finding(agent="executor")), state=state, **about)  # type: ignore[arg-type]
    shop.services.store.save_incident(incident)
    return incident


def test_a_quiet_shop_is_healthy(shop: Shop) -> None:
    found = report(shop)
    assert (found.overall_status, found.recommendations) == (Health.HEALTHY, ())
    assert [status.name for status in found.agent_statuses] == ["executor", "planner"]
    assert found.performance_metrics == {}


def test_the_worst_counts(shop: Shop) -> None:
    warning = shop.incident(shop.finding("load", agent="planner", severity=Severity.WARNING))
    assert report(shop).overall_status is Health.WARNING
    critical = shop.incident(shop.finding(agent="executor"))
    found = report(shop)
    assert found.overall_status is Health.CRITICAL
    assert {status.name: status.health for status in found.agent_statuses} == {
        "executor": Health.CRITICAL,
        "planner": Health.WARNING,
    }
    assert overall_health([warning]) is Health.WARNING
    assert worst_by_agent([critical, warning])["executor"] is Health.CRITICAL


def test_figures_are_by_agent_and_kind_and_only_of_what_is_there(shop: Shop) -> None:
    shop.signal("metric", "batch_processing_time", value=2_700.0, unit="s")
    shop.signal("metric", "error_rate", value=0.002)
    shop.signal("metric", "memory_usage", value=9e9)  # of a process that is gone
    shop.signal("data", "data_consistency", agent=EVERYBODY, value=3.0)
    found = report(shop)
    assert found.performance_metrics == {"executor.batch_processing_time": 2_700.0}
    assert found.quality_metrics == {"executor.error_rate": 0.002, "data_consistency": 3.0}


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (IncidentState.OPEN, "inc-1 of executor (tests fail) is open; where no engine is at it, start one"),
        (IncidentState.ESCALATED, "needs you: nobody knows"),
        (IncidentState.UNDONE, "needs you, its rollback failed: nobody knows"),
        (IncidentState.FAILED, "needs you, its rollback failed: nobody knows"),
        (IncidentState.REJECTED, "was rejected, but its check still fails: mend it by hand"),
        (IncidentState.ROLLING_BACK, "is being rolled back"),
    ],
)
def test_what_to_do_depends_on_how_far_it_is(shop: Shop, state: IncidentState, words: str) -> None:
    put(shop, state, note="nobody knows")
    (recommendation,) = report(shop).recommendations
    assert words in recommendation
    assert "rollcage" in recommendation


def test_what_waits_for_an_approval_says_which_commands(shop: Shop) -> None:
    shop.mark_good()
    shop.break_it()
    shop.incident()
    Room(shop, Level.PROPOSE).responder.handle("inc-1")
    first, *rest = report(shop).recommendations
    assert "rollcage options inc-1, then rollcage approve or reject one" in first
    assert rest == ["executor is paused (incident inc-1: tests fail): rollcage resume executor lets it work on"]


def test_what_is_over_needs_nothing(shop: Shop) -> None:
    for state in (IncidentState.RECOVERED, IncidentState.CLEARED):
        put(shop, state)
    assert report(shop).overall_status is Health.HEALTHY
    assert report(shop).recommendations == ()


def test_an_agent_that_is_held_is_named_with_the_way_to_let_it_go(shop: Shop) -> None:
    shop.services.store.set_hold("planner", Hold.STOPPED, "by ann@desk")
    assert report(shop).recommendations == (
        "planner is stopped (by ann@desk): rollcage resume planner lets it work on",
    )
