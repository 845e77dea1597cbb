"""A ``.git`` that somebody deleted, made anew from ``mirror.git``: objects, branches, index, configuration, hooks.

The working tree's files are not touched. Not brought back: the logs of refs, ignored state such as fetched packs'
bookkeeping, and refs that the mirror was never given (notes and the like).
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import GitError, RefusedError, StoreError
from ..text import clean
from .git import Git
from .index_lock import distrust_times
from .mirror import BRANCHES, Mirror
from .paths import raw, shown
from .repository import Repository
from .vault import read_manifest
from .working_files import sync_folder


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a new git directory has."""

    branches: Mapping[str, str]
    """Where each is, by name."""
    worktrees: tuple[str, ...]
    left: tuple[str, ...]
    """What could not be brought back; clean lines."""


def rebuild(mirror: Mirror, snapshot_commit: str, identity: str) -> Rebuilt:
    """Make the missing git directory of ``mirror.repository`` anew: as in the snapshot, branches as last seen since.

    All of it is made beside and moved there in one move: killed, nothing is there yet, and it can be called again.
    ``identity`` is the repository's UUID. Raises RefusedError ``git_exists``, GitError or StoreError if the mirror
    does not hold what is needed or the folder cannot be written; nothing is there then.
    """
    target = mirror.repository.common_dir
    if os.path.lexists(target):
        raise RefusedError("git_exists", f"{clean(str(target))} is there; only a missing one is made anew")
    manifest: dict[str, Any] = read_manifest(mirror, snapshot_commit)
    draft = target.with_name(f".rollcage-{uuid.uuid4().hex}.git")
    try:
        for leftover in target.parent.glob(".rollcage-*.git"):  # of a try that was killed
            shutil.rmtree(leftover)
        made = _Draft(mirror, manifest, draft).make(identity)
        os.sync()
        draft.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        raise StoreError(f"cannot write {clean(str(error.filename or target))}: {error.strerror}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    _refresh_indexes(mirror.repository, manifest, made.moved)
    return Rebuilt(made.branches, tuple(tree["path"] for tree in manifest["worktrees"]), tuple(made.left))


def newest_branches(mirror: Mirror, manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return where the branches are, by name as in a manifest: as last seen, else as in the snapshot."""
    refs: Mapping[str, str] = manifest["refs"]
    found = {name.removeprefix("refs/heads/"): oid for name, oid in refs.items() if name.startswith("refs/heads/")}
    listed = mirror.git.run("for-each-ref", "--format=%(objectname) %(refname:lstrip=3)", BRANCHES).out
    for line in listed.splitlines():
        oid, _, name = line.partition(b" ")
        found[shown(name)] = oid.decode()
    return {name: oid for name, oid in found.items() if not oid.startswith("ref: ")}


class _Draft:
    """The git directory while it is made."""

    def __init__(self, mirror: Mirror, manifest: Mapping[str, Any], folder: Path) -> None:
        self._mirror, self._manifest, self._folder = mirror, manifest, folder
        self.branches = newest_branches(mirror, manifest)
        self.left: list[str] = []
        self.moved: list[str] = []
        """The working trees whose branch has moved since the snapshot: their index is made from the branch."""

    def make(self, identity: str) -> _Draft:
        manifest, folder = self._manifest, self._folder
        algorithm = self._mirror.git.text("rev-parse", "--show-object-format")
        beside = Git(folder.parent, isolated=True)
        beside.run("init", "--quiet", "--bare", "--template=", f"--object-format={algorithm}", "--", folder.name)
        refs = self._take_objects()
        git = Git(folder, bare=True, isolated=True)
        lines = b"".join(b"update %s %s\n" % (raw(name), oid.encode()) for name, oid in refs.items())
        git.run("-c", "core.logAllRefUpdates=false", "update-ref", "--stdin", stdin=lines)
        for name, oid in manifest["refs"].items():
            if oid.startswith("ref: "):
                git.run("symbolic-ref", os.fsdecode(raw(name)), os.fsdecode(raw(oid.removeprefix("ref: "))))
        for name, kept in manifest.get("common", {}).items():
            self._put(folder / os.fsdecode(raw(name)), kept)
        if "config" not in manifest.get("common", {}):
            bare = str(self._mirror.repository.is_bare).lower()
            git.run("config", "core.bare", bare)
            self.left.append("git's configuration and the remotes: the snapshot is older than their keeping")
        for number, described in enumerate(manifest["worktrees"]):
            self._make_worktree(described, is_main=number == 0 and not self._mirror.repository.is_bare)
        if not manifest["worktrees"] and manifest["head"]:
            self._point_head(manifest["head"])
        (folder / "rollcage").mkdir()
        (folder / "rollcage" / "id").write_text(f"{identity}\n")
        return self

    def _take_objects(self) -> dict[str, str]:
        """Copy what refs, indexes and operations need, as one pack; return the refs that are whole."""
        manifest = self._manifest
        refs = {name: oid for name, oid in manifest["refs"].items() if not oid.startswith("ref: ")}
        refs |= {f"refs/heads/{name}": oid for name, oid in self.branches.items()}
        there = self._existing(refs.values())
        whole = {name: oid for name, oid in refs.items() if oid in there}
        self.left += [f"{name} (its objects were never kept)" for name in refs.keys() - whole.keys()]
        staged = [blob["oid"] for tree in manifest["worktrees"] for blob in tree["staged"]]
        more = [*self._existing(staged), *([f"{manifest['history']}^@"] if manifest.get("history") else [])]
        environment = {
            "GIT_OBJECT_DIRECTORY": str(self._folder / "objects"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(self._mirror.objects),
        }
        pack = ("pack-objects", "--quiet", "--revs", "--non-empty", str(self._folder / "objects/pack/pack"))
        branches = {name: oid for name, oid in whole.items() if name.startswith("refs/heads/")}
        for wanted in (whole, branches):
            lines = "".join(f"{name}\n" for name in (*wanted.values(), *more))
            try:
                self._mirror.git.run("-c", "core.fsync=all", *pack, stdin=lines.encode(), env=environment)
            except GitError:
                if wanted is branches:
                    raise
                self.left.append("tags and remote branches: not all of them were kept whole")
            else:
                return wanted
        return branches

    def _existing(self, oids: Iterable[str]) -> list[str]:
        asked = list(dict.fromkeys(oids))
        if not asked:
            return []
        answers = self._mirror.git.text(
            "cat-file", "--batch-check", stdin="".join(f"{oid}\n" for oid in asked).encode()
        )
        return [line.split(" ")[0] for line in answers.splitlines() if not line.endswith(" missing")]

    def _make_worktree(self, described: Mapping[str, Any], *, is_main: bool) -> None:
        path, folder = Path(os.fsdecode(raw(described["path"]))), self._folder
        if not is_main:
            name = Path(os.fsdecode(raw(described["git_dir"]))).name
            if not (path / ".git").is_file():
                self.left.append(f"the working tree {described['path']} (it is not there any more)")
                return
            folder = folder / "worktrees" / name
            folder.mkdir(parents=True)
            (folder / "commondir").write_text("../..\n")
            (folder / "gitdir").write_bytes(os.fsencode(path / ".git") + b"\n")
        branch = described["branch"]
        now = self.branches.get(branch, "") if branch is not None else described["head"]
        stayed = now == described["head"]
        if stayed:
            for name, kept in described["state"].items():
                self._put(folder / os.fsdecode(raw(name)), kept)
            if described["index"] is not None:
                self._put(folder / "index", described["index"])
                distrust_times(folder / "index")
        else:
            self.moved.append(described["path"])
            if described["operation"] is not None or described["staged"]:
                self.left.append(f"what was staged or in progress in {described['path']}: its branch has moved since")
        if branch is not None and described["operation"] is None:
            (folder / "HEAD").write_bytes(b"ref: refs/heads/" + raw(branch) + b"\n")
        elif not stayed or not (folder / "HEAD").exists():
            (folder / "HEAD").write_text(f"{now}\n")

    def _point_head(self, commit: str) -> None:
        """Let the HEAD of a bare repository be the branch that had the commit."""
        then = self._manifest["refs"]
        named = [name for name, oid in then.items() if oid == commit and name.startswith("refs/heads/")]
        head = b"ref: " + raw(named[0]) if named else commit.encode()
        (self._folder / "HEAD").write_bytes(head + b"\n")

    def _put(self, file: Path, kept: Mapping[str, Any]) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(self._mirror.git.run("cat-file", "blob", kept["oid"]).out)
        if kept.get("mode") == "100755":
            file.chmod(0o755)


def _refresh_indexes(repository: Repository, manifest: Mapping[str, Any], moved: Iterable[str]) -> None:
    """Make the index anew where the branch has moved; the working tree's files stay as they are."""
    for described in manifest["worktrees"]:
        folder = Path(os.fsdecode(raw(described["path"])))
        if folder.is_dir():
            git = Git(folder)
            if described["path"] in moved:
                git.run("read-tree", "HEAD")
            git.run("update-index", "-q", "--refresh", ok=range(256))
