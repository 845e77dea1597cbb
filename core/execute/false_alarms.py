"""Rollcage counts its own false alarms: a change that it took back and that landed again unmodified was none of harm.

It lands again where its patch does (git's patch id, of the files that the rollback changed), or where all these files
have the content again that they had before the rollback: so also in one commit with other things, or by an undo.
"""

from __future__ import annotations

import os
from datetime import timedelta

from ..codec import canonical
from ..errors import GitError
from ..gitrepo.entries import changes
from ..gitrepo.objects import read_commits
from ..gitrepo.patch_ids import patch_id, patch_ids_since
from ..gitrepo.publication import Publication
from ..model import Rollback, RollbackState
from ..services import Services
from ..store.facts import FALSE_ALARMS
from .publishing import begun

_SEEN = "false_alarms:seen"
WATCHED = timedelta(days=30)
"""A rollback is watched for so long; what lands again later is another story."""
_LOOK_BACK = 200


def count_false_alarms(services: Services) -> list[str]:
    """Look whether what was rolled back has landed again on the branch; return the rollbacks that are counted now.

    Cheap where the branch has not moved since the last look. Each is told by an alert and an audit record. Raises
    StoreError; a rollback whose objects are gone is passed over.
    """
    store, tip = services.store, services.repository.tip(services.settings.branch)
    if tip is None or store.get_note(_SEEN) == tip:
        return []
    known = store.false_alarms()
    found: dict[str, str] = {}
    for rollback in store.rollbacks(_LOOK_BACK):
        if rollback.id not in known and _is_watched(services, rollback):
            where = _landed(services, rollback, tip)
            if where:
                found[rollback.id] = where
    with store.transaction():
        store.set_note(_SEEN, tip)
        if found:
            store.set_note(FALSE_ALARMS, canonical({**known, **found}))
        for name, where in found.items():
            text = f"{name} was a false alarm: what it took back landed again unmodified with {where[:12]}"
            store.append_event("alert", {"severity": "warning", "text": text, "rollback": name})
            store.audit("engine", "false_alarm", name, text, detail={"commit": where})
    return list(found)


def _is_watched(services: Services, rollback: Rollback) -> bool:
    carried_out = rollback.state in {RollbackState.DONE, RollbackState.UNVERIFIED} and rollback.kind == "rollback"
    recent = rollback.ended is not None and services.clock.now() - rollback.ended <= WATCHED
    return carried_out and recent and bool(rollback.head_after)


def _landed(services: Services, rollback: Rollback, tip: str) -> str:
    """Return the commit with which it landed again; empty: it has not."""
    publication = _publication(services, rollback)
    if publication is None or tip == publication.new:
        return ""
    mirror = services.mirror
    try:
        changed = changes(mirror.git, publication.old, publication.new)
        paths = [os.fsdecode(change.path) for change in changed]
        since = {change.path: change.new for change in changes(mirror.git, publication.new, tip)}
        if changed and all(change.path in since and since[change.path] == change.old for change in changed):
            return tip
        targets = read_commits(mirror, _targets(services, rollback))
        wanted = {patch_id(mirror, publication.new, publication.old, paths)}
        wanted |= {patch_id(mirror, c.parents[0], sha, paths) for sha, c in targets.items() if len(c.parents) == 1}
        landed = patch_ids_since(mirror, publication.new, tip, paths)
    except GitError:
        return ""
    return next((sha for known, sha in landed.items() if known in wanted - {""}), "")


def _publication(services: Services, rollback: Rollback) -> Publication | None:
    step = next((each for each in services.store.steps(rollback.id) if each.name == "publish"), None)
    found = begun(step) if step is not None else None
    return found.publication if found is not None else None


def _targets(services: Services, rollback: Rollback) -> tuple[str, ...]:
    plan = services.store.plan(rollback.option)
    return plan.targets if plan is not None and plan.plan_hash == rollback.plan_hash else ()
