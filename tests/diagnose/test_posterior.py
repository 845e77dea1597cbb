"""Probabilities of candidates: Bayes' rule on a graph, and what is worth asking next."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcage.core.diagnose.ancestry import ancestry, bits
from rollcage.core.diagnose.posterior import Posterior

from .simulate import grow


def chain(length: int, priors: dict[str, float] | None = None, rate: float = 0.01) -> Posterior:
    shas = [str(at) for at in range(length)]
    parents = {sha: (str(at + 1),) for at, sha in enumerate(shas)}
    return Posterior(ancestry(parents), priors or {}, lambda: rate)


def test_without_evidence_and_answers_all_are_alike() -> None:
    assert chain(4).probabilities() == [0.25] * 4


def test_an_answer_multiplies_the_odds_by_how_likely_it_was() -> None:
    posterior = chain(2, rate=0.1)
    posterior.saw(1, False)  # position 1 is the older one: it fails, so it did it, or the answer is wrong
    assert posterior.probabilities() == pytest.approx([0.1, 0.9])
    assert posterior.live == 0b10
    posterior.saw(1, None)
    assert posterior.probabilities() == [0.5, 0.5], "taken back"


def test_candidates_that_contradict_fewest_are_left_when_answers_contradict_each_other() -> None:
    posterior = chain(4)
    posterior.saw(2, False)  # 2 or 3 did it
    posterior.saw(1, True)  # 0 did it
    assert posterior.live == 0b1101, "no candidate agrees with both; 1 agrees with none"


def test_the_likeliest_half_is_asked_about_not_the_middle() -> None:
    assert chain(100, {"90": 1.0}).choose(range(1, 100), 9) in {90, 91}
    assert chain(100).choose(range(1, 100), 9) == 50


def test_evidence_cannot_lead_further_astray_than_the_budget_allows() -> None:
    astray = {"99": 1.0}
    at = chain(100, astray).choose(range(1, 100), 7)
    assert at is not None
    assert max(at, 100 - at) <= 64, "six more answers must do"


def test_where_nothing_can_tell_nothing_is_asked() -> None:
    posterior = chain(3)
    assert posterior.choose([0], 5) is None, "the head fails anyway"
    posterior.saw(1, True)
    assert posterior.choose([1, 2], 5) is None


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 70), st.integers(0, 10_000))
def test_the_sum_over_ancestors_is_exact_on_any_graph(size: int, seed: int) -> None:
    dice = random.Random(seed)
    parents, _ = grow(dice, size)
    graph = ancestry(parents)
    posterior = Posterior(graph, {sha: dice.random() for sha in parents})
    for at in dice.sample(range(size), min(3, size)):
        posterior.saw(at, dice.random() < 0.5)
    weights = posterior.probabilities()
    assert sum(weights) == pytest.approx(1)
    whole = sum(weights[at] for at in bits(posterior.live))
    for at in range(size):
        expected = sum(weights[other] for other in bits(graph.upto[at] & posterior.live)) / whole
        assert posterior.fails(at) == pytest.approx(expected)
