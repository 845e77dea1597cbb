"""A metric is judged against its bands: once an episode, after its time, and not on its good side."""

from __future__ import annotations

import math

import pytest

from rollcage.core.config import RuleSettings, Settings
from rollcage.core.detect.detectors import build
from rollcage.core.detect.rules import METRICS, Band, rules, show
from rollcage.core.errors import SettingsError
from rollcage.core.model import Health, Severity, SignalKind

from .signals import GB, at, feed, metric, short, signal


def settings(**given: RuleSettings) -> Settings:
    return Settings(rules=given)


DEFAULTS = {rule.name: rule for rule in METRICS}


@pytest.mark.parametrize(
    ("name", "value", "band"),
    [
        ("batch_processing_time", 60.0, Band.NORMAL),  # faster than normal is good
        ("batch_processing_time", 75 * 60.0, Band.NORMAL),
        ("batch_processing_time", 80 * 60.0, Band.RAISED),
        ("batch_processing_time", 90 * 60.0, Band.RAISED),  # over 90 min, not at 90 min
        ("batch_processing_time", 91 * 60.0, Band.WARNING),
        ("batch_processing_time", 121 * 60.0, Band.CRITICAL),
        ("memory_usage", 0.1 * GB, Band.NORMAL),
        ("memory_usage", 4.5 * GB, Band.RAISED),
        ("memory_usage", 5.1 * GB, Band.WARNING),
        ("memory_usage", 7.1 * GB, Band.CRITICAL),
        ("error_rate", 0.0, Band.NORMAL),
        ("error_rate", 0.005, Band.RAISED),
        ("error_rate", 0.02, Band.WARNING),
        ("error_rate", 0.06, Band.CRITICAL),
        ("matching_accuracy", 0.999, Band.NORMAL),
        ("matching_accuracy", 0.96, Band.RAISED),
        ("matching_accuracy", 0.94, Band.WARNING),
        ("matching_accuracy", 0.89, Band.CRITICAL),
        ("data_consistency", 0, Band.NORMAL),
        ("data_consistency", 1, Band.WARNING),  # 1 or more
        ("data_consistency", 100, Band.WARNING),
        ("data_consistency", 101, Band.CRITICAL),
    ],
)
def test_the_default_bands_are_those_of_the_specification(name: str, value: float, band: Band) -> None:
    assert DEFAULTS[name].band(value) is band


def test_a_finding_says_what_how_much_over_what_and_what_it_means() -> None:
    detectors = build(settings())
    (found,) = detectors.feed(metric(0, "batch_processing_time", 95 * 60))
    assert found.summary == "batch_processing_time 95 min, over 90 min: performance degradation"
    assert (found.agent, found.rule, found.fingerprint) == (
        "executor",
        "batch_processing_time",
        "batch_processing_time",
    )
    assert (found.value, found.since, found.severity) == (5700, at(0), Severity.WARNING)
    assert [each.value for each in found.signals] == [5700]


def test_one_finding_an_episode_another_when_it_gets_worse_and_one_when_it_is_over() -> None:
    values = [0.0, 0.02, 0.03, 0.02, 0.09, 0.2, 0.02, 0.09, 0.0, 0.0, 0.02]
    found = feed(build(settings()), (metric(60 * i, "error_rate", value) for i, value in enumerate(values)))
    assert short(found) == [
        ("error_rate", "warning"),
        ("error_rate", "critical"),
        ("error_rate", "ended"),
        ("error_rate", "warning"),
    ]
    assert found[1].since == at(60)  # the trouble began with the warning


def test_memory_must_stay_in_a_band_for_its_time_before_it_is_a_finding() -> None:
    detectors = build(settings())
    spike = [metric(0, "memory_usage", 3 * GB), metric(1, "memory_usage", 9 * GB), metric(2, "memory_usage", 3 * GB)]
    assert feed(detectors, spike) == []
    found = feed(detectors, (metric(10 + i, "memory_usage", 7.2 * GB) for i in range(20)))
    assert short(found) == [("memory_usage", "critical")]
    assert found[0].at == at(15)
    assert found[0].since == at(10)
    assert found[0].summary == "memory_usage 7.2 GB, over 7 GB for 5 s: resource exhaustion"


def test_a_gap_in_the_data_is_no_time_in_band() -> None:
    detectors = build(settings())
    before = [metric(i, "memory_usage", 6 * GB) for i in range(4)]
    assert feed(detectors, before) == []
    assert feed(detectors, [metric(3_600, "memory_usage", 6 * GB)]) == []
    assert short(feed(detectors, [metric(3_600 + i, "memory_usage", 6 * GB) for i in range(1, 6)])) == [
        ("memory_usage", "warning")
    ]


def test_a_slow_rhythm_is_no_gap() -> None:
    slow = settings(error_rate=RuleSettings.model_validate({"for": 600}))
    found = feed(build(slow), (metric(300 * i, "error_rate", 0.02) for i in range(5)))
    assert short(found) == [("error_rate", "warning")]


def test_an_episode_ends_well_inside_the_band_so_that_it_does_not_flap() -> None:
    values = [5.1, 4.95, 5.05, 4.9, 5.1, 4.8, 4.6, 4.4]
    seconds = [value for value in values for _ in range(10)]
    found = feed(build(settings()), (metric(i, "memory_usage", value * GB) for i, value in enumerate(seconds)))
    assert short(found) == [("memory_usage", "warning"), ("memory_usage", "ended")]
    assert found[1].value == found[0].value  # what it was about
    assert found[1].summary == "memory_usage 4.4 GB, back in band"


