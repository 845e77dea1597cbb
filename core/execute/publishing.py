"""A publication as a step of the journal has it: done once, carried on after a crash, or taken back.

A step may have two: ``forward``, and ``way_back``, which undoes the first. Each is written down with all its records,
so that whoever comes after a crash knows which locks and leftovers are rollcage's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..codec import from_json
from ..errors import RefusedError, RollcageError, StoreError
from ..gitrepo.index_lock import is_rollcages
from ..gitrepo.publication import Publication, has_moved, worktree_name, worktrees_of
from ..gitrepo.publish import plan_publication, publish
from ..gitrepo.publish_resume import resume, withdraw
from ..gitrepo.rehearse import make_commit, rehearse_onto
from ..gitrepo.repository import Worktree
from ..model import Step, StepState
from ..text import clean
from .local_work import bring_back_local_work
from .work import Work

FORWARD = "forward"
WAY_BACK = "way_back"
TRIES = 3
"""How often the way back is planned anew because the branch moved in the very moment."""

MOVED = frozenset({"branch_moved", "worktrees_changed"})
"""Refusals that a new plan mends: nothing was published."""

_Records = list[tuple[str, Mapping[str, object]]]


@dataclass(frozen=True, slots=True)
class Begun:
    """A publication of the journal, and what of it was begun."""

    publication: Publication
    records: _Records


def planned(publication: Publication) -> dict[str, object]:
    """Return what goes into the data of a step for a publication of which nothing was begun."""
    return {"publication": publication.to_json(), "records": []}


def begun(step: Step, name: str = FORWARD) -> Begun | None:
    """Return the publication ``name`` of ``step``; None: it has none. Raises StoreError where it is damaged."""
    kept = step.data.get(name)
    if not kept:
        return None
    if not isinstance(kept, Mapping) or not isinstance(kept.get("records"), list):
        raise StoreError(f"step {step.number} of {step.rollback} is damaged: its publication cannot be read")
    records = [(str(record), data) for record, data in kept["records"]]
    return Begun(from_json(Publication, dict(kept["publication"])), records)


def bring_about(work: Work, step: Step, name: str = FORWARD) -> Step:
    """Publish what ``step`` has planned as ``name``, or carry it on; return the step with the records. Idempotent.

    Raises what `publish` and `resume` raise; RefusedError ``branch_moved`` and the like: nothing is published then.
    """
    found = begun(step, name)
    if found is None:
        raise StoreError(f"step {step.number} of {step.rollback} has no publication in its journal")
    services, publication, records = work.services, found.publication, list(found.records)
    if records:
        if _carried_on(work, publication, records):
            return step
        records = []  # the world is as it was before: what comes now is told from the start

    def record(what: str, data: Mapping[str, object]) -> None:
        nonlocal step
        records.append((what, dict(data)))
        listed = [[name_, data_] for name_, data_ in records]
        step = work.journal.add(step, **{name: {"publication": publication.to_json(), "records": listed}})

    publish(services.repository, services.mirror, publication, record)
    return step


def take_back_begun(work: Work, step: Step, name: str = FORWARD) -> list[str]:
    """Take back what was begun of a publication that did not move the branch. Idempotent.

    Returns the files that somebody changed since, which were left as they are. Raises RefusedError
    ``already_published``.
    """
    found = begun(step, name)
    if found is None or not found.records:
        return []
    return withdraw(work.services.repository, work.services.mirror, found.publication, found.records)


def is_published(work: Work, publication: Publication) -> bool:
    """Return whether its branch was moved by ``publication``, whatever came on top of it since."""
    repository = work.services.repository
    return has_moved(repository, publication, repository.tip(publication.branch))


def undo_publication(work: Work, step: Step) -> None:
    """Bring back what was on the branch before ``step``; nothing where it did not get there.

    By a new commit on top; a branch that went back itself, and on which nobody committed since, goes to its old tip.
    Raises RefusedError: ``third_content`` where somebody changed files of a half-done publication since,
    ``undo_conflict`` where later commits stand in the way, and what `publish` raises.
    """
    forward = begun(step)
    if forward is None:
        return
    if not is_published(work, forward.publication):
        left = take_back_begun(work, step)
        if left:
            raise _changed_meanwhile(left)
        return
    work.journal.save(head_after=forward.publication.new)
    if step.state is not StepState.DONE and forward.records:
        _carried_on(work, forward.publication, forward.records)
    for tries_left in reversed(range(TRIES)):
        try:
            _go_back(work, step, forward.publication)
            return
        except RefusedError as refusal:
            if refusal.code not in MOVED or not tries_left:
                raise
        step = _dropped(work, work.journal.step(step.number))


def where_it_stands(work: Work) -> str:
    """Return in one line where the branch is, and which index rollcage still locks."""
    try:
        words = [f"{work.plan.branch} is at {work.tip()[:12]}"]
        words += [f"{clean(str(each.path))} is halfway and its index kept locked" for each in _locked(work)]
    except RollcageError as problem:
        return f"where the branch is cannot be told: {problem}"
    return "; ".join(words)


def _carried_on(work: Work, publication: Publication, records: _Records) -> bool:
    """Put right what a killed process left; return whether it is published now. Raises RefusedError."""
    repository, mirror = work.services.repository, work.services.mirror
    tip = repository.tip(publication.branch)
    if tip == publication.old:
        # A working tree that somebody added since would be left behind, with the old content staged in it.
        now = tuple(worktree_name(worktree) for worktree in worktrees_of(repository, publication.branch))
        if now != publication.worktrees:
            left = withdraw(repository, mirror, publication, records)
            if left:
                raise _changed_meanwhile(left)
            raise RefusedError("worktrees_changed", f"{publication.branch} is checked out elsewhere than when planned")
    elif tip != publication.new and has_moved(repository, publication, tip) and not _locked(work):
        return True  # somebody committed on top, for which all had to be over
    return resume(repository, mirror, publication, records) == "done"


def _locked(work: Work) -> list[Worktree]:
    """Return the working trees whose index rollcage locks."""
    return [each for each in work.services.repository.worktrees() if is_rollcages(each.git_dir / "index.lock")]


def _go_back(work: Work, step: Step, forward: Publication) -> None:
    """Publish the way back, or carry that on."""
    if begun(step, WAY_BACK) is None:
        publication = _plan_way_back(work, forward)
        if publication is None:
            work.journal.save(head_after=work.tip())
            return
        step = work.journal.add(step, **{WAY_BACK: planned(publication)})
    step = bring_about(work, step, WAY_BACK)
    done = begun(step, WAY_BACK)
    if done is not None:
        rollback = work.journal.save(head_after=done.publication.new)
        bring_back_local_work(work.services, rollback.snapshot, done.publication, rollback.id)


def _dropped(work: Work, step: Step) -> Step:
    """Take back what was begun of a way back that the branch has left behind; another is planned then."""
    left = take_back_begun(work, step, WAY_BACK)
    if left:
        raise _changed_meanwhile(left)
    return work.journal.add(step, **{WAY_BACK: None})


def _changed_meanwhile(files: list[str]) -> RefusedError:
    return RefusedError(
        "third_content", f"somebody changed {', '.join(files)} meanwhile; that was left as it is, all else is as before"
    )


def _plan_way_back(work: Work, forward: Publication) -> Publication | None:
    """Return the publication of a commit that brings the old content back; None: the branch has it already."""
    services, head = work.services, work.tip()
    rollback = work.journal.rollback
    words = f"rollcage: undo {rollback.id}"
    if work.plan.rewrite and head == forward.new:
        return plan_publication(services.repository, services.mirror, forward.branch, head, forward.old, message=words)
    old_tree, head_tree = services.repository.tree(forward.old), services.repository.tree(head)
    back = rehearse_onto(services.mirror, old_tree, head, forward.new)
    if back.tree is None:
        raise RefusedError("undo_conflict", f"the way back conflicts with later commits: {'; '.join(back.conflicts)}")
    if back.tree == head_tree:
        return None
    message = f"Undo {rollback.id}: it was not seen to work\n\nRollcage-Rollback: {rollback.id}\n"
    sha = make_commit(services.mirror, back.tree, [head], message, services.clock.now())
    return plan_publication(services.repository, services.mirror, forward.branch, head, sha, message=words)
