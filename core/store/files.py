"""Folders that only their owner may enter, files that are replaced whole or not at all, and locks on files."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import StoreError


def make_private(folder: Path) -> None:
    """Make ``folder``, and its parents where they are missing, with mode 0700. One that exists stays as it is.

    Raises StoreError in one line.
    """
    try:
        for missing in reversed([folder, *folder.parents]):
            if not missing.exists():
                missing.mkdir(mode=0o700, exist_ok=True)
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    except OSError as error:
        raise not_writable(folder, error) from error


def not_writable(path: Path, error: OSError) -> StoreError:
    """Return the one line for a path that cannot be written."""
    return StoreError(
        f"cannot write {path}: {error.strerror}; make it writable for this user (ROLLCAGE_STATE_DIR moves the state)"
    )


def write_atomically(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace ``path`` by ``data``, durably: after a crash it has the old content or the new, whole.

    Raises StoreError in one line; the old content is still there then.
    """
    import tempfile  # as dear as all else here; who only makes folders needs it not

    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # the rename itself
        finally:
            os.close(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise not_writable(path, error) from error


@contextlib.contextmanager
def locked(path: Path, timeout: float = 10.0) -> Iterator[None]:
    """Hold the file lock ``path`` meanwhile. Raises StoreError where it is not had within ``timeout`` seconds."""
    from filelock import FileLock, Timeout  # as dear as all else here; the lists take no such lock

    lock = FileLock(path, timeout=timeout)
    try:
        lock.acquire()
    except Timeout as error:
        raise StoreError(f"another process has held {path} for {timeout:g} s; end it, then try again") from error
    except OSError as error:
        raise not_writable(path, error) from error
    try:
        yield
    finally:
        lock.release()
