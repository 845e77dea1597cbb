"""All actions by name: type a few letters, Enter does it. What cannot be had now is there with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Input

from ...core.board import Board
from ...widgets.live_table import Cell, Column, LiveTable
from ...widgets.spans import Span
from ..actions import ACTIONS, Selection, key_name, reason_against
from .dialog import Dialog


@dataclass(frozen=True, slots=True)
class _Entry:
    id: str
    key: str
    label: str
    text: str
    enabled: bool


class _Entries(LiveTable[_Entry], can_focus=False):
    COLUMNS: ClassVar[Sequence[Column]] = (Column("key", 5, right=True), Column("action", 16), Column("", 20, most=200))
    HEADED: ClassVar[bool] = False

    def key_of(self, item: _Entry) -> str:
        """See `LiveTable.key_of`."""
        return item.id

    def cells_of(self, item: _Entry) -> Sequence[Cell]:
        """See `LiveTable.cells_of`."""
        style = "" if item.enabled else "muted"
        return (Span(item.key, "key" if item.enabled else "muted"), Span(item.label, style), Span(item.text, style))

    def row_style(self, index: int) -> str:
        """See `LineView.row_style`; the keyboard is in the input above, and still moves here."""
        return "cursor" if super().row_style(index) else ""


class PaletteScreen(Dialog[str]):
    """Its answer is the id of an action."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", show=False, priority=True),
        Binding("up", "move(-1)", show=False, priority=True),
        Binding("down", "move(1)", show=False, priority=True),
        Binding("pageup", "page(-1)", show=False, priority=True),
        Binding("pagedown", "page(1)", show=False, priority=True),
    ]

    def __init__(self, board: Board, selection: Selection, keys: Mapping[str, str]) -> None:
        """Take what is picked, and the keys."""
        super().__init__("Commands")
        entries = []
        for action in ACTIONS:
            reason = reason_against(action, board, selection)
            text = action.description if reason is None else f"{action.description} ({reason})"
            entries.append(_Entry(action.id, key_name(keys[action.id]), action.label, text, reason is None))
        self._offered = sorted(entries, key=lambda entry: not entry.enabled)

    def parts(self) -> Iterable[Widget]:
        """See `Dialog.parts`."""
        self._entry = Input(placeholder="what to do", id="command", compact=True)
        self._entry.cursor_blink = False
        self._table = _Entries(id="entries")
        return [self._entry, self._table]

    def on_mount(self) -> None:
        """Offer everything."""
        self._table.show_items(self._offered)
        self._entry.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Offer what has these words."""
        event.stop()
        self._table.filter(event.value)
        self._table.action_edge(0)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Do what the cursor is on."""
        event.stop()
        self.dismiss(self._table.key or None)

    def on_live_table_opened(self, event: LiveTable.Opened) -> None:
        """Do what was double-clicked."""
        event.stop()
        self.dismiss(event.key)

    def action_move(self, by: int) -> None:
        """Move the cursor."""
        self._table.action_cursor(by)

    def action_page(self, by: int) -> None:
        """Move the cursor by pages."""
        self._table.action_page(by)
