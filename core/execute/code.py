"""Steps that change the branch: still valid?, snapshot, commit, publish. Forward only; nothing becomes unreachable."""

from __future__ import annotations

from collections.abc import Mapping

from ..clock import iso, parse_iso
from ..errors import RefusedError, RollcageError
from ..gitrepo.entries import changes
from ..gitrepo.publish import plan_publication
from ..gitrepo.rehearse import make_commit, rehearse_onto
from ..model import Step
from .check_results import against, check_seconds, expected_of
from .integrity import data_errors, integrity_problems, silent_agents
from .local_work import bring_back_local_work
from .publishing import FORWARD, begun, bring_about, planned, undo_publication
from .snapshots import snapshot_name, take_snapshot
from .work import StepKind, Work


def _prepare_still_valid(work: Work, step: Step) -> Mapping[str, object]:
    return {"tried": step.data.get("tried", 0)}


def _do_still_valid(work: Work, step: Step) -> Mapping[str, object]:
    """Bring the planned change onto the branch as it is now; the same tree where nothing moved since planning.

    An approval holds for the effect: the files that change, from which content to which. Where that is still the same
    on the moved branch, and the checks say of it what they said in rehearsal, it goes on; else it is refused.
    """
    plan, services = work.plan, work.services
    head = work.tip()
    if plan.tree is None:
        raise RollcageError(f"plan {plan.plan_hash[:12]} changes no code and cannot be published")
    if head != plan.head and any(each.name == "commit" and each.subject for each in plan.steps):
        raise _no_longer(work, "the branch cannot go to another commit without losing what was committed since")
    if head == plan.head:
        return {"head": head, "tree": plan.tree, "moved": False}
    moved = rehearse_onto(services.mirror, plan.tree, head, plan.head)
    if moved.tree is None:
        raise _no_longer(work, f"the change conflicts with that: {'; '.join(moved.conflicts)}")
    git = services.mirror.git
    if changes(git, head, moved.tree) != changes(git, plan.head, plan.tree):
        raise _no_longer(work, "the same change would now do something else to its files")
    checks_s = 0.0
    if any(each.name == "checks" for each in plan.steps):
        commit = make_commit(services.mirror, moved.tree, [head], "rehearsal", services.clock.now())
        outcomes = services.checks.run_all(commit, moved.tree)
        problems = against(outcomes, expected_of(work))
        if problems:
            raise _no_longer(work, f"with the change on it {'; '.join(problems)}")
        checks_s = check_seconds(outcomes)
    return {"head": head, "tree": moved.tree, "moved": True, "checks_s": checks_s}


def _no_longer(work: Work, why: str) -> RefusedError:
    return RefusedError("moved", f"{work.plan.branch} moved, and {why}; look at it and decide again")


def _prepare_snapshot(work: Work, step: Step) -> Mapping[str, object]:
    """Name it, and note what is broken already: that is not to be blamed on the rollback afterwards."""
    try:
        problems = integrity_problems(work.services)
    except RollcageError:  # it cannot be looked at now; the snapshot itself says so if that lasts
        problems = []
    return {
        "snapshot": snapshot_name(work.services, work.services.clock.now()),
        "problems": problems,
        "data_errors": data_errors(work.services),
        "silent": silent_agents(work.services),
    }


def _do_snapshot(work: Work, step: Step) -> Mapping[str, object]:
    rollback = work.journal.rollback
    kept = take_snapshot(work.services, str(step.data["snapshot"]), f"before {rollback.kind} {rollback.id}")
    return {"size": kept.size, "warnings": list(kept.warnings)}


def _snapshot_is_taken(work: Work, step: Step) -> bool:
    return work.services.store.snapshot(str(step.data["snapshot"])) is not None


def _prepare_commit(work: Work, step: Step) -> Mapping[str, object]:
    valid = work.data_of("still_valid")
    return {"head": valid["head"], "tree": valid["tree"], "at": iso(work.services.clock.now())}


def _do_commit(work: Work, step: Step) -> Mapping[str, object]:
    """Make the commit in the mirror. Its bytes follow from the journal, so that doing it twice makes it once.

    Where the branch is to go to a commit that is there already none is made: the step names it, and the old tip is
    kept. That is so where history is rewritten, and where that is undone.
    """
    data = step.data
    if step.subject:
        kept = work.services.mirror.keep(str(data["head"]), "rewritten")
        if work.services.repository.tree(step.subject) != data["tree"]:
            raise RollcageError(f"{step.subject[:12]} is not the last good state that was rehearsed: plan again")
        return {"sha": step.subject, "kept": kept}
    sha = make_commit(
        work.services.mirror, str(data["tree"]), [str(data["head"])], work.plan.message, parse_iso(str(data["at"]))
    )
    return {"sha": sha}


def _prepare_publish(work: Work, step: Step) -> Mapping[str, object]:
    made, rollback, services = work.data_of("commit"), work.journal.rollback, work.services
    publication = plan_publication(
        services.repository,
        services.mirror,
        work.plan.branch,
        str(made["head"]),
        str(made["sha"]),
        message=f"rollcage: {rollback.kind} {rollback.id}",
    )
    return {FORWARD: planned(publication)}


def _do_publish(work: Work, step: Step) -> Mapping[str, object]:
    """Publish. An undo goes back to the snapshot of what it turns round, with the uncommitted work that that has."""
    found = begun(bring_about(work, step))
    if found is None:
        return {}
    back: list[str] = []
    rollback, store = work.journal.rollback, work.services.store
    turned = next((each for each in store.rollbacks(1_000) if each.head_after in work.plan.targets), None)
    if rollback.of and turned is not None:
        back = bring_back_local_work(work.services, turned.snapshot, found.publication, rollback.id)
    return {"head_after": found.publication.new, "brought_back": back}


SNAPSHOT = StepKind(_do_snapshot, _prepare_snapshot, is_done=_snapshot_is_taken)
STILL_VALID = StepKind(_do_still_valid, _prepare_still_valid)
COMMIT = StepKind(_do_commit, _prepare_commit)
PUBLISH = StepKind(_do_publish, _prepare_publish, undo=undo_publication, again_from="still_valid")
