"""A plan is looked through before anybody approves it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rollcage.core.model import OptionType, RecoveryPlan
from rollcage.core.plan.recovery import undo_steps
from rollcage.core.plan.validate import validate_recovery_plan

from .plans import FIRST, plan


@pytest.mark.parametrize("kind", list(OptionType))
@pytest.mark.parametrize("restart", [True, False])
def test_the_plans_that_rollcage_makes_are_valid(kind: OptionType, restart: bool) -> None:
    if kind is OptionType.RESTART_ONLY and not restart:
        return
    result = validate_recovery_plan(plan(kind, restart=restart))
    assert (result.valid, result.problems) == (True, ())


def test_so_is_an_undo() -> None:
    assert validate_recovery_plan(replace(plan(), steps=tuple(undo_steps()), agent="")).valid


def without(*gone: str) -> RecoveryPlan:
    return replace(plan(), steps=tuple(each for each in plan().steps if each.name not in gone))


def swapped(first: str, second: str) -> RecoveryPlan:
    steps = list(plan().steps)
    one, two = ([each.name for each in steps].index(name) for name in (first, second))
    steps[one], steps[two] = steps[two], steps[one]
    return replace(plan(), steps=tuple(steps))


RESTART_ONLY = plan(OptionType.RESTART_ONLY)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (replace(plan(), steps=()), "it has no steps"),
        (without("snapshot"), "step snapshot is missing"),
        (without("verify"), "step verify is missing"),
        (without("resume_others"), "the others would stand by for ever"),
        (without("publish"), "it must make one commit and publish it once"),
        (swapped("snapshot", "publish"), "undo needs a fresh snapshot"),
        (swapped("stand_by", "publish"), "agents that work on would write meanwhile"),
        (swapped("stop_agent", "restart_agent"), "not in the order of the phases"),
        (swapped("checks", "publish"), "step checks comes before publish"),
        (replace(plan(), steps=(replace(plan().steps[0], undo=""), *plan().steps[1:])), "does not say: undo"),
        (replace(plan(), steps=(replace(plan().steps[0], phase=0), *plan().steps[1:])), "is in phase 0"),
        (replace(plan(), tree=None), "does not apply"),
        (replace(plan(), targets=()), "it takes nothing back"),
        (replace(plan(), targets=(FIRST, FIRST)), "the same commit back twice"),
        (replace(plan(), targets=("-f",)), "target -f is no full commit id"),
        (replace(plan(), message=" \n"), "its commit has no message"),
        (replace(plan(), head=""), "on which commit it was rehearsed"),
        (replace(plan(), branch=""), "it names no branch"),
        (replace(plan(), plan_hash=""), "it has no plan hash"),
        (replace(RESTART_ONLY, tree="d" * 40), "must not change code"),
        (plan(OptionType.RESTART_ONLY, restart=False), "it restarts nobody"),
    ],
)
def test_what_is_wrong_is_named(wrong: RecoveryPlan, problem: str) -> None:
    result = validate_recovery_plan(wrong)
    assert not result.valid
    assert any(problem in each for each in result.problems), result.problems
