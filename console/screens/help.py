"""Every key and what it does, from the registry of actions; what cannot be had now says why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from textual.widget import Widget

from ...core.board import Board
from ...widgets.choices import Choice, ChoiceBar
from ...widgets.line_view import TextLines
from ...widgets.spans import Line, Span, cut_line, line, wrap
from ..actions import ACTIONS, Selection, key_name, reason_against
from .dialog import Dialog

KEY, LABEL = 7, 17
NOTES = (
    "Up, Down, PgUp, PgDn, Home and End (or j and k) move in a panel; a click does too.",
    "The console only writes decisions; the engine that leads carries them out.",
    "Leaving stops neither agents nor a rollback that runs.",
    "Times are UTC. - means: not known.",
)


def help_lines(board: Board, selection: Selection, keys: Mapping[str, str], cells: int) -> list[Line]:
    """Return the help for what is picked now."""
    lines: list[Line] = []
    if board.warnings:
        lines.append(line("What is wrong with rollcage itself", "title"))
        lines += [line(part, "warning") for warning in board.warnings for part in wrap(f"▲ {warning}", cells)]
        lines.append(())
    for group in dict.fromkeys(action.group for action in ACTIONS):
        lines.append(line(group, "title"))
        for action in ACTIONS:
            if action.group != group:
                continue
            reason = reason_against(action, board, selection)
            text = action.description if reason is None else f"{action.description}   ({reason})"
            style = "muted" if reason else ""
            lines.append(
                cut_line(
                    (
                        Span(key_name(keys[action.id]).rjust(KEY) + "  ", "muted" if reason else "key"),
                        Span(action.label.ljust(LABEL), style),
                        Span(text, style),
                    ),
                    cells,
                )
            )
        lines.append(())
    for note in NOTES:
        lines += [line(part, "muted") for part in wrap(note, cells)]
    return lines


class HelpScreen(Dialog[None]):
    """The help, above the screen that it is about."""

    def __init__(self, board: Board, selection: Selection, keys: Mapping[str, str]) -> None:
        """Take what is picked, and the keys."""
        super().__init__("Keys")
        self._board, self._selection, self._keys = board, selection, keys

    def parts(self) -> Iterable[Widget]:
        """See `Dialog.parts`."""
        self._text = TextLines(id="help-text", focusable=True)
        self._choices = ChoiceBar([Choice("close", "", "Close")], "Up and Down scroll")
        return [self._text, self._choices]

    def on_mount(self) -> None:
        """Show it with the keyboard on the text."""
        self._text.focus()
        self.call_after_refresh(self._fill)

    def on_resize(self) -> None:
        """Cut for the new width."""
        self.call_after_refresh(self._fill)

    def _fill(self) -> None:
        self._text.show_lines(help_lines(self._board, self._selection, self._keys, max(self._text.cells, 30)))

    def key_enter(self) -> None:
        """Close it."""
        self.dismiss(None)

    def key_question_mark(self) -> None:
        """Close it with the key that opened it."""
        self.dismiss(None)

    def on_choice_bar_given(self) -> None:
        """Close it."""
        self.dismiss(None)
