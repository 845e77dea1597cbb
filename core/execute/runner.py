"""Carry a plan out: one loop over its journaled steps, forward; on a failure back, newest first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from ..codec import canonical, from_json, to_json
from ..errors import RefusedError, RollcageError, StoreError, UsageError
from ..fleet.runs import Run
from ..model import RecoveryPlan, Rollback, RollbackState, Step, StepState
from ..services import Services
from ..text import clean
from .journal import Journal, JournalError
from .publishing import MOVED, take_back_begun, where_it_stands
from .standby import resume_standby, standby_seconds
from .steps import KINDS
from .work import ON_RECORD, NotVerifiedError, StepKind, Work

PHASE_DEADLINE_S = {1: 120.0, 2: 300.0, 3: 600.0, 4: 900.0}
"""After so long in a phase, the user's own check commands left out, an alert is raised; no step is cut short."""
TRIES = 3
"""How often a change is brought onto the branch, where that moves in the very moment of publication."""
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


def work_for(services: Services, rollback: Rollback, measure: Callable[[Run], list[str]]) -> Work:
    """Return what is needed to carry out, or carry on, ``rollback``, by the plan that it was started with."""
    return Work(services, plan_of(services, rollback.id), Journal(services, rollback), measure)


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


def carry_out(work: Work) -> Rollback:
    """Carry out, or carry on after a crash, the rollback of ``work``; return its record, ended.

    Steps that the journal has as done are left alone; one that it has as being done is asked whether it is. A failed
    step undoes all of them, newest first; one that only failed to verify does so unless ``on_unverified: keep`` holds.
    Raises JournalError where nothing can be written down: then all stays as it is, to be carried on later. An error
    that is no RollcageError is a defect: what was done is undone, and it is raised.
    """
    work.journal.take_over()
    failed = _failed_step(work) or _forward(work)
    if failed is None:
        return _end(work, RollbackState.DONE, "")
    return _keep(work, failed) if failed.data.get("keep") else _undo(work, failed.note)


def _failed_step(work: Work) -> Step | None:
    """Return the step at which it turned round; none: it goes forward."""
    turned = [step for step in work.journal.steps() if step.state in _ENDED_BADLY]
    return next((step for step in turned if step.data.get("keep")), turned[-1]) if turned else None


# Forward


def _forward(work: Work) -> Step | None:
    """Carry out the steps that are left, in order; return the one that failed."""
    phase = 0
    while (step := next((s for s in work.journal.steps() if s.state is not StepState.DONE), None)) is not None:
        if step.phase != phase:
            phase = step.phase
            _announce(work, phase, "started")
        if (failed := _carry_out_step(work, step)) is not None:
            return failed
        _look_at_the_time(work, phase)
    return None


def _carry_out_step(work: Work, step: Step) -> Step | None:
    kind = KINDS[step.name]
    try:
        with _explained(step):
            if step.state is StepState.PENDING:
                added = kind.do(work, work.journal.begin(step, kind.prepare(work, step)))
            elif kind.is_done(work, step):
                added = {}
            else:
                added = kind.do(work, step)
    except JournalError:
        raise
    except RollcageError as failure:
        if _branch_moved(failure) and _begin_again(work, step, kind):
            return None
        return _fail(work, step, failure)
    except Exception as defect:
        _undo(work, _fail(work, step, RollcageError(f"a defect of rollcage: {clean(repr(defect), limit=300)}")).note)
        raise
    newest = work.journal.step(step.number)
    known = {**newest.data, **added}
    record = {name: known[name] for name in ON_RECORD if name in known}
    work.journal.finish(newest, StepState.DONE, added=added, record=record)
    return None


def _fail(work: Work, step: Step, failure: RollcageError) -> Step:
    unverified = isinstance(failure, NotVerifiedError)
    keep = isinstance(failure, NotVerifiedError) and (failure.spare or work.services.settings.on_unverified == "keep")
    added = {"keep": keep} if unverified else None
    # Again from the journal: what the step wrote there meanwhile must not be lost.
    return work.journal.finish(work.journal.step(step.number), StepState.FAILED, note=_words(failure), added=added)


def _branch_moved(failure: RollcageError) -> bool:
    return isinstance(failure, RefusedError) and failure.code in MOVED


def _begin_again(work: Work, step: Step, kind: StepKind) -> bool:
    """Go back to the step that looks at the branch, where nothing of the publication is left; say whether that is so.

    The change is then brought onto the branch as it is now: an agent's commit in the last moment is no failure.
    """
    steps = work.journal.steps()
    start = next((entry for entry in steps if entry.name == kind.again_from), None)
    tried = int(str(start.data.get("tried", 0))) + 1 if start is not None else TRIES
    if start is None or tried >= TRIES:
        return False
    try:
        with _explained(step):
            if take_back_begun(work, work.journal.step(step.number)):
                return False
    except JournalError:
        raise
    except RollcageError:  # undoing tries it again, and says what is in the way
        return False
    work.journal.write(
        *(
            replace(
                entry,
                state=StepState.PENDING,
                data={"tried": tried} if entry is start else {},
                started=None,
                ended=None,
                note=f"again: {work.plan.branch} moved",
            )
            for entry in steps
            if start.number <= entry.number <= step.number
        )
    )
    return True


