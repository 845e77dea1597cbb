"""The tracker of this machine does single things, durably, and says no as GitHub would."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from rollcage.core.config import Settings
from rollcage.core.errors import StoreError, UsageError
from rollcage.core.issues.desk import Desk, open_desk
from rollcage.core.issues.errors import TrackerRefusedError
from rollcage.core.issues.issue import Draft
from rollcage.core.issues.local import LocalTracker, open_connections
from rollcage.core.issues.values import check_draft, check_label
from rollcage.core.store.paths import RepositoryPaths
from tests.conftest import ManualClock


@pytest.fixture
def tracker(tmp_path: Path, clock: ManualClock) -> Iterator[LocalTracker]:
    connections = open_connections(RepositoryPaths(tmp_path))
    yield LocalTracker(connections, clock, "ann")
    connections.close()


def test_an_issue_is_kept_as_it_was_written(tracker: LocalTracker, tmp_path: Path, clock: ManualClock) -> None:
    made = tracker.create(Draft("Łódź 🚀 'quoted'", "a\r\nb\n", ("b,c", "a:b", 'say "x"'), ("zoe", "ann")))
    assert made.labels == ("a:b", "b,c", 'say "x"')
    assert made.assignees == ("ann", "zoe")
    again = open_connections(RepositoryPaths(tmp_path))
    assert LocalTracker(again, clock).get(made.number) == made
    again.close()


def test_only_what_is_named_is_written(tracker: LocalTracker, clock: ManualClock) -> None:
    made = tracker.create(Draft("t", "b", ("x",)))
    clock.advance(5)
    written = tracker.write(made.number, state="closed")
    assert (written.title, written.body, written.labels, written.state) == ("t", "b", ("x",), "closed")
    assert written.updated - written.created == timedelta(seconds=5)
    assert tracker.write(made.number, body="").body == ""


def test_labels_differ_by_more_than_their_case_and_are_added_once(tracker: LocalTracker) -> None:
    number = tracker.create(Draft("t")).number
    for name in ("Bug", "bug", "late"):
        tracker.add_label(number, name)
    assert tracker.get(number).labels == ("Bug", "late")
    tracker.remove_label(number, "BUG")
    tracker.remove_label(number, "never")
    assert tracker.get(number).labels == ("late",)


def test_a_listing_filters_and_goes_from_the_newest_on(tracker: LocalTracker, clock: ManualClock) -> None:
    numbers = [
        tracker.create(Draft(f"t{index}", labels=("a",) if index % 2 else ("a", "b"))).number for index in range(6)
    ]
    clock.advance(10)
    moment = clock.now()
    tracker.write(numbers[0], state="closed")
    tracker.comment(numbers[3], "hello")
    assert [issue.number for issue in tracker.issues()] == numbers[:0:-1]
    assert [issue.number for issue in tracker.issues(labels=("A", "b"))] == [numbers[4], numbers[2]]
    assert [issue.number for issue in tracker.issues(state="all", since=moment)] == [numbers[3], numbers[0]]
    assert [issue.number for issue in tracker.issues(state="closed")] == [numbers[0]]


def test_a_listing_goes_on_while_it_is_written_to(tracker: LocalTracker) -> None:
    with tracker.connections.transaction():
        for index in range(450):
            tracker.create(Draft(f"t{index}"))
    found = []
    for issue in tracker.issues():
        found.append(issue.number)
        if len(found) == 10:
            tracker.write(1, title="changed")
            tracker.create(Draft("new"))
    assert found == list(range(450, 0, -1))


def test_comments_come_and_go(tracker: LocalTracker, clock: ManualClock) -> None:
    number = tracker.create(Draft("t")).number
    first, second = tracker.comment(number, "one"), tracker.comment(number, "two")
    assert [comment.body for comment in tracker.comments(number)] == ["one", "two"]
    assert tracker.edit_comment(first, "1").body == "1"
    tracker.delete_comment(second)
    tracker.delete_comment(second)
    assert [(comment.body, comment.author) for comment in tracker.comments(number)] == [("1", "ann")]
    with pytest.raises(TrackerRefusedError, match="gone"):
        tracker.edit_comment(second, "x")


def test_blockers_and_definitions(tracker: LocalTracker) -> None:
    one, two, three = (tracker.create(Draft(name)).number for name in "abc")
    for blocker in (three, two, two):
        tracker.add_blocker(one, blocker)
    tracker.remove_blocker(one, 99)
    assert tracker.blocked_by(one) == (two, three)
    tracker.define_label("status:done", "00ff00", "finished")
    tracker.define_label("Status:Done", "00aa00")
    assert tracker.label_definitions() == {"status:done": ("00aa00", "")}


def test_what_is_not_there_is_refused(tracker: LocalTracker) -> None:
    for act in (
        lambda: tracker.get(7),
        lambda: tracker.write(7, title="x"),
        lambda: tracker.add_label(7, "x"),
        lambda: tracker.comment(7, "x"),
        lambda: list(tracker.comments(7)),
        lambda: tracker.blocked_by(7),
    ):
        with pytest.raises(TrackerRefusedError, match="no Issue 7") as refused:
            act()
        assert refused.value.status == 404


def test_a_read_only_file_is_one_clear_line(tracker: LocalTracker) -> None:
    with tracker.connections.reading() as connection:
        connection.execute("PRAGMA query_only=ON")
    with pytest.raises(StoreError, match="cannot be written"):
        tracker.create(Draft("t"))


@pytest.mark.parametrize(
    ("draft", "said"),
    [
        (Draft(""), "the title is empty"),
        (Draft(" \u3000"), "the title is empty"),
        (Draft("x" * 100_000), r"100,000 characters; allowed: at most 256"),
        (Draft("a\nb"), "one line"),
        (Draft("a\x1b[31m"), "control characters"),
        (Draft("\ud800"), "half a character"),
        (Draft("t", "x" * 70_000), "70,000 characters"),
        (Draft("t", "\0"), "NUL"),
        (Draft("t", labels=("",)), "no label"),
        (Draft("t", labels=("x" * 51,)), "51 characters; allowed: at most 50"),
        (Draft("t", labels=(" x",)), "no spaces at its ends"),
        (Draft("t", assignees=tuple("abcdefghijk")), "11 assignees"),
    ],
)
def test_bad_values_are_said_clearly(draft: Draft, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_draft(draft)


@pytest.mark.parametrize("label", ["a,b", "status:done", "it's", 'say "x"', "⚠️ now", "日本語", "👩‍💻"])
def test_any_line_of_text_is_a_label(label: str) -> None:
    assert check_label(label) == label


def test_ten_thousand_issues_are_read_in_little_memory(tracker: LocalTracker) -> None:
    with tracker.connections.transaction():
        for index in range(2_000):
            tracker.create(Draft(f"t{index}", "x" * 1_000))
    tracemalloc.start()
    try:
        assert sum(1 for _ in tracker.issues()) == 2_000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_a_desk_is_opened_by_the_settings(tmp_path: Path, clock: ManualClock) -> None:
    desk: Desk = open_desk(Settings(), RepositoryPaths(tmp_path), clock, holder="ann")
    assert desk.tracker.kind == "local"
    assert desk.is_local
    with desk.hold(["issue/1"]) as held:
        assert held.token("issue/1") > 0
        assert [lease.name for lease in desk.leases.list()] == ["issue/1"]
        held.renew()
    assert desk.leases.list() == []
    desk.close()
    with pytest.raises(StoreError, match="closed"):
        desk.tracker.get(1)
