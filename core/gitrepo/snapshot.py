"""Snapshots: all that is uncommitted, and where everything stands, kept in ``mirror.git`` byte for byte.

For every working tree: the raw index and the blobs of all its stages, the files of operations in progress, the raw
bytes of changed and untracked files (no filters, any name), executable bits and symbolic links; and all refs and HEADs,
with what they reach, git's configuration and the user's hooks: `rollcage.core.gitrepo.rebuild` makes a ``.git`` of it.
Not kept: ignored files, empty folders, files that are neither regular nor links, permissions beyond the executable bit.
Nested repositories, submodules among them, are named in a warning and not looked into. A line-ending difference that
git itself takes for no change is none here.

The user's index and refs are read, never written, and nothing passes through ``git add``, which loses bytes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..clock import iso
from ..errors import GitError
from ..text import clean
from .content import CHUNK, ChangedWhileReadError, Reader
from .git import IDENTITY, Git
from .mirror import KEPT_REFS, Mirror
from .objects import empty_tree, read_commits
from .paths import shown
from .repository import Repository, Worktree
from .survey import Survey, commits_in, state_files, survey
from .vault import Vault, read_manifest
from .working_files import DIRECTORY, OTHER, kind, mode_of, place

SNAPSHOTS = "refs/rollcage/snapshots"

_ATTEMPTS = 3
_KEPT = (b"refs/heads/", b"refs/tags/", b"refs/remotes/")
_TAGS = "refs/tags/"


@dataclass(frozen=True, slots=True)
class GitSnapshot:
    """A snapshot that was kept."""

    commit: str
    """In the mirror, kept by a ref below `SNAPSHOTS`."""
    head: str
    """The commit that the main working tree, or the bare repository, has checked out; empty: unborn."""
    worktrees: tuple[str, ...]
    """Their folders, as `rollcage.core.gitrepo.paths.shown` writes them."""
    dirty: int
    """Number of changed tracked files, over all working trees."""
    untracked: int
    warnings: tuple[str, ...]
    """What is not in it although it might be somebody's work, or was written to while it was read."""


def take(repository: Repository, mirror: Mirror, name: str, at: datetime) -> GitSnapshot:
    """Keep the state of ``repository`` under ``name``; durable when it returns.

    Raises GitError or StoreError if it cannot be kept whole, or the name is taken; nothing stays then but unused bytes.
    """
    with Vault(mirror, f"{SNAPSHOTS}/{name}", at) as vault:
        manifest, commits = _describe(repository, vault)
        kept = _keep_history(mirror, commits)
        if tags := [oid for name, oid in manifest["refs"].items() if name.startswith(_TAGS)]:
            mirror.keep_all(tags, "tag")
        manifest |= {"name": name, "at": iso(at), "history": kept}
        commit = vault.commit(manifest, f"Snapshot {name}")
    files = [file["what"] for worktree in manifest["worktrees"] for file in worktree["files"]]
    return GitSnapshot(
        commit=commit,
        head=str(manifest["head"]),
        worktrees=tuple(worktree["path"] for worktree in manifest["worktrees"]),
        dirty=len(files) - files.count("untracked"),
        untracked=files.count("untracked"),
        warnings=tuple(manifest["warnings"]),
    )


def verify(repository: Repository, mirror: Mirror, snapshot_commit: str) -> list[str]:
    """Return what is different now from what the snapshot holds, one line for each thing; empty: nothing.

    Raises GitError if the snapshot is missing or damaged.
    """
    then: dict[str, Any] = read_manifest(mirror, snapshot_commit)
    now, _ = _describe(repository, Reader(repository.object_format()))
    lines = _compared("", then["refs"], now["refs"])
    before = {worktree["path"]: worktree for worktree in then["worktrees"]}
    after = {worktree["path"]: worktree for worktree in now["worktrees"]}
    lines += _compared("worktree ", dict.fromkeys(before), dict.fromkeys(after))
    for path in before.keys() & after.keys():
        lines += [f"{path}: {line}" for line in _differences(before[path], after[path])]
    return sorted(lines)


