"""What the actions do that change the world: each asks first, and then only records the operator's wish."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ..core.model import Hold
from ..widgets.locks import find_circle, find_lock
from .actions import BY_ID, Selection
from .looking import Handler

if TYPE_CHECKING:
    from .app import RollcageApp
    from .screens.approval import Answer


def approve(app: RollcageApp, selection: Selection) -> None:
    """Show the option once more and take the answer to exactly that plan."""
    from .screens.approval import ApprovalScreen

    option = selection.option
    screen = ApprovalScreen(option, app.moment(), app.operator_name, app.keys, read_only=app.read_only)

    def answered(answer: Answer | None) -> None:
        if answer is None:
            return
        if answer.choice == "edit":
            edit(app, selection)
        elif answer.choice == "reject":
            reject(app, selection)
        else:
            call = partial(app.operator.approve, option, screen.plan_hash, answer.confirm)
            app.wish(f"approve {option}", call, f"{option} is approved")

    app.push_screen(screen, answered)


def edit(app: RollcageApp, selection: Selection) -> None:
    """Open the plan in the operator's editor."""
    from .screens.plan_editor import PlanEditor

    PlanEditor(app, selection.option, app.keys["edit"]).start()


def reject(app: RollcageApp, selection: Selection) -> None:
    """Turn the option down."""
    option = selection.option

    def answered(reason: str | None) -> None:
        if reason is not None:
            app.wish(f"reject {option}", partial(app.operator.reject, option, reason), f"{option} is rejected")

    lines = ["Nothing is rolled back. The other agents work on; the problem agent stays as it is."]
    _confirm(app, "reject", f"Reject {option}?", lines, answered, prompt="why (may stay empty)")


def undo(app: RollcageApp, selection: Selection) -> None:
    """Turn a rollback round."""
    rollback = selection.rollback
    record = next(view.rollback for view in app.board.rollbacks if view.rollback.id == rollback)
    what = f"What {rollback} ({record.kind}, {record.state.value}) took back comes again, as a new commit on top."
    call = partial(app.operator.undo, rollback)
    _turn(app, "undo", rollback, f"Undo {rollback}?", what, call, f"{rollback} is to be undone")


def redo(app: RollcageApp, selection: Selection) -> None:
    """Do an undone rollback again."""
    rollback = selection.rollback
    what = f"What {rollback} took back, and its undo brought again, goes once more, as a new commit on top."
    call = partial(app.operator.redo, rollback)
    _turn(app, "redo", rollback, f"Do {rollback} again?", what, call, f"{rollback} is to be done again")


def _turn(
    app: RollcageApp, action: str, rollback: str, title: str, what: str, call: Callable[[], object], done: str
) -> None:
    def answered(yes: str | None) -> None:
        if yes is not None:
            app.wish(f"{action} {rollback}", call, done)

    _confirm(app, action, title, [what, "Work that came after it stays. The agents stand by meanwhile."], answered)


def stop(app: RollcageApp, selection: Selection) -> None:
    """Stop an agent."""
    agent = selection.agent

    def answered(yes: str | None) -> None:
        if yes is not None:
            app.wish(f"stop {agent}", partial(app.operator.stop_agent, agent), f"{agent} is to be stopped")

    lines = [
        f"{agent} and all its processes are ended. What it has not written to a file is lost.",
        "It stays stopped until it is resumed.",
    ]
    _confirm(app, "stop", f"Stop {agent}?", lines, answered)


def pause(app: RollcageApp, selection: Selection) -> None:
    """Pause an agent, or let it work again."""
    agent = selection.agent
    status = next(status for status in app.board.agents if status.name == agent)
    if status.hold in {Hold.PAUSED, Hold.STOPPED, Hold.STANDBY}:
        app.wish(f"resume {agent}", partial(app.operator.resume_agent, agent), f"{agent} is to work again")
    else:
        app.wish(f"pause {agent}", partial(app.operator.pause_agent, agent), f"{agent} is to pause")


def stop_all(app: RollcageApp, selection: Selection) -> None:
    """Stop every agent."""
    names = [status.name for status in app.board.agents]

    def answered(yes: str | None) -> None:
        if yes is not None:
            app.wish("stop all", partial(app.operator.stop_all, names), "all agents are to be stopped")

    lines = [
        f"{len(names)} agents and all their processes are ended. What they have not written to a file is lost.",
        "They stay stopped until they are resumed.",
    ]
    _confirm(app, "stop_all", "Stop all agents?", lines, answered)


def break_lock(app: RollcageApp, selection: Selection) -> None:
    """Take a lock from its holder, or end a circle of waiters."""
    board = app.board
    circle, lease = find_circle(board, selection.lock), find_lock(board, selection.lock)
    if circle:
        what, call = "the circle of waiters", partial(app.operator.break_deadlock, circle)
        lines = [
            " → ".join(circle),
            "Who waits longest is timed out: it loses its place and its locks, and is started again with its progress.",
        ]
        _ask_to_break(app, what, lines, lambda reason: call, "", "the circle is broken")
    elif lease is not None:
        lines = [
            f"{lease.holder} holds it with token {lease.token}, and notices at its next renewal.",
            "Until then it may go on; what the lock protects refuses it only where tokens are checked.",
        ]
        _ask_to_break(
            app,
            f"lock {lease.name}",
            lines,
            lambda reason: partial(app.operator.break_lock, lease.name, lease.token, reason),
            "why (its holder is told)",
            f"{lease.name} was taken from {lease.holder}",
        )


def _ask_to_break(
    app: RollcageApp,
    what: str,
    lines: Sequence[str],
    call: Callable[[str], Callable[[], object]],
    prompt: str,
    done: str,
) -> None:
    def answered(reason: str | None) -> None:
        if reason is not None:
            app.wish(f"break {what}", call(reason), done)

    _confirm(app, "break_lock", f"Break {what}?", lines, answered, prompt=prompt, needed=bool(prompt))


def _confirm(
    app: RollcageApp,
    action: str,
    title: str,
    lines: Sequence[str],
    answered: Callable[[str | None], None],
    *,
    prompt: str = "",
    needed: bool = False,
) -> None:
    from .screens.dialog import ConfirmScreen

    key, label = app.keys[action], BY_ID[action].label
    app.push_screen(ConfirmScreen(title, lines, key, label, prompt=prompt, needed=needed), answered)


DECIDING: Mapping[str, Handler] = {
    "approve": approve,
    "edit": edit,
    "reject": reject,
    "undo": undo,
    "redo": redo,
    "stop": stop,
    "pause": pause,
    "stop_all": stop_all,
    "break_lock": break_lock,
}
"""By the id of the action."""
