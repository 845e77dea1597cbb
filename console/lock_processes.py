"""Other processes, as the keeper of a lock sees them: whether one has ended, and how a group of them is ended."""

from __future__ import annotations

import os
import select
import signal
import time
from dataclasses import dataclass

GRACE = 5.0
"""Seconds at most from SIGTERM to SIGKILL where a group of processes is stopped."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A process, known by pid and start time."""

    pid: int
    started: str
    """In the kernel's own unit; empty where it cannot be known."""
    descriptor: int
    """Of pidfd_open(2), readable once the process has ended; -1 where the system has none."""

    def is_over(self) -> bool:
        """Tell whether it has ended."""
        if self.descriptor >= 0:
            return bool(select.select([self.descriptor], [], [], 0)[0])
        if self.started:
            return started_at(self.pid) != self.started
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


def watch(pid: int) -> Watched:
    """Begin to watch process ``pid``. Raises ProcessLookupError where there is none."""
    if pid <= 0:
        raise ProcessLookupError(pid)
    started, descriptor = started_at(pid), -1
    if hasattr(os, "pidfd_open"):
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            raise
        except OSError:  # an old kernel, or a filter of system calls: by looking, then
            descriptor = -1
    watched = Watched(pid, started, descriptor)
    if watched.is_over():
        raise ProcessLookupError(pid)
    return watched


def started_at(pid: int) -> str:
    """Return when process ``pid`` started, in clock ticks since the boot; empty: it ended, or cannot be looked at."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib costs more than all of this
            state, *fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return ""
    return "" if state in {b"Z", b"X"} else fields[18].decode("ascii")


def grace(ttl: float) -> float:
    """Return the seconds from SIGTERM to SIGKILL, for a lock that each renewal gives ``ttl`` seconds."""
    return min(GRACE, ttl / 4)


def stop_group(group: int, grace: float) -> None:
    """End a group of processes: SIGTERM, and SIGKILL to what is left of it after ``grace`` seconds."""
    deadline = time.monotonic() + grace
    try:
        os.killpg(group, signal.SIGTERM)
        os.killpg(group, signal.SIGCONT)  # a stopped one would not notice
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            if not _works(group):
                return
            time.sleep(0.02)  # nothing wakes us when a group is empty
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # macOS says EPERM of a group of zombies
        return


def _works(group: int) -> bool:
    """Tell whether a process of the group can still do anything: who reaps the dead may take seconds."""
    try:
        processes = [name for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208 - pathlib costs more
    except OSError:
        return True
    for process in processes:
        try:
            with open(f"/proc/{process}/stat", "rb") as file:  # noqa: PTH123 - as above
                state, _, its_group, *_ = file.read().rpartition(b")")[2].split()
        except (OSError, ValueError):
            continue
        if int(its_group) == group and state not in {b"Z", b"X"}:
            return True
    return not processes
