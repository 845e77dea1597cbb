"""``replay``: recorded signals through the detectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...core.errors import ExitCode, GitError, UsageError
from ..context import Context
from ..options import json_option
from ..output import Column, write_list

if TYPE_CHECKING:
    from ...core.config import Settings
    from ...core.model import Finding


@click.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--rules", "rules_file", metavar="FILE", type=click.Path(path_type=Path), help="Settings with other rules."
)
@json_option()
@click.pass_obj
def replay(context: Context, file: Path, rules_file: Path | None, as_json: bool) -> int:
    """Run the detectors over recorded signals.

    FILE has JSON lines as rollcage signals --export writes them; - is standard input. Prints the findings.
    """
    from ...core.detect.replay import replay as findings

    settings = _settings(context, rules_file)
    try:
        with click.open_file(str(file), encoding="utf-8", errors="replace") as lines:
            write_list(
                findings(lines, settings),
                (
                    Column("at", lambda finding: finding.at),
                    Column("severity", lambda finding: "over" if finding.ended else finding.severity),
                    Column("agent", lambda finding: finding.agent),
                    Column("rule", lambda finding: finding.rule),
                    Column("summary", lambda finding: finding.summary),
                ),
                as_json=as_json,
                body=_body,
                empty="no findings",
            )
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    return ExitCode.DONE


def _body(finding: Finding) -> dict[str, object]:
    """Return a finding as the engine reports it: its signals are in the recording."""
    from .lists import body

    return {key: value for key, value in body("finding", finding).items() if key != "signals"}


def _settings(context: Context, rules_file: Path | None) -> Settings:
    """Return the settings of ``--rules``, else of the repository; outside of one the defaults."""
    from ...core.config import Settings
    from ...core.settings_file import parse, read_bytes
    from ..review import review

    if rules_file is not None:
        try:
            return parse(read_bytes(rules_file, str(rules_file)), str(rules_file), review)
        except FileNotFoundError:
            raise UsageError(f"cannot read {rules_file}: there is no such file") from None
    try:
        context.repository  # noqa: B018 - opened to see whether there is one
    except (UsageError, GitError):
        return Settings()
    return context.settings
