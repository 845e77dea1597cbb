"""The engine keeps labels in step: what changed at once, all rarely; each repair is told and recorded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rollcage.core.issues.desk import Desk
from rollcage.core.issues.issue import Draft
from rollcage.core.issues.label_keeper import AFTER_PROBLEM_S, PASS_S, LabelKeeper
from rollcage.core.store.paths import RepositoryPaths
from rollcage.core.store.store import Store
from tests.conftest import ManualClock

from .desks import audited, opened
from .faulty import OFFLINE, FaultyTracker

WRONG = ("status:review", "status:waiting")


@pytest.fixture
def far(clock: ManualClock) -> FaultyTracker:
    return FaultyTracker(clock)


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> Iterator[Store]:
    made = Store.open(RepositoryPaths(tmp_path), clock)
    yield made
    made.close()


@pytest.fixture
def keeper(tmp_path: Path, clock: ManualClock, far: FaultyTracker, store: Store) -> Iterator[LabelKeeper]:
    with ExitStack() as desks:

        def desk() -> Desk:
            return desks.enter_context(opened(tmp_path, clock, far, holder="engine"))

        desk()  # somebody has had an Issue
        yield LabelKeeper(desk, RepositoryPaths(tmp_path), store, clock)


def seen(store: Store, far: FaultyTracker, number: int) -> None:
    """Tell of an Issue as `watch` does."""
    issue = far.there[number]
    store.append_event(
        "issue", {"number": number, "change": "changed", "state": issue.state, "labels": list(issue.labels)}
    )


def told(store: Store) -> list[tuple[object, object]]:
    bodies = [event.body for event in store.events_since(0) if event.event == "issue"]
    return [(body["number"], body["change"]) for body in bodies if body["change"] != "changed"]


def test_all_are_gone_over_once_and_then_only_what_changed(
    keeper: LabelKeeper, far: FaultyTracker, store: Store, tmp_path: Path, clock: ManualClock
) -> None:
    for labels in (WRONG, ("status:waiting",), WRONG):
        far.create(Draft("t", labels=labels))
    keeper.look()
    assert told(store) == [(3, "labels repaired"), (1, "labels repaired")]
    assert {number: issue.labels for number, issue in far.there.items()} == {
        1: ("status:review",),
        2: ("status:waiting",),
        3: ("status:review",),
    }
    far.calls.clear()
    for number, labels in ((1, ("status:waiting", "bug")), (2, WRONG)):
        far.foreign(number, labels=labels)
        seen(store, far, number)
    keeper.look()
    assert "issues" not in far.calls
    assert far.calls.count("get") == 1, "what is in step costs nothing"
    assert told(store)[2:] == [(2, "labels repaired")]
    far.calls.clear()
    keeper.look()
    assert far.calls == []
    clock.advance(PASS_S)
    keeper.look()
    assert "issues" in far.calls
    with opened(tmp_path, clock, far) as desk:
        kept = [(each.who, each.what, each.subject) for each in audited(desk) if each.what == "repair labels"]
    assert kept == [("engine", "repair labels", f"issue {number}") for number in (3, 1, 2)]


def test_what_somebody_holds_or_cannot_be_reached_comes_later(
    keeper: LabelKeeper, far: FaultyTracker, store: Store, tmp_path: Path, clock: ManualClock
) -> None:
    keeper.look()
    far.create(Draft("t", labels=WRONG))
    seen(store, far, 1)
    with opened(tmp_path, clock, far, holder="ann") as ann, ann.hold(["issue/1"]):
        keeper.look()
    assert far.there[1].labels == WRONG
    clock.advance(AFTER_PROBLEM_S)
    far.faults["get"] = [OFFLINE]
    with pytest.raises(Exception, match="cannot be reached"):
        keeper.look()
    clock.advance(AFTER_PROBLEM_S)
    keeper.look()
    assert list(far.there[1].labels) == ["status:review"]
    assert told(store) == [(1, "labels repaired")]


def test_an_issue_that_is_gone_is_told_and_let_go(keeper: LabelKeeper, far: FaultyTracker, store: Store) -> None:
    keeper.look()
    far.create(Draft("t", labels=WRONG))
    seen(store, far, 1)
    del far.there[1]
    keeper.look()
    keeper.look()
    assert told(store) == [(1, "labels not repaired")]


def test_where_nobody_has_an_issue_nothing_is_opened(tmp_path: Path, clock: ManualClock, store: Store) -> None:
    def desk() -> Desk:
        raise AssertionError

    LabelKeeper(desk, RepositoryPaths(tmp_path), store, clock).look()
