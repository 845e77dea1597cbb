"""Units as people write them in settings: ``90m`` is 5400 (seconds), ``5 GB`` 5·10⁹ (bytes), ``1%`` 0.01.

A bare number is in the base unit: seconds, bytes, or a fraction. A GB is 10⁹ bytes, a GiB 2³⁰ (IEC 80000-13).
Exact fractions, so that ``7%`` is 0.07 and not 0.07000000000000001.
"""

from __future__ import annotations

import re
from enum import StrEnum
from fractions import Fraction


class Dimension(StrEnum):
    """What a quantity measures; the value names its base unit."""

    DURATION = "s"
    SIZE = "B"
    SHARE = "share"


# In ascending order. "sec" and "min" are read, and never written.
_FACTORS: dict[Dimension, dict[str, Fraction]] = {
    Dimension.DURATION: {
        "ms": Fraction(1, 1000),
        "sec": Fraction(1),
        "s": Fraction(1),
        "min": Fraction(60),
        "m": Fraction(60),
        "h": Fraction(3_600),
        "d": Fraction(86_400),
        "w": Fraction(604_800),
    },
    Dimension.SIZE: {
        "B": Fraction(1),
        "kB": Fraction(10**3),
        "KiB": Fraction(2**10),
        "MB": Fraction(10**6),
        "MiB": Fraction(2**20),
        "GB": Fraction(10**9),
        "GiB": Fraction(2**30),
        "TB": Fraction(10**12),
        "TiB": Fraction(2**40),
    },
    Dimension.SHARE: {"%": Fraction(1, 100)},
}
_ALLOWED = {
    Dimension.DURATION: "seconds, or a number with ms, s, m, h, d or w, such as 90m",
    Dimension.SIZE: "bytes, or a number with B, kB, MB, GB, TB, KiB, MiB, GiB or TiB, such as 5 GB",
    Dimension.SHARE: "a fraction such as 0.01, or per cent, such as 1%",
}
_QUANTITY = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?)\s*([A-Za-z%]*)", re.ASCII)


def parse(value: object, *dimensions: Dimension) -> tuple[float, Dimension | None]:
    """Return ``value``, a number or text such as ``"5 GB"``, in its base unit, and the dimension of its unit if any.

    Raises ValueError saying what is allowed where it is no finite number, or its unit is of none of the
    ``dimensions`` (none given: all are allowed).
    """
    dimensions = dimensions or tuple(Dimension)
    allowed = "; ".join(_ALLOWED[dimension] for dimension in dimensions)
    match = None if isinstance(value, bool) else _QUANTITY.fullmatch(str(value).strip())
    if match is None:
        raise ValueError(f"is no quantity; allowed: {allowed}")
    unit = match[2]
    dimension, factor = _unit(unit, dimensions) if unit else (None, Fraction(1))
    if factor is None:
        raise ValueError(f"has the unit '{unit}'; allowed: {allowed}")
    try:
        return float(Fraction(match[1]) * factor), dimension
    except OverflowError:
        raise ValueError(f"is too large; allowed: {allowed}") from None


def _unit(unit: str, dimensions: tuple[Dimension, ...]) -> tuple[Dimension | None, Fraction | None]:
    """Find a unit; the case counts only for the one-letter ones, where ``M`` might mean months or mega."""
    for dimension in dimensions:
        for name, factor in _FACTORS[dimension].items():
            if name == unit or (len(unit) > 1 and name.lower() == unit.lower()):
                return dimension, factor
    return None, None


def duration(value: object) -> float:
    """Return seconds. Raises ValueError."""
    return parse(value, Dimension.DURATION)[0]


def size(value: object) -> int:
    """Return bytes, rounded to whole ones. Raises ValueError."""
    return round(parse(value, Dimension.SIZE)[0])


def write(value: float, dimension: Dimension) -> str:
    """Return ``value`` in the largest unit that makes it a whole number, so that `parse` gives it back exactly."""
    exact = Fraction(repr(value))
    for name, factor in reversed(_FACTORS[dimension].items()):
        if exact and (exact / factor).denominator == 1:
            return f"{exact / factor}{name}"
    return repr(value)
