"""Where a metric is heading is a warning: significant, large, and never further ahead than was looked back."""

from __future__ import annotations

import math
from random import Random

import pytest

from rollcage.core.config import RuleSettings, Settings
from rollcage.core.detect.detectors import build
from rollcage.core.model import Finding, Severity, SignalKind

from .signals import GB, at, metric, short, signal

ONLY_TREND = Settings(
    rules={
        "memory_usage": RuleSettings(enabled=True, severity="warning"),
        "resource_leak": RuleSettings(enabled=False),
    }
)


def run(values: list[float], *, every: float = 1, name: str = "memory_usage") -> list[Finding]:
    detectors = build(ONLY_TREND)
    found = [each for i, value in enumerate(values) for each in detectors.feed(metric(i * every, name, value))]
    return [each for each in found if each.rule == "trend"]


def test_it_says_when_the_metric_will_be_critical() -> None:
    (found, *_) = run([3 * GB + 3e6 * i for i in range(800)])
    assert found.severity is Severity.WARNING
    assert found.fingerprint == "memory_usage:trend"
    assert found.since == at(0)
    assert found.summary == "memory_usage 5.07 GB and rising by 180 MB/min: critical (7 GB) in about 10 min"


def test_the_forecast_is_right() -> None:
    values = [4.5 * GB + 2e6 * i for i in range(1_300)]
    found = run(values)[0]
    minutes = int(found.summary.rsplit("about ", 1)[1].split()[0])
    reached = next(i for i, value in enumerate(values) if value > 7 * GB)
    assert abs((reached - (found.at - at(0)).total_seconds()) / 60 - minutes) <= 1


def test_small_is_bad_for_some() -> None:
    found = run([0.98 - 0.0001 * i for i in range(600)], name="matching_accuracy")
    assert short(found)[0] == ("matching_accuracy:trend", "warning")
    assert "falling by" in found[0].summary


def test_a_slow_rhythm_has_trends_too() -> None:
    assert short(run([70 * 60 + 200.0 * i for i in range(14)], every=3_600, name="batch_processing_time")) == [
        ("batch_processing_time:trend", "warning")
    ]


def test_in_the_normal_range_or_too_far_off_there_is_none() -> None:
    assert run([1 * GB + 1e6 * i for i in range(1_200)]) == []
    assert run([4.2 * GB + 1e5 * i for i in range(1_200)]) == []


def test_it_is_over_when_the_metric_no_longer_heads_there() -> None:
    rise = [4 * GB + 3e6 * i for i in range(600)]
    assert short(run([*rise, *[5.8 * GB] * 1_200])) == [
        ("memory_usage:trend", "warning"),
        ("memory_usage:trend", "ended"),
    ]


def test_an_agent_that_is_started_again_begins_anew() -> None:
    detectors = build(ONLY_TREND)
    for i in range(600):
        detectors.feed(metric(i, "memory_usage", 4 * GB + 3e6 * i))
    assert ("memory_usage:trend", "warning") in short(detectors.open())
    found = detectors.feed(signal(601, SignalKind.STATE, "starting"))
    assert short(found) == [("memory_usage:trend", "ended")]


@pytest.mark.parametrize(
    ("share", "memory", "most"), [(0.1, 0.0, 0.0), (0.1, 0.98, 0.0), (0.2, 0.0, 0.0), (0.2, 0.98, 0.05)]
)
def test_noise_raises_hardly_an_alarm_in_an_hour(share: float, memory: float, most: float) -> None:
    """``share``: the noise's scale as a share of what is missing to critical; ``memory``: its autocorrelation."""
    random = Random(20261120)
    runs, alarms = 60, 0
    for _ in range(runs):
        scale, state, values = share * 2 * GB, 0.0, []
        for _ in range(1_200):
            state = memory**3 * state + random.gauss(0, scale * math.sqrt(1 - memory**6))
            values.append(5 * GB + state)
        alarms += bool(run(values, every=3))
    assert alarms / runs <= most
