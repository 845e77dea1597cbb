"""Letters on the panels: one more key goes there."""

from __future__ import annotations

from collections.abc import Mapping

from textual import events
from textual.app import ComposeResult
from textual.geometry import Offset
from textual.screen import ModalScreen

from ...widgets.line_view import TextLines
from ...widgets.spans import line

LETTERS = {
    "fleet": "f",
    "metrics": "m",
    "lifecycle": "l",
    "locks": "k",
    "incidents": "i",
    "evidence": "w",
    "phases": "r",
    "options": "o",
    "diff": "d",
    "events": "e",
}
"""By panel."""


class JumpScreen(ModalScreen[str]):
    """Its answer is the panel; any other key closes it."""

    AUTO_FOCUS = None

    def __init__(self, places: Mapping[str, Offset]) -> None:
        """Take where each panel's frame begins on the screen."""
        super().__init__()
        self._places = {panel: place for panel, place in places.items() if panel in LETTERS}

    def compose(self) -> ComposeResult:
        """Yield a label on each frame."""
        for panel in self._places:
            yield TextLines(id=f"jump-{panel}", classes="jump")

    def on_mount(self) -> None:
        """Put the labels in their places."""
        for panel, place in self._places.items():
            label = self.query_one(f"#jump-{panel}", TextLines)
            label.styles.offset = (place.x, place.y)
            label.show_lines([line(f" {LETTERS[panel]} ", "chip-info")])

    def on_key(self, event: events.Key) -> None:
        """Go to the panel with this letter."""
        event.stop()
        panel = next((panel for panel in self._places if LETTERS[panel] == event.character), None)
        self.dismiss(panel)
