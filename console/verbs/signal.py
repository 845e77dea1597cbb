"""``signal``: listed in the help here; `rollcage.console.light` does it before anything heavy is imported."""

from __future__ import annotations

import click

from .. import light
from ..context import Context


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
    options_metavar="",
)
@click.argument("words", metavar="KIND [NAME] [VALUE] --agent A", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def signal(context: Context, words: tuple[str, ...]) -> int:
    """Report a metric, a step, an error, ... as an agent."""
    return light.dispatch(["-C", str(context.directory), "signal", *words]) or 0
