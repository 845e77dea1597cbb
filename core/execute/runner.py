"""Carry a plan out: one loop over its journaled steps, forward; on a failure back, newest first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from ..codec import canonical, from_json, to_json
from ..errors import RefusedError, RollcageError, StoreError
from ..fleet.runs import Run
from ..model import RecoveryPlan, Rollback, RollbackState, Step, StepState
from ..services import Services
from ..text import clean
from .agents import resume_standby, standby_seconds
from .journal import Journal
from .steps import KINDS
from .verify import NotVerifiedError
from .work import StepKind, Work

PHASE_DEADLINE_S = {1: 120.0, 2: 300.0, 3: 600.0, 4: 900.0}
"""After so long in a phase, the user's own check commands left out, an alert is raised; no step is cut short."""


def start_rollback(
    services: Services, plan: RecoveryPlan, *, approved_by: str, kind: str = "rollback", of: str = ""
) -> Rollback:
    """Write a rollback and all its steps into the journal; nothing has happened yet."""
    store = services.store
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


def carry_out(work: Work) -> Rollback:
    """Carry out, or carry on after a crash, the rollback of ``work``; return its record, ended.

    Steps that the journal has as done are left alone; one that it has as being done is asked whether it is.
    A failed step undoes all of them, newest first, unless only verification failed and ``on_unverified: keep`` holds.
    """
    journal = work.journal
    undoing = any(step.state in {StepState.FAILED, StepState.UNDONE} for step in journal.steps())
    if undoing:
        return _undo(work, journal.rollback.note or "it was being undone when the process ended")
    phase = 0
    try:
        for step in journal.steps():
            if step.state is StepState.DONE:
                continue
            if step.phase != phase:
                phase = step.phase
                _announce_phase(work, phase)
            _carry_out_step(work, step)
    except NotVerifiedError as failure:
        if work.services.settings.on_unverified == "keep":
            return _end(work, RollbackState.UNVERIFIED, str(failure))
        return _undo(work, str(failure))
    except RollcageError as failure:
        return _undo(work, str(failure))
    return _end(work, RollbackState.DONE, "")


def _carry_out_step(work: Work, step: Step) -> None:
    kind = KINDS[step.name]
    try:
        if step.state is StepState.PENDING or not step.data:
            step = work.journal.begin(step, kind.prepare(work, step))
        elif kind.is_done(work, step):
            work.journal.finish(step, StepState.DONE, note="was done before the process ended")
            return
        added = _doing(kind, work, step)
    except RollcageError as failure:
        newest = next(entry for entry in work.journal.steps() if entry.number == step.number)
        work.journal.finish(newest, StepState.FAILED, note=str(failure))
        work.journal.save(note=str(failure))
        raise
    newest = next(entry for entry in work.journal.steps() if entry.number == step.number)
    done = work.journal.finish(newest, StepState.DONE, added=added)
    standby = added.get("standby_s")
    if isinstance(standby, float):
        work.journal.save(standby_s=standby)
    _check_deadline(work, done)


def _doing(kind: StepKind, work: Work, step: Step) -> Mapping[str, object]:
    try:
        return kind.do(work, step)
    except OSError as error:
        raise StoreError(f"{step.name}: {error.strerror}: {clean(str(error.filename or ''))}") from error


def _announce_phase(work: Work, phase: int) -> None:
    rollback = work.journal.rollback
    work.services.store.append_event(
        "phase", {"rollback": rollback.id, "incident": rollback.incident, "phase": phase, "state": "started"}
    )


def _check_deadline(work: Work, step: Step) -> None:
    steps = [entry for entry in work.journal.steps() if entry.phase == step.phase and entry.name != "checks"]
    took = sum((s.ended - s.started).total_seconds() for s in steps if s.started is not None and s.ended is not None)
    limit = PHASE_DEADLINE_S[step.phase]
    if took > limit:
        text = f"phase {step.phase} of {step.rollback} has taken {took:.0f} s, over its {limit:.0f} s"
        work.services.store.append_event("alert", {"severity": "warning", "text": text, "rollback": step.rollback})


def _undo(work: Work, why: str) -> Rollback:
    """Undo what was done, newest first; what cannot be undone is named and the rest is undone all the same."""
    journal = work.journal
    left: list[str] = []
    for step in reversed(journal.steps()):
        if step.state in {StepState.PENDING, StepState.UNDONE}:
            continue
        if step.state is StepState.FAILED and not step.data:
            continue
        try:
            KINDS[step.name].undo(work, step)
        except RefusedError as problem:
            left.append(f"{step.name}: {problem} ({problem.code})")
        except RollcageError as problem:
            left.append(f"{step.name}: {problem}")
        else:
            newest = next(entry for entry in journal.steps() if entry.number == step.number)
            journal.finish(newest, StepState.UNDONE, note=newest.note)
    resume_standby(work.services)
    if left:
        return _end(work, RollbackState.FAILED, f"{why}; not undone: {'; '.join(left)}")
    return _end(work, RollbackState.UNDONE, why)


def _end(work: Work, state: RollbackState, note: str) -> Rollback:
    journal, store = work.journal, work.services.store
    waited = max(journal.rollback.standby_s, standby_seconds(work.services))
    with store.transaction():
        rollback = journal.save(state, note=note, standby_s=waited)
        store.append_event(
            "verification",
            {
                "rollback": rollback.id,
                "incident": rollback.incident,
                "verified": state is RollbackState.DONE,
                "state": state.value,
                "note": note,
                "head_after": rollback.head_after,
            },
        )
        store.audit("engine", f"{rollback.kind}_ended", rollback.id, note, outcome=state.value)
    return rollback


def work_for(
    services: Services, rollback: Rollback, measure: Callable[[Run], list[str]], stop: threading.Event
) -> Work:
    """Return what is needed to carry out, or carry on, ``rollback``, by the plan that it was started with."""
    return Work(services, plan_of(services, rollback.id), Journal(services, rollback), measure, stop)


def plan_of(services: Services, rollback: str) -> RecoveryPlan:
    """Return the plan that ``rollback`` was started with. Raises StoreError where it is missing or damaged."""
    kept = services.store.get_note(_plan_key(rollback))
    if kept is None:
        raise StoreError(f"the plan of {rollback} is missing from the state; see rollcage audit")
    return from_json(RecoveryPlan, kept)


def _plan_key(rollback: str) -> str:
    return f"plan:{rollback}"
