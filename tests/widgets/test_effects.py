"""What an option means: all five types, and one that is refused, in the words that an operator must see."""

from __future__ import annotations

from dataclasses import replace

from rollcage.core.board import OptionView
from rollcage.core.model import OptionType, RiskLevel
from rollcage.core.plan.recovery import step
from rollcage.widgets.effects import option_facts
from tests import boards

SHAS = tuple(f"{number:x}" * 40 for number in range(1, 9))


def facts(view: OptionView, *beside: OptionView, most: int = 3) -> list[str]:
    return [f"{fact.label}: {fact.text}" for fact in option_facts(view, beside, most=most)]


def made(
    kind: OptionType, *, level: RiskLevel = RiskLevel.LOW, effects: tuple[str, ...] = (), **of_plan: object
) -> OptionView:
    view = boards.option(1, kind, level, 2, 4.0)
    return OptionView(replace(view.option, side_effects=effects), replace(view.plan, **of_plan))  # type: ignore[arg-type]


def test_of_a_long_list_of_parts_the_first_and_the_number_are_shown() -> None:
    parts = tuple(f"a01d2350b879:src/{name}.py#1" for name in "abcdef")
    view = made(OptionType.FILE_SELECTIVE, parts=parts)
    assert (
        "goes: 6 parts: a01d235:src/a.py#1, a01d235:src/b.py#1, a01d235:src/c.py#1 and 3 more; the rest stays"
        in facts(view)
    )
    assert "and 3 more" not in " ".join(facts(view, most=10))


def test_what_stays_because_it_is_needed_is_said_and_what_goes_though_needed_is_alarming() -> None:
    effects = ("src/helper.py: later work imports it", "it goes though it is wanted: b.py: later work uses f")
    view = made(OptionType.FILE_SELECTIVE, effects=effects)
    assert facts(view)[-2:] == ["beware: " + effects[1], "stays: " + effects[0]]
    assert [fact.style for fact in option_facts(view)][-2:] == ["warning", ""]


def test_a_branch_reset_says_what_is_made_again_and_a_rewrite_what_to_type() -> None:
    assert "kept: 8 commits: 1111111, 2222222, 3333333 and 5 more: made again on top" in facts(
        made(OptionType.BRANCH_RESET, keeps=SHAS)
    )
    rewrite = made(
        OptionType.BRANCH_RESET, level=RiskLevel.CRITICAL, rewrite=True, loses="rewrite history and lose 2 commits"
    )
    found = facts(rewrite)
    assert found[0].startswith("loses: rewrite history and lose 2 commits: approved only by typing these words")
    assert found[1] == "rewrites: history: main itself moves back, and no new commit is made"


def test_a_full_reset_says_whose_leases_and_branches_go_the_database_and_the_push() -> None:
    steps = (step("reset_agent", "executor"), step("reset_agent", "planner"), step("push", "origin"))
    view = made(
        OptionType.FULL_AGENT_RESET,
        steps=steps,
        database="restored to chk-1 of 90357d06627c, 2026-11-20T15:02:34.181663Z",
    )
    found = facts(view)
    assert "resets: executor, planner: leases, queue items, hand-overs and own branch and worktree go too" in found
    assert "database: restored to chk-1 of 90357d0, 2026-11-20 15:02:34 UTC" in found
    assert "push: main is sent to origin, or waits until it can be" in found
    assert "loses: no commit and no line" in found


def test_what_always_happens_comes_last_and_quietly() -> None:
    effects = ("executor is started again", "a new commit on main", "a remote has the bad commit already")
    view = made(OptionType.SINGLE_COMMIT, effects=effects)
    assert [(fact.text, fact.style) for fact in option_facts(view)][-3:] == [
        (effects[2], ""),
        (effects[0], "muted"),
        (effects[1], "muted"),
    ]


def test_a_refused_option_says_why_first_and_names_the_nearest() -> None:
    refused = boards.option(
        2, OptionType.SINGLE_COMMIT, RiskLevel.LOW, 1, 2.0, conflicts=("calc.py: line 3", "b", "c", "d")
    )
    restart = boards.option(1, OptionType.RESTART_ONLY, RiskLevel.LOW, 1, 2.0)
    part = boards.option(3, OptionType.FILE_SELECTIVE, RiskLevel.MEDIUM, 4, 2.0)
    assert facts(refused, restart, refused, part)[:5] == [
        "refused: calc.py: line 3",
        ": b",
        ": c",
        ": and 1 more",
        "instead: opt-12.3 FILE_SELECTIVE (risk MEDIUM), opt-12.1 RESTART_ONLY (risk LOW)",
    ]
