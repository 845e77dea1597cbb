"""The command line as a function: arguments in, exit code and both streams out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from rollcage.console.cli import main


@dataclass(frozen=True)
class Ran:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """The JSON lines of standard output; fails if anything else is there."""
        return [json.loads(line) for line in self.out.splitlines()]


Rollcage = Callable[..., Ran]


def runner(capsys: pytest.CaptureFixture[str]) -> Rollcage:
    """Return a function that runs ``rollcage ARGUMENTS`` in this process, without a terminal."""

    def rollcage(*arguments: str) -> Ran:
        capsys.readouterr()
        code = main(arguments)
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return rollcage
