"""Risk follows a published table: nobody has to guess, and more is never less."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcage.core.model import RiskLevel
from rollcage.core.plan import risk
from rollcage.core.plan.risk import RiskFacts, assess, level

CLEAN = RiskFacts(
    lines_changed=2,
    lost_lines=0,
    lost_commits=0,
    needed=0,
    dependents=0,
    others_files=0,
    database="none",
    history_rewritten=False,
    pushed=False,
    dirty_overlap=False,
    dirty_same_file=False,
    checks_passed=True,
    confidence=0.97,
    agents_stopped=1,
    commits_taken_back=1,
)


def of(**changed: Any) -> tuple[int, RiskLevel]:
    points, found, _ = assess(replace(CLEAN, **changed))
    return points, found


def test_a_clean_confirmed_commit_whose_way_back_passes_the_checks_may_go_alone() -> None:
    assert assess(CLEAN) == (0, RiskLevel.LOW, ())
    assert of(pushed=True, lines_changed=200) == (2, RiskLevel.LOW)
    assert of(pushed=True, lines_changed=90_000) == (4, RiskLevel.MEDIUM)
    assert of(pushed=None, dependents=2, others_files=1) == (3, RiskLevel.MEDIUM)


def test_a_restart_is_low_whatever_is_not_known() -> None:
    unknown = {"pushed": None, "checks_passed": None, "confidence": 0.0}
    assert of(lines_changed=0, commits_taken_back=0, **unknown) == (0, RiskLevel.LOW)


@pytest.mark.parametrize(
    "changed",
    [
        {"checks_passed": False},
        {"checks_passed": None, "confidence": 0.5},  # on evidence alone
        {"lost_lines": 1},
        {"dirty_overlap": True},
        {"database": "loses_writes"},  # everybody's writes since the checkpoint
        {"checks_passed": None, "confidence": 0.0, "pushed": None, "database": "unknown"},  # nothing is known
    ],
)
def test_what_cannot_be_shown_to_work_or_would_lose_something_waits_for_a_human(changed: dict[str, Any]) -> None:
    assert of(**changed)[1] is RiskLevel.HIGH


def test_it_is_critical_where_commits_or_history_would_be_lost_and_only_where_something_is() -> None:
    assert of(lost_commits=1) == (9, RiskLevel.CRITICAL)
    assert of(history_rewritten=True) == (9, RiskLevel.CRITICAL)
    assert of(lost_lines=500, pushed=True) == (9, RiskLevel.CRITICAL)
    assert of(checks_passed=False, confidence=0.0, dirty_overlap=True, dependents=99) == (8, RiskLevel.HIGH)


def test_the_factors_name_what_counted_heaviest_first() -> None:
    points, _, factors = assess(replace(CLEAN, checks_passed=None, confidence=0.7, lines_changed=1_234))
    assert [(each.name, each.value, each.points) for each in factors] == [
        ("checks_passed", "not run", 4),
        ("lines_changed", "1,234", 2),
        ("confidence", "0.70", 2),
    ]
    assert points == 8
    assert all(each.why for each in factors)


def test_a_confidence_that_is_no_number_is_none() -> None:
    assert of(confidence=float("nan")) == of(confidence=0.0)


def test_the_levels_are_those_of_the_specification() -> None:
    levels = [level(points).value for points in range(11)]
    assert levels == ["LOW"] * 3 + ["MEDIUM"] * 3 + ["HIGH"] * 3 + ["CRITICAL"] * 2


def test_every_fact_is_in_the_published_table() -> None:
    assert risk.__doc__ is not None
    assert all(f"| {field.name}" in risk.__doc__ for field in fields(RiskFacts))


WORSE: dict[str, list[Any]] = {
    "database": ["none", "same", "goes_back", "unknown", "no_way_back", "loses_writes"],
    "history_rewritten": [False, True],
    "pushed": [False, None, True],
    "dirty_overlap": [False, True],
    "dirty_same_file": [False, True],
    "checks_passed": [True, "flaky", None, False],
    "confidence": [1.0, 0.95, 0.94, 0.8, 0.79, 0.5, 0.49, 0.0],
    **{
        name: [0, 1, 2, 3, 4, 5, 10, 11, 20, 21, 50, 51, 101, 301, 1_501]
        for name, kind in RiskFacts.__annotations__.items()
        if kind == "int"
    },
}


@settings(max_examples=400, deadline=None)
@given(st.fixed_dictionaries({name: st.sampled_from(values) for name, values in WORSE.items()}), st.data())
def test_more_of_anything_is_never_less_risk(values: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(WORSE)))
    better = RiskFacts(**values)
    worse = replace(better, **{name: data.draw(st.sampled_from(WORSE[name][WORSE[name].index(values[name]) :]))})
    points, found, factors = assess(better)
    assert assess(worse)[0] >= points
    assert 0 <= points <= 10
    assert points <= sum(each.points for each in factors)
    assert found is level(points)
    assert asdict(better) == values
