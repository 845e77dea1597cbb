"""The trend statistics give what their sources give."""

from __future__ import annotations

from itertools import combinations
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollcage.core.detect.robust import Blocks, Pace, mann_kendall, theil_sen

VALUES = st.lists(st.integers(-20, 20).map(float), max_size=25)


@given(VALUES)
def test_mann_kendall_is_its_definition(values: list[float]) -> None:
    score = sum((later > earlier) - (later < earlier) for earlier, later in combinations(values, 2))
    n = len(values)
    ties = [values.count(value) for value in set(values)]
    variance = (n * (n - 1) * (2 * n + 5) - sum(t * (t - 1) * (2 * t + 5) for t in ties)) / 18
    expected = 0.0 if n < 3 or not score or variance <= 0 else (score - (1 if score > 0 else -1)) / sqrt(variance)
    assert mann_kendall(values) == pytest.approx(expected)


@given(VALUES)
def test_mann_kendall_turns_round_with_the_series(values: list[float]) -> None:
    assert mann_kendall([-value for value in values]) == pytest.approx(-mann_kendall(values))


def test_theil_sen_shrugs_off_wild_points() -> None:
    times = [float(i) for i in range(20)]
    values = [3 * time + 1 for time in times]
    values[4], values[11], values[17] = 1e9, -1e9, 1e6
    assert theil_sen(times, values) == pytest.approx(3)
    assert theil_sen([1.0, 1.0], [5.0, 6.0]) == 0.0


def test_blocks_fold_what_lies_in_their_width_and_pass_over_what_is_late() -> None:
    blocks = Blocks(10, 3)
    closed = [
        blocks.add(at, value) for at, value in ((0, 5), (5, 1), (4, -9), (9, 3), (10, 7), (21, 8), (21, 9), (35, 2))
    ]
    assert closed == [False, False, False, False, True, True, False, True]
    assert [(block.start, block.low, block.mean) for block in blocks.blocks] == [(0, 1, 3), (10, 7, 7), (21, 8, 8)]
    assert blocks.full


def test_a_gap_is_over_a_minute_and_over_three_usual_intervals() -> None:
    pace = Pace()
    assert [pace.gap(at) for at in (0, 1, 2, 62, 63, 124)] == [False, False, False, False, False, True]
    slow = Pace()
    assert [slow.gap(at) for at in (0, 300, 600, 900, 1_700, 2_700)] == [False, True, False, False, False, True]
