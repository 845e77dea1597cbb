"""What came of operators' decisions: the answer to each, and the rollback that one began."""

from __future__ import annotations

from dataclasses import dataclass

from .codec import canonical, from_json, to_json
from .errors import ExitCode
from .model import Decision, IncidentState, Rollback, RollbackState
from .store.store import Store

DECIDABLE = frozenset(
    {
        IncidentState.OPEN,
        IncidentState.WAITING,
        IncidentState.ESCALATED,
        IncidentState.UNDONE,
        IncidentState.REJECTED,
        IncidentState.FAILED,
    }
)
"""In these states of an incident an operator may approve, edit or reject an option."""
ENGINE = "engine"
"""Who decided, where it was no operator."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a decision, for the one who waits for it."""

    code: ExitCode
    text: str


_ANSWERS = {
    RollbackState.DONE: (ExitCode.DONE, "done and verified"),
    RollbackState.UNVERIFIED: (ExitCode.ESCALATED, "carried out, not verified, and kept"),
    RollbackState.UNDONE: (ExitCode.UNDONE, "failed, and everything it did was undone"),
    RollbackState.FAILED: (ExitCode.NOT_UNDONE, "failed, and could not be undone wholly"),
}


def answer_by(rollback: Rollback) -> Answer:
    """Return what to answer where the decision came to ``rollback``, which has ended."""
    code, words = _ANSWERS[rollback.state]
    return Answer(code, f"{rollback.id} {words}" + (f": {rollback.note}" if rollback.note else ""))


def answer_to(store: Store, decision: int) -> Answer | None:
    """Return what came of a decision; ``None``: the engine has not carried it out yet."""
    kept = store.get_note(_answer_key(decision))
    return None if kept is None else from_json(Answer, kept)


def save_answer(store: Store, decision: int, answer: Answer) -> None:
    """Write what came of a decision. It is settled then."""
    store.set_note(_answer_key(decision), canonical(to_json(answer)))


def save_beginning(store: Store, decision: int, rollback: str) -> None:
    """Write, together with the rollback itself, that it is what the decision asked for: it is not begun twice."""
    store.set_note(_rollback_key(decision), rollback)


def begun_by(store: Store, decision: int) -> Rollback | None:
    """Return the rollback that a decision began; ``None``: none yet."""
    rollback = store.get_note(_rollback_key(decision))
    return None if rollback is None else store.rollback(rollback)


def unsettled(store: Store) -> list[Decision]:
    """Return the operators' decisions that an engine took but never answered, oldest first: it died meanwhile."""
    taken = [decision for decision in store.decisions() if decision.taken and decision.by != ENGINE]
    return [decision for decision in taken if answer_to(store, decision.id) is None]


def _answer_key(decision: int) -> str:
    return f"decision:{decision}"


def _rollback_key(decision: int) -> str:
    return f"decision:{decision}:rollback"
