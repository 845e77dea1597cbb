"""The others stand by as long as something needs them to, and no longer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from rollcage.core.execute.runner import carry_out, start_rollback, work_for
from rollcage.core.execute.standby import resume_standby, safe_note, standby_note, standby_seconds
from rollcage.core.model import Hold, Incident, IncidentState, RollbackState
from rollcage.core.services import Services
from tests.conftest import ManualClock
from tests.execute.scene import Scene, incident_of


@pytest.fixture
def services(begun: Scene, clock: ManualClock) -> Iterator[Services]:
    """Return services whose clock is moved by hand; ``planner`` stands by."""
    opened = begun.services()
    clock.moment = opened.clock.now()
    opened.store.clock = clock
    yield replace(opened, clock=clock)
    opened.store.close()


def stands_by(services: Services, agent: str = "planner") -> bool:
    return services.store.holds()[agent].hold is Hold.STANDBY


def end(services: Services, incident: Incident, state: IncidentState) -> None:
    services.store.save_incident(replace(incident, state=state))


def test_what_nothing_needs_any_more_is_let_go(services: Services) -> None:
    services.store.set_hold("planner", Hold.STANDBY)
    services.store.set_hold("executor", Hold.STOPPED)
    assert resume_standby(services) == ["planner"]
    assert services.store.holds()["executor"].hold is Hold.STOPPED
    assert resume_standby(services) == []


@pytest.mark.parametrize("state", [IncidentState.OPEN, IncidentState.WAITING, IncidentState.ROLLING_BACK])
def test_another_incident_that_was_made_safe_keeps_them(services: Services, state: IncidentState) -> None:
    services.store.set_hold("planner", Hold.STANDBY)
    other = replace(incident_of(services), state=state)
    services.store.save_incident(other)
    services.store.set_note(standby_note(other.id), "stop")
    assert resume_standby(services, but="inc-1") == []
    assert resume_standby(services, but=other.id) == ["planner"]


@pytest.mark.parametrize("state", [IncidentState.CLEARED, IncidentState.ESCALATED, IncidentState.REJECTED])
def test_when_that_has_ended_they_are_let_go(services: Services, state: IncidentState) -> None:
    services.store.set_hold("planner", Hold.STANDBY)
    other = incident_of(services)
    services.store.set_note(standby_note(other.id), "stop")
    assert resume_standby(services) == []
    end(services, other, state)
    assert resume_standby(services) == ["planner"]


def test_an_incident_that_was_only_notified_of_keeps_nobody(services: Services) -> None:
    services.store.set_hold("planner", Hold.STANDBY)
    services.store.set_note(safe_note(incident_of(services).id), "snap-1")
    assert resume_standby(services) == ["planner"]


def test_a_rollback_of_another_incident_does_not_let_them_go(services: Services) -> None:
    services.store.set_hold("planner", Hold.STANDBY)
    other = incident_of(services)
    services.store.set_note(standby_note(other.id), "stop")
    record = services.store.rollback("rb-1")
    assert record is not None
    assert carry_out(work_for(services, record, lambda run: [])).state is RollbackState.DONE
    assert stands_by(services)


def test_the_time_before_the_rollback_counts(services: Services, clock: ManualClock) -> None:
    services.store.set_hold("planner", Hold.STANDBY, "incident inc-1: made safe")
    clock.advance(90)
    assert standby_seconds(services) == 90
    record = services.store.rollback("rb-1")
    assert record is not None
    ended = carry_out(work_for(services, record, lambda run: []))
    assert 90 <= ended.standby_s < 91
    assert not stands_by(services)


def test_the_time_counts_as_well_where_it_was_undone(services: Services, clock: ManualClock, begun: Scene) -> None:
    services.store.set_hold("planner", Hold.STANDBY)
    clock.advance(90)
    begun.flag.touch()
    record = services.store.rollback("rb-1")
    assert record is not None
    ended = carry_out(work_for(services, record, lambda run: []))
    assert (ended.state, not stands_by(services)) == (RollbackState.UNDONE, True)
    assert 90 <= ended.standby_s < 91


def test_after_a_failure_they_wait_for_the_operator_but_later_ones_do_not(
    services: Services, clock: ManualClock
) -> None:
    services.store.set_hold("planner", Hold.STANDBY)
    record, incident = services.store.rollback("rb-1"), services.store.incident("inc-1")
    assert record is not None
    assert incident is not None
    clock.advance(1)
    services.store.save_rollback(replace(record, state=RollbackState.FAILED, ended=clock.now()))
    end(services, incident, IncidentState.FAILED)
    clock.advance(1)
    services.store.set_hold("monitor", Hold.STANDBY, "a later incident")
    assert resume_standby(services) == ["monitor"]
    assert stands_by(services)
    end(services, incident, IncidentState.REJECTED)
    assert resume_standby(services) == ["planner"]


def test_a_rollback_that_ended_well_since_lets_go_after_a_failure(services: Services, clock: ManualClock) -> None:
    services.store.set_hold("planner", Hold.STANDBY)
    record, incident = services.store.rollback("rb-1"), services.store.incident("inc-1")
    assert record is not None
    assert incident is not None
    services.store.save_rollback(replace(record, state=RollbackState.FAILED, ended=clock.now() + timedelta(seconds=1)))
    plan = work_for(services, record, lambda run: []).plan
    again = start_rollback(services, plan, approved_by="ann@here")
    assert resume_standby(services, but="inc-1") == ["planner"]
    assert again.id == "rb-2"
