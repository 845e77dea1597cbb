"""An immutable picture of everything, for consoles. Widgets know this and `rollcage.core.model`, never the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from .model import (
    AgentStatus,
    Decision,
    Diagnosis,
    Event,
    Health,
    Incident,
    Lease,
    RecoveryPlan,
    Rollback,
    RollbackOption,
    Snapshot,
    Step,
)


@dataclass(frozen=True, slots=True)
class OptionView:
    """An option with its plan."""

    option: RollbackOption
    plan: RecoveryPlan


@dataclass(frozen=True, slots=True)
class RollbackView:
    """A rollback with its journaled steps, in order."""

    rollback: Rollback
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class IncidentView:
    """An incident with all that is known of it, options best first, decisions oldest first."""

    incident: Incident
    diagnosis: Diagnosis | None = None
    options: tuple[OptionView, ...] = ()
    decisions: tuple[Decision, ...] = ()
    rollbacks: tuple[RollbackView, ...] = ()
    activity: str = ""
    """What is being done about it now, with progress: ``searching: 3 of about 5 check runs``; empty: nothing."""


@dataclass(frozen=True, slots=True)
class Series:
    """The last values of one metric of one agent, oldest first, for sparklines."""

    agent: str
    metric: str
    unit: str
    values: tuple[float, ...]
    band: str = "normal"
    """``normal``, ``raised``, ``warning`` or ``critical``: of the newest value."""


@dataclass(frozen=True, slots=True)
class EngineView:
    """Which engine, if any, carries out decisions."""

    state: str = "none"
    """``here`` (this process), ``elsewhere``, or ``none``."""
    holder: str = ""
    """``pid 4711 on host``, cleaned."""
    level: str = ""
    busy: str = ""


@dataclass(frozen=True, slots=True)
class TrackerView:
    """How it stands with a tracker that is not this machine."""

    kind: str
    """``github``."""
    online: bool | None = None
    """Whether it answered the last time that any process asked; ``None``: nobody did yet."""
    remaining: int | None = None
    """Requests that are left of ``limit``, for all who share the token; ``None``: not known."""
    limit: int | None = None
    waiting: int = 0
    """Operations that wait to be sent."""
    conflicts: int = 0
    """Operations that an operator has to settle: ``rollcage issue sync``."""


@dataclass(frozen=True, slots=True)
class Board:
    """Everything that a console shows, at one moment. Two boards compare equal where nothing is to be redrawn."""

    seq: int
    """Of the newest event."""
    name: str
    """Of the repository: the last part of its path, cleaned."""
    path: str
    branch: str
    head: str
    """The commit of the branch; empty: unborn."""
    health: Health
    engine: EngineView = EngineView()
    agents: tuple[AgentStatus, ...] = ()
    series: tuple[Series, ...] = ()
    incidents: tuple[IncidentView, ...] = ()
    """Open ones first, then newest first; at most 50."""
    rollbacks: tuple[RollbackView, ...] = ()
    """Newest first; at most 50."""
    leases: tuple[Lease, ...] = ()
    cycles: tuple[tuple[str, ...], ...] = ()
    """Circles of waiting for leases: holder, lock, holder, lock, ... and the first holder again."""
    snapshots: tuple[Snapshot, ...] = ()
    events: tuple[Event, ...] = ()
    """Newest last; at most 500."""
    needs_you: int = 0
    """How many incidents wait for an operator."""
    warnings: tuple[str, ...] = ()
    """What is wrong with rollcage itself: settings not trusted, a check that cannot be believed."""
    stage_order: tuple[str, ...] = ()
    tracker: TrackerView | None = None
    """``None``: Issues live on this machine."""
    transitions: Mapping[str, tuple[tuple[datetime, str, str], ...]] = field(default_factory=dict)
    """By agent: its newest state changes as (when, from, to), oldest first; at most 20."""
