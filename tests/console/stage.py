"""A console on a board of the test's own, with an operator that notes what it is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from textual import events
from textual.keys import _character_to_key
from textual.pilot import Pilot

from rollcage.console.app import RollcageApp
from rollcage.core.board import Board
from rollcage.core.config import ConsoleSettings
from rollcage.core.errors import RefusedError
from rollcage.widgets.line_view import LineView
from tests import boards
from tests.conftest import ManualClock

CHARACTERS = {
    "exclamation_mark": "!",
    "question_mark": "?",
    "slash": "/",
    "colon": ":",
    "space": " ",
}


class HandSource:
    """A `BoardSource` that the test feeds."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.callbacks: list[Callable[[Board], None]] = []

    def current(self) -> Board:
        return self.board

    def subscribe(self, callback: Callable[[Board], None]) -> None:
        self.callbacks.append(callback)

    def give(self, board: Board) -> None:
        self.board = board
        for callback in self.callbacks:
            callback(board)


class NotingOperator:
    """An `Operator` that notes every wish, and refuses or finds problems where the test says so."""

    def __init__(self) -> None:
        self.wishes: list[tuple[object, ...]] = []
        self.refusal = ""
        self.problems: list[str] = []

    def _note(self, *wish: object) -> None:
        self.wishes.append(wish)
        if self.refusal:
            raise RefusedError("refused", self.refusal)

    def approve(self, option_id: str, plan_hash: str, confirm: str = "") -> None:
        self._note("approve", option_id, plan_hash, confirm)

    def reject(self, option_id: str, reason: str) -> None:
        self._note("reject", option_id, reason)

    def plan_yaml(self, option_id: str) -> str:
        return f"option: {option_id}\nmessage: as it was\n"

    def edit(self, option_id: str, text: str) -> list[str]:
        self._note("edit", option_id, text)
        return self.problems

    def stop_agent(self, name: str) -> None:
        self._note("stop", name)

    def pause_agent(self, name: str) -> None:
        self._note("pause", name)

    def resume_agent(self, name: str) -> None:
        self._note("resume", name)

    def stop_all(self, names: list[str]) -> None:
        self._note("stop all", *names)

    def redo(self, rollback_id: str) -> None:
        self._note("redo", rollback_id)

    def break_lock(self, name: str, token: int, reason: str) -> None:
        self._note("break", name, token, reason)

    def break_deadlock(self, circle: tuple[str, ...]) -> None:
        self._note("break circle", *circle)

    def undo(self, rollback_id: str) -> None:
        self._note("undo", rollback_id)


class Stage:
    """The app, what feeds it, and what it shows."""

    def __init__(
        self, board: Board, settings: ConsoleSettings, environment: Mapping[str, str], *, read_only: bool
    ) -> None:
        self.clock = ManualClock()
        self.clock.moment = boards.NOW
        self.source = HandSource(board)
        self.operator = NotingOperator()
        self.told: list[str] = []
        self.app = RollcageApp(
            self.source,
            self.operator,
            settings=settings,
            clock=self.clock,
            read_only=read_only,
            operator_name="you@host",
            environment={"TERM": "xterm-256color", "PATH": "/usr/bin:/bin", **environment},
        )
        tell = self.app.tell

        def note(text: str, *, bad: bool = False) -> None:
            self.told.append(text)
            tell(text, bad=bad)

        self.app.tell = note  # type: ignore[method-assign]
        self.pilot: Pilot[int]

    async def press(self, *keys: str) -> None:
        """Press keys and wait until everything that they started is done."""
        for key in keys:
            self.type_ahead(key)
            await self.settle()

    def type_ahead(self, *keys: str) -> None:
        """Press keys one after the other, without waiting for anything."""
        for key in keys:
            self._send(key, None if len(key) > 1 and key not in CHARACTERS else CHARACTERS.get(key, key))

    async def type(self, text: str) -> None:
        """Type ``text``."""
        for character in text:
            self._send("space" if character == " " else _character_to_key(character), character)
        await self.settle()

    def _send(self, key: str, character: str | None) -> None:
        event = events.Key(key, character)
        event.set_sender(self.app)
        assert self.app._driver is not None
        self.app._driver.send_message(event)

    async def settle(self) -> None:
        """Wait until no message, no call to the operator and no board is on its way.

        Pilot's own wait watches the processor's time, which on a busy machine takes a second for each key.
        """
        await self._rounds()
        while self.app._calls.under_way:
            await self.pilot.pause(0.005)
        await self._rounds()

    async def _rounds(self) -> None:
        quiet = 0
        while quiet < 2:
            await self.pilot.pause(0)
            nodes = [
                self.app,
                *(node for screen in self.app.screen_stack for node in screen.walk_children(with_self=True)),
            ]
            quiet = quiet + 1 if all(node._message_queue.empty() for node in nodes) else 0

    async def give(self, board: Board) -> None:
        """Give the console another board and wait until it is shown."""
        self.source.give(board)
        await self.settle()
        while self.app.board != board:
            await self.pilot.pause(0.01)
        await self.settle()

    @property
    def screen(self) -> str:
        """The name of the screen on top."""
        return type(self.app.screen).__name__

    @property
    def text(self) -> str:
        """What the screen on top shows, panel by panel."""
        lines: list[str] = []
        for view in self.app.screen.query(LineView):
            if view.display and view.size.height:
                lines += [view.render_line(y).text.rstrip() for y in range(view.size.height)]
        return "\n".join(lines)

    @property
    def picture(self) -> str:
        """What the terminal shows, cell by cell."""
        update = self.app.screen._compositor.render_full_update()
        return "\n".join("".join(strip.text for strip in line).rstrip() for line in update.strips)


@asynccontextmanager
async def stage(
    board: Board | None = None,
    *,
    size: tuple[int, int] = (120, 40),
    settings: ConsoleSettings | None = None,
    environment: Mapping[str, str] | None = None,
    read_only: bool = False,
) -> AsyncIterator[Stage]:
    """Run a console on ``board`` (default: one that waits for the operator)."""
    found = Stage(board or boards.waiting(), settings or ConsoleSettings(), environment or {}, read_only=read_only)
    async with found.app.run_test(size=size, notifications=True) as pilot:
        found.pilot = pilot
        await found.settle()
        yield found


__all__ = ["HandSource", "NotingOperator", "Stage", "stage"]
