"""The plan of an undo or redo: what turns a rollback round, rehearsed on the branch as it is now."""

from __future__ import annotations

from ..errors import RefusedError, UsageError
from ..gitrepo.history import diff
from ..gitrepo.objects import read_trees
from ..gitrepo.rehearse import rehearse_onto
from ..model import OptionType, RecoveryPlan, Rollback, RollbackState
from ..services import Services
from .effect import plan_hash
from .recovery import undo_steps

_CARRIED_OUT = frozenset({RollbackState.DONE, RollbackState.UNVERIFIED})
_LOOK_BACK = 1_000


def plan_undo(services: Services, rollback: Rollback, kind: str) -> RecoveryPlan:
    """Return the plan that brings back what was before ``rollback``, rehearsed on the branch as it is now.

    Commits that came since are kept; the files that it changed are as before, bit for bit, unless those changed them
    too. ``kind`` is ``undo``, or ``redo`` for an undo. Raises UsageError where there is nothing to turn round,
    RefusedError ``undo_conflict`` where later commits stand in the way.
    """
    if rollback.state not in _CARRIED_OUT:
        raise UsageError(f"{rollback.id} is {rollback.state.value}: only one that was carried out can be turned round")
    if not rollback.head_after:
        raise UsageError(f"{rollback.id} changed no code; there is nothing to turn round")
    branch = services.settings.branch
    head = services.repository.tip(branch)
    if head is None:
        raise RefusedError("branch_gone", f"branch {branch} does not exist any more")
    before, head_tree = read_trees(services.mirror, (_parent(services, rollback.head_after), head))
    back = rehearse_onto(services.mirror, before, head, rollback.head_after)
    if back.tree is None:
        why = "; ".join(back.conflicts)
        raise RefusedError("undo_conflict", f"{rollback.id} cannot be turned round, for later commits conflict: {why}")
    if back.tree == head_tree:
        raise UsageError(f"{rollback.id} is turned round already: nothing would change")
    steps = tuple(undo_steps())
    subject = rollback.of if kind == "redo" and rollback.of else rollback.id
    message = f"{kind.capitalize()} {subject}\n\nRollcage-Rollback: {subject}\n"
    hashed = plan_hash(
        services,
        OptionType.SINGLE_COMMIT,
        head=head,
        tree=back.tree,
        targets=[rollback.head_after],
        message=message,
        steps=steps,
        database="nothing",
    )
    return RecoveryPlan(
        option=f"{kind}-{subject}",
        incident=rollback.incident,
        type=OptionType.SINGLE_COMMIT,
        agent="",
        branch=branch,
        head=head,
        tree=back.tree,
        targets=(rollback.head_after,),
        message=message,
        steps=steps,
        plan_hash=hashed,
        diff=diff(services.mirror, head, back.tree),
    )


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


def _parent(services: Services, published: str) -> str:
    """Return the commit that the branch was at before ``published``: its only parent, for rollcage made it."""
    return services.mirror.git.text("rev-parse", "--verify", "--end-of-options", f"{published}^1")
