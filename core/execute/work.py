"""What every step is handed: the services, the plan, the journal, and the agents that run now."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..fleet.runs import Run, current_runs
from ..model import RecoveryPlan, Step
from ..services import Services
from .journal import Journal


@dataclass(frozen=True, slots=True)
class Work:
    """A rollback being carried out."""

    services: Services
    plan: RecoveryPlan
    journal: Journal
    measure: Callable[[Run], list[str]]
    """Measures an agent afresh and returns what is out of band; the engine supplies it."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Set when the process should leave: ends check commands early, never a step that moves anything."""

    def runs(self) -> dict[str, Run]:
        """Return the live runs by agent."""
        return {run.agent: run for run in current_runs(self.services.paths.inbox_db)}

    def data_of(self, name: str) -> Mapping[str, object]:
        """Return what the journal holds of the step ``name`` (the first of that name); empty where there is none."""
        return next((step.data for step in self.journal.steps() if step.name == name), {})


@dataclass(frozen=True, slots=True)
class StepKind:
    """How a kind of step is prepared, done, recognised and undone. All of them are idempotent.

    ``prepare`` looks and returns what must be in the journal before anything happens. ``do`` acts and returns what
    to add. ``is_done`` asks the world, after a crash in the middle. ``undo`` brings back what was.
    """

    prepare: Callable[[Work, Step], Mapping[str, object]]
    do: Callable[[Work, Step], Mapping[str, object]]
    is_done: Callable[[Work, Step], bool]
    undo: Callable[[Work, Step], None]


def nothing_to_prepare(work: Work, step: Step) -> Mapping[str, object]:
    """For steps that need no data beforehand."""
    return {}


def never_done(work: Work, step: Step) -> bool:
    """For steps that cost nothing to do again."""
    return False


def nothing_to_undo(work: Work, step: Step) -> None:
    """For steps that change nothing, or whose effect must stay (a stopped agent stays stopped)."""
