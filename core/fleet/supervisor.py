"""``python -m rollcage.core.fleet.supervisor``: one agent's keeper as a process, detached from whoever started it.

It adopts what its agent's processes orphan, holds a lock on the agent's name, and then does what
`rollcage.core.fleet.supervision` says.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import sys
from pathlib import Path

from ..clock import SystemClock
from ..errors import ExitCode
from ..store.paths import RepositoryPaths
from .launch import Order
from .supervision import Reporter, Supervisor
from .wakeup import Wakeup

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def main() -> int:
    """Read the order from standard input, detach, and supervise. Reports go to standard output."""
    order = Order.from_json(sys.stdin.buffer.read())
    if os.fork():
        os._exit(0)  # the starter waits for this one only; the supervisor is nobody's child
    reporter = Reporter(os.dup(1))
    folder = RepositoryPaths(Path(order.root)).agents / order.agent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _redirect(folder / "supervisor.log")
        lock = os.open(folder / "supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        reporter.tell(failed=f"{error.filename}: {error.strerror}")
        return ExitCode.ERROR
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = False
    except OSError:
        held = True
    last = os.read(lock, 4096).decode(errors="replace").split()  # run id and pid of the last supervisor
    if held:
        who = f" under supervisor {last[1]}" if len(last) == 2 else ""
        reporter.tell(refused=f"agent {order.agent} runs already{who}; stop it first: rollcage stop {order.agent}")
        return ExitCode.ERROR
    _adopt_orphans()
    with Wakeup([signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP]) as wakeup:
        supervisor = Supervisor(order, wakeup, reporter, SystemClock())
        with contextlib.suppress(OSError):  # a full disk: then what it leaves behind is not found by the next one
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{supervisor.run_id} {os.getpid()}\n".encode(), 0)
        code = supervisor.run(last[0] if last else "")
        os.ftruncate(lock, 0)
        return code


def _redirect(log: Path) -> None:
    """Let go of the starter's pipes: standard error goes to ``log``, which starts anew when it is over 1 MB."""
    if log.exists() and log.stat().st_size > 1_000_000:
        log.unlink()
    errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor, target in ((nothing, 0), (nothing, 1), (errors, 2)):
        os.dup2(descriptor, target)
    os.close(errors)
    os.close(nothing)


def _adopt_orphans() -> None:
    """Become the parent of all descendants that lose theirs (Linux), so that none leaves the tree by a double fork."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
            print(f"no subreaper: {os.strerror(ctypes.get_errno())}", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
