"""What was kept goes when it is old, or too much, and nothing needs it any more. Crash-safe: what was begun is ended.

A snapshot goes in this order: its record, in one transaction with the audit log; its ref in the mirror; its files. A
kill in between leaves a folder or a ref without a record, which goes the next time.
"""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path

from ..clock import iso, parse_iso
from ..errors import StoreError
from ..gitrepo.upkeep import drop_snapshots, join_packs, reclaim
from ..model import RollbackState, Snapshot
from ..services import Services
from ..text import clean
from .checkpoints import prune_checkpoints
from .standby import safe_note

UNDOABLE_FOR = timedelta(days=7)
"""So long the snapshots of a rollback that ended well stay, whatever the settings say: to undo it."""
BEGUN_FOR = timedelta(days=1)
"""A folder or ref without a record is being made for so long; after it, it was left by a kill."""
RECLAIM_EVERY = timedelta(days=7)

_RECLAIMED = "retention:reclaimed"
_REMOVED = "retention:removed"
_MARK = ".gone-"
_ALL = 100_000


def prune(services: Services, now: datetime) -> list[str]:
    """Remove snapshots and checkpoints older or larger than the settings allow, and join packs; return what was done.

    Never the newest snapshot, nor one that an open incident, an unfinished or failed rollback, a restoration, or a
    rollback that ended within `UNDOABLE_FOR` needs. For the engine that leads. Idempotent. Raises StoreError, GitError.
    """
    expired = _expired(services, now)
    done = [_remove(services, snapshot, why, now) for snapshot, why in expired]
    gone = {snapshot.id for snapshot, _ in expired}
    known = {snapshot.id for snapshot in services.store.snapshots()}
    drop_snapshots(services.mirror, known, gone, now - BEGUN_FOR)
    _clear_folders(services.paths.snapshots, known, gone, now)
    done += prune_checkpoints(services, now)
    if join_packs(services.mirror):
        done.append("joined the packs of mirror.git")
    if _is_due(services, now) and reclaim(services.mirror, now):
        services.store.set_note(_RECLAIMED, iso(now))
        services.store.set_note(_REMOVED, "")
        done.append("dropped from mirror.git what nothing needs any more")
    return done


def needed_snapshots(services: Services, now: datetime) -> set[str]:
    """Return the snapshots that something may have to go back to."""
    store = services.store
    found = {store.get_note(safe_note(incident.id)) or "" for incident in store.incidents(open_only=True, limit=_ALL)}
    found |= {
        store.get_note(f"making_safe:{incident.id}") or "" for incident in store.incidents(open_only=True, limit=_ALL)
    }
    for rollback in store.rollbacks(_ALL):
        ended_well = rollback.state not in {RollbackState.RUNNING, RollbackState.FAILED}
        if ended_well and rollback.ended is not None and rollback.ended < now - UNDOABLE_FOR:
            continue
        found |= {rollback.snapshot, store.get_note(safe_note(rollback.incident)) or ""}
        found |= {str(step.data.get("snapshot", "")) for step in store.steps(rollback.id)}
    restoring: dict[str, str] = json.loads(store.get_note("restoring") or "{}")
    return found | set(restoring.values())


def _expired(services: Services, now: datetime) -> list[tuple[Snapshot, str]]:
    """Return the snapshots that are to go, oldest first, each with the reason."""
    limits = services.settings.retention
    kept = services.store.snapshots()
    needed = needed_snapshots(services, now)
    total = sum(snapshot.size for snapshot in kept)
    expired = []
    for snapshot in reversed(kept[1:]):
        too_old = snapshot.at < now - timedelta(seconds=limits.snapshots)
        if snapshot.id in needed or not (too_old or total > limits.size):
            continue
        total -= snapshot.size
        reason = (
            f"older than {limits.snapshots / 86_400:g} days" if too_old else f"over {limits.size / 1e9:g} GB in all"
        )
        expired.append((snapshot, reason))
    return expired


def _remove(services: Services, snapshot: Snapshot, why: str, now: datetime) -> str:
    store = services.store
    with store.transaction():
        store.forget_snapshot(snapshot.id)
        store.set_note(_REMOVED, iso(now))
        store.audit("engine", "snapshot_removed", snapshot.id, why)
    return f"removed {snapshot.id}: {why}"


def _clear_folders(folder: Path, known: set[str], gone: set[str], now: datetime) -> None:
    """Delete the folders of snapshots without a record; renamed first, so that a half never passes for a whole."""
    for found in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            if found.name in known or not found.is_dir():
                continue
            if not found.name.startswith(_MARK):
                age = now.timestamp() - found.stat().st_mtime
                if found.name not in gone and age < BEGUN_FOR.total_seconds():
                    continue  # it may be being made
                found = found.rename(found.with_name(f"{_MARK}{found.name}"))  # noqa: PLW2901
            shutil.rmtree(found)
        except OSError as error:
            place = clean(str(error.filename or found))
            raise StoreError(f"cannot remove {place}: {error.strerror}; mend who may write there") from error


def _is_due(services: Services, now: datetime) -> bool:
    """Return whether snapshots were removed, long enough after the last time that the mirror was gone through."""
    store = services.store
    last = store.get_note(_RECLAIMED)
    return bool(store.get_note(_REMOVED)) and (last is None or parse_iso(last) < now - RECLAIM_EVERY)
