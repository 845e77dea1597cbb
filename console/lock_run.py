"""``rollcage lock run``: a command that has a lock for as long as it runs, and is stopped when that is lost.

Three processes, of which no one's death leaves the command believing that it holds the lock:

==================  ==================================================================================================
who dies            what comes of it
==================  ==================================================================================================
the command         the lock is given back, and this process ends with the command's exit code
this process        the command is killed by the kernel (Linux: PR_SET_PDEATHSIG) and the keeper stops what is left of
                    its process group, before it gives the lock back
the keeper          the lock is free; this process stops the group
==================  ==================================================================================================

Where the keeper does not answer (it is stopped, or hangs as the keeper of the leases does) this process stops the
group so early that it is over before the lease is. What left the process group (a daemon) is not reached.
"""

from __future__ import annotations

import errno
import math
import os
import select
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NoReturn

from ..core.clock import SystemClock
from ..core.errors import ExitCode, LeaseError, RollcageError
from ..core.fleet.wakeup import Wakeup
from .lock_keeper import Line, flush
from .lock_processes import grace, stop_group

_PASSED_ON = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
_boot = SystemClock().boot
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class NotStartedError(RollcageError):
    """The command could not be started."""

    exit_code = ExitCode.NOT_STARTED


def run_command(
    argv: Sequence[str],
    environment: Mapping[str, str],
    name: str,
    ttl: float,
    until: float,
    line: Line,
    say: Callable[[str], None],
) -> int:
    """Run ``argv`` while the keeper behind ``line`` has the lock ``name``; return its exit code, 128 + N for signal N.

    ``ttl`` is what each renewal gives, seconds; ``until`` when the lease runs out, on the boot clock. Where the lock
    was lost the code is never 0, and ``say`` is told why. Raises NotStartedError.
    """
    numbers = [signal.Signals[word] for word in _PASSED_ON]
    caught = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]  # nohup stays nohup
    with Wakeup([*caught, signal.SIGCHLD]) as wakeup:
        child, failure = _start(argv, environment, line)
        return _Watch(child, name, grace(ttl), until, line, say, wakeup).follow(failure, argv[0])


class _Watch:
    """The command, from its start to its end."""

    def __init__(
        self, child: int, name: str, grace: float, until: float, line: Line, say: Callable[[str], None], wakeup: Wakeup
    ) -> None:
        self._child, self._name, self._grace, self._until = child, name, grace, until
        self._line, self._say, self._wakeup = line, say, wakeup
        self._terminal = _Terminal(child)
        self._lost = False
        self._kill_at = math.inf

    def follow(self, failure: int, program: str) -> int:
        """Wait for its end, passing signals on; return its exit code. Raises NotStartedError."""
        failed: list[int] = []
        status = self._wait(failure, failed)
        self._terminal.take_back()
        if self._kill_at < math.inf:  # it had to be stopped from here: what is left of its group, too
            stop_group(self._child, max(0.0, self._kill_at - _boot()))
        self._give_back()
        if failed:
            raise NotStartedError(f"{program!r} could not be started: {os.strerror(failed[0])}")
        code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        return code or (ExitCode.ERROR if self._lost else ExitCode.DONE)

    def _wait(self, failure: int, failed: list[int]) -> int:
        poll = select.poll()
        for descriptor in (self._wakeup.descriptor, self._line.descriptor, failure):
            poll.register(descriptor, select.POLLIN)
        while True:
            # Where this process was stopped, the signal that comes first hides what was said meanwhile: look again.
            for descriptor, _ in poll.poll(self._pause()) or poll.poll(0):
                if descriptor == failure:
                    poll.unregister(failure)
                    failed += [int(number) for number in os.read(failure, 32).split()]
                elif descriptor == self._line.descriptor:
                    self._line.listen()
                    if self._line.ended:
                        poll.unregister(descriptor)
            for message in self._line.heard():
                self._note(message)
            if self._line.ended:
                self._stop(f"lock {self._name!r} was lost: the process that kept it was ended")
            elif _boot() > self._until - self._grace:
                self._stop(f"lock {self._name!r} was not renewed in time: the process that keeps it does not answer")
            if _boot() > self._kill_at:
                self._signal(signal.SIGKILL)
            for number in self._wakeup.wait(0):
                if number is not signal.SIGCHLD:
                    self._signal(number)
            if (status := self._status()) is not None:
                return status

    def _pause(self) -> float:
        left = min(self._kill_at, _boot() + 1.0 if self._lost else self._until - self._grace) - _boot()
        return max(0.0, min(3600.0, left) + 0.05) * 1000

    def _note(self, message: Mapping[str, object]) -> None:
        if isinstance(until := message.get("until"), float):
            self._until = until
        elif "lost" in message and not self._lost:
            self._lost = True  # the keeper stops the group
            self._say(f"lock {self._name!r} was lost, its command is stopped: {message['lost']}")

    def _stop(self, why: str) -> None:
        if not self._lost:
            self._lost = True
            self._say(f"{why}; its command is stopped")
            self._kill_at = _boot() + self._grace
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._child, number)

    def _status(self) -> int | None:
        pid, status = os.waitpid(self._child, os.WNOHANG | os.WUNTRACED)
        if pid and os.WIFSTOPPED(status):
            self._terminal.stop_with()
            return None
        return status if pid else None

    def _give_back(self) -> None:
        """Let the keeper give the lock back, and hear that it did; not for longer than the lock lasts."""
        self._line.tell("done")
        while True:
            for message in self._line.heard():
                if "released" in message:
                    return
                self._note(message)
            left = max(0.0, self._until - _boot())
            if self._lost or self._line.ended or not select.select([self._line.descriptor], [], [], left)[0]:
                break
            self._line.listen()
        if not self._lost:
            self._lost = True
            self._say(f"lock {self._name!r} was lost: the process that kept it was ended, or does not answer")


