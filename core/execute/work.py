"""What every step is handed: the services, the plan, the journal, and the agents that run now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..errors import RefusedError, RollcageError
from ..fleet.runs import Run
from ..model import RecoveryPlan, Step
from ..services import Services
from .journal import Journal


class NotVerifiedError(RollcageError):
    """The rollback was carried out but the system is not seen to be healthy.

    ``spare``: taking the rollback back would mend nothing, for the trouble was there before it, or cannot be seen now.
    """

    def __init__(self, message: str, *, spare: bool = False) -> None:
        """Take the message for people, and whether the rollback is to be kept whatever the settings say."""
        super().__init__(message)
        self.spare = spare


def no_window(incident: str) -> float:
    """For who measures once."""
    return 0.0


@dataclass(frozen=True, slots=True)
class Work:
    """A rollback being carried out. Nothing stops it midway: who leaves waits for its end, or is killed."""

    services: Services
    plan: RecoveryPlan
    journal: Journal
    measure: Callable[[Run], list[str]]
    """Measures an agent afresh and returns what is out of band; the engine supplies it."""
    window: Callable[[str], float] = no_window
    """How long the metrics that an incident is about must be in band after it, in seconds; 0: it is about none."""

    def data_of(self, name: str) -> Mapping[str, object]:
        """Return what the journal holds of the step ``name`` (the first of that name); empty where there is none."""
        return next((step.data for step in self.journal.steps() if step.name == name), {})

    def tip(self) -> str:
        """Return the commit that the branch points to. Raises RefusedError ``branch_gone``."""
        tip = self.services.repository.tip(self.plan.branch)
        if tip is None:
            raise RefusedError("branch_gone", f"branch {self.plan.branch} does not exist any more")
        return tip


Prepare = Callable[[Work, Step], Mapping[str, object]]
Undo = Callable[[Work, Step], None]


def nothing_to_prepare(work: Work, step: Step) -> Mapping[str, object]:
    """For steps that need no data beforehand."""
    return {}


def never_done(work: Work, step: Step) -> bool:
    """For steps that cost nothing to do again, or whose ``do`` asks the world itself."""
    return False


def nothing_to_undo(work: Work, step: Step) -> None:
    """For steps that change nothing, or whose effect must stay (a stopped agent stays stopped)."""


@dataclass(frozen=True, slots=True)
class StepKind:
    """How a kind of step is prepared, done, recognised and undone. All of them are idempotent.

    What they raise is a RollcageError or an OSError. Of the data in the journal, what is in `ON_RECORD` goes into the
    rollback's own record as well, in the same moment as the step is written down as done.
    """

    do: Callable[[Work, Step], Mapping[str, object]]
    """Acts, and returns what to add to the data; also after a crash in the middle of it."""
    prepare: Prepare = nothing_to_prepare
    """Looks, and returns what must be in the journal before anything happens."""
    is_done: Callable[[Work, Step], bool] = never_done
    """Asks the world, after a crash in the middle."""
    undo: Undo = nothing_to_undo
    """Brings back what was; also where ``do`` failed, or never began."""
    again_from: str = ""
    """The step to go back to where the branch moved and nothing was published yet; empty: it is a failure."""


ON_RECORD = ("snapshot", "head_after", "standby_s")
"""What of a step's data is a field of the rollback's record, too."""
