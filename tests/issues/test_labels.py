"""Labels do not contradict each other, nor the state of their Issue, and who waits for whom is never a circle."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcage.core.errors import UsageError
from rollcage.core.issues.blockers import set_blockers
from rollcage.core.issues.desk import Desk
from rollcage.core.issues.errors import IssueUpdateError
from rollcage.core.issues.issue import Draft, Issue, sorted_names
from rollcage.core.issues.label_sync import sync_labels
from rollcage.core.issues.labels import DEFINITIONS, DONE, FAILED, PRIORITY, STATUS, Repair, group_of, repair
from rollcage.core.issues.update import update_issue_with_optimistic_lock
from tests.conftest import ManualClock
from tests.issues.desks import opened, written
from tests.issues.faulty import LOST_AFTER, LOST_BEFORE, REFUSED, FaultyTracker

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def local(tmp_path: Path, clock: ManualClock) -> Iterator[Desk]:
    with opened(tmp_path, clock) as desk:
        yield desk


@pytest.fixture
def far(clock: ManualClock) -> FaultyTracker:
    return FaultyTracker(clock)


@pytest.fixture
def desk(tmp_path: Path, clock: ManualClock, far: FaultyTracker) -> Iterator[Desk]:
    with opened(tmp_path, clock, far) as desk:
        yield desk


def _issue(labels: tuple[str, ...], state: str = "open") -> Issue:
    return Issue(1, "t", "", state, sorted_names(labels), (), NOON, NOON)


@pytest.mark.parametrize(
    ("labels", "state", "added", "kept"),
    [
        (("status:waiting", "status:blocked"), "open", {}, {"status:blocked"}),
        (("status:waiting", "status:blocked"), "open", {"status:waiting": 1}, {"status:waiting"}),
        (("status:waiting", "status:failed"), "open", {"status:waiting": 2, "status:failed": 1}, {"status:waiting"}),
        (("status:odd", "status:waiting", "x"), "open", {}, {"status:waiting", "x"}),
        (("status:odd",), "open", {}, {"status:odd"}),
        (("status:review",), "closed", {}, {"status:done"}),
        (("status:failed",), "closed", {}, {"status:failed"}),
        (("bug",), "closed", {}, {"bug"}),
        (("status:done",), "open", {}, {"status:review"}),
        (("status:failed",), "open", {}, {"status:failed"}),
        (("priority:low", "Priority:High"), "open", {}, {"Priority:High"}),
    ],
)
def test_the_rules(labels: tuple[str, ...], state: str, added: dict[str, int], kept: set[str]) -> None:
    change = repair(_issue(labels, state), added)
    assert (set(labels) | set(change.add_labels)) - set(change.remove_labels) == kept


@settings(max_examples=200, deadline=None)
@given(
    st.sets(st.sampled_from([*STATUS, *PRIORITY, "status:odd", "bug", "comp:x"])),
    st.sampled_from(["open", "closed"]),
    st.dictionaries(st.sampled_from([*STATUS, *PRIORITY]), st.integers(1, 9)),
)
def test_what_was_repaired_needs_no_repair(labels: set[str], state: str, added: dict[str, int]) -> None:
    change = repair(_issue(tuple(labels), state), added)
    after = _issue(tuple((labels | set(change.add_labels)) - set(change.remove_labels)), state)
    assert not repair(after, added)
    for prefix in ("status:", "priority:"):
        assert len([label for label in after.labels if group_of(label) == prefix]) == min(
            1, len([label for label in labels if group_of(label) == prefix])
        )
    assert set(after.labels) - set(DEFINITIONS) - {"status:odd"} == labels - set(DEFINITIONS) - {"status:odd"}
    if state == "closed":
        assert {label for label in after.labels if group_of(label) == "status:"} <= {DONE, FAILED}


def test_all_are_put_right_and_defined(local: Desk) -> None:
    local.tracker.create(Draft("a", labels=("status:waiting", "status:blocked", "comp:x,y")))
    local.tracker.create(Draft("b", labels=("status:review",)))
    local.tracker.write(2, state="closed")
    local.tracker.create(Draft("c", labels=("bug",)))
    done = sync_labels(local)
    assert done.repairs == (Repair(1, (), ("status:waiting",)), Repair(2, ("status:done",), ("status:review",)))
    assert local.tracker.get(2).labels == ("status:done",)
    assert local.tracker.label_definitions()["comp:x,y"][0] == "006b75"
    assert set(DEFINITIONS) <= set(local.tracker.label_definitions())
    again = sync_labels(local)
    assert (again.repairs, again.defined, again.looked_at) == ((), (), 2)
    assert ("repair labels", "issue 2", "done") in written(local)


def test_the_newest_by_our_records_stays(desk: Desk, far: FaultyTracker) -> None:
    far.create(Draft("a", labels=("status:blocked",)))
    update_issue_with_optimistic_lock(desk, 1, {"add_labels": ["status:waiting"]})
    far.foreign(1, labels=("status:blocked", "status:waiting"))
    sync_labels(desk)
    assert far.there[1].labels == ("status:waiting",)


def test_who_is_held_comes_in_the_next_pass(local: Desk, tmp_path: Path, clock: ManualClock) -> None:
    local.tracker.create(Draft("a", labels=("status:waiting", "status:blocked")))
    with opened(tmp_path, clock, holder="bob") as bob, bob.hold(["issue/1"]):
        assert sync_labels(local).skipped == (1,)
    assert len(sync_labels(local).repairs) == 1


def test_who_waits_for_whom_is_never_a_circle(local: Desk) -> None:
    for name in "abcd":
        local.tracker.create(Draft(name))
    assert set_blockers(local, 1, add=[2]) == (2,)
    assert set_blockers(local, 2, add=[3, 4]) == (3, 4)
    with pytest.raises(UsageError, match="#3, which waits for #1, which waits for #2, which waits for #3"):
        set_blockers(local, 3, add=[4, 1])
    with pytest.raises(UsageError, match="#4, which waits for #4"):
        set_blockers(local, 4, add=[4])
    assert local.tracker.blocked_by(3) == ()
    assert set_blockers(local, 2, remove=[3], add=[1][:0]) == (4,)
    assert written(local)[-1] == ("set blockers", "issue 2", "done")


@pytest.mark.parametrize("fault", [LOST_BEFORE, LOST_AFTER])
def test_a_lost_answer_of_a_blocker_is_looked_after(desk: Desk, far: FaultyTracker, fault: str) -> None:
    far.faults["add_blocker"] = [fault]
    assert set_blockers(desk, 1, add=[2, 3]) == (2, 3)


def test_blockers_that_fail_are_taken_back(desk: Desk, far: FaultyTracker) -> None:
    far.faults["add_blocker"] = ["", REFUSED]
    with pytest.raises(IssueUpdateError, match="as they were"):
        set_blockers(desk, 1, add=[2, 3])
    assert far.blocked_by(1) == ()
