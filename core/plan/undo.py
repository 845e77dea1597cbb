"""The plan of an undo or redo: what turns a rollback round, rehearsed on the branch as it is now."""

from __future__ import annotations

from ..errors import RefusedError, UsageError
from ..gitrepo.history import diff
from ..gitrepo.rehearse import rehearse_onto
from ..model import OptionType, RecoveryPlan, Rollback, RollbackState
from ..services import Services
from .effect import plan_hash
from .recovery import undo_steps


def plan_undo(services: Services, rollback: Rollback, kind: str) -> RecoveryPlan:
    """Return the plan that brings back what was before ``rollback``, rehearsed on the branch as it is now.

    Raises UsageError where there is nothing to turn round, RefusedError where later commits stand in the way.
    """
    if rollback.state not in {RollbackState.DONE, RollbackState.UNVERIFIED}:
        raise UsageError(f"{rollback.id} is {rollback.state.value}: only one that was carried out can be turned round")
    if not rollback.head_after:
        raise UsageError(f"{rollback.id} changed no code; there is nothing to turn round")
    head = services.repository.tip(services.settings.branch)
    if head is None:
        raise RefusedError("branch_gone", f"branch {services.settings.branch} does not exist any more")
    git = services.mirror.git
    before = git.text("rev-parse", "--verify", f"{rollback.head_after}^1")
    back = rehearse_onto(services.mirror, services.repository.tree(before), head, rollback.head_after)
    if back.tree is None:
        raise RefusedError("undo_conflict", f"{rollback.id} cannot be turned round: {back.reason}")
    if back.tree == services.repository.tree(head):
        raise UsageError(f"{rollback.id} is turned round already: nothing would change")
    steps = tuple(undo_steps())
    message = f"{kind.capitalize()} {rollback.id}\n\nRollcage-Rollback: {rollback.id}\n"
    option = f"{kind}-{rollback.id}"
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
        option=option,
        incident=rollback.incident,
        type=OptionType.SINGLE_COMMIT,
        agent="",
        branch=services.settings.branch,
        head=head,
        tree=back.tree,
        targets=(rollback.head_after,),
        message=message,
        steps=steps,
        plan_hash=hashed,
        diff=diff(services.mirror, services.repository.tree(head), back.tree),
    )


def find_undo(services: Services, rollback_id: str, *, redo: bool) -> Rollback:
    """Return the rollback to turn round: the named one, or for ``redo`` its newest undo. Raises UsageError."""
    rollback = services.store.rollback(rollback_id)
    if rollback is None:
        raise UsageError(f"there is no rollback {rollback_id}; rollcage rollbacks lists them")
    if not redo:
        return rollback
    undone = [entry for entry in services.store.rollbacks() if entry.of == rollback_id and entry.kind == "undo"]
    if not undone:
        raise UsageError(f"{rollback_id} was not undone; there is nothing to redo")
    return undone[0]
