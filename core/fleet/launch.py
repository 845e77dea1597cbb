"""Starting a supervisor in the background, and what it reports to whoever started it.

The order goes in by a pipe as JSON, reports come back by another as JSON lines. The supervisor needs neither once it is
up: whoever started it may die.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import RefusedError, RollcageError, StoreError, UsageError
from ..text import clean
from .names import name_problem

HANDSHAKE = 30.0
"""Seconds within which a supervisor must be up."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a supervisor is to do."""

    agent: str
    argv: tuple[str, ...]
    cwd: str
    root: str
    """Of the repository's state: `RepositoryPaths.root`."""
    stage: str = ""
    competition: str = ""
    timeout: float | None = None
    """Seconds that the agent may run, pauses not counted."""
    stdin: int | None = None
    """The inherited descriptor that the agent reads; ``None``: it reads nothing."""

    def to_json(self) -> bytes:
        """Return the order as the supervisor reads it."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Order:
        """Read what `to_json` wrote."""
        fields = json.loads(text)
        return cls(**{**fields, "argv": tuple(fields["argv"])})


Report = dict[str, object]


class Link:
    """The reading end of a supervisor's reports: see `rollcage.core.fleet.supervision.Reporter`."""

    def __init__(self, descriptor: int) -> None:
        """Take the pipe."""
        self._descriptor = descriptor
        self._rest = b""
        self._came: deque[Report] = deque()
        self.ended = False
        """The supervisor is gone, and all its reports are read."""

    def read(self, timeout: float) -> Report | None:
        """Return the next report; ``None`` where none came within ``timeout`` seconds, or none will come."""
        if not self._came and not self.ended and select.select([self._descriptor], [], [], timeout)[0]:
            data = os.read(self._descriptor, 65_536)
            self.ended = not data
            *lines, self._rest = (self._rest + data).split(b"\n")
            self._came.extend(_report(line) for line in lines if line)
        return self._came.popleft() if self._came else None

    def close(self) -> None:
        """Leave; the supervisor goes on."""
        os.close(self._descriptor)
        self.ended = True


def _report(line: bytes) -> Report:
    try:
        report = json.loads(line)
    except ValueError:
        report = None
    return report if isinstance(report, dict) else {"said": clean(line.decode(errors="replace"))}


def order(
    root: Path, agent: str, argv: Sequence[str], cwd: Path, *, stage: str, competition: str, timeout: float | None
) -> Order:
    """Return an order that makes sense. Raises UsageError."""
    if problem := name_problem(agent):
        raise UsageError(problem)
    if not argv or not argv[0]:
        raise UsageError(f"agent {agent} has no command: give one behind --, or `run:` in rollcage.yml")
    if any("\0" in word for word in argv):
        raise UsageError(f"the command of agent {agent} has a NUL character in it")
    return Order(agent, tuple(argv), str(cwd.absolute()), str(root), stage, competition, timeout)


def launch(what: Order, environment: Mapping[str, str] | None = None) -> tuple[Report, Link]:
    """Start a detached supervisor; return its ``registered`` report once it is up, and the link for what follows.

    Raises RefusedError ``already_running`` where the agent has a living supervisor, and StoreError where none came up.
    """
    reading, writing = os.pipe()
    try:
        # -P and a neutral folder: nothing in the repository that agents write is imported by their supervisor.
        starter = subprocess.Popen(
            [sys.executable, "-P", "-m", "rollcage.core.fleet.supervisor"],
            stdin=subprocess.PIPE,
            stdout=writing,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=environment,
            start_new_session=True,
            pass_fds=() if what.stdin is None else (what.stdin,),
        )
    finally:
        os.close(writing)
    link = Link(reading)
    try:
        # It forks and ends at once, so that its child belongs to nobody.
        _, _ = starter.communicate(what.to_json(), timeout=HANDSHAKE)
        return _await_registration(what.agent, link), link
    except (OSError, subprocess.TimeoutExpired, RollcageError) as error:
        link.close()
        starter.kill()
        starter.wait()
        if isinstance(error, RollcageError):
            raise
        raise StoreError(f"the supervisor of agent {what.agent} cannot be started: {error}") from error


def _await_registration(agent: str, link: Link) -> Report:
    deadline = time.monotonic() + HANDSHAKE
    said = "it gave no answer"
    while not link.ended and (left := deadline - time.monotonic()) > 0:
        report = link.read(left) or {}
        if "registered" in report:
            return report
        if "refused" in report:
            raise RefusedError("already_running", str(report["refused"]))
        said = str(report.get("failed", report.get("said", said)))
    raise StoreError(f"the supervisor of agent {agent} did not come up: {said}")
