"""Leases that are renewed keep the screen still."""

from __future__ import annotations

import pytest

from rollcage.widgets.locks import circle_key, expiry, find_circle, find_lock, lock_key
from tests import boards


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "over"), (3, "<5s"), (8.4, "<15s"), (29, "<1m"), (31, "<1m"), (200, "3m")]
)
def test_the_end_of_a_lease_is_told_in_steps(seconds: float, text: str) -> None:
    assert expiry(seconds) == text


def test_a_lock_and_a_circle_are_found_by_the_key_of_their_row() -> None:
    board = boards.waiting()
    for lease in board.leases:
        assert find_lock(board, lock_key(lease)) is lease
    (circle,) = board.cycles
    assert find_circle(board, circle_key(circle)) == circle
    assert find_lock(board, circle_key(circle)) is None
    assert find_circle(board, "") == ()