def _start(argv: Sequence[str], environment: Mapping[str, str], line: Line) -> tuple[int, int]:
    """Start the command in a process group of its own, once the keeper knows that group.

    Returns its pid, and a pipe that tells the error number where it cannot be executed.
    """
    gate_out, gate = os.pipe()
    failure, failing = os.pipe()
    parent = os.getpid()
    flush()
    child = os.fork()
    if child == 0:
        _become(argv, environment, parent, gate_out, failing)
    os.close(gate_out)
    os.close(failing)
    with suppress(PermissionError, ProcessLookupError):  # it did so itself already
        os.setpgid(child, child)
    line.tell(f"group {child}")
    while message := line.hear():
        if "ready" in message:
            with suppress(BrokenPipeError):
                os.write(gate, b"x")
            break
        if "lost" in message:
            break
    os.close(gate)  # without the word it ends
    if not message or "lost" in message:
        os.waitpid(child, 0)
        why = message.get("lost", "the process that kept it was ended")
        raise LeaseError(f"the lock was lost before the command was started: {why}")
    return child, failure


def _become(argv: Sequence[str], environment: Mapping[str, str], parent: int, gate: int, failing: int) -> NoReturn:
    try:
        os.setpgid(0, 0)
        _die_with(parent)
        for number in ("SIGPIPE", "SIGXFSZ"):  # Python ignores them, and what is ignored stays so
            signal.signal(signal.Signals[number], signal.SIG_DFL)
        with _ignoring_ttou():
            _Terminal.give(os.getpid(), os.getpgid(parent))
        if os.read(gate, 1):
            os.execvpe(argv[0], list(argv), dict(environment))  # noqa: S606 - no shell is wanted
    except OSError as error:
        os.write(failing, str(error.errno or errno.EINVAL).encode())
    except ValueError:
        os.write(failing, str(errno.EINVAL).encode())
    finally:
        os._exit(ExitCode.NOT_STARTED)


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(ExitCode.NOT_STARTED)


class _Terminal:
    """The terminal, which belongs to the command while it runs, as a shell does with its jobs.

    See "Implementing a Job Control Shell" in the manual of the GNU C Library.
    """

    def __init__(self, group: int) -> None:
        self._group = group
        self._own = os.getpgrp()

    @staticmethod
    def give(to: int, of: int) -> bool:
        """Give the controlling terminal to the process group ``to`` if ``of`` has it; return whether it did."""
        try:
            descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            if os.tcgetpgrp(descriptor) != of:
                return False
            os.tcsetpgrp(descriptor, to)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True

    def take_back(self) -> None:
        """Have it back from the command."""
        with _ignoring_ttou():
            self.give(self._own, self._group)

    def stop_with(self) -> None:
        """Stop as the command did (Ctrl-Z), where there is a terminal; and both go on together."""
        with _ignoring_ttou():
            if not self.give(self._own, self._group):
                return
            os.killpg(self._own, signal.SIGSTOP)
            self.give(self._group, self._own)
        with suppress(ProcessLookupError):
            os.killpg(self._group, signal.SIGCONT)


class _ignoring_ttou:  # noqa: N801 - used as a with statement only
    """Within, a process in the background may give the terminal away."""

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)

    def __exit__(self, *raised: object) -> None:
        signal.signal(signal.SIGTTOU, self._before)
