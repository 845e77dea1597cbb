"""``snapshot``: the complete state, kept by hand."""

from __future__ import annotations

import click

from ...core.errors import ExitCode
from ..context import Context
from ..diagnostics import say
from ..options import json_option
from ..output import write_json, write_line
from ..who import operator_name


@click.command()
@json_option()
@click.pass_obj
def snapshot(context: Context, as_json: bool) -> int:
    """Keep git, the database and the configured files as they are now."""
    from ...core.execute.snapshots import snapshot_name, take_snapshot
    from .lists import body

    services = context.services()
    taken = take_snapshot(services, snapshot_name(services, context.clock.now()), f"by hand: {operator_name()}")
    if as_json:
        write_json(body("snapshot", taken))
    else:
        write_line(taken.id)
    for warning in taken.warnings:
        say(warning)
    return ExitCode.DONE
