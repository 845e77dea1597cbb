"""What all full screens have in common: status above, panels in a frame, keys below, and a filter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.reactive import Reactive
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input

from ...widgets.frame import Frame
from ...widgets.keys import KeysLine
from ...widgets.live_table import LiveTable
from ...widgets.status import StatusLine, WarningLine
from ...widgets.view import View
from ..actions import Selection

if TYPE_CHECKING:
    from ..app import RollcageApp


class FilterInput(Input):
    """Takes the words of a filter, in place of the keys below."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "drop", "Drop the filter", show=False)]

    def action_drop(self) -> None:
        """Show all rows again."""
        self.value = ""
        self.post_message(Input.Submitted(self, ""))


class BoardScreen(Screen[None]):
    """A screen made of panels in a frame."""

    # Textual repaints the whole screen whenever the focus moves; here the two panels do it themselves.
    focused: Reactive[Widget | None] = Reactive(None, repaint=False)

    AUTO_FOCUS = None
    ESCAPE_TO_MINIMIZE = False
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "back", "Back", show=False)]
    FIRST: ClassVar[str] = ""
    """The panel that gets the focus first."""

    def __init__(self) -> None:
        """Build the panels."""
        super().__init__()
        self.frame = Frame(self.make_panels(), self.boxes_for, id="frame")
        self.frame.first = self.FIRST
        self.view: View | None = None
        self._warnings, self._keys = WarningLine(), KeysLine()
        self._composed_all = False
        self._filtered: LiveTable[Any] | None = None

    # -- what subclasses say

    def make_panels(self) -> Iterable[Widget]:
        """Return the panels, in the order of Tab; those that pick come before those that depend on it."""
        raise NotImplementedError

    def boxes_for(self, size: Size, wants: Mapping[str, int]) -> dict[str, Region]:
        """Return the box of each panel to show; see `rollcage.widgets.frame.Arrange`."""
        raise NotImplementedError

    def picked(self, view: View) -> View:
        """Return the view with what this screen is about, before its panels pick."""
        return view

    # -- the screen

    @property
    def owner(self) -> RollcageApp:
        """The app, as what it is."""
        return cast("RollcageApp", self.app)

    def compose(self) -> ComposeResult:
        """Yield the parts from top to bottom."""
        self._status = StatusLine(read_only=self.owner.read_only)
        yield self._status
        yield self._warnings
        yield self.frame
        entry = FilterInput(id="filter", placeholder="words to find; Enter keeps them, Esc drops them", compact=True)
        entry.cursor_blink = False
        entry.display = False
        yield entry
        yield self._keys

    def on_mount(self) -> None:
        """Show what is known, and put the focus where it belongs."""
        self._composed_all = True
        self.show(self.owner.moment())
        width, height = self.app.size
        around = 3 if self._warnings.display else 2
        self.frame.foresee(Size(width, max(height - around, 1)))
        self.show_keys()

    def show(self, view: View) -> None:
        """Take in a new moment."""
        if not self._composed_all or not self.is_running:
            return
        self.view = self.frame.show(self.picked(view))
        self._status.show(self.view)
        self._warnings.show(self.view)
        self.show_keys()

    def show_keys(self) -> None:
        """Say which keys do what for what is picked now."""
        if self.view is not None and self._composed_all and self.is_running:
            self._keys.show_hints(self.owner.hints(self._selection(self.view)))

    def selection(self) -> Selection:
        """Return what actions would be about: where the cursors are now, shown already or not."""
        return self._selection(self.frame.pick(self.picked(self.owner.moment())))

    def _selection(self, view: View) -> Selection:
        option, incident, rollback = view.option_view, view.incident_view, view.rollback_view
        return Selection(
            agent=view.agent,
            incident=incident.incident.id if incident else "",
            option=option.option.id if option else "",
            rollback=rollback.rollback.id if rollback else "",
            lock=view.lock,
            panel=self.frame.focused_panel,
            main=self.app.screen_stack[0] is self,
            read_only=self.owner.read_only,
            one_colour=self.owner.one_colour,
        )

    def on_live_table_moved(self, event: LiveTable.Moved) -> None:
        """Show what belongs to the row that the cursor is on now."""
        event.stop()
        self.show(self.owner.moment())

    def on_live_table_opened(self, event: LiveTable.Opened) -> None:
        """See the row in full."""
        event.stop()
        self.owner.open_row(event.table, event.key)

    def on_keys_line_pressed(self, event: KeysLine.Pressed) -> None:
        """Do what the hint says that was clicked."""
        event.stop()
        self.owner.run_named(event.action)

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Some keys depend on the panel."""
        self.show_keys()

    def action_back(self) -> None:
        """Go back to the screen below; the main screen stays."""
        if len(self.app.screen_stack) > 1:
            self.app.pop_screen()

    # -- the filter

    def table_in_focus(self) -> LiveTable[Any] | None:
        """Return the table that a filter would be for."""
        return self.focused if isinstance(self.focused, LiveTable) else None

    def ask_filter(self) -> bool:
        """Ask for the words of a filter; return False where the panel has no rows to filter."""
        table = self.table_in_focus()
        if table is None:
            return False
        self._filtered = table
        entry = self.query_one(FilterInput)
        entry.value = " ".join(table.words)
        self._keys.display = False
        entry.display = True
        entry.focus()
        return True

    @on(Input.Changed, "#filter")
    def _filter_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self._filtered is not None:
            self._filtered.filter(event.value)
            self.frame.refit()

    @on(Input.Submitted, "#filter")
    def _filter_done(self, event: Input.Submitted) -> None:
        event.stop()
        table, self._filtered = self._filtered, None
        self.query_one(FilterInput).display = False
        self._keys.display = True
        if table is not None:
            if not event.value:
                table.filter("")
            table.focus()
        self.show(self.owner.moment())
