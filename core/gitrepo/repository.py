"""The user's repository as it stands: its branches, its working trees, and what somebody is in the middle of there."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import GitError, UsageError
from ..text import clean
from .git import Git, revision

_OPERATION_FILES = (
    ("MERGE_HEAD", "merge"),
    ("CHERRY_PICK_HEAD", "cherry-pick"),
    ("REVERT_HEAD", "revert"),
    ("BISECT_LOG", "bisect"),
    ("BISECT_START", "bisect"),
)
"""In git's own order (wt-status.c); rebase and am, which leave some of these as well, are looked at before."""

_OBJECT_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_TREES_KEPT = 10_000
"""Of so many commits the trees are remembered: some megabytes."""


@dataclass(frozen=True, slots=True)
class Worktree:
    """A working tree whose folder exists."""

    path: Path
    git_dir: Path
    head: str
    """The commit checked out; empty on an unborn branch."""
    branch: str | None
    """Without ``refs/heads/``; also the one that a rebase or bisect in progress will come back to. None: detached."""
    operation: str | None
    """``rebase``, ``am``, ``merge``, ``cherry-pick``, ``revert`` or ``bisect``, by its state files; None: none."""


class Repository:
    """The repository that the fleet works on. Reads only; what can change is asked afresh."""

    def __init__(self, top: Path, common_dir: Path, *, is_bare: bool) -> None:
        """Use `discover`; this takes the main working tree (or bare directory) and the common git directory."""
        self.top, self.common_dir, self.is_bare = top, common_dir, is_bare
        self.git = Git(common_dir, bare=True) if is_bare else Git(top)
        self._object_format = ""
        self._trees: dict[str, str] = {}

    @classmethod
    def discover(cls, start: Path) -> Repository:
        """Return the repository that ``start`` lies in: a folder of any of its working trees, or a bare repository.

        Raises UsageError, with what to do, if there is none or git distrusts its owner.
        """
        git = Git(start)
        common_dir = Path(_ask(git, start, "--path-format=absolute", "--git-common-dir"))
        if git.text("config", "--type=bool", "--default=false", "core.bare") == "true":
            return cls(common_dir, common_dir, is_bare=True)
        inside, _, git_dir = _ask(git, start, "--is-inside-work-tree", "--absolute-git-dir").partition("\n")
        if inside == "true" and common_dir.samefile(git_dir):
            return cls(Path(_ask(git, start, "--show-toplevel")), common_dir, is_bare=False)
        # From a linked working tree, or from within .git: git lists the main working tree first.
        main = _listed(git)[0]
        return cls(Path(os.fsdecode(main[b"worktree"])), common_dir, is_bare=b"bare" in main)

    def tip(self, branch: str) -> str | None:
        """Return the commit that ``branch`` points to; None if it is unborn or missing."""
        return self._resolve(f"refs/heads/{revision(branch)}^{{commit}}")

    def branch_exists(self, branch: str) -> bool:
        """Return whether ``branch`` has a commit."""
        return self.tip(branch) is not None

    def tree(self, commit: str) -> str:
        """Return the tree of ``commit``. Raises GitError if there is no such commit.

        Of a commit that is named in full git is asked once: it never has another.
        """
        found = self._trees.get(commit) or self._resolve(f"{revision(commit)}^{{tree}}")
        if found is None:
            raise GitError(f"no commit {clean(commit, limit=80)} in {clean(str(self.top))}")
        if _OBJECT_ID.fullmatch(commit):
            if len(self._trees) >= _TREES_KEPT:
                self._trees.clear()
            self._trees[commit] = found
        return found

    def root_commits(self) -> list[str]:
        """Return the commits without parents of all branches (of HEAD where there is no branch), the oldest first."""
        start = ["--branches"] if self.git.run("for-each-ref", "--count=1", "refs/heads").out else ["HEAD"]
        done = self.git.run("rev-list", "--max-parents=0", "--timestamp", *start, "--", ok=(0, 128))
        lines = done.out.decode().splitlines() if done.status == 0 else []
        return [commit for _, commit in sorted((int(when), commit) for when, commit in map(str.split, lines))]

    def object_format(self) -> str:
        """Return ``sha1`` or ``sha256``; asked once, for it never changes."""
        if not self._object_format:
            self._object_format = self.git.text("rev-parse", "--show-object-format")
        return self._object_format

    def worktrees(self) -> list[Worktree]:
        """Return the working trees whose folders exist, the main one first; none of its own has a bare repository."""
        entries = _listed(self.git)
        # The first is the main one; where the git directory lies elsewhere git guesses its folder wrongly.
        paths = [self.top, *(Path(os.fsdecode(entry[b"worktree"])) for entry in entries[1:])]
        found = []
        for path, entry in zip(paths, entries, strict=True):
            git_dir = self.common_dir if path is self.top else _linked_git_dir(path)
            if b"bare" in entry or git_dir is None or not path.is_dir():
                continue
            operation, operated = _operation(git_dir)
            branch = os.fsdecode(entry[b"branch"].removeprefix(b"refs/heads/")) if b"branch" in entry else operated
            head = entry.get(b"HEAD", b"").decode()
            found.append(Worktree(path, git_dir, head if head.strip("0") else "", branch, operation))
        return found

    def _resolve(self, name: str) -> str | None:
        done = self.git.run("rev-parse", "--verify", "--quiet", name, ok=(0, 1, 128))
        return done.out.decode().strip() if done.status == 0 else None


