"""The processes that ``tests.bench.console`` starts: ``empty``, ``console``, ``still`` and ``ageing``."""

from __future__ import annotations

import os
import sys


def main(kind: str) -> None:
    """Run an empty Textual app or the console until its first paint, or a console until it is ended."""
    if kind == "empty":
        _empty()
    else:
        _console(stay=kind != "console", still=kind == "still")


def _empty() -> None:
    from textual.app import App

    class Empty(App[None]):
        def on_ready(self) -> None:
            self.call_after_refresh(self.exit)

    Empty().run()


def _console(*, stay: bool, still: bool) -> None:
    from collections.abc import Callable
    from dataclasses import replace
    from datetime import datetime, timedelta

    from rollcage.console import app as console
    from rollcage.core.board import Board
    from rollcage.core.clock import SystemClock
    from rollcage.core.config import ConsoleSettings
    from tests.boards import NOW, waiting

    class Later(SystemClock):
        """A clock that runs, from a day after the board: its ages are shown in hours then and stand still."""

        ahead = NOW + timedelta(hours=26 if still else 0, seconds=1) - SystemClock().now()

        def now(self) -> datetime:
            return super().now() + self.ahead

    class Source:
        board = waiting()
        board = replace(board, leases=tuple(replace(lease, expires_in_s=36_000.0) for lease in board.leases))

        def current(self) -> Board:
            return self.board

        def subscribe(self, callback: Callable[[Board], None]) -> None:
            pass

    class Nobody:
        """Nothing is decided here."""

        def __getattr__(self, name: str) -> Callable[..., str]:
            raise NotImplementedError(name)

    class Once(console.RollcageApp):
        def on_ready(self) -> None:
            if not stay:
                self.call_after_refresh(self.exit)

    console.RollcageApp = Once  # type: ignore[misc]
    console.run_app(Source(), Nobody(), settings=ConsoleSettings(), clock=Later(), environment=os.environ)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(sys.argv[1])
