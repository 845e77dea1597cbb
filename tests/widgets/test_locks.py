"""Circles of waiters are found, and leases that are renewed keep the screen still."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollcage.core.model import Lease, Waiter
from rollcage.widgets.locks import cycles, expiry
from tests.boards import NOW


def lease(name: str, holder: str, *waiters: str) -> Lease:
    return Lease(name, holder, 1, 30.0, NOW, tuple(Waiter(each, NOW) for each in waiters))


def test_a_circle_is_told_from_agent_to_lease_to_agent() -> None:
    found = cycles([lease("issue/7", "executor", "analyzer"), lease("issue/9", "analyzer", "executor")])
    assert found in ([("analyzer", "issue/7", "executor", "issue/9", "analyzer")],)


def test_a_queue_is_no_circle() -> None:
    assert cycles([lease("a", "x", "y", "z"), lease("b", "y", "z"), lease("c", "w")]) == []


def test_two_circles_are_two() -> None:
    leases = [lease("a", "p", "q"), lease("b", "q", "p"), lease("c", "r", "s"), lease("d", "s", "r")]
    assert len(cycles(leases)) == 2


def test_who_waits_for_its_own_lease_waits_for_ever() -> None:
    assert cycles([lease("a", "x", "x")]) == [("x", "a", "x")]


NAMES = st.sampled_from("pqrstu")


@given(st.lists(st.tuples(NAMES, st.lists(NAMES, max_size=3)), max_size=8))
def test_a_circle_is_found_where_and_only_where_there_is_one(rows: list[tuple[str, list[str]]]) -> None:
    leases = [lease(f"l{place}", holder, *waiters) for place, (holder, waiters) in enumerate(rows)]
    edges = {(waiter.holder, item.holder) for item in leases for waiter in item.waiters}
    reach = set(edges)
    for _ in range(6):
        reach |= {(a, d) for a, b in reach for c, d in edges if b == c}
    assert bool(cycles(leases)) == any(a == b for a, b in reach)


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "over"), (3, "<5s"), (8.4, "<15s"), (29, "<1m"), (31, "<1m"), (200, "3m")]
)
def test_the_end_of_a_lease_is_told_in_steps(seconds: float, text: str) -> None:
    assert expiry(seconds) == text
