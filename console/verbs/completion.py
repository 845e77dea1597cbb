"""``completion``: the script by which a shell completes rollcage's words."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from ...core.errors import ExitCode
from ..output import write_block


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> int:
    """Print the completion script of SHELL.

    For example, in ~/.bashrc: eval "$(rollcage completion bash)"
    """
    kind = get_completion_class(shell)
    assert kind is not None
    write_block(kind(ctx.find_root().command, {}, "rollcage", "_ROLLCAGE_COMPLETE").source())
    return ExitCode.DONE
