"""There is never a second Issue of one identity, whatever is lost on the way, and whoever dies."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcage.core.clock import SystemClock
from rollcage.core.errors import LeaseError, UsageError
from rollcage.core.issues.create import (
    DUPLICATE,
    WITHDRAWN,
    create_issue_atomically,
    heal_twins,
    recover_creations,
)
from rollcage.core.issues.desk import Desk
from rollcage.core.issues.errors import (
    IssueUpdateError,
    OutcomeUnknownError,
    ScopeViolationError,
    TrackerOfflineError,
    TrackerRefusedError,
)
from rollcage.core.issues.identity import identity, mark_of, marked, title_key, without_mark
from rollcage.core.issues.issue import Draft
from rollcage.core.issues.label_sync import sync_labels
from rollcage.core.issues.records import SENT, Intent
from rollcage.core.issues.scope import Scope
from tests.conftest import ManualClock
from tests.issues.desks import audited, opened, written
from tests.issues.faulty import LOST_AFTER, LOST_BEFORE, OFFLINE, REFUSED, FaultyTracker


@pytest.fixture
def far(clock: ManualClock) -> FaultyTracker:
    return FaultyTracker(clock)


@pytest.fixture
def desk(tmp_path: Path, clock: ManualClock, far: FaultyTracker) -> Iterator[Desk]:
    with opened(tmp_path, clock, far) as desk:
        yield desk


@pytest.fixture
def local(tmp_path: Path, clock: ManualClock) -> Iterator[Desk]:
    with opened(tmp_path, clock) as desk:
        yield desk


@pytest.mark.parametrize("kind", ["desk", "local"])
def test_the_same_task_is_one_issue(kind: str, request: pytest.FixtureRequest) -> None:
    desk: Desk = request.getfixturevalue(kind)
    first = create_issue_atomically(desk, "[titanic] ann: Fix it", "body", ["comp:titanic", "agent:ann"], ["zoe"])
    assert first.created
    assert first.issue.labels == ("agent:ann", "comp:titanic")
    assert without_mark(first.issue.body) == "body"
    again = create_issue_atomically(desk, "  [Titanic]  ANN: ﬁx it", "other", ["agent:ann", "x", "COMP:titanic"])
    assert (again.created, again.reason, again.issue.number) == (False, DUPLICATE, first.issue.number)
    other = create_issue_atomically(desk, "[titanic] ann: Fix it", labels=["comp:titanic", "agent:bob"])
    assert other.created
    desk.tracker.write(first.issue.number, state="closed")
    assert create_issue_atomically(desk, "[titanic] ann: fix it", labels=["comp:titanic", "agent:ann"]).created
    assert [what for what, _, _ in written(desk)] == ["create issue"] * 3
    assert desk.records.intents() == []
    assert desk.leases.list() == []


def test_who_created_what_is_in_the_audit_with_its_token(local: Desk) -> None:
    number = create_issue_atomically(local, "t", "b", ["x"]).issue.number
    record = audited(local)[0]
    assert (record.who, record.subject, record.outcome) == ("ann", f"issue {number}", "done")
    assert record.detail["after"] == {"title": "t", "body": "b", "state": "open", "labels": ["x"], "assignees": []}
    assert isinstance(record.detail["token"], int)


@pytest.mark.parametrize("outcome", [LOST_BEFORE, LOST_AFTER])
@pytest.mark.parametrize("lag", [0, 1, 4])
def test_a_lost_answer_makes_no_second_issue(desk: Desk, far: FaultyTracker, outcome: str, lag: int) -> None:
    far.faults["create"], far.lag = [outcome], lag
    made = create_issue_atomically(desk, "t", labels=["status:waiting"])
    assert made.created
    assert [issue.title for issue in far.there.values()] == ["t"]
    assert far.calls.count("create") == (2 if outcome == LOST_BEFORE else 1)


def test_two_that_both_came_through_are_one_in_the_end(desk: Desk, far: FaultyTracker) -> None:
    far.faults["create"], far.lag = [LOST_AFTER], 6  # the lists show it only after the second request
    made = create_issue_atomically(desk, "t", "body")
    assert sorted(far.there) == [1, 2]
    far.lag = 0
    assert sync_labels(desk).twins == (2,)
    assert heal_twins(desk) == []
    assert [issue.state for _, issue in sorted(far.there.items())] == ["open", "closed"]
    assert f"{WITHDRAWN} a duplicate of #1._" in far.there[2].body
    assert mark_of(far.there[2].body) == mark_of(made.issue.body)
    again = create_issue_atomically(desk, "t")
    assert (again.created, again.issue.number) == (False, 1)


def test_a_copied_mark_closes_nobodys_issue(desk: Desk, far: FaultyTracker) -> None:
    foreign = far.create(Draft("theirs", "text"))
    mine = create_issue_atomically(desk, "mine", "body").issue
    far.foreign(foreign.number, body=mine.body)
    assert heal_twins(desk) == []
    quoted = create_issue_atomically(desk, "quoting", mine.body).issue
    assert mark_of(quoted.body) not in {None, mark_of(mine.body)}
    far.foreign(foreign.number, title="mine", body=marked("x", "0" * 32))
    assert heal_twins(desk) == []
    assert all(issue.state == "open" for issue in far.there.values())


def test_a_mark_is_found_though_others_wrote_below_it(desk: Desk, far: FaultyTracker) -> None:
    far.faults["create"], far.lag = [LOST_AFTER], 1
    far.after["create"] = [lambda: far.foreign(1, body=far.there[1].body + "\n\na line of theirs")]
    made = create_issue_atomically(desk, "t", "body")
    assert sorted(far.there) == [made.issue.number]
    mark, far.lag = "c" * 32, 0
    desk.records.intend(Intent(mark, identity("u", ()), Draft("u"), "ann", "done", desk.clock.now(), 2))
    for _ in range(2):
        far.create(Draft("u", marked("x", mark) + "\r\nmore of theirs"))
    assert heal_twins(desk) == [3]


def test_a_mark_copied_into_an_older_issue_that_was_given_the_same_name_closes_nothing(
    desk: Desk, far: FaultyTracker, clock: ManualClock
) -> None:
    foreign = far.create(Draft("theirs", "text"))
    clock.advance(3 * 3_600)
    mine = create_issue_atomically(desk, "mine", "body").issue
    far.foreign(foreign.number, title="mine", body=mine.body + "\nquoted")
    assert heal_twins(desk) == []
    assert all(issue.state == "open" for issue in far.there.values())


def test_an_answer_that_has_it_all_is_not_read_again(desk: Desk, far: FaultyTracker) -> None:
    create_issue_atomically(desk, "t", "body", ["a"], ["zoe"])
    assert far.calls == ["issues", "create"]


def test_what_the_lists_do_not_show_yet_is_known_by_its_number(desk: Desk, far: FaultyTracker) -> None:
    far.lag = 1_000
    first = create_issue_atomically(desk, "t")
    again = create_issue_atomically(desk, "t")
    assert (again.created, again.issue.number) == (False, first.issue.number)


def test_an_issue_of_others_counts_as_a_duplicate(desk: Desk, far: FaultyTracker) -> None:
    far.create(Draft("Fix  IT"))
    far.create(Draft("fix it", labels=("comp:x",)))
    assert create_issue_atomically(desk, "fix it").issue.number == 1


@pytest.mark.parametrize(("fault", "error"), [(OFFLINE, TrackerOfflineError), (REFUSED, TrackerRefusedError)])
def test_where_nothing_was_sent_nothing_is_left(
    desk: Desk, far: FaultyTracker, fault: str, error: type[Exception]
) -> None:
    far.faults["create"] = [fault]
    with pytest.raises(error):
        create_issue_atomically(desk, "t")
    assert far.there == {}
    assert desk.records.intents() == []
    assert create_issue_atomically(desk, "t").created


def test_what_nobody_can_tell_is_said_and_found_later(desk: Desk, far: FaultyTracker, clock: ManualClock) -> None:
    far.faults["create"], far.lag = [LOST_AFTER, LOST_BEFORE], 50
    with pytest.raises(OutcomeUnknownError, match="not known"):
        create_issue_atomically(desk, "t")
    far.lag = 0
    again = create_issue_atomically(desk, "t")
    assert (again.created, again.issue.number) == (False, 1)
    assert len(far.there) == 1


def test_an_intent_of_a_dead_process_is_brought_to_its_end(desk: Desk, far: FaultyTracker, clock: ManualClock) -> None:
    for name, sent in (("a" * 32, True), ("b" * 32, False)):
        desk.records.intend(Intent(name, identity(name, ()), Draft(name, "x", ("l",)), "dead", SENT, clock.now()))
        if sent:
            far.create(Draft(name, marked("x", name)))
    assert recover_creations(desk) == 1  # too young to be given up
    clock.advance(120)
    assert recover_creations(desk) == 0
    done, failed = desk.records.intent("a" * 32), desk.records.intent("b" * 32)
    assert done is not None
    assert failed is not None
    assert (done.state, done.number, failed.state) == ("done", 1, "failed")
    assert far.there[1].labels == ("l",)  # what its request did not bring


def test_what_the_tracker_does_not_take_closes_the_issue_again(desk: Desk, far: FaultyTracker) -> None:
    far.untakable = frozenset({"nobody"})
    with pytest.raises(IssueUpdateError, match="does not take nobody: it is closed again"):
        create_issue_atomically(desk, "t", "b", [], ["nobody"])
    assert far.there[1].state == "closed"
    assert WITHDRAWN in far.there[1].body
    assert desk.records.intents() == []


def test_a_body_too_long_for_its_mark_is_refused(desk: Desk, local: Desk) -> None:
    with pytest.raises(UsageError, match="allowed: at most 65,4"):
        create_issue_atomically(desk, "t", "x" * 65_536)
    assert create_issue_atomically(local, "t", "x" * 65_536).created


def test_nothing_is_written_outside_the_competition(desk: Desk, far: FaultyTracker) -> None:
    scope = Scope("ann", "titanic", "comp:titanic", "agent:ann", others=(("houses", "comp:houses"),))
    with opened(Path(str(desk.connections.path.parent)), desk.clock, far, scope=scope) as agents:  # type: ignore[union-attr]
        with pytest.raises(ScopeViolationError):
            create_issue_atomically(agents, "[houses] ann: x", labels=["comp:houses"])
        assert far.calls == []
        made = create_issue_atomically(agents, "x").issue
    assert made.labels == ("agent:ann", "comp:titanic")


def test_many_at_once_make_one(tmp_path: Path) -> None:
    results: list[bool] = []

    def work() -> None:
        with opened(tmp_path, SystemClock()) as desk:
            results.append(create_issue_atomically(desk, "the one").created)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False] * 7 + [True]


def test_who_cannot_have_the_lock_is_told(desk: Desk, tmp_path: Path, clock: ManualClock) -> None:
    name = f"issue-create/{identity('t', ())}"
    with (
        opened(tmp_path, clock, holder="bob") as other,
        other.hold([name]),
        pytest.raises(LeaseError, match="bob"),
        desk.hold([name], wait=0),
    ):
        raise AssertionError


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=40))
def test_a_title_is_the_same_however_it_is_written(title: str) -> None:
    key = title_key(title)
    assert title_key(key) == key
    assert title_key(f"  {title.upper()}\t") in {title_key(title.upper()), title_key(title.upper().strip())}
    assert title_key(title.replace(" ", "\u00a0 ")) == key


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=60))
def test_only_the_mark_at_the_very_end_counts(body: str) -> None:
    mark, other = "a" * 32, "b" * 32
    assert mark_of(marked(marked(body, other), mark)) == mark
    assert without_mark(marked(body, mark)) == body
    assert mark_of(marked("x", mark).replace("\n", "\r\n")) == mark
