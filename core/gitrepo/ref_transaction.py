"""A branch moved in two steps: prepared, which holds it and HEAD against everybody, then committed or let go."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ..errors import GitError, RefusedError
from ..text import clean
from .git import Git, Process
from .index_lock import pause
from .paths import raw, shown

_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class RefMove:
    """A branch that goes from one commit to another, and where git keeps it."""

    branch: str
    old: str
    new: str
    common_dir: Path
    head_dir: Path | None
    """The git directory whose HEAD points to the branch and is held as well; None: nobody has it checked out."""

    @property
    def ref(self) -> str:
        """The full name of the branch."""
        return f"refs/heads/{self.branch}"

    @property
    def ref_lock(self) -> Path:
        """Where git's files backend holds the branch while it moves; holds the new value meanwhile."""
        return self.common_dir / f"{self.ref}.lock"

    def locks(self) -> dict[str, list[int]]:
        """Return the lock files that exist now by path, with what tells them from later ones: for the journal."""
        found = {}
        for lock in (self.head_dir / "HEAD.lock" if self.head_dir else None, self.ref_lock):
            if lock is not None and lock.exists():
                found[shown(bytes(lock))] = _identity(lock)
        return found


class RefTransaction:
    """``git update-ref --stdin`` held open, used with ``with``; leaving it uncommitted lets the branch go.

    If we die the pipe closes, and git lets go by itself.
    """

    def __init__(self, git: Git, move: RefMove, message: str, inherit: Sequence[int]) -> None:
        """Take git in the working tree whose HEAD is held too, the move, and the message for the reflog."""
        self._git, self._move, self._message, self._inherit = git, move, message, inherit
        self._process: Process | None = None

    def prepare(self, wait: float) -> None:
        """Hold the branch. Raises RefusedError: ``branch_moved``, or ``ref_locked`` after ``wait`` seconds."""
        deadline = time.monotonic() + wait
        while (problem := self._attempt()) is not None:
            tip = current(self._git, self._move.ref)
            if tip != self._move.old:
                raise branch_moved(self._move.branch, self._move.old, tip)
            if "File exists" not in problem:
                raise GitError(f"cannot prepare {clean(self._move.ref)}: {problem}", stderr=problem)
            if time.monotonic() >= deadline:
                raise RefusedError(
                    "ref_locked",
                    f"another git process holds {clean(self._move.ref)} or HEAD for over {wait:g} s ({problem}); "
                    "wait for it, or remove that .lock file if no git is running there",
                )
            pause(_POLL_S)

    def commit(self) -> None:
        """Move the branch; durable when it returns. Raises GitError; ask the branch then where it is."""
        if not self._say("commit"):
            raise GitError(f"cannot move {clean(self._move.ref)}: {self._complaint()}")

    def __enter__(self) -> RefTransaction:
        """Hold nothing yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of what was not committed, and wait until it is let go."""
        self._end()

    def _attempt(self) -> str | None:
        """Try to hold the branch; return git's complaint, or None."""
        self._end()
        self._process = self._git.start(
            *("-c", "core.fsync=all", "-c", "core.filesRefLockTimeout=1000"),
            *("update-ref", "--create-reflog", "-m", self._message, "--stdin"),
            inherit=self._inherit,
        )
        move = self._move
        if self._say("start") and self._say(f"update {move.ref} {move.new} {move.old}\nprepare"):
            return None
        return self._complaint()

    def _say(self, words: str) -> bool:
        """Send commands; return whether git answered the last one with ok."""
        assert self._process is not None
        try:
            self._process.stdin.write(words.encode("utf-8", "surrogateescape") + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return False
        answer: bytes = self._process.stdout.readline()
        return answer == f"{words.rpartition(chr(10))[2]}: ok\n".encode()

    def _complaint(self) -> str:
        assert self._process is not None
        _, err = self._process.communicate()
        lines = err.decode(errors="replace").splitlines()
        return clean(lines[0]) if lines else f"exit status {self._process.returncode}"

    def _end(self) -> None:
        if self._process is not None:
            if not self._process.stdin.closed:
                self._process.communicate()
            self._process = None


def current(git: Git, ref: str) -> str | None:
    """Return the commit that ``ref`` points to, or None."""
    done = git.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}", ok=(0, 1, 128))
    return done.out.decode().strip() if done.status == 0 else None


def branch_moved(branch: str, expected: str, found: str | None) -> RefusedError:
    """Return the refusal for a branch that is not where it was."""
    return RefusedError(
        "branch_moved",
        f"{clean(branch)} moved from {expected[:12]} to {found[:12] if found else 'nothing'} meanwhile; "
        "rehearse again on what it is now",
    )


def clear_stale_locks(move: RefMove, recorded: Mapping[str, object]) -> None:
    """Remove the lock files that a killed publication of this ``move`` left on the branch and HEAD.

    Only while no process of that publication runs (`index_lock.exclusive`). Ours are those that the journal names, by
    device, inode and time; before it could, a lock on the branch that holds our new commit, and then HEAD's, which git
    makes just before. Anybody else's stays.
    """
    for place, identity in recorded.items():
        lock = Path(raw(place).decode("utf-8", "surrogateescape"))
        if lock.exists() and _identity(lock) == identity:
            lock.unlink()
    try:
        ours = move.ref_lock.read_text(encoding="ascii", errors="replace") == f"{move.new}\n"
    except FileNotFoundError:
        return
    if ours:
        head_lock = move.head_dir / "HEAD.lock" if move.head_dir else None
        if head_lock is not None and head_lock.exists() and not head_lock.stat().st_size:
            head_lock.unlink()
        move.ref_lock.unlink()


def _identity(lock: Path) -> list[int]:
    status = lock.stat()
    return [status.st_dev, status.st_ino, status.st_mtime_ns]
