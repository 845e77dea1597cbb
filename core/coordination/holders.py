"""Who is alive: each holder of leases keeps a flock on a file of its own, which the kernel frees when it dies.

Process ids do not tell: they are reused, and within containers pid 1 here is another pid 1 there. In doubt a holder
counts as alive, and its leases end by their time.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from ..errors import StoreError
from ..store.files import not_writable


class Holder:
    """This process as a holder, from now until `close` or its death."""

    id: str

    def __init__(self, folder: Path) -> None:
        """Make a file in ``folder`` and lock it. Raises StoreError."""
        from filelock import FileLock, Timeout  # who only looks at locks needs it not

        self.id = str(uuid4())
        self._lock = FileLock(folder / self.id, timeout=5, thread_local=False)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise StoreError(f"cannot lock {folder / self.id}; does this file system have flock?") from error
        except OSError as error:
            raise not_writable(folder, error) from error

    def close(self) -> None:
        """End this holder, as if it had died."""
        self._lock.release()


def is_alive(folder: Path, holder: str) -> bool:
    """Tell whether the holder with that id lives; in doubt it does."""
    return not is_free(folder / holder)


def is_free(path: Path) -> bool | None:
    """Tell whether nobody has the lock on the file ``path``; ``None``: it is missing or cannot be read."""
    with _looking_at(path) as free:
        return free


def sweep(folder: Path, forget: Callable[[str], None]) -> None:
    """Remove the file of each dead holder, having called ``forget`` with its id: without it nobody knows it is dead."""
    for path in folder.iterdir():
        with _looking_at(path) as free:  # nobody takes the lock meanwhile
            if free:
                forget(path.name)
                path.unlink(missing_ok=True)


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
