"""The names of steps, as they stand in plans and journals, and what each does."""

from __future__ import annotations

from . import agent_steps, code, data_steps, push_step, reset, verify
from .work import StepKind

KINDS: dict[str, StepKind] = {
    "stop_agent": agent_steps.STOP_AGENT,
    "stand_by": agent_steps.STAND_BY,
    "still_valid": code.STILL_VALID,
    "snapshot": code.SNAPSHOT,
    "commit": code.COMMIT,
    "publish": code.PUBLISH,
    "reset_agent": reset.RESET_AGENT,
    "database": data_steps.DATABASE,
    "checks": verify.CHECKS,
    "verify": verify.VERIFY,
    "restart_agent": agent_steps.RESTART_AGENT,
    "metrics": verify.METRICS,
    "resume_others": agent_steps.RESUME_OTHERS,
    "push": push_step.PUSH,
}
