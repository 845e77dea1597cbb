"""Layer 1: metrics against their bands. Time is that of the signals, so a recording gives the same findings."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite

from ..model import Finding, Severity, Signal, SignalKind
from .episodes import Episodes
from .robust import Pace
from .rules import Band, Rule, in_unit_of, show


@dataclass(frozen=True, slots=True)
class Reading:
    """The newest value of a metric of an agent, in the unit of the rule that judges it."""

    at: datetime
    agent: str
    rule: str
    metric: str
    value: float
    unit: str
    band: Band


@dataclass(slots=True)
class _Stream:
    """What is remembered of one metric of one agent under one rule."""

    pace: Pace = field(default_factory=Pace)
    recent: deque[Signal] = field(default_factory=lambda: deque[Signal](maxlen=10))
    warning_since: datetime | None = None
    critical_since: datetime | None = None
    back_since: datetime | None = None


class MetricDetector:
    """Judges every value: a finding once it stayed in a bad band for ``for:``, one when it gets worse, one at the end.

    Values without a number, and those older than the newest of their metric and agent, are passed over. A gap in the
    data (`Pace`) is no time in band: the wait for ``for:`` begins anew behind it.
    """

    kinds = frozenset({SignalKind.METRIC, SignalKind.DATA})

    def __init__(self, rules: Sequence[Rule], episodes: Episodes) -> None:
        """Take the rules that have bands, and where episodes are kept."""
        self._rules: dict[str, list[Rule]] = {}
        for rule in rules:
            self._rules.setdefault(rule.metric, []).append(rule)
        self._episodes = episodes
        self._streams: dict[tuple[str, str], _Stream] = {}
        self._readings: dict[tuple[str, str], Reading] = {}

    def feed(self, signal: Signal) -> list[Finding]:
        """Judge one value by every rule that watches it."""
        rules = self._rules.get(signal.name)
        if rules is None or signal.value is None or not isfinite(signal.value):
            return []
        findings: list[Finding] = []
        for rule in rules:
            findings += self._judge(rule, signal, in_unit_of(rule, signal.value, signal.unit))
        return findings

    def tick(self, now: datetime) -> list[Finding]:
        """Return nothing: only values tell about values."""
        return []

    def readings(self) -> tuple[Reading, ...]:
        """Return the newest value of each agent and rule, sorted by them."""
        return tuple(self._readings[key] for key in sorted(self._readings))

    def _judge(self, rule: Rule, signal: Signal, value: float) -> list[Finding]:
        key = (signal.agent, rule.name)
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = _Stream()
        elif _seen(stream.recent[-1], signal):
            return []
        at, agent = signal.at, signal.agent
        band = rule.band(value)
        gap = stream.pace.gap(at.timestamp())
        stream.recent.append(signal)
        self._readings[key] = Reading(at, agent, rule.name, rule.metric, value, rule.unit, band)

        bad = band in {Band.WARNING, Band.CRITICAL}
        stream.warning_since = _held(bad, stream.warning_since, at, gap=gap)
        stream.critical_since = _held(band is Band.CRITICAL, stream.critical_since, at, gap=gap)
        stream.back_since = _held(rule.back(value), stream.back_since, at, gap=gap)
        for since, reached in ((stream.critical_since, Band.CRITICAL), (stream.warning_since, Band.WARNING)):
            if since is not None and (at - since).total_seconds() >= rule.for_s:
                return self._episodes.begin(self._finding(rule, stream, signal, value, reached, since))
        if stream.back_since is not None and (at - stream.back_since).total_seconds() >= rule.for_s:
            summary = f"{rule.name} {show(value, rule.unit)}, back in band"
            return self._episodes.end(agent, rule.name, at, summary, (signal,))
        return []

    def _finding(
        self, rule: Rule, stream: _Stream, signal: Signal, value: float, band: Band, since: datetime
    ) -> Finding:
        edge = rule.critical if band is Band.CRITICAL or rule.warning is None else rule.warning
        assert edge is not None  # a band is only reached beyond its edge
        word = "under" if rule.below else "over"
        if rule.at_edge and band is Band.WARNING:
            word = "at most" if rule.below else "at least"
        lasted = (signal.at - since).total_seconds()
        text = f"{rule.name} {show(value, rule.unit)}, {word} {show(edge, rule.unit)}"
        text += f" for {show(lasted, 's')}" if lasted >= 1 else ""
        text += f": {rule.alert}" if rule.alert else ""
        return Finding(
            at=signal.at,
            rule=rule.name,
            agent=signal.agent,
            severity=rule.severity or (Severity.CRITICAL if band is Band.CRITICAL else Severity.WARNING),
            summary=text,
            fingerprint=rule.name,
            since=since,
            value=value,
            signals=tuple(stream.recent),
        )


def _seen(newest: Signal, signal: Signal) -> bool:
    return signal.at < newest.at or (signal.at == newest.at and signal.value == newest.value)


def _held(holds: bool, since: datetime | None, at: datetime, *, gap: bool) -> datetime | None:
    """Return since when something holds without a break, now that it does or does not at ``at``."""
    if not holds:
        return None
    return at if since is None or gap else since
