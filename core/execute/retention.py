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
from ..config import Level
from ..errors import StoreError
from ..gitrepo.upkeep import drop_snapshots, join_packs, reclaim
from ..model import Checkpoint, RollbackState, Snapshot
from ..services import Services
from ..text import clean
from .capture import forget_changes
from .checkpoints import kept_bytes, remove_checkpoint, sweep_checkpoints, unneeded_checkpoints
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
    """Remove what is older or larger than the settings allow, and join packs; return what was done.

    Snapshots and checkpoints share `retention.size`, and the oldest of both goes first. Never the newest snapshot, nor
    one that an open incident, an unfinished or failed rollback, a restoration, or a rollback that ended within
    `UNDOABLE_FOR` needs; of checkpoints see `unneeded_checkpoints`. Recorded changes of rows go by age, see
    `_forget_changes`. For the engine that leads. Idempotent. Raises StoreError, GitError.
    """
    gone: set[str] = set()
    done = _let_go(services, now, gone)
    known = {snapshot.id for snapshot in services.store.snapshots()}
    drop_snapshots(services.mirror, known, gone, now - BEGUN_FOR)
    _clear_folders(services.paths.snapshots, known, gone, now)
    sweep_checkpoints(services)
    done += _forget_changes(services, now)
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


def _let_go(services: Services, now: datetime, gone: set[str]) -> list[str]:
    """Remove the snapshots, also named in ``gone``, and checkpoints that are to go; return each with the reason."""
    limits = services.settings.retention
    kept = services.store.snapshots()
    needed = needed_snapshots(services, now)
    total = sum(snapshot.size for snapshot in kept) + kept_bytes(services)
    unneeded: list[Snapshot | Checkpoint] = [snapshot for snapshot in kept[1:] if snapshot.id not in needed]
    unneeded += unneeded_checkpoints(services)
    done = []
    for found in sorted(unneeded, key=lambda found: found.at):
        too_old = found.at < now - timedelta(seconds=limits.snapshots)
        if not (too_old or total > limits.size):
            continue
        why = f"older than {limits.snapshots / 86_400:g} days" if too_old else f"over {limits.size / 1e9:g} GB in all"
        if isinstance(found, Snapshot):
            _remove(services, found, why, now)
            gone.add(found.id)
            total -= found.size
        else:
            total -= remove_checkpoint(services, found, why)
        done.append(f"removed {found.id}: {why}")
    return done


def _forget_changes(services: Services, now: datetime) -> list[str]:
    """Remove recorded changes of rows older than `retention.snapshots`, and than any rollback that can be undone.

    None at all while an incident is open or a rollback is not ended: what it needs is not known before its end.
    """
    store = services.store
    if services.settings.level is Level.WATCH or store.incidents(open_only=True) or store.unfinished_rollbacks():
        return []
    before = now - timedelta(seconds=services.settings.retention.snapshots)
    undoable = [each.started for each in store.rollbacks(_ALL) if (each.ended or now) > now - UNDOABLE_FOR]
    before = min([before, *undoable])
    forgotten = forget_changes(services, before)
    return [f"removed {forgotten:,} recorded changes of rows"] if forgotten else []


def _remove(services: Services, snapshot: Snapshot, why: str, now: datetime) -> None:
    store = services.store
    with store.transaction():
        store.forget_snapshot(snapshot.id)
        store.set_note(_REMOVED, iso(now))
        store.audit("engine", "snapshot_removed", snapshot.id, why)


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
