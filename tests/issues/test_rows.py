"""Agents may write ``issues.db``: a row that rollcage cannot have written is an error of one line, never a defect."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from rollcage.core.config import Settings
from rollcage.core.errors import RollcageError, StoreError
from rollcage.core.issues import journal, outbox
from rollcage.core.issues.courier import Courier
from rollcage.core.issues.create import create_issue_atomically
from rollcage.core.issues.desk import Desk
from rollcage.core.issues.issue import Draft, Issue
from rollcage.core.issues.journal import Operation
from rollcage.core.issues.notify import pending, queue
from rollcage.core.issues.records import Intent
from rollcage.core.store.paths import RepositoryPaths
from rollcage.core.store.store import Store
from tests.conftest import ManualClock

from .desks import opened

READ: dict[str, Callable[[Desk], object]] = {
    "issue": lambda desk: desk.tracker.get(1),
    "issue_label": lambda desk: list(desk.tracker.issues()),
    "comment": lambda desk: list(desk.tracker.comments(1)),
    "seen": lambda desk: desk.records.seen(1, "v"),
    "intent": lambda desk: desk.records.intent("i"),
    "batch_step": lambda desk: journal.find(desk.records, "b"),
    "outbox": lambda desk: outbox.find(desk.records, "op-1"),
    "last_seen": lambda desk: outbox.all_seen(desk.records),
    "notification": lambda desk: pending(desk.records),
}
"""What reads the rows of a table."""
HOSTILE = ("\x1b[31mX", "", -1, b"\xff", "null", "[]", "{}", '{"a":', "[[[1], 2, 3, 4]]", "[1, 2, 3, 4, 5]", None)
MUST = {
    "issue": ("title", b"\xff"),
    "issue_label": ("name", b"\xff"),
    "comment": ("created", "x"),
    "seen": ("body", "[1, 2, 3, 4, 5]"),
    "intent": ("draft", "{}"),
    "batch_step": ("inverse", '[{"number": 1}]'),
    "outbox": ("args", "[]"),
    "last_seen": ("at", "x"),
    "notification": ("agent", "../../elsewhere"),
}
"""For each table something that must be refused."""


def fill(desk: Desk) -> None:
    """Put a row into each table."""
    issue: Issue = create_issue_atomically(desk, "fit", labels=["agent:miner"]).issue
    desk.tracker.comment(1, "text")
    with desk.records.connected() as connection:
        connection.execute("INSERT INTO seen (number, version, body) SELECT 1, 'v', body FROM seen LIMIT 1")
    desk.records.intend(Intent("i", "identity", Draft("fit"), "ann", "done", issue.created))
    journal.begin(desk.records, "b", "ann", [Operation("a", "close", {"number": 1})])
    journal.begun(desk.records, "b", 0, {"number": 1, "new": {"state": "closed"}, "old": {"state": "open"}})
    outbox.put(desk.records, "there", "ann", None, "update", {"number": 1, "updates": {}, "expect": None}, {"1": issue})
    outbox.remember(desk.records, [issue])


@pytest.mark.parametrize("table", READ)
def test_a_row_that_rollcage_did_not_write_is_an_error_of_one_line(
    table: str, tmp_path: Path, clock: ManualClock
) -> None:
    with opened(tmp_path, clock) as desk:
        fill(desk)
        READ[table](desk)
        with desk.records.reading() as connection:
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        for column in columns:
            for value in HOSTILE:
                with suppress(StoreError, _Undo), desk.records.connected() as connection:
                    connection.execute(f"UPDATE {table} SET {column} = ?", (value,))
                    with suppress(RollcageError):
                        READ[table](desk)
                    raise _Undo
        column, wrong = MUST[table]
        with desk.records.connected() as connection:
            connection.execute(f"UPDATE {table} SET {column} = ?", (wrong,))
        with pytest.raises(StoreError) as refused:
            READ[table](desk)
        assert "\n" not in str(refused.value)


class _Undo(Exception):
    pass


def test_the_engine_goes_on_beside_hostile_notifications_and_audit_records(tmp_path: Path, clock: ManualClock) -> None:
    paths = RepositoryPaths(tmp_path / "state" / "of" / "it")
    paths.root.mkdir(parents=True)
    with opened(paths.root, clock) as desk:
        queue(desk.records, "miner", "look", sender="ann")
        with desk.records.connected() as connection:
            connection.execute("UPDATE notification SET agent = '../../../elsewhere'")
            connection.execute("INSERT INTO audit VALUES (7, 'no JSON', 'x')")
    courier = Courier(Settings(), paths, Store.open(paths, clock), clock, None)
    with pytest.raises(StoreError, match="notification 1 in"):
        courier.look()
    courier.close()
    assert not [*tmp_path.rglob("elsewhere")]
