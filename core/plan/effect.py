"""The effect of a plan, and its hash: what an approval binds to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ..codec import canonical
from ..gitrepo.entries import Entry, changes
from ..gitrepo.paths import shown
from ..model import OptionType, PlanStep
from ..services import Services


def plan_hash(
    services: Services,
    kind: OptionType,
    *,
    head: str,
    tree: str | None,
    targets: Sequence[str],
    message: str,
    steps: Sequence[PlanStep],
    database: str,
) -> str:
    """Return the SHA-256 of the effect in canonical JSON.

    The effect is the reverse patch (each affected file's blob and mode before and after), the branch, the database
    target, the settings pin, and what is done to whom. The head is left out: a commit that touches none of the
    affected files leaves the hash as it is.
    """
    effect = {
        "type": kind.value,
        "targets": list(targets),
        "files": changed_blobs(services, head, tree) if tree else [],
        "branch": services.settings.branch,
        "message": message,
        "steps": [[step.phase, step.name, step.subject] for step in steps if step.name != "stand_by"],
        "database": database,
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
