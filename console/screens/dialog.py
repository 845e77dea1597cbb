"""What all dialogs have in common: a frame above the screen, lines, answers, and Cancel as the default."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Input

from ...widgets.choices import Choice, ChoiceBar
from ...widgets.line_view import TextLines
from ...widgets.spans import Line, line, safe, wrap
from ...widgets.view import View
from ..actions import key_name

if TYPE_CHECKING:
    from ..app import RollcageApp

T = TypeVar("T")


class Dialog(ModalScreen[T], Generic[T]):
    """A framed box above the screen. Esc and ``q`` close it without an answer, as does its default answer."""

    AUTO_FOCUS = None
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "close", "Close", show=False),
    ]

    def __init__(self, title: str) -> None:
        """Take what stands in the frame."""
        super().__init__()
        self._title = title
        self.seen_at: float | None = None
        """When it was first painted, on the clock of Textual's events (`time.monotonic`)."""

    def counts(self, event: events.Key) -> bool:
        """Return whether a key may change the world: it came after the dialog was there to be read.

        On a line that lags, two presses of one key arrive together; the second was not meant for what nobody saw.
        """
        return self.seen_at is not None and event.time >= self.seen_at

    @property
    def owner(self) -> RollcageApp:
        """The app, as what it is."""
        return cast("RollcageApp", self.app)

    def parts(self) -> Iterable[Widget]:
        """Return the widgets in the frame, from top to bottom."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        """Yield the frame with its parts."""
        with Vertical(id="dialog") as frame:
            frame.border_title = Content(safe(self._title))
            yield from self.parts()

    def show(self, view: View) -> None:
        """Take in a new moment; most dialogs do not depend on it."""

    def action_close(self) -> None:
        """Close without an answer."""
        self.dismiss(None)


class TextDialog(Dialog[str]):
    """Lines of text with answers below, the first of which has the focus and is the way out without one."""

    def __init__(self, title: str, lines: Sequence[str], choices: Sequence[Choice], *, readable: bool = False) -> None:
        """Take the title, the lines, the answers, and whether Tab goes to the lines, to scroll them."""
        super().__init__(title)
        self._lines = lines
        self._text = TextLines(id="text", focusable=readable)
        self._choices = ChoiceBar(choices)

    def on_mount(self) -> None:
        """Show the lines, with the first answer in focus."""
        self._fill()
        self._choices.focus()

    def on_resize(self) -> None:
        """Wrap for the new width."""
        self._fill()

    def _fill(self) -> None:
        cells = max(min(self.app.size.width - 8, 72), 20)
        lines: list[Line] = [line(part) for text in self._lines for part in wrap(text, cells)]
        self._text.styles.height = min(len(lines), max(self.app.size.height - 8, 1))
        self._text.show_lines(lines)


class ConfirmScreen(TextDialog):
    """Asks before the world is changed: the key of the action once more says yes, Enter says Cancel.

    Its answer is the reason typed, empty where none was asked for; None: Cancel.
    """

    def __init__(
        self, title: str, lines: Sequence[str], key: str, label: str, *, prompt: str = "", needed: bool = False
    ) -> None:
        """Take the question, what it means, the key and word for yes, and a prompt where a reason is asked for.

        Where it is ``needed``, yes without one leads to where it is typed.
        """
        super().__init__(title, lines, [Choice("cancel", "", "Cancel"), Choice("yes", key_name(key), label)])
        self._key, self._prompt, self._needed = key, prompt, needed

    def parts(self) -> Iterable[Widget]:
        """See `Dialog.parts`."""
        yield self._text
        if self._prompt:
            entry = Input(placeholder=self._prompt, id="reason", compact=True)
            entry.cursor_blink = False
            yield entry
        yield self._choices

    def on_key(self, event: events.Key) -> None:
        """Say yes where the key of the action comes once more."""
        if self._key in {event.key, event.character} and not isinstance(self.focused, Input):
            event.stop()
            if self.counts(event):
                self._yes()

    def on_choice_bar_given(self, event: ChoiceBar.Given) -> None:
        """Take the answer."""
        if event.choice == "yes":
            self._yes()
        else:
            self.dismiss(None)

    def on_input_submitted(self) -> None:
        """Go from the reason to the answers."""
        self._choices.focus()

    def _yes(self) -> None:
        entry = self.query_one("#reason", Input) if self._prompt else None
        reason = entry.value.strip() if entry is not None else ""
        if entry is not None and self._needed and not reason:
            entry.focus()
        else:
            self.dismiss(reason)


class NoticeScreen(TextDialog):
    """Shows lines that are too many for a notice, with what can be done about them. Its answer is that, or none."""

    def __init__(self, title: str, lines: Sequence[str], key: str, offer: str) -> None:
        """Take the title, the lines, and the answer beside Close with its key."""
        choices = [Choice("close", "", "Close"), Choice(offer, key_name(key), offer)]
        super().__init__(title, lines, choices, readable=True)
        self._key, self._offer = key, offer

    def parts(self) -> Iterable[Widget]:
        """See `Dialog.parts`."""
        yield self._text
        yield self._choices

    def on_key(self, event: events.Key) -> None:
        """Take an answer by its key."""
        if self._key in {event.key, event.character}:
            event.stop()
            self.dismiss(self._offer)

    def on_choice_bar_given(self, event: ChoiceBar.Given) -> None:
        """Take the answer."""
        self.dismiss(None if event.choice == "close" else event.choice)
