"""The culprit is found in few runs, never guessed, and confirmed before it may be acted on."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcage.core.diagnose.search import SearchResult, Terrain, search

from .simulate import GOOD, History, evidence, grow, measure


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


# -- graphs


@st.composite
def histories(draw: st.DrawFn, *, untestable: bool = False, flaky: bool = False) -> History:
    dice = random.Random(draw(st.integers(0, 1_000_000)))
    parents, way = grow(dice, draw(st.integers(2, 60)), branching=draw(st.sampled_from([0.0, 0.2, 0.5])))
    shas = list(parents)
    tips = [sha for sha in shas if draw(st.booleans())] if untestable else []
    return History(
        parents,
        way,
        frozenset([draw(st.sampled_from(shas))]),
        frozenset(tips) - {shas[0]},
        {sha: 0.3 for sha in shas if dice.random() < 0.2} if flaky else {},
        dice,
    )


@settings(max_examples=80, deadline=None)
@given(histories(), st.booleans())
def test_the_culprit_is_found_wherever_in_the_graph_it_is(history: History, misleading: bool) -> None:
    priors = evidence(history.dice, history, misleading=misleading and len(history.parents) > 1)
    found = history.search(priors)
    assert found.culprits == tuple(history.culprits)
    # On a graph no order of questions halves every time: three more than on a chain were seen.
    assert found.search_runs <= 2 + (len(history.parents) - 1).bit_length() + 4
    assert found.last_good in {GOOD, *history.way}
    assert found.last_good is not None
    assert not history.fails(found.last_good)


@settings(max_examples=80, deadline=None)
@given(histories(untestable=True))
def test_what_cannot_be_tested_is_never_blamed_and_never_hides_the_culprit(history: History) -> None:
    found = history.search()
    (culprit,) = history.culprits
    assert not set(found.culprits) & history.untestable
    if found.confirmed:
        (blamed,) = found.culprits
        graph = history.graph
        assert graph.upto[graph.position[blamed]] >> graph.position[culprit] & 1
        if blamed != culprit:  # then a merge stands for what it brought
            assert len(history.parents[blamed]) > 1
            assert blamed in history.way
            assert not history.fails([*history.way, GOOD][history.way.index(blamed) + 1])
    else:
        assert culprit in found.candidates


@settings(max_examples=80, deadline=None)
@given(histories(flaky=True))
def test_whoever_is_blamed_was_seen_to_fail_twice_and_its_parents_to_pass_twice(history: History) -> None:
    answers: dict[str, list[bool | None]] = {}

    def probe(sha: str, fresh: bool = False) -> bool | None:
        answers.setdefault(sha, []).append(history(sha, fresh))
        return answers[sha][-1]

    found = search(
        [*history.way, GOOD], probe, last_good=GOOD, terrain=lambda good: Terrain(history.parents), lookback=999
    )
    assert len(history.asked) < 60
    for blamed in found.culprits:
        assert set(answers[blamed]) == {False}
        assert len(answers[blamed]) >= 2
        for parent in history.parents[blamed]:
            assert set(answers[parent]) == {True}
            assert len(answers[parent]) >= 2
    if not found.confirmed:
        assert found.reasons


@pytest.mark.parametrize("seed", range(40))
def test_nobody_is_blamed_whose_parent_said_both(seed: int) -> None:
    """A run that had refuted another suspect counted for its commit, whatever it had said."""
    parents = {"h": ("m", "s"), "s": ("f",), "m": ("f", "b"), "b": ("f",), "f": ("e",), "e": (GOOD,)}
    dice = random.Random(seed)
    history = History(parents, ["h", "m", "f", "e"], frozenset("m"), flaky={"f": 0.4, "s": 0.3}, dice=dice)
    told: dict[str, set[bool | None]] = {}

    def probe(sha: str, fresh: bool = False) -> bool | None:
        answer = history(sha, fresh)
        told.setdefault(sha, set()).add(answer)
        return answer

    found = search([*history.way, GOOD], probe, last_good=GOOD, terrain=lambda good: Terrain(parents), lookback=999)
    for blamed in found.culprits:
        assert all(told[parent] == {True} for parent in parents[blamed])


def test_where_answers_were_flaky_the_confirmation_is_repeated_more_often() -> None:
    world = World(20, 7)
    find(world, last_good=world.history[-1], flake_rate=lambda: 0.2)
    assert [world.asked.count((at, True)) for at in (7, 8)] == [5, 5], "0.2 ** 5 is less than 1 in 1,000"


def test_a_merge_whose_parents_pass_is_the_culprit_itself() -> None:
    parents = {"h": ("m",), "m": ("b", "a"), "a": (GOOD,), "b": (GOOD,)}
    history = History(parents, ["h", "m", "b"], frozenset("m"))
    found = history.search()
    assert found.culprits == ("m",)
    assert {sha for sha, fresh in history.asked if fresh} == {"m", "a", "b"}, "both parents were run afresh"


def test_a_merge_stands_for_what_it_brought_where_that_cannot_be_tested() -> None:
    parents = {"h": ("m",), "m": ("b", "a2"), "b": (GOOD,), "a2": ("a1",), "a1": (GOOD,)}
    found = History(parents, ["h", "m", "b"], frozenset(["a1"]), frozenset(["a1", "a2"])).search()
    assert (found.culprits, found.last_good) == (("m",), "b")


def test_a_merge_does_not_stand_for_what_was_on_the_branch_before() -> None:
    parents = {"h": ("m",), "m": ("b", "a"), "b": (GOOD,), "a": (GOOD,)}
    found = History(parents, ["h", "m", "b"], frozenset("b"), frozenset(["m", "a", "b"])).search()
    assert not found.confirmed
    assert set(found.candidates) == {"h", "m", "a", "b"}


def test_who_is_left_alone_but_has_a_parent_that_cannot_be_tested_is_for_a_human() -> None:
    parents = {"h": ("c", "x"), "x": ("p",), "c": ("p",), "p": (GOOD,)}
    found = History(parents, ["h", "c", "p"], frozenset("c"), frozenset("p")).search()
    assert (found.culprits, found.candidates, found.contradicted) == ((), ("c",), False)
    assert found.reasons == ("c remains, but its parent cannot be tested",)


def test_what_was_mended_on_one_side_of_a_merge_only_is_found_at_its_beginning() -> None:
    """A descendant that passes does not always tell that its ancestors do."""
    parents = {"h": ("c", "x"), "x": ("p",), "c": ("p",), "p": (GOOD,)}
    passes = {"x", GOOD}
    found = search(
        ["h", "c", "p", GOOD],
        lambda sha, fresh=False: sha in passes,
        last_good=GOOD,
        terrain=lambda good: Terrain(parents, known={"x": True}),
    )
    assert found.culprits in {("p",), ()}
    assert not found.contradicted


def test_what_is_known_already_is_not_asked_for() -> None:
    world = World(100, 40)
    known = {sha: at > 40 for at, sha in enumerate(world.history) if at % 2}
    found = find(world, last_good=world.history[99], terrain=lambda good: chain_of(world, known))
    assert found.culprits == (world.history[40],)
    assert [at for at, fresh in world.asked if not fresh] in ([0, 99], [0, 99, 40])


def chain_of(world: World, known: dict[str, bool]) -> Terrain:
    return Terrain({sha: (world.history[at + 1],) for at, sha in enumerate(world.history[:-1])}, known=known)


def test_what_is_likely_next_is_told_ahead() -> None:
    world, told = World(64, 20), list[list[str]]()
    found = find(world, last_good=world.history[-1], ahead=lambda shas: told.append(list(shas)))
    asked = [f"{at:040x}" for at, _ in world.asked]
    assert found.confirmed
    assert all(len(set(shas)) == len(shas) <= 3 for shas in told)
    hits = sum(asked[asked.index(shas[0]) + 1] in shas[1:] for shas in told)
    assert hits >= len(told) - 1, "whatever the answer, what comes next was among them"


@pytest.mark.parametrize(("misleading", "aim"), [(False, 0.7), (True, 1.0)])
def test_searching_takes_fewer_runs_than_plain_bisection(misleading: bool, aim: float) -> None:
    score = measure(32, 60, 1, misleading=misleading)
    assert score.search <= aim * score.plain
    assert (score.wrong, score.worst <= 4) == (0, True)
