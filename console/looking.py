"""What the actions do that only look: open screens, move the focus, filter, copy, leave."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from ..themes.looks import LOOKS
from ..widgets.events import EventsPanel
from ..widgets.fleet import FleetPanel
from ..widgets.incidents import IncidentsPanel
from ..widgets.live_table import LiveTable
from ..widgets.metrics import MetricsPanel
from ..widgets.options import OptionsTable
from .actions import PANELS, Selection, copied
from .screens.base import BoardScreen

if TYPE_CHECKING:
    from .app import RollcageApp

Handler = Callable[["RollcageApp", Selection], None]

# The screens are imported when they are first opened: nobody waits for them at the start.


def show_help(app: RollcageApp, selection: Selection) -> None:
    """Show every key and what it does."""
    from .screens.help import HelpScreen

    app.push_screen(HelpScreen(app.board, selection, app.keys))


def show_commands(app: RollcageApp, selection: Selection) -> None:
    """Let the operator find an action by its name, and do it."""
    from .screens.palette import PaletteScreen

    def chosen(name: str | None) -> None:
        if name:
            app.run_named(name)

    app.push_screen(PaletteScreen(app.board, selection, app.keys), chosen)


def ask_filter(app: RollcageApp, selection: Selection) -> None:
    """Ask for the words of a filter."""
    if not (isinstance(app.screen, BoardScreen) and app.screen.ask_filter()):
        app.tell("filter: this panel has no rows", bad=True)


def jump(app: RollcageApp, selection: Selection) -> None:
    """Put a letter on each panel and go where the next key says."""
    from .screens.jump import JumpScreen

    screen = app.screen
    if not isinstance(screen, BoardScreen):
        return
    frame = screen.frame
    places = {panel: frame.region.offset + box.offset + (2, 0) for panel in frame.shown if (box := frame.box(panel))}

    def chosen(panel: str | None) -> None:
        if panel:
            frame.focus_panel(panel)

    app.push_screen(JumpScreen(places), chosen)


def next_panel(app: RollcageApp, selection: Selection) -> None:
    """Go to the next panel."""
    app.screen.focus_next()


def open_focused(app: RollcageApp, selection: Selection) -> None:
    """See in full what the panel with the focus shows."""
    focused = app.screen.focused
    if isinstance(focused, LiveTable):
        focused.action_open()
    elif selection.panel == "evidence" and selection.incident:
        show_incident(app, selection)
    elif selection.panel == "phases" and selection.rollback:
        show_rollback(app, selection.rollback)
    elif selection.panel == "diff" and selection.option:
        show_diff(app, selection)


def open_row(app: RollcageApp, table: LiveTable[Any], key: str) -> None:
    """See in full what a row of ``table`` stands for."""
    from .screens.agent import AgentScreen
    from .screens.audit import AuditScreen, RollbacksPanel
    from .screens.diff import DiffScreen

    if isinstance(table, FleetPanel):
        app.push_screen(AgentScreen(key))
    elif isinstance(table, MetricsPanel) and not isinstance(app.screen, AgentScreen):
        agent = key.partition("\n")[0]
        if agent:
            app.push_screen(AgentScreen(agent))
    elif isinstance(table, IncidentsPanel):
        show_incident(app, Selection(incident=key))
    elif isinstance(table, OptionsTable):
        app.push_screen(DiffScreen(key))
    elif isinstance(table, RollbacksPanel):
        show_rollback(app, key)
    elif isinstance(table, EventsPanel) and not isinstance(app.screen, AuditScreen):
        app.push_screen(AuditScreen(event=key))


def show_incident(app: RollcageApp, selection: Selection) -> None:
    """Show an incident in full."""
    from .screens.incident import IncidentScreen

    app.push_screen(IncidentScreen(selection.incident))


def show_rollback(app: RollcageApp, rollback: str) -> None:
    """Show a rollback in full."""
    from .screens.rollback import RollbackScreen

    app.push_screen(RollbackScreen(rollback))


def show_diff(app: RollcageApp, selection: Selection) -> None:
    """Show what the option would change."""
    from .screens.diff import DiffScreen

    app.push_screen(DiffScreen(selection.option))


def show_history(app: RollcageApp, selection: Selection) -> None:
    """Show rollbacks, snapshots and events."""
    from .screens.audit import AuditScreen

    app.push_screen(AuditScreen())


def show_alone(panel: str, app: RollcageApp, selection: Selection) -> None:
    """Show one panel alone, or all again."""
    screen = app.screen
    if isinstance(screen, BoardScreen):
        screen.frame.show_alone(panel)
        app.call_after_refresh(partial(screen.frame.focus_panel, panel))


def copy(app: RollcageApp, selection: Selection) -> None:
    """Put what is picked on the clipboard."""
    text = copied(app.board, selection)
    app.copy_to_clipboard(text)
    app.tell(f"copied {text}")


def next_theme(app: RollcageApp, selection: Selection) -> None:
    """Take the next of the looks."""
    names = list(LOOKS)
    app.theme = names[(names.index(app.theme) + 1) % len(names)] if app.theme in names else names[0]


def redraw(app: RollcageApp, selection: Selection) -> None:
    """Paint the screen anew."""
    app.repaint()


def leave(app: RollcageApp, selection: Selection) -> None:
    """Leave the console; on a further screen, go back."""
    if selection.main:
        app.leave()
    else:
        app.pop_screen()


LOOKING: Mapping[str, Handler] = {
    "help": show_help,
    "commands": show_commands,
    "filter": ask_filter,
    "jump": jump,
    "panel": next_panel,
    "open": open_focused,
    "incident": show_incident,
    "diff": show_diff,
    "history": show_history,
    "copy": copy,
    "theme": next_theme,
    "redraw": redraw,
    "quit": leave,
    **{f"alone_{panel}": partial(show_alone, panel) for panel, _title in PANELS},
}
"""By the id of the action."""
