"""Options are rehearsed on the real branch, ranked by what helps, and say the truth about what they cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from rollcage.core.errors import RefusedError
from rollcage.core.model import (
    Diagnosis,
    OptionType,
    RecoveryPlan,
    RiskLevel,
    RollbackOption,
    Suspect,
    Verdict,
)
from rollcage.core.plan.options import Wish, build_options, obstacle_to, rehearse
from rollcage.core.plan.times import OWN_STEP_S
from rollcage.core.plan.validate import validate_recovery_plan
from rollcage.core.plan.words import loses
from rollcage.core.services import Services
from tests.conftest import git
from tests.execute.scene import BAD, GOOD, Scene, diagnosis_of, incident_of
from tests.gitrepo.worlds import edited

Pair = tuple[RollbackOption, RecoveryPlan]


@pytest.fixture
def services(scene: Scene) -> Iterator[Services]:
    opened = scene.services()
    yield opened
    opened.store.close()


def options(services: Services, *culprits: str, agent: str | None = "executor") -> list[Pair]:
    incident = incident_of(services, agent or "")
    return build_options(services, incident, diagnosis_of(incident, *culprits, agent=agent))


def factors(option: RollbackOption) -> dict[str, str]:
    return {factor.name: factor.value for factor in option.risk_factors}


def of(pairs: list[Pair], kind: OptionType) -> Pair:
    return next(pair for pair in pairs if pair[0].type is kind)


def set_aside(scene: Scene) -> None:
    """Take the uncommitted edits out of the way."""
    git(scene.top, "stash", "-q")


# What is offered, in which order


def test_the_culprit_first_and_a_restart_behind_it(services: Services, bad: str, scene: Scene) -> None:
    (single, plan), (restart, _) = options(services, bad)
    assert (single.id, single.rank, single.type) == ("opt-1.1", 1, OptionType.SINGLE_COMMIT)
    assert (restart.id, restart.rank, restart.type) == ("opt-1.2", 2, OptionType.RESTART_ONLY)
    assert plan.option == "opt-1.1"
    assert single.rehearsal.applies
    assert [check.passed for check in single.rehearsal.checks] == [True]
    assert [check.passed for check in restart.rehearsal.checks] == [False]
    assert single.affected_files == ("calc", "m.slow")
    assert git(scene.top, "-C", str(services.mirror.path), "show", f"{plan.tree}:calc") + "\n" == GOOD
    assert "+line 3" in plan.diff
    assert plan.agent == "executor"
    assert plan.message.startswith(f'Take back {bad[:12]} "tidy calc"\n')
    assert plan.database == "nothing"
    assert plan.loses == ""
    assert validate_recovery_plan(plan).valid
    own = sum(OWN_STEP_S[step.name] for step in plan.steps)
    assert single.estimated_recovery_time == pytest.approx(own + single.rehearsal.checks[0].duration_s)
    assert git(scene.top, "rev-parse", "main") == plan.head


def test_a_restart_stays_behind_though_it_is_less_risky(services: Services, bad: str, scene: Scene) -> None:
    pairs = options(services, bad)
    assert pairs[0][0].risk_points > pairs[1][0].risk_points
    passing = scene.services(checks=[])
    incident = incident_of(passing)
    pairs = build_options(passing, incident, diagnosis_of(incident, bad))
    assert [option.type for option, _ in pairs] == [OptionType.SINGLE_COMMIT, OptionType.RESTART_ONLY]
    assert factors(pairs[0][0])["checks_passed"] == "not run"


def evidence(services: Services, bad: str, verdict: Verdict) -> tuple[list[Pair], Diagnosis]:
    incident = incident_of(services, fingerprints=["leak:memory_usage"])
    diagnosis = replace(
        diagnosis_of(incident, bad),
        verdict=verdict,
        culprits=(),
        confidence=0.5,
        suspects=(Suspect(bad, "executor", 0.4, ("it grew since",), "tidy calc"),),
    )
    return build_options(services, incident, diagnosis), diagnosis


def test_without_a_culprit_a_restart_comes_first_where_no_check_fails(scene: Scene, bad: str) -> None:
    services = scene.services(checks=[])
    pairs, _ = evidence(services, bad, Verdict.ASK)
    assert [option.type for option, _ in pairs] == [OptionType.RESTART_ONLY, OptionType.SINGLE_COMMIT]
    assert pairs[1][0].risk_level is RiskLevel.HIGH
    assert factors(pairs[1][0])["confidence"] == "0.40"
    pairs, _ = evidence(services, bad, Verdict.CANNOT_TELL)
    assert [option.type for option, _ in pairs] == [OptionType.RESTART_ONLY]


def test_nobody_to_start_again_no_restart(services: Services, bad: str, scene: Scene) -> None:
    ((single, plan),) = options(services, bad, agent=None)
    assert (single.type, plan.agent) == (OptionType.SINGLE_COMMIT, "")
    assert not [step for step in plan.steps if step.name in {"stop_agent", "restart_agent", "metrics"}]
    assert validate_recovery_plan(plan).valid
    held = scene.services(agents={"executor": {"restart": False}})
    incident = incident_of(held)
    ((single, plan),) = build_options(held, incident, diagnosis_of(incident, bad))
    assert plan.steps[0].name == "stop_agent"
    assert "restart_agent" not in {step.name for step in plan.steps}
    assert "executor is stopped, and stays so" in single.side_effects


def test_agents_start_again_in_the_order_of_their_dependencies(scene: Scene, bad: str) -> None:
    agents = {"executor": {"depends_on": ["planner"]}, "planner": {}}
    services = scene.services(agents=agents)
    other = git(scene.top, "rev-parse", "main")
    incident = incident_of(services)
    both = diagnosis_of(incident, bad, other)
    second = replace(both.culprits[1], agent="planner")
    both = replace(both, culprits=(both.culprits[0], second))
    plan = build_options(services, incident, both)[0][1]
    steps = [(step.name, step.subject) for step in plan.steps if step.name in {"stop_agent", "restart_agent"}]
    assert steps == [
        ("stop_agent", "executor"),
        ("stop_agent", "planner"),
        ("restart_agent", "planner"),
        ("restart_agent", "executor"),
    ]
    assert plan.agent == "executor"


# What does not apply is kept, with the reason


def test_a_conflict_names_the_file_and_the_commit_that_builds_on_it(services: Services, bad: str, scene: Scene) -> None:
    set_aside(scene)
    later = scene.commit("planner", "build on it", calc=edited(GOOD, 3, "another fault"))
    pairs = options(services, bad)
    single, plan = of(pairs, OptionType.SINGLE_COMMIT)
    assert pairs[0][0].type is OptionType.BRANCH_RESET
    assert pairs[0][0].rehearsal.lost_commits == (later,)
    assert pairs[0][1].loses == "lose 1 commit and 1 line"
    assert not single.rehearsal.applies
    assert single.rehearsal.conflicts[0].startswith("calc: the same words were changed in two ways")
    assert plan.tree is None
    assert factors(single)["dependents"] == "1"
    assert any("build on it" in effect for effect in single.side_effects)
    assert not validate_recovery_plan(plan).valid


def test_what_is_taken_back_already_says_so(services: Services, bad: str, scene: Scene) -> None:
    set_aside(scene)
    scene.commit("planner", "mend it", calc=GOOD, **{"m.slow": "good\n"})
    single, _ = options(services, bad)[0]
    assert not single.rehearsal.applies
    assert single.rehearsal.conflicts == ("nothing of it is left to take back",)


def test_a_commit_that_is_not_there_or_elsewhere_says_so(services: Services, scene: Scene) -> None:
    nowhere = "5" * 40
    assert options(services, nowhere)[0][0].rehearsal.conflicts == (f"there is no commit {nowhere[:12]}",)
    git(scene.top, "stash", "-q")
    git(scene.top, "checkout", "-q", "-b", "side")
    elsewhere = scene.commit("planner", "elsewhere", other="elsewhere\n")
    git(scene.top, "checkout", "-q", "main")
    assert options(services, elsewhere)[0][0].rehearsal.conflicts == ("not every commit is in the history of main",)


def test_a_branch_that_is_gone_is_refused(services: Services, bad: str, scene: Scene) -> None:
    git(scene.top, "checkout", "-q", "--detach")
    git(scene.top, "branch", "-q", "-D", "main")
    with pytest.raises(RefusedError, match="branch main does not exist any more"):
        options(services, bad)


# Merges


def merged(scene: Scene, *authors: str) -> str:
    """Merge a branch with a commit of each of ``authors``, the first of them bad; return the merge."""
    set_aside(scene)
    git(scene.top, "checkout", "-q", "-b", "side", "main~2")
    for number, author in enumerate(authors):
        scene.commit(author, f"part {number}", **{f"part{number}": f"{number}\n"})
    git(scene.top, "checkout", "-q", "main")
    git(scene.top, "merge", "-q", "--no-ff", "-m", "merge side\n\nAgent: executor", "side")
    return git(scene.top, "rev-parse", "HEAD")


def test_a_merge_goes_back_to_where_the_branch_was(services: Services, scene: Scene) -> None:
    before = scene.tree()
    merge = merged(scene, "executor", "executor")
    single, plan = options(services, merge)[0]
    assert single.rehearsal.applies
    assert plan.tree == before
    assert factors(single)["commits_taken_back"] == "3"


def test_of_a_merge_at_fault_by_its_combination_all_it_brought_is_lost_and_must_be_said(
    services: Services, scene: Scene
) -> None:
    merge = merged(scene, "executor", "executor")
    single, plan = options(services, merge)[0]
    brought = git(scene.top, "rev-list", f"{merge}^1..{merge}^2").split()
    assert set(single.rehearsal.lost_commits) == set(brought)
    assert single.risk_level is RiskLevel.CRITICAL
    assert plan.loses == "lose 2 commits"


def test_a_merge_whose_way_back_is_forgotten_is_offered_both_ways_and_asks(services: Services, scene: Scene) -> None:
    before = scene.tree()
    merge = merged(scene, "executor")
    (scene.top / ".git" / "logs" / "refs" / "heads" / "main").unlink()
    asks, first, second, *_ = options(services, merge)
    assert not asks[0].rehearsal.applies
    assert "is a merge, and which parent main was at before is not known" in asks[0].rehearsal.conflicts[0]
    assert (first[0].rank, second[0].rank) == (2, 3)
    chosen = next(plan for _, plan in (first, second) if plan.tree == before)
    assert f"Rollcage-Way-Back: {merge} {merge_parent(scene, merge)}" in chosen.message
    incident = incident_of(services)
    wish = Wish(chosen.type, chosen.targets, chosen.message)
    again, plan = rehearse(services, incident, diagnosis_of(incident, merge), wish, "opt-1.2")
    assert again.rehearsal.applies
    assert (plan.tree, plan.plan_hash) == (before, chosen.plan_hash)


def merge_parent(scene: Scene, merge: str) -> str:
    return git(scene.top, "rev-parse", f"{merge}^1")


# Risk


def test_later_commits_on_the_same_files_count_and_so_do_those_of_others(
    services: Services, bad: str, scene: Scene
) -> None:
    set_aside(scene)
    scene.commit("executor", "go on", calc=edited(BAD, 18, "more"), notes="notes\n")
    scene.commit("planner", "and on", calc=edited(edited(BAD, 18, "more"), 10, "and more"), plan="plan\n")
    single, _ = options(services, bad)[0]
    assert single.rehearsal.applies
    assert factors(single) == {"dependents": "2", "others_files": "1"}


def test_uncommitted_edits_in_a_file_that_changes_count(services: Services, bad: str, scene: Scene) -> None:
    single, _ = options(services, bad)[0]
    assert factors(single) == {"dirty_same_file": "yes"}
    assert "merged with uncommitted edits: calc" in single.side_effects
    set_aside(scene)
    assert factors(options(services, bad)[0][0]) == {}
    git(scene.top, "checkout", "-q", "-b", "elsewhere")
    (scene.top / "calc").write_text(edited(BAD, 15, "on another branch"))
    assert factors(options(services, bad)[0][0]) == {}


def test_an_edit_on_the_same_line_stands_in_the_way(services: Services, bad: str, scene: Scene) -> None:
    (scene.top / "calc").write_text(edited(GOOD, 3, "mine"))
    single, _ = options(services, bad)[0]
    assert single.rehearsal.applies
    assert factors(single)["dirty_overlap"] == "yes"
    assert any("it cannot be published as things are: uncommitted work" in effect for effect in single.side_effects)


def test_an_operation_in_progress_is_said(services: Services, bad: str, scene: Scene) -> None:
    (scene.top / ".git" / "MERGE_HEAD").write_text(f"{bad}\n")
    single, _ = options(services, bad)[0]
    assert any("a merge of main is in progress" in effect for effect in single.side_effects)


def test_what_is_in_the_way_of_a_plan_is_seen_also_when_the_branch_has_moved(
    services: Services, bad: str, scene: Scene
) -> None:
    plan = options(services, bad)[0][1]
    git(scene.top, "stash", "-q")
    scene.commit("planner", "unrelated", plan="moved\n")
    (scene.top / "plan").write_text("edited since\n")  # in the way of taking that commit back, not of the plan
    assert obstacle_to(services, plan) is None
    (scene.top / "calc").write_text(edited(GOOD, 3, "mine"))
    refusal = obstacle_to(services, plan)
    assert refusal is not None
    assert refusal.code == "overlap"


def test_a_commit_that_a_remote_has_counts_as_pushed(services: Services, bad: str, scene: Scene) -> None:
    set_aside(scene)
    git(scene.top, "update-ref", "refs/remotes/origin/main", f"{bad}^")
    assert factors(options(services, bad)[0][0]) == {}
    git(scene.top, "update-ref", "refs/remotes/origin/main", bad)
    assert factors(options(services, bad)[0][0]) == {"pushed": "yes"}


def test_a_check_that_fails_in_rehearsal_counts(services: Services, bad: str, scene: Scene) -> None:
    scene.flag.touch()
    single, _ = options(services, bad)[0]
    assert factors(single)["checks_passed"] == "no"
    assert single.risk_level is RiskLevel.HIGH


def test_lines_are_counted_whatever_they_look_like_and_however_many(services: Services, scene: Scene) -> None:
    odd = "".join(f"--- {number}\n+++ {number}\n" for number in range(1, 201))
    bad = scene.commit("executor", "many odd lines", odd=odd)
    assert factors(options(services, bad)[0][0])["lines_changed"] == "400"
    git(scene.top, "mv", "odd", "renamed")
    git(scene.top, "commit", "-q", "-m", "rename\n\nAgent: executor", "--only", "--", "odd", "renamed")
    renamed = git(scene.top, "rev-parse", "HEAD")
    assert "lines_changed" not in factors(options(services, renamed)[0][0])


def test_damaged_data_has_no_way_back_and_the_plan_says_so(scene: Scene, bad: str) -> None:
    services = scene.services(database={"url": "sqlite:///app.db"})
    incident = incident_of(services)
    whole = build_options(services, incident, diagnosis_of(incident, bad))[0]
    assert whole[1].database == "nothing"
    assert "database" not in factors(whole[0])
    damaged = build_options(services, incident, diagnosis_of(incident, bad, tables=["orders"]))[0]
    assert damaged[1].database == "no way back: there is no checkpoint of the last good state"
    assert factors(damaged[0])["database"] == "no way back"


@pytest.mark.parametrize(
    ("level", "lines", "commits", "words"),
    [
        (RiskLevel.HIGH, 5, 2, ""),
        (RiskLevel.CRITICAL, 0, 2, "lose 2 commits"),
        (RiskLevel.CRITICAL, 1, 0, "lose 1 line"),
        (RiskLevel.CRITICAL, 5, 1, "lose 1 commit and 5 lines"),
    ],
)
def test_the_words_of_a_critical_approval_name_what_goes(
    level: RiskLevel, lines: int, commits: int, words: str
) -> None:
    assert loses(level, lines, commits) == words
