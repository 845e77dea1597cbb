"""Where checkpoints lie, and which of them is from before a fault."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from ..gitrepo.mirror import Mirror
from ..model import Checkpoint
from ..store.paths import RepositoryPaths
from ..store.store import Store


def checkpoints_folder(paths: RepositoryPaths) -> Path:
    """Return the folder with a folder for each checkpoint, and the contents that they share."""
    return paths.root / "checkpoints"


def objects_folder(paths: RepositoryPaths) -> Path:
    """Return the folder of the contents."""
    return checkpoints_folder(paths) / "objects"


def newest_before(
    store: Store, mirror: Mirror, targets: Sequence[str], moment: datetime | None = None
) -> Checkpoint | None:
    """Return the newest checkpoint taken before ``moment`` at a commit that has none of ``targets`` in its history.

    ``None``: there is none. Raises StoreError.
    """
    for checkpoint in store.checkpoints():
        if moment is not None and checkpoint.at >= moment:
            continue
        if not any(_has(mirror, checkpoint.sha, target) for target in targets):
            return checkpoint
    return None


def _has(mirror: Mirror, sha: str, target: str) -> bool:
    """Return whether ``target`` is ``sha`` or in its history; also where that cannot be told any more."""
    if sha == target:
        return True
    return mirror.git.run("merge-base", "--is-ancestor", target, sha, ok=(0, 1, 128)).status != 1
