"""A batch is done whole or not at all, whatever fails, and wherever its process is killed."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollcage.core.clock import Clock, SystemClock
from rollcage.core.errors import ExitCode, UsageError
from rollcage.core.issues import journal
from rollcage.core.issues.batch import Operation, batch_operation_atomically, in_order, recover, run_batch
from rollcage.core.issues.desk import Desk
from rollcage.core.issues.errors import (
    BatchOperationError,
    IsolationViolationError,
    TrackerLimitError,
    TrackerOfflineError,
)
from rollcage.core.issues.identity import without_mark
from rollcage.core.issues.inflight import LANDS_WITHIN_S
from rollcage.core.issues.issue import Draft, Issue
from rollcage.core.issues.local import LocalTracker, open_connections
from rollcage.core.issues.scope import Scope
from rollcage.core.issues.tracker import Tracker
from rollcage.core.issues.update import read_issue
from rollcage.core.store.connections import Connections
from rollcage.core.store.paths import RepositoryPaths
from tests.conftest import ManualClock
from tests.crashes import Processes
from tests.issues.desks import opened, written
from tests.issues.faulty import LOST_AFTER, LOST_BEFORE, OFFLINE, REFUSED, FaultyTracker

WORK = (
    Operation("new", "create", {"title": "made", "body": "b", "labels": ["x"]}),
    Operation("set", "update", {"number": 1, "set": {"title": "t", "body": "two\n", "labels": ["late"]}}),
    Operation("say", "comment", {"number": 2, "body": "hello"}),
    Operation("tag", "label", {"number": 2, "add": ["status:review"], "remove": ["old"]}),
    Operation("end", "close", {"number": 1}, ("set",)),
)
BAD = Operation("bad", "update", {"number": 99, "set": {"title": "t"}}, ("end", "tag"))


@pytest.fixture
def far(clock: ManualClock) -> FaultyTracker:
    return FaultyTracker(clock)


def _filled(tracker: Tracker) -> None:
    tracker.create(Draft("one", "one\n", ("bug", "status:waiting"), ("zoe",)))
    tracker.create(Draft("two", "", ("old", "status:waiting")))


@pytest.fixture
def desk(tmp_path: Path, clock: ManualClock, far: FaultyTracker) -> Iterator[Desk]:
    with opened(tmp_path, clock, far) as desk:
        _filled(far)
        far.calls.clear()
        yield desk


@pytest.fixture
def local(tmp_path: Path, clock: ManualClock) -> Iterator[Desk]:
    with opened(tmp_path, clock) as desk:
        _filled(desk.tracker)
        yield desk


@pytest.fixture(params=["desk", "local"])
def either(request: pytest.FixtureRequest) -> Desk:
    desk: Desk = request.getfixturevalue(request.param)
    return desk


def world(tracker: Tracker) -> dict[int, object]:
    """Return all that counts of the open and closed Issues; those that were withdrawn count as never made."""
    found: dict[int, object] = {}
    for issue in tracker.issues(state="all"):
        body = without_mark(issue.body)
        if "_Closed by rollcage:" in body and issue.state == "closed":
            continue
        said = [without_mark(comment.body) for comment in tracker.comments(issue.number)]
        found[issue.number] = (issue.title, body, issue.state, issue.labels, issue.assignees, said)
    return found


def _whole(tracker: Tracker) -> bool:
    now = world(tracker)
    assert len(now) == 3
    assert now[1] == ("t", "two\n", "closed", ("late",), ("zoe",), [])
    assert now[2] == ("two", "", "open", ("status:review",), (), ["hello"])
    assert now[3] == ("made", "b", "open", ("x",), (), [])
    return True


def test_all_of_it_is_done_in_order(either: Desk) -> None:
    done = batch_operation_atomically(either, WORK)
    assert (done.success, done.total_operations, done.undone_operations) == (True, 5, ())
    assert done.executed_operations == ("new", "set", "say", "tag", "end")
    assert done.numbers == {"new": 3, "set": 1, "say": 2, "tag": 2, "end": 1}
    assert _whole(either.tracker)
    assert either.leases.list() == []
    assert journal.unfinished(either.records) == []
    assert recover(either) == 0
    assert _whole(either.tracker)


def test_what_is_under_way_waits_for_limits_and_what_is_not_is_told(
    desk: Desk, far: FaultyTracker, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def booked(writes: int, *, creations: int = 0, looks: int = 0) -> AbstractContextManager[None]:
        asked.append(writes + creations)
        if len(asked) % 2 or refusing:
            raise TrackerLimitError("used up", 25.0)
        return nullcontext()

    refusing, before, begun = True, world(far), clock.boot()
    monkeypatch.setattr(far, "booked", booked)
    with pytest.raises(TrackerLimitError):
        batch_operation_atomically(desk, WORK[1:2])
    assert (world(far), clock.boot()) == (before, begun)
    refusing = False
    asked.clear()
    batch_operation_atomically(desk, WORK)
    assert _whole(far)
    assert clock.boot() - begun >= 25 * 4  # before each but the first, which asks for no turn of its own


def test_nothing_of_it_is_done_where_one_fails(either: Desk) -> None:
    before = world(either.tracker)
    with pytest.raises(BatchOperationError, match=r"'bad' of the batch failed: .*no Issue 99.*nothing") as raised:
        batch_operation_atomically(either, [*WORK, BAD])
    assert raised.value.undone == ("end", "tag", "say", "set", "new")
    assert (raised.value.left, raised.value.total, raised.value.exit_code) == ((), 6, ExitCode.UNDONE)
    assert world(either.tracker) == before
    assert either.leases.list() == []
    assert all(outcome != "left" for _, _, outcome in written(either))


def test_a_conflict_fails_the_batch_and_is_kept_for_a_human(either: Desk) -> None:
    seen = read_issue(either, 1).version
    either.tracker.write(1, title="theirs")
    before = world(either.tracker)
    late = Operation("late", "update", {"number": 1, "set": {"title": "ours"}, "expect": seen})
    with pytest.raises(BatchOperationError, match="changed by others"):
        batch_operation_atomically(either, [WORK[0], late])
    assert world(either.tracker) == before
    assert ("batch", "issue 1", "persistent_conflict") in written(either)


@pytest.mark.parametrize("method", ["create", "write", "comment", "add_label", "remove_label"])
@pytest.mark.parametrize("fault", [LOST_BEFORE, LOST_AFTER, OFFLINE, REFUSED])
def test_a_fault_at_any_request_leaves_all_or_nothing(desk: Desk, far: FaultyTracker, method: str, fault: str) -> None:
    before = world(far)
    for place in range(3):
        far.faults = {method: [*[""] * place, fault]}
        try:
            batch_operation_atomically(desk, WORK)
        except (BatchOperationError, TrackerOfflineError):
            assert fault in {OFFLINE, REFUSED}
            assert world(far) == before
        else:
            for issue in [issue for issue in far.there.values() if issue.number > 2 and issue.state == "open"]:
                del far.there[issue.number]
            far.said.clear()
            far.there[1], far.there[2] = _first(far.there[1]), _second(far.there[2])


def _first(issue: Issue) -> Issue:
    return Issue(1, "one", "one\n", "open", ("bug", "status:waiting"), ("zoe",), issue.created, issue.updated)


def _second(issue: Issue) -> Issue:
    return Issue(2, "two", "", "open", ("old", "status:waiting"), (), issue.created, issue.updated)


def test_what_cannot_be_undone_is_named(desk: Desk, far: FaultyTracker) -> None:
    far.before["add_label"] = [lambda: None, lambda: far.faults.update(delete_comment=[REFUSED], add_label=[REFUSED])]
    with pytest.raises(BatchOperationError, match="not undone, it stands: say") as raised:
        batch_operation_atomically(desk, [WORK[1], WORK[2], WORK[3]])
    assert raised.value.left == ("say",)
    assert raised.value.exit_code == ExitCode.NOT_UNDONE
    assert far.there[1].title == "one"
    assert "hello" in far.said[2][0].body
    assert recover(desk) == 0  # allowed again
    assert far.said[2] == []
    assert ("undo batch", written(desk)[-1][1], "undone") == written(desk)[-1]


def test_what_others_changed_in_the_same_lines_stands_for_good(desk: Desk, far: FaultyTracker) -> None:
    far.before["comment"] = [lambda: far.foreign(1, body="theirs\n")]
    far.faults["comment"] = [REFUSED]
    with pytest.raises(BatchOperationError) as raised:
        batch_operation_atomically(desk, [WORK[1], WORK[2]])
    assert raised.value.left == ("set",)
    assert (far.there[1].body, recover(desk)) == ("theirs\n", 0)
    assert written(desk)[-1][::2] == ("undo batch", "left")


def test_an_undoing_without_a_network_goes_on_later(desk: Desk, far: FaultyTracker) -> None:
    before = world(far)

    def cut() -> None:
        far.faults.update({name: [OFFLINE] * 50 for name in ("get", "write", "add_label", "remove_label", "comments")})

    far.before["comment"] = [cut]
    far.faults["comment"] = [OFFLINE]
    with pytest.raises(BatchOperationError) as raised:
        batch_operation_atomically(desk, WORK)
    assert "set" in raised.value.left
    assert recover(desk) > 0
    far.faults.clear()
    assert recover(desk) == 0
    assert world(far) == before


def test_what_others_made_of_it_since_stays(desk: Desk, far: FaultyTracker) -> None:
    far.foreign(1, body="one\ntwo\nthree\n")

    def meanwhile() -> None:
        far.foreign(1, body=far.there[1].body + "theirs\n", title="theirs", labels=(*far.there[1].labels, "z"))

    far.before["comment"], far.faults["comment"] = [meanwhile], [REFUSED]
    mine = Operation("set", "update", {"number": 1, "set": {"body": "ONE\ntwo\nthree\n", "title": "t"}})
    with pytest.raises(BatchOperationError):
        batch_operation_atomically(desk, [mine, WORK[2]])
    issue = far.there[1]
    assert (issue.body, issue.title) == ("one\ntwo\nthree\ntheirs\n", "theirs")
    assert issue.labels == ("bug", "status:waiting", "z")


def test_a_batch_with_an_id_is_done_once(either: Desk) -> None:
    run_batch(either, WORK, "op-7")
    run_batch(either, WORK, "op-7")
    assert _whole(either.tracker)
    with pytest.raises(BatchOperationError):
        run_batch(either, [replace(BAD, after=())], "op-8")
    assert run_batch(either, [Operation("bad", "update", {"number": 1, "set": {"title": "u"}})], "op-8").success


def test_without_a_network_nothing_was_begun(desk: Desk, far: FaultyTracker) -> None:
    for method in ("get", "issues", "create"):
        far.faults = {method: [OFFLINE]}
        with pytest.raises(TrackerOfflineError):
            batch_operation_atomically(desk, WORK if method != "get" else WORK[1:])
        assert journal.unfinished(desk.records) == []


def test_nothing_is_written_where_one_is_outside_the_competition(
    tmp_path: Path, clock: ManualClock, far: FaultyTracker
) -> None:
    far.create(Draft("mine", labels=("comp:titanic",)))
    far.create(Draft("x", labels=("comp:houses",)))
    before = dict(far.there)
    scope = Scope("ann", "titanic", "comp:titanic", "agent:ann")
    with opened(tmp_path, clock, far, scope=scope) as desk, pytest.raises(IsolationViolationError):
        batch_operation_atomically(
            desk, [{"id": "a", "op": "close", "args": {"number": 1}}, {"id": "b", "op": "close", "args": {"number": 2}}]
        )
    assert far.there == before


@pytest.mark.parametrize(
    ("operations", "said"),
    [
        ([], "no operation"),
        ([WORK[0], WORK[0]], "there twice"),
        ([Operation("a", "close", {"number": 1}, ("b",))], "comes after 'b', which is not in the batch"),
        (
            [Operation("a", "close", {"number": 1}, ("b",)), Operation("b", "close", {"number": 1}, ("a",))],
            "wait for each other: (a after b after a|b after a after b)",
        ),
        ([Operation("a", "delete", {})], "'delete'; allowed: create, update"),
        ([Operation("a", "close", {})], "other args than close takes: number"),
        ([Operation("a", "close", {"number": 0})], "no number"),
        ([Operation("a", "update", {"number": 1, "set": {}})], "names no field"),
        ([Operation("a", "create", {"title": "\n"})], "one line|empty"),
    ],
)
def test_what_is_no_batch_is_one_line(desk: Desk, operations: list[Operation], said: str) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        batch_operation_atomically(desk, operations)
    assert "\n" not in str(raised.value)
    assert desk.tracker.calls == []  # type: ignore[attr-defined]


def test_the_order_keeps_to_what_was_given_where_it_can() -> None:
    chain = [Operation(name, "close", {"number": 1}, after) for name, after in (("c", ("a",)), ("b", ()), ("a", ()))]
    assert [operation.id for operation in in_order(chain)] == ["b", "a", "c"]


# Killed anywhere.

STEPS = {"do": 1, "fail": 1} if "TORTURE_EXAMPLES" in os.environ else {"do": 2, "fail": 5}
"""Of so many places at which it can be killed it is tried at one; `make torture` tries all."""


def far_desk(folder: Path, clock: Clock) -> tuple[Any, Connections]:
    """Return a desk whose Issues lie in another file than its records: as far away as GitHub."""
    (folder / "far").mkdir(exist_ok=True)
    there = open_connections(RepositoryPaths(folder / "far"))
    return opened(folder, clock, LocalTracker(there, clock, "ann")), there


class Hasty(SystemClock):
    """Does not wait for lists that lag, here none does, nor for what may be on its way: the time is gone at once."""

    skipped = 0.0

    def boot(self) -> float:
        return super().boot() + self.skipped

    def wait(self, event: threading.Event, timeout: float) -> bool:
        self.skipped += timeout
        return event.is_set()


def act(request: Mapping[str, Any]) -> str:
    """Do the batch, or recover, in a process of its own that is killed at the given commit; see `tests.crashes`."""
    place, count = int(request["place"]), 0
    real = Connections.transaction

    @contextmanager
    def counted(connections: Connections) -> Iterator[Any]:
        nonlocal count
        outer = not connections._here.own.depth
        with real(connections) as connection:
            yield connection
        if outer:  # what was written and not committed leaves the same behind as the commit before
            count += 1
            if count == place:
                os.kill(os.getpid(), signal.SIGKILL)

    Connections.transaction = counted  # type: ignore[method-assign,assignment]
    desk_of, there = far_desk(Path(request["folder"]), Hasty())
    with desk_of as desk:
        if request["what"] == "recover":
            return str(recover(desk))
        operations = [*WORK, BAD] if request["what"] == "fail" else WORK
        try:
            batch_operation_atomically(desk, operations)
        except BatchOperationError as error:
            return f"undone {len(error.left)} {count}"
    there.close()
    return f"done {count}"


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    server = Processes("tests.issues.test_batch")
    yield server
    server.close()


@pytest.mark.parametrize("what", ["do", "fail"])
def test_killed_anywhere_it_ends_whole_or_not_at_all(tmp_path: Path, processes: Processes, what: str) -> None:
    place, ends = 1, set()
    template = tmp_path / "template"
    template.mkdir()
    desk_of, there = far_desk(template, Hasty())
    with desk_of as desk:
        _filled(desk.tracker)
        before = world(desk.tracker)
    there.close()
    while True:
        folder = tmp_path / f"{what}-{place}"
        shutil.copytree(template, folder)
        processes.begin(what=what, folder=str(folder), place=place)
        killed, said = processes.end()
        if killed:
            processes.begin(what="recover", folder=str(folder), place=place // 2 or 1)  # and killed again
            processes.end()
        desk_of, there = far_desk(folder, Hasty())
        with desk_of as desk:
            recover(desk)
            desk.clock.wait(threading.Event(), LANDS_WITHIN_S)
            assert recover(desk) in {0, 1}  # a creation may be too young to be given up
            assert journal.unfinished(desk.records) == []
            now = world(desk.tracker)
            assert now == before or _whole(desk.tracker), f"half a batch, killed at {place}"
            ends.add(now == before)
            assert desk.records.verify_audit().ok
            if what == "fail":
                assert now == before
            if not killed:
                assert said.startswith("done" if what == "do" else "undone 0")
        there.close()
        if not killed:
            break
        place += STEPS[what]
    assert place > 20
    assert ends == ({True, False} if what == "do" else {True})
