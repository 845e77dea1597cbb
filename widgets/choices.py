"""The answers of a dialog, in one line. The first one is Cancel, and has the focus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from .line_view import LineView
from .spans import Line, Span, both_ends, cut_line, line_width, width


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer: its id, the key that gives it, what it says, and whether it can be given now."""

    id: str
    key: str
    label: str
    enabled: bool = True


class ChoiceBar(LineView, can_focus=True):
    """Shows the answers; Left and Right move, Enter gives the one with the focus."""

    DEFAULT_CSS = """
    ChoiceBar { height: 1; overflow: hidden hidden; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "move(-1)", show=False),
        Binding("right", "move(1)", show=False),
        Binding("enter", "give", show=False),
    ]

    class Given(Message):
        """An answer was given."""

        def __init__(self, choice: str) -> None:
            """Take its id."""
            super().__init__()
            self.choice = choice

    def __init__(self, choices: Sequence[Choice], note: str = "") -> None:
        """Take the answers, Cancel first, and what stands at the end of the line where there is room for it."""
        super().__init__(id="choices")
        self._choices = tuple(choices)
        self._note = note
        self._at = 0

    def show_choices(self, choices: Sequence[Choice]) -> None:
        """Show these instead; the focus goes back to the first where they are others."""
        if [choice.id for choice in choices] != [choice.id for choice in self._choices]:
            self._at = 0
        self._choices = tuple(choices)
        self.changed()

    def total(self) -> int:
        """See `LineView.total`."""
        return 1

    def make(self, index: int, cells: int) -> Line:
        """See `LineView.make`."""
        spans: list[Span] = []
        for place, choice in enumerate(self._choices):
            if place:
                spans.append(Span("  "))
            spans += self._spans(place, choice)
        if self._note and line_width(tuple(spans)) + width(self._note) + 2 <= cells:
            return both_ends(tuple(spans), (Span(self._note, "muted"),), cells)
        return cut_line(tuple(spans), cells)

    def _spans(self, place: int, choice: Choice) -> Line:
        text = _text(choice)
        if place == self._at and self.has_focus:
            return (Span(text, "title-focus"),)
        if not choice.enabled:
            return (Span(text, "muted"),)
        if not choice.key:
            return (Span(text, "strong"),)
        head, _, rest = text.partition(choice.key)
        return (Span(head), Span(choice.key, "key"), Span(rest))

    def action_move(self, by: int) -> None:
        """Move the focus to the next answer that can be given."""
        places = [place for place, choice in enumerate(self._choices) if choice.enabled or place == 0]
        at = places.index(self._at) if self._at in places else 0
        self._at = places[(at + by) % len(places)]
        self.changed()

    def action_give(self) -> None:
        """Give the answer with the focus."""
        self._give(self._choices[self._at])

    def _give(self, choice: Choice) -> None:
        if choice.enabled:
            self.post_message(self.Given(choice.id))

    def on_click(self, event: events.Click) -> None:
        """Give the answer under the pointer."""
        x = 0
        for choice in self._choices:
            size = width(_text(choice))
            if x <= event.x < x + size:
                self._give(choice)
                return
            x += size + 2

    def on_focus(self) -> None:
        """Show where the focus is."""
        self.changed()

    def on_blur(self) -> None:
        """Show that the focus is elsewhere."""
        self.changed()


def _text(choice: Choice) -> str:
    return f"[ {choice.key} {choice.label} ]" if choice.key else f"[ {choice.label} ]"
