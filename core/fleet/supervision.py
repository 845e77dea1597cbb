"""One agent under supervision, from its registration to its exit code; `rollcage.core.fleet.supervisor` is the process.

The supervisor runs the agent's command in a session of its own, reaps what that leaves behind, keeps its output in
bounded files, and registers it. It needs no engine: engines come and go. When the agent ends while it is held as
*stopped*, the supervisor waits, and starts the command again once the hold is released; else it ends, too, and what is
left of the tree with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from ..clock import Clock, iso
from ..errors import ExitCode
from ..model import AgentState, Hold
from ..store.paths import RepositoryPaths
from . import control, runs
from .holds import Held, HoldReader
from .launch import Order
from .output import OutputLog, OutputPump
from .register import Register
from .runs import Run
from .wakeup import Wakeup

LOOK = 1.0
"""Seconds between looks at the hold while the agent runs."""
WATCH = 0.1
"""Seconds between looks at the hold while it keeps the agent from running."""
GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""
PATIENCE = 10.0
"""Seconds to wait for a database that is there but cannot be read or written, before going on without."""
TIMED_OUT = 124
"""The exit code of an agent that ran too long, as with timeout(1)."""


class Reporter:
    """Tells whoever started the supervisor, as JSON lines, as long as somebody listens.

    ``registered`` (the run, and the number of its output's file), ``waiting`` (which hold keeps the agent, and why),
    ``started`` (the agent's pid), ``problem`` (a line for people), ``exit`` (the exit code). Before the first of
    these ``refused`` (the agent has a living supervisor) or ``failed``.
    """

    def __init__(self, descriptor: int) -> None:
        """Take the pipe; nobody is waited for."""
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)

    def tell(self, **report: object) -> None:
        """Report once."""
        with contextlib.suppress(OSError):  # nobody listens any more, or does not read: the agent matters more
            os.write(self._descriptor, json.dumps(report).encode() + b"\n")


class Supervisor:
    """One run of one agent, from registration to exit code."""

    def __init__(self, order: Order, wakeup: Wakeup, reporter: Reporter, clock: Clock) -> None:
        """Take what to do, the entered signals, and whom to tell. The agent's name must be locked already."""
        self._order, self._wakeup, self._reporter, self._clock = order, wakeup, reporter, clock
        self._paths = RepositoryPaths(Path(order.root))
        self._folder = self._paths.agents / order.agent
        self._log = OutputLog(self._folder / "output.log")
        self._holds = HoldReader(self._paths.state_db, order.agent)
        self._child: int | None = None
        self._status = 0
        self._asked_to_end = False
        self._generation = 0
        self._register = Register(self._paths.inbox_db, _new_run(order, self._folder / "output.log", clock), clock)

    @property
    def run_id(self) -> str:
        """The id of this run."""
        return self._register.run.id

    def run(self, lost_run: str = "") -> int:
        """Supervise until the end and return the agent's exit code.

        What is left of ``lost_run``, whose supervisor was killed, is ended first.
        """
        if lost_run:
            control.stop_processes(lambda: runs.strays(lost_run), GRACE)
        self._register.take_over()
        if self._register.flush():
            self._register.forget_old()
        self._reporter.tell(registered=runs.to_row(self._register.run), inode=self._log.inode())
        code = 128 + signal.SIGTERM
        while self._wait_for_release():
            code = self._run_once()
            if not self._may_start_again():
                break
        self._register.finish(code)
        self._settle()
        self._reporter.tell(exit=code)
        return code

    # Before

    def _wait_for_release(self) -> bool:
        """Wait until nothing holds the agent back; return false when asked to end instead."""
        told: Hold | None = None
        while not self._asked_to_end:
            held = self._read_hold()
            if held.hold is Hold.NONE:
                self._generation = held.generation
                return True
            if held.hold is not told:
                self._reporter.tell(waiting=held.hold, reason=held.reason)
                told = held.hold
            self._pulse(WATCH)
        return False

    def _read_hold(self) -> Held:
        deadline = self._clock.boot() + PATIENCE
        while (held := self._holds.read()) is None:
            if self._asked_to_end or self._clock.boot() >= deadline:
                self._note("state.db cannot be read; going on as if nothing held the agent")
                return Held(generation=self._generation)
            self._pulse(WATCH)
        return held

    # Meanwhile

    def _run_once(self) -> int:
        """Start the command and wait for its end; return its exit code."""
        self._register.start_again("started again" if self._status else "started")
        try:
            pump = self._start()
        except OSError as error:
            why = f"cannot start {self._order.argv[0]}: {error.strerror or error}"
            if error.filename == self._order.cwd:
                why = f"cannot start in {self._order.cwd}: {error.strerror}"
            self._register.become(AgentState.ERROR, why)
            self._reporter.tell(problem=why)
            self._status = ExitCode.NOT_STARTED
            return self._status
        self._register.become(AgentState.RUNNING, "started", child_pid=self._child)
        self._register.beat()
        self._reporter.tell(started=self._child)
        timed_out = self._watch()
        # Nothing of an agent outlives its supervision: it would be seen, paused and stopped by nobody.
        control.stop_processes(self._tree, GRACE)
        self._reap()
        pump.join(timeout=PATIENCE)
        return self._ended(timed_out)

    def _start(self) -> OutputPump:
        environment = dict(os.environ)
        environment.pop("ROLLCAGE_COMPETITION", None)
        environment |= {
            "ROLLCAGE_AGENT": self._order.agent,
            "ROLLCAGE_INBOX": str(self._paths.inbox_db),
            "ROLLCAGE_MAILBOX": str(self._folder / "mailbox.jsonl"),
            "ROLLCAGE_RUN": self._register.run.id,
        }
        if self._order.competition:
            environment["ROLLCAGE_COMPETITION"] = self._order.competition
        # PostgreSQL knows by it whose writes these are, where rows are recorded (rollcage.core.data.capture_postgres).
        environment.setdefault("PGAPPNAME", f"rollcage:{self._order.agent}")
        reading, writing = os.pipe()
        pump = OutputPump(reading, self._log)
        pump.start()
        try:
            child = subprocess.Popen(
                self._order.argv,
                stdin=subprocess.DEVNULL if self._order.stdin is None else self._order.stdin,
                stdout=writing,
                stderr=writing,
                cwd=self._order.cwd,
                env=environment,
                start_new_session=True,
            )
        finally:
            os.close(writing)  # the pump ends with the last copy of it
        # All children are reaped in one place, `_reap`; Popen must not wait for this one.
        child.returncode = 0
        self._child = child.pid
        return pump

    def _watch(self) -> bool:
        """Look after the running command until it ends; return whether that was for lack of time."""
        self._obey_late_hold()
        ran, last, timed_out = 0.0, self._clock.boot(), False
        told, told_at = Hold.NONE, last
        while self._is_running():
            self._pulse(LOOK)
            held = self._holds.read()
            now = self._clock.boot()
            if held is None or held.hold is Hold.NONE:
                ran += now - last
            last = now
            # A release seen while the child lives is an old one. A stop sets the hold, ends the child and releases,
            # in this order: then the child's end is seen here, and the release is the one to start it again by.
            self._reap()
            if not self._is_running():
                break
            if held is not None and held.hold is not told:
                self._register.hold(held.hold)
                told, told_at = held.hold, now
            if held is not None and held.hold is Hold.NONE:
                self._generation = held.generation
            timed_out = self._order.timeout is not None and ran >= self._order.timeout
            # Whoever holds an agent as stopped ends it, too, unless it died in between.
            overdue = told is Hold.STOPPED and now - told_at >= GRACE
            if timed_out or overdue or self._asked_to_end:
                control.stop_processes(self._tree, GRACE)
                self._reap()
        return timed_out

    def _obey_late_hold(self) -> None:
        """Obey a hold that was set just before the start: whoever set it may have found no process to stop or halt."""
        held = self._holds.read()
        if held is None or held.hold is Hold.NONE:
            return
        if held.hold is Hold.STOPPED:
            control.stop_processes(self._tree, GRACE)
            return
        control.pause_tree(self._register.run)
        again = self._holds.read()
        if again is not None and again.hold is Hold.NONE:  # released meanwhile, perhaps before it was halted
            control.resume_tree(self._register.run)

    def _ended(self, timed_out: bool) -> int:
        code = 128 - self._status if self._status < 0 else self._status
        if timed_out:
            self._register.become(AgentState.TIMEOUT, f"ran longer than {self._order.timeout:g} s")
            return TIMED_OUT
        held = self._holds.read()
        stopped = held is not None and held.stopped
        if stopped or self._asked_to_end:
            trigger = "stopped" if stopped else "terminated"
        elif self._status < 0:
            trigger = f"signal {-self._status}"
        else:
            trigger = f"exit {self._status}"
        failed = code or stopped or self._asked_to_end
        self._register.become(AgentState.ERROR if failed else AgentState.COMPLETED, trigger)
        return code

    # After

    def _may_start_again(self) -> bool:
        """Return whether the agent was stopped, and is to be started once it is released."""
        if self._asked_to_end:
            return False
        held = self._read_hold()
        return held.stopped or held.generation > self._generation

    def _settle(self) -> None:
        """Get the end of the run written; give up after a while, and say so."""
        deadline = self._clock.boot() + PATIENCE
        while not self._register.flush():
            if self._clock.boot() >= deadline:
                self._note(f"the end of run {self._register.run.id} was not recorded: {self._register.problem}")
                return
            self._wakeup.wait(WATCH)

    # All the time

    def _pulse(self, timeout: float) -> None:
        """Wait for a signal at most ``timeout`` seconds, act on it, reap, and give a sign of life."""
        for number in self._wakeup.wait(timeout):
            if number is signal.SIGTERM:
                self._asked_to_end = True
            elif number is signal.SIGINT and self._child is not None:
                os.killpg(self._child, signal.SIGINT)  # as the terminal does; not reaped, so the id is still its own
        self._reap()
        self._register.beat()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._child:
                self._child, self._status = None, os.waitstatus_to_exitcode(status)

    def _is_running(self) -> bool:
        return self._child is not None

    def _tree(self) -> list[psutil.Process]:
        return psutil.Process().children(recursive=True)

    def _note(self, line: str) -> None:
        print(f"{iso(self._clock.now())} {line}", file=sys.stderr, flush=True)  # noqa: T201 - into supervisor.log


def _new_run(order: Order, output: Path, clock: Clock) -> Run:
    now, pid = clock.now(), os.getpid()
    return Run(
        id=f"{order.agent}-{now:%Y%m%dT%H%M%S}-{pid}",
        agent=order.agent,
        argv=order.argv,
        cwd=order.cwd,
        supervisor_pid=pid,
        supervisor_started=runs.process_started(pid) or 0.0,
        boot_id=clock.boot_id(),
        child_pid=None,
        state=AgentState.IDLE,
        since=now,
        output=str(output),
        competition=order.competition,
        stage=order.stage,
    )
