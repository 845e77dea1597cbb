"""The board as it stands in the state; the same for an engine's own console and for one that attaches.

It is read again whenever anything was written, so most of it must cost nothing: what cannot have changed since is
taken from the read before. Signals are told by their place, the rest by what is in the record itself and by the
events about it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from .board import Board, EngineView, IncidentView, OptionView, RollbackView, Series
from .clock import Clock
from .coordination.leases import Leases
from .coordination.waits import cycles
from .detect.bands import band_of
from .detect.behaviour import SAMPLED
from .detect.incidents import is_unresolved
from .detect.rules import rules
from .errors import StoreError
from .issues.glance import TrackerGlance
from .model import (
    ENDED_STATES,
    EVERYBODY,
    AgentStatus,
    Event,
    Incident,
    IncidentState,
    Lease,
    RollbackState,
    Signal,
    SignalKind,
)
from .progress import activity, in_words, level_of_engine, warnings_of_engine
from .status import View, agent_statuses, overall_health, waiting_pushes
from .text import clean

SPARK = 32
"""How many values a sparkline keeps."""
INCIDENTS = ROLLBACKS = SNAPSHOTS = 50
EVENTS = 500
TRANSITIONS = 20
_SAME_END_S = 0.5
"""Two reads of one lease whose ends differ by less see the same lease: clocks are read one after the other."""

LOCKS_AGAIN_S = 10.0
"""Where the keeper of the leases did not answer, it is asked again only after so long: each try may take seconds."""

_Changes = tuple[tuple[datetime, str, str], ...]


@dataclass(slots=True)
class _Measured:
    """What was read of one agent's signals, with the places of the newest."""

    places: dict[tuple[SignalKind, str], int] = field(default_factory=dict)
    newest: dict[str, Signal] = field(default_factory=dict)
    series: dict[str, Series] = field(default_factory=dict)
    changes: _Changes = ()


