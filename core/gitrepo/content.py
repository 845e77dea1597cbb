"""Raw bytes taken in a piece at a time, with the id that git would give them and their SHA-256."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import IO

CHUNK = 1 << 20
"""No more than this many bytes are in memory at once; a smaller file is, whole."""


class ChangedWhileReadError(Exception):
    """The file was written to while it was read: what was read is no state that it ever had."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes by the id that git gives them as a blob, their SHA-256, and their number."""

    oid: str
    sha256: str
    size: int


class Reader:
    """Takes bytes in and says what they are. One that also keeps them overrides `_begin`, `_take` and `_end`."""

    def __init__(self, algorithm: str) -> None:
        """Take git's object format: ``sha1`` or ``sha256``."""
        self._algorithm = algorithm

    def add(self, content: bytes) -> Kept:
        """Take in these bytes."""
        named = hashlib.new(self._algorithm, b"blob %d\0" % len(content) + content, usedforsecurity=False)
        if self._begin(len(content), named.hexdigest()):
            self._take(content)
            self._end(named.hexdigest())
        return Kept(named.hexdigest(), hashlib.sha256(content).hexdigest(), len(content))

    def add_stream(self, stream: IO[bytes], size: int) -> Kept:
        """Take in exactly ``size`` bytes of ``stream``. Raises ChangedWhileReadError if it ends before."""
        if size <= CHUNK:
            content = read_fully(stream, size)
            if len(content) < size:
                raise ChangedWhileReadError
            return self.add(content)
        named = hashlib.new(self._algorithm, b"blob %d\0" % size, usedforsecurity=False)
        plain = hashlib.sha256()
        self._begin(size, None)
        left = size
        while left and (piece := stream.read(min(CHUNK, left))):
            named.update(piece)
            plain.update(piece)
            self._take(piece)
            left -= len(piece)
        if left:
            for start in range(0, left, CHUNK):  # ``size`` bytes were promised; nobody will refer to these
                self._take(bytes(min(CHUNK, left - start)))
            self._end(None)
            raise ChangedWhileReadError
        self._end(named.hexdigest())
        return Kept(named.hexdigest(), plain.hexdigest(), size)

    def add_file(self, path: Path, *, steady: bool = True) -> Kept:
        """Take in a regular file's bytes or a symbolic link's target.

        Raises OSError, and, with ``steady``, ChangedWhileReadError if the file was written to meanwhile; else what was
        read is taken as it is, unless the file became shorter.
        """
        if path.is_symlink():
            return self.add(os.fsencode(path.readlink()))
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                raise ChangedWhileReadError
            kept = self.add_stream(stream, before.st_size)
            if steady and _written(before) != _written(os.fstat(descriptor)):
                raise ChangedWhileReadError
        return kept

    def _begin(self, size: int, oid: str | None) -> bool:
        """Bytes come, known by ``oid`` or not yet; return whether they are wanted (those not known always are)."""
        del size, oid
        return False

    def _take(self, piece: bytes) -> None:
        """Here are some of them."""

    def _end(self, oid: str | None) -> None:
        """That was all; they are ``oid``, or worthless."""


def read_fully(stream: IO[bytes], size: int) -> bytes:
    """Return ``size`` bytes of ``stream``, fewer only where it ends."""
    pieces = []
    left = size
    while left and (piece := stream.read(left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _written(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
