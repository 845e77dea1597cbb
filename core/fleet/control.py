"""Stopping, pausing and resuming the whole process tree of a run, and nothing else.

A signal goes to a process that was just seen in the tree, through a pidfd where there is one (Linux 5.3), so that a
pid that was given out again is never hit. A tree is frozen before it is ended: what stands still cannot fork.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from .runs import Run, is_alive, tree

FREEZE_TIME = 2.0
"""Seconds to get a tree to stand still."""
KILL_TIME = 10.0
"""Seconds to wait for the end of what was killed: a process in an uninterruptible wait takes its time."""
TICK = 0.01
LOCK_IS_FRESH = 10.0
"""Seconds after which an ``index.lock`` counts as left behind by a git that died."""

Members = Callable[[], list[psutil.Process]]
_GONE = frozenset({psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD})
_STILL = _GONE | {psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP}

_OPTIONS_WITH_VALUE = frozenset({"-c", "-C", "--git-dir", "--work-tree", "--namespace", "--config-env"})
# Git commands that wait for their caller for hours and hold no lock: libraries keep them open.
_WAITING_GIT = frozenset({"cat-file", "check-attr", "check-ignore", "fsmonitor--daemon", "credential-cache--daemon"})


@dataclass(frozen=True, slots=True)
class StopResult:
    """What became of the processes of a tree."""

    killed: int
    """By SIGKILL, after the grace."""
    terminated: int
    """By SIGTERM."""
    seconds: float
    left: int = 0
    """Still there: in an uninterruptible wait, or another user's."""


@dataclass(frozen=True, slots=True)
class PauseResult:
    """Whether a tree stands still."""

    paused: bool
    processes: int
    why: str
    """Why it does not, for people."""
    seconds: float


def stop_tree(run: Run, grace: float = 5.0) -> StopResult:
    """End all processes of ``run``: SIGTERM, and SIGKILL for what is left after ``grace`` seconds. Not its supervisor.

    Blocks until all are gone. What a process starts while it ends in peace is left alone until the grace is over.
    """
    return stop_processes(lambda: tree(run), grace)


def stop_processes(members: Members, grace: float) -> StopResult:
    """Like `stop_tree`, for whatever processes ``members`` finds each time it is called."""
    begun = time.monotonic()
    _freeze(members, begun + FREEZE_TIME)
    told = _alive(members())
    # All get SIGTERM before any may go on: none can start a replacement for another.
    for process in told:
        _send(process, signal.SIGTERM)
    for process in told:
        _send(process, signal.SIGCONT)
    alive = _wait_for_end(members, begun + grace)
    killed: set[psutil.Process] = set()
    deadline = time.monotonic() + KILL_TIME
    while alive and time.monotonic() < deadline:
        _freeze(members, time.monotonic() + FREEZE_TIME)
        alive = _alive(members())
        killed.update(process for process in alive if _send(process, signal.SIGKILL))
        alive = _wait_for_end(members, time.monotonic() + 0.2)
    return StopResult(
        killed=len(killed.difference(alive)),
        terminated=len(set(told).difference(killed, alive)),
        seconds=time.monotonic() - begun,
        left=len(alive),
    )


def pause_tree(run: Run, *, git_wait: float = 2.0) -> PauseResult:
    """Halt all processes of ``run`` by SIGSTOP, but not in the middle of a git command, whose locks would stay.

    While git works there, the tree goes on and is tried again; after ``git_wait`` seconds it is left running, and
    ``paused`` is false. So it is where the tree cannot be made to stand still.
    """
    begun = time.monotonic()
    why = ""
    while True:
        members = _others(tree(run))
        why = _git_at_work(run, members)
        if not why:
            still = _freeze(lambda: tree(run), time.monotonic() + FREEZE_TIME)
            members = _others(tree(run))
            why = _git_at_work(run, members) if still else "its processes do not stand still"
            if not why:
                return PauseResult(True, len(_alive(members)), "", time.monotonic() - begun)
            _thaw(members)
        if time.monotonic() - begun >= git_wait:
            return PauseResult(False, len(_alive(members)), why, time.monotonic() - begun)
        _tick(5 * TICK)


def resume_tree(run: Run) -> int:
    """Let all halted processes of ``run`` go on; return how many there were."""
    return _thaw(tree(run))


