"""What a killed publication left is compared with the world and put right: finished, or taken back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import RefusedError, StoreError
from ..text import clean
from .attempt import Attempt
from .edits import Edit, edit_from_json
from .examine import Standing, named
from .follow import Follower, third_content
from .index_lock import exclusive
from .mirror import Mirror
from .publication import Publication, has_moved, worktree_name
from .reconcile import Found, find, is_installed, standing, strangers
from .ref_transaction import branch_moved, clear_stale_locks
from .repository import Repository
from .view import look

Records = Sequence[tuple[str, Mapping[str, object]]]
"""What `publish` told its journal, in order: names and data."""


@dataclass(frozen=True, slots=True)
class _Journal:
    """What the records say."""

    tokens: Mapping[str, str]
    """Of the index locks, by working tree."""
    edits: Mapping[str, Mapping[bytes, Edit]]
    followed: frozenset[str]
    """The working trees whose files may have been touched."""
    moving: bool
    """The branch may have been held."""
    locks: Mapping[str, object]
    """The lock files of the branch and HEAD."""


def resume(
    repository: Repository, mirror: Mirror, publication: Publication, records: Records, *, lock_wait: float = 5.0
) -> str:
    """Put right what `publish` left when it was killed. Idempotent; may be killed itself, with the same records.

    Returns ``done``: branch and working trees are at the new commit; or ``untouched``: nothing had been done, all is as
    before, and it may be published anew. Raises RefusedError: ``third_content`` where somebody changed a file since
    (nothing is overwritten, the lock on that index stays: ask, then resume again or `withdraw`); ``branch_moved`` where
    the branch went elsewhere (all is taken back); ``index_locked``, ``busy``, ``worktrees_changed``.
    """
    journal = _read(records)
    with exclusive(mirror, lock_wait) as guard:
        attempt = _attempt(repository, mirror, publication, journal, guard)
        clear_stale_locks(attempt.ref_move, journal.locks)
        tip = repository.tip(publication.branch)
        begun = bool(journal.followed) or (journal.moving and not journal.tokens)
        if not begun:
            _release(attempt)
            return "done" if tip == publication.new else "untouched"
        if tip != publication.old and not has_moved(repository, publication, tip):
            _go_back(attempt, journal, lock_wait)
            raise branch_moved(publication.branch, publication.old, tip)
        _check_branches(attempt)
        (_move_on if tip == publication.old else _follow_on)(attempt, journal, lock_wait)
    return "done"


def withdraw(
    repository: Repository, mirror: Mirror, publication: Publication, records: Records, *, lock_wait: float = 5.0
) -> list[str]:
    """Take back a publication that was killed, or stopped at somebody's edit, before the branch moved. Idempotent.

    Returns the files that somebody changed since, each with its folder; they were left as they are. Raises RefusedError
    ``already_published`` if the branch has moved: then publish the way back instead.
    """
    journal = _read(records)
    with exclusive(mirror, lock_wait) as guard:
        attempt = _attempt(repository, mirror, publication, journal, guard)
        clear_stale_locks(attempt.ref_move, journal.locks)
        if has_moved(repository, publication, repository.tip(publication.branch)):
            raise RefusedError(
                "already_published",
                f"{clean(publication.branch)} has moved to {publication.new[:12]} already; resume, then publish back",
            )
        return _go_back(attempt, journal, lock_wait)


def _attempt(
    repository: Repository, mirror: Mirror, publication: Publication, journal: _Journal, guard: int
) -> Attempt:
    named_ones = [(worktree, worktree_name(worktree)) for worktree in repository.worktrees()]
    worktrees = [(worktree, journal.tokens[name]) for worktree, name in named_ones if name in journal.tokens]
    return Attempt(repository, mirror, publication, worktrees, guard)


def _move_on(attempt: Attempt, journal: _Journal, wait: float) -> None:
    """With the branch still at the old commit: let files, index and branch go to the new one."""
    states = [_found(attempt, journal, follower, wait) for follower in attempt.followers]  # all, before any is touched
    for follower, found in zip(attempt.followers, states, strict=True):
        attempt.standings.append(_prepared(attempt, journal, follower, found))
    attempt.move(_unrecorded, wait)
    attempt.finish(_unrecorded)


def _follow_on(attempt: Attempt, journal: _Journal, wait: float) -> None:
    """With the branch moved: all files had followed by then, only indexes may have to."""
    followers, attempt.followers = attempt.followers, []
    for follower in followers:
        lock, edits = follower.lock, _edits(journal, follower)
        if not lock.is_ours():
            lock.drop_copies()  # somebody removed our lock, and may have staged something since
        if not lock.ready.exists():
            found = _found(attempt, journal, follower, wait)
            if is_installed(found, attempt.changes, edits):
                follower.clear_drafts(edits.values())
                lock.release()
                continue
            attempt.follow(follower, _prepared(attempt, journal, follower, found), _unrecorded)
        attempt.followers.append(follower)
        attempt.standings.append(Standing(edits=tuple(edits.values())))
    attempt.finish(_unrecorded)


def _found(attempt: Attempt, journal: _Journal, follower: Follower, wait: float) -> Found:
    """Lock and look. Raises RefusedError ``third_content``."""
    follower.lock.take(wait)
    edits = _edits(journal, follower)
    with look(follower.worktree.path, attempt.mirror) as view:
        found = find(view, follower.lock, attempt.changes, edits)
    strange = strangers(found, attempt.changes, edits)
    if strange and not is_installed(found, attempt.changes, edits):
        raise third_content(follower.worktree.path, strange)
    return found


def _prepared(attempt: Attempt, journal: _Journal, follower: Follower, found: Found) -> Standing:
    follower.clear_partial(found)
    todo = standing(found, attempt.changes, _edits(journal, follower))
    follower.prepare(todo)
    return todo


def _go_back(attempt: Attempt, journal: _Journal, wait: float) -> list[str]:
    left: list[str] = []
    for follower in attempt.followers:
        if worktree_name(follower.worktree) in journal.followed:
            follower.lock.take(wait)
            changed = attempt.go_back(follower, _edits(journal, follower))
            left += [f"{clean(str(follower.worktree.path))}: {named([path])}" for path in changed]
    _release(attempt)
    return left


def _release(attempt: Attempt) -> None:
    for follower in attempt.followers:
        follower.lock.release()


def _check_branches(attempt: Attempt) -> None:
    for follower in attempt.followers:
        worktree = follower.worktree
        if worktree.branch != attempt.publication.branch or worktree.operation is not None:
            raise RefusedError(
                "worktrees_changed",
                f"{clean(attempt.publication.branch)} is not checked out in {clean(str(worktree.path))} any more, "
                "or an operation is in progress there; go back to it, then resume",
            )


def _edits(journal: _Journal, follower: Follower) -> Mapping[bytes, Edit]:
    return journal.edits.get(worktree_name(follower.worktree), {})


def _unrecorded(_name: str, _data: Mapping[str, object]) -> None:
    """Resuming needs no records of its own: the world says how far it came."""


def _read(records: Records) -> _Journal:
    """Read the records of the last attempt. Raises StoreError."""
    tokens: dict[str, str] = {}
    edits: dict[str, Mapping[bytes, Edit]] = {}
    followed = set()
    locks: dict[str, object] = {}
    last = max((place for place, (name, _) in enumerate(records) if name == "begin"), default=0)
    for name, data in records[last:]:
        if name == "lock":
            tokens[str(data["worktree"])] = str(data["token"])
        elif name == "follow":
            followed.add(str(data["worktree"]))
        elif name == "edits":
            for worktree, listed in _mapping(data.get("edits")).items():
                found = [edit_from_json(value) for value in _sequence(listed)]
                edits[worktree] = {edit.path: edit for edit in found}
        locks.update(_mapping(data.get("locks", {})))
    moving = any(name == "transaction" for name, _ in records[last:])
    return _Journal(tokens, edits, frozenset(followed), moving, locks)


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise StoreError("a record of a publication is damaged")
    return value


def _sequence(value: object) -> Sequence[object]:
    if not isinstance(value, (list, tuple)):
        raise StoreError("a record of a publication is damaged")
    return value
