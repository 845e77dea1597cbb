"""A submodule that is checked out follows its entry, as ``git submodule update`` would let it.

Left behind, the next ``commit -a`` would record its old commit again. It is moved only where nobody works in it.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import GitError
from .edits import FileState
from .entries import GITLINK, Change
from .git import Git
from .repository import Repository
from .working_files import place


def checked_out(top: Path, path: bytes) -> FileState | None:
    """Return at which commit the submodule at ``path`` is; None: none is checked out there. Raises GitError."""
    if not os.path.lexists(place(top, path + b"/.git")):
        return None
    return FileState(GITLINK, Git(place(top, path)).text("rev-parse", "HEAD", ok=(0, 128)))


def why_it_stays(top: Path, change: Change) -> str:
    """Return why the submodule of ``change`` cannot go to the new commit; empty: it can, or need not."""
    here = checked_out(top, change.path)
    if here is None or change.new is None or change.new.mode != GITLINK or here.oid == change.new.oid:
        return ""
    if change.old is None or change.old.mode != GITLINK or here.oid != change.old.oid:
        return "is at a commit of its own"
    git = Git(place(top, change.path))
    if git.run("status", "--porcelain", "--untracked-files=no", "--ignore-submodules=none").out:
        return "has uncommitted work"
    if Repository.discover(place(top, change.path)).worktrees()[0].operation is not None:
        return "is amid an operation"
    if git.run("cat-file", "-e", f"{change.new.oid}^{{commit}}", ok=range(256)).status:
        return f"does not have its commit {change.new.oid[:12]}: fetch it there"
    return ""


def move(top: Path, path: bytes, to: FileState) -> None:
    """Check the commit ``to`` out, detached; its branches stay. Idempotent.

    Raises GitError where files are in the way, ignored ones too; nothing is changed then.
    """
    git = Git(place(top, path))
    if git.text("rev-parse", "HEAD", ok=(0, 128)) == to.oid:
        return
    try:
        git.run("checkout", "--quiet", "--detach", "--no-overwrite-ignore", to.oid, "--")
    except GitError as error:
        raise GitError(f"the submodule cannot follow: {error}", status=error.status, stderr=error.stderr) from error
