"""The emergency snapshot: git, database and file trees of one moment, kept before anything is changed."""

from __future__ import annotations

from datetime import datetime

from ..codec import to_json
from ..data.database import MissingDatabaseError
from ..data.files import snapshot_trees
from ..data.manifest import write_manifest
from ..errors import StoreError
from ..gitrepo import snapshot as git_snapshot
from ..gitrepo.snapshot import GitSnapshot
from ..model import Snapshot
from ..services import Services


def snapshot_name(services: Services, at: datetime) -> str:
    """Take an unused id such as ``snap-20261120T140210Z``, with ``-2`` and so on behind it within one second.

    Its folder is made with it, so that nobody else gets the same. Raises StoreError where that cannot be written.
    """
    stem = f"snap-{at:%Y%m%dT%H%M%SZ}"
    name, number = stem, 1
    try:
        services.paths.snapshots.mkdir(parents=True, mode=0o700, exist_ok=True)
        while True:
            try:
                if services.store.snapshot(name) is None:
                    (services.paths.snapshots / name).mkdir(mode=0o700)
                    return name
            except FileExistsError:
                pass
            number += 1
            name = f"{stem}-{number}"
    except OSError as error:
        raise _not_written(services, name, error) from error


def take_snapshot(services: Services, name: str, why: str) -> Snapshot:
    """Keep the complete state under ``name`` and record it; what an earlier try that died left is made anew.

    The record is written last: a snapshot that the store knows is whole, and is only returned. Raises a RollcageError
    where it cannot be kept whole or comes out empty; nothing may be changed then.
    """
    known = services.store.snapshot(name)
    if known is not None:
        return known
    folder = services.paths.snapshots / name
    at = services.clock.now()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = _keep_git(services, name, at)
        databases, warnings = [], list(kept.warnings)
        if services.database is not None:
            try:
                file = services.database.snapshot(folder)
            except MissingDatabaseError as missing:  # an agent may have deleted it: that must not block the way back
                warnings.append(str(missing))
            else:
                databases.append(file.name)
                warnings += [file.warning] if file.warning else []
        if services.settings.files and not services.repository.is_bare:
            trees = snapshot_trees(services.repository.top, services.settings.files, folder / "files")
            warnings += trees.warnings
        size = write_manifest(folder, {"id": name, "why": why, "git": to_json(kept)})
    except OSError as error:
        raise _not_written(services, name, error) from error
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
    with services.store.transaction():
        services.store.save_snapshot(snapshot)
        services.store.audit("engine", "snapshot", name, why)
    return snapshot


def _keep_git(services: Services, name: str, at: datetime) -> GitSnapshot:
    """Keep git's part, under a name of its own where a try that died has taken this one. Raises StoreError if empty."""
    git, ref, number = services.mirror.git, name, 1
    while git.run("show-ref", "--verify", "--quiet", f"{git_snapshot.SNAPSHOTS}/{ref}", ok=(0, 1)).status == 0:
        number += 1
        ref = f"{name}.{number}"
    kept = git_snapshot.take(services.repository, services.mirror, ref, at)
    if not kept.commit or not (kept.worktrees or services.repository.is_bare):
        raise StoreError(f"the snapshot {name} came out empty: it has no working tree; nothing was changed")
    return kept


def _not_written(services: Services, name: str, error: OSError) -> StoreError:
    place = services.paths.snapshots
    return StoreError(
        f"the snapshot {name} cannot be written: {error.strerror}; make room, or mend who may write {place}"
    )
