"""Where a metric is heading: *critical in about N min*, as a warning.

A series of block means is a trend when it is significant (Mann-Kendall) **and** large: its Theil-Sen line reaches the
critical edge within the time that was looked back over, never further, and the metric has left its normal range.
Measured on an hour at one sample a second around a raised level, 300 series each (`tests/detect/test_trend.py` repeats
it on fewer), by the noise's scale as a share of what is missing to critical: white noise never alarms, up to 0.3;
noise that remembers itself for 50 s never at 0.1, in 3 % of hours at 0.2, in 13 % at 0.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from math import isfinite
from statistics import median

from ..model import Finding, Severity, Signal, SignalKind
from .episodes import Episodes, began_anew
from .robust import Block, Blocks, mann_kendall, theil_sen
from .rules import Band, Rule, in_unit_of, show

_BLOCKS = 30
_FEWEST = 12
_SIGNIFICANT = 4.0
"""Z of Mann-Kendall: 1 in 30,000 by chance, for each look at independent values."""
_OVER = 1.0
"""Below this Z, or with critical twice as far as was looked back, the trend is over: well apart from where it began."""


class TrendDetector:
    """Extrapolates every metric that has a critical edge; one finding a trend, one when it is over."""

    kinds = frozenset({SignalKind.METRIC, SignalKind.DATA, SignalKind.STATE})

    def __init__(self, rules: Sequence[Rule], own: Rule, episodes: Episodes) -> None:
        """Take the rules that have bands, the rule ``trend`` (its ``for:`` is the window), and the episodes."""
        self._rules: dict[str, list[Rule]] = {}
        for rule in rules:
            if rule.critical is not None:
                self._rules.setdefault(rule.metric, []).append(rule)
        self._own, self._episodes = own, episodes
        self._blocks: dict[tuple[str, str], Blocks] = {}

    def feed(self, signal: Signal) -> list[Finding]:
        """Add one value; look at the trend whenever a block is complete. An agent that starts begins anew."""
        if signal.kind is SignalKind.STATE:
            return self._begin_anew(signal) if began_anew(signal) else []
        rules = self._rules.get(signal.name)
        if rules is None or signal.value is None or not isfinite(signal.value):
            return []
        findings: list[Finding] = []
        for rule in rules:
            blocks = self._blocks.get((signal.agent, rule.name))
            if blocks is None:
                blocks = self._blocks[signal.agent, rule.name] = Blocks(self._own.for_s / _BLOCKS, _BLOCKS)
            value = in_unit_of(rule, signal.value, signal.unit)
            if blocks.add(signal.at.timestamp(), value) and len(blocks.blocks) >= _FEWEST:
                findings += self._look(rule, signal, value, list(blocks.blocks))
        return findings

    def tick(self, now: datetime) -> list[Finding]:
        """Return nothing: only values tell about values."""
        return []

    def _begin_anew(self, signal: Signal) -> list[Finding]:
        ended: list[Finding] = []
        for agent, rule in [key for key in self._blocks if key[0] == signal.agent]:
            del self._blocks[agent, rule]
            summary = f"{rule} begins anew: {agent} was started again"
            ended += self._episodes.end(agent, _fingerprint(rule), signal.at, summary, (signal,))
        return ended

    def _look(self, rule: Rule, signal: Signal, value: float, blocks: Sequence[Block]) -> list[Finding]:
        assert rule.critical is not None  # others are not kept
        fingerprint = _fingerprint(rule.name)
        bad = -1.0 if rule.below else 1.0
        times = [block.start for block in blocks]
        values = [bad * block.mean for block in blocks]
        z = mann_kendall(values)
        known = self._episodes.get(signal.agent, fingerprint)
        if known is None and z < _SIGNIFICANT:
            return []
        slope = theil_sen(times, values)
        span = times[-1] - times[0]
        now = signal.at.timestamp()
        level = median(each - slope * time for time, each in zip(times, values, strict=True)) + slope * now
        missing = bad * rule.critical - level
        seconds = missing / slope if slope > 0 else float("inf")
        if known is not None and (z < _OVER or seconds > 2 * span):
            summary = f"{rule.name} {show(value, rule.unit)}, no longer heading for critical"
            return self._episodes.end(signal.agent, fingerprint, signal.at, summary, (signal,))
        if z < _SIGNIFICANT or not 0 < seconds <= span or rule.band(bad * level) not in {Band.RAISED, Band.WARNING}:
            return []
        pace = f"{show(slope * 60, rule.unit)}/min"
        text = (
            f"{rule.name} {show(value, rule.unit)} and {'falling' if rule.below else 'rising'} by {pace}: "
            f"critical ({show(rule.critical, rule.unit)}) in about {max(1, round(seconds / 60))} min"
        )
        return self._episodes.begin(
            Finding(
                at=signal.at,
                rule="trend",
                agent=signal.agent,
                severity=self._own.severity or Severity.WARNING,
                summary=text,
                fingerprint=fingerprint,
                since=datetime.fromtimestamp(times[0], UTC),
                value=value,
                signals=(signal,),
            )
        )


def _fingerprint(rule: str) -> str:
    return f"{rule}:trend"