def _ask(git: Git, start: Path, *question: str) -> str:
    place = clean(str(start))
    if not start.is_dir():
        raise UsageError(f"no such folder: {place}")
    try:
        return git.text("rev-parse", *question)
    except GitError as error:
        if "dubious ownership" in error.stderr:
            raise UsageError(
                f"git distrusts the repository at {place}, which belongs to another user; if you trust it: "
                f"git config --global --add safe.directory '{place}'"
            ) from error
        if "not a git repository" in error.stderr:
            raise UsageError(
                f"not a git repository: {place}; run in one, name one with -C DIR, or 'git init'"
            ) from error
        raise


def _listed(git: Git) -> list[dict[bytes, bytes]]:
    """Return ``git worktree list`` as one mapping of label to value for each working tree."""
    out = git.run("worktree", "list", "--porcelain", "-z").out
    blocks = out.removesuffix(b"\0\0").split(b"\0\0")
    return [{line.partition(b" ")[0]: line.partition(b" ")[2] for line in block.split(b"\0")} for block in blocks]


def _linked_git_dir(path: Path) -> Path | None:
    text = _text(path / ".git")
    return (path / text.removeprefix("gitdir: ")).resolve() if text.startswith("gitdir: ") else None


def _operation(git_dir: Path) -> tuple[str | None, str | None]:
    """Return what is in progress by the state files of ``git_dir``, and the branch that it will come back to."""
    for folder in ("rebase-merge", "rebase-apply"):
        if (git_dir / folder).is_dir():
            head_name = _text(git_dir / folder / "head-name")
            branch = head_name.removeprefix("refs/heads/") if head_name.startswith("refs/heads/") else None
            return ("am" if (git_dir / folder / "applying").exists() else "rebase"), branch
    for name, operation in _OPERATION_FILES:
        if (git_dir / name).exists():
            start = _text(git_dir / "BISECT_START") if operation == "bisect" else ""
            return operation, None if _OBJECT_ID.fullmatch(start) else start or None
    todo = _text(git_dir / "sequencer" / "todo")  # between two picks there is no CHERRY_PICK_HEAD
    if todo:
        return ("revert" if todo.startswith("revert") else "cherry-pick"), None
    return None, None


def _text(file: Path) -> str:
    try:
        return os.fsdecode(file.read_bytes()).removesuffix("\n")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return ""
