"""What an operator decides: approve, reject, edit, rollback, undo, redo."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from ...core.errors import ExitCode, UsageError
from ..asking import confirm as ask
from ..context import Context
from ..describe import option_lines
from ..diagnostics import say
from ..options import known_ids

if TYPE_CHECKING:
    from ...core.model import Decision

PLAN = click.option(
    "--plan", "plan_hash", metavar="HASH", default="", help="Refuse if the plan's effect is another by now."
)
CONFIRM = click.option(
    "--confirm",
    metavar="WORDS",
    default="",
    help="What would be lost, in the words that show prints; CRITICAL needs it.",
)


def _recorded(context: Context, what: str) -> int:
    """Say that a decision was written, and whether anybody carries it out."""
    engine = context.engine()
    if engine is None:
        say(f"{what}, but no engine is running to carry it out: start rollcage, or rollcage --auto")
        return ExitCode.WAITING
    say(f"{what}; the engine ({engine}) carries it out")
    return ExitCode.DONE


def _carry_out(context: Context, decision: Decision) -> int:
    """Wait until the decision has been carried out; become the engine for it where none runs."""
    from ..auto import carry_out

    return carry_out(context, decision)


@click.command()
@click.argument("option", shell_complete=known_ids("option"))
@PLAN
@CONFIRM
@click.pass_obj
def approve(context: Context, option: str, plan_hash: str, confirm: str) -> int:
    """Approve OPTION; the engine carries it out.

    The approval is bound to what the plan does now. Exit code: 0, or 3 where no engine is running.
    """
    context.operator().approve(option, plan_hash, confirm)
    return _recorded(context, f"approved {option}")


@click.command()
@click.argument("option", shell_complete=known_ids("option"))
@click.pass_obj
def reject(context: Context, option: str) -> int:
    """Reject OPTION: nothing is taken back."""
    context.operator().reject(option)
    return _recorded(context, f"rejected {option}")


@click.command()
@click.argument("option", shell_complete=known_ids("option"))
@click.pass_obj
def edit(context: Context, option: str) -> int:
    """Change the plan of OPTION in $EDITOR; it is rehearsed again."""
    from ..editor import edit_text

    operator = context.operator()
    before = after = operator.plan_yaml(option)
    while True:
        after = edit_text(after, os.environ, suffix=".yaml")
        if after == before:
            say("nothing was changed")
            return ExitCode.DONE
        problems = operator.edit(option, after)
        if not problems:
            return _recorded(context, f"edited {option}")
        for problem in problems:
            say(problem)
        if not context.interactive or not click.confirm("Edit it again?", default=True, err=True):
            raise UsageError(f"{option} is as it was")


@click.command()
@click.argument("option", shell_complete=known_ids("option"))
@click.option("--yes", is_flag=True, help="Do not ask. CRITICAL needs --confirm instead.")
@PLAN
@CONFIRM
@click.pass_obj
def rollback(context: Context, option: str, yes: bool, plan_hash: str, confirm: str) -> int:
    """Approve OPTION and wait for the end.

    Becomes the engine where none runs.
    """
    operator = context.operator()
    known, plan = context.store.option(option), context.store.plan(option)
    if known is not None and plan is not None:  # else approve says so
        if context.interactive and not yes:
            for line in option_lines(known, plan):
                say(line)
        ask(context, f"Roll back {option}?", yes=yes or bool(confirm), what=f"rollback {option}")
    return _carry_out(context, operator.approve(option, plan_hash, confirm))


@click.command()
@click.argument("rollback", shell_complete=known_ids("rollback"))
@click.pass_obj
def undo(context: Context, rollback: str) -> int:
    """Turn ROLLBACK round, as a new rollback.

    Waits for the end; becomes the engine where none runs.
    """
    return _carry_out(context, context.operator().undo(rollback))


@click.command()
@click.argument("rollback", shell_complete=known_ids("rollback"))
@click.pass_obj
def redo(context: Context, rollback: str) -> int:
    """Do ROLLBACK again after it was undone.

    Waits for the end; becomes the engine where none runs.
    """
    return _carry_out(context, context.operator().redo(rollback))
