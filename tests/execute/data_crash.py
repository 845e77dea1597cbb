"""Processes that bring a database back and may be killed within it; `tests.crashes` runs them."""

from __future__ import annotations

import importlib
import itertools
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.crashes import Processes
from tests.execute.scene import Scene, carry_on


class DataCrashServer(Processes):
    """Carries rollbacks on, in one process after the other."""

    def __init__(self) -> None:
        super().__init__(__name__)

    def run(self, scene: Scene, rollback: str, settings: Mapping[str, object], *die_in: object) -> tuple[int, str]:
        """Carry ``rollback`` on in a process of its own; return the signal that killed it, and what came of it.

        ``die_in``: a module, a function in it, which of its calls, from 0, is the last, and whether it ends it.
        """
        self.begin(place=str(scene.place), rollback=rollback, settings=settings, die_in=die_in)
        return self.end()


def act(request: Mapping[str, Any]) -> str:
    """See `DataCrashServer.run`."""
    _die_in(*request["die_in"])
    return carry_on(Scene(Path(request["place"])), request["rollback"], **request["settings"]).state.value


def _die_in(module: str, name: str, call: int, moment: str = "before") -> None:
    holder: Any = importlib.import_module(module)
    *path, last = name.split(".")
    for part in path:
        holder = getattr(holder, part)
    function, calls = getattr(holder, last), itertools.count()

    def dying(*args: Any, **named: Any) -> Any:
        mine = next(calls) == call
        if mine and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*args, **named)
        if mine:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(holder, last, dying)
