"""A check speaks against a rollback only where the rollback may be to blame."""

from __future__ import annotations

import pytest

from rollcage.core.execute.check_results import Expected, against, reservations
from rollcage.core.model import CheckOutcome


def outcome(passed: bool | None, *failing: str, detail: str = "") -> CheckOutcome:
    return CheckOutcome("tests", passed, 1, 1.0, failing, detail)


def known(
    *failing: str, about: bool = True, rehearsed: bool | None = True, before: bool | None = False
) -> list[Expected]:
    return [Expected("tests", about, rehearsed, before, failing)]


FLAKY = "flaky: failed 1 of 2 runs"


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (outcome(True), known()),
        (outcome(None, detail=FLAKY), known()),
        (outcome(None, detail=FLAKY), known(rehearsed=None)),
        (outcome(None, detail="setup failed: exit status 1"), known(rehearsed=True)),
        (outcome(None, detail="cannot be started"), known(rehearsed=None, before=None)),
        (outcome(False), known(about=False, rehearsed=False)),
        (outcome(False, "a"), known("a", "b", about=False, rehearsed=False)),
        (outcome(None), known(about=False, rehearsed=False)),
    ],
)
def test_it_does_not_speak_against_it(now: CheckOutcome, expected: list[Expected]) -> None:
    assert against([now], expected) == []
    assert bool(reservations([now], expected)) is (now.passed is not True)


@pytest.mark.parametrize(
    ("now", "expected", "words"),
    [
        (outcome(False), known(), "check tests still fails"),
        (outcome(False), known(rehearsed=False), "check tests still fails"),
        (outcome(False), known(about=False, rehearsed=True, before=True), "check tests fails"),
        (outcome(False), known(about=False, rehearsed=False, before=True), "check tests fails"),
        (outcome(False), known(about=False, before=None), "check tests fails"),
        (outcome(False), [], "check tests fails"),
        (outcome(False, "a", "c"), known("a", about=False), "check tests fails by other tests than before: c"),
        (
            outcome(None, detail="setup failed\nmore"),
            known(rehearsed=False),
            "check tests has no verdict: setup failed",
        ),
    ],
)
def test_it_speaks_against_it(now: CheckOutcome, expected: list[Expected], words: str) -> None:
    assert against([now], expected) == [words]
    assert reservations([now], expected) == []
