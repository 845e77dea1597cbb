"""A database that cannot be used says so in one line that tells what to do; migrations run once and whole."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rollcage.core.errors import StoreError
from rollcage.core.store.database import connect
from rollcage.core.store.paths import RepositoryPaths
from rollcage.core.store.store import Store
from tests.conftest import ManualClock

ONE = "CREATE TABLE a (x); INSERT INTO a VALUES (1)"
TWO = "ALTER TABLE a ADD COLUMN y"


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


class TestMigrations:
    """The schema goes forward, step by step."""

    def test_run_once_each(self, tmp_path: Path) -> None:
        path = tmp_path / "odd? %41 #name.db"
        connect(str(path), (ONE,), synchronous="FULL").close()
        assert path.exists()
        with closing(connect(str(path), (ONE, TWO), synchronous="FULL")) as connection:
            assert connection.execute("SELECT x, y FROM a").fetchall() == [(1, None)]
        assert version(path) == 2

    def test_that_fail_leave_the_schema_as_it_was(self, tmp_path: Path) -> None:
        path = tmp_path / "a.db"
        connect(str(path), (ONE,), synchronous="FULL").close()
        with pytest.raises(StoreError, match="no such table: b"):
            connect(str(path), (ONE, f"{TWO}; INSERT INTO b VALUES (1)"), synchronous="FULL")
        with closing(connect(str(path), (ONE,), synchronous="FULL")) as connection:
            assert connection.execute("SELECT * FROM a").fetchall() == [(1,)]

    def test_of_a_newer_rollcage_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a.db"
        connect(str(path), (ONE, TWO), synchronous="FULL").close()
        with pytest.raises(StoreError, match=r"newer rollcage \(schema 2, this one knows 1\); update rollcage"):
            connect(str(path), (ONE,), synchronous="FULL")

    def test_are_not_run_by_a_reader(self, tmp_path: Path) -> None:
        path = tmp_path / "a.db"
        connect(str(path), (ONE,), synchronous="FULL").close()
        with pytest.raises(StoreError, match="of an older rollcage"):
            connect(str(path), (ONE, TWO), synchronous="FULL", read_only=True)
        with pytest.raises(StoreError, match="cannot be opened"):
            connect(str(tmp_path / "none.db"), (ONE,), synchronous="FULL", read_only=True)
        assert not (tmp_path / "none.db").exists()


class TestErrors:
    """One line: what is wrong, where, what was kept, what to do."""

    def test_are_durable_by_pragma(self, store: Store) -> None:
        with store._connections.reading() as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert connection.execute("PRAGMA synchronous").fetchone() == (2,)

    def test_locked(self, store: Store, paths: RepositoryPaths, clock: ManualClock) -> None:
        store.append_event("phase", {})
        hasty = Store.open(paths, clock, busy_timeout=0.05)
        with closing(sqlite3.connect(paths.state_db, isolation_level=None)) as blocker:
            blocker.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match=r"state\.db is locked by another process.*try again") as caught:
                hasty.append_event("phase", {})
            assert hasty.last_seq() == 1
        assert "\n" not in str(caught.value)
        assert hasty.append_event("phase", {}).seq == 2
        hasty.close()

    def test_damaged(self, paths: RepositoryPaths, clock: ManualClock) -> None:
        paths.state_db.write_bytes(b"this is no database" * 1000)
        with pytest.raises(StoreError, match=r"state\.db is damaged .*keep a copy"):
            Store.open(paths, clock)

    def test_no_folder(self, tmp_path: Path, clock: ManualClock) -> None:
        with pytest.raises(StoreError, match="cannot be opened"):
            Store.open(RepositoryPaths(tmp_path / "none"), clock)

    def test_a_damaged_noun(self, store: Store) -> None:
        with store._connections.transaction() as connection:
            connection.execute("INSERT INTO incident (id, open, body) VALUES ('inc-1', 1, '{\"id\": 5}')")
        with pytest.raises(StoreError, match="a stored Incident is damaged at id"):
            store.incident("inc-1")
