"""How far incidents are, written into the store with the event and the audit record that belong to it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from .codec import canonical, to_json
from .decide import REASONS
from .decisions import ENGINE
from .detect.intake import incident_body
from .model import (
    ENDED_STATES,
    Decision,
    DecisionVerdict,
    Incident,
    IncidentState,
    RecoveryPlan,
    RollbackOption,
)
from .services import Services
from .store.store import Store

_LEVEL, _WARNINGS = "engine:level", "engine:warnings"


def save_state(services: Services, incident: Incident, state: IncidentState, note: str) -> Incident:
    """Write a new state onto the incident as it is now, for the detectors may have added findings; return it."""
    store = services.store
    closed = services.clock.now() if state in ENDED_STATES else None
    with store.transaction():
        current = store.incident(incident.id) or incident
        changed = replace(current, state=state, note=note, closed=closed)
        store.save_incident(changed)
        save_activity(store, incident.id, "")
        store.append_event("incident", incident_body(changed))
        store.audit(ENGINE, f"incident_{state.value}", incident.id, note)
    return changed


def record_decision(
    services: Services, incident: Incident, option: str, plan_hash: str, verdict: DecisionVerdict, code: str
) -> None:
    """Write what the engine decided itself, with the reason code where it does not act alone."""
    store = services.store
    with store.transaction():
        decision = store.add_decision(incident.id, option, plan_hash, verdict, ENGINE, code)
        store.take_decision(decision.id)
        store.append_event("decision", to_json(replace(decision, taken=True)))
        store.audit(ENGINE, f"decision_{verdict.value}", option or incident.id, code)


def in_words(decision: Decision) -> Decision:
    """Return ``decision`` with its reason as people say it: a code's sentence; of an edit not the whole new plan."""
    reason = "" if decision.verdict is DecisionVerdict.EDIT else REASONS.get(decision.reason, decision.reason)
    return replace(decision, reason=reason)


def announce(store: Store, option: RollbackOption, plan: RecoveryPlan) -> None:
    """Tell the event stream about an option and its plan, without the diff."""
    store.append_event("option", to_json(option))
    body = to_json(plan)
    body.pop("diff")
    store.append_event("plan", body)


def alert(store: Store, severity: str, text: str, **about: str) -> None:
    """Tell people something."""
    store.append_event("alert", {"severity": severity, "text": text, **about})


def save_activity(store: Store, incident: str, text: str) -> None:
    """Write what is being done about an incident now; empty: nothing."""
    key = _activity_key(incident)
    if (store.get_note(key) or "") != text:
        store.set_note(key, text)


def activity(store: Store, incident: str) -> str:
    """Return what is being done about an incident now."""
    return store.get_note(_activity_key(incident)) or ""


def save_level(store: Store, level: str) -> None:
    """Write at which level the engine runs that leads."""
    store.set_note(_LEVEL, level)


def level_of_engine(store: Store) -> str:
    """Return at which level the engine runs that leads, or ran last; empty: none has run yet."""
    return store.get_note(_LEVEL) or ""


def save_warnings(store: Store, warnings: Sequence[str]) -> None:
    """Write what is wrong with rollcage's own means: a check that cannot be believed, or is flaky."""
    text = canonical(list(warnings))
    if (store.get_note(_WARNINGS) or "[]") != text:
        store.set_note(_WARNINGS, text)


def warnings_of_engine(store: Store) -> tuple[str, ...]:
    """Return what the engine that leads, or led last, found to be wrong with its means."""
    return tuple(str(line) for line in json.loads(store.get_note(_WARNINGS) or "[]"))


def _activity_key(incident: str) -> str:
    return f"activity:{incident}"