class Picture:
    """Reads board after board, from one thread. Two reads without a change in between compare equal."""

    def __init__(self, view: View, leases: Leases, clock: Clock) -> None:
        """Take where to read; the clock tells how far the time of leases has run."""
        self._view, self._leases, self._clock = view, leases, clock
        self._rules = rules(view.settings)
        self._events: deque[Event] = deque(maxlen=EVENTS)
        self._seq = 0
        self._measured: dict[str, _Measured] = {}
        self._incidents: dict[str, IncidentView] = {}
        self._rollbacks: dict[str, RollbackView] = {}
        self._held: tuple[Lease, ...] = ()
        self._held_at = 0.0
        self._cycles: tuple[tuple[str, ...], ...] = ()
        self._locks_trouble = ""
        self._locks_asked = float("-inf")
        self._tracker = TrackerGlance(view.settings.tracker, view.paths, clock)

    def read(self, *, name: str, path: str, head: str, engine: EngineView, warnings: tuple[str, ...] = ()) -> Board:
        """Return everything that a console shows. Reads only; what is of ``state.db`` is of one moment.

        Leases that cannot be read are those of before, with a warning: a lost Redis hides nothing else. Raises
        StoreError.
        """
        view, store = self._view, self._view.store
        leases = self._read_leases()
        with store.at_one_moment():
            touched = self._read_events()
            newest = {incident.id: incident for incident in store.incidents(limit=INCIDENTS)}
            newest |= {incident.id: incident for incident in store.incidents(open_only=True, limit=INCIDENTS)}
            incidents = sorted(newest.values(), key=lambda incident: incident.opened, reverse=True)
            incidents.sort(key=lambda incident: not is_unresolved(incident))
            trouble = [incident for incident in incidents if is_unresolved(incident)]
            rollbacks = self._read_rollbacks(touched)
            views = self._read_incidents(incidents[:INCIDENTS], rollbacks, touched)
            statuses = agent_statuses(view, newest=lambda agent: self._measure(agent).newest, trouble=trouble)
            engine = replace(engine, level=level_of_engine(store) or engine.level, busy=_busy(rollbacks, views))
            warnings = (*warnings, *warnings_of_engine(store), *waiting_pushes(store))
            if self._locks_trouble:
                warnings = (f"locks are not up to date: {self._locks_trouble}", *warnings)
            snapshots = tuple(store.snapshots()[:SNAPSHOTS])
        return Board(
            seq=self._seq,
            name=name,
            path=path,
            branch=view.settings.branch,
            head=head,
            health=overall_health(trouble),
            engine=engine,
            agents=statuses,
            series=self._series(statuses),
            incidents=views,
            rollbacks=rollbacks,
            leases=leases,
            cycles=self._cycles,
            snapshots=snapshots,
            events=tuple(self._events),
            needs_you=sum(_needs_you(incident) for incident in trouble),
            warnings=warnings,
            stage_order=tuple(view.settings.stages),
            tracker=self._tracker.read(),
            transitions={status.name: self._measured[status.name].changes for status in statuses},
        )

    # -- state.db

    def _read_events(self) -> frozenset[str] | None:
        """Take in what is new; return the ids that new events are about, or ``None``: anything may have changed."""
        store = self._view.store
        first = not self._events
        new = store.events_since(self._seq, EVENTS)
        if len(new) == EVENTS:
            new, first = store.recent_events(EVENTS), True
        self._events.extend(new)
        self._seq = new[-1].seq if new else self._seq
        if first:
            return None
        return frozenset(str(event.body.get(key)) for event in new for key in ("id", "incident", "rollback"))

    def _read_rollbacks(self, touched: frozenset[str] | None) -> tuple[RollbackView, ...]:
        store, before = self._view.store, self._rollbacks
        self._rollbacks = {}
        for rollback in store.rollbacks(ROLLBACKS):
            known = before.get(rollback.id)
            still = known is not None and known.rollback == rollback and rollback.state is not RollbackState.RUNNING
            if known is None or not still or touched is None or rollback.id in touched:
                known = RollbackView(rollback, tuple(store.steps(rollback.id)))
            self._rollbacks[rollback.id] = known
        return tuple(self._rollbacks.values())

    def _read_incidents(
        self, incidents: Sequence[Incident], rollbacks: Sequence[RollbackView], touched: frozenset[str] | None
    ) -> tuple[IncidentView, ...]:
        before, self._incidents = self._incidents, {}
        for incident in incidents:
            own = tuple(each for each in rollbacks if each.rollback.incident == incident.id)
            known = before.get(incident.id)
            still = known is not None and known.incident == incident and incident.state in ENDED_STATES
            if known is None or not still or touched is None or incident.id in touched or known.rollbacks != own:
                known = self._read_incident(incident, own)
            self._incidents[incident.id] = known
        return tuple(self._incidents.values())

    def _read_incident(self, incident: Incident, rollbacks: tuple[RollbackView, ...]) -> IncidentView:
        store = self._view.store
        return IncidentView(
            incident=incident,
            diagnosis=store.diagnosis(incident.id),
            options=tuple(OptionView(option, plan) for option, plan in store.options(incident.id)),
            decisions=tuple(in_words(each) for each in store.decisions(incident=incident.id)),
            rollbacks=rollbacks,
            activity=activity(store, incident.id),
        )

    # -- the inbox

    def _measure(self, agent: str) -> _Measured:
        """Read what is new of an agent's signals; return all that is known of them."""
        signals = self._view.signals
        known = self._measured.setdefault(agent, _Measured())
        places = signals.positions(agent)
        new = {key: place for key, place in places.items() if known.places.get(key) != place}
        for signal in signals.at(sorted(place for (kind, _), place in new.items() if kind is not SignalKind.STATE)):
            known.newest[signal.name] = signal
            values = signals.values(agent, signal.name, SPARK)
            band = band_of(self._rules, signal).value
            known.series[signal.name] = Series(agent, signal.name, signal.unit or "", values, band)
        if any(kind is SignalKind.STATE for kind, _ in new):
            changes = signals.of_kind(agent, SignalKind.STATE, TRANSITIONS)
            known.changes = tuple(
                (each.at, clean(str(each.attrs.get("from", "")), limit=20), each.name) for each in changes
            )
        known.places = places
        return known

    def _series(self, statuses: Sequence[AgentStatus]) -> tuple[Series, ...]:
        """Return the courses of all metrics; of an agent that does not run, none of what is measured of processes."""
        found = []
        for agent, running in ((EVERYBODY, False), *((status.name, status.since is not None) for status in statuses)):
            measured = self._measure(agent) if agent == EVERYBODY else self._measured[agent]
            found += [each for _, each in sorted(measured.series.items()) if running or each.metric not in SAMPLED]
        return tuple(each for each in found if each.values)

    # -- leases

    def _read_leases(self) -> tuple[Lease, ...]:
        """Return the leases, the very tuple of before where nothing but the time has passed: widgets count it down."""
        if self._locks_trouble and self._clock.boot() - self._locks_asked < LOCKS_AGAIN_S:
            return self._held
        try:
            self._take_in_leases()
            self._locks_trouble = ""
        except StoreError as problem:
            self._locks_trouble = str(problem)
        self._locks_asked = self._clock.boot()
        return self._held

    def _take_in_leases(self) -> None:
        leases, now = tuple(self._leases.list()), self._clock.boot()
        passed = now - self._held_at
        same = len(leases) == len(self._held) and all(
            replace(new, expires_in_s=0.0) == replace(old, expires_in_s=0.0)
            and abs(old.expires_in_s - passed - new.expires_in_s) < _SAME_END_S
            for new, old in zip(leases, self._held, strict=True)
        )
        if not same:
            waited_for = any(lease.waiters for lease in leases)
            self._cycles = tuple(cycles(self._leases.wait_log())) if waited_for else ()
            self._held, self._held_at = leases, now


def _needs_you(incident: Incident) -> bool:
    """Return whether an operator must do something about an incident in trouble."""
    left = incident.state in ENDED_STATES and incident.state is not IncidentState.REJECTED
    return incident.state is IncidentState.WAITING or left


def _busy(rollbacks: Sequence[RollbackView], incidents: Sequence[IncidentView]) -> str:
    running = [view.rollback.id for view in rollbacks if view.rollback.state is RollbackState.RUNNING]
    at_work = [f"{view.incident.id} {view.activity}" for view in incidents if view.activity]
    return next(iter((*running, *at_work)), "")
