"""What is remembered of Issues: who wrote what, which versions were seen; and long loads after which all agrees."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rollcage.core.issues import records
from rollcage.core.issues.batch import Operation, batch_operation_atomically, recover
from rollcage.core.issues.create import create_issue_atomically
from rollcage.core.issues.desk import Desk
from rollcage.core.issues.errors import BatchOperationError, ConcurrencyConflictError, IssueUpdateError
from rollcage.core.issues.identity import identity, without_mark
from rollcage.core.issues.issue import FIELDS, Draft, Issue
from rollcage.core.issues.label_sync import sync_labels
from rollcage.core.issues.labels import STATUS, repair
from rollcage.core.issues.records import VERSIONS, Intent
from rollcage.core.issues.update import read_issue, update_issue_with_optimistic_lock
from tests.conftest import ManualClock
from tests.issues.desks import audited, opened
from tests.issues.faulty import LOST_AFTER, LOST_BEFORE, OFFLINE, REFUSED, FaultyTracker

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def local(tmp_path: Path, clock: ManualClock) -> Iterator[Desk]:
    with opened(tmp_path, clock) as desk:
        yield desk


def _issue(number: int, title: str, body: str = "") -> Issue:
    return Issue(number, title, body, "open", ("a,b",), ("zoe",), NOON, NOON)


def test_a_version_that_was_seen_can_be_told(local: Desk) -> None:
    issue = local.records.saw(_issue(1, "Łódź", "b\r\n"))
    local.records.saw(issue)
    assert local.records.seen(1, issue.version) == {
        "title": "Łódź",
        "body": "b\r\n",
        "state": "open",
        "labels": ("a,b",),
        "assignees": ("zoe",),
    }
    assert local.records.seen(2, issue.version) is None


def test_only_the_newest_versions_are_kept(local: Desk, tmp_path: Path) -> None:
    other = local.records.saw(_issue(2, "other"))
    with local.records.transaction():
        seen = [local.records.saw(_issue(1, f"t{index}")) for index in range(3 * VERSIONS)]
    assert local.records.seen(1, seen[-VERSIONS].version) is not None
    assert local.records.seen(1, seen[0].version) is None
    assert local.records.seen(2, other.version) is not None
    with sqlite3.connect(tmp_path / "issues.db") as connection:
        count = connection.execute("SELECT COUNT(*) FROM seen WHERE number = 1").fetchone()[0]
    connection.close()
    assert VERSIONS <= count <= VERSIONS + 8


def test_an_altered_record_breaks_the_chain(local: Desk, tmp_path: Path) -> None:
    create_issue_atomically(local, "t")
    update_issue_with_optimistic_lock(local, 1, {"title": "u"})
    assert local.records.verify_audit().ok
    with sqlite3.connect(tmp_path / "issues.db") as connection:
        connection.execute("UPDATE audit SET body = replace(body, 'ann', 'bob') WHERE seq = 1")
    connection.close()
    report = local.records.verify_audit()
    assert (report.ok, report.problem) == (False, "record 1 was altered, or does not follow the one before it")


def test_no_secret_and_no_escape_gets_into_the_records(local: Desk) -> None:
    token = "ghp_" + "a1" * 20
    create_issue_atomically(local, "t", f"push with {token} \x1b[31m now")
    record = json.dumps(dict(audited(local)[0].detail))
    assert token not in record
    assert "\\u001b" not in record
    assert "***" in record


def test_intents_are_known_until_they_end(local: Desk, clock: ManualClock) -> None:
    intent = Intent("a" * 32, identity("t", ()), Draft("t", "b", ("l",), ("p",)), "ann", "sent", clock.now())
    local.records.intend(intent)
    assert local.records.intents() == local.records.intents(intent.identity) == [intent]
    assert local.records.has_unfinished()
    local.records.intend(Intent(intent.id, intent.identity, intent.draft, "ann", "done", clock.now(), 7))
    assert local.records.intents() == []
    assert local.records.intents(intent.identity)[0].number == 7
    assert not local.records.has_unfinished()


class Writers(RuleBasedStateMachine):
    """Writers through rollcage, with old and new views, and foreign ones that save whole fields at bad moments."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.clock = ManualClock()
        self.far = FaultyTracker(self.clock)
        self.manager = opened(Path(self.folder.name), self.clock, self.far)
        self.desk = self.manager.__enter__()
        self.far.create(Draft("t", "".join(f"{line}\n" for line in range(6))))
        self.views = [read_issue(self.desk, 1)]
        self.lines = {line: f"{line}" for line in range(6)}
        """What each line must be now, by those that were told that they wrote it, and by foreign saves."""
        self.labels: set[str] = set()

    @rule()
    def look(self) -> None:
        self.views = [*self.views[-3:], read_issue(self.desk, 1)]

    @rule(view=st.integers(0, 3), line=st.integers(0, 5), fault=st.sampled_from(["", "", "", LOST_BEFORE, LOST_AFTER]))
    def write_a_line(self, view: int, line: int, fault: str) -> None:
        seen = self.views[view % len(self.views)]
        lines = seen.body.split("\n")
        lines[line] += "+"
        self.far.faults = {"write": [fault]}
        try:
            update_issue_with_optimistic_lock(self.desk, 1, {"body": "\n".join(lines)}, expected=seen.version)
        except ConcurrencyConflictError as conflict:
            assert conflict.theirs["body"] == self.far.there[1].body  # noqa: PT017
        else:
            assert self.lines[line] in {lines[line], lines[line][:-1]}, "an update of somebody was lost"
            self.lines[line] = lines[line]

    @rule(line=st.integers(0, 5), mine=st.integers(0, 5))
    def write_while_somebody_saves_the_whole_body(self, line: int, mine: int) -> None:
        def foreign() -> None:
            lines = self.far.there[1].body.split("\n")
            lines[line] += "*"
            self.lines[line] = lines[line]
            self.far.foreign(1, body="\n".join(lines))

        lines = self.far.there[1].body.split("\n")
        lines[mine] += "+"
        self.far.faults = {}
        self.far.before["write"] = [foreign]
        try:
            update_issue_with_optimistic_lock(self.desk, 1, {"body": "\n".join(lines)})
        except ConcurrencyConflictError as conflict:
            assert mine == line
            assert conflict.theirs == {"body": self.far.there[1].body}  # noqa: PT017
        else:
            assert mine != line
            self.lines[mine] = lines[mine]
        self.far.before.clear()

    @rule(view=st.integers(0, 3), name=st.sampled_from("abc"), foreign=st.booleans())
    def label(self, view: int, name: str, foreign: bool) -> None:
        seen = self.views[view % len(self.views)]
        if foreign:
            self.far.after["add_label"] = [lambda: self.far.foreign(1, labels=(*self.labels, "z"))]
            self.labels |= {"z"} if name not in self.far.there[1].labels else set()
        update_issue_with_optimistic_lock(self.desk, 1, {"labels": [*seen.labels, name]}, expected=seen.version)
        self.labels |= {name} if name not in seen.labels else set()
        self.far.after.clear()

    @invariant()
    def nothing_is_lost(self) -> None:
        assert self.far.there[1].body == "".join(f"{self.lines[line]}\n" for line in range(6))
        assert self.labels <= set(self.far.there[1].labels)

    def teardown(self) -> None:
        assert self.desk.records.verify_audit().ok
        self.manager.__exit__(None, None, None)
        self.folder.cleanup()


