"""``doctor``: is everything there that rollcage needs? Each fault with its mend."""

from __future__ import annotations

import click

from ...core.errors import ExitCode
from ..context import Context
from ..options import json_option
from ..output import write_json, write_line


@click.command()
@json_option()
@click.pass_obj
def doctor(context: Context, as_json: bool) -> int:
    """Look for what is missing or broken; say how to mend it.

    Looks at git, repository, state, settings, checks, database and terminal. Exit code: 0, or 1 with a fault.
    """
    from ..examination import Status, examine

    marks = {Status.OK: "✓", Status.WARNING: "!", Status.FAULT: "✖"}
    faults = 0
    for found in examine(context):
        faults += found.status is Status.FAULT
        if as_json:
            body = {"name": found.name, "status": found.status, "detail": found.detail, "mend": found.mend}
            write_json({"event": "doctor", "ok": found.status is not Status.FAULT, **body})
        else:
            write_line(f"{marks[found.status]} {found.name:<13} {found.detail}")
            if found.mend:
                write_line(f"  {'':<13} → {found.mend}")
    return ExitCode.ERROR if faults else ExitCode.DONE
