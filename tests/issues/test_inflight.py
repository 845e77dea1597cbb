"""What was on its way when its sender died, or was late, is waited for, seen to, and replaces nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from rollcage.core.coordination.leases import Leases, LostLeaseError
from rollcage.core.errors import LeaseError
from rollcage.core.issues.batch import recover
from rollcage.core.issues.desk import TTL, Desk
from rollcage.core.issues.errors import IssueUpdateError, TrackerOfflineError
from rollcage.core.issues.github.app_token import TIMEOUT_S
from rollcage.core.issues.inflight import LANDS_WITHIN_S, numbers_in_flight
from rollcage.core.issues.issue import Draft
from rollcage.core.issues.update import read_issue, update_issue_with_optimistic_lock
from tests.conftest import ManualClock
from tests.issues.desks import audited, opened, written
from tests.issues.faulty import LOST_AFTER, LOST_BEFORE, OFFLINE, FaultyTracker

BODY = "one\ntwo\nthree\n"


class Killed(BaseException):
    """The process ends here, as far as rollcage gets."""


def killed() -> None:
    raise Killed


@pytest.fixture
def far(clock: ManualClock) -> FaultyTracker:
    return FaultyTracker(clock)


@pytest.fixture
def desk(tmp_path: Path, clock: ManualClock, far: FaultyTracker) -> Iterator[Desk]:
    with opened(tmp_path, clock, far) as desk:
        far.create(Draft("title", BODY, ("bug",)))
        yield desk


@pytest.fixture
def bob(tmp_path: Path, clock: ManualClock, far: FaultyTracker, desk: Desk) -> Iterator[Desk]:
    with opened(tmp_path, clock, far, holder="bob") as bob:
        yield bob


def die_while_sending(desk: Desk, far: FaultyTracker, **updates: object) -> None:
    """Kill an update just before its PATCH is done; nothing of it lands."""
    far.before["write"] = [killed]
    with pytest.raises(Killed):
        update_issue_with_optimistic_lock(desk, 1, updates)


class Slow:
    """Lets something happen once the clock has come to a time, at the next call of the tracker."""

    def __init__(self, far: FaultyTracker, clock: ManualClock, seconds: float, act: Callable[[], object]) -> None:
        self.due, self.done = clock.boot() + seconds, False

        def look() -> None:
            if not self.done and clock.boot() >= self.due:
                self.done = True
                act()

        for method in ("get", "write", "add_label", "body_edits"):
            far.before[method] = [look] * 50


def test_nothing_is_noted_once_an_update_is_done(desk: Desk, far: FaultyTracker) -> None:
    update_issue_with_optimistic_lock(desk, 1, {"title": "t", "body": BODY + "four\n", "labels": ["x"]})
    assert numbers_in_flight(desk.records) == []
    assert not desk.records.has_unfinished()
    far.faults["write"] = [OFFLINE]
    with pytest.raises(TrackerOfflineError):
        update_issue_with_optimistic_lock(desk, 1, {"title": "u"})
    assert numbers_in_flight(desk.records) == []


@pytest.mark.parametrize("lands_after", [0.0, 8.0, LANDS_WITHIN_S - 1])
def test_a_late_write_of_a_dead_holder_is_waited_for(
    desk: Desk, bob: Desk, far: FaultyTracker, clock: ManualClock, lands_after: float
) -> None:
    die_while_sending(desk, far, title="dead's", body=BODY + "dead\n")
    Slow(far, clock, lands_after, lambda: far.foreign(1, title="dead's", body=BODY + "dead\n"))
    done = update_issue_with_optimistic_lock(bob, 1, {"title": "bob's", "body": "bob\n" + BODY})
    assert (far.there[1].title, far.there[1].body) == (done.issue.title, done.issue.body)
    assert done.issue.title == "bob's"
    assert numbers_in_flight(desk.records) == []


def test_a_dead_process_under_the_same_lock_is_waited_for(desk: Desk, far: FaultyTracker, clock: ManualClock) -> None:
    with desk.hold(["issue/1"]) as held:
        run = desk.holding(held)  # as `rollcage lock run` gives it to several processes
        die_while_sending(run, far, title="dead's")
        with run.records.connected() as connection:
            connection.execute("UPDATE in_flight SET pid = 0")
        Slow(far, clock, 8.0, lambda: far.foreign(1, title="dead's"))
        update_issue_with_optimistic_lock(run, 1, {"title": "next"})
    assert far.there[1].title == "next"


def test_a_lease_that_others_see_without_the_note_is_not_given_back(
    tmp_path: Path, clock: ManualClock, far: FaultyTracker, desk: Desk
) -> None:
    class Shared:
        """Leases that lie elsewhere, such as in Redis."""

        def __getattr__(self, name: str) -> object:
            return getattr(desk.leases, name)

    far.faults = {"write": [LOST_BEFORE], "body_edits": [OFFLINE] * 50}
    with pytest.raises(IssueUpdateError, match="stands"):
        update_issue_with_optimistic_lock(replace(desk, leases=cast(Leases, Shared())), 1, {"body": "b"})
    assert [lease.name for lease in desk.leases.list()] == ["issue/1"]
    assert TIMEOUT_S + LANDS_WITHIN_S < TTL


def test_who_will_not_wait_is_told_how_long_it_takes(desk: Desk, bob: Desk, far: FaultyTracker) -> None:
    die_while_sending(desk, far, title="dead's")
    with (
        pytest.raises(LeaseError, match="what ann had sent may still be done on the server; try again in 25 s"),
        bob.hold(["issue/1"], wait=0),
    ):
        pass
    assert bob.leases.list() == desk.leases.list()
    with bob.hold(["issue/2"], wait=0):  # others are not held up
        pass


def test_recovery_waits_for_nobody_and_sees_to_it_later(
    desk: Desk, bob: Desk, far: FaultyTracker, clock: ManualClock
) -> None:
    far.before["write"] = [lambda: far.foreign(1, body=BODY + "theirs\n")]
    far.after["write"] = [killed]
    with pytest.raises(Killed):
        update_issue_with_optimistic_lock(desk, 1, {"body": "ours\n" + BODY})
    assert far.there[1].body == "ours\n" + BODY  # theirs is gone, and nobody was told
    assert recover(bob) == 1
    clock.advance(LANDS_WITHIN_S)
    assert recover(bob) == 0
    assert far.there[1].body == "ours\n" + BODY + "theirs\n"
    assert written(bob) == [("undo late write", "issue 1", "done")]


def test_what_cannot_be_merged_stays_theirs_and_a_human_is_told(
    desk: Desk, bob: Desk, far: FaultyTracker, clock: ManualClock
) -> None:
    far.before["write"] = [lambda: far.foreign(1, body="theirs\n")]
    far.after["write"] = [killed]
    with pytest.raises(Killed):
        update_issue_with_optimistic_lock(desk, 1, {"body": "ours\n"})
    update_issue_with_optimistic_lock(bob, 1, {"title": "t"})
    assert far.there[1].body == "theirs\n"
    conflict = audited(bob)[0]
    assert (conflict.outcome, conflict.detail["before"], conflict.detail["after"]) == (
        "persistent_conflict",
        {"body": "theirs"},
        {"body": "ours"},
    )


def test_one_who_was_paused_and_writes_late_is_refused_and_undone(
    desk: Desk, bob: Desk, far: FaultyTracker, clock: ManualClock
) -> None:
    def paused() -> None:
        clock.advance(TTL + 1)
        update_issue_with_optimistic_lock(
            bob, 1, {"title": "bob's", "body": BODY + "bob\n", "add_labels": ["b"], "state": "closed"}
        )

    far.before["write"] = [paused]
    with pytest.raises(IssueUpdateError, match="stands"):
        update_issue_with_optimistic_lock(desk, 1, {"title": "late", "body": "late\n" + BODY})
    assert (far.there[1].title, far.there[1].body) == ("late", "late\n" + BODY)  # no fence at the tracker
    assert recover(bob) == 0
    assert (far.there[1].title, far.there[1].state, far.there[1].labels) == ("bob's", "closed", ("b", "bug"))
    assert far.there[1].body == "late\n" + BODY + "bob\n"
    assert numbers_in_flight(desk.records) == []


def test_one_who_was_paused_before_its_note_sends_nothing(
    desk: Desk, bob: Desk, far: FaultyTracker, clock: ManualClock
) -> None:
    with desk.hold(["issue/1"]) as late:
        clock.advance(TTL + 1)
        update_issue_with_optimistic_lock(bob, 1, {"title": "bob's"})
        far.calls.clear()
        with pytest.raises(LostLeaseError):
            update_issue_with_optimistic_lock(desk.holding(late), 1, {"title": "late"})
    assert "write" not in far.calls
    assert far.there[1].title == "bob's"


@pytest.mark.parametrize("fault", [LOST_BEFORE, LOST_AFTER])
def test_a_lost_answer_is_waited_for_only_where_nothing_is_seen(
    desk: Desk, far: FaultyTracker, clock: ManualClock, fault: str
) -> None:
    far.faults["write"] = [fault]
    began = clock.boot()
    update_issue_with_optimistic_lock(desk, 1, {"title": "t"})
    assert (clock.boot() - began >= LANDS_WITHIN_S) is (fault == LOST_BEFORE)
    assert numbers_in_flight(desk.records) == []


def test_a_merged_line_is_written_once(desk: Desk, far: FaultyTracker) -> None:
    """What the caller saw at the end of the body is gone by then: merged with that again, its line would come twice."""
    far.foreign(1, body="a\nb\ngone")
    seen = read_issue(desk, 1)
    far.foreign(1, body="a\nb")
    done = update_issue_with_optimistic_lock(desk, 1, {"body": "a\nb\ngone\nours"}, seen)
    assert (done.issue.body, done.attempt) == ("a\nb\nours", 1)


def test_an_undoing_that_is_done_again_changes_nothing(desk: Desk, far: FaultyTracker) -> None:
    from rollcage.core.issues.steps import change_back

    inverse = {"number": 1, "new": {"body": "a\nours"}, "old": {"body": "a"}}
    far.foreign(1, body="a\nours\ntheirs")
    with desk.hold(["issue/1"]) as holds:
        change_back(desk, [inverse], holds)
        assert far.there[1].body == "a\ntheirs"
        change_back(desk, [inverse], holds)
    assert far.there[1].body == "a\ntheirs"
