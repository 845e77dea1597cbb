"""The Textual app: wires the board to panels, and actions to the operator's decisions.

It reads one `Board` after another from a source and writes wishes through an `Operator`; it knows no engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

import textual.screen
from textual.app import App, SuspendNotSupported
from textual.binding import BindingType
from textual.filter import LineFilter, NoColor
from textual.message import Message
from textual.screen import Screen

from ..core.board import Board
from ..core.errors import UsageError
from ..core.text import clean
from ..themes import __file__ as themes_file
from ..themes.looks import LOOKS
from ..widgets.keys import KeyHint
from ..widgets.view import View
from . import attention
from .actions import BY_ID, Selection, hints, reason_against
from .appearance import Appearance, appearance
from .calls import Calls, Outcome
from .deciding import DECIDING
from .keymap import keys_for
from .looking import LOOKING, open_row
from .screens.base import BoardScreen
from .screens.dialog import Dialog
from .screens.fleet import FleetScreen
from .source import BoardSource, Latest
from .terminal import CaughtUp, ConsoleDriver, Guard

if TYPE_CHECKING:
    from ..core.clock import Clock
    from ..core.config import ConsoleSettings
    from ..widgets.live_table import LiveTable
    from .operator_protocol import Operator

HANDLERS = {**LOOKING, **DECIDING}
TICK_S = 1.0
"""How often ages are looked at; nothing is sent where none of them shows another text."""


class BoardArrived(Message):
    """There is a board in the letter box; it carries none itself, so that a newer one takes the place of an older."""

    def can_replace(self, message: Message) -> bool:
        """See Textual: one is enough."""
        return isinstance(message, BoardArrived)


class CallEnded(Message):
    """A call to the operator has ended."""

    def __init__(self, outcome: Outcome, then: Callable[[Outcome], None] | None) -> None:
        """Take how it ended and what was asked to follow."""
        super().__init__()
        self.outcome, self.then = outcome, then


class RollcageApp(App[int]):
    """The console."""

    CSS_PATH = themes_file.replace("__init__.py", "rollcage.tcss")
    TITLE = "rollcage"
    ENABLE_COMMAND_PALETTE = False
    ALLOW_SELECT = False
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(
        self,
        source: BoardSource,
        operator: Operator,
        *,
        settings: ConsoleSettings,
        clock: Clock,
        read_only: bool = False,
        operator_name: str = "",
        environment: Mapping[str, str],
        guard: Guard | None = None,
    ) -> None:
        """Take where boards come from and wishes go, how it looks, and who sits before it.

        Raises SettingsError where a theme, a key or the quiet hours in ``settings`` are wrong.
        """
        self.look: Appearance = appearance(settings, environment)
        self.keys = keys_for(settings.keymap)
        self._quiet = attention.quiet_hours(settings.quiet_hours)
        super().__init__(driver_class=ConsoleDriver)
        self.source, self.operator, self.clock = source, operator, clock
        self.read_only, self.operator_name = read_only, clean(operator_name, limit=60)
        self.environment = environment
        self.board = source.current()
        self._guard = guard
        self._latest = Latest(lambda: self.post_message(BoardArrived()))
        self._resting = False
        self._calls = Calls(lambda outcome, then: self.post_message(CallEnded(outcome, then)))
        self._title_saved = False
        self.animation_level = "none" if self.look.remote else self.animation_level
        for look in LOOKS.values():
            self.register_theme(look.theme)
        self.set_reactive(App.theme, self.look.theme)
        self.stylesheet.set_variables(self.get_css_variables())
        self._refresh_truecolor_filter(self.ansi_theme)
        for action in BY_ID.values():
            self.bind(self.keys[action.id], f"act('{action.id}')", description=action.label, show=False)

    @property
    def one_colour(self) -> bool:
        """Whether the terminal wants no colour."""
        return self.look.one_colour

    def get_line_filters(self) -> Sequence[LineFilter]:
        """See Textual; NO_COLOR takes colours away and keeps bold and reverse, where Textual would send greys."""
        return [NoColor()] if self.one_colour else super().get_line_filters()

    def get_default_screen(self) -> Screen[None]:
        """Begin with the fleet."""
        return FleetScreen()

    def on_mount(self) -> None:
        """Begin to take boards in."""
        if self._guard is not None and isinstance(self._driver, ConsoleDriver):
            self._guard.watch_over(self._driver)
        self.app_resume_signal.subscribe(self, lambda _app: self.repaint())
        self.set_interval(TICK_S, self.show_all)
        self.source.subscribe(self._latest.put)
        self._latest.put(self.source.current())

    # -- boards

    def moment(self) -> View:
        """Return the board as it is now, with nothing picked."""
        return View(self.board, self.clock.now())

    def on_board_arrived(self) -> None:
        """Take in the newest board; after that, none for the length of a frame."""
        if self._resting:
            return
        board = self._latest.take()
        if board is None:
            return
        self._resting = True
        self.set_timer(1 / self.look.frames, self._rested)
        if board == self.board:
            return
        before, self.board = self.board, board
        self.show_all()
        self._call_operator(before)

    def _rested(self) -> None:
        self._resting = False
        self.on_board_arrived()

    def show_all(self) -> None:
        """Give the board to every screen; each repaints only what differs."""
        moment = self.moment()
        for screen in self.screen_stack:
            show = getattr(screen, "show", None)
            if show is not None and screen.is_attached:
                show(moment)

    def _call_operator(self, before: Board) -> None:
        for text in attention.calls(before, self.board):
            if not attention.is_quiet(self._quiet, self.clock.now()):
                self._to_terminal(attention.call_sequence(text, self.board.name))
        if before.needs_you != self.board.needs_you:
            self._to_terminal(attention.title_sequence(self.board))

    def _to_terminal(self, sequence: str) -> None:
        if self._driver is None or self.is_headless:
            return
        if not self._title_saved:
            self._title_saved = True
            sequence = attention.SAVE_TITLE + sequence
        self._driver.write(sequence)

    def _fatal_error(self) -> None:
        """Print the traceback of an error of our own, without the values in it: there are secrets among them."""
        from rich.segment import Segments
        from rich.traceback import Traceback

        traceback = self.console.render(Traceback(show_locals=False, width=100), self.console.options)
        self._exit_renderables.append(Segments(traceback))
        self._close_messages_no_wait()

    # -- the line

    def _display(self, screen: Screen[Any], renderable: Any) -> None:
        """Draw nothing while the line is stalled; all of it is drawn once it takes output again."""
        if isinstance(self._driver, ConsoleDriver) and self._driver.behind:
            self.post_display_hook()
            return
        super()._display(screen, renderable)
        top = self.screen
        if renderable is not None and isinstance(top, Dialog) and top.seen_at is None:
            top.seen_at = monotonic()

    def on_caught_up(self, message: CaughtUp) -> None:
        """Draw what was left out."""
        self.repaint()

    def repaint(self) -> None:
        """Paint the whole screen anew."""
        self.screen.refresh(layout=True)

    def copy_to_clipboard(self, text: str) -> None:
        """Copy by OSC 52, wrapped for tmux and screen."""
        self._clipboard = text
        if self._driver is not None and not self.is_headless:
            self._driver.write(attention.clipboard_sequence(text, self.environment))

    # -- actions

    def hints(self, selection: Selection) -> Sequence[KeyHint]:
        """Return the footer for what is picked."""
        return hints(self.board, selection, self.keys)

    def selection(self) -> Selection:
        """Return what is picked on the screen on top."""
        return self.screen.selection() if isinstance(self.screen, BoardScreen) else Selection(read_only=self.read_only)

    def action_act(self, name: str) -> None:
        """Do the action ``name``, or say why it cannot be had."""
        self.run_named(name)

    def run_named(self, name: str) -> None:
        """Do the action ``name``, or say why it cannot be had."""
        action = BY_ID[name]
        selection = self.selection()
        reason = reason_against(action, self.board, selection)
        if reason is not None:
            self.tell(f"{action.label}: {reason}", bad=True)
        else:
            HANDLERS[name](self, selection)

    def open_row(self, table: LiveTable[Any], key: str) -> None:
        """See in full what a row of ``table`` stands for."""
        open_row(self, table, key)

    def tell(self, text: str, *, bad: bool = False) -> None:
        """Show one line for a few seconds; never read as markup."""
        mark, severity = ("✖", "error") if bad else ("✓", "information")
        self.notify(f"{mark} {clean(text)}", severity=severity, markup=False)  # type: ignore[arg-type]

    def call(self, name: str, what: Callable[[], object], then: Callable[[Outcome], None] | None = None) -> None:
        """Call the operator in a thread of its own."""
        if not self._calls.start(name, what, then):
            self.tell(f"{name}: still under way")

    def on_call_ended(self, message: CallEnded) -> None:
        """Show how a call ended."""
        if message.then is not None:
            message.then(message.outcome)
        elif message.outcome.problem:
            self.tell(message.outcome.problem, bad=True)

    def wish(self, name: str, what: Callable[[], object], done: str) -> None:
        """Record a wish, and say so once it is durable."""
        waits = "" if self.board.engine.state != "none" else "; no engine runs now, it waits for one"

        def then(outcome: Outcome) -> None:
            self.tell(outcome.problem or f"{done}{waits}", bad=bool(outcome.problem))

        self.call(name, what, then)

    def edit_text(self, text: str) -> str:
        """Give the terminal to the operator's editor; return the text edited. Raises UsageError."""
        from .editor import edit_text

        lent = self._guard.lent() if self._guard is not None else nullcontext()
        try:
            with lent, self.suspend():
                return edit_text(text, self.environment)
        except SuspendNotSupported:
            raise UsageError(
                "there is no terminal here for an editor; rollcage edit OPTION does it elsewhere"
            ) from None

    def leave(self) -> None:
        """Close the console."""
        if self._title_saved:
            self._to_terminal(attention.RESTORE_TITLE)
        self.exit(0)

    async def action_quit(self) -> None:
        """Leave by Textual's own key, Ctrl+Q, wherever one is."""
        self.leave()


