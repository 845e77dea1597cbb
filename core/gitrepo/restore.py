"""The way back from a snapshot: uncommitted files are written again where nobody worked on them since."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import GitError
from ..text import clean
from .content import CHUNK, ChangedWhileReadError, Reader
from .mirror import Mirror
from .paths import raw, shown
from .vault import Vault, read_manifest
from .working_files import DIRECTORY, OTHER, kind, place, remove, write

BEFORE = "refs/rollcage/before"
"""Below it the mirror keeps what files were before they were restored."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was written back, and what not; paths as `rollcage.core.gitrepo.paths.shown` writes them."""

    restored: tuple[str, ...]
    skipped: tuple[str, ...]
    """Somebody changed them since; they were left as they are."""
    before: str
    """The commit in the mirror that keeps what the restored files were; empty where nothing was restored."""


def restore_files(
    mirror: Mirror, snapshot_commit: str, worktree: Path, left: Mapping[str, str | None], name: str, at: datetime
) -> Restored:
    """Give the uncommitted files of ``worktree`` the bytes and modes that the snapshot has for them.

    ``left`` says what rollcage itself left at a path: the blob id of its raw bytes, or None for nothing there. A file
    that is neither that nor what the snapshot has is somebody's newer work, and is skipped. What the others were is
    kept in the mirror under ``name`` before anything is written; each is replaced in one move. Killed, it can be called
    again, with another name. The index is not touched.
    Raises GitError if the snapshot has no such working tree, StoreError or OSError if something cannot be written.
    """
    files = _files(mirror, snapshot_commit, worktree)
    reader = Reader(mirror.repository.object_format())
    todo, skipped = [], []
    for file in files:
        now = _state(worktree, raw(file["path"]), reader)
        if now == _wanted(file):
            continue
        if file["path"] in left and (now[1] if now else None) == left[file["path"]] and _can_be_put(worktree, file):
            todo.append(file)
        else:
            skipped.append(file["path"])
    if not todo:
        return Restored((), tuple(skipped), "")
    before, unchanged = _keep_before(mirror, worktree, todo, left, name, at)
    for file in unchanged:
        _put(mirror, worktree, file)
    restored = [file["path"] for file in unchanged]
    skipped += [file["path"] for file in todo if file not in unchanged]  # saved in this very moment
    return Restored(tuple(restored), tuple(skipped), before)


def _files(mirror: Mirror, snapshot_commit: str, worktree: Path) -> list[dict[str, Any]]:
    manifest: dict[str, Any] = read_manifest(mirror, snapshot_commit)
    name = shown(os.fsencode(worktree))
    for described in manifest["worktrees"]:
        if described["path"] == name:
            return [file for file in described["files"] if file["what"] == "deleted" or file.get("oid")]
    raise GitError(f"the snapshot {snapshot_commit[:12]} has no working tree {clean(str(worktree))}")


def _wanted(file: Mapping[str, Any]) -> tuple[str, str] | None:
    return None if file["what"] == "deleted" else (file["mode"], file["oid"])


def _state(worktree: Path, path: bytes, reader: Reader) -> tuple[str, str] | None:
    """Return mode and blob id of what is at ``path``; a folder and the like counts as something nobody left there."""
    mode = kind(worktree, path)
    if mode is None:
        return None
    if mode in {DIRECTORY, OTHER}:
        return mode, ""
    return mode, reader.add_file(place(worktree, path), steady=False).oid


def _can_be_put(worktree: Path, file: Mapping[str, Any]) -> bool:
    """Return whether the folders on the way to it are folders, or missing."""
    parts = raw(file["path"]).split(b"/")[:-1]
    return all(kind(worktree, b"/".join(parts[:depth])) in {None, DIRECTORY} for depth in range(1, len(parts) + 1))


def _keep_before(
    mirror: Mirror,
    worktree: Path,
    files: Sequence[dict[str, Any]],
    left: Mapping[str, str | None],
    name: str,
    at: datetime,
) -> tuple[str, list[dict[str, Any]]]:
    """Keep what is there now; return the commit, and those of ``files`` that still are what was left there."""
    images, unchanged = [], []
    with Vault(mirror, f"{BEFORE}/{name}", at) as vault:
        for file in files:
            path = raw(file["path"])
            mode = kind(worktree, path)
            try:
                oid = vault.add_file(place(worktree, path)).oid if mode else None
            except (ChangedWhileReadError, FileNotFoundError):
                continue
            images.append({"path": file["path"], "mode": mode, "oid": oid})
            if oid == left[file["path"]]:
                unchanged.append(file)
        manifest = {"worktree": shown(os.fsencode(worktree)), "files": images}
        return vault.commit(manifest, f"What files were before they were restored: {name}"), unchanged


def _put(mirror: Mirror, worktree: Path, file: Mapping[str, Any]) -> None:
    path = raw(file["path"])
    if file["what"] == "deleted":
        remove(worktree, path)
        return
    place(worktree, path).parent.mkdir(parents=True, exist_ok=True)
    process = mirror.git.start("cat-file", "blob", file["oid"])
    try:
        pieces = iter(lambda: process.stdout.read(CHUNK), b"")
        write(worktree, path, pieces, file["mode"], f".rollcage-{uuid.uuid4().hex}", file["size"])
    finally:
        process.kill()
        process.communicate()
