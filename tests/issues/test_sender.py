"""The engine sends what was queued, tells of it once, and leaves the tracker alone where nothing waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rollcage.core.issues import sync
from rollcage.core.issues.create import create_issue_atomically
from rollcage.core.issues.desk import Desk
from rollcage.core.issues.issue import Draft
from rollcage.core.issues.sender import AFTER_PROBLEM_S, Sender
from rollcage.core.store.paths import RepositoryPaths
from rollcage.core.store.store import Store
from tests.conftest import ManualClock

from .desks import opened
from .test_outbox import Far


@pytest.fixture
def far(clock: ManualClock) -> Far:
    return Far(clock)


@pytest.fixture
def desks() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> Store:
    return Store.open(RepositoryPaths(tmp_path), clock)


def sender(store: Store, folder: Path, clock: ManualClock, far: Far, desks: ExitStack) -> tuple[Sender, list[Desk]]:
    opened_desks: list[Desk] = []

    def desk() -> Desk:
        opened_desks.append(desks.enter_context(opened(folder, clock, far)))
        return opened_desks[-1]

    return Sender(desk, RepositoryPaths(folder), store, clock), opened_desks


def told(store: Store) -> list[object]:
    return [event.body.get("change") for event in store.events_since(0) if event.event == "issue"]


def test_what_waits_is_sent_once_the_tracker_is_there(
    tmp_path: Path, clock: ManualClock, far: Far, store: Store, desks: ExitStack
) -> None:
    looks, at = sender(store, tmp_path, clock, far, desks)
    looks.look()
    with opened(tmp_path, clock, far) as desk:
        far.offline = True
        sync.create(desk, Draft("[a] ann: one"))
    looks.look()
    assert told(store) == []
    far.offline = False
    looks.look()
    assert len(at) == 1, "it does not knock all the time"
    clock.advance(AFTER_PROBLEM_S)
    looks.look()
    assert told(store) == ["create sent"]
    assert [issue.title for issue in far.issues()] == ["[a] ann: one"]
    looks.look()
    assert len(at) == 2, "nothing waits: nothing is opened"
    looks.close()
    store.close()


def test_a_conflict_is_told_once(tmp_path: Path, clock: ManualClock, far: Far, store: Store, desks: ExitStack) -> None:
    looks, _ = sender(store, tmp_path, clock, far, desks)
    with opened(tmp_path, clock, far) as desk:
        number = create_issue_atomically(desk, "[a] ann: one", "was").issue.number
        sync.see(desk, number)
        far.offline = True
        sync.update(desk, number, {"body": "ours"})
        far.offline = False
        far.write(number, body="theirs")
    looks.look()
    clock.advance(AFTER_PROBLEM_S)
    looks.look()
    assert told(store) == ["update in conflict"]
    assert far.get(number).body.startswith("theirs")
    looks.close()
    store.close()
