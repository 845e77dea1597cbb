"""Questions to the operator. They go to standard error, and the default answer is no."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..core.errors import UsageError
from ..core.settings_file import NAME
from .diagnostics import say
from .who import operator_name, refuse_agents

if TYPE_CHECKING:
    from .context import Context


def confirm(context: Context, question: str, *, yes: bool, what: str) -> None:
    """Go on if the operator says yes, or said ``--yes``; ``what`` names it where nobody is there to be asked.

    Raises UsageError on a refusal, and where there is no terminal and no ``--yes``.
    """
    if yes:
        return
    if not context.interactive:
        raise UsageError(f"{what} needs --yes where no terminal is there to ask")
    if not click.confirm(question, default=False, err=True):
        raise UsageError(f"not confirmed: {what} was not done")


def ask_to_trust(context: Context) -> bool:
    """Show what changed in the settings since they were trusted, ask, and trust them on a yes; return the answer."""
    from ..core.trust import difference, pinned_content, trust, written_content

    written = written_content(context.repository.top)
    say(f"the settings differ from those that were trusted; what {NAME} names is run by rollcage:")
    show_difference(difference(pinned_content(context.paths), written), err=True)
    if not click.confirm("Trust it?", default=False, err=True):
        return False
    refuse_agents(context.store, f"trust {NAME}")
    trust(context.paths, context.store, written, operator_name())
    return True


def show_difference(lines: list[str], *, err: bool = False) -> None:
    """Print a diff, in colours where a terminal reads it."""
    colours = {"+": "green", "-": "red", "@": "cyan"}
    for line in lines:
        click.echo(click.style(line, fg=colours.get(line[:1])), err=err)
