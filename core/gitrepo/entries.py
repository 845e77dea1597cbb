"""Entries of trees and of the index, and what lies between two commits: by path in git's own bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .git import Git

GITLINK = "160000"
"""The mode of a submodule's entry."""
SYMLINK = "120000"
_REGULAR = frozenset({"100644", "100755"})


@dataclass(frozen=True, slots=True)
class Entry:
    """A mode as git writes it (``100644``) and an object id."""

    mode: str
    oid: str

    @property
    def is_regular(self) -> bool:
        """Return whether it is a file, executable or not."""
        return self.mode in _REGULAR


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs between two commits; None: it is not there. A rename is a removal and an addition."""

    path: bytes
    old: Entry | None
    new: Entry | None


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One line of the index; more than one of a path where it is unmerged."""

    entry: Entry
    stage: int
    skipped: bool
    """skip-worktree, as in a sparse checkout."""
    assumed: bool
    """assume-unchanged."""


def changes(git: Git, old: str, new: str) -> list[Change]:
    """Return what differs between the commits ``old`` and ``new``, in git's order. Raises GitError."""
    out = git.run("diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", old, new, "--").out
    fields = out.split(b"\0")
    found = []
    for raw, path in zip(fields[:-1:2], fields[1::2], strict=True):
        old_mode, new_mode, old_oid, new_oid, _status = raw.decode().removeprefix(":").split(" ")
        found.append(Change(path, _entry(old_mode, old_oid), _entry(new_mode, new_oid)))
    return found


def changed_entries(
    git: Git, pairs: Sequence[tuple[str, str]], *, most: int
) -> list[tuple[dict[bytes, Entry | None], dict[bytes, Entry | None]] | None]:
    """Return, for each pair of trees, what is at the paths that differ, before and after; one process for all.

    None for a pair that differs in more than ``most`` paths. Raises GitError.
    """
    stdin = "".join(f"{old} {new}\n" for old, new in pairs).encode()
    out = git.run("diff-tree", "--stdin", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", stdin=stdin).out
    found = []
    position = 0
    for old, new in pairs:
        header = f"{old} {new}\n".encode()
        if out.startswith(header, position):  # equal trees may have none
            position += len(header)
        before: dict[bytes, Entry | None] = {}
        after: dict[bytes, Entry | None] = {}
        while out.startswith(b":", position):
            end = out.index(b"\0", position)
            behind = out.index(b"\0", end + 1)
            old_mode, new_mode, old_oid, new_oid, _status = out[position + 1 : end].decode().split(" ")
            path = out[end + 1 : behind]
            before[path], after[path] = _entry(old_mode, old_oid), _entry(new_mode, new_oid)
            position = behind + 1
        found.append((before, after) if len(after) <= most else None)
    return found


def read_index(git: Git, env: Mapping[str, str], paths: frozenset[bytes]) -> dict[bytes, list[IndexEntry]]:
    """Return the entries of the index that ``env`` names: of ``paths``, and of all that is unmerged."""
    found: dict[bytes, list[IndexEntry]] = {}
    for line in git.run("ls-files", "-v", "--stage", "-z", env=env).out.split(b"\0"):
        facts, _, path = line.partition(b"\t")
        if path and (path in paths or not facts.endswith(b" 0")):
            tag, mode, oid, stage = facts.decode().split(" ")
            entry = IndexEntry(Entry(mode, oid), int(stage), tag in "Ss", tag.islower())
            found.setdefault(path, []).append(entry)
    return found


def index_info(entries: Iterable[tuple[bytes, Entry | None, int]], nothing: str) -> bytes:
    """Return (path, entry or None to remove it, stage) as ``git update-index -z --index-info`` reads it.

    ``nothing`` is any object id of the repository's length.
    """
    return b"".join(
        f"{entry.mode if entry else 0} {entry.oid if entry else nothing} {stage}\t".encode() + path + b"\0"
        for path, entry, stage in entries
    )


def _entry(mode: str, oid: str) -> Entry | None:
    return None if mode == "000000" else Entry(mode, oid)
