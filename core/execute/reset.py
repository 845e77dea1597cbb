"""The step that lets an agent start from nothing: its locks, its messages, its hand-overs, its own branches.

Nothing of it is thrown away. Old tips stay in ``mirror.git``, uncommitted work stays where it is (and is in the fresh
snapshot), messages are put aside, every broken lock is in the audit log with its reason. In the rollback that undoes
another one, the step of the same name gives back what that one took.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from ..coordination.leases import LostLeaseError
from ..coordination.opening import open_leases
from ..errors import RefusedError, StoreError
from ..fleet import mailbox
from ..fleet.handovers import LOOK_BACK, WITHDRAWN, HandOver, tell_state, unfinished
from ..fleet.runs import latest_runs
from ..gitrepo.publication import Publication
from ..gitrepo.publish import plan_publication
from ..model import Lease, SignalKind, Step
from .failures import words_of
from .own_branches import own_branches
from .publishing import begun, bring_about, is_published, planned, take_back_begun
from .work import StepKind, Work

_BACK = "back:"
"""Before the name of a branch: its way back in the data of the step; the name alone is its way forward."""


@dataclass(frozen=True, slots=True)
class _Way:
    """Where a branch goes."""

    branch: str
    old: str
    new: str


def held_by(leases: Sequence[Lease], agent: str) -> list[Lease]:
    """Return the leases whose holder is ``agent``, or a process of it: ``executor``, ``executor on host``."""
    return [each for each in leases if each.holder == agent or each.holder.startswith((f"{agent} ", f"{agent}@"))]


def _prepare_reset(work: Work, step: Step) -> Mapping[str, object]:
    if _gives_back(work):
        return {}
    services, agent = work.services, step.subject
    agents = {agent, *services.settings.agents, *(run.agent for run in latest_runs(services.paths.inbox_db))}
    mine = [each for each in unfinished(services.signals, agents) if agent in {each.source, each.target}]
    left: list[str] = []
    ways: list[list[str]] = []
    head = work.tip()
    for own in own_branches(services, agent, work.plan.branch):
        if own.problem:
            left.append(own.problem)
        elif own.tip != head:
            ways.append([own.branch, own.tip, head])
    return {
        "handovers": [[each.id, each.source, each.target, each.state] for each in mine],
        "ways": ways,
        "left": left,
    }


def _do_reset(work: Work, step: Step) -> Mapping[str, object]:
    if _gives_back(work):
        return _give_back_of(work, step)
    services, agent, rollback = work.services, step.subject, work.journal.rollback
    reason = f"{rollback.id} lets {agent} start from nothing"
    broken = _break_leases(work, agent, reason)
    messages = mailbox.withdraw(services.paths, agent, rollback.id)
    for each in _handovers(work, step):
        tell_state(services.signals, each, WITHDRAWN, reason, services.clock.now())
    left = [str(each) for each in _listed(step.data.get("left"))]
    for way in _ways(step):
        step, problem = _moved(work, step, way)
        left += [problem] if problem else []
    if left:
        _alert(work, f"{agent} is not wholly at {work.plan.branch}: {'; '.join(left)}")
    services.store.audit(
        "engine", "reset_agent", agent, reason, detail={"leases": broken, "messages": messages, "left": left}
    )
    return {"leases": broken, "messages": messages, "left": left}


def _undo_reset(work: Work, step: Step) -> None:
    if not _gives_back(work):
        _take_back(work, step, work.journal.rollback.id)


def _gives_back(work: Work) -> bool:
    """Say whether this is the step of an undo, which gives back what the rollback took that it turns round."""
    return work.journal.rollback.kind == "undo"


def _give_back_of(work: Work, step: Step) -> Mapping[str, object]:
    """Give back what the rollback took that is turned round here; its publications are known from its own journal."""
    turned, services = work.journal.rollback.of, work.services
    theirs = [s for s in services.store.steps(turned) if s.name == step.name and s.subject == step.subject]
    left: list[str] = []
    for way in (way for each in theirs for way in _ways(each)):
        if services.repository.tip(way.branch) not in {way.new, way.old}:
            left.append(f"{way.branch} has moved since, so that it stays as it is")
            continue
        step, problem = _moved(work, step, _Way(way.branch, way.new, way.old))
        left += [problem] if problem else []
    for each in theirs:
        _give_back_the_rest(work, each, turned)
    if left:
        _alert(work, f"not all of {step.subject} is as before {turned}: {'; '.join(left)}")
    return {"left": left}


def _take_back(work: Work, step: Step, name: str) -> None:
    """Undo the step of this very rollback. Raises RefusedError where a branch cannot go back."""
    for branch in (way.branch for way in _ways(step)):
        forward, back = begun(step, branch), f"{_BACK}{branch}"
        if forward is None:
            continue
        publication = forward.publication
        if begun(step, back) is None and not is_published(work, publication):
            take_back_begun(work, step, branch)
            continue
        if begun(step, back) is None and forward.records:
            bring_about(work, step, branch)  # what a kill left of it
        if work.services.repository.tip(branch) not in {publication.new, publication.old}:
            _alert(work, f"{branch} has moved since, so that it stays as it is")
            continue
        if begun(step, back) is None:
            way = _plan(work, _Way(publication.branch, publication.new, publication.old))
            step = work.journal.add(step, **{back: planned(way)})
        step = bring_about(work, step, back)
    _give_back_the_rest(work, step, name)


def _give_back_the_rest(work: Work, step: Step, name: str) -> None:
    """Give messages and hand-overs back. Broken locks stay broken: somebody may have them since."""
    services = work.services
    mailbox.give_back(services.paths, step.subject, name)
    for each in _handovers(work, step, state=WITHDRAWN):
        tell_state(services.signals, each, each.state, f"{name} is taken back", services.clock.now())


def _moved(work: Work, step: Step, way: _Way) -> tuple[Step, str]:
    """Move one branch, or carry that on; return the step with its records, and why it could not be moved."""
    try:
        if begun(step, way.branch) is None:
            step = work.journal.add(step, **{way.branch: planned(_plan(work, way))})
        return bring_about(work, step, way.branch), ""
    except RefusedError as refusal:  # an edit of its own, or it is amid a rebase: that does not spoil the rollback
        newest = work.journal.step(step.number)
        found = begun(newest, way.branch)
        if found is not None and not is_published(work, found.publication):
            take_back_begun(work, newest, way.branch)
        return newest, f"{way.branch} stays as it is: {words_of(refusal)}"


def _plan(work: Work, way: _Way) -> Publication:
    services, rollback = work.services, work.journal.rollback
    services.mirror.keep_all([way.old, way.new], "reset")
    return plan_publication(
        services.repository,
        services.mirror,
        way.branch,
        way.old,
        way.new,
        message=f"rollcage: {rollback.kind} {rollback.id}",
    )


def _break_leases(work: Work, agent: str, reason: str) -> list[str]:
    """Break the locks that the agent holds, each with a record of it in the audit log; return their names."""
    services = work.services
    broken = []
    with closing(open_leases(services.settings.coordination, services.paths, services.clock)) as leases:
        for lease in held_by(leases.list(), agent):
            try:
                leases.break_(lease.name, "engine", reason, services.store.audit, lease.token)
            except LostLeaseError:  # it has gone by itself
                continue
            broken.append(lease.name)
    return broken


def _handovers(work: Work, step: Step, state: str = "") -> list[HandOver]:
    """Return the hand-overs of the journal that are now in ``state`` (empty: in the one that they were in)."""
    found = []
    for name, source, target, was in (map(str, _listed(each)) for each in _listed(step.data.get("handovers"))):
        told = [s for s in work.services.signals.of_kind(source, SignalKind.HANDOVER, LOOK_BACK) if s.name == name]
        now = str(told[-1].attrs.get("state", "")) if told else was
        if now == (state or was):
            found.append(HandOver(name, source, target, was, work.services.clock.now()))
    return found


def _ways(step: Step) -> list[_Way]:
    """Return where the branches go, by the journal. Raises StoreError."""
    try:
        return [_Way(*map(str, way)) for way in map(_listed, _listed(step.data.get("ways")))]
    except TypeError as error:
        raise StoreError(f"step {step.number} of {step.rollback} is damaged: where branches go is not said") from error


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else []


def _alert(work: Work, text: str) -> None:
    rollback = work.journal.rollback
    about = {"rollback": rollback.id, "incident": rollback.incident}
    work.services.store.append_event("alert", {"severity": "warning", "text": f"{rollback.id}: {text}", **about})


RESET_AGENT = StepKind(_do_reset, _prepare_reset, undo=_undo_reset)
