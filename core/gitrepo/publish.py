"""Publish and follow: a branch moves to a commit of ours, and every working tree that has it checked out comes along.

A bare ``update-ref`` would leave the old content staged there, and the next commit would bring the fault back. The
order, each step journaled before it is done: a lock on each index; the objects; the branch held by a transaction;
files and a temporary index by ``read-tree -m -u``; the branch; the temporary index becomes the index; the locks go.
What a kill leaves is put right by `rollcage.core.gitrepo.publish_resume`.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Sequence

from ..errors import GitError, RefusedError
from ..text import clean
from .attempt import Attempt
from .entries import Change, changes, read_index
from .examine import examine, named
from .follow import would_follow
from .git import Git
from .index_lock import exclusive, is_rollcages, wait_until_unlocked
from .mirror import Mirror
from .publication import Publication, Record, worktree_name, worktrees_of
from .ref_transaction import branch_moved
from .repository import Repository, Worktree
from .view import View, as_checked_out, look
from .working_files import place

__all__ = ["Publication", "Record", "plan_publication", "publish", "state_of"]

_PLAN_WAIT_S = 2.0


def plan_publication(
    repository: Repository, mirror: Mirror, branch: str, old: str, new: str, *, message: str = "rollcage: publish"
) -> Publication:
    """Return the publication of ``new`` (a commit in the mirror) over ``old``; changes nothing of the user's.

    Raises RefusedError: ``branch_moved``, ``operation_in_progress``, ``index_locked``, ``overlap`` (naming the files),
    ``submodule``, ``not_writable``, ``filter``. A branch that is checked out nowhere is no obstacle.
    """
    tip = repository.tip(branch)
    if tip != old:
        raise branch_moved(branch, old, tip)
    worktrees = worktrees_of(repository, branch)
    changed = changes(mirror.git, old, new)
    for worktree in worktrees:
        index = worktree.git_dir / "index"
        wait_until_unlocked(worktree.git_dir, _PLAN_WAIT_S)
        _check_writable(worktree, changed)
        with look(worktree.path, mirror) as view:
            standing = examine(view, index, changed)
            _check_filters(view, set(changed) - set(standing.held))
            would_follow(view, index, standing, old, new)
    return Publication(branch, old, new, tuple(worktree_name(worktree) for worktree in worktrees), message)


def publish(
    repository: Repository, mirror: Mirror, publication: Publication, record: Record, *, lock_wait: float = 5.0
) -> None:
    """Move the branch and let its working trees follow; wholly, or, where an error is raised, not at all.

    ``record`` is called before each sub-step. ``lock_wait``: how long to wait for other git processes, in seconds.
    Raises RefusedError with the codes of `plan_publication`, and ``worktrees_changed``, ``third_content``,
    ``ref_locked``, ``busy``; GitError; OSError. Only after an error that comes when the branch has moved already
    (`state_of` tells) there is work left for `publish_resume.resume`.
    """
    with exclusive(mirror, lock_wait) as guard:
        tip = repository.tip(publication.branch)
        if tip != publication.old:
            raise branch_moved(publication.branch, publication.old, tip)
        mirror.keep_all([publication.old, publication.new], "published")
        worktrees = [(worktree, uuid.uuid4().hex) for worktree in worktrees_of(repository, publication.branch)]
        attempt = Attempt(repository, mirror, publication, worktrees, guard)
        record("begin", publication.to_json())
        try:
            attempt.take_locks(record, lock_wait)
            attempt.examine()
            attempt.send_objects(record)
            attempt.keep_edits(record)
            attempt.move(record, lock_wait)
        except BaseException as error:
            if repository.tip(publication.branch) != publication.new:
                attempt.withdraw_because_of(error)
            raise
        attempt.finish(record)


def state_of(repository: Repository, publication: Publication) -> str:
    """Return how far it is: ``untouched``, ``moved``, ``done`` or ``foreign``.

    ``untouched``: the branch is at the old commit; ``moved``: at the new one, but some working tree has not followed
    yet; ``foreign``: at neither. It asks the world only: where there are records of an unfinished publication, files
    may have changed though the branch is untouched, and `publish_resume.resume` is to be called.
    """
    tip = repository.tip(publication.branch)
    if tip == publication.old:
        return "untouched"
    if tip != publication.new:
        return "foreign"
    followers = [worktree for worktree in repository.worktrees() if worktree_name(worktree) in publication.worktrees]
    changed = changes(repository.git, publication.old, publication.new)
    return "done" if all(_has_followed(worktree, changed) for worktree in followers) else "moved"


def _has_followed(worktree: Worktree, changed: Sequence[Change]) -> bool:
    """Return whether the index is past its move to the new one: our lock is gone, and some entry is not the old one."""
    if is_rollcages(worktree.git_dir / "index.lock"):
        return False
    entries = read_index(Git(worktree.path), {}, frozenset(change.path for change in changed))
    staged = {path: lines[0].entry for path, lines in entries.items()}
    return not changed or any(staged.get(change.path) != change.old for change in changed)


def _check_filters(view: View, changed: Iterable[Change]) -> None:
    """Refuse where a filter of the user's (LFS, say) cannot make a file: git would find out halfway.

    A filter that is not required and fails leaves what is in the commit, as with git itself.
    """
    wanted = {change.path: change.new for change in changed if change.new is not None and change.new.is_regular}
    listed = b"".join(path + b"\0" for path in sorted(wanted))
    answers = view.git.run("check-attr", "-z", "--stdin", "filter", stdin=listed).out.split(b"\0") if wanted else []
    for path, _, name in zip(answers[0::3], answers[1::3], answers[2::3], strict=False):
        if name not in {b"unspecified", b"unset", b"set"}:
            try:
                as_checked_out(view, path, wanted[path].oid)
            except GitError as error:
                said = clean(error.stderr or str(error), limit=200)
                raise RefusedError(
                    "filter",
                    f"the filter {clean(name.decode(errors='replace'))} cannot make {named([path])} in "
                    f"{clean(str(view.top))}: {said}; install its program, or connect if it has to fetch",
                ) from error


def _check_writable(worktree: Worktree, changed: Sequence[Change]) -> None:
    """Refuse where files could not be replaced: git would find out halfway."""
    folders = {worktree.git_dir}
    for change in changed:
        folder = place(worktree.path, change.path).parent
        while not folder.is_dir() and folder != worktree.path:
            folder = folder.parent
        folders.add(folder)
    for folder in sorted(folders):
        if not os.access(folder, os.W_OK | os.X_OK):
            raise RefusedError("not_writable", f"cannot write in {clean(str(folder))}; mend its permissions")
