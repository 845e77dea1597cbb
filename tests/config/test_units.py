"""Quantities as people write them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcage.core.units import Dimension, duration, parse, size, write


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("90m", 5400.0),
        ("2 h", 7200.0),
        ("30d", 2_592_000.0),
        ("250ms", 0.25),
        ("5 GB", 5e9),
        ("1 KiB", 1024.0),
        ("1%", 0.01),
        ("7 %", 0.07),
        ("12", 12.0),
        (12, 12.0),
        ("1.5h", 5400.0),
        ("-3", -3.0),
    ],
)
def test_a_quantity_is_read_in_its_base_unit(text: object, value: float) -> None:
    assert parse(text)[0] == value


@pytest.mark.parametrize(
    "text", ["", "many", "10 parsec", "5 M", "nan", "inf", "1e999", "1,5h", "5 5", None, True, [1]]
)
def test_what_is_no_quantity_is_an_error_that_says_what_is_allowed(text: object) -> None:
    with pytest.raises(ValueError, match="allowed: "):
        parse(text)


def test_a_unit_of_another_dimension_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'GB'.*seconds"):
        duration("5 GB")
    with pytest.raises(ValueError, match=r"'m'.*bytes"):
        size("5 m")


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False, max_value=1e300, min_value=-1e300), st.sampled_from(Dimension))
def test_what_is_written_is_read_back_exactly(value: float, dimension: Dimension) -> None:
    assert parse(write(value, dimension), dimension)[0] == value


@settings(deadline=None)
@given(st.integers(min_value=0, max_value=10**15))
def test_sizes_are_written_and_read_back_as_whole_bytes(value: int) -> None:
    assert size(write(value, Dimension.SIZE)) == value


@settings(deadline=None)
@given(st.text(max_size=20))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        value, _ = parse(text)
    except ValueError:
        return
    assert math.isfinite(value)
