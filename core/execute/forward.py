"""The way forward: the steps of the journal that are left, in order, each done once."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from ..errors import RefusedError, RollcageError
from ..model import Step, StepState
from ..text import clean
from .deadline import PHASE_DEADLINE_S, overran, watched
from .failures import explained, words_of
from .journal import JournalError
from .publishing import MOVED, take_back_begun
from .steps import KINDS
from .work import ON_RECORD, NotVerifiedError, StepKind, Work

_WITH_CHECKS = frozenset({"still_valid", "checks"})
"""Steps that run the user's own commands: how long they took themselves is only known when they are over."""
TRIES = 3
"""How often a change is brought onto the branch, where that moves in the very moment of publication."""


def go_forward(work: Work) -> Step | None:
    """Carry out the steps that are left, in order; return the one that failed."""
    phase = 0
    while (step := next((s for s in work.journal.steps() if s.state is not StepState.DONE), None)) is not None:
        if step.phase != phase:
            phase = step.phase
            _announce(work, phase, "started")
        took = _took(work, phase)
        with _watched(work, step, took) as told:
            failed = carry_out_step(work, step)
        if failed is not None:
            return failed
        _look_at_the_time(work, phase, told=bool(told), before=took)
    return None


def carry_out_step(work: Work, step: Step) -> Step | None:
    """Carry out one step, or carry it on; return it if it failed. An error that is no RollcageError is raised again."""
    kind = KINDS[step.name]
    try:
        with explained(step):
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
        _fail(work, step, RollcageError(f"a defect of rollcage: {clean(repr(defect), limit=300)}"))
        raise
    newest = work.journal.step(step.number)
    known = {**newest.data, **added}
    record = {name: known[name] for name in ON_RECORD if name in known}
    work.journal.finish(newest, StepState.DONE, added=added, record=record)
    return None


def _fail(work: Work, step: Step, failure: RollcageError) -> Step:
    added: dict[str, object] = {}
    if isinstance(failure, NotVerifiedError):
        added["keep"] = failure.spare or work.services.settings.on_unverified == "keep"
    if isinstance(failure, RefusedError):
        added["code"] = failure.code
    # Again from the journal: what the step wrote there meanwhile must not be lost.
    return work.journal.finish(work.journal.step(step.number), StepState.FAILED, note=words_of(failure), added=added)


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
        with explained(step):
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


def _watched(work: Work, step: Step, took: float) -> AbstractContextManager[list[float]]:
    if step.name in _WITH_CHECKS:
        return nullcontext([])
    what, limit = f"phase {step.phase} of {step.rollback}", PHASE_DEADLINE_S[step.phase]
    return watched(work.services, what, limit, before=took, rollback=step.rollback)


def _took(work: Work, phase: int) -> float:
    """Return how long the steps of a phase have taken that are done, in seconds."""
    return sum(_seconds(s) for s in work.journal.steps() if s.phase == phase and s.state is StepState.DONE)


def _look_at_the_time(work: Work, phase: int, *, told: bool, before: float) -> None:
    """Tell once when a phase has taken longer than it should; and when it is over."""
    steps = [step for step in work.journal.steps() if step.phase == phase]
    took, limit = _took(work, phase), PHASE_DEADLINE_S[phase]
    if took > limit >= before and not told:
        overran(work.services, f"phase {phase} of {work.journal.rollback.id}", took, limit, rollback=steps[0].rollback)
    if all(step.state is StepState.DONE for step in steps):
        _announce(work, phase, "done")


def _seconds(step: Step) -> float:
    """Return how long a step took, the user's own check commands left out."""
    if step.started is None or step.ended is None:
        return 0.0
    checks = step.data.get("checks_s")
    return max((step.ended - step.started).total_seconds() - (checks if isinstance(checks, (int, float)) else 0.0), 0.0)
