"""Reads the board from the state; the same for an engine's own console and for one that attaches."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from .board import Board, EngineView, IncidentView, OptionView, RollbackView, Series
from .coordination.leases import Leases
from .detect.bands import band_of
from .detect.rules import rules
from .model import ENDED_STATES, AgentStatus, Incident, IncidentState, Rollback, SignalKind
from .status import View, agent_statuses, overall_health
from .text import clean

SPARK = 32
"""How many values a sparkline keeps."""


def read_board(
    view: View, leases: Leases, *, name: str, path: str, head: str, engine: EngineView, warnings: tuple[str, ...] = ()
) -> Board:
    """Return everything that a console shows. Reads only; two calls without a change in between compare equal."""
    store = view.store
    incidents = store.incidents(limit=50)
    incidents.sort(key=lambda incident: incident.state in ENDED_STATES)
    statuses = agent_statuses(view)
    open_ones = [incident for incident in incidents if incident.state not in ENDED_STATES]
    return Board(
        seq=store.last_seq(),
        name=name,
        path=path,
        branch=view.settings.branch,
        head=head,
        health=overall_health(open_ones),
        engine=engine,
        agents=statuses,
        series=_series(view, statuses),
        incidents=tuple(_incident_view(view, incident) for incident in incidents),
        rollbacks=tuple(_rollback_view(view, rollback) for rollback in store.rollbacks(50)),
        leases=tuple(leases.list()),
        snapshots=tuple(store.snapshots()[:50]),
        events=tuple(store.recent_events(500)),
        needs_you=sum(incident.state is IncidentState.WAITING for incident in incidents),
        warnings=warnings,
        stage_order=tuple(view.settings.stages),
        transitions={status.name: _transitions(view, status.name) for status in statuses},
    )


def _transitions(view: View, agent: str) -> tuple[tuple[datetime, str, str], ...]:
    changes = view.signals.of_kind(agent, SignalKind.STATE, 20)
    return tuple((change.at, clean(str(change.attrs.get("from", "")), limit=20), change.name) for change in changes)


def _incident_view(view: View, incident: Incident) -> IncidentView:
    store = view.store
    rollbacks = [rollback for rollback in store.rollbacks(50) if rollback.incident == incident.id]
    return IncidentView(
        incident=incident,
        diagnosis=store.diagnosis(incident.id),
        options=tuple(OptionView(option, plan) for option, plan in store.options(incident.id)),
        decisions=tuple(store.decisions(incident=incident.id)),
        rollbacks=tuple(_rollback_view(view, rollback) for rollback in rollbacks),
        activity=store.get_note(f"activity:{incident.id}") or "",
    )


def _rollback_view(view: View, rollback: Rollback) -> RollbackView:
    return RollbackView(rollback, tuple(view.store.steps(rollback.id)))


def _series(view: View, statuses: Sequence[AgentStatus]) -> tuple[Series, ...]:
    known = rules(view.settings)
    found = []
    for agent in ["", *(status.name for status in statuses)]:
        for metric, newest in sorted(view.signals.newest(agent).items()):
            values = tuple(s.value for s in view.signals.recent(agent, metric, SPARK) if s.value is not None)
            if values:
                found.append(Series(agent, metric, newest.unit or "", values, band_of(known, newest).value))
    return tuple(found)
