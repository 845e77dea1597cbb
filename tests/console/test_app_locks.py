"""Locks and circles of waiters, as the operator breaks them from the console."""

from __future__ import annotations

from dataclasses import replace

from tests import boards
from tests.console.stage import stage


async def test_a_lock_is_broken_in_two_steps_with_a_reason() -> None:
    async with stage() as it:
        await it.press("3", "down", "down", "B")
        assert "Break lock issue/42?" in it.picture
        assert "executor holds it with token 118" in it.picture
        await it.press("shift+tab")
        await it.type("hung")
        await it.press("enter", "B")
        assert it.operator.wishes == [("break", "issue/42", 118, "hung")]


async def test_without_a_reason_the_key_leads_to_where_it_is_typed() -> None:
    async with stage() as it:
        await it.press("3", "down", "down", "B", "B")
        assert it.operator.wishes == []
        await it.type("hung")
        await it.press("enter", "B")
        assert it.operator.wishes == [("break", "issue/42", 118, "hung")]


async def test_of_a_long_token_the_end_is_shown_and_all_of_it_before_it_is_broken() -> None:
    (lease, *_) = boards.healthy().leases
    async with stage(replace(boards.healthy(), leases=(replace(lease, token=1795196846031537),))) as it:
        await it.press("3")
        assert " …031537 " in it.picture
        await it.press("B")
        assert "with token 1795196846031537" in it.picture


async def test_enter_alone_breaks_nothing() -> None:
    async with stage() as it:
        await it.press("3", "down", "B", "enter", "enter")
        assert it.operator.wishes == []


async def test_a_circle_of_waiters_is_broken_as_a_whole() -> None:
    async with stage() as it:
        await it.press("3", "B")
        assert "Break the circle of waiters?" in it.picture
        assert "planner → issue/42 → executor → issue/7 → planner" in it.picture
        await it.press("B")
        assert it.operator.wishes == [("break circle", "planner", "issue/42", "executor", "issue/7", "planner")]


async def test_waiters_are_shown_with_how_long_they_wait() -> None:
    async with stage() as it:
        await it.press("3")
        assert "← planner 10s" in it.picture


async def test_nothing_is_to_be_broken_where_no_lock_is_held() -> None:
    async with stage(replace(boards.healthy(), leases=(), cycles=())) as it:
        await it.press("3", "B")
        assert it.told == ["break: no lock is picked"]
