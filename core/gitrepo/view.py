"""A working tree seen with git's own eyes: attributes, filters and line endings as its repository has them.

Nothing is written outside a folder of our own and the mirror's objects.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .entries import GITLINK, Entry, IndexEntry, index_info, read_index
from .git import Git
from .mirror import Mirror
from .objects import read_blobs
from .working_files import below_link

_SCRATCH_INDEX = ("-c", "core.splitIndex=false", "-c", "core.safecrlf=false")
FILTER_LIMIT_S = 120.0
"""A filter that fetches a large file may take long; one that hangs must not hold up a rollback for ever."""


@dataclass(frozen=True, slots=True)
class View:
    """A working tree, git in it, the mirror, and a folder for what lasts no longer than the look."""

    top: Path
    git: Git
    mirror: Mirror
    scratch: Path
    algorithm: str
    """``sha1`` or ``sha256``."""

    def environment(self, index: Path) -> dict[str, str]:
        """Return the environment in which git uses ``index``, finds the mirror's objects, and writes new ones there."""
        return {
            "GIT_INDEX_FILE": str(index),
            "GIT_OBJECT_DIRECTORY": str(self.mirror.objects),
            "GIT_LITERAL_PATHSPECS": "1",
        }

    @property
    def nothing(self) -> str:
        """An object id that is none."""
        return "0" * (40 if self.algorithm == "sha1" else 64)


@contextmanager
def look(top: Path, mirror: Mirror) -> Iterator[View]:
    """Yield a view of the working tree at ``top``; its scratch folder goes in the end."""
    with mirror.workspace() as scratch:
        yield View(top, Git(top), mirror, scratch, mirror.repository.object_format())


def unchanged(view: View, entries: Mapping[bytes, Entry]) -> frozenset[bytes]:
    """Return the paths whose files git takes for the same as these entries; a submodule is never looked into."""
    files = {path: entry for path, entry in entries.items() if entry.mode != GITLINK and not below_link(view.top, path)}
    gitlinks = {path for path, entry in entries.items() if entry.mode == GITLINK}
    if not files:
        return frozenset(gitlinks)
    environment = _scratch_index(view, "unchanged", files)
    changed = view.git.run(*_SCRATCH_INDEX, "ls-files", "-z", "--modified", "--deleted", env=environment).out
    return frozenset(files.keys() | gitlinks) - frozenset(changed.split(b"\0"))


def entries_of_files(view: View, base: Mapping[bytes, Entry], paths: Iterable[bytes]) -> dict[bytes, Entry]:
    """Return what ``git add`` would make of the files at ``paths``, with their blobs in the mirror.

    ``base`` is what the index has there: git's handling of line endings asks for it. The files must exist.
    """
    wanted = sorted(set(paths))
    if not wanted:
        return {}
    environment = _scratch_index(view, "files", base)
    added = b"".join(path + b"\0" for path in wanted)
    view.git.run(*_SCRATCH_INDEX, "update-index", "--add", "--replace", "-z", "--stdin", stdin=added, env=environment)
    found = read_index(view.git, environment, frozenset(wanted))
    return {path: lines[0].entry for path, lines in found.items()}


def index_of(view: View, index: Path, paths: frozenset[bytes]) -> dict[bytes, list[IndexEntry]]:
    """Return the entries of ``paths``, and all unmerged ones, in ``index``."""
    return read_index(view.git, view.environment(index), paths)


def as_checked_out(view: View, path: bytes, oid: str) -> bytes:
    """Return the bytes that git would write for the blob ``oid`` at ``path``.

    Raises GitError, also where a filter of the user's has not answered after FILTER_LIMIT_S.
    """
    name = os.fsdecode(path)
    return view.git.run(
        "cat-file", "--filters", f"--path={name}", oid, env={"GIT_OBJECT_DIRECTORY": str(view.mirror.objects)},
        timeout=FILTER_LIMIT_S,
    ).out  # fmt: skip


def merged_blob(view: View, base: str, ours: str, theirs: str) -> str | None:
    """Return the blob of a three-way merge of blobs, written to the mirror; None: it conflicts, or they are binary."""
    files = []
    contents = read_blobs(view.mirror, (ours, base, theirs))
    for name, content in zip(("ours", "base", "theirs"), contents, strict=True):
        file = view.scratch / name
        file.write_bytes(content)
        files.append(str(file))
    merged = view.mirror.git.run("merge-file", "-p", "-q", *files, ok=range(256))
    if merged.status != 0:
        return None
    return view.mirror.git.text("-c", "core.fsync=all", "hash-object", "-w", "--stdin", stdin=merged.out)


def _scratch_index(view: View, name: str, entries: Mapping[bytes, Entry]) -> dict[str, str]:
    index = view.scratch / name
    index.unlink(missing_ok=True)
    environment = view.environment(index)
    lines = index_info(((path, entry, 0) for path, entry in entries.items()), view.nothing)
    view.git.run(*_SCRATCH_INDEX, "update-index", "-z", "--index-info", stdin=lines, env=environment)
    return environment
