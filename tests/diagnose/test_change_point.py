"""Where a series changed for the worse is found, and nothing is found where it did not."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcage.core.diagnose.change_point import Change, find_change, shift

NOISE = random.Random(7)


def around(level: float, count: int, wild: float = 0.0) -> list[float]:
    return [NOISE.gauss(level, 5) if NOISE.random() >= wild else NOISE.uniform(0, 1_000) for _ in range(count)]


def found(values: Sequence[float], *, falls: bool = False) -> Change | None:
    return find_change([float(number) for number in range(len(values))], values, falls=falls)


@pytest.mark.parametrize(("before", "behind", "wild"), [(600, 60, 0.0), (900, 6, 0.0), (600, 60, 0.05), (60, 600, 0.0)])
def test_a_jump_is_found_where_it_is(before: int, behind: int, wild: float) -> None:
    values = around(100, before, wild) + around(150, behind)
    change = found(values)
    assert change is not None
    assert abs(change.index - before) <= 4
    assert not change.is_slope
    assert found([-value for value in values], falls=True) == change


@pytest.mark.parametrize("tooth", [1, 60])
def test_a_slope_is_found_where_it_begins(tooth: int) -> None:
    change = found([value + at % tooth / 2 + max(0, at - 400) * 0.15 for at, value in enumerate(around(100, 900))])
    assert change is not None
    assert change.is_slope
    assert abs(change.index - 400) <= 40


def test_of_two_the_one_that_lasts_counts() -> None:
    change = found(around(100, 400) + around(200, 100) + around(100, 300) + around(200, 20))
    assert change is not None
    assert abs(change.index - 800) <= 2
    assert found(around(100, 400) + around(200, 100) + around(100, 300)) is None, "it is over"


def test_too_few_or_equal_values_tell_nothing() -> None:
    assert found([]) is None
    assert found([1, 9]) is None
    assert found([5.0] * 500) is None
    assert found([1.0] * 4 + [9.0] * 4) is None


def test_a_clock_that_steps_back_does_not_upset_it() -> None:
    values = [value + max(0, at - 300) * 0.2 for at, value in enumerate(around(100, 600))]
    times = [float(at if at < 450 else at - 3_600) for at in range(600)]
    change = find_change(times, values)
    assert change is not None
    assert abs(change.index - 300) <= 30


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), max_size=150))
def test_whatever_comes_an_index_lies_within(values: list[float]) -> None:
    change = found(values)
    assert change is None or 0 <= change.index < len(values)
    at = shift(values)
    assert at is None or 0 < at < len(values)
