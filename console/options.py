"""Options and arguments that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ..core.errors import RollcageError
from ..core.units import duration

F = TypeVar("F", bound=Callable[..., Any])


class Duration(click.ParamType[float]):
    """Seconds, or with a unit: ``90s``, ``10m``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        try:
            seconds = duration(value)
        except ValueError as error:
            self.fail(f"'{value}' {error}", param, ctx)
        if seconds < 0:
            self.fail(f"'{value}' is negative; allowed: 0 or more seconds", param, ctx)
        return seconds


def known_ids(*kinds: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Return what completes ids of ``kinds`` (incident, option, rollback, snapshot) on a shell, newest first.

    Nothing is made and nobody asked for it: where the repository is not known yet, there is nothing to complete.
    """

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        from .context import Context

        context = Context(ctx.find_root().params.get("directory"))
        try:
            if not context.is_known:
                return []
            store = context.store
            incidents = [incident.id for incident in store.incidents()]
            found = {
                "incident": lambda: incidents,
                "option": lambda: [option.id for each in incidents for option, _ in store.options(each)],
                "rollback": lambda: [rollback.id for rollback in store.rollbacks(100)],
                "snapshot": lambda: [snapshot.id for snapshot in store.snapshots()],
            }
            return [each for kind in kinds for each in found[kind]() if each.startswith(incomplete)]
        except RollcageError:
            return []
        finally:
            context.close()

    return complete


def json_option(text: str = "One JSON object a line.") -> Callable[[F], F]:
    """Add ``--json`` as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help=text)
