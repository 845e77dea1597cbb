"""Storms, loops and silence: what time alone tells."""

from __future__ import annotations

import pytest

from rollcage.core.config import RuleSettings, Settings
from rollcage.core.detect.detectors import build
from rollcage.core.model import Finding, Severity, Signal, SignalKind

from .signals import at, feed, metric, short, signal


def error(seconds: float, text: str) -> Signal:
    return signal(seconds, SignalKind.ERROR, text=text)


def running(seconds: float = 0, **attrs: object) -> Signal:
    return signal(seconds, SignalKind.STATE, "running", attrs=attrs)


def step(seconds: float, name: str, **attrs: object) -> Signal:
    return signal(seconds, SignalKind.STEP, name, attrs=attrs)


def of(rule: str, findings: list[Finding]) -> list[Finding]:
    return [each for each in findings if each.rule == rule]


class TestStorm:
    """The same error 10 times in 5 min, after numbers, ids, paths and addresses are masked."""

    def test_ten_errors_that_differ_in_numbers_only_are_a_storm(self) -> None:
        found = feed(
            build(Settings()), (error(20 * i, f"row {i}: cannot open /data/{i}.csv at 0x7f{i}") for i in range(30))
        )
        (only,) = found
        assert only.severity is Severity.WARNING
        assert only.since == at(0)
        assert only.summary == "the same error 10 times in 3 min: row <n>: cannot open <path> at <id>"

    def test_nine_or_ten_in_a_longer_time_or_different_ones_are_none(self) -> None:
        assert feed(build(Settings()), (error(i, "no route") for i in range(9))) == []
        assert feed(build(Settings()), (error(40 * i, "no route") for i in range(40))) == []
        assert feed(build(Settings()), (error(i, f"no route to {chr(65 + i)}") for i in range(20))) == []

    def test_the_observers_template_counts_where_there_is_one(self) -> None:
        signals = [signal(i, SignalKind.ERROR, text=f"a{chr(65 + i)}", attrs={"template": "a<id>"}) for i in range(10)]
        assert short(feed(build(Settings()), signals)) == [("error_storm:a<id>", "warning")]

    def test_it_is_over_after_a_quiet_window_and_can_come_again(self) -> None:
        detectors = build(Settings())
        feed(detectors, (error(i, "no route") for i in range(10)))
        assert detectors.tick(at(309)) == []
        (ended,) = detectors.tick(at(5_000))
        assert (ended.ended, ended.at) == (True, at(309))
        assert len(feed(detectors, (error(6_000 + i, "no route") for i in range(10)))) == 1

    def test_errors_that_come_in_any_order_count_the_same(self) -> None:
        detectors = build(Settings())
        found = [each for i in (9, 3, 5, 1, 7, 2, 8, 4, 6, 0) for each in detectors.feed(error(i, "no route"))]
        assert len(found) == 1


class TestLoop:
    """The same step for over 60 min, unless that was declared."""

    def test_a_step_of_over_an_hour_is_an_emergency_dated_when_it_became_one(self) -> None:
        detectors = build(Settings())
        feed(detectors, [step(0, "optimise"), step(1_800, "optimise")])
        assert of("infinite_loop", detectors.tick(at(3_600))) == []
        (found,) = of("infinite_loop", detectors.tick(at(9_999)))
        assert found.severity is Severity.CRITICAL
        assert (found.at, found.since) == (at(3_600), at(0))
        assert found.summary == "in step optimise for over 60 min"
        assert short(of("infinite_loop", detectors.feed(step(10_000, "verify")))) == [("infinite_loop", "ended")]

    def test_a_declared_long_step_has_the_time_that_it_asked_for(self) -> None:
        detectors = build(Settings())
        feed(detectors, [step(0, "train", expect=7_200)])
        assert of("infinite_loop", detectors.tick(at(7_200))) == []
        assert len(of("infinite_loop", detectors.tick(at(7_201)))) == 1

    def test_other_steps_and_the_end_of_running_begin_anew(self) -> None:
        detectors = build(Settings())
        feed(detectors, [step(0, "a"), step(3_000, "b")])
        assert of("infinite_loop", detectors.tick(at(6_000))) == []
        feed(detectors, [signal(6_100, SignalKind.STATE, "completed")])
        assert of("infinite_loop", detectors.tick(at(20_000))) == []

    def test_the_time_that_an_agent_stands_by_does_not_count(self) -> None:
        detectors = build(Settings())
        feed(detectors, [running(), step(1, "a"), running(3_000, hold="standby")])
        assert detectors.tick(at(9_000)) == []
        feed(detectors, [running(9_000, hold="none")])
        assert of("infinite_loop", detectors.tick(at(12_600))) == []
        (found,) = of("infinite_loop", detectors.tick(at(12_601)))
        assert found.since == at(9_000)


class TestSilence:
    """5 min without a sign of life from an agent that is running."""

    def test_a_running_agent_that_says_nothing_is_reported_and_its_next_word_ends_it(self) -> None:
        detectors = build(Settings())
        feed(detectors, [running(), signal(60, SignalKind.LOG, text="working"), metric(350, "memory_usage", 1e9)])
        assert detectors.tick(at(360)) == []
        (found,) = detectors.tick(at(361))
        assert (found.rule, found.severity, found.at) == ("communication_failure", Severity.WARNING, at(360))
        assert found.summary == "silent for over 5 min"
        assert short(detectors.feed(signal(400, SignalKind.MESSAGE, text="here"))) == [
            ("communication_failure", "ended")
        ]

    @pytest.mark.parametrize(
        "last",
        [
            signal(10, SignalKind.STATE, "completed"),
            running(10, hold="standby"),  # it was told to stand by
            step(10, "train", expect=3_600),
        ],
    )
    def test_one_that_does_not_run_stands_by_or_said_so_is_not(self, last: Signal) -> None:
        detectors = build(Settings())
        feed(detectors, [running(), last])
        assert detectors.tick(at(3_000)) == []

    def test_being_told_again_that_it_runs_is_no_sign_of_life(self) -> None:
        detectors = build(Settings())
        feed(detectors, [running()])
        assert len(detectors.tick(at(301))) == 1
        assert detectors.feed(running(302)) == []
        assert detectors.tick(at(303)) == []

    def test_one_never_seen_running_is_not(self) -> None:
        detectors = build(Settings())
        feed(detectors, [signal(0, SignalKind.LOG, text="hello")])
        assert detectors.tick(at(3_000)) == []

    def test_ticking_rarely_or_often_gives_the_same(self) -> None:
        signals = [running(), step(1, "a"), *[error(10 + i, "no route") for i in range(10)], step(9_000, "b")]
        seldom, often = build(Settings()), build(Settings())
        first, second = list[Finding](), list[Finding]()
        for each in signals:
            first += seldom.tick(each.at) + seldom.feed(each)
        moment = 0.0
        for each in signals:
            while at(moment) < each.at:
                second += often.tick(at(moment))
                moment += 7
            second += often.tick(each.at) + often.feed(each)
        assert first == second

    def test_the_limits_are_settings(self) -> None:
        quick = Settings(rules={"communication_failure": RuleSettings.model_validate({"for": 10})})
        detectors = build(quick)
        feed(detectors, [running()])
        assert len(detectors.tick(at(11))) == 1
