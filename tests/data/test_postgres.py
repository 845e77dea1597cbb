"""A PostgreSQL database is looked at, kept and brought back while others use it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from rollcage.core.config import DatabaseCheck, DatabaseSettings
from rollcage.core.data.database import MissingDatabaseError, open_database
from rollcage.core.data.postgres import SNAPSHOT_NAME, PostgresDatabase
from rollcage.core.errors import SettingsError, StoreError
from tests.postgres import Server

SCHEMA = """
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE orders (id integer PRIMARY KEY, customer text NOT NULL, how mood DEFAULT 'good');
CREATE VIEW customers AS SELECT DISTINCT customer FROM orders;
INSERT INTO orders VALUES (1, 'ann'), (2, 'bob'), (3, 'it''s');
"""


def run(url: str, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


def opened(url: str, *checks: tuple[str, str]) -> PostgresDatabase:
    """Return the database, impatient."""
    found = [DatabaseCheck(name=name, sql=sql) for name, sql in checks]
    return PostgresDatabase(url, found, lock_wait=0.3, query_limit=0.5)


@pytest.fixture
def shop(url: str) -> str:
    run(url, SCHEMA)
    return url


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Hold the table as a migration in the middle of its work does."""
    with psycopg.connect(url) as holder:
        holder.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        yield


# Opening


def test_a_url_is_opened_without_connecting_and_says_its_name_without_a_password(tmp_path: Path) -> None:
    database = open_database(DatabaseSettings(url="postgresql://me:secret@db.example/shop"), tmp_path)
    assert isinstance(database, PostgresDatabase)
    assert database.named == "PostgreSQL database shop at db.example"
    with pytest.raises(SettingsError, match="is no address") as caught:
        PostgresDatabase("postgresql://me:secret@host/shop?nonsense=1")
    assert "secret" not in str(caught.value)


def test_without_psycopg_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SettingsError, match=r"pip install 'rollcage\[postgres\]'"):
        open_database(DatabaseSettings(url="postgresql://h/shop"), tmp_path)


def test_a_server_that_is_not_there_and_a_database_that_is_not_there(url: str, folder: Path) -> None:
    away = opened("postgresql://me:secret@/shop?host=/nowhere", ("any", "SELECT 1"))
    with pytest.raises(StoreError, match="cannot be reached") as caught:
        away.snapshot(folder)
    assert "secret" not in str(caught.value)
    assert [answer.count for answer in away.check_errors()] == [None]
    with pytest.raises(MissingDatabaseError):
        opened(url.replace("/shop_", "/gone_")).integrity()


# Checks


def test_a_number_counts_its_distance_and_rows_count_themselves(shop: str) -> None:
    database = opened(
        shop,
        ("number", "SELECT count(*) FROM orders"),
        ("exact", "SELECT 2.5::numeric"),
        ("rows", "SELECT id, customer FROM orders"),
        ("none", "SELECT id FROM orders WHERE id > 9"),
        ("null", "SELECT sum(id) FROM orders WHERE id > 9"),
        ("wrong", "SELECT gone FROM orders"),
        ("writes", "DELETE FROM orders"),
        ("two", "COMMIT; DELETE FROM orders"),
        ("slow", "SELECT pg_sleep(9)"),
        ("per cent", "SELECT count(*) FROM orders WHERE customer LIKE 'x%'"),
    )
    answers = {answer.name: answer for answer in database.check_errors()}
    assert [answer.count for answer in answers.values()] == [3, 2.5, 3, 0, 1, 1, 1, 1, None, 0]
    assert "read-only" in answers["writes"].detail
    assert "longer than" in answers["slow"].detail
    assert run(shop, "SELECT count(*) FROM orders") == [(3,)]


def test_a_locked_table_gives_no_answer(shop: str) -> None:
    with locked(shop):
        (answer,) = opened(shop, ("any", "SELECT count(*) FROM orders")).check_errors()
    assert answer.count is None
    assert "busy" in answer.detail


def test_what_is_not_whole_is_named(shop: str) -> None:
    database = opened(shop)
    assert database.integrity() == []
    run(shop, "INSERT INTO orders VALUES (4, 'ann')")
    with pytest.raises(psycopg.errors.UniqueViolation):
        run(shop, "CREATE UNIQUE INDEX CONCURRENTLY one_each ON orders (customer)")
    run(shop, "ALTER TABLE orders ADD CONSTRAINT few CHECK (id < 3) NOT VALID")
    assert database.integrity() == [
        "index one_each of orders is invalid",
        "constraint few of orders is not validated",
    ]


# Keeping and bringing back


def everything(url: str) -> list[tuple[object, ...]]:
    objects = "SELECT relname, relkind::text FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    return [*run(url, objects), *run(url, "SELECT * FROM orders ORDER BY id")]