def end_supervisor(run: Run, patience: float = KILL_TIME) -> bool:
    """Ask the supervisor of ``run`` to end, and wait at most ``patience`` seconds; return whether it has.

    It ends in its own time: what is left of its tree first, then its last report.
    """
    try:
        supervisor = psutil.Process(run.supervisor_pid)
    except psutil.NoSuchProcess:
        return True
    deadline = time.monotonic() + patience
    if is_alive(run):  # looked at after the process was taken, so that it is of this run or gone
        _send(supervisor, signal.SIGTERM)
    while is_alive(run):
        if time.monotonic() >= deadline:
            return False
        _tick(TICK)
    return True


def _freeze(members: Members, deadline: float) -> bool:
    """Send SIGSTOP until nothing moves and nothing new appears; return whether that was so by ``deadline``.

    A list of processes is no snapshot: one that is being made meanwhile can be missing. So it is over when all stood
    still throughout one pass, and the pass after it found no other process.
    """
    known: set[psutil.Process] = set()
    still_before = False
    while True:
        now = _others(members())
        moving = [process for process in now if _status(process) not in _STILL]
        for process in moving:
            _send(process, signal.SIGSTOP)
        if not moving and still_before and known.issuperset(now):
            return True
        if time.monotonic() >= deadline:
            return False
        known.update(now)
        still_before = not moving
        if moving:
            _tick(TICK / 10)


def _thaw(processes: Iterable[psutil.Process]) -> int:
    halted = 0
    for process in _others(processes):
        halted += _status(process) == psutil.STATUS_STOPPED
        _send(process, signal.SIGCONT)  # also to one that runs: its SIGSTOP may be on the way
    return halted


def _wait_for_end(members: Members, deadline: float) -> list[psutil.Process]:
    """Return what is alive at ``deadline``, or nothing as soon as all have ended."""
    while True:
        alive = _alive(members())
        if not alive or time.monotonic() >= deadline:
            return alive
        _tick(TICK)


def _others(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Leave out this process: an agent that stops its own run must not halt halfway."""
    return [process for process in processes if process.pid != os.getpid()]


def _alive(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    return [process for process in _others(processes) if _status(process) not in _GONE]


def _status(process: psutil.Process) -> str:
    try:
        return process.status()
    except psutil.NoSuchProcess:
        return psutil.STATUS_DEAD
    except psutil.AccessDenied:  # macOS, another user's
        return psutil.STATUS_RUNNING


def _send(process: psutil.Process, number: signal.Signals) -> bool:
    """Send a signal to exactly this process; return whether it was sent."""
    try:
        if sys.platform == "linux":
            descriptor = os.pidfd_open(process.pid)
            try:
                # Looked at after the pidfd was opened: the pidfd is of this process, or of none that is alive.
                if not process.is_running():
                    return False
                signal.pidfd_send_signal(descriptor, number)
            finally:
                os.close(descriptor)
        else:
            process.send_signal(number)
    except (ProcessLookupError, PermissionError, psutil.Error):
        return False
    return True


def _git_at_work(run: Run, members: Iterable[psutil.Process]) -> str:
    """Return which git command of the tree may hold locks, or which lock is held; empty: none."""
    folders = {run.cwd}
    for process in members:
        try:
            if process.status() in _GONE:
                continue
            if process.name() == "git" or process.name().startswith("git-"):
                command = _git_command(process.cmdline())
                if command not in _WAITING_GIT:
                    return f"git {command} (pid {process.pid}) is at work"
            folders.add(process.cwd())
        except psutil.Error:
            continue
    for lock in {directory / "index.lock" for folder in folders if (directory := _git_dir(Path(folder)))}:
        try:
            if abs(time.time() - lock.stat().st_mtime) < LOCK_IS_FRESH:
                return f"{lock} is held"
        except OSError:
            continue
    return ""


def _git_command(words: list[str]) -> str:
    """Return the command of a git command line: the first word that is no option, nor an option's value."""
    rest = iter(words[1:])
    for word in rest:
        if word in _OPTIONS_WITH_VALUE:
            next(rest, None)
        elif not word.startswith("-"):
            return word
    return Path(words[0]).name if words else ""


def _git_dir(folder: Path) -> Path | None:
    """Return the git directory of the working tree that ``folder`` lies in, following the file of a linked one."""
    for above in (folder, *folder.parents):
        inner = above / ".git"
        try:
            if inner.is_dir():
                return inner
            if inner.is_file():
                return (
                    above / inner.read_text(encoding="utf-8", errors="surrogateescape").removeprefix("gitdir: ").strip()
                )
        except OSError:
            return None
    return None


def _tick(seconds: float) -> None:
    threading.Event().wait(seconds)
