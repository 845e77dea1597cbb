"""Rollcage acts alone only where every reason not to is absent; each reason has a code and a sentence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rollcage.core.config import Level, LimitSettings
from rollcage.core.decide import REASONS, PolicyFacts, decide, refusals
from rollcage.core.model import (
    CheckOutcome,
    DecisionVerdict,
    Diagnosis,
    OptionType,
    RecoveryPlan,
    RiskLevel,
    RollbackOption,
    Verdict,
)

from .plan.plans import diagnosis, option, plan

FINE = PolicyFacts(
    kill_switch=False,
    snapshot_failed=False,
    same_problem=2,
    proposals=10,
    unattended=3,
    checks_believed=True,
    confirmed=True,
    opted_out=False,
    undone_before=False,
    culprit_age=86_400.0,
    moved=False,
    overlap=False,
    obstacle="",
    needed_later=False,
)
BAD: dict[str, dict[str, Any]] = {
    "paused_by_kill_switch": {"kill_switch": True},
    "level_watch": {"level": Level.WATCH},
    "same_problem": {"same_problem": 3},
    "snapshot_failed": {"snapshot_failed": True},
    "level_propose": {"level": Level.PROPOSE},
    "checks_not_believed": {"checks_believed": False},
    "cannot_tell": {"verdict": Verdict.CANNOT_TELL},
    "opt_out": {"opted_out": True},
    "undone_before": {"undone_before": True},
    "verdict_ask": {"verdict": Verdict.ASK},
    "not_confirmed": {"confirmed": False},
    "history_rewritten": {"rewrite": True},
    "does_not_apply": {"applies": False},
    "no_check_passed": {"passed": None},
    "not_proven": {"proven": False},
    "no_way_back": {"database": "no way back: no checkpoint of the last good state"},
    "moved": {"moved": True},
    "overlap": {"overlap": True},
    "operation_in_progress": {"obstacle": "operation_in_progress"},
    "index_locked": {"obstacle": "index_locked"},
    "not_writable": {"obstacle": "not_writable"},
    "needed_later": {"needed_later": True},
    "culprit_age": {"culprit_age": 86_401.0},
    "too_many_proposals": {"proposals": 11},
    "too_many_unattended": {"unattended": 4},
    "risk_high": {"risk": RiskLevel.HIGH},
}
ABOUT_CODE = {
    "checks_not_believed",
    "opt_out",
    "undone_before",
    "not_confirmed",
    "no_check_passed",
    "not_proven",
    "no_way_back",
    "overlap",
    "operation_in_progress",
    "index_locked",
    "not_writable",
    "needed_later",
    "culprit_age",
}


def case(
    kind: OptionType = OptionType.SINGLE_COMMIT, **bad: Any
) -> tuple[Level, RollbackOption, RecoveryPlan, Diagnosis, PolicyFacts, LimitSettings]:
    level = bad.pop("level", Level.AUTO)
    rehearsal = option(kind).rehearsal
    if "passed" in bad:
        rehearsal = replace(rehearsal, checks=(CheckOutcome("tests", bad.pop("passed"), 1, 1.0),))
    rehearsal = replace(rehearsal, applies=bad.pop("applies", True), proven=bad.pop("proven", True))
    made = replace(option(kind, level=bad.pop("risk", RiskLevel.LOW)), rehearsal=rehearsal)
    planned = replace(plan(kind), rewrite=bad.pop("rewrite", False), database=bad.pop("database", "nothing"))
    found = diagnosis(bad.pop("verdict", Verdict.ACT))
    return level, made, planned, found, replace(FINE, **bad), LimitSettings()


@pytest.mark.parametrize("risk", [RiskLevel.LOW, RiskLevel.MEDIUM])
def test_where_nothing_speaks_against_it_the_engine_approves(risk: RiskLevel) -> None:
    assert decide(*case(risk=risk)) == (DecisionVerdict.APPROVE, "")
    assert decide(*case(OptionType.RESTART_ONLY, risk=risk)) == (DecisionVerdict.APPROVE, "")


@pytest.mark.parametrize("code", list(BAD))
def test_every_reason_alone_is_enough_and_says_its_code(code: str) -> None:
    verdict, found = decide(*case(**BAD[code]))
    assert found == code
    assert verdict is (DecisionVerdict.ESCALATE if code == "same_problem" else DecisionVerdict.WAIT)


def test_every_reason_has_a_test_and_a_sentence() -> None:
    assert [code for code in REASONS if code != "edited"] == list(BAD), "an edit overtakes only an operator's approval"
    assert all(sentence and "\n" not in sentence for sentence in REASONS.values())


def test_of_several_reasons_the_first_counts_and_all_can_be_listed() -> None:
    several: dict[str, Any] = {"unattended": 4, "overlap": True, "same_problem": 9, "kill_switch": True}
    assert decide(*case(**several)) == (DecisionVerdict.WAIT, "paused_by_kill_switch")
    assert list(refusals(*case(**several))) == [
        "paused_by_kill_switch",
        "same_problem",
        "overlap",
        "too_many_unattended",
    ]


@pytest.mark.parametrize("code", list(BAD))
def test_a_restart_is_not_held_up_by_what_is_about_code(code: str) -> None:
    bad = {key: value for key, value in BAD[code].items() if key != "passed"}
    verdict, found = decide(*case(OptionType.RESTART_ONLY, **bad))
    if code in ABOUT_CODE:
        assert (verdict, found) == (DecisionVerdict.APPROVE, "")
    else:
        assert found == code


def test_a_restart_is_no_answer_to_a_check_that_fails() -> None:
    assert decide(*case(OptionType.RESTART_ONLY, passed=False)) == (DecisionVerdict.WAIT, "no_check_passed")
    assert decide(*case(OptionType.RESTART_ONLY, passed=None)) == (DecisionVerdict.APPROVE, "")


@pytest.mark.parametrize("level", [Level.WATCH, Level.PROPOSE])
def test_below_auto_nothing_is_ever_approved(level: Level) -> None:
    assert decide(*case(level=level))[0] is DecisionVerdict.WAIT


@pytest.mark.parametrize("risk", [RiskLevel.HIGH, RiskLevel.CRITICAL])
def test_high_risk_always_waits_for_a_human(risk: RiskLevel) -> None:
    assert decide(*case(risk=risk)) == (DecisionVerdict.WAIT, "risk_high")


def test_without_any_check_run_in_rehearsal_it_waits() -> None:
    level, made, planned, found, facts, limits = case()
    none = replace(made, rehearsal=replace(made.rehearsal, checks=()))
    assert decide(level, none, planned, found, facts, limits) == (DecisionVerdict.WAIT, "no_check_passed")


def test_parts_that_take_the_failing_test_along_wait_whatever_was_said_of_them() -> None:
    level, made, planned, found, facts, limits = case(OptionType.FILE_SELECTIVE)
    unseen = CheckOutcome("tests", True, 1, 1.0, unseen=("test_calc.test_add",))
    hiding = replace(made, rehearsal=replace(made.rehearsal, checks=(unseen,)))
    assert decide(level, hiding, planned, found, facts, limits) == (DecisionVerdict.WAIT, "not_proven")


def test_what_is_as_flaky_without_the_change_does_not_hold_up_what_is_proven() -> None:
    level, made, planned, found, facts, limits = case(passed=None)
    known = replace(made, rehearsal=replace(made.rehearsal, known_flaky=("tests",)))
    assert decide(level, known, planned, found, facts, limits) == (DecisionVerdict.APPROVE, "")
    unproven = replace(known, rehearsal=replace(known.rehearsal, proven=False))
    assert list(refusals(level, unproven, planned, found, facts, limits)) == ["no_check_passed", "not_proven"]


def test_a_plan_that_is_not_the_options_has_moved() -> None:
    level, made, planned, found, facts, limits = case()
    other = replace(planned, plan_hash="0" * 64)
    assert decide(level, made, other, found, facts, limits) == (DecisionVerdict.WAIT, "moved")
