"""Fencing tokens that only grow, whatever happens to ``locks.db``: deleted, put back from a copy, short of its end.

The counter is a file of its own, ``tokens.next``, that is read and written under the write lock of ``locks.db``. It is
not synced: a killed process loses nothing by that, a power cut may. So tokens come from blocks; the end of a block is
written durably to ``tokens.reserved``, with the boot it is for, before the first of it is given out; and on another
boot, or where the two files do not agree, the rest of the block is skipped, since nobody can tell how much was used.

Where the settings went from a Redis server to this and perhaps back, tokens go on growing: a block begins behind what
that gave here, and what comes from there will exceed the block (`redis_floor`).
"""

from __future__ import annotations

import fcntl
import os
import weakref
from pathlib import Path

from ..errors import StoreError
from ..store.files import not_writable, write_atomically
from .redis_floor import Floor

BLOCK = 10_000
"""Tokens that are reserved at once."""
HIGHEST = 2**53
"""No token is higher: as far as JSON goes without loss."""
_LENGTH = 42
"""Bytes of ``tokens.next``: the next one and the end of the block, 20 digits each."""


class NoTokenError(Exception):
    """The block is used up, or in doubt: `Tokens.reserve`, then try again."""


class Tokens:
    """The counter of one repository. `take` and `reserve` are to be called under one lock of all processes."""

    def __init__(self, root: Path, boot_id: str) -> None:
        """Take the folder of the state. Raises StoreError."""
        self._floor, self._path, self._boot_id = root / "tokens.reserved", root / "tokens.next", boot_id
        self._of_redis = root / "redis_floor"
        self._end = 0
        """Of the block that is known to be reserved for this boot."""
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise not_writable(self._path, error) from error
        # With the last connection that counts with it, not before: its number may be another file's by then.
        weakref.finalize(self, os.close, self._file)

    def take(self) -> int | None:
        """Return the next token; ``None``: none is left, or it is in doubt: `reserve`, then try again."""
        counter = self._read()
        if counter is None:
            return None
        token, end = counter
        if end != self._end and not self._is_reserved(end):
            return None
        if token >= end:
            return None
        os.pwrite(self._file, b"%020d" % (token + 1), 0)
        return token

    def reserve(self, known: int = 0) -> int:
        """Begin a new block, durably, behind all there was; return its end. Raises StoreError.

        ``known`` is the end of a block, or a token, that was given out. Where `take` has tokens again meanwhile, since
        another was quicker, nothing is done.
        """
        try:
            # Of its own lock, too: where `locks.db` was deleted, a process may still be at work in the old one.
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                return self._reserve(known)
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
        except OSError as error:
            raise not_writable(self._path, error) from error

    def _reserve(self, known: int) -> int:
        counter = self._read()
        if counter is not None and counter[0] < counter[1] and self._is_reserved(counter[1]):
            return counter[1]
        floor = self._read_floor()
        ends = [each for each in (floor and floor[0], counter and counter[1]) if each]
        begin = max(ends or [known, 1])  # agents may write what is known from elsewhere: it counts if there is no other
        begin = max(begin, self._given_by_redis() + 1)
        end = begin + BLOCK
        if end > HIGHEST:
            raise StoreError(f"{self._floor} says that all fencing tokens are used up; it is damaged: put it right")
        write_atomically(self._floor, f"{end} {self._boot_id}\n".encode())
        self._given_by_redis(end)
        os.pwrite(self._file, b"%020d %020d\n" % (begin, end), 0)
        return end

    def _given_by_redis(self, and_here: int = 0) -> int:
        """Return the highest token that came from a Redis server, 0: none; ``and_here`` is noted for it as well."""
        if not self._of_redis.exists():
            return 0
        floor = Floor(self._of_redis, self._boot_id)
        try:
            if and_here:
                floor.note(and_here)
            return floor.get()
        finally:
            floor.close()

    def _read(self) -> tuple[int, int] | None:
        text = os.pread(self._file, _LENGTH, 0)
        try:
            token, end = int(text[:20]), int(text[20:])
        except ValueError:
            return None
        return (token, end) if 0 < token <= end <= HIGHEST else None

    def _read_floor(self) -> tuple[int, str] | None:
        try:
            end, _, boot_id = self._floor.read_text(encoding="ascii").strip().partition(" ")
            return (int(end), boot_id) if 0 < int(end) <= HIGHEST else None
        except (OSError, ValueError):
            return None

    def _is_reserved(self, end: int) -> bool:
        if self._read_floor() != (end, self._boot_id) or end < self._given_by_redis():
            return False
        self._end = end
        return True
