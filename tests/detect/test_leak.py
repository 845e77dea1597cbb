"""A leak is found beneath the noise of a living process; what only looks like one is not."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from rollcage.core.config import RuleSettings, Settings
from rollcage.core.detect.detectors import build
from rollcage.core.model import Finding, Severity, SignalKind

from . import series
from .signals import GB, at, feed, metric, short, signal

ONLY_LEAK = Settings(
    rules={
        name: RuleSettings(enabled=False)
        for name in ("memory_usage", "trend", "infinite_loop", "communication_failure")
    }
)


def run(values: list[float]) -> list[Finding]:
    """Feed one value every 3 s, so that the tests stay quick: 10 to a block instead of 30."""
    detectors = build(ONLY_LEAK)
    return [
        found
        for second, value in list(enumerate(values))[::3]
        for found in detectors.feed(metric(second, "memory_usage", value))
    ]


def share_alarmed(make: Callable[[Random, int], list[float]], *, runs: int, seconds: int) -> float:
    random = Random(20261120)
    return sum(bool(run(make(random, seconds))) for _ in range(runs)) / runs


@pytest.mark.parametrize(
    ("make", "most"),
    [
        (series.noise, 0.0),
        (series.autocorrelated, 0.02),
        (series.sawtooth, 0.0),
        (series.generational, 0.0),
        (series.warm_up, 0.0),
        (series.loading, 0.0),
        (series.step, 0.02),
    ],
)
def test_a_healthy_process_raises_no_alarm_in_an_hour(make: Callable[[Random, int], list[float]], most: float) -> None:
    assert share_alarmed(make, runs=50, seconds=3_600) <= most


@pytest.mark.parametrize("make", [series.ramp, series.leaking_sawtooth])
def test_a_leak_is_found_soon_after_a_window(make: Callable[[Random, int], list[float]]) -> None:
    assert share_alarmed(make, runs=30, seconds=1_200) == 1.0


def test_a_leak_is_an_emergency_that_says_how_much_in_what_time() -> None:
    (found,) = run([2 * GB + 1e6 * i for i in range(1_000)])
    assert found.severity is Severity.CRITICAL
    assert found.fingerprint == "resource_leak"
    assert found.summary == "memory_usage rose by 870 MB in 14.5 min and does not come back: a leak"
    assert found.since == at(0)


def test_a_leak_is_over_when_memory_falls_back_or_stops_rising() -> None:
    rise = [2 * GB + 1e6 * i for i in range(1_000)]
    assert short(run([*rise, *[0.5 * GB] * 100])) == [("resource_leak", "critical"), ("resource_leak", "ended")]
    assert short(run([*rise, *[3 * GB] * 900])) == [("resource_leak", "critical"), ("resource_leak", "ended")]


def test_a_gap_in_the_data_begins_the_window_anew() -> None:
    detectors = build(ONLY_LEAK)
    rise = [(i if i < 600 else i + 3_600, 2 * GB + 1e6 * i) for i in range(0, 1_200, 3)]
    assert feed(detectors, (metric(second, "memory_usage", value) for second, value in rise)) == []


def test_a_shorter_window_finds_it_sooner() -> None:
    quick = Settings(rules={**ONLY_LEAK.rules, "resource_leak": RuleSettings.model_validate({"for": 30})})
    values = (metric(i, "memory_usage", 0.5 * GB + 5e6 * i) for i in range(40))
    assert short(feed(build(quick), values)) == [("resource_leak", "critical")]


def test_an_agent_that_is_started_again_begins_anew() -> None:
    detectors = build(ONLY_LEAK)
    feed(detectors, (metric(i, "memory_usage", 2 * GB + 1e6 * i) for i in range(1_000)))
    assert short(detectors.open()) == [("resource_leak", "critical")]
    found = detectors.feed(signal(1_001, SignalKind.STATE, "starting"))
    assert short(found) == [("resource_leak", "ended")]
    assert detectors.health() == {}
