"""The names of steps, as they stand in plans and journals, and what each does."""

from __future__ import annotations

from ..model import PlanStep
from . import agents, code, verify
from .work import StepKind

KINDS: dict[str, StepKind] = {
    "stop_agent": agents.STOP_AGENT,
    "stand_by": agents.STAND_BY,
    "still_valid": code.STILL_VALID,
    "snapshot": code.SNAPSHOT,
    "commit": code.COMMIT,
    "publish": code.PUBLISH,
    "checks": verify.CHECKS,
    "verify": verify.VERIFY,
    "restart_agent": agents.RESTART_AGENT,
    "metrics": verify.METRICS,
    "resume_others": agents.RESUME_OTHERS,
}


def unknown_steps(steps: tuple[PlanStep, ...]) -> list[str]:
    """Return the names in ``steps`` that no kind has."""
    return [step.name for step in steps if step.name not in KINDS]
