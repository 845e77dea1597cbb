"""Waiting for signals and for time in one place, in the main thread: handlers only leave a mark."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Sequence
from types import FrameType, TracebackType


class Wakeup:
    """Catches signals while it is entered; `wait` tells which came. Children get the default handling back."""

    def __init__(self, numbers: Sequence[signal.Signals]) -> None:
        """Take the signals to catch."""
        self._numbers = numbers
        self._came: set[signal.Signals] = set()

    def __enter__(self) -> Wakeup:
        """Begin to catch."""
        # The wake-up pipe closes the gap between looking and waiting: a signal in it ends the wait at once.
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self._writing, False)
        self._old_descriptor = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._old = {number: signal.signal(number, self._mark) for number in self._numbers}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the handlers back that were there."""
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_descriptor)
        os.close(self._reading)
        os.close(self._writing)

    @property
    def descriptor(self) -> int:
        """Readable when a signal came: to be waited for together with others, before `wait`."""
        return self._reading

    def wait(self, timeout: float) -> set[signal.Signals]:
        """Return the signals that came since the last call; wait for one at most ``timeout`` seconds."""
        if not self._came and select.select([self._reading], [], [], timeout)[0]:
            os.read(self._reading, 4096)
        came, self._came = self._came, set()
        return came

    def _mark(self, number: int, frame: FrameType | None) -> None:
        self._came.add(signal.Signals(number))
