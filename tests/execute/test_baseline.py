"""A value is worse than in good times only where it is so by significance and by size."""

from __future__ import annotations

import random

import pytest

from rollcage.core.execute.baseline import Level


def learned(values: list[float]) -> Level:
    level = Level()
    for number, value in enumerate(values):
        level = level.learned(value, str(number))
    return level


def test_noise_is_not_worse_and_a_big_step_is() -> None:
    dice = random.Random(7)
    level = learned([dice.gauss(100.0, 10.0) for _ in range(200)])
    assert level.value == pytest.approx(100.0, rel=0.1)
    assert not any(level.is_worse(dice.gauss(100.0, 10.0), below=False) for _ in range(10_000))
    assert level.is_worse(190.0, below=False)
    assert not level.is_worse(190.0, below=True)
    assert level.is_worse(10.0, below=True)


def test_size_alone_or_significance_alone_is_not_enough() -> None:
    steady = learned([100.0] * 50)
    assert not steady.is_worse(149.0, below=False), "significant, but not half as bad again"
    wild = learned([20.0, 180.0] * 50)
    assert not wild.is_worse(170.0, below=False), "far off, but so it is every day"


def test_little_experience_says_nothing_and_a_moment_counts_once() -> None:
    level = learned([100.0] * 19)
    assert not level.is_worse(1e9, below=False)
    assert level.learned(5.0, "18") == level
    assert level.learned(100.0, "19").is_worse(1e9, below=False)