TestWriters = Writers.TestCase
TestWriters.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)


@pytest.mark.parametrize("kind", ["local", "far"])
def test_after_a_day_of_mixed_load_all_agrees(tmp_path: Path, clock: ManualClock, kind: str) -> None:
    far = FaultyTracker(clock)
    dice = random.Random(7)
    acknowledged: dict[int, dict[str, object]] = {}
    titles: set[str] = set()
    with opened(tmp_path, clock, None if kind == "local" else far) as desk:
        for turn in range(150):
            clock.advance(24 * 3600 / 150)
            if kind == "far" and dice.random() < 0.3:
                method = dice.choice(["create", "write", "add_label", "remove_label", "comment", "get", "issues"])
                far.faults = {method: [dice.choice([LOST_BEFORE, LOST_AFTER, OFFLINE, REFUSED])]}
            else:
                far.faults = {}
            _one_of_the_day(desk, dice, turn, acknowledged, titles)
        far.faults = {}
        clock.advance(600)
        assert recover(desk) == 0
        sync_labels(desk)
        assert sync_labels(desk).repairs == ()
        there = {issue.number: issue for issue in desk.tracker.issues(state="all")}
        for number, fields in acknowledged.items():
            assert {name: _plain(getattr(there[number], name)) for name in fields} == fields
        open_ones = [issue for issue in there.values() if issue.state == "open"]
        assert len({identity(issue.title, issue.labels) for issue in open_ones}) == len(open_ones)
        assert not any(repair(issue, {}) for issue in there.values())
        assert _last_of_the_records(desk) == {
            number: {name: value for name, value in _fields(there[number]).items() if name in fields}
            for number, fields in _last_of_the_records(desk).items()
        }
        assert desk.leases.list() == []
        assert desk.records.verify_audit().ok


