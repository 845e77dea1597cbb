"""Phase 1, make safe: as soon as a critical incident opens, before diagnosis and approval."""

from __future__ import annotations

from ..codec import canonical
from ..config import Level, Settings
from ..errors import RollcageError
from ..model import Hold, Incident
from ..services import Services
from .agents import pause_agent, stop_agent
from .deadline import PHASE_DEADLINE_S, watched
from .snapshots import snapshot_name, take_snapshot
from .standby import resume_standby, safe_note, stand_by, standby_note, stop_all


def critical_action(settings: Settings, level: Level) -> str:
    """Return ``stop``, ``pause`` or ``notify``: what happens to the problem agent at once."""
    if level is Level.WATCH:
        return "notify"
    return settings.on_critical or ("stop" if level is Level.AUTO else "pause")


def make_safe(services: Services, incident: Incident, level: Level) -> str:
    """Hold the problem agent, tell the others to stand by, keep a snapshot; return the snapshot's id.

    Done once an incident; after a crash in the middle it is done again, and every part of it is idempotent. Where the
    agent is not known, or cannot be held, all the others stand by just so. Raises RollcageError where no snapshot can
    be kept; the agents are held then.
    """
    store = services.store
    known = store.get_note(safe_note(incident.id))
    if known is not None:
        return known
    with watched(services, f"making {incident.id} safe", PHASE_DEADLINE_S[1], incident=incident.id):
        return _make_safe(services, incident, level)


def _make_safe(services: Services, incident: Incident, level: Level) -> str:
    store, begun = services.store, services.clock.boot()
    action = critical_action(services.settings, level)
    reason = f"incident {incident.id}: {incident.title}"
    name = _planned_name(services, incident)
    about = {"incident": incident.id, "phase": 1, "action": action, "agent": incident.agent}
    store.append_event("phase", {**about, "state": "started"})
    held: dict[str, object] = {}
    told: dict[str, str] = {}
    if action != "notify":
        store.set_note(standby_note(incident.id), action)
        if incident.agent:
            held = _hold(services, incident.agent, action, reason)
        told = stand_by(services, incident.agent, reason)
    snapshot = take_snapshot(services, name, reason).id
    took = services.clock.boot() - begun
    with store.transaction():
        store.set_note(safe_note(incident.id), snapshot)
        store.append_event(
            "phase",
            {
                **about,
                "state": "done",
                "held": held,
                "told": sorted(told),
                "not_frozen": {agent: why for agent, why in told.items() if why},
                "snapshot": snapshot,
                "took_s": took,
            },
        )
        store.audit("engine", "make_safe", incident.id, reason, detail={"held": canonical(held)})
    return snapshot


def stand_down(services: Services) -> list[str]:
    """Let the others work on unless something still needs them to stand by. The problem agent stays held.

    After a rollback, a rejection or an escalation was written; cheap, so that it may be called again and again.
    """
    return resume_standby(services)


def _planned_name(services: Services, incident: Incident) -> str:
    """Return the id of the snapshot, the same after a crash, so that what was begun of it does not stay for ever."""
    key = f"making_safe:{incident.id}"
    name = services.store.get_note(key)
    if name is None:
        name = snapshot_name(services, services.clock.now())
        services.store.set_note(key, name)
    return name


def _hold(services: Services, agent: str, action: str, reason: str) -> dict[str, object]:
    """Hold the problem agent; where it cannot be stopped, all the others are stopped too (spec, section 3)."""
    try:
        if action == "stop":
            done = dict(stop_agent(services, agent, reason))
            return done | {"all_stopped": stop_all(services, agent, reason)} if done.get("left") else done
        why = pause_agent(services, agent, Hold.PAUSED, reason)
        return {"paused": not why, "why": why}
    except RollcageError as failure:  # the others are held all the same; the operator sees why this one was not
        text = f"agent {agent} could not be held: {failure}"
        services.store.append_event("alert", {"severity": "critical", "text": text})
        stopped = stop_all(services, agent, reason) if action == "stop" else []
        return {"failed": str(failure), "all_stopped": stopped}
