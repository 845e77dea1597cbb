"""Confidence grows with what was seen and shrinks with what speaks against it, and is never beyond its ceiling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollcage.core.diagnose.confidence import CEILING, UNCONFIRMED, Proof, confidence, flake_rate


def test_a_confirmed_culprit_of_a_steady_check_is_as_sure_as_it_gets() -> None:
    assert confidence([Proof(0.9, 2)], runs=50) == CEILING


@pytest.mark.parametrize(
    ("less", "more"),
    [
        (confidence([Proof(0.5, 1)]), confidence([Proof(0.5, 2)])),
        (confidence([Proof(0.2, 1)]), confidence([Proof(0.6, 1)])),
        (confidence([Proof(0.5, 2)], mixed=5, runs=20), confidence([Proof(0.5, 2)], mixed=1, runs=20)),
        (confidence([Proof(0.9, 2, same_tests=False)]), confidence([Proof(0.9, 2)])),
        (confidence([Proof(0.5, 1), Proof(0.5, 1)]), confidence([Proof(0.5, 1)])),
        (confidence([Proof(0.99)]), confidence([Proof(0.6, 2)])),
        (confidence([]), confidence([Proof(0.01)])),
    ],
)
def test_each_thing_that_was_seen_tells(less: float, more: float) -> None:
    assert less < more


def test_without_confirmation_it_is_what_the_search_believes_and_never_sure() -> None:
    assert confidence([Proof(0.4)]) == pytest.approx(0.31, abs=0.01)
    assert confidence([Proof(0.4)], mixed=9, runs=20) < 0.25
    assert confidence([Proof(0.999)]) == UNCONFIRMED


def test_a_check_that_is_as_often_wrong_as_right_proves_nothing() -> None:
    assert confidence([Proof(0.3, 5)], mixed=1_000, runs=2_000) == pytest.approx(0.3, abs=0.05)
    assert flake_rate(0, 0) == pytest.approx(0.015)
    assert flake_rate(500, 1_000) == pytest.approx(0.5, abs=0.02)


@given(
    st.lists(st.builds(Proof, st.floats(-1, 2), st.integers(0, 50), st.booleans()), max_size=4),
    st.integers(0, 10_000),
    st.integers(0, 10_000),
)
def test_it_is_always_a_probability(proofs: list[Proof], mixed: int, runs: int) -> None:
    assert 0 <= confidence(proofs, mixed=mixed, runs=runs) <= CEILING
