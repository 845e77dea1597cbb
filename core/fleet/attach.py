"""``rollcage run``: an agent under a detached supervisor, with this terminal as its onlooker."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from ..errors import ExitCode
from ..model import Hold
from ..text import clean
from .launch import Link, launch, order
from .output import OutputReader
from .runs import Run, is_alive
from .start import registered_run

if TYPE_CHECKING:
    from ..config import AgentSettings
    from ..store.paths import RepositoryPaths

LOOK = 0.05
"""Seconds between looks for new output."""


class _LeftError(BaseException):
    """The terminal is gone: leave, and leave the agent alone."""


def run_attached(
    paths: RepositoryPaths,
    name: str,
    settings: AgentSettings,
    argv: Sequence[str],
    cwd: Path,
    *,
    stage: str = "",
    competition: str = "",
    timeout: float | None = None,
) -> int:
    """Run ``argv`` as agent ``name`` in ``cwd`` under a detached supervisor; return its exit code.

    The agent's output goes to standard output as it is, standard input (unless a terminal) to the agent. Ctrl-C
    reaches the agent, a second one and SIGTERM end it; when the terminal goes away (SIGHUP) the agent stays. ``stage``
    and ``competition`` come before those of the settings; ``timeout`` is how many seconds it may run (then 124).

    Returns 125 where the command cannot be started, 128 + N where signal N ended it, 1 where its supervisor died.
    Raises UsageError, RefusedError ``already_running``, StoreError. Only for the main thread.
    """
    what = order(
        paths.root,
        name,
        argv,
        cwd,
        stage=stage or settings.stage,
        competition=competition or settings.competition,
        timeout=timeout,
    )
    with _Forwarding() as forwarding:
        stdin = _own_stdin()
        try:
            report, link = launch(replace(what, stdin=stdin))
        finally:
            if stdin is not None:
                os.close(stdin)
        run = registered_run(report)
        reader = OutputReader(Path(run.output), inode=int(str(report.get("inode", 0))))
        try:
            forwarding.to(run)
            return _look_on(run, link, reader)
        except _LeftError:
            return 128 + signal.SIGHUP
        finally:
            link.close()
            reader.close()


def _own_stdin() -> int | None:
    """Return a copy of standard input for the agent; ``None`` for a terminal, which a detached agent cannot read."""
    try:
        return None if os.isatty(0) else os.dup(0)
    except OSError:
        return None


def _look_on(run: Run, link: Link, reader: OutputReader) -> int:
    out = _Out()
    while True:
        report = link.read(LOOK) or {}
        out.copy(reader)  # after the report: what was written before the end is copied
        if "waiting" in report:
            _tell_waiting(run.agent, str(report["waiting"]), clean(str(report.get("reason", ""))))
        elif "problem" in report:
            _tell(f"agent {run.agent}: {clean(str(report['problem']))}")
        elif "exit" in report:
            return int(str(report["exit"]))
        elif link.ended:
            _tell(f"the supervisor of agent {run.agent} died; its exit code is not known")
            return ExitCode.ERROR


class _Out:
    """Standard output, until nobody reads it any more."""

    def __init__(self) -> None:
        self._descriptor: int | None = sys.stdout.fileno()
        sys.stdout.flush()

    def copy(self, reader: OutputReader) -> None:
        """Write all output that is there."""
        while data := reader.read():
            rest = memoryview(data)
            while rest and self._descriptor is not None:
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except BrokenPipeError:
                    self._descriptor = None


class _Forwarding:
    """Hands signals on to the supervisor from within the handlers: they work while a stalled terminal blocks us."""

    def __init__(self) -> None:
        self._run: Run | None = None
        self._came: list[int] = []
        self._interrupted = False

    def __enter__(self) -> _Forwarding:
        handled = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        self._before = [(number, signal.signal(number, self._handle)) for number in handled]
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)

    def to(self, run: Run) -> None:
        """Hand signals on to the supervisor of ``run`` from now on, and those that came before."""
        self._run = run
        for number in self._came:
            self._handle(number)

    def _handle(self, number: int, frame: FrameType | None = None) -> None:
        if self._run is None:
            self._came.append(number)
        elif number == signal.SIGHUP:
            raise _LeftError
        elif is_alive(self._run):
            ends = number == signal.SIGTERM or self._interrupted
            self._interrupted = True
            with suppress(ProcessLookupError):
                os.kill(self._run.supervisor_pid, signal.SIGTERM if ends else signal.SIGINT)


def _tell_waiting(agent: str, hold: str, reason: str) -> None:
    why = f" ({reason})" if reason else ""
    way = f"; rollcage resume {agent} starts it" if hold in {Hold.PAUSED, Hold.STOPPED} else ""
    _tell(f"agent {agent} is {hold}{why}, so it waits{way}")


def _tell(line: str) -> None:
    print(f"rollcage: {line}", file=sys.stderr, flush=True)  # noqa: T201 - for the caller's own terminal
