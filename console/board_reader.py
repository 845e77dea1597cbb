"""Keeps the newest board of a repository, read from its state in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from ..core.board import Board, EngineView
from ..core.coordination.leader import Leader
from ..core.errors import RollcageError
from ..core.picture import read_board
from ..core.text import clean
from .context import Context

READ_EVERY_S = 0.25
"""How often the hint is asked whether anything was written; the board is read only then."""
READ_AT_LEAST_EVERY_S = 5.0
"""A board is read so often even where nothing was written: an engine may have died, a branch moved."""


class BoardReader:
    """A `BoardSource` over the state; the same whether the engine runs in this process or elsewhere."""

    def __init__(self, context: Context, leader: Leader, level: str) -> None:
        """Take the leader of this process, which tells who leads, and the level that its engine would run at."""
        self._context, self._leader, self._level = context, leader, level
        self._subscribers: list[Callable[[Board], None]] = []
        self._leave = threading.Event()
        self._warning = ""
        self._board = self._read()
        self._thread = threading.Thread(target=self._watch, name="rollcage-board", daemon=True)

    def current(self) -> Board:
        """Return the newest board."""
        return self._board

    def subscribe(self, callback: Callable[[Board], None]) -> None:
        """Have ``callback`` called with each board that differs from the one before."""
        self._subscribers.append(callback)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching, and wait for the thread."""
        self._leave.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        clock = self._context.clock
        read_at = clock.boot()
        while not clock.wait(self._leave, READ_EVERY_S):
            if not self._context.store.changed() and clock.boot() - read_at < READ_AT_LEAST_EVERY_S:
                continue
            read_at = clock.boot()
            try:
                board = self._read()
            except RollcageError as problem:  # shown once; the last board stays on the screen
                if self._warning == str(problem):
                    continue
                self._warning = str(problem)
                board = self._with_warning()
            if board != self._board:
                self._board = board
                for subscriber in self._subscribers:
                    subscriber(board)

    def _with_warning(self) -> Board:
        return replace(self._board, warnings=(*self._board.warnings, clean(self._warning)))

    def _read(self) -> Board:
        context = self._context
        holder = self._leader.holder()
        state = "here" if self._leader.leading else "elsewhere" if holder else "none"
        top = context.repository.top
        return read_board(
            context.view,
            context.leases,
            name=clean(top.name, limit=60),
            path=clean(str(top), limit=300),
            head=context.repository.tip(context.settings.branch) or "",
            engine=EngineView(state=state, holder=holder or "", level=self._level),
        )
