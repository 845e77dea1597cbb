"""A SQLite database is looked at, kept and brought back while others use it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from rollcage.core.config import DatabaseCheck, DatabaseSettings
from rollcage.core.data.database import MissingDatabaseError, open_database
from rollcage.core.data.sqlite import SNAPSHOT_NAME, SqliteDatabase
from rollcage.core.errors import SettingsError, StoreError

MODES = pytest.mark.parametrize("mode", ["delete", "wal"])


def make(path: Path, mode: str = "delete", rows: int = 3, page_size: int = 4096) -> SqliteDatabase:
    """Make a database of orders; return it, impatient."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"PRAGMA page_size = {page_size}")
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT)")
        connection.executemany("INSERT INTO orders (customer) VALUES (?)", [("ann",)] * rows)
    return SqliteDatabase(path, busy_wait=0.3, query_limit=0.3)


def ask(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(sql).fetchall()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "snapshot"
    folder.mkdir()
    return folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a shop's %41?#.db"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the database as a writer in the middle of its work does."""
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        writer.execute("DELETE FROM orders")
        yield


# Opening


def test_a_url_names_a_file_below_the_top_or_anywhere(tmp_path: Path) -> None:
    below = open_database(DatabaseSettings(url="sqlite:///data/app.db"), tmp_path)
    anywhere = open_database(DatabaseSettings(url="sqlite:////srv/app.db"), tmp_path)
    assert isinstance(below, SqliteDatabase)
    assert isinstance(anywhere, SqliteDatabase)
    assert (below.path, anywhere.path) == (tmp_path / "data" / "app.db", Path("/srv/app.db"))


@pytest.mark.parametrize(
    "url",
    ["oracle://me:secret@host/shop", "sqlite:///:memory:", "sqlite:///a.db?mode=ro", "sqlite://", "mysql://x"],
)
def test_other_urls_are_settings_errors_that_say_what_is_allowed(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError, match="allowed: sqlite:///FILE") as caught:
        open_database(DatabaseSettings.model_construct(url=url), tmp_path)
    assert "secret" not in str(caught.value)


# Checks


def answers(path: Path, *sql: str, expect: float = 0) -> list[tuple[float | None, str]]:
    checks = [DatabaseCheck(name=f"c{number}", sql=text, expect=expect) for number, text in enumerate(sql)]
    database = SqliteDatabase(path, checks, busy_wait=0.3, query_limit=0.3)
    errors = database.check_errors()
    assert [error.name for error in errors] == [check.name for check in checks]
    return [(error.count, error.detail) for error in errors]


@MODES
def test_a_number_counts_its_distance_and_rows_their_number(path: Path, mode: str) -> None:
    make(path, mode)
    assert answers(path, "SELECT count(*) FROM orders", "SELECT -1.5", expect=5) == [(2, ""), (6.5, "")]
    listing = ["SELECT * FROM orders", "SELECT id FROM orders WHERE id > 9", "SELECT customer FROM orders LIMIT 1"]
    assert [count for count, _ in answers(path, *listing)] == [3, 0, 1]
    assert answers(path, "PRAGMA integrity_check", "PRAGMA foreign_key_check") == [(0, ""), (0, "")]
    assert answers(path, "SELECT sum(id) FROM orders WHERE 0")[0][1].startswith("answers NULL")
    assert sorted(file.name for file in path.parent.iterdir() if file.is_file()) == [path.name], "nothing stays behind"


def test_a_query_that_fails_counts_as_an_error_and_says_why(path: Path) -> None:
    make(path)
    assert answers(path, "SELECT * FROM clients", "nonsense", "SELECT 1; SELECT 2") == [
        (1, "fails: no such table: clients"),
        (1, 'fails: near "nonsense": syntax error'),
        (1, "fails: You can only execute one statement at a time."),
    ]


def test_a_query_cannot_write_nor_reach_another_file(path: Path, tmp_path: Path) -> None:
    make(path)
    wrote = answers(path, "DELETE FROM orders", "PRAGMA query_only = OFF", "DELETE FROM orders", "DROP TABLE orders")
    assert [count for count, _ in wrote] == [1, 0, 1, 1]
    assert answers(path, f"ATTACH '{tmp_path}/new.db' AS new")[0][0] == 1
    assert ask(path, "SELECT count(*) FROM orders") == [(3,)]
    assert not (tmp_path / "new.db").exists()


def test_what_gets_no_answer_is_neither_good_nor_bad(path: Path) -> None:
    assert answers(path, "SELECT 0")[0][0] is None
    make(path)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i, i FROM n"
    assert answers(path, endless, "SELECT 0") == [(None, "took longer than 0.3 s and was stopped"), (0, "")]
    with locked(path):
        count, detail = answers(path, "SELECT count(*) FROM orders")[0]
    assert count is None
    assert "is busy: another process holds it" in detail


# Snapshot and restore


@MODES
def test_a_snapshot_brings_everything_back_into_the_open_file(path: Path, folder: Path, mode: str) -> None:
    database = make(path, mode)
    with closing(sqlite3.connect(path)) as user:
        kept = database.snapshot(folder)
        user.execute("DELETE FROM orders")
        user.execute("CREATE TABLE extra (x)")
        user.commit()
        inode = path.stat().st_ino
        database.restore(folder / kept.name, sha256=kept.sha256)
        assert user.execute("SELECT count(*) FROM orders").fetchone() == (3,)
        assert user.execute("SELECT name FROM sqlite_master").fetchall() == [("orders",)]
        assert user.execute("PRAGMA journal_mode").fetchone() == (mode,)
        user.execute("INSERT INTO orders (customer) VALUES ('bob')")
        user.commit()
    assert path.stat().st_ino == inode
    assert database.integrity() == []
    assert [file.name for file in folder.iterdir()] == [SNAPSHOT_NAME]
    assert kept.size == (folder / kept.name).stat().st_size


@MODES
def test_a_snapshot_taken_while_others_write_is_of_one_moment(path: Path, folder: Path, mode: str) -> None:
    make(path, mode, rows=20_000)
    database = SqliteDatabase(path)
    stop = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(path, timeout=30)) as writer:
            while not stop.wait(0.002):  # as many added as removed, always in one transaction
                with writer:
                    writer.execute("DELETE FROM orders WHERE id IN (SELECT id FROM orders LIMIT 50)")
                    writer.executemany("INSERT INTO orders (customer) VALUES (?)", [("bob",)] * 50)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(3):
            kept = database.snapshot(folder)
            with closing(sqlite3.connect(f"file:{folder / kept.name}?immutable=1", uri=True)) as copy:
                assert copy.execute("SELECT count(*) FROM orders").fetchone() == (20_000,)
                assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        stop.set()
        thread.join()


