"""How long it will take is taken from how long it took."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from rollcage.core.model import CheckOutcome, OptionType, Rollback, RollbackState, Step, StepState
from rollcage.core.plan.recovery import recovery_steps
from rollcage.core.plan.times import OWN_STEP_S, estimated_seconds, history_of_steps
from tests.execute.scene import Scene

AT = datetime(2026, 11, 20, 14, 0, tzinfo=UTC)
STEPS = recovery_steps(OptionType.SINGLE_COMMIT, ["executor"], has_checks=True)
TESTS = CheckOutcome("tests", True, 1, 30.0)


def test_constants_at_first_and_the_median_of_earlier_rollbacks_then(scene: Scene) -> None:
    services = scene.services()
    store = services.store
    assert history_of_steps(store).seconds == {}
    first = estimated_seconds(services, STEPS, [TESTS])
    assert first == pytest.approx(sum(OWN_STEP_S[step.name] for step in STEPS) + 30.0)
    for number, (snapshot, checks) in enumerate([(4.0, 100.0), (6.0, 40.0), (90.0, 40.5)], 1):
        rollback = Rollback(
            f"rb-{number}", "inc-1", "opt-1.1", "0" * 64, "rollback", RollbackState.DONE, "engine", AT, "0" * 40
        )
        store.save_rollback(rollback)
        took = {"snapshot": (snapshot, {}), "checks": (checks, {"checks_s": checks - 1.0})}
        for place, (name, (seconds, data)) in enumerate(took.items(), 1):
            step = Step(rollback.id, place, 3, name, "", StepState.DONE, AT, AT + timedelta(seconds=seconds), data)
            store.save_step(step)
        store.save_step(replace(step, number=9, name="publish", state=StepState.FAILED))
    history = history_of_steps(store)
    assert history.seconds == {"snapshot": 6.0, "checks": pytest.approx(1.0)}
    assert history.counts == {"snapshot": 3, "checks": 3}
    later = estimated_seconds(services, STEPS, [TESTS])
    assert later == pytest.approx(first - OWN_STEP_S["snapshot"] + 6.0 + 1.0)
    store.close()


def test_every_step_has_a_constant() -> None:
    every = recovery_steps(OptionType.FULL_AGENT_RESET, ["a"], has_checks=True, database="x", reset=["a"], push="far")
    assert {step.name for step in every} == OWN_STEP_S.keys()
