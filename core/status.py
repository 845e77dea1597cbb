"""How the agents are now, put together from settings, supervisors, holds, signals and open incidents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from .config import Settings
from .fleet.runs import Run, current_runs
from .model import (
    AgentState,
    AgentStatus,
    Health,
    Hold,
    Incident,
    Severity,
    Signal,
    SystemHealthReport,
)
from .store.paths import RepositoryPaths
from .store.signals import Signals
from .store.store import Store

MEMORY, CPU, DESCRIPTORS, ERRORS = "memory_usage", "cpu", "descriptors", "error_rate"
QUALITY = frozenset({"error_rate", "matching_accuracy", "data_consistency"})


@dataclass(frozen=True, slots=True)
class View:
    """What a reader of the state needs; no git, no engine."""

    paths: RepositoryPaths
    store: Store
    signals: Signals
    settings: Settings


def agent_statuses(view: View) -> tuple[AgentStatus, ...]:
    """Return all agents that settings name or that have a run, by stage order and name."""
    runs = {run.agent: run for run in current_runs(view.paths.inbox_db)}
    holds = view.store.holds()
    worst = worst_by_agent(view.store.incidents(open_only=True))
    names = dict.fromkeys([*view.settings.agents, *sorted(runs)])
    order = list(view.settings.stages)

    def place(name: str) -> tuple[int, str]:
        stage = _stage(view.settings, runs.get(name), name)
        return (order.index(stage) if stage in order else len(order), name)

    statuses = []
    for name in sorted(names, key=place):
        settings = view.settings.agents.get(name)
        run = runs.get(name)
        hold = holds.get(name)
        newest = view.signals.newest(name)
        statuses.append(
            AgentStatus(
                name=name,
                state=run.state if run else AgentState.IDLE,
                hold=hold.hold if hold else Hold.NONE,
                health=worst.get(name, Health.HEALTHY),
                stage=_stage(view.settings, run, name),
                kind=settings.kind if settings else "",
                competition=(run.competition if run else "") or (settings.competition if settings else ""),
                since=run.since if run else None,
                seen=max((signal.at for signal in newest.values()), default=None),
                pid=run.child_pid if run else None,
                cpu=_value(newest, CPU) if run else None,
                memory=_value(newest, MEMORY) if run else None,
                descriptors=int(value) if run and (value := _value(newest, DESCRIPTORS)) is not None else None,
                error_rate=_value(newest, ERRORS),
                depends_on=settings.depends_on if settings else (),
            )
        )
    return tuple(statuses)


def _stage(settings: Settings, run: Run | None, name: str) -> str:
    configured = settings.agents.get(name)
    return (run.stage if run else "") or (configured.stage if configured else "")


def _value(newest: Mapping[str, Signal], name: str) -> float | None:
    signal = newest.get(name)
    return signal.value if signal else None


def worst_by_agent(incidents: Sequence[Incident]) -> dict[str, Health]:
    """Return the worst health that the open ``incidents`` give each agent."""
    worst: dict[str, Health] = {}
    for incident in incidents:
        health = Health.CRITICAL if incident.severity is Severity.CRITICAL else Health.WARNING
        if worst.get(incident.agent) is not Health.CRITICAL:
            worst[incident.agent] = health
    return worst


def overall_health(incidents: Sequence[Incident]) -> Health:
    """Return the worst of all open ``incidents``; HEALTHY where there is none."""
    found = worst_by_agent(incidents).values()
    return next((health for health in (Health.CRITICAL, Health.WARNING) if health in found), Health.HEALTHY)


def health_report(view: View, now: datetime) -> SystemHealthReport:
    """Return the `SystemHealthReport` of this moment; a metric's figure is the worst of its newest per agent."""
    incidents = view.store.incidents(open_only=True)
    statuses = agent_statuses(view)
    performance: dict[str, float] = {}
    quality: dict[str, float] = {}
    for name in ["", *(status.name for status in statuses)]:
        for metric, signal in view.signals.newest(name).items():
            if signal.value is None:
                continue
            figures = quality if metric in QUALITY else performance
            figures[f"{name}.{metric}" if name else metric] = signal.value
    return SystemHealthReport(
        timestamp=now,
        overall_status=overall_health(incidents),
        agent_statuses=statuses,
        performance_metrics=performance,
        quality_metrics=quality,
        recommendations=tuple(_recommend(incident) for incident in incidents),
    )


def _recommend(incident: Incident) -> str:
    number = incident.id
    if incident.state.value == "waiting":
        return f"{number} waits for you: rollcage options {number}, then approve or reject one"
    return f"{number} {incident.title}: {incident.state.value}"
