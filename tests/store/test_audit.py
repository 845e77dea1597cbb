"""The audit chain shows every alteration but a rewrite of all that follows, and keeps no secret."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcage.core.errors import StoreError
from rollcage.core.store.audit import AuditReport
from rollcage.core.store.paths import RepositoryPaths
from rollcage.core.store.store import Store
from tests.conftest import ManualClock

texts = st.text(max_size=30)
records = st.lists(st.tuples(texts, texts, texts, texts), min_size=2, max_size=8)
Tamper = Callable[[sqlite3.Connection, int], object]


def altered(connection: sqlite3.Connection, seq: int) -> object:
    return connection.execute('UPDATE audit SET body = replace(body, \'"who":"\', \'"who":"~\') WHERE seq = ?', (seq,))


def altered_with_its_hash(connection: sqlite3.Connection, seq: int) -> object:
    return connection.execute(
        'UPDATE audit SET body = replace(body, \'"who":"\', \'"who":"~\'), hash = ? WHERE seq = ?', ("0" * 64, seq)
    )


def no_text(connection: sqlite3.Connection, seq: int) -> object:
    return connection.execute("UPDATE audit SET body = x'00ff' WHERE seq = ?", (seq,))


def removed(connection: sqlite3.Connection, seq: int) -> object:
    return connection.execute("DELETE FROM audit WHERE seq = ?", (seq,))


def removed_and_renumbered(connection: sqlite3.Connection, seq: int) -> object:
    removed(connection, seq)
    return connection.execute("UPDATE audit SET seq = seq - 1 WHERE seq > ?", (seq,))


def put_in(connection: sqlite3.Connection, seq: int) -> object:
    connection.execute("UPDATE audit SET seq = -seq - 1 WHERE seq >= ?", (seq,))
    connection.execute("INSERT INTO audit VALUES (?, '{}', ?)", (seq, "0" * 64))
    return connection.execute("UPDATE audit SET seq = -seq WHERE seq < 0")


def everything_after_removed(connection: sqlite3.Connection, seq: int) -> object:
    return connection.execute("DELETE FROM audit WHERE seq >= ?", (seq,))


def swapped(connection: sqlite3.Connection, seq: int) -> object:
    other = 1 if seq > 1 else 2
    connection.execute("UPDATE audit SET seq = -1 WHERE seq = ?", (seq,))
    connection.execute("UPDATE audit SET seq = ? WHERE seq = ?", (seq, other))
    return connection.execute("UPDATE audit SET seq = ? WHERE seq = -1", (other,))


WAYS: tuple[Tamper, ...] = (
    altered,
    altered_with_its_hash,
    no_text,
    removed,
    removed_and_renumbered,
    put_in,
    everything_after_removed,
    swapped,
)


def tampered(written: list[tuple[str, str, str, str]], how: Tamper, where: int) -> tuple[AuditReport, AuditReport]:
    """Write records, verify, tamper, verify again."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(RepositoryPaths(Path(folder)), ManualClock())
        with store.transaction():
            for record in written:
                store.audit(*record)
        before = store.verify_audit()
        with closing(sqlite3.connect(store.paths.state_db, isolation_level=None)) as intruder:
            how(intruder, where)
        after = store.verify_audit()
        store.close()
        return before, after


@settings(max_examples=30, deadline=None)
@given(written=records, how=st.sampled_from(WAYS), data=st.data())
def test_any_tampering_is_found(written: list[tuple[str, str, str, str]], how: Tamper, data: st.DataObject) -> None:
    before, after = tampered(written, how, data.draw(st.integers(1, len(written))))
    assert before == AuditReport(True, len(written), "", before.head)
    assert not after.ok
    assert after.problem


def test_says_which_record_it_is() -> None:
    written = [("ann", "approve", f"opt-1.{n}", "") for n in range(5)]
    assert tampered(written, altered, 3)[1].problem.startswith("record 3 was altered")
    assert tampered(written, removed, 3)[1].problem == "record 3 is missing"
    assert "missing at the end" in tampered(written, everything_after_removed, 4)[1].problem


def test_an_empty_log_is_whole(store: Store) -> None:
    assert store.verify_audit().ok
    assert store.audit_records() == []


def test_records_come_back(store: Store, clock: ManualClock) -> None:
    for number in range(1, 6):
        assert store.audit("ann@host", "approve", f"opt-1.{number}", "looks right", detail={"n": number}) == number
    records = store.audit_records()
    assert [record.seq for record in records] == [1, 2, 3, 4, 5]
    assert records[0].at == clock.now()
    assert (records[0].who, records[0].what, records[0].subject) == ("ann@host", "approve", "opt-1.1")
    assert (records[0].why, records[0].outcome, records[0].detail) == ("looks right", "done", {"n": 1})
    assert records[4].hash == store.verify_audit().head
    assert [record.seq for record in store.audit_records(limit=2)] == [4, 5]
    assert [record.seq for record in store.audit_records(after=3)] == [4, 5]


def test_can_be_verified_within_a_transaction(store: Store) -> None:
    with store.transaction():
        store.audit("ann@host", "approve", "opt-1.1")
        assert store.verify_audit().records == 1
    assert store.verify_audit().ok


@pytest.mark.parametrize("padding", [0, 1990, 9995])
def test_no_secret_is_kept(store: Store, padding: int) -> None:
    """Not even the half of one where a long text is cut."""
    token = "ghp_" + "a1B2" * 9
    store.audit(
        token, "push", "https://ann:hunter2@example.com/x", "x" * padding + " " + token, detail={"env": [token]}
    )
    kept = store.audit_records()[0]
    assert "a1B2" not in repr(kept)
    assert "hunter2" not in repr(kept)


def test_texts_are_cleaned_and_anything_can_be_a_detail(store: Store, clock: ManualClock) -> None:
    detail = {
        "at": clock.now(),
        "path": Path("/a"),
        "nan": float("nan"),
        5: {"x": (1, None, True)},
        "\x1b[31mred": "\x9b1m",
    }
    store.audit("a\x1b[31mnn\n", "x", "y", detail=detail)  # type: ignore[arg-type]
    record = store.audit_records()[0]
    assert record.who == "ann"
    assert record.detail["path"] == "/a"
    assert record.detail["5"] == {"x": [1, None, True]}
    assert record.detail["red"] == ""
    assert store.verify_audit().ok


def test_a_damaged_record_is_one_clear_line(store: Store) -> None:
    store.audit("ann@host", "approve", "opt-1.1")
    with closing(sqlite3.connect(store.paths.state_db)) as intruder, intruder:
        no_text(intruder, 1)
    with pytest.raises(StoreError, match="a stored AuditRecord is damaged"):
        store.audit_records()
