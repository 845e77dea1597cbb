"""Worlds for the tests of publication: a repository, a mirror, a commit to publish, a picture of all that counts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rollcage.core.gitrepo.mirror import Mirror
from rollcage.core.gitrepo.publication import Publication
from rollcage.core.gitrepo.publish import plan_publication, publish
from rollcage.core.gitrepo.repository import Repository
from tests.conftest import git
from tests.gitrepo.conftest import mirror_of

LINES = "".join(f"line {number}\n" for number in range(20))
Content = str | bytes | tuple[str, bytes] | None
"""Text, bytes, (mode, bytes), or None: not there."""
Files = Mapping[Any, Content]
"""By path: text, or bytes where it is no UTF-8."""


@dataclass
class World:
    """A repository ``top`` with a commit ``old`` on main, and ``new`` in the mirror only."""

    top: Path
    mirror: Mirror
    old: str
    new: str
    records: list[tuple[str, Mapping[str, object]]] = field(default_factory=list)

    @property
    def repository(self) -> Repository:
        return Repository.discover(self.top)

    def plan(self) -> Publication:
        return plan_publication(self.repository, self.mirror, "main", self.old, self.new)

    def record(self, name: str, data: Mapping[str, object]) -> None:
        self.records.append((name, json.loads(json.dumps(data))))

    def publish(self) -> Publication:
        publication = self.plan()
        publish(self.repository, self.mirror, publication, self.record, lock_wait=0.3)
        return publication


def write(top: Path, files: Files) -> None:
    """Write files into a working tree, byte for byte."""
    for name, content in files.items():
        path = top / os.fsdecode(name)
        if path.is_symlink() or path.exists():
            path.unlink()
        if content is None:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        mode, data = content if isinstance(content, tuple) else ("100644", content)
        raw = data.encode() if isinstance(data, str) else data
        if mode == "120000":
            path.symlink_to(os.fsdecode(raw))
        else:
            path.write_bytes(raw)
            path.chmod(0o755 if mode == "100755" else 0o644)


def child(mirror: Mirror, parent: str, files: Files, message: str = "taken back") -> str:
    """Return a commit on ``parent`` with these files changed, made in the mirror."""
    run = mirror.git
    index = {"GIT_INDEX_FILE": str(mirror.path / "test-index")}
    run.run("read-tree", parent, env=index)
    lines = b""
    for name, content in files.items():
        path = name.encode() if isinstance(name, str) else name
        if content is None:
            lines += b"0 " + parent.encode() + b"\t" + path + b"\0"
            continue
        mode, data = content if isinstance(content, tuple) else ("100644", content)
        raw = data.encode() if isinstance(data, str) else data
        oid = run.text("hash-object", "-w", "--stdin", stdin=raw)
        lines += f"{mode} {oid}\t".encode() + path + b"\0"
    run.run("update-index", "-z", "--index-info", stdin=lines, env=index)
    tree = run.text("write-tree", env=index)
    return run.text("commit-tree", tree, "-p", parent, "-m", message)


def world(place: Path, old: Files, new: Files, **config: str) -> World:
    """Return a world whose old commit has the files ``old`` and whose new one changes ``new``."""
    top = place / "shop with spaces"
    top.mkdir()
    git(top, "init", "-q", "-b", "main")
    for name, value in config.items():
        git(top, "config", name.replace("_", "."), value)
    write(top, old)
    git(top, "add", "--all", "--", ".")
    git(top, "commit", "-q", "--allow-empty", "-m", "start")
    return over(top, place, new)


def over(top: Path, place: Path, new: Files) -> World:
    """Return a world around a repository whose HEAD is the old commit."""
    mirror = mirror_of(top, place / "state")
    old = git(top, "rev-parse", "HEAD")
    return World(top, mirror, old, child(mirror, old, new))


def edited(text: str, number: int, to: str) -> str:
    """Return ``text`` with one line of `LINES` changed."""
    assert f"line {number}\n" in text
    return text.replace(f"line {number}\n", f"{to}\n")


def files_of(top: Path) -> dict[bytes, tuple[str, bytes]]:
    """Return all files of a working tree, also ignored ones, by path: mode and raw bytes."""
    return {os.fsencode(path.relative_to(top)): _content(path) for path in _files_below(top)}


def _files_below(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            yield from _files_below(path) if path.name != ".git" else ()
        elif path.name != ".git":
            yield path


def _content(path: Path) -> tuple[str, bytes]:
    if path.is_symlink():
        return "120000", os.fsencode(path.readlink())
    return ("100755" if path.stat().st_mode & 0o100 else "100644"), path.read_bytes()


def picture(top: Path) -> dict[str, object]:
    """Return what must not change where nothing may change: refs, HEAD, index, files, and what lies in the git dir."""
    git_dir = Path(git(top, "rev-parse", "--absolute-git-dir"))
    return {
        "refs": git(top, "for-each-ref"),
        "head": git(top, "symbolic-ref", "-q", "HEAD"),
        "index": (git_dir / "index").read_bytes(),
        "files": files_of(top),
        "git dir": sorted(path.name for path in git_dir.iterdir()),
    }


def tree_files(top: Path, commit: str) -> dict[bytes, tuple[str, bytes]]:
    """Return the files of a commit as `files_of` does; no filters."""
    found = {}
    listed = git(top, "ls-tree", "-r", "-z", "--full-tree", commit)
    for line in listed.split("\0"):
        if line:
            facts, _, path = line.partition("\t")
            mode, _kind, oid = facts.split(" ")
            content = os.fsencode(git(top, "cat-file", "blob", oid)) if mode == "120000" else _blob(top, oid)
            found[os.fsencode(path)] = (mode, content)
    return found


def status(top: Path) -> str:
    """Return git's short status."""
    return git(top, "status", "--short", "--untracked-files=all")


def _blob(top: Path, oid: str) -> bytes:
    return Repository.discover(top).git.run("cat-file", "blob", oid).out