def _describe(repository: Repository, reader: Reader) -> tuple[dict[str, Any], list[str]]:
    """Give ``reader`` all bytes that belong to the state; return the manifest, and object ids worth keeping."""
    worktrees, commits, warnings = [], [], []
    for worktree in repository.worktrees():
        described, found, warned = _describe_worktree(repository, worktree, reader)
        worktrees.append(described)
        commits += found
        warnings += [f"{described['path']}: {line}" for line in warned]
    refs, tips = _refs(repository)
    head = worktrees[0]["head"] if worktrees else _head(repository)
    manifest = {
        "version": 1,
        "repository": shown(os.fsencode(repository.top)),
        "head": head,
        "refs": refs,
        "common": _common(repository, reader, warnings),
        "worktrees": worktrees,
        "warnings": warnings,
    }
    return manifest, [head, *tips, *commits]


def _describe_worktree(
    repository: Repository, worktree: Worktree, reader: Reader
) -> tuple[dict[str, Any], list[str], list[str]]:
    """Describe one working tree, again if its index was written meanwhile; warn if that does not help."""
    index = worktree.git_dir / "index"
    for attempt in range(_ATTEMPTS):
        before = _stamp(index)
        found = survey(worktree)
        warnings = [
            f"{shown(path)} is a repository of its own, and not in the snapshot"
            for path in _nested(repository, worktree, found)
        ]
        described: dict[str, Any] = {
            "path": shown(os.fsencode(worktree.path)),
            "git_dir": shown(os.fsencode(worktree.git_dir)),
            "head": worktree.head,
            "branch": worktree.branch and shown(os.fsencode(worktree.branch)),
            "operation": worktree.operation,
            "index": _taken(reader, index, "the index", warnings),
            "entries": found.entries,
            "staged": _staged(worktree, found.staged, reader, warnings),
            "files": [_file(worktree, path, "changed", reader, warnings) for path in found.changed]
            + [_file(worktree, path, "untracked", reader, warnings) for path in found.untracked],
        }
        described["state"], commits = _state(repository, worktree, reader, warnings)
        if _stamp(index) == before:
            break
        if attempt == _ATTEMPTS - 1:
            warnings.append("the index was written to again and again while the snapshot was taken")
    return described, [worktree.head, *commits], warnings


def _nested(repository: Repository, worktree: Worktree, found: Survey) -> list[bytes]:
    """Return the nested repositories but for our own working trees, which are in the snapshot as such."""
    ours = {other.path.resolve() for other in repository.worktrees()} if found.nested else set()
    return [path for path in found.nested if place(worktree.path, path).resolve() not in ours]


def _file(worktree: Worktree, path: bytes, what: str, reader: Reader, warnings: list[str]) -> dict[str, Any]:
    mode = kind(worktree.path, path)
    if mode is None or mode in {DIRECTORY, OTHER}:
        return {"path": shown(path), "what": "deleted"}
    kept = _taken(reader, place(worktree.path, path), shown(path), warnings)
    return {"path": shown(path), "what": what, "mode": mode, **(kept or {"oid": None})}


def _taken(reader: Reader, file: Path, name: str, warnings: list[str]) -> dict[str, Any] | None:
    """Give ``reader`` a file, again if it is written to meanwhile; None where it cannot be had, with a warning."""
    for attempt in range(_ATTEMPTS):
        try:
            kept = reader.add_file(file, steady=attempt < _ATTEMPTS - 1)
        except FileNotFoundError:
            return None
        except ChangedWhileReadError:
            continue
        except OSError as error:
            warnings.append(f"{name} cannot be read, and is not in the snapshot: {error.strerror}")
            return None
        if attempt == _ATTEMPTS - 1:
            warnings.append(f"{name} was written to while it was read: what the snapshot has may be mixed")
        return asdict(kept)
    warnings.append(f"{name} became shorter again and again while it was read, and is not in the snapshot")
    return None


def _staged(worktree: Worktree, oids: Sequence[str], reader: Reader, warnings: list[str]) -> list[dict[str, Any]]:
    """Give ``reader`` blobs that only the index refers to: git may drop them once it does no more."""
    if not oids:
        return []
    found = []
    process = Git(worktree.path).start("cat-file", "--batch")
    try:
        for oid in oids:
            process.stdin.write(f"{oid}\n".encode())
            process.stdin.flush()
            words = process.stdout.readline().split()
            if len(words) != 3:
                warnings.append(f"the staged blob {oid} is missing in the repository, and not in the snapshot")
                continue
            found.append(asdict(reader.add_stream(process.stdout, int(words[2]))))
            process.stdout.read(1)
    except ChangedWhileReadError as error:
        raise GitError(f"git cat-file ended early in {clean(str(worktree.path))}") from error
    finally:
        process.communicate()
    return found


