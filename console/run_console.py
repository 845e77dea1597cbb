"""``rollcage``: the console on a repository, with an engine in this process unless one runs elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable

from ..core.coordination.leader import Leader
from .board_reader import BoardReader
from .context import Context
from .engine_host import EngineHost
from .who import operator_name


def run_console(context: Context, *, read_only: bool, plain: bool, after: Callable[[], object] = lambda: None) -> int:
    """Show the console until the operator leaves; return the exit code.

    A rollback in progress outlives the screen: it is carried to its end before the process ends. ``read_only`` starts
    no engine and writes no decision. ``after`` is called last, also where a signal ends the process. Raises what
    opening the repository, its state and its settings raises.
    """
    from .app import run_app

    settings = context.settings
    leader = Leader(context.repository.common_dir, context.own_leases)
    stops: list[Callable[[], object]] = []

    def stop() -> None:
        """Stop all that runs and wait for it, also where another thread is at that already."""
        for each in reversed(stops):
            each()

    def leave() -> None:
        stop()
        after()

    try:
        if not read_only:
            host = EngineHost(context.services(), leader)
            stops.append(host.stop)
            host.start()
        reader = BoardReader(context, leader, settings.level.value)
        stops.append(reader.stop)
        reader.start()
        return run_app(
            reader,
            context.operator(read_only=read_only),
            settings=settings.console,
            clock=context.clock,
            environment=os.environ,
            read_only=read_only,
            operator_name=operator_name(),
            plain=plain,
            on_leave=leave,
        )
    finally:
        stop()
