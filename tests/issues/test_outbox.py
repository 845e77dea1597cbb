"""The outbox: what was queued is sent in order and once, whenever its sender dies; conflicts are shown, not guessed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from rollcage.core.errors import LeaseError, UsageError
from rollcage.core.issues import sync
from rollcage.core.issues.batch import BatchResult, Operation, recover
from rollcage.core.issues.create import CreateResult
from rollcage.core.issues.desk import Desk
from rollcage.core.issues.errors import (
    BatchOperationError,
    ConcurrencyConflictError,
    IsolationViolationError,
    TrackerOfflineError,
)
from rollcage.core.issues.identity import without_mark
from rollcage.core.issues.issue import Draft
from rollcage.core.issues.outbox import find, unsent
from rollcage.core.issues.scope import Scope
from rollcage.core.issues.sync import Queued
from rollcage.core.issues.update import UpdateResult
from tests.conftest import ManualClock

from .desks import audited, opened
from .faulty import REFUSED, FaultyTracker

T = TypeVar("T")


class Killed(BaseException):
    """The process ends here."""


@dataclass
class Far(FaultyTracker):
    """A tracker that can be cut off, and that kills whoever calls it."""

    offline: bool = False
    kill_at: int = 0
    """The call at which the process dies; 0: it lives."""
    kill_after: bool = False
    """Whether the call was done by then."""
    count: int = 0

    def _call(self, method: str, act: Callable[[], T]) -> T:
        if self.offline:
            raise TrackerOfflineError("the tracker cannot be reached: no route to host")
        self.count += 1
        if self.count == self.kill_at and not self.kill_after:
            raise Killed
        result = super()._call(method, act)
        if self.count == self.kill_at:
            raise Killed
        return result


@pytest.fixture
def far(clock: ManualClock) -> Far:
    return Far(clock)


@pytest.fixture
def desk(tmp_path: Path, clock: ManualClock, far: Far) -> Iterator[Desk]:
    with opened(tmp_path, clock, far) as desk:
        yield desk


def made(desk: Desk, title: str = "fix", **fields: object) -> int:
    result = sync.create(desk, Draft(title, **fields))  # type: ignore[arg-type]
    assert isinstance(result, CreateResult)
    return result.issue.number


def queued(result: object) -> str:
    assert isinstance(result, Queued)
    return result.operation


def states(desk: Desk, *operations: str) -> list[str]:
    found = [find(desk.records, operation) for operation in operations]
    return [waiting.state if waiting else "unknown" for waiting in found]


def test_online_nothing_is_queued_and_an_empty_outbox_asks_nobody(desk: Desk, far: Far) -> None:
    number = made(desk)
    assert isinstance(sync.update(desk, number, {"state": "closed"}), UpdateResult)
    assert isinstance(sync.batch(desk, [Operation("a", "comment", {"number": number, "body": "done"})]), BatchResult)
    assert unsent(desk.records, "faulty") == []
    calls = len(far.calls)
    assert sync.replay(desk) == sync.Replay((), ())
    assert len(far.calls) == calls


def test_offline_all_is_queued_durably_and_sent_in_order(tmp_path: Path, clock: ManualClock, far: Far) -> None:
    with opened(tmp_path, clock, far) as desk:
        number = made(desk, "old")
        far.offline = True
        first = queued(sync.create(desk, Draft("new", "text", ("bug",))))
        second = queued(sync.update(desk, number, {"title": "older", "add_labels": ("x",)}))
        third = queued(sync.update(desk, number, {"title": "oldest"}))
        fourth = queued(sync.batch(desk, [Operation("a", "comment", {"number": number, "body": "hi"})]))
        assert (first, second, third, fourth) == ("op-1", "op-2", "op-3", "op-4")
        assert sync.replay(desk).problem
    far.offline = False
    with opened(tmp_path, clock, far, holder="ops") as desk:
        came = sync.replay(desk)
        assert [(each.id, each.state, each.number) for each in came.sent] == [
            (first, "sent", 2),
            (second, "sent", number),
            (third, "sent", number),
            (fourth, "sent", number),
        ]
        assert (came.left, came.problem) == ((), "")
        assert (far.there[number].title, far.there[number].labels) == ("oldest", ("x",))
        assert far.there[2].labels == ("bug",)
        assert [without_mark(comment.body) for comment in far.said[number]] == ["hi"]
        assert {record.who for record in audited(desk)} == {"ann"}  # in the name of whoever wrote it
        assert sync.replay(desk) == sync.Replay((), ())


def test_an_issue_created_offline_is_referred_to_by_its_operation(desk: Desk, far: Far) -> None:
    far.offline = True
    creation = queued(sync.create(desk, Draft("new")))
    change = queued(sync.update(desk, creation, {"body": "text"}))
    both = queued(sync.batch(desk, [Operation("a", "comment", {"number": creation, "body": "hi"})]))
    far.offline = False
    came = sync.replay(desk)
    assert [each.id for each in came.sent] == [creation, change, both]
    assert without_mark(far.there[1].body) == "text"
    assert len(far.said[1]) == 1
    result = sync.update(desk, creation, {"title": "newer"})  # it still stands for its number
    assert isinstance(result, UpdateResult)
    assert far.there[1].title == "newer"
    with pytest.raises(UsageError, match="op-2 is no operation that creates an Issue"):
        sync.update(desk, change, {"title": "x"})
    with pytest.raises(UsageError, match="op-77 is no operation"):
        sync.update(desk, "op-77", {"title": "x"})


def test_what_is_written_online_again_comes_behind_what_waits(desk: Desk, far: Far) -> None:
    number = made(desk)
    far.offline = True
    queued(sync.update(desk, number, {"title": "first"}))
    far.offline = False
    result = sync.update(desk, number, {"title": "second"})
    assert isinstance(result, UpdateResult)
    assert far.there[number].title == "second"
    assert states(desk, "op-1") == ["sent"]


def test_what_others_changed_meanwhile_is_merged_or_shown_and_never_overwritten(desk: Desk, far: Far) -> None:
    one, other = made(desk, "one", labels=("a",)), made(desk, "other")
    sync.see(desk, one)
    far.offline = True
    merged = queued(sync.update(desk, one, {"body": "ours", "labels": ("a", "b")}))
    conflict = queued(sync.update(desk, one, {"title": "ours"}))
    behind = queued(sync.update(desk, one, {"state": "closed"}))
    free = queued(sync.update(desk, other, {"title": "another"}))
    far.foreign(one, title="theirs", labels=("c",))
    far.offline = False
    came = sync.replay(desk)
    assert [each.id for each in came.sent] == [merged, free]
    assert [(each.id, each.state) for each in came.left] == [(conflict, "conflict"), (behind, "waiting")]
    assert (came.left[0].ours, came.left[0].theirs) == ({"title": "ours"}, {"title": "theirs"})
    assert (far.there[one].title, far.there[one].body, far.there[one].labels) == ("theirs", "ours", ("b", "c"))
    assert far.there[one].state == "open"
    # What is written now on the same Issue waits, too; nobody's order is turned round.
    assert queued(sync.update(desk, one, {"body": "later"})) == "op-5"
    assert isinstance(sync.update(desk, other, {"body": "at once"}), UpdateResult)
    with pytest.raises(UsageError, match="op-3 is waiting, not in conflict"):
        sync.settle(desk, behind, ours=True, by="ops")


@pytest.mark.parametrize(("ours", "title", "state"), [(True, "ours", "sent"), (False, "theirs", "dropped")])
def test_an_operator_settles_a_conflict_and_what_waited_goes_on(
    desk: Desk, far: Far, ours: bool, title: str, state: str
) -> None:
    number = made(desk)
    far.offline = True
    conflict = queued(sync.update(desk, number, {"title": "ours"}))
    behind = queued(sync.update(desk, number, {"state": "closed"}))
    far.foreign(number, title="theirs")
    far.offline = False
    assert len(sync.replay(desk).left) == 2
    sync.settle(desk, conflict, ours=ours, by="ops")
    came = sync.replay(desk)
    assert came.left == ()
    assert states(desk, conflict, behind) == [state, "sent"]
    assert (far.there[number].title, far.there[number].state) == (title, "closed")
    record = next(record for record in audited(desk) if record.what.startswith("keep"))
    assert (record.who, record.what, record.subject) == ("ops", f"keep {'ours' if ours else 'theirs'}", conflict)


def test_a_batch_that_others_came_before_is_undone_and_shown(desk: Desk, far: Far) -> None:
    number = made(desk, "one", body="text")
    far.offline = True
    operations = [
        Operation("a", "comment", {"number": number, "body": "hi"}),
        Operation("b", "update", {"number": number, "set": {"body": "ours"}}, ("a",)),
    ]
    name = queued(sync.batch(desk, operations))
    far.foreign(number, body="theirs")
    far.offline = False
    (left,) = sync.replay(desk).left
    assert (left.state, far.said.get(number, []), far.there[number].body) == ("conflict", [], "theirs")
    sync.settle(desk, name, ours=True, by="ops")
    assert [each.id for each in sync.replay(desk).sent] == [name]
    assert (len(far.said[number]), far.there[number].body) == (1, "ours")


def test_a_creation_that_found_another_in_its_place_lets_nothing_overwrite_that(desk: Desk, far: Far) -> None:
    far.offline = True
    creation = queued(sync.create(desk, Draft("same", "ours")))
    change = queued(sync.update(desk, creation, {"body": "more of ours"}))
    far.offline = False
    number = far.create(Draft("same", "theirs")).number
    came = sync.replay(desk)
    assert [(each.id, each.number, each.created) for each in came.sent] == [(creation, number, False)]
    assert [(each.id, each.state) for each in came.left] == [(change, "conflict")]
    assert far.there[number].body == "theirs"


def test_what_the_tracker_does_not_take_is_shown_with_its_reason(desk: Desk, far: Far) -> None:
    far.offline = True
    refused = queued(sync.create(desk, Draft("new")))
    behind = queued(sync.update(desk, refused, {"body": "x"}))
    far.offline = False
    far.faults["create"] = [REFUSED]
    left = sync.replay(desk).left
    assert [(each.state, each.note) for each in left] == [("conflict", "not allowed"), ("waiting", "")]
    sync.settle(desk, refused, ours=False, by="ops")
    left = sync.replay(desk).left
    assert [(each.id, each.state) for each in left] == [(behind, "conflict")]
    assert "op-1 was dropped" in left[0].note
    assert far.there == {}


def test_an_issue_is_shown_as_it_was_seen_last(desk: Desk, far: Far, clock: ManualClock) -> None:
    number, unseen = made(desk), 2
    clock.advance(60)
    far.offline = True
    name = queued(sync.update(desk, number, {"title": "later"}))
    seen = sync.see(desk, number)
    assert (seen.issue.title, seen.waiting, seen.at) == ("fix", (name,), clock.now().replace(minute=0))
    with pytest.raises(TrackerOfflineError):
        sync.see(desk, unseen)
    with pytest.raises(UsageError, match="op-2 waits until the tracker can be reached"):
        sync.see(desk, queued(sync.create(desk, Draft("new"))))
    far.offline = False
    sync.replay(desk)
    assert (sync.see(desk, number).at, sync.see(desk, number).waiting) == (None, ())


def test_what_an_agent_queues_is_held_to_its_competition(tmp_path: Path, clock: ManualClock, far: Far) -> None:
    scope = Scope("ann", "titanic", "comp:titanic", "agent:ann", others=(("apollo", "comp:apollo"),))
    with opened(tmp_path, clock, far) as desk:
        foreign = made(desk, "one", labels=("comp:apollo",))
        unseen = far.create(Draft("x", "", ("comp:apollo",))).number
    far.offline = True
    with opened(tmp_path, clock, far, scope=scope) as desk:
        with pytest.raises(IsolationViolationError):
            sync.create(desk, Draft("new", "", ("comp:apollo",)))
        with pytest.raises(IsolationViolationError):
            sync.update(desk, foreign, {"title": "mine"})
        assert unsent(desk.records, "faulty") == []
        name = queued(sync.update(desk, unseen, {"title": "mine"}))  # nobody here knows whose that is
    far.offline = False
    with opened(tmp_path, clock, far, holder="ops") as desk:  # an operator sends it, in the agent's name
        (left,) = sync.replay(desk).left
        assert (left.id, left.state, left.scope) == (name, "conflict", scope)
        assert far.there[unseen].title == "x"


def test_what_was_queued_for_one_tracker_goes_to_no_other(tmp_path: Path, clock: ManualClock, far: Far) -> None:
    far.offline = True
    with opened(tmp_path, clock, far) as desk:
        name = queued(sync.create(desk, Draft("new")))
    with opened(tmp_path, clock) as desk:
        assert sync.replay(desk) == sync.Replay((), ())
        assert states(desk, name) == ["waiting"]
        assert list(desk.tracker.issues()) == []


def test_two_do_not_send_at_once(tmp_path: Path, clock: ManualClock, far: Far) -> None:
    far.offline = True
    with opened(tmp_path, clock, far) as desk, opened(tmp_path, clock, far) as other:
        queued(sync.create(desk, Draft("new")))
        far.offline = False
        with other.hold([sync.LEASE]):
            came = sync.replay(desk)
            assert (came.sent, len(came.left), "another process is at it" in came.problem) == ((), 1, True)
        assert len(sync.replay(desk).sent) == 1
        assert len(sync.replay(other).sent) == 0


def test_an_issue_that_somebody_holds_is_tried_again_later(tmp_path: Path, clock: ManualClock, far: Far) -> None:
    with opened(tmp_path, clock, far) as desk, opened(tmp_path, clock, far) as other:
        number = made(desk)
        far.offline = True
        name = queued(sync.update(desk, number, {"title": "ours"}))
        far.offline = False
        with other.hold([f"issue/{number}"]):
            with pytest.raises(LeaseError):
                desk.leases.acquire(f"issue/{number}", "ann")
            (left,) = sync.replay(desk).left
            assert (left.id, left.state, "is held by" in left.note) == (name, "waiting", True)
        assert len(sync.replay(desk).sent) == 1


def test_online_errors_are_those_of_the_operation_and_queue_nothing(desk: Desk, far: Far) -> None:
    number = made(desk)
    version = far.there[number].version
    far.foreign(number, title="theirs")
    with pytest.raises(ConcurrencyConflictError):
        sync.update(desk, number, {"title": "ours"}, version)
    with pytest.raises(BatchOperationError):
        sync.batch(desk, [Operation("a", "comment", {"number": 77, "body": "x"})])
    with pytest.raises(UsageError):
        sync.update(desk, number, {"colour": "red"})
    assert unsent(desk.records, "faulty") == []


@pytest.mark.parametrize(("kill_after", "step"), [(True, 1), (False, 5)], ids=["after", "before"])
def test_killed_at_any_call_nothing_is_lost_or_doubled(
    tmp_path: Path, clock: ManualClock, kill_after: bool, step: int
) -> None:
    """The sender dies after each single request in turn, or before one; the next one brings all to the same end."""
    for kill_at in range(1, 200, step):
        far, folder = Far(clock, kill_after=kill_after), tmp_path / str(kill_at)
        folder.mkdir()
        with opened(folder, clock, far) as desk:
            number = made(desk, "old", labels=("a",))
            far.offline = True
            creation = queued(sync.create(desk, Draft("new", "text")))
            queued(sync.update(desk, number, {"body": "ours", "add_labels": ("b",)}))
            operations = [
                Operation("a", "comment", {"number": creation, "body": "hi"}),
                Operation("b", "label", {"number": number, "add": ("c",), "remove": ("a",)}, ("a",)),
            ]
            queued(sync.batch(desk, operations))
            far.offline = False
        far.count, far.kill_at = 0, kill_at
        killed = False
        try:
            with opened(folder, clock, far) as desk:
                sync.replay(desk)
        except Killed:
            killed = True
        far.kill_at = 0
        clock.advance(120)  # the leases of the dead are over
        with opened(folder, clock, far) as desk:
            recover(desk)
            assert sync.replay(desk).left == ()
        assert [(issue.title, issue.state) for issue in far.there.values()] == [("old", "open"), ("new", "open")]
        assert (far.there[number].body, far.there[number].labels) == ("ours", ("b", "c"))
        assert [without_mark(comment.body) for comment in far.said[2]] == ["hi"]
        if not killed:
            assert kill_at > 10
            return
    pytest.fail("it never came to its end")
