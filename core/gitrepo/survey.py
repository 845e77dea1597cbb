"""What is uncommitted in a working tree: which files and staged blobs, what is in progress. Reads names, not bytes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .entries import GITLINK
from .git import Git
from .repository import Worktree
from .working_files import DIRECTORY, OTHER, kind

_STATE_FILES = (
    *("HEAD", "ORIG_HEAD", "MERGE_HEAD", "MERGE_MSG", "MERGE_MODE", "MERGE_RR", "AUTO_MERGE", "SQUASH_MSG"),
    *("CHERRY_PICK_HEAD", "REVERT_HEAD", "REBASE_HEAD", "COMMIT_EDITMSG", "config.worktree"),
    *("BISECT_LOG", "BISECT_START", "BISECT_NAMES", "BISECT_TERMS", "BISECT_EXPECTED_REV", "BISECT_ANCESTORS_OK"),
    *("BISECT_FIRST_PARENT", "info/sparse-checkout", "info/exclude", "info/attributes"),
)
_STATE_FOLDERS = ("rebase-merge", "rebase-apply", "sequencer")
_LINKED_STATE_FOLDERS = (*_STATE_FOLDERS, "refs", "logs")
"""Those of a linked working tree are its own and small: refs/bisect, refs/worktree, the log of its HEAD."""

_STATUS = ("status", "--porcelain=v2", "-z", "--untracked-files=all", "--no-renames", "--ignore-submodules=none")
_COMMIT_ID = re.compile(rb"(?<![0-9a-f])(?:[0-9a-f]{40}|[0-9a-f]{64})(?![0-9a-f])")


@dataclass(frozen=True, slots=True)
class Survey:
    """What is uncommitted in one working tree; paths in git's own bytes, relative to its top."""

    changed: tuple[bytes, ...]
    """Tracked paths whose file or entry differs from HEAD or the index; also what assume-unchanged or skip-worktree
    hides. Of those whose file is not there, nothing but the name.
    """
    untracked: tuple[bytes, ...]
    """Not ignored."""
    staged: tuple[str, ...]
    """The blobs of entries, of all stages, that HEAD does not have at that path."""
    nested: tuple[bytes, ...]
    """Folders with a repository of their own, submodules with work in them included; nothing in them is looked at."""
    entries: str
    """A hash of all index entries with stages and marks; other than the index's bytes, it has no times in it."""


def survey(worktree: Worktree) -> Survey:
    """Look at a working tree. Changes nothing, not even the times in its index. Raises GitError."""
    git = Git(worktree.path)
    changed: dict[bytes, None] = {}
    untracked: list[bytes] = []
    nested: list[bytes] = []
    staged: list[str] = []
    for line in git.run(*_STATUS).out.split(b"\0"):
        sort, _, rest = line.partition(b" ")
        if sort == b"?":
            (nested if rest.endswith(b"/") else untracked).append(rest)
        elif sort in {b"1", b"u"}:
            fields = rest.split(b" ", 7 if sort == b"1" else 9)
            path = fields[-1]
            if fields[1].startswith(b"S"):
                nested.append(path)
            else:
                changed[path] = None
            staged += _blobs(sort, [field.decode() for field in fields[:-1]])
    listed = git.run("ls-files", "-v", "--stage", "-z").out
    changed.update(dict.fromkeys(_hidden(worktree.path, listed)))
    return Survey(
        changed=tuple(changed),
        untracked=tuple(untracked),
        staged=tuple(dict.fromkeys(staged)),
        nested=tuple(dict.fromkeys(nested)),
        entries=hashlib.sha256(listed).hexdigest(),
    )


def state_files(worktree: Worktree, common_dir: Path) -> list[Path]:
    """Return the files in the git directory that say what somebody is in the middle of, sorted."""
    git_dir = worktree.git_dir
    found = [git_dir / name for name in _STATE_FILES]
    for name in _STATE_FOLDERS if git_dir == common_dir else _LINKED_STATE_FOLDERS:
        found += (git_dir / name).rglob("*")
    found += git_dir.glob("sharedindex.*")
    return sorted(path for path in found if path.is_file())


def commits_in(content: bytes) -> Iterator[str]:
    """Yield what looks like an object id in a state file: the autostash of a rebase, the commit to merge."""
    for match in _COMMIT_ID.findall(content):
        yield match.decode()


def _blobs(sort: bytes, fields: list[str]) -> list[str]:
    """Return the blobs that a line of status names and HEAD does not have at its path."""
    if sort == b"1":
        _, _, _, mode, _, in_head, in_index = fields
        pairs = [(mode, in_index)] if in_index != in_head else []
    else:
        pairs = list(zip(fields[2:5], fields[6:9], strict=True))
    return [oid for mode, oid in pairs if oid.strip("0") and mode != GITLINK]


def _hidden(top: Path, listed: bytes) -> Iterator[bytes]:
    """Yield the paths marked assume-unchanged or skip-worktree that have a file: status says nothing of them."""
    for line in listed.split(b"\0"):
        if line[:1] == b"S" or line[:1].islower():
            path = line.partition(b"\t")[2]
            if kind(top, path) not in {None, DIRECTORY, OTHER}:
                yield path
