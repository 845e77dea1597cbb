"""Text from outside neither crashes the console nor reaches the terminal with an escape, wherever it stands."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollcage.console.app import RollcageApp
from tests import boards
from tests.console.stage import stage

NASTY = (
    "\x1b[2J\x1b]0;owned\x07",
    "\x9b31m\x9d52;c;eA==\x9c",
    "[/]",
    "[@click=app.quit]x[/]",
    "[bold red]",
    "$(reboot) `x` \\[x]",
    "漢字" * 20,
    "e" + "\u0301" * 30,
    "שלום عربي \u202e\u2066",
    "👩‍👩‍👧‍👦🇩🇪👍🏽❤️",
    "\ud800\ufffe\x00\x7f",
    "a\nb\tc\r\n\x0b\u2028d",
    "",
    " " * 50,
    "x" * 2_000,
)
TEXTS = st.lists(st.sampled_from(NASTY) | st.text(max_size=40), min_size=1, max_size=3)
SCREENS: tuple[list[str], ...] = (
    [],
    ["i"],
    ["A"],
    ["h"],
    ["enter"],
    ["d"],
    ["question_mark"],
    ["g", "r", "enter"],
    ["R"],
    ["S"],
)


def painted(app: RollcageApp) -> str:
    """Return all that would go to the terminal for the whole screen, without Textual's own sequences."""
    update = app.screen._compositor.render_full_update()
    return "".join(segment.text for line in update.strips for strip in line for segment in strip)


async def show(texts: Sequence[str], *screens: Sequence[str]) -> None:
    """Show each text on each screen."""
    async with stage(boards.hostile(texts[0]), size=(100, 30)) as it:
        for text in texts:
            await it.give(boards.hostile(text))
            for keys in screens:
                await it.press(*keys)
                shown = painted(it.app)
                assert all(char.isprintable() for char in shown), (text, keys)
                assert it.app._exit is False, (text, keys)
                await it.press("escape")
                while len(it.app.screen_stack) > 1:
                    it.app.pop_screen()
                    await it.settle()


async def test_no_screen_lets_it_through() -> None:
    await show(["\x1b]0;x\x07[/][@click=app.quit]漢\u0301\u202e", "[/]"], *SCREENS)


@pytest.mark.parametrize(("first", "keys"), [(0, []), (5, ["A"]), (10, ["i"])], ids=["main", "approval", "incident"])
async def test_no_nasty_text_gets_through(first: int, keys: list[str]) -> None:
    await show(NASTY[first : first + 5], keys)


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(TEXTS, st.sampled_from(SCREENS))
def test_whatever_the_text(texts: list[str], keys: list[str]) -> None:
    asyncio.run(show(texts, keys))


async def test_a_notice_shows_markup_as_text() -> None:
    async with stage() as it:
        it.app.tell("[/] [@click=app.quit]x[/] \x1b[31m", bad=True)
        await it.settle()
        assert "✖ [/] [@click=app.quit]x[/]" in it.picture
        assert "\x1b" not in painted(it.app)