def test_values_that_are_no_numbers_late_or_doubled_change_nothing() -> None:
    detectors = build(settings())
    odd = [
        metric(10, "error_rate", math.nan),
        metric(11, "error_rate", math.inf),
        signal(12, SignalKind.METRIC, "error_rate"),
        metric(13, "error_rate", 0.0),
        metric(5, "error_rate", 0.9),  # older than what is known
        metric(14, "nobody_knows_this", 1e12),
    ]
    assert feed(detectors, odd) == []
    assert len(feed(detectors, [metric(20, "error_rate", 0.02), metric(20, "error_rate", 0.02)])) == 1


def test_each_agent_has_its_own_episode() -> None:
    found = feed(build(settings()), [metric(0, "error_rate", 0.2, agent="a"), metric(0, "error_rate", 0.2, agent="b")])
    assert [each.agent for each in found] == ["a", "b"]


def test_a_value_in_another_unit_of_the_same_kind_is_understood() -> None:
    detectors = build(settings())
    found = feed(
        detectors,
        [
            metric(0, "error_rate", 2, unit="%"),
            metric(0, "batch_processing_time", 2.5, unit="h"),
            metric(0, "matching_accuracy", 0.99, unit="apples"),
        ],
    )
    assert [each.summary for each in found] == [
        "error_rate 2 %, over 1 %: quality degradation",
        "batch_processing_time 150 min, over 120 min: performance degradation",
    ]


def test_bands_show_every_newest_value_and_health_follows_the_episodes() -> None:
    detectors = build(settings())
    feed(detectors, [metric(0, "error_rate", 0.005), metric(1, "matching_accuracy", 0.8, agent="b")])
    assert [(each.agent, each.metric, each.band, each.value) for each in detectors.bands()] == [
        ("b", "matching_accuracy", Band.CRITICAL, 0.8),
        ("executor", "error_rate", Band.RAISED, 0.005),
    ]
    assert detectors.health() == {"b": Health.CRITICAL}
    assert short(detectors.open()) == [("matching_accuracy", "critical")]


def test_after_a_restart_an_episode_is_taken_up_and_not_reported_again() -> None:
    first = build(settings())
    begun = first.feed(metric(0, "error_rate", 0.02))
    second = build(settings())
    second.resume(begun)
    assert second.feed(metric(1, "error_rate", 0.02)) == []
    assert short(second.feed(metric(2, "error_rate", 0.0))) == [("error_rate", "ended")]


class TestSettings:
    """Rules are changed by name; new ones stand beside them."""

    def test_a_changed_edge_moves_the_inherited_ones_out_of_its_way(self) -> None:
        changed = {
            rule.name: rule
            for rule in rules(
                settings(
                    memory_usage=RuleSettings(warning=3e8),
                    matching_accuracy=RuleSettings(critical=0.99),
                )
            ).metrics
        }
        memory, accuracy = changed["memory_usage"], changed["matching_accuracy"]
        assert (memory.normal, memory.warning, memory.critical) == (3e8, 3e8, 7 * GB)
        assert (accuracy.normal, accuracy.warning, accuracy.critical) == (0.99, 0.99, 0.99)

    def test_a_new_rule_has_its_own_metric_direction_time_and_unit(self) -> None:
        detectors = build(
            settings(
                queue=RuleSettings(metric="queue_length", warning=10, unit="jobs", alert="jam"),
                free_disk=RuleSettings(normal=5e9, warning=2e9, critical=1e9, unit="B"),  # falling: small is bad
            )
        )
        found = feed(detectors, [metric(0, "queue_length", 11), metric(1, "free_disk", 0.5e9), metric(2, "queue", 99)])
        assert [each.summary for each in found] == ["queue 11 jobs, over 10 jobs: jam", "free_disk 500 MB, under 1 GB"]

    def test_a_rule_can_be_off_or_of_another_severity(self) -> None:
        detectors = build(
            settings(error_rate=RuleSettings(enabled=False), matching_accuracy=RuleSettings(severity="warning"))
        )
        found = feed(detectors, [metric(0, "error_rate", 1.0), metric(1, "matching_accuracy", 0.1)])
        assert short(found) == [("matching_accuracy", "warning")]

    @pytest.mark.parametrize(
        ("name", "given", "problem"),
        [
            ("new", RuleSettings(), "neither a warning nor a critical edge"),
            ("resource_leak", RuleSettings(warning=3), "has no bands"),
            ("error_storm", RuleSettings(warning=1), "2 or more"),
        ],
    )
    def test_what_makes_no_sense_is_named(self, name: str, given: RuleSettings, problem: str) -> None:
        with pytest.raises(SettingsError, match=problem) as error:
            rules(settings(**{name: given}))
        assert error.value.key.startswith(f"rules.{name}")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (5400, "s", "90 min"),
        (30, "s", "30 s"),
        (7.2e9, "B", "7.2 GB"),
        (0, "B", "0 B"),
        (0.012, "share", "1.2 %"),
        (3, "errors", "3 errors"),
        (3, "", "3"),
    ],
)
def test_numbers_are_shown_short_and_with_their_unit(value: float, unit: str, text: str) -> None:
    assert show(value, unit) == text
