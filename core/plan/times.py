"""How long a plan will take: as long as its steps took in earlier rollbacks; constants where there was none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from ..model import CheckOutcome, PlanStep, Step, StepState
from ..services import Services
from ..store.store import Store

OWN_STEP_S: Mapping[str, float] = {
    "stop_agent": 0.2,
    "stand_by": 0.1,
    "still_valid": 0.1,
    "snapshot": 0.5,
    "commit": 0.1,
    "publish": 0.3,
    "reset_agent": 0.2,
    "database": 0.5,
    "checks": 0.0,
    "verify": 0.2,
    "restart_agent": 0.3,
    "metrics": 1.0,
    "resume_others": 0.1,
    "push": 2.0,
}
"""Seconds of a step of which there is no history yet: of rollcage's own work, on a small repository, from ``make
bench``. ``checks`` has none of its own: it is the user's commands."""
DATABASE_BYTES_PER_S = 50e6
"""How fast a database is brought back where that never happened yet: a slow disk, read and written with fsync."""
LOOK_BACK = 50
"""Earlier rollbacks that count; older ones were of another repository, so to say."""


@dataclass(frozen=True, slots=True)
class History:
    """How long steps took before, in seconds, the user's check commands left out."""

    seconds: Mapping[str, float]
    """The median by the name of the step."""
    counts: Mapping[str, int]
    """Of how many steps."""


def history_of_steps(store: Store, limit: int = LOOK_BACK) -> History:
    """Return how long the steps of the newest ``limit`` rollbacks took; those that were carried out only.

    The median, because one step that waited for somebody's lock says nothing of the next. Raises StoreError.
    """
    took: defaultdict[str, list[float]] = defaultdict(list)
    for rollback in store.rollbacks(limit):
        for step in store.steps(rollback.id):
            seconds = _seconds(step)
            if seconds is not None:
                took[step.name].append(seconds)
    return History(
        {name: median(all_) for name, all_ in took.items()}, {name: len(all_) for name, all_ in took.items()}
    )


def estimated_seconds(services: Services, steps: Sequence[PlanStep], checks: Sequence[CheckOutcome]) -> float:
    """Return how long ``steps`` will take with ``checks`` as they ran in rehearsal. Raises StoreError."""
    history = history_of_steps(services.store)
    total = 0.0
    for step in steps:
        own = history.seconds.get(step.name, OWN_STEP_S.get(step.name, 0.0))
        if step.name == "database" and step.name not in history.seconds:
            own += database_bytes(services) / DATABASE_BYTES_PER_S
        if step.name == "checks":
            own += wall_time(checks, services.settings.limits.parallel_checks)
        total += own
    return total


def wall_time(checks: Sequence[CheckOutcome], side_by_side: int) -> float:
    """Return how long ``checks`` take, in seconds, with so many of them at the same time."""
    times = [check.duration_s for check in checks]
    return max(*times, sum(times) / side_by_side) if times else 0.0


def database_bytes(services: Services) -> int:
    """Return how large the newest snapshot with the database is; 0 where there is none yet."""
    return next((snapshot.size for snapshot in services.store.snapshots() if snapshot.databases), 0)


def _seconds(step: Step) -> float | None:
    if step.state is not StepState.DONE or step.started is None or step.ended is None:
        return None
    checks = step.data.get("checks_s")
    own = (step.ended - step.started).total_seconds() - (checks if isinstance(checks, (int, float)) else 0.0)
    return max(own, 0.0)
