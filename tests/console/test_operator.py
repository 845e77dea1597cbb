"""What an operator may decide is checked before it is written, and written once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rollcage.console.context import Context
from rollcage.console.operator import StoreOperator
from rollcage.core.errors import RefusedError, UsageError
from rollcage.core.model import DecisionVerdict, IncidentState, RiskLevel
from tests.console.filled_state import fill


@pytest.fixture
def context(repository: Path) -> Context:
    context = Context(repository)
    fill(context, repository)
    return context


@pytest.fixture
def operator(context: Context) -> StoreOperator:
    return StoreOperator(context.store, context.clock, lambda: context.leases, name="ann@desk")


def decisions(context: Context) -> list[tuple[str, DecisionVerdict, str]]:
    return [(each.option, each.verdict, each.plan_hash) for each in context.store.decisions()]


def test_an_approval_is_bound_to_the_effect_that_was_looked_at(context: Context, operator: StoreOperator) -> None:
    with pytest.raises(RefusedError, match="look at it again"):
        operator.approve("opt-1.1", "b" * 64, "lose 2 lines")
    operator.approve("opt-1.1", "a" * 64, "lose 2 lines")
    assert decisions(context) == [("opt-1.1", DecisionVerdict.APPROVE, "a" * 64)]


@pytest.mark.parametrize("words", ["", "yes", "lose 2 Lines", "lose 3 lines"])
def test_a_critical_one_needs_exactly_the_words_of_what_is_lost(
    context: Context, operator: StoreOperator, words: str
) -> None:
    with pytest.raises(RefusedError, match="--confirm 'lose 2 lines'"):
        operator.approve("opt-1.1", confirm=words)
    assert decisions(context) == []


def test_a_high_one_needs_none(context: Context, operator: StoreOperator) -> None:
    ((option, plan),) = context.store.options("inc-1")
    context.store.save_options("inc-1", [(replace(option, risk_level=RiskLevel.HIGH), replace(plan, loses=""))])
    assert operator.approve("opt-1.1").plan_hash == "a" * 64


def test_what_does_not_apply_cannot_be_approved(context: Context, operator: StoreOperator) -> None:
    ((option, plan),) = context.store.options("inc-1")
    rehearsal = replace(option.rehearsal, applies=False, conflicts=("README",))
    context.store.save_options("inc-1", [(replace(option, rehearsal=rehearsal), plan)])
    with pytest.raises(RefusedError, match="does not apply: README"):
        operator.approve("opt-1.1", confirm="lose 2 lines")


@pytest.mark.parametrize("state", [IncidentState.RECOVERED, IncidentState.CLEARED, IncidentState.ROLLING_BACK])
def test_where_nothing_is_left_to_decide_nothing_is(
    context: Context, operator: StoreOperator, state: IncidentState
) -> None:
    incident = context.store.incident("inc-1")
    assert incident is not None
    context.store.save_incident(replace(incident, state=state))
    with pytest.raises(UsageError, match="nothing is left to decide"):
        operator.reject("opt-1.1")
    assert decisions(context) == []


@pytest.mark.parametrize("state", [IncidentState.ESCALATED, IncidentState.REJECTED, IncidentState.UNDONE])
def test_what_was_left_as_it_is_can_be_decided_anew(
    context: Context, operator: StoreOperator, state: IncidentState
) -> None:
    incident = context.store.incident("inc-1")
    assert incident is not None
    context.store.save_incident(replace(incident, state=state))
    assert operator.approve("opt-1.1", confirm="lose 2 lines").verdict is DecisionVerdict.APPROVE


def test_an_edit_with_mistakes_is_not_written(context: Context, operator: StoreOperator) -> None:
    problems = operator.edit("opt-1.1", operator.plan_yaml("opt-1.1").replace("targets:", "tragets:"))
    assert any("tragets" in problem for problem in problems)
    assert decisions(context) == []


def test_every_wish_is_a_decision_with_an_event_and_a_record(context: Context, operator: StoreOperator) -> None:
    operator.stop_all(["executor", "planner"])
    operator.pause_agent("executor")
    operator.resume_agent("executor")
    operator.undo("rb-1")
    operator.redo("rb-1")
    wishes = ["stop:executor", "stop:planner", "pause:executor", "resume:executor", "undo:rb-1", "redo:rb-1"]
    assert [option for option, _, _ in decisions(context)] == wishes
    events = [event for event in context.store.recent_events(100) if event.event == "decision"]
    assert [event.body["option"] for event in events] == wishes
    assert [(record.who, record.subject) for record in context.store.audit_records()] == [
        ("ann@desk", wish) for wish in wishes
    ]


def test_what_does_not_exist_cannot_be_wished_for(operator: StoreOperator) -> None:
    with pytest.raises(UsageError, match="there is no option opt-9"):
        operator.approve("opt-9")
    with pytest.raises(UsageError, match="there is no rollback rb-9"):
        operator.undo("rb-9")


def test_a_viewer_and_an_agent_decide_nothing(
    context: Context, operator: StoreOperator, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = StoreOperator(context.store, context.clock, lambda: context.leases, name="ann@desk", read_only=True)
    for refused in (viewer.stop_agent, viewer.undo):
        with pytest.raises(RefusedError, match="read-only"):
            refused("rb-1")
    monkeypatch.setenv("ROLLCAGE_AGENT", "executor")
    with pytest.raises(RefusedError, match="only an operator decides"):
        operator.reject("opt-1.1")
    assert decisions(context) == []
    assert [record.outcome for record in context.store.audit_records()] == ["refused"], "the attempt is recorded"