def test_a_writer_killed_in_the_middle_leaves_nothing_in_the_snapshot(path: Path, folder: Path) -> None:
    database = make(path, rows=5_000)
    code = (
        "import os, signal, sqlite3, sys\n"
        "writer = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "writer.execute('PRAGMA cache_size = 2')\n"
        "writer.execute('BEGIN IMMEDIATE')\n"
        "writer.execute(\"UPDATE orders SET customer = 'half done'\")\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -signal.SIGKILL
    assert Path(f"{path}-journal").stat().st_size > 0
    kept = database.snapshot(folder)
    assert ask(folder / kept.name, "SELECT count(*) FROM orders WHERE customer = 'half done'") == [(0,)]


def test_an_earlier_unfinished_snapshot_is_replaced(path: Path, folder: Path) -> None:
    (folder / f"{SNAPSHOT_NAME}.partial").write_text("half")
    (folder / SNAPSHOT_NAME).write_text("old")
    make(path).snapshot(folder)
    assert ask(folder / SNAPSHOT_NAME, "SELECT count(*) FROM orders") == [(3,)]
    assert [file.name for file in folder.iterdir()] == [SNAPSHOT_NAME]


def test_a_busy_database_is_an_error_after_a_bounded_wait_and_nothing_changes(path: Path, folder: Path) -> None:
    database = make(path)
    kept = database.snapshot(folder)
    with locked(path):
        for work in (
            lambda: database.snapshot(folder),
            lambda: database.restore(folder / kept.name),
            database.integrity,
        ):
            with pytest.raises(StoreError, match="is busy: another process holds it; end that, then try again"):
                work()
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:  # it holds off a writer, not a reader
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM orders").fetchall()
        database.snapshot(folder)
        with pytest.raises(StoreError, match="is busy"):
            database.restore(folder / kept.name)
    assert ask(path, "SELECT count(*) FROM orders") == [(3,)]


def test_a_damaged_snapshot_is_refused_and_nothing_changes(path: Path, folder: Path) -> None:
    database = make(path, rows=3_000)
    kept = database.snapshot(folder)
    file = folder / kept.name
    good = file.read_bytes()
    for offset in (0, 4096 * 3):
        file.write_bytes(good[:offset] + os.urandom(3000) + good[offset + 3000 :])
        with pytest.raises(StoreError, match=r"is damaged: .*nothing was changed"):
            database.restore(file)
    with pytest.raises(StoreError, match="SHA-256 differs; nothing was changed"):
        database.restore(file, sha256=kept.sha256)
    with pytest.raises(StoreError, match="cannot be read: No such file"):
        database.restore(folder / "nothing")
    assert ask(path, "SELECT count(*) FROM orders") == [(3_000,)]


@pytest.mark.parametrize("wreck", ["text", "header", "pages", "gone", "empty"])
@MODES
def test_a_wrecked_database_is_found_kept_as_it_is_and_brought_back(
    path: Path, folder: Path, tmp_path: Path, mode: str, wreck: str
) -> None:
    database = make(path, mode, rows=3_000)
    kept = database.snapshot(folder)
    bytes_ = bytearray(path.read_bytes())
    if wreck == "text":
        path.write_text("an agent's notes\n" * 100)
    elif wreck == "gone":
        path.unlink()
    elif wreck == "empty":
        path.write_bytes(b"")
    else:
        offset = 100 if wreck == "header" else 4096 * 2
        bytes_[offset : offset + 3000] = os.urandom(3000)
        path.write_bytes(bytes_)
    later = tmp_path / "later"
    later.mkdir()
    if wreck == "gone":
        for work in (lambda: database.snapshot(later), database.integrity):
            with pytest.raises(MissingDatabaseError, match="there is no database"):
                work()
    else:
        damaged = path.read_bytes()
        assert bool(database.integrity()) is (wreck != "empty")
        again = database.snapshot(later)
        assert bool(again.warning) is (wreck in {"text", "header"})
        if again.warning:
            assert (later / again.name).read_bytes() == damaged
    database.restore(folder / kept.name, sha256=kept.sha256)
    assert database.integrity() == []
    assert ask(path, "SELECT count(*) FROM orders") == [(3_000,)]


@MODES
def test_another_page_size_is_no_obstacle(path: Path, folder: Path, mode: str) -> None:
    database = make(path, mode)
    kept = database.snapshot(folder)
    path.unlink()
    make(path, mode, rows=9, page_size=8192)
    database.restore(folder / kept.name)
    assert ask(path, "SELECT count(*) FROM orders") == [(3,)]
    assert ask(path, "PRAGMA journal_mode") == [(mode,)]


def test_an_index_of_its_programs_own_collation_is_no_damage(path: Path, folder: Path) -> None:
    database = make(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.create_collation("german", lambda one, other: (one > other) - (one < other))
        connection.execute("CREATE INDEX by_customer ON orders (customer COLLATE german)")
        connection.execute('CREATE TABLE "it\'s" AS SELECT * FROM orders')
    assert database.integrity() == []
    kept = database.snapshot(folder)
    ask(path, "CREATE TABLE extra (x)")
    database.restore(folder / kept.name, sha256=kept.sha256)
    assert ask(path, "SELECT count(*) FROM sqlite_master WHERE name = 'extra'") == [(0,)]


def test_a_folder_that_cannot_be_written_is_a_clear_error(path: Path, tmp_path: Path) -> None:
    database = make(path)
    with pytest.raises(StoreError, match=r"snapshot of database .*: (unable|No such)|cannot be used"):
        database.snapshot(tmp_path / "nowhere")
