"""``lock``, where it needs more than the leases of this machine: settings to read, Redis, the audit log of a break.

Listed in the help here; `rollcage.console.light` does most of it before anything heavy is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ...core.errors import ExitCode
from .. import lock as locks
from ..context import Context
from ..output import write_block

if TYPE_CHECKING:
    from ...core.coordination.leases import Leases, Recorder


class Verbatim(click.Command):
    """Takes all words as they are: click would swallow the ``--`` before the command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the words."""
        ctx.params["words"] = tuple(args)
        return []


@click.command(cls=Verbatim, add_help_option=False, options_metavar="")
@click.argument("words", metavar="acquire|renew|release|break|run NAME ...", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def lock(context: Context, words: tuple[str, ...]) -> int:
    """Take, renew, give back or break a lock, or hold it for a command."""
    wanted = locks.read(words)
    if wanted is None:
        write_block(locks.HELP.rstrip("\n"))
        return ExitCode.DONE
    context.work_on(wanted.directory)
    coordination, paths, clock = context.settings.coordination, context.paths, context.clock

    def open_leases() -> Leases:  # in the keeper: what is opened here is not to be shared with it
        from ...core.coordination.opening import open_leases

        return open_leases(coordination, paths, clock)

    def record() -> tuple[str, Recorder]:
        from ..who import operator_name, refuse_agents

        refuse_agents(context.store, f"break lock {wanted.name}")
        return operator_name(), context.store.audit

    return locks.carry_out(wanted, open_leases, record)
