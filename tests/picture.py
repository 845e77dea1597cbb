"""Draws the console for the README, as it is on the demo's sandbox: ``make picture``."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
import tempfile
from pathlib import Path

from rollcage.console.app import RollcageApp
from rollcage.console.auto import run_auto
from rollcage.console.board_reader import BoardReader
from rollcage.console.context import Context
from rollcage.console.demo import SETTLE_S, await_fault, end_fleet, open_sandbox, start_fleet
from rollcage.core.config import ConsoleSettings, Level
from rollcage.core.coordination.leader import Leader

SIZE = (130, 42)


async def draw(context: Context) -> str:
    """Return the console as SVG, without web fonts: the picture must not load anything from elsewhere."""
    leader = Leader(context.repository.common_dir, context.own_leases)
    leader.try_lead()
    app = RollcageApp(
        BoardReader(context, leader, "propose"),
        context.operator(),
        settings=ConsoleSettings(),
        clock=context.clock,
        operator_name="you@host",
        environment={"TERM": "xterm-256color", "COLORTERM": "truecolor"},
    )
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        drawn = app.export_screenshot(title="rollcage")
    leader.resign()
    return re.sub(r"@font-face \{[^}]*\}\s*", "", drawn)


def main(target: Path) -> None:
    """Let the sandbox's agents work until the fault, diagnose it, and draw what the operator sees."""
    folder = Path(tempfile.mkdtemp(prefix="rollcage-picture-"))
    try:
        context = open_sandbox(folder)
        start_fleet(context)
        try:
            run_auto(context, once=True, settle=0.0, as_json=False, level=Level.PROPOSE)
            await_fault(context)
            run_auto(context, once=True, settle=SETTLE_S, as_json=False, level=Level.PROPOSE)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(asyncio.run(draw(context)), encoding="utf-8")
        finally:
            end_fleet(context)
            context.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
