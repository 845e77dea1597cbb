"""Git's own lock on a working tree's index, taken so that a later process can tell it from anybody else's."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

from ..errors import RefusedError
from ..text import clean
from .mirror import Mirror
from .working_files import sync_folder

_POLL_S = 0.02
_MARK = "rollcage"
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}


@dataclass(frozen=True, slots=True)
class IndexLock:
    """``index.lock`` in one git directory, and the names of our files beside it, all made from one token.

    Whoever knows the token, from the journal, knows which lock and which leftovers are ours.
    """

    git_dir: Path
    token: str

    @property
    def index(self) -> Path:
        """The index that everybody uses."""
        return self.git_dir / "index"

    @property
    def lock(self) -> Path:
        """The file whose existence is the lock."""
        return self.git_dir / "index.lock"

    @property
    def temporary(self) -> Path:
        """Our copy of the index, while it is worked on."""
        return self.git_dir / f"index.{_MARK}-{self.token}"

    @property
    def ready(self) -> Path:
        """Our copy once it is complete; it becomes the index in the end."""
        return self._beside("ready")

    @property
    def amid(self) -> Path:
        """A mark that is there while git writes files: where it stayed, git did not come to its end."""
        return self._beside("amid")

    def take(self, wait: float) -> None:
        """Take the lock, or find that we have it already.

        Raises RefusedError ``index_locked`` if somebody else holds it for ``wait`` seconds (it is left alone),
        ``not_writable`` if the folder cannot be written.
        """
        draft = self._beside("draft")
        deadline = time.monotonic() + wait
        try:
            _write_durably(draft, self._content())
            while not self._made_from(draft):
                if self.is_ours():
                    break
                if time.monotonic() >= deadline:
                    raise index_locked(self.lock, wait)
                pause(_POLL_S)
            sync_folder(self.git_dir)
        except OSError as error:
            raise RefusedError(
                "not_writable", f"cannot write in {clean(str(self.git_dir))}: {error.strerror}; mend its permissions"
            ) from error
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)

    def is_ours(self) -> bool:
        """Return whether the lock exists and was made with this token."""
        try:
            return self.lock.read_bytes() == self._content()
        except OSError:
            return False

    def release(self) -> None:
        """Remove our files; the lock itself last, and only if it is ours. Idempotent. Raises OSError."""
        self.drop_copies()
        for leftover in (self.amid, self._beside("draft")):
            leftover.unlink(missing_ok=True)
        if self.is_ours():
            self.lock.unlink()
        sync_folder(self.git_dir)

    def copy_index(self) -> None:
        """Make `temporary` a fresh copy of the index.

        With its modification time: git takes an entry for unchanged only if the file is older than its index.
        """
        self.drop_copies()
        copy_index(self.index, self.temporary)

    def drop_copies(self) -> None:
        """Remove our copies of the index. Raises OSError."""
        for copy in (self.temporary, self._beside("lock"), self.ready):
            copy.unlink(missing_ok=True)

    def _beside(self, what: str) -> Path:
        return self.git_dir / f"index.{_MARK}-{self.token}.{what}"

    def _content(self) -> bytes:
        return f"{_MARK} {self.token}\n".encode()

    def _made_from(self, draft: Path) -> bool:
        """Make the lock appear with its content in one move, as O_EXCL does without content; False: there is one."""
        try:
            os.link(draft, self.lock)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            return _created(self.lock, self._content())
        return True


def is_rollcages(lock: Path) -> bool:
    """Return whether ``lock`` is a lock that some rollcage made and did not release yet."""
    try:
        return lock.read_bytes().startswith(f"{_MARK} ".encode())
    except OSError:
        return False


def index_locked(lock: Path, waited: float) -> RefusedError:
    """Return the refusal for a lock that is somebody else's."""
    return RefusedError(
        "index_locked",
        f"another git process holds {clean(str(lock))} for over {waited:g} s; "
        "wait for it, or remove that file if no git is running there",
    )


def wait_until_unlocked(git_dir: Path, wait: float) -> None:
    """Return once there is no ``index.lock``. Raises RefusedError ``index_locked`` after ``wait`` seconds."""
    lock = git_dir / "index.lock"
    deadline = time.monotonic() + wait
    while lock.exists():
        if time.monotonic() >= deadline:
            raise index_locked(lock, wait)
        pause(_POLL_S)


def copy_index(index: Path, to: Path) -> None:
    """Copy an index with its modification time and permissions; one that is missing (empty) stays missing."""
    try:
        with index.open("rb") as stream:  # the same file for both, though somebody moves a new one there meanwhile
            content, status = stream.read(), os.fstat(stream.fileno())
    except FileNotFoundError:
        return
    to.write_bytes(content)
    to.chmod(status.st_mode & 0o777)
    os.utime(to, ns=(status.st_atime_ns, status.st_mtime_ns))


def distrust_times(index: Path) -> None:
    """Make git compare contents: an index of another time must not vouch for files by their times and sizes.

    Git trusts an entry only if its file is older than the index (racy-git.txt); a time of 0 would turn that off.
    """
    os.utime(index, (1, 1))


def pause(seconds: float) -> None:
    """Wait a moment for somebody else."""
    threading.Event().wait(seconds)


@contextmanager
def exclusive(mirror: Mirror, wait: float) -> Iterator[int]:
    """Keep everybody else from publishing; yields a descriptor for git processes to inherit.

    The kernel frees it when we and every git process that inherited it have ended: whoever gets it knows that no
    checkout of a killed process is still running. Raises RefusedError ``busy`` after ``wait`` seconds.
    """
    descriptor = os.open(mirror.path / "publish.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + wait
        while True:
            try:
                flock(descriptor, LOCK_EX | LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise RefusedError(
                        "busy",
                        f"another publication, or git left behind by one, still runs after {wait:g} s; try again",
                    ) from None
                pause(_POLL_S)
        yield descriptor
    finally:
        os.close(descriptor)


def _write_durably(file: Path, content: bytes) -> None:
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _created(lock: Path, content: bytes) -> bool:
    try:
        descriptor = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    return True
