"""Bells: who waits for a lock is woken by who frees it, through a named pipe in ``holders/``.

A pipe has no limit on the length of its path, as a socket has, and is found by whoever shares the folder, containers
too. A ring is a hint to look, no more: one that is lost costs the time until the waiter's next look.
"""

from __future__ import annotations

import os
import select
import stat
import threading
from contextlib import suppress
from pathlib import Path

from ..errors import StoreError
from ..store.files import not_writable


class Bell(threading.Event):
    """One waiter's pipe, as an event: so that an injected clock can wait for it."""

    def __init__(self, path: Path, number: int) -> None:
        """Make the pipe. Raises StoreError."""
        super().__init__()
        self.number = number
        self._path = path
        try:
            with suppress(FileExistsError):
                os.mkfifo(path, 0o600)
            # For both: with no writer it would be at its end at once.
            self._file = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise not_writable(path, error) from error
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLIN)

    def is_set(self) -> bool:
        """Return whether it rang since `clear`."""
        return super().is_set() or bool(self._poll.poll(0))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it rings, at most ``timeout`` seconds; return whether it did."""
        return super().is_set() or bool(self._poll.poll(None if timeout is None else max(0.0, timeout * 1000)))

    def clear(self) -> None:
        """Make it silent again."""
        super().clear()
        with suppress(BlockingIOError):
            while len(os.read(self._file, 4096)) == 4096:
                pass

    def close(self) -> None:
        """Take it away."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)


class Bells:
    """The bells of one holder; each is used by one waiter at a time, and kept for the next."""

    def __init__(self, folder: Path, holder: str) -> None:
        """Take the folder, and the id of the holder. Touches nothing yet."""
        self._folder, self._holder = folder, holder
        self._guard = threading.Lock()
        self._made: list[Bell] = []
        self._idle: list[Bell] = []
        self._closed = False

    def take(self) -> Bell:
        """Return one that is silent. Raises StoreError."""
        with self._guard:
            if self._closed:
                raise StoreError(f"holder {self._holder} was closed; open the leases again")
            if self._idle:
                bell = self._idle.pop()
            else:
                number = len(self._made)
                bell = Bell(bell_path(self._folder, self._holder, number), number)
                self._made.append(bell)
        bell.clear()
        return bell

    def give_back(self, bell: Bell) -> None:
        """Keep ``bell`` for the next waiter."""
        with self._guard:
            if self._closed:
                bell.close()
            else:
                self._idle.append(bell)

    def close(self) -> None:
        """Ring all that are waited for, and take away the others; those go when they are given back."""
        with self._guard:
            self._closed = True
            idle, self._idle = self._idle, []
            for bell in self._made:
                if bell in idle:
                    bell.close()
                else:
                    bell.set()
                    ring(self._folder, self._holder, bell.number)


def bell_path(folder: Path, holder: str, number: int) -> Path:
    """Return where the bell of that number is."""
    return folder / f"{holder}.{number}"


def ring(folder: Path, holder: str, number: int) -> None:
    """Ring that bell, if it is there: ``holder`` must be one that `is_holder_id` allows."""
    try:
        file = os.open(bell_path(folder, holder, number), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return  # nobody listens (any more)
    try:
        if stat.S_ISFIFO(os.fstat(file).st_mode):
            with suppress(OSError):  # full: it rings already
                os.write(file, b"!")
    finally:
        os.close(file)
