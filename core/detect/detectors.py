"""All detectors of one repository behind one door: signals and time go in, findings come out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from ..config import Settings
from ..model import Finding, Health, Severity, Signal, SignalKind
from .behaviour import LoopDetector, SilenceDetector, StormDetector
from .checks import AttributionDetector, CheckDetector
from .episodes import Episodes
from .leak import LeakDetector
from .metrics import MetricDetector, Reading
from .rules import METRICS, rules
from .trend import TrendDetector


class Detector(Protocol):
    """One way of noticing trouble. Pure: the same calls give the same findings."""

    @property
    def kinds(self) -> frozenset[SignalKind]:
        """The kinds of signals that it wants."""
        ...

    def feed(self, signal: Signal) -> list[Finding]:
        """Take one signal; return what it brought to light."""
        ...

    def tick(self, now: datetime) -> list[Finding]:
        """Let time pass up to ``now``; return what that brought to light."""
        ...


class Detectors:
    """Feeds every signal to the detectors that want its kind. Use it from one thread."""

    def __init__(self, metrics: MetricDetector, others: Iterable[Detector], episodes: Episodes) -> None:
        """Take the detectors and the episodes that they share; `build` makes them from settings."""
        self._metrics, self._episodes = metrics, episodes
        self._detectors: tuple[Detector, ...] = (metrics, *others)
        self._by_kind = {kind: tuple(each for each in self._detectors if kind in each.kinds) for kind in SignalKind}

    def feed(self, signal: Signal) -> list[Finding]:
        """Take one signal, in the order of arrival; return the findings that it gives rise to at once."""
        findings: list[Finding] = []
        for detector in self._by_kind[signal.kind]:
            findings += detector.feed(signal)
        return findings

    def tick(self, now: datetime) -> list[Finding]:
        """Let time pass; return the findings that it gives rise to, oldest first. Call it once a second or so."""
        findings = [finding for detector in self._detectors for finding in detector.tick(now)]
        return sorted(findings, key=lambda each: (each.at, each.agent, each.fingerprint))

    def resume(self, findings: Iterable[Finding]) -> None:
        """Take up what was reported before a restart, oldest first: it is not reported again, and its end is."""
        for finding in findings:
            self._episodes.resume(finding)

    def forget(self, findings: Iterable[Finding]) -> None:
        """Drop the episodes of a settled incident: trouble that is still there, or comes again, is reported anew."""
        for finding in findings:
            self._episodes.resume(replace(finding, ended=True))

    def bands(self) -> tuple[Reading, ...]:
        """Return the newest value and band of every metric that has a rule, by agent and rule."""
        return self._metrics.readings()

    def open(self) -> tuple[Finding, ...]:
        """Return the trouble that is going on, by agent and fingerprint."""
        return tuple(sorted(self._episodes, key=lambda each: (each.agent, each.fingerprint)))

    def health(self) -> Mapping[str, Health]:
        """Return the health of each agent that is in trouble (EVERYBODY: of the whole); who is not there is HEALTHY."""
        worst: dict[str, Health] = {}
        for finding in self._episodes:
            if finding.severity is Severity.CRITICAL:
                worst[finding.agent] = Health.CRITICAL
            else:
                worst.setdefault(finding.agent, Health.WARNING)
        return worst


def build(settings: Settings) -> Detectors:
    """Return the detectors that ``settings`` ask for. Raises SettingsError where a rule makes no sense."""
    chosen = rules(settings)
    episodes = Episodes()
    others: list[Detector] = []
    for name, rule in chosen.behaviour.items():
        match name:
            case "check_failed":
                others.append(CheckDetector(rule, episodes))
            case "commit_attribution":
                others.append(AttributionDetector(rule, episodes))
            case "trend":
                others.append(TrendDetector(chosen.metrics, rule, episodes))
            case "resource_leak":
                units = {each.metric: each.unit for each in (*METRICS, *chosen.metrics)}
                others.append(LeakDetector(rule, units.get(rule.metric, ""), episodes))
            case "error_storm":
                others.append(StormDetector(rule, episodes))
            case "infinite_loop":
                others.append(LoopDetector(rule, episodes))
            case "communication_failure":
                others.append(SilenceDetector(rule, episodes))
    return Detectors(MetricDetector(chosen.metrics, episodes), others, episodes)
