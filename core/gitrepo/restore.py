"""The way back from a snapshot: uncommitted files are written again where nobody worked on them since.

`export_manifest` puts what a snapshot holds, with checksums, beside the other files of its folder.
"""

from __future__ import annotations

import hashlib
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
from .edits import edit_from_json
from .mirror import Mirror
from .paths import raw, shown
from .vault import MANIFEST, Vault, read_manifest
from .working_files import DIRECTORY, OTHER, kind, place, remove, write

BEFORE = "refs/rollcage/before"
"""Below it the mirror keeps what files were before they were restored."""

CHECKSUMS = "SHA256SUMS"


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

    ``left`` says what rollcage itself left at a path: the blob id of its raw bytes, or None for nothing there
    (`left_by` tells it from the records of a publication). A file that is neither that nor what the snapshot has is
    somebody's newer work, and is skipped. What the others were is kept in the mirror under ``name`` before anything is
    written; each is replaced in one move. Killed, it can be called again, with another name. The index is not touched.
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


def left_by(records: Sequence[tuple[str, Mapping[str, object]]], worktree: str) -> dict[str, str | None]:
    """Return what a publication left of the local work in a working tree, for `restore_files`; from its records."""
    found: dict[str, str | None] = {}
    for name, data in records:
        edits = data.get("edits")
        listed = edits.get(worktree, ()) if name == "edits" and isinstance(edits, Mapping) else ()
        for value in listed:
            edit = edit_from_json(value)
            found[shown(edit.path)] = edit.file_after.oid if edit.file_after else None
    return found


def export_manifest(mirror: Mirror, snapshot_commit: str, folder: Path) -> Path:
    """Write ``manifest.json`` into ``folder``, and ``SHA256SUMS`` of it and all other files there; return the former.

    The manifest names each kept file with its blob in the mirror and its own SHA-256. ``sha256sum -c SHA256SUMS``
    checks the folder. Durable; call it last, when the other files are there. Raises GitError, OSError.
    """
    content = mirror.git.run("cat-file", "blob", f"{snapshot_commit}:{MANIFEST}").out
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    manifest = folder / MANIFEST
    write(folder, MANIFEST.encode(), [content], "100644", f".{MANIFEST}.new")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    lines = [_checksum_line(file, folder) for file in files if file.name != CHECKSUMS]
    write(folder, CHECKSUMS.encode(), lines, "100644", f".{CHECKSUMS}.new")
    return manifest


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


def _checksum_line(file: Path, folder: Path) -> bytes:
    """Return a line as sha256sum(1) writes it, with its escapes for odd names."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while piece := stream.read(CHUNK):
            digest.update(piece)
    name = os.fsencode(file.relative_to(folder))
    escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    return (b"\\" if escaped != name else b"") + digest.hexdigest().encode() + b"  " + escaped + b"\n"
