"""From the inbox to the board: each finding is told once, lost never, and joins the incident that it belongs to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rollcage.core.detect.incidents import end_of, is_unresolved, still_open
from rollcage.core.detect.intake import BATCH, Intake
from rollcage.core.errors import StoreError
from rollcage.core.model import Incident, IncidentState, Severity, Signal, SignalKind
from tests.loop import Shop

RULES = {"load": {"normal": 1, "warning": 2, "critical": 9}}


@pytest.fixture
def watched(shop: Shop) -> Shop:
    shop.configure(rules=RULES)
    return shop


def check(shop: Shop, result: str, name: str = "tests") -> None:
    shop.signal("test", name, agent="", text=result, attrs={"check": True})


def load(shop: Shop, value: float) -> None:
    shop.signal("metric", "load", value=value)


def incidents(shop: Shop) -> list[Incident]:
    return shop.services.store.incidents()


def events(shop: Shop, kind: str) -> list[Any]:
    return [event.body for event in shop.services.store.recent_events(1000) if event.event == kind]


def test_a_failing_check_opens_one_incident_and_says_so_once(watched: Shop) -> None:
    intake = Intake(watched.services, ())
    for _ in range(3):
        check(watched, "failed")
        intake.take_in()
    (incident,) = incidents(watched)
    assert (incident.state, incident.severity, incident.fingerprint) == (
        IncidentState.OPEN,
        Severity.CRITICAL,
        "check:tests",
    )
    assert [body["id"] for body in events(watched, "incident")] == [incident.id]
    assert [body["text"] for body in events(watched, "alert")] == ["tests fail"]
    assert len(events(watched, "finding")) == 1
    assert "signals" not in events(watched, "finding")[0]


def test_what_changed_is_named(watched: Shop) -> None:
    intake = Intake(watched.services, ())
    assert intake.take_in() == []
    check(watched, "failed")
    assert intake.take_in() == ["inc-1"]
    assert intake.take_in() == []


def test_a_warning_that_is_over_clears_its_incident(watched: Shop) -> None:
    intake = Intake(watched.services, ())
    load(watched, 3)
    intake.take_in()
    load(watched, 0)
    intake.take_in()
    (incident,) = incidents(watched)
    assert incident.state is IncidentState.CLEARED
    assert incident.closed is not None


def test_a_warning_that_gets_worse_makes_its_incident_critical_and_alerts_again(watched: Shop) -> None:
    intake = Intake(watched.services, ())
    load(watched, 3)
    intake.take_in()
    load(watched, 10)
    intake.take_in()
    (incident,) = incidents(watched)
    assert (incident.severity, incident.state) == (Severity.CRITICAL, IncidentState.OPEN)
    assert [body["severity"] for body in events(watched, "alert")] == ["warning", "critical"]


def test_a_critical_one_is_left_to_whoever_works_at_it_also_when_it_is_over(watched: Shop) -> None:
    intake = Intake(watched.services, ())
    check(watched, "failed")
    intake.take_in()
    check(watched, "passed")
    intake.take_in()
    (incident,) = incidents(watched)
    assert incident.state is IncidentState.OPEN
    assert still_open(incident) == ()


def test_what_the_state_was_written_to_meanwhile_stays(watched: Shop) -> None:
    """The responder writes the state of an incident, the intake its findings: neither loses the other's."""
    intake = Intake(watched.services, ())
    check(watched, "failed")
    intake.take_in()
    store = watched.services.store
    store.save_incident(replace(incidents(watched)[0], state=IncidentState.WAITING, note="look at it"))
    check(watched, "passed")
    intake.take_in()
    (incident,) = incidents(watched)
    assert (incident.state, incident.note, len(incident.findings)) == (IncidentState.WAITING, "look at it", 2)


