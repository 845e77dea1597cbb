"""Runs the console on an example board, for tests in a real pseudo-terminal: ``python -m tests.console.pty_console``.

It imports little, because every test pays for it. It leaves a trace in the file named by TRACE: a line for each thing
that the tests wait for.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

from rollcage.console.app import run_app
from rollcage.core.board import Board
from rollcage.core.clock import SystemClock
from tests import boards


def trace(text: str) -> None:
    """Write a line that a test can wait for."""
    with Path(os.environ["TRACE"]).open("a", encoding="utf-8") as file:
        file.write(text + "\n")


class Source:
    """Gives one board, or a flood of boards that all differ."""

    def __init__(self, board: Board, *, flood: bool) -> None:
        self._board, self._flood = board, flood

    def current(self) -> Board:
        return self._board

    def subscribe(self, callback: Callable[[Board], None]) -> None:
        trace("subscribed")
        if self._flood:
            threading.Thread(target=self._pour, args=(callback,), daemon=True).start()

    def _pour(self, callback: Callable[[Board], None]) -> None:
        number = 0
        while True:
            number += 1
            agents = tuple(replace(agent, memory=1e9 + number % 70 * 1e8, seen=None) for agent in self._board.agents)
            needs = number % 2 if os.environ.get("NEWS") else self._board.needs_you
            callback(replace(self._board, agents=agents, needs_you=needs))
            threading.Event().wait(0.005)


class StillClock(SystemClock):
    """A clock that stands: what is not on the board does not change either."""

    def now(self) -> datetime:
        return boards.NOW


class Operator:
    """Traces what it is asked."""

    def __getattr__(self, name: str) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            trace(" ".join([name, *map(str, arguments)]))
            return "targets: []\n" if name == "plan_yaml" else []

        return call


def leave() -> None:
    """Pretend to carry a rollback on for a moment: long enough to see that the screen is closed before it."""
    trace(f"leaving {threading.current_thread().name}")
    threading.Event().wait(float(os.environ.get("LEAVE_S", "0")))
    trace("left")


def main() -> int:
    """Run the console for the situation named in the first argument."""
    if os.environ.get("IGNORE_HANGUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    evil = "\x1b[31mEVIL\x1b[0m \x1b]52;c;RVZJTA==\x07 \x9b31m [/] [@click=app.quit]x[/]"
    board = boards.hostile(evil) if sys.argv[1] == "hostile" else boards.SITUATIONS[sys.argv[1]]()
    code = run_app(
        Source(board, flood=bool(os.environ.get("FLOOD"))),
        Operator(),  # type: ignore[arg-type]
        settings=SimpleNamespace(theme=None, mouse=None, keymap={}, quiet_hours=None),  # type: ignore[arg-type]
        clock=StillClock(),
        environment=os.environ,
        operator_name="you@host",
        on_leave=leave,
        plain="--plain" in sys.argv,
    )
    trace(f"returned {code}")
    return code


if __name__ == "__main__":
    sys.exit(main())