def run_app(
    source: BoardSource,
    operator: Operator,
    *,
    settings: ConsoleSettings,
    clock: Clock,
    environment: Mapping[str, str],
    read_only: bool = False,
    operator_name: str = "",
    plain: bool = False,
    on_leave: Callable[[], object] = lambda: None,
) -> int:
    """Show the console until the operator leaves it; return the exit code.

    ``on_leave`` is called exactly once, when the terminal is the shell's again: it carries on what must not be left
    half done. Where a signal asks the process to leave, or the terminal is gone, it is called in a thread of its own
    and the process ends behind it. With ``plain``, or where there is no terminal, lines are printed instead.

    Raises SettingsError where the settings of the console are wrong. Only for the main thread.
    """
    from .appearance import plain_reason
    from .terminal import on_terminal

    why = plain_reason(environment, terminal=on_terminal())
    if plain or why:
        from .plain import run_plain

        return run_plain(source, clock=clock, on_leave=on_leave, why=why)
    guard = Guard(on_leave)
    app = RollcageApp(
        source,
        operator,
        settings=settings,
        clock=clock,
        read_only=read_only,
        operator_name=operator_name,
        environment=environment,
        guard=guard,
    )
    # Textual reads its frame rate from the environment as it is imported; by now it is.
    textual.screen.UPDATE_PERIOD = 1 / app.look.frames  # type: ignore[misc]
    guard.start()
    try:
        app.run(mouse=app.look.mouse)
    finally:
        guard.screen_closed()
        guard.leave()
        guard.stop()
    return app.return_code or 0
