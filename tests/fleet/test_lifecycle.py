"""Whatever is reported, an agent's history consists of valid transitions, and what did not fit is on record."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollcage.core.errors import RefusedError
from rollcage.core.fleet.lifecycle import TRANSITIONS, check_transition, fold, may_become, way_to_starting
from rollcage.core.model import AgentState, Signal, SignalKind

BEGIN = datetime(2026, 11, 20, 14, tzinfo=UTC)


def state_signal(number: int, name: str, **attrs: object) -> Signal:
    return Signal(BEGIN + timedelta(seconds=number), "ann", SignalKind.STATE, name, attrs=attrs)


@given(st.lists(st.sampled_from([*AgentState, "asleep"])), st.sampled_from([None, *AgentState]))
def test_any_sequence_gives_a_valid_history_and_a_record_of_what_was_refused(
    names: list[str], initial: AgentState | None
) -> None:
    life = fold((state_signal(number, name) for number, name in enumerate(names)), initial)
    steps = [(change.from_state, change.to_state) for change in life.history]
    assert all(following in TRANSITIONS[state] for state, following in steps)
    assert all(before[1] is after[0] for before, after in pairwise(steps))
    assert not any(may_become(change.from_state, change.to_state) for change in life.refused)
    assert len(life.history) + len(life.refused) == len([name for name in names if name != "asleep"])
    assert life.state is (steps[-1][1] if steps else initial or AgentState.IDLE)


@given(st.sampled_from(list(AgentState)), st.sampled_from(list(AgentState)))
def test_a_transition_is_refused_exactly_where_it_is_not_in_the_table(state: AgentState, following: AgentState) -> None:
    if following in TRANSITIONS[state]:
        check_transition("ann", state, following)
    else:
        with pytest.raises(RefusedError, match=f"agent ann cannot go from {state} to {following}") as said:
            check_transition("ann", state, following)
        assert said.value.code == "invalid_transition"


def test_the_table_is_that_of_the_specification() -> None:
    assert {state.value: {following.value for following in allowed} for state, allowed in TRANSITIONS.items()} == {
        "idle": {"starting", "error"},
        "starting": {"running", "error"},
        "running": {"completed", "error", "timeout"},
        "completed": {"idle"},
        "error": {"idle", "starting"},
        "timeout": {"idle", "starting"},
    }


@given(st.sampled_from(list(AgentState)))
def test_from_every_state_there_is_a_valid_way_to_starting(state: AgentState) -> None:
    way = (state, *way_to_starting(state))
    assert way[-1] is AgentState.STARTING
    assert all(may_become(before, after) for before, after in pairwise(way))


def test_the_note_of_a_hold_is_no_transition() -> None:
    held = state_signal(2, "running", hold="paused")
    life = fold([state_signal(0, "starting"), state_signal(1, "running"), held])
    assert (life.state, len(life.history), life.refused) == (AgentState.RUNNING, 2, ())


def test_a_history_whose_beginning_was_pruned_goes_on_from_where_its_first_signal_says() -> None:
    life = fold([state_signal(0, "completed", **{"from": "running"}), state_signal(1, "idle", trigger="next")])
    assert life.state is AgentState.IDLE
    assert [change.trigger for change in life.history] == ["", "next"]
