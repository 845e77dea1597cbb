"""One attempt at a publication: its sub-steps in order, each told to the journal before it is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from ..errors import RefusedError, RollcageError
from ..text import clean
from .edits import Edit, edit_to_json
from .entries import GITLINK, changes
from .examine import Standing, examine, named
from .follow import Follower
from .git import Git
from .index_lock import IndexLock
from .mirror import Mirror
from .paths import shown
from .publication import Publication, Record, worktree_name, worktrees_of
from .reconcile import find
from .ref_transaction import RefMove, RefTransaction
from .repository import Repository, Worktree
from .transfer import send_objects
from .vault import Vault
from .view import look

KEPT_EDITS = "refs/rollcage/edits"
"""Below it the mirror keeps the bytes of local work before and after, by the token of the first lock."""


class Attempt:
    """The working trees that follow, what stands in them, and the sub-steps in the order of `publish`."""

    def __init__(
        self,
        repository: Repository,
        mirror: Mirror,
        publication: Publication,
        worktrees: Sequence[tuple[Worktree, str]],
        guard: int,
    ) -> None:
        """Take what is published, the working trees that follow, each with the token of its lock, and the descriptor
        of `index_lock.exclusive`.
        """
        self.repository, self.mirror, self.publication, self.guard = repository, mirror, publication, guard
        old, new = publication.old, publication.new
        self.changes = tuple(changes(mirror.git, old, new))
        self.followers = [
            Follower(worktree, IndexLock(worktree.git_dir, token), mirror, old, new, self.changes, (guard,))
            for worktree, token in worktrees
        ]
        self.standings: list[Standing] = []
        self._begun = 0

    @property
    def ref_move(self) -> RefMove:
        """The move of the branch."""
        head_dir = self.followers[0].worktree.git_dir if self.followers else self.repository.common_dir
        publication = self.publication
        return RefMove(publication.branch, publication.old, publication.new, self.repository.common_dir, head_dir)

    @property
    def _git(self) -> Git:
        """Git where the HEAD lies that is held and logged too."""
        return self.followers[0].git if self.followers else self.repository.git

    def take_locks(self, record: Record, wait: float) -> None:
        """Lock the index of each working tree; nobody can switch branches there or commit from then on."""
        for follower in self.followers:
            lock = follower.lock
            name = worktree_name(follower.worktree)
            record("lock", {"worktree": name, "token": lock.token, "lock": shown(bytes(lock.lock))})
            lock.take(wait)
        now = tuple(worktree_name(worktree) for worktree in worktrees_of(self.repository, self.publication.branch))
        if now != self.publication.worktrees:
            raise RefusedError(
                "worktrees_changed",
                f"{clean(self.publication.branch)} is checked out elsewhere than when this was planned; plan again",
            )

    def examine(self) -> None:
        """Look for local work, with the locks held, and make the temporary indexes. Raises RefusedError."""
        for follower in self.followers:
            with look(follower.worktree.path, self.mirror) as view:
                standing = examine(view, follower.lock.index, self.changes)
            follower.prepare(standing)
            self.standings.append(standing)

    def send_objects(self, record: Record) -> None:
        """Bring what the new commit needs into the user's repository, then ask git whether the files can follow."""
        old, new = self.publication.old, self.publication.new
        record("objects", {"old": old, "new": new})
        after = [edit.staged_after for standing in self.standings for edit in standing.edits]
        staged = [entry.oid for entry in after if entry is not None and entry.mode != GITLINK]
        send_objects(self.mirror, self.repository.git, new, old, staged)
        for follower, standing in zip(self.followers, self.standings, strict=True):
            follower.check(standing)

    def keep_edits(self, record: Record) -> None:
        """Keep the bytes of local work before and after in the mirror, and tell the journal what becomes of it."""
        contents: dict[str, bytes] = {}
        edits: dict[str, list[object]] = {}
        for follower, standing in zip(self.followers, self.standings, strict=True):
            contents.update(standing.contents)
            edits[worktree_name(follower.worktree)] = [edit_to_json(edit) for edit in standing.edits]
        kept = ""
        if contents:
            token = self.followers[0].lock.token
            kept = f"{KEPT_EDITS}/{token}"
            with Vault(self.mirror, kept, datetime.now(UTC)) as vault:
                for content in contents.values():
                    vault.add(content)
                vault.commit({"edits": edits}, "Local work on the files that a publication changes, before and after")
        record("edits", {"kept": kept, "edits": edits})

    def move(self, record: Record, wait: float) -> None:
        """Hold the branch, let the working trees follow, move the branch. Raises RefusedError, GitError, OSError."""
        publication = self.publication
        with RefTransaction(self._git, self.ref_move, publication.message, (self.guard,)) as transaction:
            record("transaction", {"branch": publication.branch, "old": publication.old, "new": publication.new})
            transaction.prepare(wait)
            locks = self.ref_move.locks()
            for follower, standing in zip(self.followers, self.standings, strict=True):
                record("follow", {"worktree": worktree_name(follower.worktree), "locks": locks})
                self._begun += 1
                self.follow(follower, standing, record)
            record("commit", {"locks": locks})
            transaction.commit()

    def follow(self, follower: Follower, standing: Standing, record: Record) -> None:
        """Bring one working tree and its temporary index to the new commit."""
        name = worktree_name(follower.worktree)
        follower.write_edits(
            standing.edits, self.content, lambda path: record("edit", {"worktree": name, "path": shown(path)})
        )
        follower.read_tree(standing)
        follower.finish_index(standing)

    def finish(self, record: Record) -> None:
        """With the branch moved: make the temporary indexes the indexes, and unlock. Raises OSError."""
        for follower in self.followers:
            record("install", {"worktree": worktree_name(follower.worktree)})
            follower.install()
        for follower, standing in zip(self.followers, self.standings, strict=True):
            record("unlock", {"worktree": worktree_name(follower.worktree)})
            follower.clear_drafts(standing.edits)
            follower.lock.release()

    def withdraw_because_of(self, error: BaseException) -> None:
        """Take everything back; what fails there, or stays, becomes a note on ``error``."""
        try:
            for follower, standing in zip(self.followers[: self._begun], self.standings, strict=False):
                left = self.go_back(follower, {edit.path: edit for edit in standing.edits})
                if left:
                    error.add_note(f"somebody changed {named(left)} meanwhile; that was left as it is")
            for follower in self.followers:
                follower.lock.release()
        except (RollcageError, OSError) as problem:
            error.add_note(f"what was begun could not be taken back yet: {clean(str(problem))}; resume does it")

    def go_back(self, follower: Follower, edits: Mapping[bytes, Edit]) -> list[bytes]:
        """Bring one working tree back to the old commit; return what somebody changed since, which stays."""
        with look(follower.worktree.path, self.mirror) as view:
            found = find(view, follower.lock, self.changes, edits)
        return follower.go_back(found, edits, self.content)

    def content(self, oid: str) -> bytes:
        """Return bytes that were kept. Raises GitError."""
        return self.mirror.git.run("cat-file", "blob", oid).out
