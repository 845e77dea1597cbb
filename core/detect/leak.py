"""A resource that leaks: memory that keeps rising beneath its ups and downs.

On raw samples every garbage-collected sawtooth is a trend, so the lowest value of each of 30 blocks counts, as after a
collection. A leak is when these minima rise significantly (Mann-Kendall: H. B. Mann 1945, M. G. Kendall 1975), by a
tenth of their level at least (Theil-Sen: P. K. Sen 1968), and the second half of the window still rises on its own,
three quarters as steeply as the whole: a warm-up that flattens out does not.

Measured with the default window of 15 min on an hour at one sample a second, 300 series each
(`tests/detect/test_leak.py` repeats it on fewer): false alarms on white noise, generational collections, warm-up
(exponential, time constant to 400 s; straight, to 500 s) and one upward step 0 %; on sawtooths with periods to 400 s
0.3 %; on noise that remembers itself for 50 s 2 %. Leaks of 15 % of the level or more in 15 min are all found, of those
of 10-15 % with 2 % noise 93 %, at the end of the first window. A cycle longer than half the window (27 % of those of
400-900 s) cannot be told from a leak before it falls; nor can a staircase of repeated growth.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from math import isfinite
from statistics import median

from ..model import Finding, Severity, Signal, SignalKind
from .episodes import Episodes, began_anew
from .robust import Block, Blocks, mann_kendall, theil_sen
from .rules import Rule, in_unit_of, show

_BLOCKS = 30
_SIGNIFICANT, _HALF_SIGNIFICANT = 4.0, 3.0
_SHARE, _LEAST_BYTES = 0.10, 50e6
"""A rise over the window below this share of the level, or below so many bytes, is none."""
_STILL = 0.75
"""The second half must rise by itself, at least at this share of the whole window's slope."""
_COLLAPSE = 0.5
"""Below this share of the block before: the process began anew, or gave back what it held."""


class LeakDetector:
    """Looks at one metric of each agent, ``memory_usage`` unless the rule says otherwise, a full window at a time."""

    kinds = frozenset({SignalKind.METRIC, SignalKind.STATE})

    def __init__(self, rule: Rule, unit: str, episodes: Episodes) -> None:
        """Take the rule ``resource_leak`` (its ``for:`` is the window), the metric's unit, and the episodes."""
        self._rule, self._unit, self._episodes = rule, rule.unit or unit, episodes
        self._series: dict[str, Blocks] = {}

    def feed(self, signal: Signal) -> list[Finding]:
        """Add one value; look at the window whenever a block is complete. A process that starts begins anew."""
        if signal.kind is SignalKind.STATE:
            if not began_anew(signal):
                return []
            self._series.pop(signal.agent, None)
            return self._end(signal, "began anew: the agent was started again")
        if signal.name != self._rule.metric or signal.value is None or not isfinite(signal.value):
            return []
        series = self._series.get(signal.agent)
        if series is None:
            series = self._series[signal.agent] = Blocks(self._rule.for_s / _BLOCKS, _BLOCKS)
        if not series.add(signal.at.timestamp(), in_unit_of(self._rule, signal.value, signal.unit)):
            return []
        blocks = series.blocks
        if len(blocks) > 1 and blocks[-1].low < _COLLAPSE * blocks[-2].low:
            series.clear()
            return self._end(signal, "fell back")
        return self._look(signal, list(blocks)) if series.full else []

    def tick(self, now: datetime) -> list[Finding]:
        """Return nothing: only values tell about values."""
        return []

    def _end(self, signal: Signal, how: str) -> list[Finding]:
        return self._episodes.end(signal.agent, self._rule.name, signal.at, f"{self._rule.metric} {how}", (signal,))

    def _look(self, signal: Signal, blocks: Sequence[Block]) -> list[Finding]:
        times = [block.start for block in blocks]
        lows = [block.low for block in blocks]
        half = len(blocks) // 2
        known = self._episodes.get(signal.agent, self._rule.name)
        if known is None and (mann_kendall(lows) < _SIGNIFICANT or mann_kendall(lows[half:]) < _HALF_SIGNIFICANT):
            return []
        slope = theil_sen(times, lows)
        still = theil_sen(times[half:], lows[half:])
        if known is not None:
            return self._end(signal, "no longer rises") if slope <= 0 or still < slope * _STILL / 2 else []
        rise = slope * (times[-1] - times[0])
        least = max(_SHARE * median(lows), _LEAST_BYTES if self._unit == "B" else 0.0)
        if rise < least or still < slope * _STILL:
            return []
        minutes = show(times[-1] - times[0], "s")
        text = f"{signal.name} rose by {show(rise, self._unit)} in {minutes} and does not come back: a leak"
        return self._episodes.begin(
            Finding(
                at=signal.at,
                rule=self._rule.name,
                agent=signal.agent,
                severity=self._rule.severity or Severity.CRITICAL,
                summary=text,
                fingerprint=self._rule.name,
                since=datetime.fromtimestamp(times[0], UTC),
                value=signal.value,
                signals=(signal,),
            )
        )
