"""The step that sends the branch to its remote. What cannot be sent is queued and told; it fails no rollback."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import RollcageError, StoreError
from ..gitrepo.push import look_at_remote
from ..model import Step
from .sending import send
from .work import StepKind, Work


def _prepare_push(work: Work, step: Step) -> Mapping[str, object]:
    """Where history was rewritten, note what the remote has: only that may be replaced."""
    if not work.plan.rewrite:
        return {"expect": ""}
    return {"expect": _remote_tip(work, step.subject)}


def _do_push(work: Work, step: Step) -> Mapping[str, object]:
    """Send what the branch has now. The rollback stands, verified, whatever comes of it."""
    rollback, branch, remote = work.journal.rollback, work.plan.branch, step.subject
    rewritten, expect = work.plan.rewrite, str(step.data.get("expect", ""))
    try:
        result = send(
            work.services,
            branch,
            remote,
            expect=expect,
            rewritten=rewritten,
            had=(rollback.head_before,),
            why=rollback.id,
        )
        state, words = result.state, result.words
    except StoreError:
        raise
    except RollcageError as problem:
        state, words = "refused", str(problem)
    if state != "pushed":
        text = f"{rollback.id}: {branch} is not at {remote} yet: {words}"
        severity = "warning" if state == "unreachable" else "critical"
        about = {"rollback": rollback.id, "incident": rollback.incident}
        work.services.store.append_event("alert", {"severity": severity, "text": text, **about})
    work.services.store.audit("engine", "push", remote, f"{rollback.id}: {words}", outcome=state)
    return {"state": state, "words": words}


def _remote_tip(work: Work, remote: str) -> str:
    """Return the commit that the remote's branch has; as it was seen last where it cannot be asked now."""
    repository, branch = work.services.repository, work.plan.branch
    try:
        seen = look_at_remote(repository, branch, remote)
    except RollcageError:
        return ""
    if seen.state != "unreachable":
        return seen.sha
    name = f"refs/remotes/{remote}/{branch}"
    known = repository.git.run("rev-parse", "--verify", "--quiet", "--end-of-options", name, ok=(0, 1, 128))
    return known.out.decode().strip() if known.status == 0 else work.journal.rollback.head_before


PUSH = StepKind(_do_push, _prepare_push)
