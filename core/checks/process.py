"""Runs one command of the user in a session of its own, within limits, and leaves nothing of it behind.

`launcher` is the command's parent and does the killing; here are the clock, the output and the last resort.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import psutil

from ..text import clean, clean_lines, mask_secrets
from .environment import scrubbed

OUTPUT_LIMIT = 64 * 1024
"""Bytes of a command's output that are kept: the last ones."""

_LAUNCHER = Path(__file__).with_name("launcher.py")
_MARK = "ROLLCAGE_CHECK_ID"
_LOOK_S = 0.1
"""How often the stop event is looked at."""
_LONG_S = 3600.0
"""The longest single wait: a time-out of months is more than epoll takes."""
_KILL_GRACE_S = 5.0
"""What the launcher has to end everything; then it is killed itself."""
_DRAIN_S = 0.5
"""How long the rest of the output is read once the command is gone: a process that cannot be killed may hold it."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended."""

    status: int | None
    """Its exit status, minus the signal that ended it, or ``None``: it did not end by itself, or was not started."""
    timed_out: bool
    output: str
    """The last 64 KiB of both its streams: cleaned lines, secrets masked."""
    duration_s: float
    started: bool
    problem: str = ""
    """Why it could not be started; one clean line."""


def run_command(
    argv: Sequence[str],
    cwd: Path,
    env: Mapping[str, str],
    *,
    timeout: float,
    stop: Event | None = None,
    memory: int | None = None,
) -> CommandResult:
    """Run ``argv`` in ``cwd`` to its end, ``timeout`` seconds at most, or until ``stop`` is set; never raises for it.

    It gets a scrubbed environment with ``env`` on top, no input, no terminal, and at most ``memory`` bytes of
    private data in each of its processes. When this returns, its whole process tree is gone, daemons included; that
    takes a few seconds after the time is over at the most. Safe between threads.
    """
    mark = uuid.uuid4().hex
    begun = time.monotonic()
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            try:
                process = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(_LAUNCHER), str(theirs.fileno()), str(memory or 0), *argv],
                    cwd=cwd,
                    env=scrubbed(os.environ, {**env, _MARK: mark}),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    bufsize=0,
                    start_new_session=True,
                    pass_fds=(theirs.fileno(),),
                )
            except (OSError, ValueError) as error:  # no such folder, too many arguments, a NUL among them
                return _not_started(str(error), begun)
        try:
            return _follow(process, ours, begun, begun + timeout, stop, mark)
        finally:
            _end(process, ours, mark)


def _follow(
    process: subprocess.Popen[bytes],
    control: socket.socket,
    begun: float,
    deadline: float,
    stop: Event | None,
    mark: str,
) -> CommandResult:
    """Read the output until the launcher has reported, telling it when to end the command."""
    assert process.stdout is not None
    output, report = _Tail(), b""
    told_at: float | None = None
    timed_out = False
    os.set_blocking(process.stdout.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        selector.register(control, selectors.EVENT_READ)
        while True:
            now = time.monotonic()
            if told_at is None and (now >= deadline or (stop is not None and stop.is_set())):
                told_at, timed_out = now, now >= deadline
                control.shutdown(socket.SHUT_WR)
            if told_at is not None and now >= told_at + _KILL_GRACE_S:
                break
            wait = min(deadline - now, _LONG_S) if stop is None and told_at is None else _LOOK_S
            ready = {key.fileobj for key, _ in selector.select(wait)}
            if process.stdout in ready and not output.read(process.stdout.fileno()):
                selector.unregister(process.stdout)
            if control in ready:
                received = _receive(control)
                if not received:
                    break
                report += received
    output.drain(process.stdout.fileno(), time.monotonic() + _DRAIN_S)
    words = report.decode().split()
    if words[:1] == ["cannot"]:
        return _not_started(os.strerror(int(words[1])), begun)
    if words[-1:] != ["clean"]:
        _kill_marked(mark)
    status = int(words[1]) if len(words) == 3 and words[1] != "-" else None
    if status is not None:
        timed_out = False  # it ended by itself just as it was told to
    return CommandResult(status, timed_out, output.text(), time.monotonic() - begun, started=True)


def _receive(control: socket.socket) -> bytes:
    with contextlib.suppress(ConnectionResetError):  # the launcher was killed
        return control.recv(4096)
    return b""


def _end(process: subprocess.Popen[bytes], control: socket.socket, mark: str) -> None:
    """Make sure that launcher and command are gone, also when an exception (Ctrl-C) cut their story short."""
    assert process.stdout is not None
    control.close()
    process.stdout.close()
    try:
        process.wait(_KILL_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        _kill_marked(mark)


def _kill_marked(mark: str) -> None:
    """Kill the processes that carry ``mark`` in their environment: what the launcher left when it was killed itself."""
    for _ in range(3):
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get(_MARK) == mark:
                    process.kill()
                    found.append(process)
        if not found:
            return
        psutil.wait_procs(found, timeout=1)


def _not_started(problem: str, begun: float) -> CommandResult:
    return CommandResult(None, False, "", time.monotonic() - begun, started=False, problem=clean(problem))


class _Tail:
    """The last bytes of an output that may be endless."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._cut = False

    def read(self, descriptor: int) -> bool:
        """Take what is there; return False at the end of the output."""
        try:
            chunk = os.read(descriptor, OUTPUT_LIMIT)
        except BlockingIOError:
            return True
        self._bytes += chunk
        if len(self._bytes) > 2 * OUTPUT_LIMIT:
            del self._bytes[:-OUTPUT_LIMIT]
            self._cut = True
        return bool(chunk)

    def drain(self, descriptor: int, deadline: float) -> None:
        """Take the rest up to its end, until ``deadline`` (monotonic)."""
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while (left := deadline - time.monotonic()) > 0:
                if selector.select(left) and not self.read(descriptor):
                    return

    def text(self) -> str:
        """Return it as clean lines; what was cut in the middle of a line begins with the next one."""
        if len(self._bytes) > OUTPUT_LIMIT:
            del self._bytes[:-OUTPUT_LIMIT]
            self._cut = True
        if self._cut:
            _, newline, rest = self._bytes.partition(b"\n")
            if newline:
                self._bytes = rest
        return mask_secrets(clean_lines(self._bytes.decode("utf-8", "replace"))).strip("\n")
