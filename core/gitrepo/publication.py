"""What is to be published, and in which working trees it is followed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..errors import RefusedError
from ..text import clean
from .paths import shown
from .repository import Repository, Worktree

Record = Callable[[str, Mapping[str, object]], None]
"""Called before each sub-step with its name and its data (JSON values); what it was given is durable on return."""


@dataclass(frozen=True, slots=True)
class Publication:
    """A branch that is to move from ``old`` to ``new``, and the working trees that have it checked out."""

    branch: str
    old: str
    new: str
    worktrees: tuple[str, ...]
    """Their folders, as `worktree_name` writes them."""
    message: str = "rollcage: publish"
    """For the reflog."""

    def to_json(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {
            "branch": self.branch,
            "old": self.old,
            "new": self.new,
            "worktrees": list(self.worktrees),
            "message": self.message,
        }


def worktree_name(worktree: Worktree) -> str:
    """Return the folder of a working tree as text for the journal."""
    return shown(os.fsencode(worktree.path))


def worktrees_of(repository: Repository, branch: str) -> list[Worktree]:
    """Return the working trees that have ``branch`` checked out.

    Raises RefusedError ``operation_in_progress`` if somebody is amid a rebase, merge, bisect, ... of it.
    """
    found = [worktree for worktree in repository.worktrees() if worktree.branch == branch]
    for worktree in found:
        if worktree.operation is not None:
            raise RefusedError(
                "operation_in_progress",
                f"a {worktree.operation} of {clean(branch)} is in progress in {clean(str(worktree.path))}; "
                "finish or abort it first",
            )
    return found


def has_moved(repository: Repository, publication: Publication, tip: str | None) -> bool:
    """Return whether a branch that is at ``tip`` now was moved by ``publication``, and perhaps moved on since.

    A branch may go back, or aside: then having the new commit in its history says nothing by itself, for it had it
    before as well. It was moved if it has the new one, and the old one only as far as the new one has that.
    """
    if tip is None or tip == publication.old:
        return False
    if tip == publication.new:
        return True
    return _reaches(repository, publication.new, tip) and (
        _reaches(repository, publication.old, publication.new) or not _reaches(repository, publication.old, tip)
    )


def _reaches(repository: Repository, sha: str, tip: str) -> bool:
    return repository.git.run("merge-base", "--is-ancestor", sha, tip, ok=(0, 1, 128)).status == 0
