"""A real pseudo-terminal with a console in it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

DEADLINE_S = 60.0
"""How long a test waits for what must come; nothing is asserted about how long it takes."""
TOP = Path(__file__).parents[2]


class Terminal:
    """The console of `pty_console` as a child with a terminal of its own."""

    def __init__(
        self,
        trace: Path,
        *arguments: str,
        size: tuple[int, int] = (120, 40),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it; ``trace`` is the file in which it leaves its trace."""
        self.trace = trace
        self.trace.touch()
        self.output = b""
        self.status: int | None = None
        columns, rows = size
        base = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
        base |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "TRACE": str(trace), "PYTHONPATH": str(TOP)}
        base |= environment or {}
        command = [sys.executable, "-m", "tests.console.pty_console", *arguments]
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.slave_name = os.ttyname(slave)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.setsid()
                fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
                for descriptor in (0, 1, 2):
                    os.dup2(slave, descriptor)
                os.closerange(3, 256)
                os.chdir(TOP)
                os.execve(command[0], command, base)
            finally:
                os._exit(125)
        self._slave = slave  # kept open, so that its settings can be read after the child is gone

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.kill(self.pid, signal.SIGCONT)
            os.waitpid(self.pid, 0)
        for descriptor in (self.master, self._slave):
            if descriptor >= 0:
                os.close(descriptor)

    # -- what comes from it

    def read(self, seconds: float) -> bytes:
        """Read what comes within ``seconds``."""
        found = b""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self.master], [], [], left)[0]:
                break
            try:
                piece = os.read(self.master, 65_536)
            except OSError:
                break
            if not piece:
                break
            found += piece
        self.output += found
        return found

    def until(self, found: Callable[[], Any], what: str, *, reading: bool = True) -> None:
        """Wait until ``found`` is true, reading meanwhile unless told not to."""
        end = time.monotonic() + DEADLINE_S
        while not found():
            assert time.monotonic() < end, f"waited in vain for {what}; it wrote {self.output[-2_000:]!r}"
            if reading:
                self.read(0.02)
            else:
                select.select([], [], [], 0.02)

    def until_output(self, *parts: str) -> None:
        """Wait until all parts have come."""
        self.until(lambda: all(part.encode() in self.output for part in parts), f"{parts}")

    def until_still(self) -> None:
        """Wait until nothing has come for a while."""
        self.until(lambda: not self.read(0.4), "a still screen")

    def until_trace(self, part: str, *, reading: bool = True) -> None:
        """Wait until the trace has ``part``."""
        self.until(lambda: part in self.traced, f"trace {part!r}", reading=reading)

    def until_ended(self, *, reading: bool = True) -> int:
        """Wait for its end; return the exit code, negative where a signal killed it."""

        def ended() -> bool:
            if self.status is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.status = os.waitstatus_to_exitcode(status)
            return self.status is not None

        self.until(ended, "its end", reading=reading)
        if reading:
            self.read(0.05)
        assert self.status is not None
        return self.status

    @property
    def traced(self) -> str:
        """The trace so far."""
        return self.trace.read_text(encoding="utf-8")

    @property
    def attributes(self) -> list[Any]:
        """The settings of the terminal now."""
        return termios.tcgetattr(self._slave)

    def until_full(self) -> None:
        """Read nothing until the line takes no more."""
        waiting = [-1]

        def full() -> bool:
            before = waiting[0]
            select.select([], [], [], 0.3)
            found = fcntl.ioctl(self.master, termios.FIONREAD, struct.pack("i", 0))
            waiting[0] = struct.unpack("i", found)[0]
            return 0 < waiting[0] == before

        self.until(full, "a full line", reading=False)

    # -- what goes to it

    def send(self, text: str) -> None:
        """Press keys."""
        os.write(self.master, text.encode())

    def signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def resize(self, columns: int, rows: int) -> None:
        """Change the size, as a window does."""
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.signal(signal.SIGWINCH)

    def hang_up(self) -> None:
        """Take the terminal away."""
        for name in ("master", "_slave"):
            os.close(getattr(self, name))
            setattr(self, name, -1)
