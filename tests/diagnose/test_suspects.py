"""Evidence ranks commits, in words that a person can check, and never adds up to certainty."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollcage.core.diagnose.suspects import rank
from rollcage.core.model import Commit, Suspect

ONSET = datetime(2026, 11, 20, 14, 0, 0, tzinfo=UTC)


def commit(
    sha: str, minutes: float = 60, *, agent: str | None = None, files: tuple[str, ...] = ("a.py",), lines: int = 9
) -> Commit:
    at = ONSET - timedelta(minutes=minutes)
    return Commit(sha, (), "Ann <ann@example.com>", at, f"about {sha}", agent, files, lines)


def first(*commits: Commit, **evidence: object) -> Suspect:
    return rank(commits, ONSET, **evidence)[0]  # type: ignore[arg-type]


def test_the_demo_story_ends_with_the_right_commit_first_and_says_why() -> None:
    culprit = commit("a41be07", 2, agent="executor", files=("calc.py",), lines=2)
    others = [commit("b", 1, agent="planner"), commit("c", 30, agent="executor"), commit("d", 90, agent="monitor")]
    found = first(
        others[0],
        culprit,
        *others[1:],
        agents=["executor"],
        failing_files=["/scratch/3/calc.py"],
        troubles={"executor": "memory climbs"},
    )
    assert (found.sha, found.agent, found.summary) == ("a41be07", "executor", "about a41be07")
    assert found.evidence == (
        "changed calc.py, named by the failing tests",
        "2 min before the trouble began",
        "by executor, whose memory climbs",
    )
    assert 0.8 < found.probability < 1


@pytest.mark.parametrize(
    ("more", "less", "evidence"),
    [
        (
            commit("m"),
            commit("l"),
            {"failing_tests": ["t.test_to_hex_twice"], "touched": {"m": {"to_hex"}, "l": {"hex"}}},
        ),
        (commit("m"), commit("l"), {"failing_tests": ["t.ToHexTests.test_a"], "touched": {"m": {"to_hex"}}}),
        (commit("m"), commit("l"), {"output": "in calc\n    _add(1)", "touched": {"m": {"_add"}, "l": {"ad"}}}),
        (commit("m", 2), commit("l", 20), {}),
        (commit("m", 20), commit("l", 100), {}),
        (commit("m", 3000), commit("l", -30), {}),  # long before, rather than after the trouble began
        (commit("m", agent="a"), commit("l", agent="b"), {"agents": ["a"]}),
        (commit("m", agent="a"), commit("l", agent="b"), {"guilty": {"a": 2}}),
        (commit("m", files=("src/calc.py",)), commit("l", files=("calcs.py",)), {"failing_files": ["calc.py"]}),
        (
            commit("m", files=("src/calc.py",)),
            commit("l", files=("other.py",)),
            {"failing_tests": ["test_calc.test_a"]},
        ),
        (
            commit("m", files=("a/test_calc.py",)),
            commit("l", files=("calc.py",)),
            {"failing_tests": ["a.test_calc.T.x"]},
        ),
        (commit("m"), commit("l", files=("README.md", "docs/a.rst")), {}),
        (commit("m"), commit("l", files=("tests/data.json", "rollcage.yml")), {"check": "tests"}),
        (commit("m"), commit("l", files=()), {}),
        (commit("m", lines=1000), commit("l", lines=3), {}),
    ],
)
def test_each_kind_of_evidence_tells(more: Commit, less: Commit, evidence: dict[str, object]) -> None:
    assert first(less, more, **evidence).sha == "m"


def test_equal_evidence_leaves_the_newest_first() -> None:
    assert [each.sha for each in rank([commit("new"), commit("old")], ONSET)] == ["new", "old"]


@pytest.mark.parametrize(
    ("minutes", "words"),
    [
        (60 * 24 * 9, "9 days before"),
        (2, "2 min before"),
        (0.75, "45 s before"),
        (0, "just as"),
        (-0.75, "just as"),
        (-5, "5 min after"),
    ],
)
def test_time_is_told_in_words_that_make_sense(minutes: float, words: str) -> None:
    (found,) = rank([commit("a", minutes)], ONSET)
    assert found.evidence == (f"{words} the trouble began{', so hardly its cause' * (minutes < -1)}",)
    (found,) = rank([commit("a", minutes)], ONSET, check="tests")
    assert found.evidence == (f"{words} tests was seen to fail{', so hardly its cause' * (minutes < -1)}",)


def test_a_commit_of_the_same_minute_is_not_after_the_trouble() -> None:
    assert rank([commit("a", -0.5)], ONSET)[0].probability > 0.5
    assert rank([commit("a", -5)], ONSET)[0].probability < 0.2


@pytest.mark.parametrize("summary", ["DELETE EVERYTHING, breaks prod!!!", "rm -rf / fatal CRITICAL bug", "fix typo"])
def test_what_a_commit_says_of_itself_is_no_evidence(summary: str) -> None:
    plain = commit("a", 3)
    assert rank([replace(plain, summary=summary)], ONSET)[0].probability == rank([plain], ONSET)[0].probability


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (("tests/test_a.py",), "changed tests only"),
        (("src/a_test.go", "web/a.spec.ts"), "changed tests only"),
        (("pytest.ini", ".github/workflows/ci.yml"), "changed the settings of checks only"),
        (("tests/a.json", "rollcage.yml"), "changed tests and the settings of checks only"),
    ],
)
def test_a_commit_that_changed_tests_only_is_said_to(files: tuple[str, ...], words: str) -> None:
    assert rank([commit("a", files=files)], None)[0].evidence == (words,)
    assert rank([commit("a", files=(*files, "a.py"))], None)[0].evidence == ()


def test_a_test_that_was_changed_and_fails_may_itself_be_wrong() -> None:
    found = first(commit("a", files=("tests/test_a.py",)), failing_tests=["tests/test_a.py::test_one"], check="tests")
    assert found.evidence[:2] == (
        "changed tests/test_a.py, named by the failing tests",
        "changed tests only: the test itself may be wrong",
    )


def test_ten_thousand_failing_tests_and_many_files_take_no_time() -> None:
    many = [commit(f"{at:04}", files=tuple(f"src/pkg{at}/file{n}.py" for n in range(100))) for at in range(500)]
    tests = [f"tests.unit.test_{at}.TestCase.test_{at}" for at in range(10_000)]
    started = process_time()
    rank(many, ONSET, failing_files=[f"/scratch/{at}.py" for at in range(1_000)], failing_tests=tests)
    assert process_time() - started < 2


def test_without_an_onset_time_says_nothing() -> None:
    (found,) = rank([commit("a")], None)
    assert found.evidence == ()


def test_no_commits_no_suspects() -> None:
    assert rank([], ONSET) == ()


@given(
    st.lists(
        st.builds(
            commit,
            st.text("0123456789abcdef", min_size=4, max_size=8),
            st.integers(-500, 10_000).map(float),
            agent=st.sampled_from([None, "a", "b"]),
            files=st.sampled_from([(), ("a.py",), ("b.md",)]),
            lines=st.integers(0, 10**6),
        ),
        max_size=30,
    )
)
def test_probabilities_are_ordered_positive_and_sum_to_less_than_one(commits: list[Commit]) -> None:
    found = rank(commits, ONSET, agents=["a"], failing_files=["a.py"])
    assert sorted(each.sha for each in found) == sorted(each.sha for each in commits)
    odds = [each.probability for each in found]
    assert odds == sorted(odds, reverse=True)
    assert all(each > 0 for each in odds)
    assert sum(odds) < 1
