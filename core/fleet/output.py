"""An agent's output on disk: raw bytes, in two files at most, written by its supervisor and read by anybody."""

from __future__ import annotations

import os
import threading
from pathlib import Path

LIMIT = 8 * 2**20
"""Bytes of one file; the older one is kept as ``NAME.1``."""


def older(path: Path) -> Path:
    """Return where the output that came before that of ``path`` lies."""
    return path.with_name(path.name + ".1")


class OutputLog:
    """Writes the output. A full disk never harms the agent: what cannot be written is dropped, counted and told."""

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        """Take the file; one that is there, of an earlier run, becomes the older one."""
        self._path, self._limit = path, limit
        self._descriptor: int | None = None
        self._size = 0
        self._lost = 0
        self._ends_line = True
        self._next_file()

    def write(self, data: bytes) -> None:
        """Append ``data``; does not raise."""
        if self._size + len(data) > self._limit and self._size:
            self._next_file()
        if self._lost:
            note = f"[rollcage: {self._lost} bytes of output could not be written]\n".encode()
            if self._put(note if self._ends_line else b"\n" + note):
                self._lost += len(data)
                return
            self._lost = 0
        self._lost += self._put(data)

    def inode(self) -> int:
        """Return the number of the file now written, 0 where there is none: see `OutputReader`."""
        return 0 if self._descriptor is None else os.fstat(self._descriptor).st_ino

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _next_file(self) -> None:
        try:
            if self._path.exists():
                self._path.replace(older(self._path))
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            descriptor = os.open(self._path, flags, 0o600)
        except OSError:
            return  # the old file goes on; `_put` keeps it bounded
        self.close()
        self._descriptor, self._size = descriptor, os.fstat(descriptor).st_size

    def _put(self, data: bytes) -> int:
        """Return how many bytes of ``data`` were not written."""
        rest = memoryview(data)
        if self._descriptor is None:
            self._next_file()
        while rest and self._descriptor is not None and self._size < 2 * self._limit:
            try:
                count = os.write(self._descriptor, rest)
            except OSError:
                break
            self._size += count
            self._ends_line = rest[count - 1] == 10
            rest = rest[count:]
        return len(rest)


class OutputPump(threading.Thread):
    """Carries a pipe's bytes into an `OutputLog` until its writers are gone; the agent waits for nothing else."""

    def __init__(self, descriptor: int, log: OutputLog) -> None:
        """Take the pipe's reading end, which is closed at the end, and the log."""
        super().__init__(name="output", daemon=True)
        self._descriptor, self._log = descriptor, log

    def run(self) -> None:
        """See the class."""
        try:
            while data := os.read(self._descriptor, 65_536):
                self._log.write(data)
        finally:
            os.close(self._descriptor)


class OutputReader:
    """Reads output as it grows, through rotations. Whoever falls behind by more than both files misses the middle."""

    def __init__(self, path: Path, *, inode: int = 0, at_end: bool = False) -> None:
        """Begin with the file of that number (as `OutputLog.inode` told), else with ``path``; at its start or end."""
        self._path = path
        self._descriptor = _open(older(path) if inode and _inode(older(path)) == inode else path)
        if at_end and self._descriptor is not None:
            os.lseek(self._descriptor, 0, os.SEEK_END)

    def read(self, limit: int = 65_536) -> bytes:
        """Return at most ``limit`` new bytes; none where there are none yet. Raises OSError."""
        if self._descriptor is None:
            self._descriptor = _open(self._path)
        while self._descriptor is not None:
            data = os.read(self._descriptor, limit)
            if data:
                return data
            here = os.fstat(self._descriptor)
            if os.lseek(self._descriptor, 0, os.SEEK_CUR) > here.st_size:
                os.lseek(self._descriptor, 0, os.SEEK_SET)  # somebody emptied it
                continue
            newest = _inode(self._path)
            if newest in {0, here.st_ino}:
                return b""
            # Rotated. What was written between the read above and the rotation comes first.
            if data := os.read(self._descriptor, limit):
                return data
            self._advance(here.st_ino)
        return b""

    def unread(self) -> int:
        """Return how many bytes of the present file are not read yet."""
        if self._descriptor is None:
            return 0
        return max(0, os.fstat(self._descriptor).st_size - os.lseek(self._descriptor, 0, os.SEEK_CUR))

    def skip(self, count: int) -> None:
        """Pass over ``count`` bytes of the present file."""
        if self._descriptor is not None:
            os.lseek(self._descriptor, count, os.SEEK_CUR)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _advance(self, done: int) -> None:
        """Go on with the file that was begun after the one of number ``done``, still open here."""
        following, before = _open(self._path), _open(older(self._path))
        # The older file is between the two where the output was rotated twice, also just now.
        if before is not None and os.fstat(before).st_ino not in {done, following and os.fstat(following).st_ino}:
            following, before = before, following
        for descriptor in (self._descriptor, before):
            if descriptor is not None:
                os.close(descriptor)
        self._descriptor = following


def _open(path: Path) -> int | None:
    try:
        # O_NONBLOCK: the path comes from the inbox, where agents write, and might be a FIFO.
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0
