"""Writes to the terminal from a thread of its own, and never makes its callers wait.

Textual's writer holds at most 30 pieces; on a stalled line the thirty-first blocks the whole console. Here a piece is
always taken; the console asks `behind` before it draws, and draws nothing while the line is behind.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Callable

CHUNK = 4_096
"""So much goes out at once: what is left of a frame can still be dropped."""
PIECES, OCTETS = 24, 256 * 1024
"""With more than this waiting, the line is behind. A full frame of 200 by 60 cells is about 50 kB."""


class LineWriter:
    """Writes pieces in order. Ends silently where the terminal is gone, and says so once."""

    def __init__(self, descriptor: int, *, caught_up: Callable[[], object], gone: Callable[[], object]) -> None:
        """Take the terminal's descriptor, and what to call from the thread when it has caught up, or is gone."""
        self._descriptor = descriptor
        self._caught_up, self._gone = caught_up, gone
        self._pieces: deque[bytes] = deque()
        self._octets = 0
        self._was_behind = False
        self._silent = False
        self._closing = False
        self._idle = True
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="terminal-writer", daemon=True)
        self._thread.start()

    def behind(self) -> bool:
        """Return whether drawing is of no use: so much waits. When it does not any more, `caught_up` is called."""
        with self._change:
            behind = len(self._pieces) > PIECES or self._octets > OCTETS
            self._was_behind = self._was_behind or behind
            return self._was_behind

    def write(self, text: str) -> None:
        """Take a piece; return at once."""
        piece = text.encode("utf-8", errors="replace")
        with self._change:
            if self._silent or self._closing or not piece:
                return
            self._pieces.append(piece)
            self._octets += len(piece)
            self._change.notify_all()

    def silence(self) -> None:
        """Drop what waits and take nothing more; the piece that is being written may still go out."""
        with self._change:
            self._silent = True
            self._pieces.clear()
            self._octets = 0
            self._change.notify_all()

    def close(self, timeout: float) -> bool:
        """Write what waits, at most for ``timeout`` seconds; return whether all went out. Nothing is taken after it."""
        with self._change:
            self._closing = True
            self._change.notify_all()
            done = self._change.wait_for(lambda: self._silent or (self._idle and not self._pieces), timeout)
            finished = done and not self._silent
            self._silent = True
            self._pieces.clear()
            self._change.notify_all()
        return finished

    def _run(self) -> None:
        while True:
            with self._change:
                self._idle = True
                caught_up = self._was_behind and not self._pieces
                if caught_up:
                    self._was_behind = False
                self._change.notify_all()
            if caught_up:
                self._caught_up()
            with self._change:
                self._change.wait_for(lambda: bool(self._pieces) or self._silent or self._closing)
                if self._silent or not self._pieces:
                    return
                piece = self._pieces.popleft()
                self._octets -= len(piece)
                self._idle = False
            if not self._send(piece):
                self.silence()
                self._gone()
                return

    def _send(self, piece: bytes) -> bool:
        """Write one piece whole; return False where the terminal is gone."""
        while piece:
            with self._change:
                if self._silent:
                    return True
            try:
                piece = piece[os.write(self._descriptor, piece[:CHUNK]) :]
            except BlockingIOError:  # somebody made the terminal non-blocking
                _wait_for_room(self._descriptor)
            except OSError:
                return False
        return True


def _wait_for_room(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll(200)
