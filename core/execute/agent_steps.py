"""Steps that hold, stop and start agents."""

from __future__ import annotations

from collections.abc import Mapping

from ..clock import iso, parse_iso
from ..errors import RollcageError
from ..model import Step
from .agents import start_again, stop_agent
from .standby import resume_standby, stand_by, standing_by
from .work import NotVerifiedError, StepKind, Work


def _do_stop(work: Work, step: Step) -> Mapping[str, object]:
    return stop_agent(work.services, step.subject, f"rollback {work.journal.rollback.id}")


def _do_stand_by(work: Work, step: Step) -> Mapping[str, object]:
    return {"told": stand_by(work.services, work.plan.agent, f"rollback {work.journal.rollback.id}")}


def _do_restart(work: Work, step: Step) -> Mapping[str, object]:
    try:
        started = start_again(work.services, step.subject)
    except RollcageError as failure:  # what was rolled back is not to blame for sure: the settings decide
        raise NotVerifiedError(str(failure)) from failure
    return {"pid": started.pid, "supervised": started.supervised, "ended": started.ended}


def _undo_restart(work: Work, step: Step) -> None:
    stop_agent(work.services, step.subject, f"rollback {work.journal.rollback.id} is taken back")


def _prepare_resume(work: Work, step: Step) -> Mapping[str, object]:
    """Since when they stand by: make-safe may have begun it long before the rollback; gone once they work on."""
    held = standing_by(work.services)
    return {"since": iso(held[0].since) if held else ""}


def _do_resume(work: Work, step: Step) -> Mapping[str, object]:
    since = str(step.data.get("since", ""))
    waited = (work.services.clock.now() - parse_iso(since)).total_seconds() if since else 0.0
    resumed = resume_standby(work.services, but=work.journal.rollback.incident)
    return {"resumed": resumed, "standby_s": max(waited, 0.0)}


STOP_AGENT = StepKind(_do_stop)
STAND_BY = StepKind(_do_stand_by)  # undone by the runner: only once all else is undone may they work on
RESTART_AGENT = StepKind(_do_restart, undo=_undo_restart)
RESUME_OTHERS = StepKind(_do_resume, _prepare_resume)
