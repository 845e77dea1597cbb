"""The level of a metric in good times, and whether a value is really worse than that. Pure.

Level and spread follow the values by exponentially weighted moving averages (S. W. Roberts, "Control Chart Tests Based
on Geometric Moving Averages", 1959), the spread as a mean absolute deviation. A value is worse only where it is so both
by significance and by size: many deviations off, and half as bad again.
"""

from __future__ import annotations

from dataclasses import dataclass

WEIGHT = 0.1
"""Of the newest value."""
ENOUGH = 20
"""Before so many values nothing is said to be worse."""
DEVIATIONS = 6.0
"""Mean absolute deviations from the level; about 4.8 standard deviations of a normal distribution."""
SHARE = 0.5
"""Of the level, that a value must be worse by."""


@dataclass(frozen=True, slots=True)
class Level:
    """What is normal for one metric of one agent."""

    value: float = 0.0
    spread: float = 0.0
    """Mean absolute deviation."""
    count: int = 0
    """Values that it was learned from."""
    at: str = ""
    """When the newest of them was seen, ISO 8601."""

    def learned(self, value: float, at: str) -> Level:
        """Return the level with one more value of good times; one of the same moment counts once."""
        if at == self.at:
            return self
        if not self.count:
            return Level(value, 0.0, 1, at)
        weight = max(WEIGHT, 1 / (self.count + 1))  # at first a plain mean, so that the first value does not rule
        spread = self.spread + weight * (abs(value - self.value) - self.spread)
        return Level(self.value + weight * (value - self.value), spread, self.count + 1, at)

    def is_worse(self, value: float, *, below: bool) -> bool:
        """Return whether ``value`` is worse; ``below``: small values are the bad ones."""
        off = self.value - value if below else value - self.value
        return self.count >= ENOUGH and off > DEVIATIONS * self.spread and off > SHARE * abs(self.value)
