"""Runs one command and sees to it that nothing of the command outlives this process.

A script of its own, for `process.run_command`: ``python -I -S launcher.py SOCKET MEMORY COMMAND...``. It is a child
subreaper (prctl(2)): a descendant that forks twice and takes a new session becomes its child and not init's, so it
finds them all, whatever they did to their sessions, groups or environment. It ends the command when its caller shuts
the socket down, which the kernel does too when the caller is killed, and then reports on the socket one line:
``cannot ERRNO``, or ``ended STATUS clean|strays`` (STATUS ``-`` where the command did not end by itself).
Only the standard library is there, and only what starts fast: it is paid for at every run of every check. `contextlib`
and what makes enums of `signal`'s numbers would double the time it takes (16 ms instead of 29 with Python 3.11).
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import sys
import time

TYPE_CHECKING = False  # typing.TYPE_CHECKING, but typing takes long to import
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
else:
    import _signal as signal

_PR_SET_CHILD_SUBREAPER = 36
_KILL_LIMIT_S = 3.0
"""A process that cannot be killed (in uninterruptible sleep, or another user's) is waited for no longer."""
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(arguments: list[str]) -> None:
    """Run the command and report; see the module."""
    control, memory, command = int(arguments[0]), int(arguments[1]), arguments[2:]
    os.set_inheritable(control, False)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    wake, wake_end = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(wake_end, False)
    signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, *_ENDING):
        signal.signal(number, lambda number, frame: None)  # the number comes by the pipe
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # the caller's thread may have blocked some
    child, problem = _start(command, memory)
    if problem:
        _report(control, f"cannot {problem}")
        return
    status = _wait(child, control, wake)
    clean = _kill_all(child, wake)
    _report(control, f"ended {'-' if status is None else status} {'clean' if clean else 'strays'}")


def _start(command: list[str], memory: int) -> tuple[int, int]:
    """Start the command in a session of its own; return its pid and 0, or the errno that says why it cannot be."""
    failed, failed_end = os.pipe()  # closed by a successful exec
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            for number in signal.valid_signals():  # ignored by Python or by who started us, and exec would keep that
                if signal.getsignal(number) is signal.SIG_IGN:
                    signal.signal(number, signal.SIG_DFL)
            _limit(memory)
            os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
        except OSError as error:
            os.write(failed_end, b"%d" % (error.errno or 1))
        finally:
            os._exit(127)
    os.close(failed_end)
    problem = int(os.read(failed, 16) or b"0")
    os.close(failed)
    return pid, problem


def _limit(memory: int) -> None:
    """No core dumps; at most ``memory`` bytes of private data in one process (0: any); first to go when memory ends."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory:
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        limit = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    _attempt(_go_first)


def _go_first() -> None:
    with open("/proc/self/oom_score_adj", "w") as score:  # noqa: PTH123 - pathlib is slow
        score.write("500")


def _wait(child: int, control: int, wake: int) -> int | None:
    """Return the exit status (negative: minus the signal) once the command ends; ``None``: told to end it."""
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(wake, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        told = _drain(wake)
        status = _reap(child)[0]
        if status is not None:
            return status
        if control in ready or told.intersection(_ENDING):
            return None


def _reap(child: int) -> tuple[int | None, bool]:
    """Collect the children that have ended; return the status of ``child`` if it is one, and whether any is left."""
    status = None
    while True:
        try:
            pid, code = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status, False
        if pid == 0:
            return status, True
        if pid == child:
            status = os.waitstatus_to_exitcode(code)


def _kill_all(child: int, wake: int) -> bool:
    """Kill every descendant and wait until none is left; return whether none is."""
    _attempt(os.killpg, child, signal.SIGKILL)  # all that can be done where there is no /proc
    end = time.monotonic() + _KILL_LIMIT_S
    poll = select.poll()
    poll.register(wake, select.POLLIN)
    while _reap(child)[1]:
        if time.monotonic() > end:
            return False
        stopped: set[int] = set()
        # A stopped process forks no more, so the set grows until it has them all.
        while (found := _descendants() - stopped) and time.monotonic() < end:
            _signal(found, signal.SIGSTOP)
            stopped |= found
        _signal(stopped, signal.SIGKILL)
        poll.poll(20)
        _drain(wake)
    return sys.platform == "linux"  # elsewhere orphans are not handed to us, and some may be left


def _signal(pids: set[int], number: int) -> None:
    for pid in pids:
        _attempt(os.kill, pid, number)


def _descendants() -> set[int]:
    """Return the pids of all processes below this one, by /proc; empty where there is none."""
    children: dict[int, list[int]] = {}
    try:
        names = os.listdir("/proc")  # noqa: PTH208
    except FileNotFoundError:
        return set()
    for name in names:
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                parent = file.read().rpartition(b")")[2].split()[1]  # the name before it may hold anything
        except (OSError, IndexError):  # it has just ended
            continue
        children.setdefault(int(parent), []).append(int(name))
    found: set[int] = set()
    todo = [os.getpid()]
    while todo:
        below = children.get(todo.pop(), [])
        found.update(below)
        todo += below
    return found


def _drain(wake: int) -> set[int]:
    """Empty the pipe; return the numbers of the signals that were in it."""
    numbers: set[int] = set()
    while True:
        try:
            numbers.update(os.read(wake, 4096))
        except BlockingIOError:
            return numbers


def _report(control: int, line: str) -> None:
    _attempt(os.write, control, line.encode())  # the caller may be gone


def _attempt(call: Callable[..., object], *arguments: object) -> None:
    """Do what may turn out to be too late or impossible here."""
    try:
        call(*arguments)
    except OSError:
        return


if __name__ == "__main__":
    main(sys.argv[1:])
