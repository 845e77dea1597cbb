"""A real pseudo-terminal with a program in it: what it sends is kept, keys are typed, and its settings are compared."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|[ -/]*[0-~])")
"""A sequence that a terminal obeys: CSI, OSC, a string, or a short one."""


class Terminal:
    """The program, and everything that it has sent to its terminal so far."""

    def __init__(self, process: subprocess.Popen[bytes], controller: int, before: list[Any]) -> None:
        self.process, self._controller, self._before = process, controller, before
        self._sent = bytearray()
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with suppress(OSError):  # the other side is closed
            while octets := os.read(self._controller, 65_536):
                with self._changed:
                    self._sent += octets
                    self._changed.notify_all()

    @property
    def sent(self) -> bytes:
        """All octets so far."""
        with self._changed:
            return bytes(self._sent)

    def shown(self, since: int = 0) -> str:
        """Return the text that was drawn after the first ``since`` octets, in the order in which it was drawn."""
        return SEQUENCE.sub(b"", self.sent[since:]).decode(errors="replace")

    def wait(self, text: str, *, since: int = 0, seconds: float = 60.0) -> int:
        """Wait until ``text`` was drawn after the first ``since`` octets; return how many octets there are then."""

        def there() -> bool:
            return text in self.shown(since)

        self._await(there, f"{text!r} was not shown", seconds)
        return len(self.sent)

    def type(self, keys: str) -> int:
        """Type ``keys``; return how many octets were sent before, to wait for what comes of it."""
        before = len(self.sent)
        os.write(self._controller, keys.encode())
        return before

    def end(self, seconds: float = 60.0) -> int:
        """Wait for the program to end, and for all that it sent; return its exit code."""
        code = self.process.wait(seconds)
        self._reader.join(2.0)
        return code

    def is_restored(self) -> bool:
        """Whether the terminal's modes are those from before, and the screen and the cursor are given back."""
        shows = self.sent.rfind(b"\x1b[?1049l") > self.sent.rfind(b"\x1b[?1049h")
        cursor = self.sent.rfind(b"\x1b[?25h") > self.sent.rfind(b"\x1b[?25l")
        return shows and cursor and termios.tcgetattr(self._controller) == self._before

    def _await(self, there: Callable[[], bool], problem: str, seconds: float) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: there() or self.process.poll() is not None, seconds) or not there():
                code = self.process.poll()
                raise AssertionError(f"{problem}; exit {code}; the last that was: …{self.shown()[-3_000:]}")


@contextmanager
def terminal(command: Sequence[str], cwd: Path, *, width: int = 120, height: int = 40) -> Iterator[Terminal]:
    """Run ``command`` in a terminal of its own; afterwards it is ended."""
    controller, own = pty.openpty()
    fcntl.ioctl(own, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    before = termios.tcgetattr(own)
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    for name in ("SSH_CONNECTION", "NO_COLOR", "TMUX", "STY"):
        environment.pop(name, None)
    process = subprocess.Popen(
        command, cwd=cwd, env=environment, stdin=own, stdout=own, stderr=own, start_new_session=True
    )
    made = Terminal(process, controller, before)
    try:
        yield made
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(own)
        os.close(controller)
