"""Numbers read at a glance: a unit, a steady width, and ``-`` where nothing is known."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollcage.widgets import figures

NOW = datetime(2026, 11, 20, 14, 2, 31, tzinfo=UTC)
ANY = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (-3, "0s"), (7.9, "7s"), (19, "10s"), (59, "50s"), (61, "1m"), (7_300, "2h"), (200_000, "2d")],
)
def test_an_age_counts_in_steps_that_keep_a_still_screen_still(seconds: float | None, text: str) -> None:
    assert figures.age(seconds) == text


@pytest.mark.parametrize(
    ("octets", "text"),
    [(None, "-"), (-1, "-"), (6.9e9, "6.9 GB"), (4.1e8, "0.4 GB"), (34e6, "34 MB"), (12_300, "12 kB"), (9, "9 B")],
)
def test_a_size_is_in_decimal_units(octets: float | None, text: str) -> None:
    assert figures.size(octets) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.44, "0.4s"), (12.2, "12s"), (245, "4m 05s"), (7_380, "2h 03m"), (None, "-"), (-1, "-")]
)
def test_a_duration(seconds: float | None, text: str) -> None:
    assert figures.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "unit", "metric", "text"),
    [
        (0.0123, "share", "error_rate", "1.23 %"),
        (0.98, "", "matching_accuracy", "98.00 %"),
        (6.9e9, "B", "memory_usage", "6.9 GB"),
        (3_900, "s", "batch_processing_time", "1h 05m"),
        (12_345, "", "rows", "12,345"),
        (1.5, "req/s", "rate", "1.50 req/s"),
        (math.nan, "", "x", "-"),
    ],
)
def test_a_metric_is_shown_in_the_unit_that_people_read_it_in(value: float, unit: str, metric: str, text: str) -> None:
    assert figures.figure(value, unit, metric) == text


@given(ANY)
def test_no_number_is_too_odd_to_show(value: float | None) -> None:
    for show in (figures.age, figures.duration, figures.size, figures.percent):
        assert show(value)
    assert figures.figure(value, "B")
    assert figures.figure(value, "")


@given(st.lists(st.floats()), st.integers(-1, 60))
def test_a_sparkline_is_exactly_as_wide_as_asked(values: list[float], cells: int) -> None:
    assert len(figures.sparkline(values, cells)) == max(cells, 0)


def test_a_sparkline_shows_the_newest_values_and_leaves_gaps() -> None:
    assert figures.sparkline([9, 0, math.nan, 1], 3) == "▁ █"
    assert figures.sparkline([1, 1, 1], 5) == "  ▁▁▁"
    assert figures.sparkline([0.5], 1, low=0, high=1) == "▅"


def test_a_trend_needs_a_lasting_change() -> None:
    assert figures.trend([1, 1, 1, 1]) == " "
    assert figures.trend([1, 1, 2, 2, 2, 3, 3, 3]) == "↑"
    assert figures.trend([3, 3, 2, 1]) == "↓"
    assert figures.trend([1, 9]) == " "


def test_a_time_of_another_day_has_its_date() -> None:
    assert figures.day_and_clock(NOW - timedelta(minutes=1), NOW) == "14:01:31"
    assert figures.day_and_clock(NOW - timedelta(days=1), NOW) == "2026-11-19 14:02"
    assert figures.day_and_clock(None, NOW) == "-"
