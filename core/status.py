"""How the agents are now, put together from settings, supervisors, holds, signals and incidents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from .config import Settings
from .detect.behaviour import SAMPLED
from .detect.incidents import is_unresolved
from .fleet.runs import Run, current_runs
from .model import (
    ENDED_STATES,
    AgentState,
    AgentStatus,
    Health,
    Hold,
    Incident,
    IncidentState,
    Severity,
    Signal,
    SystemHealthReport,
)
from .store.paths import RepositoryPaths
from .store.signals import Signals
from .store.store import Store

MEMORY, CPU, DESCRIPTORS, ERRORS = "memory_usage", "cpu", "descriptors", "error_rate"
QUALITY = frozenset({"error_rate", "matching_accuracy", "data_consistency"})
RECENT = 200
"""So many of the newest incidents are looked at for trouble that was left as it is."""

Newest = Callable[[str], Mapping[str, Signal]]
"""Gives the newest metric or data signal of each name of an agent."""


@dataclass(frozen=True, slots=True)
class View:
    """What a reader of the state needs; no git, no engine."""

    paths: RepositoryPaths
    store: Store
    signals: Signals
    settings: Settings


def unresolved(store: Store) -> list[Incident]:
    """Return the incidents that are open, and those that were left as they are and are not seen to be over."""
    left = [incident for incident in store.incidents(limit=RECENT) if incident.state in ENDED_STATES]
    return [*store.incidents(open_only=True, limit=RECENT), *(incident for incident in left if is_unresolved(incident))]


def agent_statuses(
    view: View, *, newest: Newest | None = None, trouble: Sequence[Incident] | None = None
) -> tuple[AgentStatus, ...]:
    """Return all agents that settings name or that have a run, by stage order and name.

    ``newest`` and ``trouble`` are what the caller has read already. What was measured of processes counts only as
    long as they are there.
    """
    newest = newest or view.signals.newest
    runs = {run.agent: run for run in current_runs(view.paths.inbox_db)}
    holds = view.store.holds()
    worst = worst_by_agent(unresolved(view.store) if trouble is None else trouble)
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
        signals = newest(name)
        known = signals if run else {}
        descriptors = _value(known, DESCRIPTORS)
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
                seen=max((signal.at for signal in signals.values()), default=None),
                pid=run.child_pid if run else None,
                cpu=_value(known, CPU),
                memory=_value(known, MEMORY),
                descriptors=None if descriptors is None else int(descriptors),
                error_rate=_value(signals, ERRORS),
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
    """Return the worst health that ``incidents`` give each agent (EVERYBODY: the whole)."""
    worst: dict[str, Health] = {}
    for incident in incidents:
        health = Health.CRITICAL if incident.severity is Severity.CRITICAL else Health.WARNING
        if worst.get(incident.agent) is not Health.CRITICAL:
            worst[incident.agent] = health
    return worst


def overall_health(incidents: Sequence[Incident]) -> Health:
    """Return the worst of all ``incidents``; HEALTHY where there is none."""
    found = worst_by_agent(incidents).values()
    return next((health for health in (Health.CRITICAL, Health.WARNING) if health in found), Health.HEALTHY)


def health_report(view: View, now: datetime) -> SystemHealthReport:
    """Return the `SystemHealthReport` of this moment.

    Figures are the newest ones, by ``AGENT.METRIC`` (``METRIC`` alone: of the whole), in base units; ``false_alarms``
    are rollcage's own: how many rollbacks took back what landed again unmodified.
    """
    with view.store.at_one_moment():
        trouble = unresolved(view.store)
        statuses = agent_statuses(view, trouble=trouble)
        options = {incident.id: bool(view.store.options(incident.id)) for incident in trouble}
        held = {agent: hold.reason for agent, hold in view.store.holds().items()}
    performance: dict[str, float] = {}
    quality: dict[str, float] = {}
    runs = {status.name for status in statuses if status.since is not None}
    for name in ["", *(status.name for status in statuses)]:
        for metric, signal in view.signals.newest(name).items():
            if signal.value is None or (metric in SAMPLED and name not in runs):
                continue
            figures = quality if metric in QUALITY else performance
            figures[f"{name}.{metric}" if name else metric] = signal.value
    if wrong := view.store.false_alarms():
        quality["false_alarms"] = float(len(wrong))
    return SystemHealthReport(
        timestamp=now,
        overall_status=overall_health(trouble),
        agent_statuses=statuses,
        performance_metrics=performance,
        quality_metrics=quality,
        recommendations=(
            *(_recommend(incident, decidable=options[incident.id]) for incident in trouble),
            *(_release(status, held[status.name]) for status in statuses if status.hold in _KEPT),
            *waiting_pushes(view.store),
            *(f"{each.name} has failed: see its output, then start it again" for each in statuses if _failed(each)),
        ),
    )


def waiting_pushes(store: Store) -> tuple[str, ...]:
    """Return a line for each push that waits until its remote can be reached again."""
    return tuple(
        f"the push of {push.branch} waits for {push.remote} ({push.id}, tries so far: {push.tries}, next "
        f"{push.next_try:%H:%M:%S} UTC): {push.words or 'it is sent by itself'}"
        for push in store.outgoing()
    )


_KEPT = frozenset({Hold.STOPPED, Hold.PAUSED})


def _recommend(incident: Incident, *, decidable: bool) -> str:
    """Return what to do about an incident, in one line with the command."""
    who = f" of {incident.agent}" if incident.agent else ""
    what = f"{incident.id}{who} ({incident.title})"
    show = f"rollcage show {incident.id}"
    if incident.severity is Severity.WARNING:
        return f"{what} is a warning: keep an eye on it; {show}"
    decide = f"look at rollcage options {incident.id}, then rollcage approve or reject one"
    why = f": {incident.note}" if incident.note else ""
    match incident.state:
        case IncidentState.WAITING if decidable:
            return f"{what} waits for you{why}; {decide}"
        case IncidentState.OPEN | IncidentState.WAITING:
            return f"{what} is open; where no engine is at it, start one: rollcage, or rollcage --auto; {show}"
        case IncidentState.ROLLING_BACK:
            return f"{what} is being rolled back; {show}"
        case IncidentState.REJECTED:
            return f"{what} was rejected, but its check still fails: mend it by hand; {show}"
        case IncidentState.UNDONE | IncidentState.FAILED:
            return f"{what} needs you, its rollback failed{why}; {show}"
        case _:
            return f"{what} needs you{why}; {decide if decidable else show}"


def _release(status: AgentStatus, reason: str) -> str:
    why = f" ({reason})" if reason else ""
    return f"{status.name} is {status.hold.value}{why}: rollcage resume {status.name} lets it work on"


def _failed(status: AgentStatus) -> bool:
    return status.state in {AgentState.ERROR, AgentState.TIMEOUT} and status.hold is Hold.NONE