def _one_of_the_day(
    desk: Desk, dice: random.Random, turn: int, acknowledged: dict[int, dict[str, object]], titles: set[str]
) -> None:
    numbers = sorted(acknowledged)
    try:
        match dice.choice(["create", "again", "update", "status", "close", "batch", "failing", "sync"]):
            case "create":
                made = create_issue_atomically(desk, f"task {turn}", f"do {turn}", ["agent:ann", "status:waiting"])
                titles.add(made.issue.title)
                acknowledged[made.issue.number] = {"title": f"task {turn}"}
            case "again" if titles:
                title = dice.choice(sorted(titles))
                made = create_issue_atomically(desk, title, "again", ["agent:ann"])
                acknowledged.setdefault(made.issue.number, {})["title"] = made.issue.title
            case "update" if numbers:
                number = dice.choice(numbers)
                update_issue_with_optimistic_lock(desk, number, {"body": f"body {turn}"})
                acknowledged[number]["body"] = f"body {turn}"
            case "status" if numbers:
                number = dice.choice(numbers)
                update_issue_with_optimistic_lock(desk, number, {"add_labels": [dice.choice(STATUS)]})
            case "close" if numbers:
                number = dice.choice(numbers)
                update_issue_with_optimistic_lock(desk, number, {"state": "closed", "title": f"closed {turn}"})
                acknowledged[number] |= {"state": "closed", "title": f"closed {turn}"}
            case "batch" if len(numbers) > 1:
                one, other = dice.sample(numbers, 2)
                wanted = Operation("b", "update", {"number": other, "set": {"title": f"batch {turn}"}}, ("a",))
                batch_operation_atomically(
                    desk, [wanted, Operation("a", "label", {"number": one, "add": [f"l{turn}"]})]
                )
                acknowledged[other]["title"] = f"batch {turn}"
            case "failing" if numbers:
                bad = Operation("a", "update", {"number": dice.choice(numbers), "set": {"title": "never"}})
                batch_operation_atomically(desk, [bad, Operation("b", "close", {"number": 9_999}, ("a",))])
                raise AssertionError("there is no Issue 9999")
            case "sync":
                sync_labels(desk)
    except (IssueUpdateError, BatchOperationError) as error:
        assert "stands" not in str(error)  # noqa: PT017
    except Exception as error:
        if type(error).__name__ not in {"TrackerOfflineError", "TrackerRefusedError", "OutcomeUnknownError"}:
            raise


def _plain(value: object) -> object:
    return without_mark(value) if isinstance(value, str) else value


def _fields(issue: Issue) -> dict[str, object]:
    found = {name: getattr(issue, name) for name in FIELDS}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def _last_of_the_records(desk: Desk) -> dict[int, dict[str, object]]:
    """Return what the records say that each Issue is now: the titles and states that were written last."""
    found: dict[int, dict[str, object]] = {}
    for record in audited(desk):
        after = record.detail.get("after")
        if record.subject.startswith("issue ") and record.outcome == "done" and isinstance(after, dict):
            fields = {name: value for name, value in after.items() if name in {"title", "state", "labels", "assignees"}}
            found.setdefault(int(record.subject.split()[1]), {}).update(fields)
    return found


def test_of_many_creations_only_the_newest_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "INTENTS", 2)
    clock = ManualClock()
    with opened(tmp_path, clock, FaultyTracker(clock)) as desk:
        for number in range(4):
            create_issue_atomically(desk, f"one {number}")
            clock.advance(1)
        desk.records.forget_intents()
        with desk.records.reading() as connection:
            (left,) = connection.execute("SELECT COUNT(*) FROM intent").fetchone()
        assert 1 <= left <= 3
        assert not create_issue_atomically(desk, "one 0").created  # it is open: a duplicate all the same
