"""The emergency snapshot: git, database and file trees of one moment, kept before anything is changed."""

from __future__ import annotations

from datetime import datetime

from ..codec import to_json
from ..data.database import MissingDatabaseError
from ..data.files import snapshot_trees
from ..data.manifest import write_manifest
from ..errors import RollcageError, StoreError
from ..gitrepo import snapshot as git_snapshot
from ..model import Snapshot
from ..services import Services


def snapshot_name(services: Services, at: datetime) -> str:
    """Return an unused id such as ``snap-20261120T140210Z``, with ``-2`` and so on behind it within one second."""
    stem = f"snap-{at:%Y%m%dT%H%M%SZ}"
    name, number = stem, 1
    while services.store.snapshot(name) is not None or (services.paths.snapshots / name).exists():
        number += 1
        name = f"{stem}-{number}"
    return name


def take_snapshot(services: Services, name: str, why: str) -> Snapshot:
    """Keep the complete state under ``name`` and record it; a half-made folder of an earlier try is made anew.

    The record is written last: a snapshot that the store knows is whole. Raises StoreError where it cannot be
    written or comes out empty; nothing may be changed then.
    """
    known = services.store.snapshot(name)
    if known is not None:
        return known
    folder = services.paths.snapshots / name
    at = services.clock.now()
    try:
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        kept = git_snapshot.take(services.repository, services.mirror, name, at)
        databases, warnings = [], list(kept.warnings)
        if services.database is not None:
            try:
                file = services.database.snapshot(folder)
            except MissingDatabaseError as missing:  # an agent may have deleted it: that must not block the way back
                warnings.append(str(missing))
            else:
                databases.append(file.name)
                warnings += [file.warning] if file.warning else []
        if services.settings.files:
            trees = snapshot_trees(services.repository.top, services.settings.files, folder / "files")
            warnings += trees.warnings
        size = write_manifest(folder, {"id": name, "why": why, "git": to_json(kept)})
    except OSError as error:
        raise StoreError(
            f"the snapshot {name} cannot be written: {error.strerror}; free space in {services.paths.snapshots}"
        ) from error
    snapshot = Snapshot(
        id=name,
        at=at,
        why=why,
        head=kept.head,
        path=str(folder),
        size=size,
        worktrees=kept.worktrees,
        databases=tuple(databases),
        warnings=tuple(warnings),
    )
    if not kept.commit:
        raise RollcageError(f"the snapshot {name} came out empty; nothing was changed")
    services.store.save_snapshot(snapshot)
    services.store.audit("engine", "snapshot", name, why)
    return snapshot