def test_a_restarted_engine_neither_repeats_nor_forgets(watched: Shop) -> None:
    first = Intake(watched.services, ())
    check(watched, "failed")
    load(watched, 3)
    first.take_in()
    told = len(events(watched, "finding"))
    again = Intake(watched.services, ())
    check(watched, "failed")
    load(watched, 3)
    again.take_in()
    assert len(events(watched, "finding")) == told
    check(watched, "passed")
    load(watched, 0)
    again.take_in()
    assert len(events(watched, "finding")) == told + 2


def test_what_came_in_while_no_engine_ran_is_fed_by_the_next(watched: Shop) -> None:
    check(watched, "failed")
    assert Intake(watched.services, ()).take_in() == ["inc-1"]


def test_more_than_one_batch_is_taken_in_at_once(watched: Shop) -> None:
    now = watched.services.clock.now()
    watched.services.signals.put([Signal(now, "executor", SignalKind.LOG, "output", text="x")] * (BATCH + 7))
    check(watched, "failed")
    assert Intake(watched.services, ()).take_in() == ["inc-1"]


def test_what_cannot_be_written_is_written_later(watched: Shop) -> None:
    """Detectors tell once: a finding that a locked database kept from being written must not be lost."""
    intake = Intake(watched.services, ())
    check(watched, "failed")
    watched.services.store.close()
    with pytest.raises(StoreError):
        intake.take_in()
    reopened = watched.open().services()
    intake._services = reopened
    assert intake.take_in() == ["inc-1"]
    assert reopened.store.incident("inc-1") is not None


def test_a_crash_before_the_write_loses_nothing(watched: Shop) -> None:
    intake = Intake(watched.services, ())
    check(watched, "failed")
    watched.services.store.close()
    with pytest.raises(StoreError):
        intake.take_in()
    assert Intake(watched.open().services(), ()).take_in() == ["inc-1"]


def test_a_settled_incident_re_arms_the_detectors(watched: Shop) -> None:
    intake = Intake(watched.services, ())
    check(watched, "failed")
    intake.take_in()
    recovered = replace(incidents(watched)[0], state=IncidentState.RECOVERED)
    watched.services.store.save_incident(recovered)
    intake.settle(recovered)
    check(watched, "failed")
    assert intake.take_in() == ["inc-2"]


@pytest.mark.parametrize("state", [IncidentState.ESCALATED, IncidentState.REJECTED, IncidentState.UNDONE])
def test_trouble_that_was_left_as_it_is_opens_no_new_incident_and_its_end_is_noted(
    watched: Shop, state: IncidentState
) -> None:
    intake = Intake(watched.services, ())
    check(watched, "failed")
    intake.take_in()
    watched.services.store.save_incident(replace(incidents(watched)[0], state=state))
    again = Intake(watched.services, ())
    check(watched, "failed")
    assert again.take_in() == []
    assert is_unresolved(incidents(watched)[0])
    check(watched, "passed")
    assert again.take_in() == ["inc-1"]
    (incident,) = incidents(watched)
    assert incident.state is state
    assert not is_unresolved(incident)
    check(watched, "failed")
    assert again.take_in() == ["inc-2"], "now it is new"


def test_who_rejects_knows_of_the_trouble_but_for_a_failing_check(shop: Shop) -> None:
    rejected = replace(shop.incident(shop.finding("memory_usage", agent="executor")), state=IncidentState.REJECTED)
    assert not is_unresolved(rejected)
    assert is_unresolved(replace(rejected, state=IncidentState.ESCALATED))
    assert is_unresolved(replace(shop.incident(), state=IncidentState.REJECTED))
    assert not is_unresolved(replace(shop.incident(), state=IncidentState.RECOVERED))


def test_an_end_belongs_to_the_trouble_that_it_is_the_end_of(shop: Shop) -> None:
    left = replace(shop.incident(shop.finding("load", agent="executor")), state=IncidentState.ESCALATED)
    assert end_of(shop.finding("load", agent="executor", ended=True), [left]) is left
    assert end_of(shop.finding("load", agent="planner", ended=True), [left]) is None
    assert end_of(shop.finding("other", agent="executor", ended=True), [left]) is None
    assert end_of(shop.finding("load", agent="executor", ended=True), [shop.incident()]) is None
