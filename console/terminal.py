"""Leaves the terminal as it was found, whatever happens, and never hangs on it.

What Textual 8.2 does by itself, and is mended here: a stalled line blocks the writer and with it the event loop; a
terminal that is gone while SIGHUP is ignored makes its reader spin; SIGHUP and SIGTERM leave the terminal raw; after
SIGTSTP and ``fg``, and after SIGSTOP, the screen is blank or has two readers.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import threading
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from textual._parser import ParseError
from textual._xterm_parser import XTermParser
from textual.app import App
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message

from .line_writer import LineWriter

SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
CLOSE_S = 0.5
"""How long leaving waits for a slow line to take the last bytes."""
RESTORE_TURNS, RESTORE_TURN_MS = 10, 50
RESTORE = (
    "\x18\x1b[?2026l\x1b[0m\x1b[<u\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?1016l"
    "\x1b[?2004l\x1b[?2048l\x1b[?1004l\x1b[?7h\x1b[23;2t\x1b[?1049l\x1b[?25h"
)
"""Cancels a sequence cut in two, then ends every mode that Textual may have begun, the alternate screen last."""


class CaughtUp(Message):
    """The line takes output again after it was stalled: what was not drawn meanwhile is to be drawn now."""

    def can_replace(self, message: Message) -> bool:
        """See Textual: one is enough."""
        return isinstance(message, CaughtUp)


def output_terminal() -> int | None:
    """Return the descriptor of the terminal to draw on: standard error's, else standard output's, if any is one."""
    for stream in (sys.__stderr__, sys.__stdout__):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or never there
            if stream is not None and os.isatty(stream.fileno()):
                return stream.fileno()
    return None


def on_terminal() -> bool:
    """Return whether there is a terminal to read keys from and to draw on; output that goes elsewhere wants lines."""
    try:
        streams = (sys.__stdin__, sys.__stdout__)
        return all(stream is not None and os.isatty(stream.fileno()) for stream in streams)
    except (OSError, ValueError):
        return False


def restore_terminal(descriptor: int, attributes: list[Any] | None) -> None:
    """Bring the terminal back to how it was found, in at most half a second even where it takes nothing.

    The sequences go through a descriptor of our own that does not block (the shared one must not be made so: it is
    the shell's too). A line that is only slow gets the time to take what is on its way; on a stalled one that is
    thrown away.
    """
    with contextlib.suppress(termios.error, OSError):  # the terminal is gone: nothing is left to restore
        if attributes is not None:
            termios.tcsetattr(descriptor, termios.TCSANOW, attributes)
    with contextlib.suppress(termios.error, OSError):
        own = os.open(os.ttyname(descriptor), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            room = select.poll()
            room.register(own, select.POLLOUT)
            rest = RESTORE.encode()
            for turn in range(RESTORE_TURNS):
                with contextlib.suppress(BlockingIOError):
                    rest = rest[os.write(own, rest) :]
                if not rest:
                    break
                if not room.poll(RESTORE_TURN_MS) and turn >= RESTORE_TURNS // 2:
                    termios.tcflush(own, termios.TCOFLUSH)
        finally:
            os.close(own)


class ConsoleDriver(LinuxDriver):
    """Textual's driver with a writer that does not block and a reader that notices when nobody is there."""

    def __init__(self, app: App[Any], *, debug: bool = False, mouse: bool = True, size: Any = None) -> None:
        """See `LinuxDriver`."""
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        found = output_terminal()
        self._output: int = found if found is not None else 2
        self._line: LineWriter | None = None
        self._on_screen = False
        self.on_gone: Callable[[], object] = lambda: None
        """Called from the thread that notices that the terminal is gone."""

    @property
    def behind(self) -> bool:
        """Whether the line is stalled: drawing is of no use now."""
        return self._line is not None and self._line.behind()

    def _terminal_gone(self) -> None:
        self.on_gone()

    def silence(self) -> None:
        """Send nothing more, whatever the console still draws."""
        if self._line is not None:
            self._line.silence()

    def write(self, data: str) -> None:
        """See `LinuxDriver.write`; returns at once."""
        if self._line is not None:
            self._line.write(data)

    def start_application_mode(self) -> None:
        """See `LinuxDriver.start_application_mode`."""
        self._line = LineWriter(
            self._output, caught_up=lambda: self._app.post_message(CaughtUp()), gone=self._terminal_gone
        )
        self._on_screen = True
        super().start_application_mode()  # type: ignore[no-untyped-call]

    def stop_application_mode(self) -> None:
        """See `LinuxDriver.stop_application_mode`."""
        self._on_screen = False
        super().stop_application_mode()

    def close(self) -> None:
        """See `LinuxDriver.close`; where the line does not take the last bytes, leave all the same."""
        super().close()
        line, self._line = self._line, None
        if line is not None and not line.close(CLOSE_S):
            restore_terminal(self._output, self.attrs_before)

    def _sigcont_application(self, *_: object) -> None:
        """Come back from SIGSTOP, of which nobody is told beforehand: end what runs before starting it again."""
        if self._auto_restart and self._on_screen:
            self.suspend_application_mode()
            self._must_signal_resume = True
        super()._sigcont_application()

    def _get_terminal_size(self) -> tuple[int, int]:
        try:
            width, height = os.get_terminal_size(self._output)
        except OSError:
            return super()._get_terminal_size()
        return width or 80, height or 24

    def run_input_thread(self) -> None:
        """Read keys until told to stop. Textual's own loop goes round and round at the end of the file."""
        parser = XTermParser(self._debug)
        decode = getincrementaldecoder("utf-8")(errors="replace").decode
        poll = select.poll()
        poll.register(self.fileno, select.POLLIN)
        while not self.exit_event.is_set():
            for _ready in poll.poll(100):
                try:
                    octets = os.read(self.fileno, 4_096)
                except BlockingIOError:
                    continue
                except OSError:
                    octets = b""
                if not octets:
                    self._terminal_gone()
                    return
                for message in parser.feed(decode(octets)):
                    self.process_message(message)
            for message in parser.tick():
                self.process_message(message)
        with contextlib.suppress(EOFError, ParseError):  # half a sequence at the end is nobody's key
            for _event in parser.feed(""):
                pass


def _nothing(number: int, frame: FrameType | None) -> None:
    """Handle a signal that is meant for somebody else."""


class Guard:
    """Leaves the process when a signal asks for it or the terminal is gone, from a thread that nothing can block."""

    def __init__(self, on_leave: Callable[[], object]) -> None:
        """Take what to do once the screen is closed: carry a rollback on to its end. It is called exactly once."""
        self._on_leave = on_leave
        self._asked = threading.Event()
        self._signal: int = signal.SIGHUP
        self._lock = threading.Lock()
        self._left = threading.Event()
        self._leaving = False
        self._driver: ConsoleDriver | None = None
        self._terminal = output_terminal()
        self._attributes: list[Any] | None = None
        if self._terminal is not None:
            with contextlib.suppress(termios.error):
                self._attributes = termios.tcgetattr(self._terminal)
        self._old: dict[int, Any] = {}

    def start(self) -> None:
        """Take the signals over and begin to watch. Only in the main thread."""
        for number in SIGNALS:
            self._old[number] = signal.signal(number, self._note)
        threading.Thread(target=self._watch, name="terminal-guard", daemon=True).start()

    def stop(self) -> None:
        """Give the signals back."""
        for number, handler in self._old.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._old.clear()

    def watch_over(self, driver: ConsoleDriver) -> None:
        """Take the driver that draws on the terminal."""
        self._driver = driver
        driver.on_gone = self._gone

    def screen_closed(self) -> None:
        """Take note that the terminal is the shell's again: it is not to be touched any more."""
        self._driver = self._terminal = None

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Let another program have the terminal: its Ctrl+C and Ctrl+\\ reach this process too, and mean nothing here.

        A handler that does nothing, because an ignored signal would be ignored by that program as well.
        """
        old = {number: signal.signal(number, _nothing) for number in (signal.SIGINT, signal.SIGQUIT)}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def leave(self) -> None:
        """Do what is to be done on leaving, once; wait where another thread is doing it."""
        with self._lock:
            first, self._leaving = not self._leaving, True
        if not first:
            self._left.wait()
            return
        try:
            self._on_leave()
        finally:
            self._left.set()

    def _note(self, number: int, frame: FrameType | None) -> None:
        # A signal handler only sets an event: the main thread may be anywhere, holding any lock.
        self._signal = number
        self._asked.set()

    def _gone(self) -> None:
        self._signal = signal.SIGHUP
        self._asked.set()

    def _watch(self) -> None:
        self._asked.wait()
        try:
            if self._driver is not None:
                self._driver.silence()
            if self._terminal is not None:
                restore_terminal(self._terminal, self._attributes)
            self.leave()
        finally:
            os._exit(128 + self._signal)
