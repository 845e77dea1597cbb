"""Plans come out in the order of the phases, each step with its check and its undo."""

from __future__ import annotations

import pytest

from rollcage.core.execute.steps import KINDS
from rollcage.core.model import OptionType
from rollcage.core.plan.recovery import recovery_steps, undo_steps


@pytest.mark.parametrize("kind", [OptionType.SINGLE_COMMIT, OptionType.RESTART_ONLY])
@pytest.mark.parametrize("agents", [[], ["executor"], ["executor", "planner"]])
def test_every_step_is_known_in_order_and_explained(kind: OptionType, agents: list[str]) -> None:
    for steps in (recovery_steps(kind, agents, has_checks=True), undo_steps()):
        assert {step.name for step in steps} <= KINDS.keys()
        assert [step.phase for step in steps] == sorted(step.phase for step in steps)
        assert all(step.does and step.check and step.undo for step in steps)
        assert [steps[-1].name, steps.count(steps[-1])] == ["resume_others", 1]


def test_only_those_are_started_again_that_may_in_the_order_given() -> None:
    steps = recovery_steps(OptionType.SINGLE_COMMIT, ["a", "b", "c"], has_checks=True, order=["c", "a"])
    assert [step.subject for step in steps if step.name == "stop_agent"] == ["a", "b", "c"]
    assert [step.subject for step in steps if step.name == "restart_agent"] == ["c", "a"]
    none = recovery_steps(OptionType.SINGLE_COMMIT, ["a"], has_checks=True, restart=False)
    assert "restart_agent" not in {step.name for step in none}
