"""Candidates as a graph, and the way that the branch itself went."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcage.core.diagnose.ancestry import ancestry, bits, way_of_branch

from .simulate import grow

#     m        main was fast-forwarded to the agent's side, which had merged main
#    / \
#   a2  p2     p2: where main was before
#   |   p1
#   a1 /
#    \/
#    o
FAST_FORWARDED = {"m": ("a2", "p2"), "a2": ("a1",), "p2": ("p1",), "p1": ("o",), "a1": ("o",), "o": ()}


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.integers(0, 10_000))
def test_each_commit_has_itself_and_all_its_ancestors_and_children_come_first(size: int, seed: int) -> None:
    parents, _ = grow(random.Random(seed), size)
    shuffled = list(parents)
    random.Random(seed).shuffle(shuffled)
    graph = ancestry({sha: parents[sha] for sha in shuffled})
    for at, sha in enumerate(graph.shas):
        expected, waiting = set[str](), [sha]
        while waiting:
            one = waiting.pop()
            expected.add(one)
            waiting += [parent for parent in parents[one] if parent in parents]
        assert {graph.shas[other] for other in bits(graph.upto[at])} == expected
        assert all(graph.position[parent] > at for parent in parents[sha] if parent in parents)


def test_unrelated_commits_stay_in_the_order_given() -> None:
    assert ancestry({"c": (), "a": (), "b": ()}).shas == ("c", "a", "b")


def test_a_commit_that_is_its_own_ancestor_is_refused() -> None:
    with pytest.raises(ValueError, match="its own ancestor"):
        ancestry({"a": ("b",), "b": ("a",)})


@pytest.mark.parametrize(
    ("values", "way"),
    [
        ((), ["m", "a2", "a1", "o"]),  # not known: first parents
        (("m", "p2", "p1", "o"), ["m", "p2", "p1", "o"]),
        (("m", "p1", "o"), ["m", "p2", "p1", "o"]),  # only one parent has what the branch was before
        (("m", "a2"), ["m", "a2", "a1", "o"]),
        (("m", "o"), ["m", "a2", "a1", "o"]),  # both parents have it
        (("m", "elsewhere", "p2"), ["m", "p2", "p1", "o"]),  # moved away and back
    ],
)
def test_the_way_goes_on_where_the_branch_was_before_the_merge(values: tuple[str, ...], way: list[str]) -> None:
    assert way_of_branch(ancestry(FAST_FORWARDED), "m", values) == way


def test_each_merge_has_its_own_way_back() -> None:
    parents = {"n": ("b", "m"), "b": ("o",), **FAST_FORWARDED}
    assert way_of_branch(ancestry(parents), "n", ("n", "m", "p2", "o")) == ["n", "m", "p2", "p1", "o"]
