"""Numbers as a glance reads them: with a unit, of a steady width, and ``-`` where nothing is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

UNKNOWN = "-"
_BARS = "▁▂▃▄▅▆▇█"
_SHARES = frozenset({"share", "ratio", "fraction"})
_SHARE_METRICS = frozenset({"cpu", "error_rate", "matching_accuracy"})
TREND = 0.05
"""By how much the newest quarter of a series differs from its oldest before an arrow shows: 5 %."""


def age(seconds: float | None) -> str:
    """Return how long ago something was: ``7s``, ``40s``, ``3h``.

    From ten seconds on it counts by tens, then minutes, hours and days: a screen on which nothing happens keeps still.
    """
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    seconds = max(seconds, 0.0)
    if seconds < 10:
        return f"{int(seconds)}s"
    if seconds < 60:
        return f"{int(seconds // 10) * 10}s"
    if seconds < 3_600:
        return f"{int(seconds // 60)}m"
    if seconds < 86_400:
        return f"{int(seconds // 3_600)}h"
    return f"{int(seconds // 86_400)}d"


def since(moment: datetime | None, now: datetime) -> str:
    """Return the `age` of ``moment``."""
    return UNKNOWN if moment is None else age((now - moment).total_seconds())


def duration(seconds: float | None) -> str:
    """Return how long something took: ``0.4s``, ``12s``, ``4m 05s``, ``2h 03m``."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return UNKNOWN
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    if seconds < 59.5:
        return f"{seconds:.0f}s"
    if seconds < 3_600:
        return f"{int(seconds // 60)}m {int(seconds % 60):02d}s"
    return f"{int(seconds // 3_600)}h {int(seconds % 3_600 // 60):02d}m"


def took(started: datetime | None, ended: datetime | None) -> str:
    """Return the `duration` from ``started`` to ``ended``."""
    return UNKNOWN if started is None or ended is None else duration((ended - started).total_seconds())


def clock(moment: datetime | None) -> str:
    """Return the time of day in UTC, to the second."""
    return UNKNOWN if moment is None else moment.astimezone(UTC).strftime("%H:%M:%S")


def day_and_clock(moment: datetime | None, now: datetime) -> str:
    """Return the time of day, with the date in front where it is not today's (both in UTC)."""
    if moment is None:
        return UNKNOWN
    moment = moment.astimezone(UTC)
    today = moment.date() == now.astimezone(UTC).date()
    return moment.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M")


def size(octets: float | None) -> str:
    """Return bytes as ``6.9 GB``, ``34 MB`` or ``12 kB``; a GB is 10^9."""
    if octets is None or not math.isfinite(octets) or octets < 0:
        return UNKNOWN
    if octets >= 99_500_000:
        return f"{octets / 1e9:.1f} GB"
    if octets >= 999_500:
        return f"{octets / 1e6:.0f} MB"
    if octets >= 1_000:
        return f"{octets / 1e3:.0f} kB"
    return f"{octets:.0f} B"


def percent(share: float | None, digits: int = 2) -> str:
    """Return a fraction 0..1 as a percentage without its sign, which stands in the heading."""
    return UNKNOWN if share is None or not math.isfinite(share) else f"{share * 100:.{digits}f}"


def figure(value: float | None, unit: str, metric: str = "") -> str:
    """Return a metric's value in the unit that people read it in."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if unit == "B":
        return size(value)
    if unit == "s":
        return duration(value)
    if unit in _SHARES or (not unit and metric in _SHARE_METRICS):
        return f"{percent(value)} %"
    number = f"{value:,.0f}" if value == int(value) or abs(value) >= 1_000 else f"{value:.2f}"
    return f"{number} {unit}".rstrip()


def sparkline(values: Sequence[float], cells: int, *, low: float | None = None, high: float | None = None) -> str:
    """Return the last ``cells`` values as bars, newest on the right, filled with spaces on the left.

    The scale runs from ``low`` to ``high``, by default from the smallest to the largest shown; a value that is no
    number leaves a gap.
    """
    shown = list(values[-cells:]) if cells > 0 else []
    real = [value for value in shown if math.isfinite(value)]
    if not real:
        return " " * max(cells, 0)
    bottom = min(real) if low is None else low
    span = (max(real) if high is None else high) - bottom
    bars = []
    for value in shown:
        if not math.isfinite(value):
            bars.append(" ")
        elif span <= 0:
            bars.append(_BARS[0])
        else:
            share = min(max((value - bottom) / span, 0.0), 1.0)
            bars.append(_BARS[min(int(share * len(_BARS)), len(_BARS) - 1)])
    return "".join(bars).rjust(cells)


def trend(values: Sequence[float]) -> str:
    """Return ``↑`` or ``↓`` where the newest quarter is 5 % over or under the oldest, else a space.

    A hint for the eye only: what counts as a leak is for the detectors to say.
    """
    real = [value for value in values if math.isfinite(value)]
    if len(real) < 4:
        return " "
    quarter = max(len(real) // 4, 1)
    first, last = sum(real[:quarter]) / quarter, sum(real[-quarter:]) / quarter
    if last > first * (1 + TREND):
        return "↑"
    if last < first * (1 - TREND):
        return "↓"
    return " "


def short(sha: str | None) -> str:
    """Return the first seven characters of a commit's id."""
    return sha[:7] if sha else UNKNOWN


def count(number: int, one: str, many: str = "") -> str:
    """Return ``1 agent`` or ``3 agents``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
