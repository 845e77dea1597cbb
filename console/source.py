"""Where the board comes from, and the letter box that keeps a flood of boards from piling up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from ..core.board import Board


class BoardSource(Protocol):
    """Reads the board in a thread of its own, started and ended by somebody else."""

    def current(self) -> Board:
        """Return the newest board at once."""
        ...

    def subscribe(self, callback: Callable[[Board], None]) -> None:
        """Have ``callback`` called with each new board, in the source's thread; it returns at once."""
        ...


class Latest:
    """Holds the newest board only. However long a stalled line keeps the screen, nothing piles up behind it."""

    def __init__(self, wake: Callable[[], object]) -> None:
        """Take what to call, in the giver's thread, when there is a board to take and none was waiting."""
        self._wake = wake
        self._lock = threading.Lock()
        self._board: Board | None = None

    def put(self, board: Board) -> None:
        """Leave a board; one that was not taken yet is replaced."""
        with self._lock:
            waiting, self._board = self._board is not None, board
        if not waiting:
            self._wake()

    def take(self) -> Board | None:
        """Return the newest board that was not taken yet, if any."""
        with self._lock:
            board, self._board = self._board, None
        return board
