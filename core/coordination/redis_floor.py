"""The highest token that this machine has seen, so that a Redis server that lost its data never gives one again.

One line in a file that all processes of a state directory share: the boot in which it was written, the highest token
exactly, and a bound that no token has reached yet. The exact number is written without waiting for the disk, which
outlives any process but no power cut; the bound is written durably, a minute's worth of tokens ahead. So on the boot
that wrote the line the exact number counts, and on another the bound.
"""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

from ..store.files import not_writable

AHEAD = 60_000_000
"""Tokens; the server counts in microseconds."""
_LIMIT = 1 << 52
"""In microseconds the year 2112: whatever is higher is damage."""


class Floor:
    """The file; safe between threads and processes."""

    def __init__(self, path: Path, boot_id: str) -> None:
        """Open ``path``, made where it is missing. Raises StoreError."""
        self._path, self._boot = path, boot_id.replace(" ", "-")[:60] or "-"
        self._guard = threading.Lock()
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise not_writable(path, error) from error

    def get(self) -> int:
        """Return what every new token must exceed; 0: none was seen. Raises StoreError."""
        with self._guard:
            try:
                boot, exact, bound = self._read()
            except OSError as error:
                raise not_writable(self._path, error) from error
        return exact if boot == self._boot else bound

    def note(self, token: int) -> None:
        """Remember ``token`` if it is the highest. Raises StoreError; then the lease is not to be used."""
        with self._guard:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX)
                try:
                    self._note(token)
                finally:
                    fcntl.flock(self._file, fcntl.LOCK_UN)
            except OSError as error:
                raise not_writable(self._path, error) from error

    def _note(self, token: int) -> None:
        boot, exact, bound = self._read()
        durable = token >= bound
        if durable:
            bound = token + AHEAD
        elif boot == self._boot and token <= exact:
            return
        # Of one width, and less than a sector: it is written whole or not at all.
        os.pwrite(self._file, f"{self._boot:<60} {token:020d} {bound:020d}\n".encode(), 0)
        if durable:
            os.fsync(self._file)

    def _read(self) -> tuple[str, int, int]:
        words = os.pread(self._file, 200, 0).split()
        try:
            boot, exact, bound = words[0].decode(), int(words[1]), int(words[2])
        except (IndexError, ValueError):  # new, or damaged: then the server's clock alone counts
            return "", 0, 0
        return (boot, exact, bound) if 0 <= exact <= bound < _LIMIT else ("", 0, 0)

    def close(self) -> None:
        """Close the file. A later use is a StoreError."""
        with self._guard:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def __del__(self) -> None:
        """Leave no descriptor behind where it was forgotten."""
        if getattr(self, "_file", -1) >= 0:
            os.close(self._file)
