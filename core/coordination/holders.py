"""Who is alive: each holder of leases keeps a flock on a file of its own, which the kernel frees when it dies.

Process ids do not tell: they are reused, and within containers pid 1 here is another pid 1 there. In doubt a holder
counts as alive, and its leases end by their time. (A bare flock, not filelock's: that is 70 ms to import, which a verb
called a thousand times cannot afford, and where flock is missing it takes a lock that nobody can look at.)
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from ..errors import StoreError
from ..store.files import not_writable

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Holder:
    """This process as a holder, from now until `close` or its death."""

    id: str

    def __init__(self, folder: Path) -> None:
        """Make a file in ``folder`` and lock it. Raises StoreError."""
        try:
            while True:
                self.id = str(uuid4())
                self._path = folder / self.id
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
                self._file = os.open(self._path, flags, 0o600)
                if self._is_locked():
                    return
                os.close(self._file)
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise StoreError(f"cannot lock {self._path}; its file system has no flock: move the state") from error
            raise not_writable(folder, error) from error

    def _is_locked(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False  # somebody looks at it, and takes it for a dead one's
        return os.fstat(self._file).st_nlink > 0  # else somebody has removed it meanwhile

    def close(self, *, forgotten: bool = False) -> None:
        """End this holder, as if it had died; ``forgotten``: nothing names it any more, so its file can go."""
        if forgotten:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
        os.close(self._file)

    def close_in_child(self) -> None:
        """After a fork: let go of the file without freeing it, so that it ends with the parent."""
        os.close(self._file)


def is_holder_id(text: str) -> bool:
    """Return whether ``text`` can be the name of a holder's file, and of nothing else in the file system."""
    return _ID.fullmatch(text) is not None


def is_alive(folder: Path, holder: str) -> bool:
    """Tell whether the holder with that id lives; in doubt it does."""
    return not is_free(folder / holder)


def is_free(path: Path) -> bool | None:
    """Tell whether nobody has the lock on the file ``path``; ``None``: it is missing or cannot be read."""
    with _looking_at(path) as free:
        return free


def sweep(folder: Path, forget: Callable[[str], None]) -> None:
    """Remove the files of each dead holder, having called ``forget`` with its id: without them it seems alive."""
    pipes = []
    for path in folder.iterdir():
        if not is_holder_id(path.name):
            pipes.append(path)
            continue
        with _looking_at(path) as free:  # nobody takes the lock meanwhile
            if free:
                forget(path.name)
                path.unlink(missing_ok=True)
    for pipe in pipes:
        holder = pipe.name.partition(".")[0]
        if is_holder_id(holder) and not (folder / holder).exists():
            pipe.unlink(missing_ok=True)


@contextmanager
def _looking_at(path: Path) -> Iterator[bool | None]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        yield None
        return
    try:
        yield _shared_lock(descriptor)
    finally:
        os.close(descriptor)


def _shared_lock(descriptor: int) -> bool | None:
    # Shared, so that those who look do not take each other for the holder.
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
