"""Pictures of the screens that matter most. ``pytest --snapshot-update`` takes them anew; look at them before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from rollcage.core.config import ConsoleSettings
from tests import boards
from tests.console.stage import Stage

Compare = Callable[..., bool]

PICTURES = [
    pytest.param("waiting", (80, 24), [], "dark", id="waiting-80x24"),
    pytest.param("waiting", (120, 40), [], "dark", id="waiting-120x40"),
    pytest.param("waiting", (200, 60), [], "dark", id="waiting-200x60"),
    pytest.param("waiting", (120, 40), [], "light", id="waiting-light"),
    pytest.param("waiting", (120, 40), [], "ansi", id="waiting-ansi"),
    pytest.param("healthy", (120, 40), [], "dark", id="healthy"),
    pytest.param("empty", (80, 24), [], "dark", id="empty"),
    pytest.param("rolling_back", (120, 40), [], "dark", id="rolling-back"),
    pytest.param("recovered", (80, 24), [], "dark", id="recovered"),
    pytest.param("waiting", (120, 40), ["A"], "dark", id="approval"),
    pytest.param("waiting", (80, 24), ["g", "o", "end", "A", "A"], "dark", id="approval-critical"),
    pytest.param("waiting", (120, 40), ["i"], "dark", id="incident"),
    pytest.param("rolling_back", (120, 40), ["g", "r", "enter"], "dark", id="rollback"),
    pytest.param("several", (120, 40), ["i"], "dark", id="several-culprits"),
]


@pytest.mark.parametrize(("situation", "size", "keys", "theme"), PICTURES)
def test_the_screen_looks_as_it_did(
    snap_compare: Compare, situation: str, size: tuple[int, int], keys: list[str], theme: str
) -> None:
    it = Stage(boards.SITUATIONS[situation](), ConsoleSettings(theme=theme), {}, read_only=False)

    async def before(pilot: Pilot[Any]) -> None:
        it.pilot = pilot
        await it.settle()
        await it.press(*keys)

    assert snap_compare(it.app, terminal_size=size, run_before=before)
