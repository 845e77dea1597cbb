"""Trend statistics that a few wild values do not upset, and the blocks that they are computed on."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import median


def mann_kendall(values: Sequence[float]) -> float:
    """Return the Mann-Kendall statistic Z of ``values`` in time order: about normal(0, 1) where there is no trend.

    Positive: they rise. With tie and continuity correction; 0.0 below 3 values or where all are equal.
    Source: R. O. Gilbert, Statistical Methods for Environmental Pollution Monitoring (1987), section 16.4;
    after H. B. Mann (1945) and M. G. Kendall (1975).
    """
    count = len(values)
    if count < 3:
        return 0.0
    score = 0
    seen: list[float] = []
    for value in values:
        score += bisect_left(seen, value) - (len(seen) - bisect_right(seen, value))
        insort(seen, value)
    ties = sum(_ties(size) for size in _run_lengths(seen))
    variance = (_ties(count) - ties) / 18
    if variance <= 0 or score == 0:
        return 0.0
    return (score - 1 if score > 0 else score + 1) / sqrt(variance)


def _ties(size: int) -> int:
    return size * (size - 1) * (2 * size + 5)


def _run_lengths(ordered: Sequence[float]) -> list[int]:
    lengths, start = [], 0
    for index in range(1, len(ordered) + 1):
        if index == len(ordered) or ordered[index] != ordered[start]:
            lengths.append(index - start)
            start = index
    return lengths


def theil_sen(times: Sequence[float], values: Sequence[float]) -> float:
    """Return the Theil-Sen slope: the median of the slopes of all pairs, in value units per time unit.

    Up to 29 % of the points may be wild. 0.0 where fewer than two times differ.
    Source: P. K. Sen, Estimates of the regression coefficient based on Kendall's tau, JASA 63 (1968).
    """
    slopes = [
        (values[later] - values[earlier]) / (times[later] - times[earlier])
        for later in range(1, len(values))
        for earlier in range(later)
        if times[later] != times[earlier]
    ]
    return median(slopes) if slopes else 0.0


class Pace:
    """How often a series is sampled, so that a gap in it can be told from a slow rhythm."""

    LONGEST = 60.0
    """Seconds that are never a gap."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self.newest: float | None = None
        self._intervals: deque[float] = deque(maxlen=7)

    def gap(self, at: float) -> bool:
        """Note a sample; return whether what lies before it is a gap: over a minute, and over 3 usual intervals."""
        if self.newest is None:
            self.newest = at
            return False
        elapsed = at - self.newest
        self.newest = at
        missing = elapsed > self.LONGEST and elapsed > 3 * (median(self._intervals) if self._intervals else 0.0)
        self._intervals.append(elapsed)
        return missing


@dataclass(frozen=True, slots=True)
class Block:
    """What the samples of one stretch of time come to."""

    start: float
    """Time of its first sample, in seconds."""
    low: float
    mean: float


class Blocks:
    """The newest ``size`` blocks, each of ``width`` seconds, of one series.

    Where samples come more slowly than that, each is a block of its own. A gap in the data begins the series anew.
    """

    def __init__(self, width: float, size: int) -> None:
        """Take the width in seconds, and how many blocks to keep."""
        self._width = width
        self._pace = Pace()
        self._start = 0.0
        self._count = 0
        self._sum = self._low = 0.0
        self.blocks: deque[Block] = deque(maxlen=size)

    def add(self, at: float, value: float) -> bool:
        """Add a sample; return whether that closed a block. One that is not newer than the last is passed over."""
        if self._pace.newest is not None and at <= self._pace.newest:
            return False
        if self._pace.gap(at):
            self.clear()
        closed = self._count > 0 and at - self._start >= self._width
        if closed:
            self.blocks.append(Block(self._start, self._low, self._sum / self._count))
            self._count = 0
        if self._count == 0:
            self._start, self._sum, self._low = at, 0.0, value
        self._count += 1
        self._sum += value
        self._low = min(self._low, value)
        return closed

    def clear(self) -> None:
        """Forget the blocks and the samples so far."""
        self.blocks.clear()
        self._count = 0

    @property
    def full(self) -> bool:
        """Whether there are as many blocks as are kept."""
        return len(self.blocks) == self.blocks.maxlen
