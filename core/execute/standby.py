"""The other agents stand by while one is in trouble: told, frozen, and let go when nothing needs them to any more."""

from __future__ import annotations

from datetime import datetime

from ..errors import RollcageError
from ..fleet.mailbox import post
from ..model import Hold, IncidentState, RollbackState, Severity
from ..services import Services
from ..store.facts import AgentHold
from .agents import hold_of, live_runs, pause_agent, release_agent, stop_agent

_RECENT = 50
"""Of the rollbacks, so many are looked at for one that failed."""


def stand_by(services: Services, problem_agent: str, reason: str) -> dict[str, str]:
    """Tell all other live agents to stand by and freeze them; return by agent why one could not be frozen.

    One that fails does not keep the others from it. An agent that is held otherwise already is left alone.
    """
    text = f"EMERGENCY_STOP - {problem_agent or 'fleet'} critical error detected"
    told = {}
    for agent in sorted(live_runs(services)):
        held = hold_of(services, agent)
        if agent == problem_agent or held not in {Hold.NONE, Hold.STANDBY}:
            continue
        unread = _post(services, agent, text) if held is Hold.NONE else ""
        # One that stands by already may have been frozen only halfway by a process that died.
        told[agent] = "; ".join(filter(None, [pause_agent(services, agent, Hold.STANDBY, reason), unread]))
    return told


def stop_all(services: Services, but: str, reason: str) -> list[str]:
    """End the processes of all other live agents, for the problem agent could not be stopped; return their names.

    They stand by then without a process, and are started again where they would only be let go. What an operator
    holds is left alone.
    """
    stopped = []
    for agent in sorted(live_runs(services)):
        if agent == but or hold_of(services, agent) not in {Hold.NONE, Hold.STANDBY}:
            continue
        try:
            stop_agent(services, agent, reason)
        except RollcageError as failure:
            text = f"agent {agent} could not be stopped: {failure}"
            services.store.append_event("alert", {"severity": "critical", "text": text})
            continue
        # The store remembers the stop through the other hold: who is released from it is started anew.
        services.store.set_hold(agent, Hold.STANDBY, reason)
        stopped.append(agent)
    text = f"agent {but} could not be stopped, so all agents were: {', '.join(stopped) or 'no other runs'}"
    services.store.append_event("alert", {"severity": "critical", "text": text})
    return stopped


def resume_standby(services: Services, *, but: str = "") -> list[str]:
    """Let the agents that stand by work on; return their names.

    They stand by on as long as another critical incident than ``but`` is being handled; and, those that did so then,
    after a rollback that could not be undone wholly, until an operator decides or lets them go.
    """
    standing = standing_by(services)
    if not standing or _emergency(services, but):
        return []
    failed = _last_failure(services)
    names = [held.agent for held in standing if failed is None or held.since > failed]
    for agent in names:
        release_agent(services, agent)
        _post(services, agent, "RESUME - work on")
    return names


def standing_by(services: Services) -> list[AgentHold]:
    """Return the holds of the agents that stand by, the one that does so longest first."""
    found = [held for held in services.store.holds().values() if held.hold is Hold.STANDBY]
    return sorted(found, key=lambda held: held.since)


def standby_seconds(services: Services) -> float:
    """Return how long the agent that stands by longest has done so, in seconds; 0 where none does."""
    found = standing_by(services)
    return max((services.clock.now() - found[0].since).total_seconds(), 0.0) if found else 0.0


def safe_note(incident: str) -> str:
    """Return the key of the note that an incident was made safe; it holds the id of the snapshot."""
    return f"safe:{incident}"


def standby_note(incident: str) -> str:
    """Return the key of the note that the others stand by for an incident, or are about to; it is there from then on.

    An incident that was only notified of has none: it must not keep those that stand by for another.
    """
    return f"standby:{incident}"


def _emergency(services: Services, but: str) -> bool:
    return any(
        incident.severity is Severity.CRITICAL
        and incident.id != but
        and services.store.get_note(standby_note(incident.id)) is not None
        for incident in services.store.incidents(open_only=True)
    )


def _last_failure(services: Services) -> datetime | None:
    """Return when the newest rollback ended that could not be undone and that nobody has dealt with since."""
    seen: set[str] = set()
    for rollback in services.store.rollbacks(_RECENT):
        if rollback.incident in seen:
            continue
        seen.add(rollback.incident)
        incident = services.store.incident(rollback.incident)
        rejected = incident is not None and incident.state is IncidentState.REJECTED
        if rollback.state is RollbackState.FAILED and not rejected:
            return rollback.ended
    return None


def _post(services: Services, agent: str, text: str) -> str:
    """Put a message into an agent's mailbox; return why that failed, which is no reason not to hold or release it."""
    try:
        post(services.paths, agent, text, "rollcage", services.clock.now())
    except RollcageError as problem:
        return str(problem)
    return ""
