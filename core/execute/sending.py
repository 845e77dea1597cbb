"""Pushes: sent at once where the remote can be reached, else queued durably and sent when it can be again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from ..errors import RollcageError
from ..gitrepo.push import PushResult, fetch_into_mirror, push_branch
from ..services import Services
from ..store.outgoing import WAITING, OutgoingPush
from ..text import clean

FIRST_WAIT_S = 30.0
LONGEST_WAIT_S = 3_600.0
"""The wait before the next try doubles from the first to the longest."""


def send(
    services: Services,
    branch: str,
    remote: str,
    *,
    expect: str = "",
    rewritten: bool = False,
    had: Sequence[str] = (),
    why: str = "",
) -> PushResult:
    """Push ``branch`` to ``remote`` now; where the remote cannot be reached, queue that for `flush`, and say so.

    For the rest see `push_branch`; ``why``: the rollback's id. Idempotent: what is queued already is not queued twice,
    and what the remote has already counts as ``pushed``. Raises StoreError.
    """
    now, tip = services.clock.now(), services.repository.tip(branch)
    if tip is None:
        return PushResult("refused", f"there is no branch {clean(branch)} to push")
    push = OutgoingPush(
        id="",
        at=now,
        branch=branch,
        remote=remote,
        sha=tip,
        expect=expect,
        rewritten=rewritten,
        had=tuple(had),
        why=why,
        state=WAITING,
        tries=1,
        next_try=now + timedelta(seconds=FIRST_WAIT_S),
    )
    result = _attempt(services, push)
    if result.state == "unreachable":
        return PushResult("unreachable", f"{result.words}; {_queued(services, push, result.words)}")
    return result


def flush(services: Services, *, queued_before: datetime | None = None) -> list[OutgoingPush]:
    """Send what is queued and due; return what came to an end, each with what came of it. Raises StoreError.

    What was queued before ``queued_before`` is due, however often it was tried: an engine that starts does not wait for
    the hour that the last one would have waited. For the one engine that leads. A process killed in the middle sends
    again, which does no harm.
    """
    ended = []
    for push in services.store.outgoing():
        is_old = queued_before is not None and push.at < queued_before
        if push.next_try > services.clock.now() and not is_old:
            continue
        result = _attempt(services, push)
        if result.state == "unreachable":
            wait = timedelta(seconds=min(FIRST_WAIT_S * 2.0**push.tries, LONGEST_WAIT_S))
            later = services.clock.now() + wait
            services.store.save_outgoing(replace(push, tries=push.tries + 1, next_try=later, words=result.words))
        else:
            ended.append(_ended(services, push, result))
    return ended


def _attempt(services: Services, push: OutgoingPush) -> PushResult:
    repository = services.repository
    try:
        if not _holds(services, push.branch, push.sha):
            words = f"{push.branch} does not have {push.sha[:12]} any more: there is nothing left to push"
            return PushResult("refused", words)
        result = push_branch(
            repository, push.branch, push.remote, expect=push.expect, rewritten=push.rewritten, had=push.had
        )
        return _reconciled(services, push, result) if result.state == "rejected" else result
    except RollcageError as problem:
        return PushResult("refused", clean(str(problem), limit=300))


def _reconciled(services: Services, push: OutgoingPush, rejected: PushResult) -> PushResult:
    """Look at what the remote has now: it may have ours already. Nothing is ever merged by guess."""
    there = fetch_into_mirror(services.repository, services.mirror, push.branch, push.remote)
    if there.state == "unreachable":
        return PushResult("unreachable", there.words)
    git = services.mirror.git
    if there.sha and git.run("merge-base", "--is-ancestor", push.sha, there.sha, ok=range(256)).status == 0:
        return PushResult("pushed", f"{push.remote} has {push.sha[:12]} already", there.sha)
    if there.state == "missing":
        return PushResult(
            "rejected", f"{push.branch} is gone from {push.remote}, and is not made anew: {rejected.words}"
        )
    new = git.text("rev-list", "--count", there.sha, f"^{push.sha}", "--", ok=(0, 128))
    return PushResult(
        "rejected",
        f"{push.remote} has {new or 'some'} commits on {push.branch} that are not here ({there.sha[:12]}): bring them "
        f"together by hand (git pull, or git fetch and merge), check, then git push",
        there.sha,
    )


def _holds(services: Services, branch: str, sha: str) -> bool:
    tip = services.repository.tip(branch)
    if tip is None or tip == sha:
        return tip is not None
    git = services.repository.git
    return git.run("merge-base", "--is-ancestor", sha, tip, ok=(0, 1, 128)).status == 0


def _queued(services: Services, push: OutgoingPush, words: str) -> str:
    store = services.store
    with store.transaction():
        known = [
            each
            for each in store.outgoing()
            if (each.branch, each.remote, each.sha, each.rewritten)
            == (push.branch, push.remote, push.sha, push.rewritten)
        ]
        if known:
            return f"queued as {known[0].id}"
        queued = replace(push, id=store.new_outgoing_id(), words=words)
        store.save_outgoing(queued)
        store.audit("engine", "push_queued", queued.why or queued.id, words)
    return f"queued as {queued.id}, and sent when it can be"


def _ended(services: Services, push: OutgoingPush, result: PushResult) -> OutgoingPush:
    """Write what came of a queued push, and tell people."""
    state = {"pushed": "sent", "rejected": "conflict"}.get(result.state, result.state)
    ended = replace(push, state=state, words=result.words, tries=push.tries + 1)
    store = services.store
    with store.transaction():
        store.save_outgoing(ended)
        store.audit("engine", f"push_{state}", push.why or push.id, result.words, outcome=state)
        if state != "sent":
            text = f"{push.branch} could not be pushed to {push.remote} ({push.id}, {state}): {result.words}"
            store.append_event("alert", {"severity": "critical", "text": text, "rollback": push.why})
    return ended
