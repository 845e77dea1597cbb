"""The end of a rollback, and the way back to it: what was done is undone, newest first, or kept though not verified."""

from __future__ import annotations

from ..errors import RefusedError, RollcageError
from ..model import Rollback, RollbackState, Step, StepState
from .failures import explained, words_of
from .forward import carry_out_step
from .journal import JournalError
from .publishing import where_it_stands
from .standby import resume_standby, standby_seconds
from .steps import KINDS
from .work import Work


def take_back(work: Work, why: str) -> Rollback:
    """Undo what was done, newest first; what cannot be undone is named, and the rest is undone all the same."""
    journal = work.journal
    left: list[str] = []
    for step in reversed(journal.steps()):
        if step.state in {StepState.PENDING, StepState.UNDONE}:
            continue
        try:
            with explained(step):
                KINDS[step.name].undo(work, step)
        except JournalError:
            raise
        except RollcageError as problem:
            code = f" ({problem.code})" if isinstance(problem, RefusedError) else ""
            left.append(f"{step.name}: {words_of(problem)}{code}")
        else:
            newest = journal.step(step.number)
            journal.finish(newest, StepState.UNDONE, note=newest.note)
    if left:
        way = f"{where_it_stands(work)}; nobody was released; when that is mended: rollcage undo {journal.rollback.id}"
        return end(work, RollbackState.FAILED, f"{why}; not undone: {'; '.join(left)}; {way}")
    journal.save(standby_s=max(journal.rollback.standby_s, standby_seconds(work.services)))
    resume_standby(work.services, but=journal.rollback.incident)
    return end(work, RollbackState.UNDONE, why)


def keep(work: Work, failed: Step) -> Rollback:
    """Leave everything as it is though it is not verified: the problem agent stays stopped, the others work on."""
    words = [failed.note]
    for step in work.journal.steps():
        try:
            with explained(step):
                if step.name == "restart_agent" and step.state is not StepState.PENDING:
                    KINDS[step.name].undo(work, step)
        except JournalError:
            raise
        except RollcageError as problem:
            words.append(f"{step.name}: {words_of(problem)}")
        if step.name == "resume_others" and step.state is not StepState.DONE:
            later = carry_out_step(work, step)
            words += [f"{later.name}: {later.note}"] if later is not None else []
    return end(work, RollbackState.UNVERIFIED, "; ".join(words))


def end(work: Work, state: RollbackState, note: str) -> Rollback:
    """Write how the rollback ended, and tell everybody."""
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
            nothing_happened = state is RollbackState.UNDONE and not rollback.head_after
            severity = "warning" if nothing_happened else "critical"
            text = f"{rollback.id} is {state.value}: {note}"
            store.append_event("alert", {"severity": severity, "text": text, **about})
        store.audit("engine", f"{rollback.kind}_ended", rollback.id, note, outcome=state.value)
    return rollback