def _announce(work: Work, phase: int, state: str) -> None:
    rollback = work.journal.rollback
    work.services.store.append_event(
        "phase", {"rollback": rollback.id, "incident": rollback.incident, "phase": phase, "state": state}
    )


def _look_at_the_time(work: Work, phase: int) -> None:
    """Tell once when a phase has taken longer than it should; and when it is over."""
    steps = [step for step in work.journal.steps() if step.phase == phase]
    ended = [step for step in steps if step.state is StepState.DONE]
    took = [_seconds(step) for step in ended]
    limit = PHASE_DEADLINE_S[phase]
    if took and sum(took) > limit >= sum(took[:-1]):
        text = f"phase {phase} of {ended[-1].rollback} has taken {sum(took):.0f} s, over its {limit:.0f} s"
        work.services.store.append_event("alert", {"severity": "warning", "text": text, "rollback": ended[-1].rollback})
    if len(ended) == len(steps):
        _announce(work, phase, "done")


def _seconds(step: Step) -> float:
    """Return how long a step took, the user's own check commands left out."""
    if step.started is None or step.ended is None:
        return 0.0
    checks = step.data.get("checks_s")
    return max((step.ended - step.started).total_seconds() - (checks if isinstance(checks, float) else 0.0), 0.0)


# Back


def _undo(work: Work, why: str) -> Rollback:
    """Undo what was done, newest first; what cannot be undone is named, and the rest is undone all the same."""
    journal = work.journal
    left: list[str] = []
    for step in reversed(journal.steps()):
        if step.state in {StepState.PENDING, StepState.UNDONE}:
            continue
        try:
            with _explained(step):
                KINDS[step.name].undo(work, step)
        except JournalError:
            raise
        except RollcageError as problem:
            code = f" ({problem.code})" if isinstance(problem, RefusedError) else ""
            left.append(f"{step.name}: {_words(problem)}{code}")
        else:
            newest = journal.step(step.number)
            journal.finish(newest, StepState.UNDONE, note=newest.note)
    if left:
        way = f"{where_it_stands(work)}; nobody was released; when that is mended: rollcage undo {journal.rollback.id}"
        return _end(work, RollbackState.FAILED, f"{why}; not undone: {'; '.join(left)}; {way}")
    journal.save(standby_s=max(journal.rollback.standby_s, standby_seconds(work.services)))
    resume_standby(work.services, but=journal.rollback.incident)
    return _end(work, RollbackState.UNDONE, why)


def _keep(work: Work, failed: Step) -> Rollback:
    """Leave everything as it is though it is not verified: the problem agent stays stopped, the others work on."""
    words = [failed.note]
    for step in work.journal.steps():
        try:
            with _explained(step):
                if step.name == "restart_agent" and step.state is not StepState.PENDING:
                    KINDS[step.name].undo(work, step)
        except JournalError:
            raise
        except RollcageError as problem:
            words.append(f"{step.name}: {_words(problem)}")
        if step.name == "resume_others" and step.state is not StepState.DONE:
            later = _carry_out_step(work, step)
            words += [f"{later.name}: {later.note}"] if later is not None else []
    return _end(work, RollbackState.UNVERIFIED, "; ".join(words))


def _end(work: Work, state: RollbackState, note: str) -> Rollback:
    journal, store = work.journal, work.services.store
    waited = max(journal.rollback.standby_s, standby_seconds(work.services))
    with store.transaction():
        rollback = journal.save(state, note=note, standby_s=waited)
        about = {"rollback": rollback.id, "incident": rollback.incident}
        store.append_event(
            "verification",
            {
                **about,
                "verified": state is RollbackState.DONE,
                "state": state.value,
                "note": note,
                "head_after": rollback.head_after,
            },
        )
        if state is not RollbackState.DONE:
            text = f"{rollback.id} is {state.value}: {note}"
            store.append_event("alert", {"severity": "critical", "text": text, **about})
        store.audit("engine", f"{rollback.kind}_ended", rollback.id, note, outcome=state.value)
    return rollback


@contextmanager
def _explained(step: Step) -> Iterator[None]:
    """Turn an error of the file system within into a StoreError of one line."""
    try:
        yield
    except OSError as error:
        place = f": {clean(str(error.filename))}" if error.filename else ""
        raise StoreError(f"{step.name}: {error.strerror or error}{place}") from error


def _words(failure: RollcageError) -> str:
    """Return what an error says, with what was noted on it on its way."""
    return "; ".join([str(failure), *getattr(failure, "__notes__", ())])


def _plan_key(rollback: str) -> str:
    return f"plan:{rollback}"
