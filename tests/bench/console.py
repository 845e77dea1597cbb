"""The console on a pseudo-terminal: its start against an empty Textual app, and what it writes while nothing moves."""

from __future__ import annotations

import fcntl
import os
import pty
import resource
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rollcage

from .measure import Row, environment, interleaved

ROWS, COLUMNS = 40, 120
RUNS = 9
AIM = 2.0
WATCHED_S = 3.0
QUIET_S, SETTLE_S = 1.5, 20.0
"""It has settled once nothing came for so long; at the latest then."""
LOADED = "says more where the machine is loaded"
TERMINAL: dict[str, str | None] = {
    "TERM": "xterm-256color",
    "COLORTERM": "truecolor",
    **dict.fromkeys(["NO_COLOR", "SSH_CONNECTION", "SSH_TTY", "COLORFGBG", "LINES", "COLUMNS"]),
}


def measure(place: Path) -> list[Row]:
    """Measure whole processes up to the first paint, then what a console writes on a screen that stands still."""
    with environment(TERMINAL):
        ours, floor = interleaved(RUNS, lambda: _until_painted("console"), lambda: _until_painted("empty"))
        still, ageing = _bytes_a_second("still", SETTLE_S), _bytes_a_second("ageing", 2 * QUIET_S)
    floor_name = "empty Textual app"
    return [
        Row("start to first paint", [wall for wall, _ in ours], floor_name, [wall for wall, _ in floor], AIM),
        Row("processor time of that", [cpu for _, cpu in ours], floor_name, [cpu for _, cpu in floor], note=LOADED),
        Row("still screen", [still], aim=0, unit="B/s", note=f"watched for {WATCHED_S:g} s, the clock runs"),
        Row("ages in seconds count up", [ageing], unit="B/s", note="for comparison: the same board, when it is fresh"),
    ]


@contextmanager
def _started(kind: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Yield a child on a terminal of its own and our end of it; afterwards it is gone."""
    mine, its = pty.openpty()
    try:
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        argv = [sys.executable, "-m", "tests.bench.console_child", kind]
        top = Path(rollcage.__file__).parent.parent
        child = subprocess.Popen(argv, cwd=top, stdin=its, stdout=its, stderr=its, start_new_session=True)
        os.close(its)
        try:
            yield child, mine
        finally:
            child.kill()
            child.wait()
    finally:
        os.close(mine)


def _until_painted(kind: str) -> tuple[float, float]:
    """Return the seconds that the whole process takes, and how long it kept a processor busy."""
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with _started(kind) as (child, terminal):
        shown = b"".join(_read(terminal, SETTLE_S))
        status = child.wait()
        took, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if status or b"\x1b[?1049h" not in shown:
        raise RuntimeError(f"{kind} ended with {status}: {shown[-2_000:].decode(errors='replace')}")
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _bytes_a_second(kind: str, settle: float) -> float:
    """Return what the console writes once it has been quiet for a while, or after ``settle`` seconds."""
    with _started(kind) as (child, terminal):
        shown = b"".join(_read(terminal, settle, quiet=QUIET_S))
        written = sum(map(len, _read(terminal, WATCHED_S)))
        if child.poll() is not None or len(shown) < COLUMNS * ROWS // 2:
            raise RuntimeError(f"{kind} did not come up: {shown[-2_000:].decode(errors='replace')}")
    return written / WATCHED_S


def _read(terminal: int, at_most: float, *, quiet: float | None = None) -> Iterator[bytes]:
    """Yield what comes for ``at_most`` seconds, until the other end closes, or until nothing came for ``quiet``."""
    end = time.monotonic() + at_most
    while (left := end - time.monotonic()) > 0:
        if not select.select([terminal], [], [], left if quiet is None else min(left, quiet))[0]:
            return
        try:
            data = os.read(terminal, 65_536)
        except OSError:  # EIO: the last process on the terminal is gone
            return
        if not data:
            return
        yield data
