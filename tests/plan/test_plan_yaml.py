"""A plan goes to the editor as YAML that explains itself, and comes back checked, with the line of every mistake."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollcage.core.model import OptionType, RecoveryPlan
from rollcage.core.plan.plan_yaml import parse_plan, plan_yaml
from rollcage.core.text import clean_lines

from .plans import FIRST, SECOND, plan


def names(edited: RecoveryPlan) -> list[str]:
    return [each.name for each in edited.steps]


def problems(text: str, of: RecoveryPlan | None = None) -> list[str]:
    edited, found = parse_plan(text, of or plan())
    assert (edited is None) is bool(found)
    return found


@pytest.mark.parametrize("kind", list(OptionType))
def test_what_is_not_changed_comes_back_as_it_was(kind: OptionType) -> None:
    before = plan(kind)
    assert parse_plan(plan_yaml(before), before) == (before, [])


def test_the_text_explains_what_may_be_edited_and_what_it_does() -> None:
    text = plan_yaml(plan())
    assert text.startswith("# The plan of opt-12.1 for inc-12: SINGLE_COMMIT.\n")
    assert f"targets:\n  - {FIRST}\n  - {SECOND}\n" in text
    assert "message: |\n  Take back two commits\n\n  Incident inc-12: tests fail\n" in text
    assert "# Start executor again afterwards? true | false\nrestart: true\n" in text
    assert "#   1 stop executor and all its processes\n" in text


def test_targets_message_and_restart_can_be_changed() -> None:
    edited, found = parse_plan(f"targets: [{SECOND.upper()}]\nmessage: Other words\nrestart: false\n", plan())
    assert found == []
    assert edited is not None
    assert (edited.targets, edited.message) == ((SECOND,), "Other words\n")
    assert {"restart_agent", "metrics"}.isdisjoint(names(edited))
    assert names(edited)[-1] == "resume_others"


def test_what_is_left_out_stays() -> None:
    assert parse_plan("restart: true", plan()) == (plan(), [])


def test_a_restart_can_be_asked_for() -> None:
    edited, _ = parse_plan("restart: true", plan(restart=False))
    assert edited == plan()


def test_a_short_id_will_do_for_a_commit_that_was_there() -> None:
    edited, _ = parse_plan("targets: [bbbbbbb]", plan())
    assert edited is not None
    assert edited.targets == (SECOND,)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("targets: a: b", "line 1: is not valid YAML"),
        ("- a", "line 1: is no plan; allowed: keys with values"),
        ("", "line 1: is no plan"),
        (
            "restart: true\nresatrt: false",
            "line 2: resatrt: is no key of this plan; allowed: type, targets, message, push, restart",
        ),
        ("restart: true\nrestart: false", "line 2: restart is given twice"),
        ("restart: yes", "line 1: restart: is yes; allowed: true | false"),
        ("\ntargets: []", "line 2: targets: names no commit"),
        ("targets: 7", "line 1: targets: names no commit"),
        (f"targets:\n  - {FIRST}\n  - deadbeef", "line 3: targets: deadbeef is no full commit id"),
        ("targets:\n  - --force", "line 2: targets: --force is no full commit id"),
        ("targets:\n  - [1]", "line 2: targets: ['1'] is no full commit id"),
        (f"targets: [{FIRST}, aaaa]", "line 1: targets: aaaaaaaaaaaa is there twice"),
        ("message: ''", "line 1: message: is empty"),
        ("message: [a]", "line 1: message: is empty"),
        (f"message: {'x' * 10_001}", "line 1: message: has 10,001 characters; allowed: 10,000"),
        ("a: &a [*a]", "line 1:"),
    ],
)
def test_a_mistake_is_named_with_its_line(text: str, problem: str) -> None:
    found = problems(text)
    assert found[0].startswith(problem)
    assert all("\n" not in each for each in found)


def test_every_mistake_is_named_at_once() -> None:
    assert len(problems("targets: []\nmessage:\nrestart: maybe\nhurry: up")) == 4


def test_a_plan_that_only_restarts_has_nothing_else_to_edit() -> None:
    restart_only = plan(OptionType.RESTART_ONLY)
    assert "targets" not in plan_yaml(restart_only)
    assert problems(f"targets: [{FIRST}]", restart_only) == [
        "line 1: targets: is no key of this plan; allowed: restart"
    ]
    assert problems("\nrestart: false", restart_only) == [
        "line 2: restart: this plan only restarts; without it, reject it"
    ]


def test_without_an_agent_nobody_is_restarted() -> None:
    nobody = plan(agent="")
    assert "restart" not in plan_yaml(nobody).replace("restarts", "")
    assert parse_plan(plan_yaml(nobody), nobody) == (nobody, [])


@given(st.text(max_size=300), st.text(max_size=40))
def test_any_message_survives_and_foreign_names_stay_in_their_comment(message: str, does: str) -> None:
    before = plan()
    steps = (replace(before.steps[0], does=does), *before.steps[1:])
    before = replace(before, message=f"A{clean_lines(message).strip()}\n", steps=steps)
    edited, found = parse_plan(plan_yaml(before), before)
    assert found == []
    assert edited is not None
    assert edited.message == before.message
    assert edited.targets == before.targets
