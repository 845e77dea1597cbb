"""The effect of a plan, and its hash: what an approval binds to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ..codec import canonical
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


def changed_blobs(services: Services, head: str, tree: str) -> list[str]:
    """Return git's raw difference of ``head`` and ``tree``: modes, blobs, status and path of each file, in order."""
    raw = services.mirror.git.run("diff-tree", "-r", "-z", "--no-renames", "--full-index", f"{head}^{{tree}}", tree)
    fields = raw.out.decode("utf-8", "backslashreplace").split("\0")
    return [f"{meta} {path}" for meta, path in zip(fields[0:-1:2], fields[1::2], strict=False)]
