"""The plan of an undo or redo: what turns a rollback round, rehearsed on the branch as it is now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..errors import RefusedError, UsageError
from ..gitrepo.history import diff
from ..gitrepo.objects import read_trees
from ..gitrepo.rehearse import rehearse_onto
from ..model import OptionType, RecoveryPlan, Rollback, RollbackState, Step, StepState
from ..services import Services
from .data_way import way_to_undo
from .effect import plan_hash
from .recovery import undo_steps

_CARRIED_OUT = frozenset({RollbackState.DONE, RollbackState.UNVERIFIED})
_LOOK_BACK = 1_000


def plan_undo(services: Services, rollback: Rollback, kind: str) -> RecoveryPlan:
    """Return the plan that brings back what was before ``rollback``, rehearsed on the branch as it is now.

    Commits that came since are kept; the files that it changed are as before, bit for bit, unless those changed them
    too. Where it moved the branch itself back, the branch goes forward again to where it was, or, where somebody
    committed since, a new commit brings the old content. Its other steps are turned round as well: rows or the whole
    database go back to what they were before it, agents get back what was reset, and what was sent to a remote is sent
    again. ``kind`` is ``undo``, or ``redo`` for an undo. Raises UsageError where there is nothing to turn round,
    RefusedError ``undo_conflict`` where later commits stand in the way.
    """
    if rollback.state not in _CARRIED_OUT:
        raise UsageError(f"{rollback.id} is {rollback.state.value}: only one that was carried out can be turned round")
    done = services.store.steps(rollback.id)
    last = _last_turn(services, rollback)
    data = way_to_undo(services, last)
    if not rollback.head_after and (not data or last.id != rollback.id):
        raise UsageError(_nothing_to_turn(rollback, done, last))
    branch = services.settings.branch
    head = services.repository.tip(branch)
    if head is None:
        raise RefusedError("branch_gone", f"branch {branch} does not exist any more")
    tree = _tree(services, rollback, head) if rollback.head_after else None
    subject = rollback.of if kind == "redo" and rollback.of else rollback.id
    pushed = next((step.subject for step in done if step.name == "push" and step.state is StepState.DONE), "")
    push = pushed if services.settings.push != "never" else ""
    reset = [step.subject for step in done if step.name == "reset_agent"]
    forward = rollback.head_before if _went_back(services, rollback) and head == rollback.head_after else ""
    plan = RecoveryPlan(
        option=f"{kind}-{subject}",
        incident=rollback.incident,
        type=OptionType.RESTART_ONLY if tree is None else OptionType.SINGLE_COMMIT,
        agent="",
        branch=branch,
        head=head,
        tree=tree,
        targets=(rollback.head_after,) if tree else (),
        message=f"{kind.capitalize()} {subject}\n\nRollcage-Rollback: {subject}\n" if tree else "",
        steps=tuple(undo_steps(code=tree is not None, database=data, reset=reset, push=push, goal=forward)),
        plan_hash="",
        diff=diff(services.mirror, head, tree) if tree else "",
        database=_words(last, data),
    )
    return replace(plan, plan_hash=plan_hash(services, plan))


def _tree(services: Services, rollback: Rollback, head: str) -> str:
    """Return the tree of ``head`` with what ``rollback`` changed as it was before."""
    before, head_tree = read_trees(services.mirror, (_before(services, rollback), head))
    back = rehearse_onto(services.mirror, before, head, rollback.head_after)
    if back.tree is None:
        why = "; ".join(back.conflicts)
        raise RefusedError("undo_conflict", f"{rollback.id} cannot be turned round, for later commits conflict: {why}")
    if back.tree == head_tree:
        raise UsageError(f"{rollback.id} is turned round already: nothing would change")
    return back.tree


def _last_turn(services: Services, rollback: Rollback) -> Rollback:
    """Return what was done last to the data of ``rollback``: it, or its newest undo or redo that was carried out."""
    first = rollback.of or rollback.id
    turns = (each for each in services.store.rollbacks(_LOOK_BACK) if first in {each.id, each.of})
    return next((each for each in turns if each.state in _CARRIED_OUT), rollback)


def _nothing_to_turn(rollback: Rollback, done: Sequence[Step], last: Rollback) -> str:
    if last.id != rollback.id and any(step.name == "database" for step in done):
        return f"{rollback.id} is turned round already, by {last.id}: nothing would change"
    agents = [step.subject for step in done if step.name == "restart_agent"]
    if not agents or any(step.name == "publish" for step in done):
        return f"{rollback.id} changed no code; there is nothing to turn round"
    return f"{rollback.id} only restarted {', '.join(agents)}: it changed neither code nor data; nothing to turn round"


def _words(rollback: Rollback, way: str) -> str:
    """Return what the step ``database`` with the subject ``way`` does, for people."""
    kind = way.partition(" ")[0]
    if kind == "undo":
        return f"the rows that {rollback.id} took back are as they were before, but for those changed since"
    if kind == "snapshot":
        snapshot = rollback.snapshot
        return f"restored to {snapshot}, as before {rollback.id}; a fresh snapshot keeps what was written since"
    return "nothing"


def find_undo(services: Services, rollback_id: str, *, redo: bool) -> Rollback:
    """Return the rollback to turn round: the named one, or for ``redo`` its newest undo that was carried out.

    Raises UsageError.
    """
    rollback = services.store.rollback(rollback_id)
    if rollback is None:
        raise UsageError(f"there is no rollback {rollback_id}; rollcage rollbacks lists them")
    if not redo:
        return rollback
    for entry in services.store.rollbacks(_LOOK_BACK):
        if entry.of == rollback_id and entry.kind == "undo" and entry.state in _CARRIED_OUT:
            return entry
    raise UsageError(f"{rollback_id} was not undone; there is nothing to redo")


def _before(services: Services, rollback: Rollback) -> str:
    """Return the commit whose content was there before: what the published commit stands on.

    A branch that went back itself, or forward again, stands on less or more than what was there: then it is where the
    branch was.
    """
    git, published = services.mirror.git, rollback.head_after
    went = any(each.name == "commit" and each.subject for each in services.store.steps(rollback.id))
    if went or _went_back(services, rollback):
        return rollback.head_before
    return git.text("rev-parse", "--verify", "--end-of-options", f"{published}^1")


def _went_back(services: Services, rollback: Rollback) -> bool:
    """Return whether ``rollback`` moved the branch itself back."""
    published, before = rollback.head_after, rollback.head_before
    if published in {"", before}:
        return False
    git = services.mirror.git
    return git.run("merge-base", "--is-ancestor", published, before, ok=(0, 1, 128)).status == 0