def test_what_was_kept_comes_back_and_what_came_since_goes(shop: str, folder: Path) -> None:
    database = opened(shop)
    before = everything(shop)
    kept = database.snapshot(folder)
    assert (kept.name, kept.warning) == (SNAPSHOT_NAME, "")
    run(shop, "DELETE FROM orders WHERE id > 1; ALTER TABLE orders DROP COLUMN customer CASCADE")
    run(shop, "CREATE TABLE lines (id int, o int REFERENCES orders); CREATE FUNCTION f(mood) RETURNS int RETURN 1")
    database.restore(folder / kept.name, sha256=kept.sha256)
    assert everything(shop) == before
    assert run(shop, "SELECT count(*) FROM pg_proc WHERE proname = 'f'") == [(0,)]
    assert sorted(path.name for path in folder.iterdir()) == [SNAPSHOT_NAME]


def test_others_see_all_of_it_or_nothing(shop: str, folder: Path) -> None:
    database = opened(shop)
    kept = database.snapshot(folder)
    run(shop, "DELETE FROM orders")
    seen: set[object] = set()
    ended = threading.Event()

    def look() -> None:
        with psycopg.connect(shop, autocommit=True) as connection:
            while not ended.is_set():
                try:
                    seen.add(connection.execute("SELECT count(*) FROM orders").fetchall()[0][0])
                except psycopg.errors.UndefinedTable as error:  # looked up before, gone after: another transaction's
                    seen.add(type(error).__name__)

    looker = threading.Thread(target=look)
    looker.start()
    try:
        database.restore(folder / kept.name)
    finally:
        ended.set()
        looker.join()
    assert seen <= {0, 3}


def test_a_database_that_is_held_is_not_half_restored(shop: str, folder: Path) -> None:
    database = opened(shop)
    kept = database.snapshot(folder)
    run(shop, "DELETE FROM orders WHERE id = 1")
    before = everything(shop)
    with locked(shop):
        with pytest.raises(StoreError, match="busy"):
            database.restore(folder / kept.name)
        with pytest.raises(StoreError, match="cannot be dumped"):
            database.snapshot(folder)
    assert everything(shop) == before


def test_a_damaged_snapshot_changes_nothing(shop: str, folder: Path) -> None:
    database = opened(shop)
    kept = database.snapshot(folder)
    file = folder / kept.name
    file.write_bytes(file.read_bytes()[:200])
    before = everything(shop)
    for digest, words in ((kept.sha256, "SHA-256 differs"), (None, "damaged")):
        with pytest.raises(StoreError, match=words):
            database.restore(file, sha256=digest)
    assert everything(shop) == before


def test_an_earlier_try_that_still_runs_in_the_server_is_ended_first(shop: str, folder: Path) -> None:
    database = opened(shop)
    kept = database.snapshot(folder)
    with psycopg.connect(shop, application_name="rollcage-restore") as left:
        left.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        database.restore(folder / kept.name)
        with pytest.raises(psycopg.OperationalError):
            left.execute("SELECT 1")
    assert run(shop, "SELECT count(*) FROM orders") == [(3,)]


def test_programs_older_than_the_server_are_refused_and_the_mend_is_named(
    shop: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "old"
    old.mkdir()
    for name in ("pg_dump", "pg_restore", "psql"):
        (old / name).write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.1'\n")
        (old / name).chmod(0o755)
    monkeypatch.setenv("PG_BIN", str(old))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("rollcage.core.data.postgres_tools._DEBIAN", tmp_path)
    with pytest.raises(StoreError, match=r"needs pg_dump.*there is 9 in .*PG_BIN"):
        opened(shop).snapshot(folder)


def test_the_password_stays_out_of_the_arguments(
    shop: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_server: Server
) -> None:
    spying = tmp_path / "spying"
    spying.mkdir()
    for name in ("pg_dump", "pg_restore", "psql"):
        script = f'#!/bin/sh\necho "$@" >> {tmp_path}/said\nexec {postgres_server.programs}/{name} "$@"\n'
        (spying / name).write_text(script)
        (spying / name).chmod(0o755)
    monkeypatch.setenv("PG_BIN", str(spying))
    database = opened(shop.replace("postgres@", "postgres:s3cret@"))
    kept = database.snapshot(folder)
    database.restore(folder / kept.name)
    said = (tmp_path / "said").read_text()
    assert "dbname" in said
    assert "s3cret" not in said


def test_the_fingerprint_changes_with_a_write_and_only_with_one(shop: str) -> None:
    database = opened(shop, ("any", "SELECT count(*) FROM orders"))
    first = database.fingerprint()
    database.check_errors()
    assert database.fingerprint() == first != ""
    run(shop, "UPDATE orders SET customer = 'x'")
    assert database.fingerprint() != first
    assert database.tables() == ["orders"]


def test_doctor_learns_the_versions(shop: str) -> None:
    assert opened(shop).examine().startswith("PostgreSQL 18, pg_dump 18 in ")
