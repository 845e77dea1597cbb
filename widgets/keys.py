"""The last line: which keys do what here. It comes from the registry of actions, as help and palette do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual import events
from textual.message import Message

from .line_view import LineView
from .spans import Line, Span, width


@dataclass(frozen=True, slots=True)
class KeyHint:
    """One key: what it is called, what it does, and whether it can now."""

    action: str
    key: str
    label: str
    enabled: bool = True
    keep: int = 0
    """Where there is no room for all, the lowest goes first."""


class KeysLine(LineView):
    """Shows hints; a click on one is the same as its key."""

    DEFAULT_CSS = """
    KeysLine { height: 1; background: $surface; overflow: hidden hidden; }
    """

    class Pressed(Message):
        """A hint was clicked."""

        def __init__(self, action: str) -> None:
            """Take the id of the action."""
            super().__init__()
            self.action = action

    def __init__(self) -> None:
        """Start without hints."""
        super().__init__(id="keys")
        self._hints: Sequence[KeyHint] = ()

    def show_hints(self, hints: Sequence[KeyHint]) -> None:
        """Show these, in this order."""
        self._hints = hints
        self.changed()

    def total(self) -> int:
        """See `LineView.total`."""
        return 1

    def make(self, index: int, cells: int) -> Line:
        """See `LineView.make`."""
        spans: list[Span] = []
        for hint in fitting(self._hints, cells):
            spans += [Span(" "), *_spans(hint), Span(" ")]
        return tuple(spans)

    def on_click(self, event: events.Click) -> None:
        """Ask for the action of the hint under the pointer."""
        x = 0
        for hint in fitting(self._hints, self.cells):
            size = _size(hint)
            if x <= event.x < x + size:
                self.post_message(self.Pressed(hint.action))
                return
            x += size


def _spans(hint: KeyHint) -> Line:
    if not hint.enabled:
        return (Span(f"{hint.key} {hint.label}", "muted"),)
    return (Span(hint.key, "key"), Span(f" {hint.label}"))


def _size(hint: KeyHint) -> int:
    return width(hint.key) + width(hint.label) + 3


def fitting(hints: Sequence[KeyHint], cells: int) -> list[KeyHint]:
    """Return the hints that ``cells`` have room for, in order."""
    kept = list(hints)
    while kept and sum(_size(hint) for hint in kept) > cells:
        kept.remove(min(kept, key=lambda hint: (hint.enabled, hint.keep)))
    return kept
