"""Keeps the newest board of a repository, read from its state in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from ..core.board import Board, EngineView
from ..core.coordination.leader import Leader
from ..core.errors import RollcageError, SettingsError
from ..core.picture import Picture
from ..core.text import clean
from ..core.trust import pinned_content, written_content
from .context import Context

READ_EVERY_S = 0.25
"""How often the hint is asked whether anything was written; the board is read only then."""
READ_AT_LEAST_EVERY_S = 5.0
"""A board is read so often even where nothing was written: an engine may have died, a branch moved."""
NOT_TRUSTED = "rollcage.yml was changed since it was trusted; what was trusted is in force: see rollcage trust"
LOOK_AT_BRANCH_EVERY_S = 1.0
"""Git is asked for the branch at most so often: it is a process each time."""


class BoardReader:
    """A `BoardSource` over the state; the same whether the engine runs in this process or elsewhere."""

    def __init__(self, context: Context, leader: Leader, level: str) -> None:
        """Read the first board. ``leader`` is this process's, ``level`` the one that its engine would run at.

        Raises RollcageError where the state, the settings or the repository cannot be read.
        """
        self._context, self._leader, self._level = context, leader, level
        self._picture = Picture(context.view, context.leases, context.clock)
        self._subscribers: list[Callable[[Board], None]] = []
        self._leave = threading.Event()
        self._head, self._head_at = "", float("-inf")
        self._warnings: tuple[str, ...] = ()
        self._warned_at = float("-inf")
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
        """Stop watching, and wait for the thread. May be called twice."""
        self._leave.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        clock = self._context.clock
        read_at = clock.boot()
        while not clock.wait(self._leave, READ_EVERY_S):
            try:
                if not self._context.store.changed() and clock.boot() - read_at < READ_AT_LEAST_EVERY_S:
                    continue
                read_at = clock.boot()
                board = self._read()
            except RollcageError as problem:  # the last board stays on the screen, and says that it is old
                board = self._outdated(str(problem))
            except Exception as defect:  # noqa: BLE001 - a console that shows old news without a word is worse
                board = self._outdated(f"a defect of rollcage: {defect!r}")
            if board != self._board:
                self._board = board
                for subscriber in tuple(self._subscribers):
                    subscriber(board)

    def _outdated(self, why: str) -> Board:
        warning = clean(f"this is not up to date: {why}")
        kept = tuple(each for each in self._board.warnings if not each.startswith("this is not up to date: "))
        return replace(self._board, warnings=(*kept, warning))

    def _read(self) -> Board:
        context = self._context
        holder = self._leader.holder()
        state = "here" if self._leader.leading else "elsewhere" if holder else "none"
        top = context.repository.top
        return self._picture.read(
            name=clean(top.name, limit=60),
            path=clean(str(top), limit=300),
            head=self._tip(),
            engine=EngineView(state=state, holder=holder or "", level=self._level),
            warnings=self._look_at_settings(),
        )

    def _look_at_settings(self) -> tuple[str, ...]:
        """Return that the file is another than the one in force, if it is; a file named by hand counts as it was."""
        context, now = self._context, self._context.clock.boot()
        if context.config is None and now - self._warned_at >= READ_AT_LEAST_EVERY_S:
            self._warned_at = now
            try:
                same = written_content(context.repository.top) == pinned_content(context.paths)
            except SettingsError:
                same = False
            self._warnings = () if same else (NOT_TRUSTED,)
        return self._warnings

    def _tip(self) -> str:
        now = self._context.clock.boot()
        if now - self._head_at >= LOOK_AT_BRANCH_EVERY_S:
            self._head = self._context.repository.tip(self._context.settings.branch) or ""
            self._head_at = now
        return self._head
