"""Undoing goes back to the snapshot: uncommitted work that a publication had made one with the branch comes back too.

An edit that says the same as the new commit is no edit any more once that is published: the file is clean. When the
branch goes back the file goes back with it, and the edit would be gone. Here it is written again, from the snapshot.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..data.manifest import read_manifest
from ..errors import RollcageError
from ..gitrepo.content import Reader
from ..gitrepo.entries import Change, changes
from ..gitrepo.paths import raw, shown
from ..gitrepo.publication import Publication, worktree_name
from ..gitrepo.repository import Worktree
from ..gitrepo.restore import restore_files
from ..gitrepo.vault import read_manifest as read_kept
from ..gitrepo.view import index_of, look, unchanged
from ..gitrepo.working_files import place
from ..model import Snapshot
from ..services import Services
from ..text import clean


def bring_back_local_work(services: Services, snapshot: str, publication: Publication, rollback: str) -> list[str]:
    """Write again what ``snapshot`` has of uncommitted work in the files that ``publication`` moved back.

    Only where there is no work of anybody's now: the file is clean, and its committed content is what the work was done
    on. (An edit beside the lines that moved was merged, both ways.) Idempotent. Returns the files. Where it fails an
    alert says so: the branch has gone back all the same, and the snapshot keeps the work.
    """
    taken = services.store.snapshot(snapshot)
    try:
        return _bring_back(services, taken, publication, rollback) if taken is not None else []
    except (RollcageError, OSError) as problem:
        text = f"{rollback}: uncommitted work could not be written again, {snapshot} has it: {clean(str(problem))}"
        services.store.append_event("alert", {"severity": "critical", "text": text, "rollback": rollback})
        return []


def _bring_back(services: Services, taken: Snapshot, publication: Publication, rollback: str) -> list[str]:
    commit = str(read_manifest(Path(taken.path))["git"]["commit"])
    kept: dict[str, Any] = read_kept(services.mirror, commit)
    trees = {described["path"]: described for described in kept["worktrees"]}
    moved = {change.path: change for change in changes(services.mirror.git, publication.old, publication.new)}
    found: list[str] = []
    for worktree in services.repository.worktrees():
        described = trees.get(worktree_name(worktree))
        if described is None or worktree_name(worktree) not in publication.worktrees or not described["head"]:
            continue
        other = {change.path for change in changes(services.mirror.git, described["head"], publication.new)}
        edited = {raw(file["path"]) for file in described["files"]}
        wanted = [change for path, change in moved.items() if path in edited and path not in other]
        left = _clean_files(services, worktree, wanted)
        if left:
            name = f"{rollback}-{uuid.uuid4().hex}"
            restored = restore_files(services.mirror, commit, worktree.path, left, name, services.clock.now())
            found += restored.restored
    return found


def _clean_files(services: Services, worktree: Worktree, wanted: Sequence[Change]) -> dict[str, str | None]:
    """Return the files among ``wanted`` without any edit, staged or not, with the blob id of their bytes."""
    reader = Reader(services.repository.object_format())
    with look(worktree.path, services.mirror) as view:
        staged = index_of(view, worktree.git_dir / "index", frozenset(change.path for change in wanted))
        clean = unchanged(view, {change.path: change.new for change in wanted if change.new is not None})
    found: dict[str, str | None] = {}
    for change in wanted:
        lines = staged.get(change.path, [])
        if [line.entry for line in lines] != ([change.new] if change.new else []):
            continue
        file = place(worktree.path, change.path)
        if change.path in clean:
            found[shown(change.path)] = reader.add_file(file, steady=False).oid
        elif change.new is None and not os.path.lexists(file):
            found[shown(change.path)] = None
    return found
