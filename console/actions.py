"""The one registry of what an operator can do: keys, footer, help and palette all come from it.

An action that cannot be had now is shown with the reason, not hidden. Reading is a lower-case letter; what changes the
world is upper-case and asks again, and its default answer is Cancel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..core.board import Board
from ..core.model import Hold, IncidentState, RollbackState
from ..widgets.keys import KeyHint
from ..widgets.locks import find_circle, find_lock
from ..widgets.view import find_incident, find_option, find_rollback, undone_by


@dataclass(frozen=True, slots=True)
class Selection:
    """What an action would be about: what the operator has picked, and where."""

    agent: str = ""
    incident: str = ""
    option: str = ""
    rollback: str = ""
    lock: str = ""
    """As `rollcage.widgets.locks.lock_key` names it; a circle of waiters by its names."""
    panel: str = ""
    """The panel with the focus."""
    main: bool = True
    """Whether the main screen is on top."""
    read_only: bool = False
    one_colour: bool = False
    """Whether the terminal wants no colour."""


Available = Callable[[Board, Selection], str | None]
"""Returns why an action cannot be had now, in words that follow its label; None: it can."""

DECIDABLE = frozenset(
    {
        IncidentState.OPEN,
        IncidentState.WAITING,
        IncidentState.ESCALATED,
        IncidentState.UNDONE,
        IncidentState.REJECTED,
        IncidentState.FAILED,
    }
)
"""The states of an incident in which an operator may still decide; `rollcage.core.decisions` has the same."""


@dataclass(frozen=True, slots=True)
class Action:
    """Something that an operator can do."""

    id: str
    key: str
    """As Textual names it: ``A``, ``slash``, ``ctrl+l``."""
    label: str
    description: str
    group: str
    dangerous: bool = False
    """It changes the world, not only the screen; a read-only console has none of these."""
    available: Available = lambda board, selection: None
    keep: int = 0
    """How long it stays in the footer where there is little room; 0: it is not in the footer."""


def _option(board: Board, selection: Selection) -> str | None:
    return None if find_option(board, selection.option) else "no option is picked"


def _decidable(board: Board, selection: Selection) -> str | None:
    found = find_option(board, selection.option)
    if found is None:
        return "no option is picked"
    incident = found[0].incident
    if incident.state not in DECIDABLE:
        return f"{incident.id} is {incident.state.value.replace('_', ' ')}"
    waiting = next((d for d in found[0].decisions if d.option == selection.option and not d.taken), None)
    if waiting is not None:
        return f"{waiting.verdict.value} by {waiting.by} waits for the engine"
    return None


def _approvable(board: Board, selection: Selection) -> str | None:
    reason = _decidable(board, selection)
    found = find_option(board, selection.option)
    if reason is None and found is not None and not found[1].option.rehearsal.applies:
        conflicts = ", ".join(found[1].option.rehearsal.conflicts)
        return f"{selection.option} does not apply{f': {conflicts}' if conflicts else ''}"
    return reason


def _undoable(board: Board, selection: Selection) -> str | None:
    view = find_rollback(board, selection.rollback)
    if view is None:
        return "nothing was rolled back"
    rollback = view.rollback
    if rollback.state is RollbackState.RUNNING:
        return f"{rollback.id} is still running"
    if rollback.state is RollbackState.UNDONE:  # one that failed is undone on, once the obstacle is mended
        return f"{rollback.id} was undone already"
    undo = undone_by(board, rollback.id)
    return f"{rollback.id} is undone by {undo.rollback.id}" if undo else None


def _redoable(board: Board, selection: Selection) -> str | None:
    view = find_rollback(board, selection.rollback)
    if view is None:
        return "nothing was rolled back"
    undo = undone_by(board, view.rollback.id)
    if undo is None:
        return f"{view.rollback.id} is not undone by an operator"
    return f"{undo.rollback.id} is still running" if undo.rollback.state is RollbackState.RUNNING else None


def _agent(board: Board, selection: Selection) -> str | None:
    return None if any(a.name == selection.agent for a in board.agents) else "no agent is picked"


def _stoppable(board: Board, selection: Selection) -> str | None:
    agent = next((a for a in board.agents if a.name == selection.agent), None)
    if agent is None:
        return "no agent is picked"
    return f"{agent.name} is stopped already" if agent.hold is Hold.STOPPED else None


def _agents(board: Board, selection: Selection) -> str | None:
    if not board.agents:
        return "there are no agents"
    return "all agents are stopped already" if all(a.hold is Hold.STOPPED for a in board.agents) else None


def _breakable(board: Board, selection: Selection) -> str | None:
    if selection.panel != "locks" or not selection.lock:
        return "no lock is picked"
    return None if find_lock(board, selection.lock) or find_circle(board, selection.lock) else "that lock is free now"


def _main(board: Board, selection: Selection) -> str | None:
    return None if selection.main else "this is for the main screen"


def _copyable(board: Board, selection: Selection) -> str | None:
    return None if copied(board, selection) else "nothing is picked"


def copied(board: Board, selection: Selection) -> str:
    """Return what the action *copy* puts on the clipboard: the name or id of what is picked in the focused panel."""
    by_panel = {
        "fleet": selection.agent,
        "incidents": selection.incident,
        "evidence": selection.incident,
        "options": selection.option,
        "diff": selection.option,
        "locks": selection.lock.partition("\n")[0],
        "phases": selection.rollback,
        "rollbacks": selection.rollback,
    }
    return by_panel.get(selection.panel, "") or selection.option or selection.incident or board.head


def _coloured(board: Board, selection: Selection) -> str | None:
    return "this terminal wants no colour (NO_COLOR)" if selection.one_colour else None


def _known_incident(board: Board, selection: Selection) -> str | None:
    return None if find_incident(board, selection.incident) else "no incident is picked"


PANELS = (
    ("fleet", "Fleet"),
    ("lifecycle", "Lifecycle"),
    ("locks", "Locks"),
    ("incidents", "Incidents"),
    ("options", "Options"),
    ("events", "Events"),
    ("metrics", "Metrics"),
    ("evidence", "Why"),
)
"""The panels that a number key shows alone, from 1."""

LOOK, DECIDE, AGENTS, CONSOLE = "Look", "Decide", "Agents", "Console"

ACTIONS: tuple[Action, ...] = (
    Action("help", "question_mark", "help", "every key, and what it does", CONSOLE, keep=20),
    Action("filter", "slash", "filter", "show only rows with these words", LOOK, keep=5),
    Action("commands", "colon", "commands", "find any action by its name", CONSOLE, keep=6),
    Action("jump", "g", "jump", "go to a panel by its letter", LOOK, available=_main, keep=3),
    Action("panel", "tab", "panel", "go to the next panel; Shift+Tab to the last", LOOK, keep=4),
    Action("open", "enter", "open", "see the row under the cursor in full", LOOK, keep=7),
    Action("diff", "d", "diff", "what the option would change, line by line", LOOK, available=_option, keep=8),
    Action(
        "approve",
        "A",
        "approve",
        "look at the plan once more, and run it",
        DECIDE,
        dangerous=True,
        available=_approvable,
        keep=16,
    ),
    Action(
        "edit",
        "E",
        "edit",
        "change the plan in $EDITOR; it is rehearsed again",
        DECIDE,
        dangerous=True,
        available=_decidable,
        keep=10,
    ),
    Action(
        "reject",
        "R",
        "reject",
        "turn the option down; the other agents work on",
        DECIDE,
        dangerous=True,
        available=_decidable,
        keep=11,
    ),
    Action("undo", "U", "undo", "turn a rollback round", DECIDE, dangerous=True, available=_undoable, keep=12),
    Action("redo", "Z", "redo", "do a rollback again that was undone", DECIDE, dangerous=True, available=_redoable),
    Action(
        "stop",
        "S",
        "stop",
        "stop the agent and all its processes",
        AGENTS,
        dangerous=True,
        available=_stoppable,
        keep=9,
    ),
    Action(
        "pause",
        "P",
        "pause",
        "pause the agent, or let it work again",
        AGENTS,
        dangerous=True,
        available=_agent,
        keep=2,
    ),
    Action(
        "stop_all",
        "exclamation_mark",
        "stop all",
        "stop every agent",
        AGENTS,
        dangerous=True,
        available=_agents,
        keep=13,
    ),
    Action(
        "break_lock",
        "B",
        "break",
        "take a lock from its holder, or end a circle of waiters",
        AGENTS,
        dangerous=True,
        available=_breakable,
        keep=8,
    ),
    Action("history", "h", "history", "all rollbacks, snapshots and events", LOOK, keep=1),
    Action("incident", "i", "incident", "the incident in full", LOOK, available=_known_incident),
    *(
        Action(
            f"alone_{panel}", str(number), f"{title} alone", f"show {title} alone, or all again", LOOK, available=_main
        )
        for number, (panel, title) in enumerate(PANELS, 1)
    ),
    Action("copy", "y", "copy", "put the name or id of what is picked on the clipboard", LOOK, available=_copyable),
    Action("theme", "t", "theme", "the next of the three looks", CONSOLE, available=_coloured),
    Action("redraw", "f5", "redraw", "paint the screen anew, after noise on the line", CONSOLE),
    Action(
        "quit", "q", "quit", "leave; agents and a running rollback go on. On further screens: back", CONSOLE, keep=19
    ),
)
BY_ID = {action.id: action for action in ACTIONS}


def reason_against(action: Action, board: Board, selection: Selection) -> str | None:
    """Return why ``action`` cannot be had now, or None."""
    if action.dangerous and selection.read_only:
        return "this console only reads"
    return action.available(board, selection)


def _hopeless(action: Action, board: Board, selection: Selection) -> bool:
    """Return whether there is nothing at all that ``action`` could be about: a footer would only offer it in vain."""
    if action.id in {"approve", "edit", "reject"}:
        found = find_option(board, selection.option)
        return found is None or found[0].incident.state not in DECIDABLE
    return find_rollback(board, selection.rollback) is None


_NAMES = {
    "question_mark": "?",
    "slash": "/",
    "colon": ":",
    "exclamation_mark": "!",
    "tab": "Tab",
    "enter": "Enter",
    "escape": "Esc",
    "space": "Space",
    "backspace": "Backspace",
    "f5": "F5",
}


def key_name(key: str) -> str:
    """Return a key as people write it: ``?``, ``Tab``, ``Ctrl+L``."""
    first = key.split(",", maxsplit=1)[0]
    parts = first.split("+")
    parts[-1] = _NAMES.get(parts[-1], parts[-1] if len(parts[-1]) == 1 else parts[-1].replace("_", " ").title())
    return "+".join([*(part.title() for part in parts[:-1]), parts[-1].upper() if len(parts) > 1 else parts[-1]])


def hints(board: Board, selection: Selection, keys: dict[str, str]) -> Sequence[KeyHint]:
    """Return the footer: in the registry's order, what cannot be had now marked as such."""
    found = []
    for action in ACTIONS:
        if not action.keep or (action.id == "jump" and not selection.main):
            continue
        if action.dangerous and selection.read_only:
            continue
        enabled = reason_against(action, board, selection) is None
        if action.group == DECIDE and not enabled and _hopeless(action, board, selection):
            continue
        if action.id == "break_lock" and not enabled:
            continue
        label = "back" if action.id == "quit" and not selection.main else action.label
        found.append(KeyHint(action.id, key_name(keys[action.id]), label, enabled, action.keep))
    return found