def _state(
    repository: Repository, worktree: Worktree, reader: Reader, warnings: list[str]
) -> tuple[dict[str, Any], list[str]]:
    """Give ``reader`` the files of operations in progress; return them by name, and the objects that they mention."""
    files = {}
    commits: list[str] = []
    for file in state_files(worktree, repository.common_dir):
        name = shown(os.fsencode(file.relative_to(worktree.git_dir)))
        kept = _taken(reader, file, name, warnings)
        if kept is not None:
            files[name] = kept
            if kept["size"] < CHUNK and not file.name.startswith("sharedindex"):
                commits += commits_in(file.read_bytes())
    return files, commits


def _common(repository: Repository, reader: Reader, warnings: list[str]) -> dict[str, Any]:
    """Give ``reader`` the configuration and the hooks, which are nowhere else; return them by name."""
    folder = repository.common_dir
    hooks = sorted(hook for hook in (folder / "hooks").glob("*") if hook.is_file() and hook.suffix != ".sample")
    files = {}
    for file in (folder / "config", folder / "info/exclude", folder / "info/attributes", *hooks):
        if not file.is_file():
            continue
        kept = _taken(reader, file, f"git's {file.name}", warnings)
        if kept is not None:
            mode = mode_of(file.lstat().st_mode)
            files[shown(os.fsencode(file.relative_to(folder)))] = {"mode": mode, **kept}
    return files


def _refs(repository: Repository) -> tuple[dict[str, str], list[str]]:
    """Return all refs with what they point to, and what is worth keeping of that: all but notes and the like."""
    refs: dict[str, str] = {}
    tips = []
    listed = repository.git.run("for-each-ref", "--format=%(objectname) %(refname) %(symref)").out
    for line in listed.splitlines():
        oid, name, target = line.split(b" ")
        refs[shown(name)] = f"ref: {shown(target)}" if target else oid.decode()
        if name.startswith(_KEPT) or name == b"refs/stash":
            tips.append(oid.decode())
    if "refs/stash" in refs:
        tips += repository.git.text("rev-list", "--walk-reflogs", "refs/stash", "--").split()
    return refs, tips


def _head(repository: Repository) -> str:
    done = repository.git.run("rev-parse", "--verify", "--quiet", "HEAD^{commit}", ok=(0, 1, 128))
    return done.out.decode().strip() if done.status == 0 else ""


def _keep_history(mirror: Mirror, ids: Sequence[str]) -> str:
    """Keep the commits among ``ids`` with all that they reach, as the parents of one; return it, empty for none."""
    parents = dict.fromkeys(commit.sha for commit in read_commits(mirror, ids, afresh=True).values())
    if not parents:
        return ""
    # Without a time of its own: while the branches stand still, one is enough for all snapshots.
    who = f"{IDENTITY[0]} <{IDENTITY[1]}> 0 +0000"
    tree = empty_tree(next(iter(parents)))
    lines = [f"tree {tree}", *(f"parent {sha}" for sha in parents)]
    lines += [f"author {who}", f"committer {who}", "", "What snapshots refer to", ""]
    content = "\n".join(lines).encode()
    algorithm = "sha1" if len(tree) == 40 else "sha256"
    joint = hashlib.new(algorithm, b"commit %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    ref = f"{KEPT_REFS}/snapshot/{joint}"
    if mirror.git.run("show-ref", "--verify", "--quiet", ref, ok=(0, 1)).status:
        mirror.git.run("hash-object", "-t", "tree", "-w", "--stdin", stdin=b"")
        mirror.git.run("hash-object", "-t", "commit", "-w", "--stdin", stdin=content)
        mirror.keep(joint, "snapshot")
    return joint


def _differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    lines = [
        f"{name} is {after[name] or 'none'}, was {before[name] or 'none'}"
        for name in ("head", "branch", "operation")
        if before[name] != after[name]
    ]
    if before["entries"] != after["entries"]:
        lines.append("the index has other entries")
    files = [
        {file["path"]: (file["what"], file.get("mode"), file.get("oid")) for file in one["files"]}
        for one in (before, after)
    ]
    lines += _compared("file ", *files)
    states = [{name: kept["oid"] for name, kept in one["state"].items()} for one in (before, after)]
    return lines + _compared("git's ", *states)


def _compared(what: str, before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    return [
        *(f"{what}{name} is gone" for name in before.keys() - after.keys()),
        *(f"{what}{name} is new" for name in after.keys() - before.keys()),
        *(f"{what}{name} differs" for name in before.keys() & after.keys() if before[name] != after[name]),
    ]


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
