"""Steps that change the branch: still valid?, snapshot, commit, publish. Forward only; nothing becomes unreachable."""

from __future__ import annotations

from collections.abc import Mapping

from ..clock import iso, parse_iso
from ..codec import from_json, to_json
from ..errors import GitError, RefusedError, RollcageError
from ..gitrepo.publish import Publication, plan_publication, publish, state_of
from ..gitrepo.publish_resume import resume
from ..gitrepo.rehearse import make_commit, rehearse_onto
from ..model import Step
from .snapshots import snapshot_name, take_snapshot
from .work import StepKind, Work, never_done, nothing_to_prepare, nothing_to_undo


def branch_tip(work: Work) -> str:
    """Return the commit that the branch points to. Raises RefusedError where the branch is gone."""
    tip = work.services.repository.tip(work.plan.branch)
    if tip is None:
        raise RefusedError("branch_gone", f"branch {work.plan.branch} does not exist any more; nothing was changed")
    return tip


def _prepare_snapshot(work: Work, step: Step) -> Mapping[str, object]:
    return {"snapshot": step.data.get("snapshot") or snapshot_name(work.services, work.services.clock.now())}


def _do_snapshot(work: Work, step: Step) -> Mapping[str, object]:
    rollback = work.journal.rollback
    kept = take_snapshot(work.services, str(step.data["snapshot"]), f"before {rollback.kind} {rollback.id}")
    work.journal.save(snapshot=kept.id)
    return {"size": kept.size, "warnings": list(kept.warnings)}


def _snapshot_is_taken(work: Work, step: Step) -> bool:
    return work.services.store.snapshot(str(step.data["snapshot"])) is not None


def _do_still_valid(work: Work, step: Step) -> Mapping[str, object]:
    """Bring the planned change onto the branch as it is now; the same tree where nothing moved since planning."""
    head = branch_tip(work)
    plan = work.plan
    if plan.tree is None:
        raise RollcageError(f"plan {plan.plan_hash[:12]} changes no code and cannot be published")
    if head == plan.head:
        return {"head": head, "tree": plan.tree, "moved": False}
    moved = rehearse_onto(work.services.mirror, plan.tree, head, plan.head)
    if moved.tree is None:
        raise RefusedError("moved", f"{plan.branch} moved and the change no longer applies: {moved.reason}")
    return {"head": head, "tree": moved.tree, "moved": True}


def _prepare_commit(work: Work, step: Step) -> Mapping[str, object]:
    valid = work.data_of("still_valid")
    return {"head": valid["head"], "tree": valid["tree"], "at": iso(work.services.clock.now())}


def _do_commit(work: Work, step: Step) -> Mapping[str, object]:
    """Make the commit in the mirror. Its bytes follow from the journal, so that doing it twice makes it once."""
    data = step.data
    sha = make_commit(
        work.services.mirror, str(data["tree"]), [str(data["head"])], work.plan.message, parse_iso(str(data["at"]))
    )
    work.services.mirror.keep(sha, work.journal.rollback.id)
    return {"sha": sha}


def _prepare_publish(work: Work, step: Step) -> Mapping[str, object]:
    made = work.data_of("commit")
    planned = plan_publication(
        work.services.repository, work.services.mirror, work.plan.branch, str(made["head"]), str(made["sha"])
    )
    work.services.mirror.keep(planned.old, work.journal.rollback.id)
    return {"publication": to_json(planned), "records": []}


def _do_publish(work: Work, step: Step) -> Mapping[str, object]:
    planned = _publication(step)
    raw = step.data.get("records")
    records: list[list[object]] = list(raw) if isinstance(raw, list) else []
    known = [(str(name), dict(data)) for name, data in records if isinstance(data, Mapping)]

    def record(name: str, data: Mapping[str, object]) -> None:
        nonlocal step
        records.append([name, dict(data)])
        step = work.journal.add(step, records=list(records))

    services = work.services
    if known:
        resume(services.repository, services.mirror, planned, known)
    if state_of(services.repository, planned) == "untouched":
        publish(services.repository, services.mirror, planned, record)
    work.journal.save(head_after=planned.new)
    return {"records": list(records)}


def _undo_publish(work: Work, step: Step) -> None:
    """Bring the tree before the rollback back by a new commit on top; where it was never published there is nothing."""
    services, planned = work.services, _publication(step)
    raw = step.data.get("records")
    known = [(str(name), dict(data)) for name, data in raw] if isinstance(raw, list) else []
    if known and state_of(services.repository, planned) != "done":
        resume(services.repository, services.mirror, planned, known)
    if state_of(services.repository, planned) == "untouched":
        return
    head = branch_tip(work)
    back = rehearse_onto(services.mirror, services.repository.tree(planned.old), head=head, base=planned.new)
    if back.tree is None:
        raise RefusedError("undo_conflict", f"the way back conflicts with later commits: {back.reason}")
    if back.tree == services.repository.tree(head):
        return
    sha = make_commit(
        services.mirror,
        back.tree,
        [head],
        f"Undo {work.journal.rollback.id}: it could not be verified\n\nRollcage-Rollback: {work.journal.rollback.id}\n",
        services.clock.now(),
    )
    services.mirror.keep(sha, work.journal.rollback.id)
    way_back = plan_publication(services.repository, services.mirror, planned.branch, head, sha)
    records: list[list[object]] = []

    def record(name: str, data: Mapping[str, object]) -> None:
        nonlocal step
        records.append([name, dict(data)])
        step = work.journal.add(step, undo={"publication": to_json(way_back), "records": list(records)})

    publish(services.repository, services.mirror, way_back, record)
    work.journal.save(head_after=sha)


def _publication(step: Step) -> Publication:
    planned = step.data["publication"]
    if not isinstance(planned, Mapping):
        raise GitError(f"step {step.number} of {step.rollback} has no publication in its journal")
    return from_json(Publication, dict(planned))


SNAPSHOT = StepKind(_prepare_snapshot, _do_snapshot, _snapshot_is_taken, nothing_to_undo)
STILL_VALID = StepKind(nothing_to_prepare, _do_still_valid, never_done, nothing_to_undo)
COMMIT = StepKind(_prepare_commit, _do_commit, never_done, nothing_to_undo)
PUBLISH = StepKind(_prepare_publish, _do_publish, never_done, _undo_publish)  # resume() asks the world itself
