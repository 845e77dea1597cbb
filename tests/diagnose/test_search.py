"""The culprit is found in few runs, never guessed, and confirmed before it may be acted on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcage.core.diagnose.search import SearchResult, search


def shas(count: int) -> list[str]:
    return [f"{number:040x}" for number in range(count)]


@dataclass
class World:
    """A history, newest first, whose checks fail from ``culprit`` on; some commits cannot be tested."""

    length: int
    culprit: int | None
    untestable: frozenset[int] = frozenset()
    flaky: frozenset[int] = frozenset()
    """These say something else each time they are run."""
    asked: list[tuple[int, bool]] = field(default_factory=list)

    @property
    def history(self) -> list[str]:
        return shas(self.length)

    def __call__(self, sha: str, fresh: bool = False) -> bool | None:
        at = int(sha, 16)
        times = sum(earlier == at for earlier, _ in self.asked)
        self.asked.append((at, fresh))
        if at in self.untestable:
            return None
        passes = self.culprit is None or at > self.culprit
        return passes is not (times % 2 == 1 and at in self.flaky)

    def answers(self) -> int:
        return sum(not fresh and at not in self.untestable for at, fresh in self.asked)


def find(world: World, **options: object) -> SearchResult:
    return search(world.history, world, **options)  # type: ignore[arg-type]


def log2(count: int) -> int:
    return (count - 1).bit_length()


@st.composite
def worlds(draw: st.DrawFn, *, untestable: bool = False) -> World:
    length = draw(st.integers(2, 120))
    culprit = draw(st.integers(0, length - 2))
    skipped: Iterable[int] = draw(st.sets(st.integers(1, length - 1))) if untestable else ()
    return World(length, culprit, frozenset(skipped))


PRIORS = st.dictionaries(st.integers(0, 119).map(lambda at: f"{at:040x}"), st.floats(0, 1), max_size=30)


@settings(max_examples=100, deadline=None)
@given(worlds(), PRIORS)
def test_the_culprit_is_always_found_in_at_most_two_runs_more_than_halving_takes(
    world: World, priors: dict[str, float]
) -> None:
    found = find(world, last_good=world.history[-1], priors=priors)
    assert found.confirmed
    assert found.culprits == found.candidates == (world.history[world.culprit or 0],)
    assert found.last_good == world.history[(world.culprit or 0) + 1]
    assert found.reasons == ()
    assert found.search_runs <= 2 + log2(world.length - 1) + 2  # both ends, the halving, the spare ones
    culprit = world.culprit or 0
    assert {at: world.asked.count((at, True)) for at in (culprit, culprit + 1)} == {culprit: 2, culprit + 1: 2}
    assert all(world.asked.count((at, fresh)) == 1 for at, fresh in world.asked if not fresh), "nothing is run twice"
    assert len(world.asked) == found.search_runs + found.confirm_runs


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_without_a_known_good_commit_it_looks_back_in_doubling_steps(world: World) -> None:
    found = find(world, lookback=300)
    assert found.culprits == (world.history[world.culprit or 0],)
    assert found.search_runs <= 2 + 2 * log2(world.length) + 2


@settings(max_examples=100, deadline=None)
@given(worlds(untestable=True), PRIORS, st.booleans())
def test_commits_that_cannot_be_tested_never_bring_a_wrong_blame(
    world: World, priors: dict[str, float], known: bool
) -> None:
    found = find(world, lookback=300, priors=priors, last_good=world.history[-1] if known else None)
    truth = world.history[world.culprit or 0]
    if found.confirmed:
        assert found.culprits == (truth,)
    else:
        assert found.culprits == ()
        assert found.reasons
        assert not found.candidates or truth in found.candidates
    if found.last_good is not None:  # and all that stand between are those that cannot be tested
        between = found.candidates[1:]
        assert {int(sha, 16) for sha in between} <= world.untestable


@settings(max_examples=60, deadline=None)
@given(worlds(), st.sets(st.integers(0, 119)))
def test_what_is_flaky_is_never_blamed(world: World, flaky: set[int]) -> None:
    world.flaky = frozenset(flaky)
    found = find(world, last_good=world.history[-1])
    culprit = world.culprit or 0
    assert found.confirmed is not bool({culprit, culprit + 1} & flaky)
    if not found.confirmed:
        assert found.culprits == ()
        assert "flaky" in found.reasons[0]


def test_with_nothing_failing_there_is_no_culprit() -> None:
    found = find(World(20, None))
    assert (found.confirmed, found.culprits, found.candidates) == (False, (), ())
    assert found.reasons == ("the checks pass at the head",)
    assert found.search_runs == 1


def test_a_head_that_cannot_be_judged_says_so() -> None:
    assert find(World(20, 3, frozenset({0}))).reasons == ("the checks cannot tell at the head",)


@pytest.mark.parametrize("length", [0, 1, 30])
def test_where_no_commit_passes_it_cannot_tell(length: int) -> None:
    found = find(World(length, length))
    assert not found.confirmed
    assert found.last_good is None
    assert found.reasons


def test_it_looks_back_no_further_than_it_may() -> None:
    world = World(300, 100)
    found = find(world, lookback=50)
    assert found.reasons == ("no commit that passes was found in the last 50 commits",)
    assert max(at for at, _ in world.asked) == 50


def test_the_oldest_commit_that_cannot_be_tested_is_stepped_away_from() -> None:
    world = World(10, 5, frozenset({9}))
    assert find(world).culprits == (world.history[5],)


def test_a_commit_marked_good_that_fails_now_is_not_believed() -> None:
    world = World(40, 20)
    found = find(world, last_good=world.history[10])
    assert found.culprits == (world.history[20],)


def test_a_good_commit_that_is_not_in_this_history_is_no_help_and_no_harm() -> None:
    assert find(World(40, 20), last_good="f" * 40).culprits == (shas(40)[20],)


def test_good_evidence_saves_runs() -> None:
    world = World(257, 200)
    blind = find(world, last_good=world.history[-1]).search_runs
    clever = World(257, 200)
    found = find(clever, last_good=clever.history[-1], priors={clever.history[200]: 0.9})
    assert found.culprits == (clever.history[200],)
    assert found.search_runs <= 5 < blind


def test_a_cluster_of_untestable_commits_is_jumped_out_of() -> None:
    world = World(200, 30, frozenset(range(60, 140)))
    found = find(world, last_good=world.history[-1])
    assert found.culprits == (world.history[30],)
    assert found.search_runs - world.answers() <= 5


def test_commits_that_cannot_be_told_apart_are_reported_together() -> None:
    world = World(20, 7, frozenset({6, 7, 8}))
    found = find(world, last_good=world.history[-1])
    assert not found.confirmed
    assert found.candidates == tuple(world.history[5:9])
    assert found.last_good == world.history[9]
    assert found.reasons == (
        "4 commits remain: those between the last that passes and the first that fails cannot be tested",
    )
    assert found.confirm_runs == 0


def test_progress_is_told_before_each_run_and_a_stop_is_obeyed() -> None:
    told: list[str] = []
    world = World(100, 40)
    found = find(world, last_good=world.history[-1], progress=told.append)
    assert len(told) == found.search_runs + found.confirm_runs
    assert told[0] == "is the head failing?"
    assert any(line.startswith("searching: 99 commits left, about 7 check runs") for line in told)
    assert told[-1].endswith("suspect, run 2 of 2")

    for most in range(len(told)):
        again = World(100, 40)
        stopped = find(again, last_good=again.history[-1], stop=lambda: len(again.asked) >= most)  # noqa: B023
        assert not stopped.confirmed
        assert stopped.reasons
        assert len(again.asked) <= most
