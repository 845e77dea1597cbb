"""A rollback from its first line in the journal to its end: forward step by step, and on a failure back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..codec import canonical, from_json, to_json
from ..errors import RollcageError, StoreError, UsageError
from ..fleet.runs import Run
from ..model import RecoveryPlan, Rollback, RollbackState, Step, StepState
from ..services import Services
from .back import end, keep, take_back
from .forward import go_forward
from .journal import Journal, JournalError
from .steps import KINDS
from .work import Work, no_window

MOVED_AWAY = frozenset({"moved", "branch_moved", "worktrees_changed"})
"""Why a rollback published nothing: the branch is no longer what it was planned for."""
_ENDED_BADLY = frozenset({StepState.FAILED, StepState.UNDONE})


def start_rollback(
    services: Services, plan: RecoveryPlan, *, approved_by: str, kind: str = "rollback", of: str = ""
) -> Rollback:
    """Write a rollback and all its steps into the journal; nothing has happened yet."""
    store = services.store
    unknown = [step.name for step in plan.steps if step.name not in KINDS]
    if unknown:
        raise UsageError(f"the plan of {plan.option} has steps that nobody knows: {', '.join(unknown)}")
    with store.transaction():
        rollback = Rollback(
            id=store.new_rollback_id(),
            incident=plan.incident,
            option=plan.option,
            plan_hash=plan.plan_hash,
            kind=kind,
            state=RollbackState.RUNNING,
            approved_by=approved_by,
            started=services.clock.now(),
            head_before=plan.head,
            of=of,
        )
        store.save_rollback(rollback)
        store.set_note(_plan_key(rollback.id), canonical(to_json(plan)))
        for number, step in enumerate(plan.steps, 1):
            store.save_step(
                Step(
                    rollback=rollback.id,
                    number=number,
                    phase=step.phase,
                    name=step.name,
                    subject=step.subject,
                    state=StepState.PENDING,
                )
            )
        store.audit(approved_by, f"{kind}_started", rollback.id, plan.incident, detail={"plan_hash": plan.plan_hash})
    return rollback


def work_for(
    services: Services,
    rollback: Rollback,
    measure: Callable[[Run], list[str]],
    window: Callable[[str], float] = no_window,
) -> Work:
    """Return what is needed to carry out, or carry on, ``rollback``, by the plan that it was started with."""
    return Work(services, plan_of(services, rollback.id), Journal(services, rollback), measure, window)


def plan_of(services: Services, rollback: str) -> RecoveryPlan:
    """Return the plan that ``rollback`` was started with. Raises StoreError where it is missing or damaged."""
    kept = services.store.get_note(_plan_key(rollback))
    if kept is None:
        raise StoreError(f"the plan of {rollback} is missing from the state; see rollcage audit")
    return from_json(RecoveryPlan, kept)


def try_undo_again(services: Services, rollback: Rollback, by: str) -> Rollback:
    """Write that a rollback that could not be undone wholly is to be undone on, once somebody mended the obstacle.

    `carry_out` it then. Raises UsageError for one in another state.
    """
    if rollback.state is not RollbackState.FAILED:
        raise UsageError(f"{rollback.id} is {rollback.state.value}: nothing of it is left to undo")
    running = replace(rollback, state=RollbackState.RUNNING, ended=None)
    with services.store.transaction():
        services.store.save_rollback(running)
        services.store.audit(by, f"{rollback.kind}_undone_on", rollback.id, rollback.note)
    return running


def turned_at(services: Services, rollback: Rollback) -> str:
    """Return the code of the refusal for which ``rollback`` turned round; empty: it was for something else."""
    turned = [step for step in services.store.steps(rollback.id) if step.state in _ENDED_BADLY]
    return str(turned[-1].data.get("code", "")) if turned else ""


def came_to_nothing(services: Services, rollback: Rollback) -> bool:
    """Return whether ``rollback`` published nothing because the branch was no longer what it was planned for."""
    undone = rollback.state is RollbackState.UNDONE and not rollback.head_after
    return undone and turned_at(services, rollback) in MOVED_AWAY


def carry_out(work: Work) -> Rollback:
    """Carry out, or carry on after a crash, the rollback of ``work``; return its record, ended.

    Steps that the journal has as done are left alone; one that it has as being done is asked whether it is. A failed
    step undoes all of them, newest first; one that only failed to verify does so unless ``on_unverified: keep`` holds.
    Raises JournalError where nothing can be written down: then all stays as it is, to be carried on later. An error
    that is no RollcageError is a defect: what was done is undone, and it is raised.
    """
    try:
        return _carry_out(work)
    except JournalError:
        raise
    except StoreError as error:  # outside of any step: an event, a hold, the audit log
        raise JournalError(str(error)) from error


def _carry_out(work: Work) -> Rollback:
    work.journal.take_over()
    unknown = [step.name for step in work.journal.steps() if step.name not in KINDS]
    if unknown:
        raise JournalError(
            f"{work.journal.rollback.id} has steps that this rollcage does not know ({', '.join(unknown)}): update it"
        )
    failed = _failed_step(work)
    try:
        failed = failed or go_forward(work)
    except RollcageError:
        raise
    except Exception:
        failed = _failed_step(work)
        if failed is not None:
            take_back(work, failed.note)
        raise
    if failed is None:
        return end(work, RollbackState.DONE, _noted(work))
    return keep(work, failed) if failed.data.get("keep") else take_back(work, failed.note)


def _failed_step(work: Work) -> Step | None:
    """Return the step at which it turned round; none: it goes forward."""
    turned = [step for step in work.journal.steps() if step.state in _ENDED_BADLY]
    return next((step for step in turned if step.data.get("keep")), turned[-1]) if turned else None


def _noted(work: Work) -> str:
    """Return what was seen though it does not speak against the rollback."""
    noted = work.data_of("checks").get("reservations")
    return "; ".join(f"noted: {words}" for words in noted) if isinstance(noted, list) else ""


def _plan_key(rollback: str) -> str:
    return f"plan:{rollback}"
