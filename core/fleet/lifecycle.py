"""The lifecycle of an agent: which state may follow which, and the states that a list of signals tells. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from ..errors import RefusedError
from ..model import AgentState, Signal, SignalKind

TRANSITIONS: Mapping[AgentState, frozenset[AgentState]] = {
    AgentState.IDLE: frozenset({AgentState.STARTING, AgentState.ERROR}),
    AgentState.STARTING: frozenset({AgentState.RUNNING, AgentState.ERROR}),
    AgentState.RUNNING: frozenset({AgentState.COMPLETED, AgentState.ERROR, AgentState.TIMEOUT}),
    AgentState.COMPLETED: frozenset({AgentState.IDLE}),
    AgentState.ERROR: frozenset({AgentState.IDLE, AgentState.STARTING}),
    AgentState.TIMEOUT: frozenset({AgentState.IDLE, AgentState.STARTING}),
}
"""Which states may follow a state (spec, 4.3)."""


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state that was made, or one that was asked for and refused."""

    from_state: AgentState
    to_state: AgentState
    timestamp: datetime
    trigger: str


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """What the state signals of one agent tell: where it is, how it got there, and what did not fit."""

    state: AgentState
    history: tuple[Transition, ...] = ()
    refused: tuple[Transition, ...] = ()


def may_become(state: AgentState, following: AgentState) -> bool:
    """Return whether ``following`` may come after ``state``."""
    return following in TRANSITIONS[state]


def check_transition(agent: str, state: AgentState, following: AgentState) -> None:
    """Raise RefusedError ``invalid_transition`` unless ``following`` may come after ``state``."""
    if not may_become(state, following):
        allowed = ", ".join(sorted(TRANSITIONS[state]))
        raise RefusedError(
            "invalid_transition",
            f"agent {agent} cannot go from {state} to {following}; from {state} it may go to {allowed}",
        )


def way_to_starting(state: AgentState) -> tuple[AgentState, ...]:
    """Return the states that lead from ``state`` to STARTING, which is the last of them.

    An agent that was starting or running when its supervisor died goes through ERROR.
    """
    match state:
        case AgentState.IDLE | AgentState.ERROR | AgentState.TIMEOUT:
            return (AgentState.STARTING,)
        case AgentState.COMPLETED:
            return (AgentState.IDLE, AgentState.STARTING)
        case AgentState.STARTING | AgentState.RUNNING:
            return (AgentState.ERROR, AgentState.STARTING)


def fold(signals: Iterable[Signal], initial: AgentState | None = None) -> Lifecycle:
    """Return the lifecycle that the ``state`` signals of one agent tell, oldest first; other kinds are passed over.

    Without ``initial`` the first signal says where it came from (older ones may have been pruned). A transition that
    may not be changes nothing and is listed in ``refused``; a state that does not exist, or the note of a hold, is no
    transition.
    """
    state, history, refused = initial, list[Transition](), list[Transition]()
    for signal in signals:
        if signal.kind is not SignalKind.STATE or "hold" in signal.attrs:
            continue
        if state is None:
            state = _state(signal.attrs.get("from")) or AgentState.IDLE
        following = _state(signal.name)
        if following is None:
            continue
        change = Transition(state, following, signal.at, str(signal.attrs.get("trigger", "")))
        if may_become(state, following):
            history.append(change)
            state = following
        else:
            refused.append(change)
    return Lifecycle(state or AgentState.IDLE, tuple(history), tuple(refused))


def _state(name: object) -> AgentState | None:
    try:
        return AgentState(str(name))
    except ValueError:
        return None
