"""Files of a working tree as raw bytes: read without filters, written in one durable move, never through a link."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from .entries import SYMLINK

DIRECTORY = "directory"
OTHER = "other"
"""A device, a pipe, a socket, or something below a symbolic link."""

_SYNC_EACH = 256


def place(top: Path, path: bytes) -> Path:
    """Return where ``path``, relative to the working tree ``top``, lies; any bytes, for Path keeps what is no UTF-8."""
    return top / os.fsdecode(path)


def kind(top: Path, path: bytes) -> str | None:
    """Return what lies at ``path``: a mode as git writes it, `DIRECTORY`, `OTHER`, or None where there is nothing."""
    if below_link(top, path):
        return OTHER
    try:
        mode = place(top, path).lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    return mode_of(mode)


def mode_of(mode: int) -> str:
    """Return the mode of stat(2) as git writes it, or `DIRECTORY` or `OTHER`."""
    if stat.S_ISLNK(mode):
        return SYMLINK
    if stat.S_ISREG(mode):
        return "100755" if mode & stat.S_IXUSR else "100644"
    return DIRECTORY if stat.S_ISDIR(mode) else OTHER


def below_link(top: Path, path: bytes) -> bool:
    """Return whether a folder on the way to ``path`` is a symbolic link, which could lead out of the working tree."""
    parts = path.split(b"/")[:-1]
    return any(place(top, b"/".join(parts[:depth])).is_symlink() for depth in range(1, len(parts) + 1))


def read(top: Path, path: bytes) -> bytes:
    """Return the bytes of the file, or the target of the symbolic link. Raises OSError."""
    target = place(top, path)
    return os.fsencode(target.readlink()) if target.is_symlink() else target.read_bytes()


def blob_id(content: bytes, algorithm: str) -> str:
    """Return the id that git gives these bytes as a blob; ``algorithm`` is ``sha1`` or ``sha256``."""
    return hashlib.new(algorithm, b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def write(top: Path, path: bytes, pieces: Iterable[bytes], mode: str, temporary: str, size: int | None = None) -> None:
    """Replace the file at ``path`` in one move through ``temporary``, a name in its folder; durable when it returns.

    Permissions stay where ``mode`` is what the file has. Raises OSError, also if the pieces are not ``size`` bytes in
    all; then the file is as it was.
    """
    target = place(top, path)
    draft = target.with_name(temporary)
    draft.unlink(missing_ok=True)
    try:
        if mode == SYMLINK:
            draft.symlink_to(os.fsdecode(b"".join(pieces)))
        else:
            _write_file(draft, pieces, mode, _permissions(target, mode))
            if size is not None and draft.stat().st_size != size:
                raise OSError(errno.EIO, "the content came out incomplete", str(target))
        draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def remove(top: Path, path: bytes) -> None:
    """Remove the file or link at ``path``, durably; nothing there is no error. Raises OSError."""
    target = place(top, path)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        target.unlink()
        sync_folder(target.parent)


def sync_files(top: Path, paths: Iterable[bytes]) -> None:
    """Bring the contents of the regular files among ``paths`` to the disk, which git does not do on checkout."""
    files = [place(top, path) for path in paths if (kind(top, path) or "").startswith("100")]
    if len(files) > _SYNC_EACH:  # one flush of everything is then the cheaper way
        os.sync()
        return
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            sync_file(file)
    for folder in {file.parent for file in files}:
        sync_folder(folder)


def sync_file(file: Path) -> None:
    """Bring one file's content to the disk. Raises OSError."""
    _sync(file, os.O_RDONLY)


def sync_folder(folder: Path) -> None:
    """Bring the names in ``folder`` to the disk. Raises OSError."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync(target: Path, flags: int) -> None:
    descriptor = os.open(target, flags | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _permissions(target: Path, mode: str) -> int | None:
    """Return the permissions of the file there if it is executable as ``mode`` says; None: the usual ones."""
    with contextlib.suppress(FileNotFoundError):
        found = target.lstat().st_mode
        if mode_of(found) == mode:
            return stat.S_IMODE(found)
    return None


def _write_file(draft: Path, pieces: Iterable[bytes], mode: str, permissions: int | None) -> None:
    initial = 0o600 if permissions is not None else 0o777 if mode == "100755" else 0o666
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, initial)
    with os.fdopen(descriptor, "wb") as stream:
        if permissions is not None:
            os.fchmod(stream.fileno(), permissions)
        stream.writelines(pieces)
        stream.flush()
        os.fsync(stream.fileno())
