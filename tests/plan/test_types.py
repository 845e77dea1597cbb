"""The coarser ways back: the last good tree with later work made again, an agent reset, parts named by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from rollcage.core.errors import UsageError
from rollcage.core.model import (
    Diagnosis,
    Incident,
    OptionType,
    RecoveryPlan,
    RiskLevel,
    RollbackOption,
    Suspect,
    Verdict,
)
from rollcage.core.plan.options import Wish, build_options, rehearse, wish_of
from rollcage.core.plan.plan_yaml import parse_plan, plan_yaml
from rollcage.core.plan.validate import validate_recovery_plan
from rollcage.core.services import Services
from tests.conftest import git
from tests.execute.scene import GOOD, Scene, diagnosis_of, incident_of
from tests.gitrepo.worlds import edited

Pair = tuple[RollbackOption, RecoveryPlan]
RESET, AGENT, PARTS = OptionType.BRANCH_RESET, OptionType.FULL_AGENT_RESET, OptionType.FILE_SELECTIVE


@pytest.fixture
def services(scene: Scene) -> Iterator[Services]:
    git(scene.top, "stash", "-q", "-u")
    opened = scene.services()
    yield opened
    opened.store.close()


def case(services: Services, *culprits: str) -> tuple[Incident, Diagnosis]:
    incident = incident_of(services)
    head = git(services.repository.top, "rev-parse", "main")
    return incident, replace(diagnosis_of(incident, *culprits), head=head)


def of(pairs: list[Pair], kind: OptionType) -> Pair:
    return next(pair for pair in pairs if pair[0].type is kind)


def shown(services: Services, plan: RecoveryPlan, path: str) -> str:
    return git(services.repository.top, "-C", str(services.mirror.path), "show", f"{plan.tree}:{path}") + "\n"


def lines(**changed: str) -> str:
    text = GOOD
    for number, line in changed.items():
        text = edited(text, int(number.removeprefix("at")), line)
    return text


# Two bad commits of one agent, and good ones of both agents between


@pytest.fixture
def mixed(scene: Scene, services: Services, bad: str) -> dict[str, str]:
    """Grow: bad, planner's, executor's good one, bad again (over the planner's line), planner's."""
    commit = scene.commit
    return {
        "bad": bad,
        "good": commit("planner", "line 10", calc=lines(at3="the fault", at10="better")),
        "own": commit("executor", "a helper", helper="help\n"),
        "worse": commit("executor", "more fault", calc=lines(at3="the fault", at10="better", at17="fault too")),
        "last": commit("planner", "news", news="news\n"),
    }


def test_all_ways_back_lie_side_by_side_the_smallest_first(services: Services, mixed: dict[str, str]) -> None:
    incident, diagnosis = case(services, mixed["bad"], mixed["worse"])
    pairs = build_options(services, incident, diagnosis)
    assert [option.type for option, _ in pairs] == [OptionType.SINGLE_COMMIT, AGENT, OptionType.RESTART_ONLY]
    assert shown(services, pairs[0][1], "calc") == lines(at10="better")
    option, plan = of(pairs, AGENT)
    assert set(plan.targets) == {mixed["bad"], mixed["worse"], mixed["own"]}
    assert option.rehearsal.lost_commits == (mixed["own"],)
    assert (option.risk_level, plan.loses) == (RiskLevel.CRITICAL, "lose 1 commit")
    assert [step.subject for step in plan.steps if step.name == "reset_agent"] == ["executor"]
    assert "helper" not in git(services.repository.top, "-C", str(services.mirror.path), "ls-tree", str(plan.tree))
    assert any("executor's locks, messages" in effect for effect in option.side_effects)
    assert plan.message.startswith("Take back what executor did since all was well: 3 commits\n")


def test_what_was_rehearsed_is_rehearsed_again_to_the_same_effect_though_others_went_on(
    scene: Scene, services: Services, mixed: dict[str, str]
) -> None:
    incident, diagnosis = case(services, mixed["bad"], mixed["worse"])
    wish = Wish(RESET, (mixed["bad"], mixed["worse"]), keeps=(mixed["good"], mixed["last"]))
    pairs = [*build_options(services, incident, diagnosis), rehearse(services, incident, diagnosis, wish, "opt-1.9")]
    later = scene.commit("planner", "since then", later="on and on\n")
    for option, plan in pairs:
        assert validate_recovery_plan(plan).problems == ()
        again, now = rehearse(services, incident, diagnosis, wish_of(plan), option.id)
        assert (now.plan_hash, now.message) == (plan.plan_hash, plan.message), option.type
        assert again.rehearsal.applies
        assert now.head == later
        if now.tree is not None:
            assert shown(services, now, "later") == "on and on\n"
        unchanged, problems = parse_plan(plan_yaml(plan), plan)
        assert problems == []
        assert unchanged == plan


def test_the_last_good_tree_with_what_is_to_be_made_again(services: Services, mixed: dict[str, str]) -> None:
    incident, diagnosis = case(services, mixed["bad"], mixed["worse"])
    culprits = (mixed["worse"], mixed["bad"])
    everything, plan = rehearse(services, incident, diagnosis, Wish(RESET, culprits), "opt-1.1")
    assert plan.keeps[-3:] == (mixed["good"], mixed["own"], mixed["last"])
    assert everything.rehearsal.lost_commits == ()
    assert plan.targets == culprits
    less, edited_plan = rehearse(
        services, incident, diagnosis, replace(wish_of(plan), keeps=plan.keeps[:-2], message=""), "opt-1.1"
    )
    assert less.rehearsal.lost_commits == (mixed["own"], mixed["last"])
    assert less.rehearsal.lost_lines == 2
    assert edited_plan.loses == "lose 2 commits and 2 lines"
    assert edited_plan.plan_hash != plan.plan_hash
    assert f"Made again:\n- {plan.keeps[0][:12]}" in edited_plan.message
    none, _ = rehearse(services, incident, diagnosis, Wish(RESET, culprits, keeps=("5" * 40,)), "opt-1.1")
    assert not none.rehearsal.applies
    assert "cannot be kept: it is not among the others' commits" in none.rehearsal.conflicts[0]


def test_history_is_rewritten_only_where_that_is_asked_for_and_says_what_it_costs(
    scene: Scene, services: Services, mixed: dict[str, str]
) -> None:
    incident, diagnosis = case(services, mixed["bad"], mixed["worse"])
    _, plan = rehearse(services, incident, diagnosis, Wish(RESET, (mixed["worse"], mixed["bad"])), "opt-1.1")
    text = plan_yaml(plan).replace("rewrite: false", "rewrite: true")
    wished, problems = parse_plan(text, plan)
    assert wished is not None, problems
    option, plan = rehearse(services, incident, diagnosis, wish_of(wished, was=plan), "opt-1.1")
    goal = git(scene.top, "rev-parse", f"{mixed['bad']}^")
    assert (plan.rewrite, plan.keeps, plan.tree) == (True, (), scene.tree(goal))
    assert [step.subject for step in plan.steps if step.name == "commit"] == [goal]
    assert option.risk_level is RiskLevel.CRITICAL
    assert plan.loses == "rewrite history and lose 4 commits and 4 lines"
    assert validate_recovery_plan(plan).problems == ()
    assert any(f"main itself moves back to {goal[:12]}" in effect for effect in option.side_effects)
    git(scene.top, "update-ref", "refs/remotes/origin/main", "main~1")
    assert rehearse(services, incident, diagnosis, wish_of(plan), "opt-1.1")[0].risk_points == 10
    scene.commit("planner", "since then", plan="on and on\n")
    assert rehearse(services, incident, diagnosis, wish_of(plan), "opt-1.1")[1].plan_hash != plan.plan_hash


def test_what_cannot_be_made_again_is_named_and_what_breaks_the_checks_is_left_out(
    scene: Scene, services: Services, bad: str
) -> None:
    clash = scene.commit("planner", "another", calc=lines(at3="another fault"))
    fine = scene.commit("planner", "line 17", calc=lines(at3="another fault", at17="fine"))
    incident, diagnosis = case(services, bad)
    option, plan = rehearse(services, incident, diagnosis, Wish(RESET, (bad,)), "opt-1.1")
    assert option.rehearsal.lost_commits == (clash,)
    assert fine in plan.keeps
    assert shown(services, plan, "calc") == lines(at17="fine")
    assert any(f"{clash[:12]} cannot be made again: calc" in effect for effect in option.side_effects)


def test_of_what_breaks_the_checks_when_made_again_only_that_is_lost(services: Services, mixed: dict[str, str]) -> None:
    incident, diagnosis = case(services, mixed["bad"])  # of two bad commits only one was found
    option, plan = rehearse(services, incident, diagnosis, Wish(RESET, (mixed["bad"],)), "opt-1.1")
    assert option.rehearsal.checks[0].passed
    assert option.rehearsal.lost_commits == (mixed["worse"],)
    assert {mixed["good"], mixed["own"], mixed["last"]} <= set(plan.keeps)
    assert shown(services, plan, "calc") == lines(at10="better")


def test_a_merge_is_made_again_as_a_whole_or_without_the_bad_commit_in_it(scene: Scene, services: Services) -> None:
    before = git(scene.top, "rev-parse", "main")
    git(scene.top, "checkout", "-q", "-b", "side")
    worse = scene.commit("executor", "bad on the side", calc=lines(at3="the fault", at12="fault"))
    good = scene.commit("planner", "good on the side", side="side\n")
    git(scene.top, "checkout", "-q", "main")
    scene.commit("planner", "meanwhile", meanwhile="meanwhile\n")
    git(scene.top, "merge", "-q", "--no-ff", "-m", "merge side", "side")
    incident, diagnosis = case(services, worse)
    option, plan = rehearse(services, incident, diagnosis, Wish(RESET, (worse,)), "opt-1.1")
    assert plan.keeps == (good,)
    assert option.rehearsal.lost_commits == ()
    assert shown(services, plan, "side") == "side\n"
    assert shown(services, plan, "meanwhile") == "meanwhile\n"
    assert shown(services, plan, "calc") == lines(at3="the fault")
    whole, plan = rehearse(services, incident, diagnosis, Wish(RESET, (before,)), "opt-1.1")
    assert plan.keeps[-1] == git(scene.top, "rev-parse", "main")
    assert whole.rehearsal.applies


# One of several, and it cannot be told which


def test_of_several_candidates_all_go_and_a_human_is_asked(services: Services, mixed: dict[str, str]) -> None:
    incident, diagnosis = case(services)
    suspects = tuple(
        Suspect(mixed[name], "executor", chance, ("it is big",)) for name, chance in (("bad", 0.5), ("worse", 0.46))
    )
    unsure = replace(diagnosis, verdict=Verdict.ASK, suspects=suspects, culprits=(), last_good=f"{mixed['bad']}^")
    pairs = build_options(services, incident, unsure)
    option, plan = of(pairs, RESET)
    assert set(plan.targets) == {mixed["bad"], mixed["worse"]}
    assert option.rehearsal.checks[0].passed
    assert option.rehearsal.lost_commits == (mixed["worse"],)  # one of the two is innocent
    assert all(each.rehearsal.checks[0].passed is False for each, _ in pairs if each.type is OptionType.SINGLE_COMMIT)


# By hand


def test_another_way_back_may_be_chosen_and_parts_named(services: Services, mixed: dict[str, str]) -> None:
    incident, diagnosis = case(services, mixed["worse"])
    wish = Wish(OptionType.SINGLE_COMMIT, (mixed["worse"],))
    _, plan = rehearse(services, incident, diagnosis, wish, "opt-1.1")
    wished, _ = parse_plan("parts: ['calc#1']\n", plan)
    assert wished is not None
    option, parts = rehearse(services, incident, diagnosis, wish_of(wished, was=plan), "opt-1.1")
    assert (parts.type, parts.parts) == (PARTS, ("calc#1",))
    assert parts.message.startswith("Take back part of ")
    assert parts.tree == plan.tree
    assert parts.plan_hash != plan.plan_hash
    wished, _ = parse_plan("parts: [calc, nothing]\n", parts)
    assert wished is not None
    option, _ = rehearse(services, incident, diagnosis, wish_of(wished, was=parts), "opt-1.1")
    assert not option.rehearsal.applies
    assert "nothing: the commits have no such part" in option.rehearsal.conflicts
    wished, _ = parse_plan("type: FULL_AGENT_RESET\n", plan)
    assert wished is not None
    option, agent = rehearse(services, incident, diagnosis, wish_of(wished, was=plan), "opt-1.1")
    assert agent.targets == (mixed["worse"],)
    assert [step.subject for step in agent.steps if step.name == "reset_agent"] == ["executor"]


def test_the_branch_is_sent_as_the_settings_say_or_the_operator_wishes(scene: Scene, bad: str) -> None:
    git(scene.top, "remote", "add", "origin", str(scene.place / "nowhere"))
    git(scene.top, "config", "branch.main.remote", "origin")
    for push, seen, sent in (
        ("ask", True, False),
        ("auto", False, False),
        ("auto", True, True),
        ("never", True, False),
    ):
        known = ["refs/remotes/origin/main", f"{bad}^"] if seen else ["-d", "refs/remotes/origin/main"]
        git(scene.top, "update-ref", *known)
        services = scene.services(push=push)
        incident, diagnosis = case(services, bad)
        wish = Wish(OptionType.SINGLE_COMMIT, (bad,))
        option, plan = rehearse(services, incident, diagnosis, wish, "opt-1.1")
        assert [step.subject for step in plan.steps if step.name == "push"] == ["origin"] * sent
        assert ("origin gets it only when it is pushed" in option.side_effects) is (push == "ask")
        assert validate_recovery_plan(plan).problems == ()
        if push == "ask":
            wished, _ = parse_plan("push: true", plan)
            assert wished is not None
            again = rehearse(services, incident, diagnosis, wish_of(wished, was=plan), "opt-1.1")[1]
            assert [step.name for step in again.steps][-2:] == ["resume_others", "push"]
        if push == "never":
            with pytest.raises(UsageError, match=r"rollcage\.yml says push: never"):
                rehearse(services, incident, diagnosis, replace(wish, push=True), "opt-1.1")
        services.store.close()


def test_tests_that_a_commit_changes_are_shown(scene: Scene, services: Services) -> None:
    (scene.top / "tests").mkdir()
    worse = scene.commit("executor", "weaken a test", **{"tests/test_calc.py": "assert True\n", "other": "x\n"})
    incident, diagnosis = case(services, worse)
    option, _ = rehearse(services, incident, diagnosis, Wish(OptionType.SINGLE_COMMIT, (worse,)), "opt-1.1")
    assert "tests or settings of checks are changed by it: tests/test_calc.py" in option.side_effects
