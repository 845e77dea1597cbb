"""What the tests of detection share: signals at a second of a made-up day, and feeding them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from rollcage.core.detect.detectors import Detectors
from rollcage.core.model import Finding, Signal, SignalKind

START = datetime(2026, 11, 20, 14, 0, 0, tzinfo=UTC)
GB = 1e9


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def signal(
    seconds: float,
    kind: SignalKind,
    name: str = "",
    *,
    agent: str = "executor",
    value: float | None = None,
    text: str | None = None,
    unit: str | None = None,
    attrs: Mapping[str, object] | None = None,
) -> Signal:
    return Signal(at(seconds), agent, kind, name, value, text, unit, attrs or {})


def metric(seconds: float, name: str, value: float, *, agent: str = "executor", unit: str | None = None) -> Signal:
    return signal(seconds, SignalKind.METRIC, name, agent=agent, value=value, unit=unit)


def feed(detectors: Detectors, signals: Iterable[Signal]) -> list[Finding]:
    """Feed signals as replay does: time passes as they say."""
    findings: list[Finding] = []
    for each in signals:
        findings += detectors.tick(each.at)
        findings += detectors.feed(each)
    return findings


def short(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    """Return fingerprint and severity of each, or *ended*."""
    return [(each.fingerprint, "ended" if each.ended else each.severity.value) for each in findings]
