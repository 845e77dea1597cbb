"""``diagnose`` and ``options``: what happened, and what can be done about it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import click

from ...core.errors import ExitCode, UsageError
from ...core.text import clean
from ..context import Context
from ..diagnostics import say
from ..options import json_option, known_ids
from ..output import Column, write_json, write_line, write_list

if TYPE_CHECKING:
    from ...core.model import CheckOutcome, Incident, Rehearsal

WHY = 60
"""So many characters of why an option is refused are in the list; rollcage show has all."""


@click.command()
@click.argument("incident", required=False, shell_complete=known_ids("incident"))
@json_option()
@click.pass_obj
def diagnose(context: Context, incident: str | None, as_json: bool) -> int:
    """Diagnose INCIDENT now, with the checks; changes nothing.

    Default: the newest open one, else the newest.
    """
    from ...core.diagnose.diagnose import diagnose as find_out
    from ..describe import diagnosis_lines
    from .lists import body

    found = (_incidents(context, incident) or context.store.incidents(limit=1))[:1]
    if not found:
        raise UsageError("there is no incident to diagnose; rollcage --auto --once looks for one")
    progress = say if context.interactive else _quietly
    diagnosis = find_out(context.services(), found[0], progress=progress, stop=threading.Event())
    if as_json:
        write_json(body("diagnosis", diagnosis))
    else:
        for line in diagnosis_lines(diagnosis):
            write_line(line)
    return ExitCode.DONE


def _quietly(text: str) -> None:
    """Leave progress out where no terminal reads it."""


@click.command()
@click.argument("incident", required=False, shell_complete=known_ids("incident"))
@json_option()
@click.pass_obj
def options(context: Context, incident: str | None, as_json: bool) -> int:
    """List the rehearsed options of INCIDENT, best first.

    Default: of all open ones.
    """
    from .lists import body

    pairs = [pair for found in _incidents(context, incident) for pair in context.store.options(found.id)]
    write_list(
        pairs,
        (
            Column("id", lambda pair: pair[0].id),
            Column("type", lambda pair: pair[0].type),
            Column("takes back", lambda pair: " ".join(sha[:12] for sha in pair[0].target_commits)),
            Column("files", lambda pair: len(pair[0].affected_files), right=True),
            Column("risk", lambda pair: f"{pair[0].risk_level} {pair[0].risk_points}/10"),
            Column("applies", lambda pair: _applies(pair[0].rehearsal)),
            Column("checks", lambda pair: _checks(pair[0].rehearsal.checks)),
            Column("loses", lambda pair: pair[1].loses or "nothing"),
            Column("plan", lambda pair: pair[0].plan_hash[:12]),
        ),
        as_json=as_json,
        body=lambda pair: body("option", pair[0]),
        empty="no options; rollcage incidents lists the incidents",
    )
    return ExitCode.DONE


def _applies(rehearsal: Rehearsal) -> str:
    if rehearsal.applies:
        return "yes"
    why = ", ".join(rehearsal.conflicts)
    return f"no: {why if len(why) <= WHY else why[: WHY - 1] + '…'}" if why else "no"


def _checks(outcomes: tuple[CheckOutcome, ...]) -> str:
    words = {True: "pass", False: "FAIL", None: "?"}
    return ", ".join(f"{outcome.name} {words[outcome.passed]}" for outcome in outcomes)


def _incidents(context: Context, incident_id: str | None) -> list[Incident]:
    """Return the named incident, else the open ones, newest first. Raises UsageError where there is no such one."""
    if incident_id is None:
        return context.store.incidents(open_only=True)
    incident = context.store.incident(incident_id)
    if incident is None:
        raise UsageError(f"there is no incident '{clean(incident_id, limit=80)}'; rollcage incidents lists them")
    return [incident]
