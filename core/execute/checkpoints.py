"""Checkpoints: database and `files:` as they were when a commit was seen to be good. They are the way back of data.

A checkpoint is a folder ``checkpoints/ID`` with a manifest, written last, that names its contents in
``checkpoints/objects``; what several have in common is there once. The emergency snapshot is no substitute: it is taken
after the damage.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ..codec import canonical
from ..data.checkpoints import checkpoints_folder, newest_before, objects_folder
from ..data.database import MissingDatabaseError
from ..data.files import RestoredTrees, look_of, read_trees, restore_trees, snapshot_trees
from ..data.manifest import read_manifest, write_manifest
from ..data.objects import bring_file, drop_all_but, keep_file, sizes
from ..errors import StoreError
from ..model import Checkpoint, Severity
from ..services import Services
from ..store.files import locked
from ..text import clean
from .capture import install_capture, restore_database

__all__ = [
    "keep_data",
    "kept_bytes",
    "newest_before",
    "remove_checkpoint",
    "restore_checkpoint",
    "restore_checkpoint_files",
    "sweep_checkpoints",
    "take_checkpoint",
    "unneeded_checkpoints",
]

EVERY_S = 600.0
"""At most one in so many seconds: between two, a database is copied for little."""
_STATE = "checkpoint_state"
_DATABASE = "database"
_FILES = "files"


def keep_data(services: Services) -> Checkpoint | None:
    """Do what the engine does again and again: record rows as the tables are now, and keep data at a good tip.

    Raises RefusedError for a table that cannot be recorded, StoreError.
    """
    install_capture(services)
    tip = services.repository.tip(services.settings.branch)
    if tip is None or not services.store.is_good(tip, services.checks.checks_hash):
        return None
    return take_checkpoint(services, tip)


def take_checkpoint(services: Services, sha: str, *, every: float = EVERY_S) -> Checkpoint | None:
    """Keep database and `files:` as of the good commit ``sha``; ``None``: there is nothing to keep, or no need to.

    No need: the last one is younger than ``every`` seconds, or nothing was written since. None is taken while something
    is wrong: a critical incident is open, a rollback runs, or a database check does not say that all is well. What is
    larger than `retention.size` is not kept, which is told once. Raises StoreError; no checkpoint is left half made.
    """
    store, now = services.store, services.clock.now()
    paths = services.settings.files if not services.repository.is_bare else ()
    if services.database is None and not paths:
        return None
    newest = next(iter(store.checkpoints()), None)
    # One from the future was taken before the clock was set right.
    if newest is not None and timedelta() <= now - newest.at < timedelta(seconds=every):
        return None
    if _is_troubled(services):
        return None
    looks = _looks(services, paths)  # before it is read: what is written meanwhile makes the next look differ
    if newest is not None and "" not in looks and store.get_note(_STATE) == canonical([newest.id, *looks]):
        return None
    if services.database is not None and any(answer.count != 0 for answer in services.database.check_errors()):
        return None
    with _alone(services):
        checkpoint = _take(services, sha, now, paths)
    if checkpoint is None:
        return None
    with store.transaction():
        store.save_checkpoint(checkpoint)
        store.set_note(_STATE, canonical([checkpoint.id, *looks]))
        store.audit("engine", "checkpoint", checkpoint.id, f"of {sha[:12]}, {checkpoint.size:,} bytes")
    return checkpoint


def restore_checkpoint(services: Services, checkpoint: Checkpoint) -> None:
    """Bring the live database back to ``checkpoint``; in one transaction. Take a fresh snapshot first.

    Raises StoreError where it has none, is damaged, or the database is busy; nothing was changed then.
    """
    kept = _manifest(checkpoint).get(_DATABASE)
    if services.database is None or not isinstance(kept, dict):
        raise StoreError(f"{checkpoint.id} has no database; nothing was changed")
    if kept["kind"] != services.database.kind:
        raise StoreError(f"{checkpoint.id} is of a {kept['kind']} database, and the settings name another kind")
    with _alone(services), _scratch(services) as folder:
        file = folder / str(kept["name"])
        try:
            bring_file(objects_folder(services.paths), kept["pieces"], file)
        except OSError as error:
            raise _not_written(services, checkpoint.id, error) from error
        restore_database(services, file, sha256=str(kept["sha256"]))


def restore_checkpoint_files(services: Services, checkpoint: Checkpoint) -> RestoredTrees | None:
    """Bring back the `files:` of ``checkpoint``; ``None``: it has none. What is newer stays. Raises StoreError."""
    if not checkpoint.files:
        return None
    with _alone(services):
        folder = Path(checkpoint.path) / _FILES
        return restore_trees(folder, services.repository.top, blobs=objects_folder(services.paths))


def kept_bytes(services: Services) -> int:
    """Return the bytes of all that checkpoints keep."""
    return sum(sizes(objects_folder(services.paths)).values())


def unneeded_checkpoints(services: Services) -> list[Checkpoint]:
    """Return those that may go, the oldest first. Raises StoreError.

    Never the newest, which is of the last good commit, nor one that an open incident, a plan of one, or an unfinished
    rollback needs.
    """
    kept = services.store.checkpoints()
    needed = _needed(services, kept)
    return [checkpoint for checkpoint in reversed(kept) if checkpoint.id not in needed]


def remove_checkpoint(services: Services, checkpoint: Checkpoint, why: str) -> int:
    """Remove ``checkpoint`` and what it alone keeps; return the bytes that are free then. Raises StoreError."""
    store = services.store
    with _alone(services):
        with store.transaction():
            store.forget_checkpoint(checkpoint.id)
            store.audit("engine", "checkpoint_removed", checkpoint.id, why)
        return _collect(services)


def sweep_checkpoints(services: Services) -> None:
    """Remove contents that no checkpoint names any more, and what was begun and not finished. Raises StoreError."""
    with _alone(services):
        _collect(services)


def _take(services: Services, sha: str, now: datetime, paths: tuple[str, ...]) -> Checkpoint | None:
    objects = objects_folder(services.paths)
    before = sizes(objects)
    folder = _new_folder(services, now)
    facts: dict[str, object] = {"id": folder.name, "sha": sha}
    limit = services.settings.retention.size
    try:
        if services.database is not None:
            facts[_DATABASE] = _take_database(services, folder, limit)
        if paths:
            snapshot_trees(services.repository.top, paths, folder / _FILES, blobs=objects, size_limit=limit)
            facts[_FILES] = list(paths)
        if not facts.get(_DATABASE) and not paths:
            shutil.rmtree(folder)
            return None
        write_manifest(folder, facts)
    except (OSError, StoreError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise _not_written(services, folder.name, error) from error
        raise
    added = sum(size for name, size in sizes(objects).items() if name not in before)
    return Checkpoint(
        id=folder.name,
        at=now,
        sha=sha,
        path=str(folder),
        size=added,
        databases=(services.database.kind,) if services.database is not None and facts.get(_DATABASE) else (),
        files=paths,
    )


def _take_database(services: Services, folder: Path, limit: int) -> dict[str, object] | None:
    database = services.database
    if database is None:
        return None
    try:
        file = database.snapshot(folder)
    except MissingDatabaseError:
        return None
    path = folder / file.name
    try:
        if file.warning:
            raise StoreError(f"no checkpoint was taken: {file.warning}")
        if file.size > limit:
            raise StoreError(f"no checkpoint was taken: the database has {file.size:,} bytes, retention.size {limit:,}")
        pieces = keep_file(objects_folder(services.paths), path)
    finally:
        path.unlink()
    return {"kind": database.kind, "name": file.name, "size": file.size, "sha256": file.sha256, "pieces": pieces}


def _is_troubled(services: Services) -> bool:
    store = services.store
    incidents = store.incidents(open_only=True)
    return bool(store.unfinished_rollbacks()) or any(each.severity is Severity.CRITICAL for each in incidents)


def _looks(services: Services, paths: tuple[str, ...]) -> list[str]:
    """Return what tells whether anything was written since; an empty one: that cannot be told."""
    database = services.database.fingerprint() if services.database is not None else "none"
    return [database, look_of(services.repository.top, paths) if paths else "none"]


def _needed(services: Services, kept: list[Checkpoint]) -> set[str]:
    """Return the checkpoints that must stay."""
    store = services.store
    needed = {kept[0].id} if kept else set()
    plans = [plan for incident in store.incidents(open_only=True) for _, plan in store.options(incident.id)]
    subjects = [step.subject for plan in plans for step in plan.steps]
    subjects += [step.subject for rollback in store.unfinished_rollbacks() for step in store.steps(rollback.id)]
    needed |= {word for subject in subjects for word in subject.split()}
    for incident in store.incidents(open_only=True):
        before = next((checkpoint for checkpoint in kept if checkpoint.at < incident.since), None)
        needed |= {before.id} if before is not None else set()
    return needed


def _collect(services: Services) -> int:
    """Remove folders that no record names and contents that no folder names; return the bytes that are free then."""
    folder, known = checkpoints_folder(services.paths), services.store.checkpoints()
    names = {checkpoint.id for checkpoint in known}
    wanted: set[str] = set()
    for checkpoint in known:
        manifest = _manifest(checkpoint)  # one that cannot be read ends it: nothing is removed on a guess
        kept = manifest.get(_DATABASE)
        wanted |= set(kept["pieces"]) if isinstance(kept, dict) else set()
        if checkpoint.files:
            wanted |= {entry.content for entry in read_trees(Path(checkpoint.path) / _FILES).entries}
    try:
        for path in folder.iterdir():
            if path.is_dir() and path.name not in names and path != objects_folder(services.paths):
                shutil.rmtree(path)
        return drop_all_but(objects_folder(services.paths), wanted)
    except OSError as error:
        raise StoreError(f"{clean(str(error.filename or folder))} cannot be removed: {error.strerror}") from error


def _manifest(checkpoint: Checkpoint) -> dict[str, Any]:
    return read_manifest(Path(checkpoint.path))


def _new_folder(services: Services, now: datetime) -> Path:
    stem = checkpoints_folder(services.paths) / f"chk-{now:%Y%m%dT%H%M%SZ}"
    folder, number = stem, 1
    while True:
        try:
            if services.store.checkpoint(folder.name) is None:
                folder.mkdir(mode=0o700)
                return folder
        except FileExistsError:
            pass
        except OSError as error:
            raise _not_written(services, folder.name, error) from error
        number += 1
        folder = stem.with_name(f"{stem.name}-{number}")


@contextmanager
def _scratch(services: Services) -> Iterator[Path]:
    """Give an empty folder beside the checkpoints; one that stays behind is removed with what no record names."""
    try:
        with tempfile.TemporaryDirectory(dir=checkpoints_folder(services.paths), prefix="tmp-") as folder:
            yield Path(folder)
    except OSError as error:
        raise _not_written(services, "a copy of a checkpoint", error) from error


@contextmanager
def _alone(services: Services) -> Iterator[None]:
    """Let nobody else take, restore or remove a checkpoint meanwhile."""
    folder = checkpoints_folder(services.paths)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _not_written(services, str(folder), error) from error
    with locked(folder / ".lock", timeout=60.0):
        yield


def _not_written(services: Services, name: str, error: OSError) -> StoreError:
    place = checkpoints_folder(services.paths)
    return StoreError(f"{name} cannot be written: {error.strerror}; make room, or mend who may write {place}")
