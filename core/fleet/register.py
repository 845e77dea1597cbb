"""What a supervisor tells the inbox: its run, its heartbeat, each change of state. Late rather than never."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

from ..clock import Clock, iso
from ..errors import StoreError
from ..model import AgentState, Hold, SignalKind
from ..store import inbox
from ..store.database import connect
from . import runs
from .lifecycle import way_to_starting
from .runs import Run

HEARTBEAT = 1.0
"""Seconds between heartbeats."""
BUSY_TIMEOUT = 0.25
"""Seconds to wait for the inbox at a time: meanwhile the supervisor does not look after its agent."""


class Register:
    """Keeps what could not be written yet (the inbox locked, the disk full, the folder gone), and tries again."""

    def __init__(self, inbox_path: Path, run: Run, clock: Clock) -> None:
        """Take the run as it begins; nothing is written before `flush`."""
        self.run = run
        self._path, self._clock = inbox_path, clock
        self._next_beat = 0.0
        self._connection: sqlite3.Connection | None = None
        self._waiting: list[inbox.Row] = []
        self.problem = ""
        """Why the last attempt failed, in one line; empty: all is written."""

    def take_over(self) -> None:
        """Begin in the state in which the agent's run before this one ended, or was lost."""
        try:
            before = runs.read_latest(self._open(), self.run.agent)
        except StoreError as error:
            self.problem = str(error)
            self._close()
            return
        if before:
            self.run = replace(self.run, state=before[0].state, since=before[0].since)
            if before[0].state in {AgentState.STARTING, AgentState.RUNNING}:
                self.become(AgentState.ERROR, "its supervisor was lost")

    def become(self, state: AgentState, trigger: str, *, child_pid: int | None = None) -> None:
        """Note that the agent is now in ``state``, and why."""
        now = self._clock.now()
        attrs = {"from": self.run.state, "trigger": trigger, "run": self.run.id, "pid": child_pid or self.run.child_pid}
        self._waiting.append(
            (iso(now), self.run.agent, SignalKind.STATE, state, None, trigger, None, json.dumps(attrs))
        )
        born = None if child_pid is None else runs.process_started(child_pid)
        self.run = replace(self.run, state=state, since=now, child_pid=child_pid, child_started=born)

    def hold(self, hold: Hold) -> None:
        """Note that something holds the running agent, or no longer does: its silence means nothing meanwhile."""
        attrs = {"from": self.run.state, "hold": hold, "run": self.run.id, "pid": self.run.child_pid}
        row = (iso(self._clock.now()), self.run.agent, SignalKind.STATE, self.run.state, None, hold, None)
        self._waiting.append((*row, json.dumps(attrs)))

    def start_again(self, trigger: str) -> None:
        """Note that the agent is starting, by the states that lead there."""
        for state in way_to_starting(self.run.state):
            self.become(state, trigger)

    def finish(self, exit_code: int) -> None:
        """Note how the run ended."""
        self.run = replace(self.run, exit_code=exit_code)

    def beat(self) -> None:
        """`flush` where something waits or a heartbeat is due; after a failure not before the next one is."""
        if self._clock.boot() >= self._next_beat or (self._waiting and not self.problem):
            self.flush()

    def flush(self) -> bool:
        """Write the heartbeat and all that waits; return whether that was possible."""
        self.run = replace(self.run, seen=self._clock.now())
        self._next_beat = self._clock.boot() + HEARTBEAT
        try:
            connection = self._open()
            if self._waiting:
                inbox.put(connection, self._waiting)
                self._waiting.clear()
            runs.register(connection, self.run)
        except StoreError as error:
            self.problem = str(error)
            self._close()
            return False
        self.problem = ""
        return True

    def forget_old(self) -> None:
        """Delete the oldest runs of this agent; that can wait for another time."""
        try:
            runs.forget_old(self._open(), self.run.agent)
        except StoreError:
            self._close()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = connect(
                str(self._path), inbox.MIGRATIONS, synchronous="NORMAL", busy_timeout=BUSY_TIMEOUT
            )
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
