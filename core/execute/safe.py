"""Phase 1, make safe: as soon as a critical incident opens, before diagnosis and approval."""

from __future__ import annotations

from ..codec import canonical
from ..config import Level, Settings
from ..errors import RollcageError
from ..model import Hold, Incident
from ..services import Services
from .agents import pause_agent, resume_standby, stand_by, stop_agent
from .snapshots import snapshot_name, take_snapshot


def critical_action(settings: Settings, level: Level) -> str:
    """Return ``stop``, ``pause`` or ``notify``: what happens to the problem agent at once."""
    if level is Level.WATCH:
        return "notify"
    return settings.on_critical or ("stop" if level is Level.AUTO else "pause")


def make_safe(services: Services, incident: Incident, level: Level) -> str:
    """Hold the problem agent, keep a snapshot, tell the others to stand by; return the snapshot's id.

    Done once an incident; after a crash in the middle it is done again, and every part of it is idempotent. Where
    the agent is not known, or cannot be held, all agents stand by. Raises StoreError where no snapshot can be kept.
    """
    key = f"safe:{incident.id}"
    known = services.store.get_note(key)
    if known is not None:
        return known
    action = critical_action(services.settings, level)
    reason = f"incident {incident.id}: {incident.title}"
    services.store.append_event("phase", {"incident": incident.id, "phase": 1, "state": "started", "action": action})
    held: dict[str, object] = {}
    told: dict[str, str] = {}
    if action != "notify":
        if incident.agent:
            held = _hold(services, incident.agent, action, reason)
        told = stand_by(services, incident.agent, reason)
    snapshot = take_snapshot(services, snapshot_name(services, services.clock.now()), reason).id
    with services.store.transaction():
        services.store.set_note(key, snapshot)
        services.store.append_event(
            "phase",
            {
                "incident": incident.id,
                "phase": 1,
                "state": "done",
                "agent": incident.agent,
                "action": action,
                "held": held,
                "told": sorted(told),
                "not_frozen": {agent: why for agent, why in told.items() if why},
                "snapshot": snapshot,
            },
        )
        services.store.audit("engine", "make_safe", incident.id, reason, detail={"held": canonical(held)})
    return snapshot


def _hold(services: Services, agent: str, action: str, reason: str) -> dict[str, object]:
    try:
        if action == "stop":
            return dict(stop_agent(services, agent, reason))
        problem = pause_agent(services, agent, Hold.PAUSED, reason)
        return {"paused": not problem, "why": problem}
    except RollcageError as failure:  # the others stand by all the same; the operator sees why this one did not
        return {"failed": str(failure)}


def stand_down(services: Services) -> list[str]:
    """Let the others work on: after a rollback, a rejection or an escalation. The problem agent stays held."""
    return resume_standby(services)
