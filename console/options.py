"""Options and arguments that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

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


def json_option(text: str = "One JSON object a line.") -> Callable[[F], F]:
    """Add ``--json`` as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help=text)
