"""No update is lost: not between writers that use rollcage, and not unnoticed to those that do not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcage.core.clock import SystemClock
from rollcage.core.coordination.leases import LostLeaseError
from rollcage.core.errors import UsageError
from rollcage.core.issues.batch import recover
from rollcage.core.issues.desk import Desk
from rollcage.core.issues.errors import (
    ConcurrencyConflictError,
    IsolationViolationError,
    IssueUpdateError,
    TrackerOfflineError,
)
from rollcage.core.issues.inflight import LANDS_WITHIN_S
from rollcage.core.issues.issue import Draft, Issue
from rollcage.core.issues.merge import merge_lines
from rollcage.core.issues.scope import Scope
from rollcage.core.issues.update import ATTEMPTS, read_issue, update_issue_with_optimistic_lock
from tests.conftest import ManualClock
from tests.issues.desks import audited, opened, written
from tests.issues.faulty import LOST_AFTER, LOST_BEFORE, OFFLINE, REFUSED, FaultyTracker

BODY = "one\ntwo\nthree\nfour\nfive\n"


@pytest.fixture
def far(clock: ManualClock) -> FaultyTracker:
    return FaultyTracker(clock)


@pytest.fixture
def desk(tmp_path: Path, clock: ManualClock, far: FaultyTracker) -> Iterator[Desk]:
    with opened(tmp_path, clock, far) as desk:
        far.create(Draft("title", BODY, ("bug", "status:waiting"), ("zoe",)))
        far.calls.clear()
        yield desk


@pytest.fixture
def local(tmp_path: Path, clock: ManualClock) -> Iterator[Desk]:
    with opened(tmp_path, clock) as desk:
        desk.tracker.create(Draft("title", BODY, ("bug", "status:waiting"), ("zoe",)))
        yield desk


@pytest.fixture(params=["desk", "local"])
def either(request: pytest.FixtureRequest) -> Desk:
    desk: Desk = request.getfixturevalue(request.param)
    return desk


def test_only_what_is_named_is_written(desk: Desk, far: FaultyTracker) -> None:
    done = update_issue_with_optimistic_lock(desk, 1, {"title": "new", "labels": ["bug", "late"]})
    assert (done.issue.title, done.issue.labels, done.updated, done.attempt) == ("new", ("bug", "late"), True, 1)
    assert (done.issue.body, done.issue.assignees) == (BODY, ("zoe",))
    assert far.calls == ["get", "add_label", "write", "remove_label"]  # whose answers tell what it is then


def test_every_write_is_audited_with_before_and_after(either: Desk) -> None:
    update_issue_with_optimistic_lock(either, 1, {"state": "closed", "assignees": []})
    (record,) = audited(either)
    assert (record.who, record.what, record.subject, record.outcome) == ("ann", "update issue", "issue 1", "done")
    before, after = record.detail["before"], record.detail["after"]
    assert before == {"state": "open", "labels": ["bug", "status:waiting"], "assignees": ["zoe"]}
    assert after == {"state": "closed", "labels": ["bug", "status:done"], "assignees": []}
    assert record.detail["token"]
    assert either.leases.list() == []


def test_what_is_so_already_is_not_written(either: Desk) -> None:
    done = update_issue_with_optimistic_lock(either, 1, {"title": "title", "add_labels": ["BUG"]})
    assert (done.updated, done.attempt) == (False, 1)
    assert written(either) == []


def test_what_others_changed_elsewhere_stays(either: Desk) -> None:
    seen = read_issue(either, 1).version
    update_issue_with_optimistic_lock(either, 1, {"title": "theirs", "add_labels": ["x"], "body": BODY + "six\n"})
    done = update_issue_with_optimistic_lock(
        either, 1, {"labels": ["status:waiting", "y"], "body": "ONE" + BODY[3:]}, expected=seen
    )
    assert done.issue.title == "theirs"
    assert done.issue.labels == ("status:waiting", "x", "y")
    assert done.issue.body == "ONE" + BODY[3:] + "six\n"


def test_the_same_field_goes_to_a_human_with_both_values(either: Desk) -> None:
    seen = read_issue(either, 1)
    update_issue_with_optimistic_lock(either, 1, {"title": "theirs"})
    with pytest.raises(ConcurrencyConflictError) as raised:
        update_issue_with_optimistic_lock(either, 1, {"title": "ours", "add_labels": ["x"]}, expected=seen.version)
    assert (raised.value.ours, raised.value.theirs) == ({"title": "ours"}, {"title": "theirs"})
    assert raised.value.current == either.tracker.get(1)
    assert either.tracker.get(1).labels == seen.labels
    assert written(either)[-1] == ("update issue", "issue 1", "persistent_conflict")
    assert audited(either)[-1].detail["before"] == {"title": "theirs"}


def test_what_the_caller_did_not_change_is_no_conflict(either: Desk) -> None:
    seen = read_issue(either, 1)
    update_issue_with_optimistic_lock(either, 1, {"title": "theirs"})
    done = update_issue_with_optimistic_lock(either, 1, {"title": "title", "state": "closed"}, expected=seen)
    assert (done.issue.title, done.issue.state) == ("theirs", "closed")


def test_a_version_that_is_not_known_makes_any_difference_a_conflict(either: Desk) -> None:
    with pytest.raises(ConcurrencyConflictError) as raised:
        update_issue_with_optimistic_lock(either, 1, {"title": "x", "labels": ["y"]}, expected="0" * 64)
    assert set(raised.value.theirs) == {"title", "labels"}
    assert "the expected version is not known here" in str(raised.value)
    assert update_issue_with_optimistic_lock(either, 1, {"add_labels": ["y"]}, expected="0" * 64).updated


def test_the_version_of_an_answer_can_be_expected(either: Desk) -> None:
    first = update_issue_with_optimistic_lock(either, 1, {"title": "a"}).issue.version
    update_issue_with_optimistic_lock(either, 1, {"state": "closed"})
    done = update_issue_with_optimistic_lock(either, 1, {"title": "b"}, expected=first)
    assert (done.issue.title, done.issue.state) == ("b", "closed")


@pytest.mark.parametrize("outcome", [LOST_BEFORE, LOST_AFTER])
@pytest.mark.parametrize("method", ["write", "add_label", "remove_label", "add_assignee", "remove_assignee"])
def test_a_lost_answer_is_looked_after(desk: Desk, far: FaultyTracker, method: str, outcome: str) -> None:
    far.faults[method] = [outcome]
    wanted = {"title": "t", "labels": ["a"], "assignees": ["bob"]}
    done = update_issue_with_optimistic_lock(desk, 1, wanted)
    assert (done.issue.title, done.issue.labels, done.issue.assignees) == ("t", ("a",), ("bob",))
    assert done.attempt == 2 if outcome == LOST_BEFORE else done.attempt <= 2


def test_five_attempts_with_growing_waits_at_most(desk: Desk, far: FaultyTracker, clock: ManualClock) -> None:
    far.faults["write"] = [LOST_BEFORE] * 9
    began = clock.seconds
    with pytest.raises(IssueUpdateError, match="5 attempts"):
        update_issue_with_optimistic_lock(desk, 1, {"title": "t"})
    assert far.calls.count("write") >= ATTEMPTS
    assert clock.seconds - began <= 1 + 2 + 4 + 8 + 1 + 2 + 4 + 8 + ATTEMPTS * LANDS_WITHIN_S
    assert far.there[1].title == "title"


def test_others_who_change_it_back_each_time_win_and_both_values_are_told(desk: Desk, far: FaultyTracker) -> None:
    far.after["write"] = [lambda: far.foreign(1, title="title")] * 9
    with pytest.raises(ConcurrencyConflictError) as raised:
        update_issue_with_optimistic_lock(desk, 1, {"title": "t"})
    assert (raised.value.ours, raised.value.theirs) == ({"title": "t"}, {"title": "title"})
    assert far.calls.count("write") == ATTEMPTS


def test_a_foreign_value_that_came_after_ours_is_not_overwritten(desk: Desk, far: FaultyTracker) -> None:
    far.after["write"] = [lambda: far.foreign(1, title="theirs")]
    with pytest.raises(ConcurrencyConflictError) as raised:
        update_issue_with_optimistic_lock(desk, 1, {"title": "ours", "add_labels": ["x"]})
    assert raised.value.theirs == {"title": "theirs"}
    assert far.there[1].title == "theirs"
    assert far.there[1].labels == ("bug", "status:waiting")


def test_a_label_that_a_foreign_save_took_along_is_added_again(desk: Desk, far: FaultyTracker) -> None:
    far.after["add_label"] = [lambda: far.foreign(1, labels=("bug", "theirs"))]
    done = update_issue_with_optimistic_lock(desk, 1, {"add_labels": ["ours"]})
    assert (done.issue.labels, done.attempt) == (("bug", "ours", "theirs"), 2)


def test_a_body_that_came_between_is_merged(desk: Desk, far: FaultyTracker) -> None:
    far.before["write"] = [lambda: far.foreign(1, body=BODY + "theirs\n")]
    done = update_issue_with_optimistic_lock(desk, 1, {"body": "OURS" + BODY[3:]})
    assert done.issue.body == "OURS" + BODY[3:] + "theirs\n"
    assert done.attempt == 2


def test_a_body_that_came_between_and_cannot_be_merged_is_put_back(desk: Desk, far: FaultyTracker) -> None:
    far.before["write"] = [lambda: far.foreign(1, body="theirs" + BODY[3:])]
    with pytest.raises(ConcurrencyConflictError) as raised:
        update_issue_with_optimistic_lock(desk, 1, {"body": "ours" + BODY[3:], "title": "t"})
    assert raised.value.theirs == {"body": "theirs" + BODY[3:]}
    assert (far.there[1].body, far.there[1].title) == ("theirs" + BODY[3:], "title")


def test_a_failure_in_the_middle_leaves_nothing(desk: Desk, far: FaultyTracker) -> None:
    before = far.there[1]
    for fault in (REFUSED, OFFLINE):
        far.faults["remove_assignee"] = [fault]
        with pytest.raises(IssueUpdateError, match="was not updated"):
            update_issue_with_optimistic_lock(desk, 1, {"labels": ["a"], "title": "t", "assignees": []})
        assert far.there[1] == Issue(**{**_fields(before), "updated": far.there[1].updated})  # type: ignore[arg-type]


def _fields(issue: Issue) -> dict[str, object]:
    return {name: getattr(issue, name) for name in Issue.__slots__}


def test_what_could_not_be_undone_is_named(desk: Desk, far: FaultyTracker) -> None:
    far.faults["write"], far.faults["remove_label"] = [REFUSED], [REFUSED]
    with pytest.raises(IssueUpdateError, match="could not be undone and stands: label x added"):
        update_issue_with_optimistic_lock(desk, 1, {"add_labels": ["x"], "title": "t"})


def test_an_update_whose_process_is_killed_half_way_is_undone(
    desk: Desk, far: FaultyTracker, tmp_path: Path, clock: ManualClock
) -> None:
    before = far.there[1]

    def killed() -> None:
        raise KeyboardInterrupt  # as far as rollcage gets: nothing of it catches that

    far.before["write"] = [killed]
    with pytest.raises(KeyboardInterrupt):
        update_issue_with_optimistic_lock(desk, 1, {"title": "t", "labels": ["x"], "state": "closed"})
    assert "x" in far.there[1].labels
    with opened(tmp_path, clock, far, holder="bob") as bob:
        assert recover(bob) > 0  # what was on its way could still come
        clock.advance(LANDS_WITHIN_S)
        assert recover(bob) == 0
        assert recover(bob) == 0
    assert (far.there[1].title, far.there[1].labels, far.there[1].state) == ("title", before.labels, "open")
    assert not desk.records.has_unfinished()


def test_without_a_network_nothing_was_sent_and_that_is_said(desk: Desk, far: FaultyTracker) -> None:
    far.faults["get"] = [OFFLINE]
    with pytest.raises(TrackerOfflineError):
        update_issue_with_optimistic_lock(desk, 1, {"title": "t"})
    with pytest.raises(IssueUpdateError, match="no Issue 7"):
        update_issue_with_optimistic_lock(desk, 7, {"title": "t"})


def test_who_lost_the_lease_writes_nothing_more(desk: Desk, far: FaultyTracker, clock: ManualClock) -> None:
    far.before["get"] = [lambda: clock.advance(1_000)]
    with pytest.raises(LostLeaseError):
        update_issue_with_optimistic_lock(desk, 1, {"title": "t"})
    assert far.calls == ["get"]


def test_who_was_paused_beyond_the_lease_is_refused_by_token(local: Desk, tmp_path: Path, clock: ManualClock) -> None:
    with local.hold(["issue/1"]) as late:
        clock.advance(1_000)
        with opened(tmp_path, clock, holder="bob") as bob:
            update_issue_with_optimistic_lock(bob, 1, {"title": "bob's"})
        with pytest.raises(LostLeaseError, match="stale"), local.guarded(late, ["issue/1"]):
            local.tracker.write(1, title="late")
    assert local.tracker.get(1).title == "bob's"


def test_a_status_takes_the_place_of_the_old_one(either: Desk) -> None:
    done = update_issue_with_optimistic_lock(either, 1, {"add_labels": ["status:review"]})
    assert done.issue.labels == ("bug", "status:review")
    with pytest.raises(UsageError, match="contradict each other"):
        update_issue_with_optimistic_lock(either, 1, {"add_labels": ["status:done", "status:failed"]})


def test_nothing_is_written_outside_the_competition(tmp_path: Path, clock: ManualClock, far: FaultyTracker) -> None:
    far.create(Draft("x", labels=("comp:houses",)))
    scope = Scope("ann", "titanic", "comp:titanic", "agent:ann")
    with opened(tmp_path, clock, far, scope=scope) as desk, pytest.raises(IsolationViolationError):
        update_issue_with_optimistic_lock(desk, 1, {"title": "mine now"})
    assert far.calls == ["create", "get"]


@pytest.mark.parametrize(
    ("updates", "said"),
    [
        ({}, "names no field"),
        ({"milestone": 1}, "'milestone' is no field"),
        ({"state": "done"}, "allowed: open, closed"),
        ({"labels": "a,b"}, "labels is no list"),
        ({"title": 7}, "title is no text"),
        ({"add_labels": ["A"], "remove_labels": ["a"]}, "both added to and removed"),
        ({"labels": [], "add_labels": ["a"]}, "beside additions"),
        ({"title": "x" * 100_000}, "at most 256"),
    ],
)
def test_what_is_no_update_is_said(local: Desk, updates: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        update_issue_with_optimistic_lock(local, 1, updates)


def test_an_update_of_a_locked_issue_goes_on_for_who_holds_it(
    local: Desk, tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = local.leases.acquire("issue/1", "ann", 600)
    from rollcage.core.config import Settings
    from rollcage.core.issues.desk import open_desk
    from rollcage.core.store.paths import RepositoryPaths

    monkeypatch.setenv("ROLLCAGE_LOCK_NAME", "issue/1")
    monkeypatch.setenv("ROLLCAGE_LOCK_TOKEN", str(held.token))
    desk = open_desk(Settings(), RepositoryPaths(tmp_path), clock, holder="ann")
    assert update_issue_with_optimistic_lock(desk, 1, {"title": "t"}).updated
    assert [lease.token for lease in desk.leases.list()] == [held.token]
    desk.close()


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    with opened(tmp_path, SystemClock()) as desk:
        desk.tracker.create(Draft("t", "".join(f"{index}\n" for index in range(8))))

    def work(mine: int) -> None:
        with opened(tmp_path, SystemClock(), holder=f"agent-{mine}") as desk:
            for turn in range(5):
                seen = read_issue(desk, 1)
                body = seen.body.replace(f"{mine}{'+' * turn}\n", f"{mine}{'+' * (turn + 1)}\n")
                change = {"body": body, "labels": [*seen.labels, f"{mine}-{turn}"]}
                update_issue_with_optimistic_lock(desk, 1, change, expected=seen.version)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with opened(tmp_path, SystemClock()) as desk:
        issue = desk.tracker.get(1)
        assert issue.body == "".join(f"{index}+++++\n" for index in range(8))
        assert len(issue.labels) == 40
        assert len(written(desk)) == 40


LINES = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=6).map("\n".join)


@settings(max_examples=200, deadline=None)
@given(LINES, LINES, LINES)
def test_a_merge_of_lines_has_both_or_is_none(base: str, ours: str, theirs: str) -> None:
    merged = merge_lines(base, ours, theirs)
    assert merge_lines(base, theirs, ours) == merged
    assert merge_lines(base, ours, base) == ours
    assert merge_lines(base, ours, ours) == ours
    if merged is not None and ours != base and theirs != base:
        lost = [line for line in ours.split("\n") if line not in (*base.split("\n"), *merged.split("\n"))]
        assert lost == []
