"""The effect of a plan, and its hash: what an approval binds to."""

from __future__ import annotations

import hashlib

from ..codec import canonical
from ..gitrepo.entries import Entry, changes
from ..gitrepo.paths import shown
from ..model import RecoveryPlan
from ..services import Services


def plan_hash(services: Services, plan: RecoveryPlan) -> str:
    """Return the SHA-256 of the effect of ``plan`` in canonical JSON; its own ``plan_hash`` does not count.

    The effect is the reverse patch (each affected file's blob and mode before and after), the branch, which parts go,
    which commits are made again, the database target, the settings pin, and what is done to whom. The head is left
    out: a commit that touches none of the affected files leaves the hash as it is. Where history is rewritten the head
    counts, for the branch leaves whatever is there. Raises GitError.
    """
    effect = {
        "type": plan.type.value,
        "targets": list(plan.targets),
        "parts": list(plan.parts),
        "keeps": list(plan.keeps),
        "rewrite": plan.head if plan.rewrite else "",
        "files": changed_blobs(services, plan.head, plan.tree) if plan.tree else [],
        "branch": plan.branch,
        "message": plan.message,
        "steps": [[step.phase, step.name, step.subject] for step in plan.steps if step.name != "stand_by"],
        "database": plan.database,
        "settings": services.pin,
    }
    return hashlib.sha256(canonical(effect).encode()).hexdigest()


def changed_blobs(services: Services, head: str, tree: str) -> list[list[str]]:
    """Return for each file that differs its path, and mode and blob before and after, in git's order."""
    return [
        [shown(change.path), *_words(change.old), *_words(change.new)]
        for change in changes(services.mirror.git, head, tree)
    ]


def _words(entry: Entry | None) -> tuple[str, str]:
    return (entry.mode, entry.oid) if entry is not None else ("", "")
