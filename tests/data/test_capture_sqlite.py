"""What one agent wrote into a SQLite database is taken back, and nothing of the others'."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollcage.core.config import DatabaseCheck
from rollcage.core.data.capture import Scope
from rollcage.core.data.capture_sqlite import SqliteCapture, writing_as
from rollcage.core.data.sqlite import SqliteDatabase
from rollcage.core.errors import RefusedError, StoreError

SCHEMA = """
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT UNIQUE, price REAL, raw, total AS (price * 2));
CREATE TABLE pairs (a TEXT, b TEXT, note TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID;
"""
Rows = list[tuple[object, ...]]


class Shop:
    """A database that agents write into."""

    def __init__(self, path: Path, *tables: str, schema: str = SCHEMA) -> None:
        self.path = path
        self.writer = sqlite3.connect(path, isolation_level=None)
        self.writer.execute("PRAGMA synchronous = OFF")
        self.writer.executescript(schema)
        checks = [DatabaseCheck(name="dear", sql="SELECT id, price FROM orders WHERE price > 100")]
        self.database = SqliteDatabase(path, checks, captured=tables or ("orders", "pairs"), busy_wait=0.3)
        found = self.database.capture
        assert isinstance(found, SqliteCapture)
        self.capture = found

    def write(self, agent: str | None, *statements: str) -> None:
        if agent is None:
            for statement in statements:
                self.writer.execute(statement)
            return
        with writing_as(self.writer, agent):
            for statement in statements:
                self.writer.execute(statement)

    def rows(self, table: str = "orders") -> Rows:
        return self.writer.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()

    def log(self) -> Rows:
        return self.writer.execute("SELECT agent, tbl, kind, reverts FROM rollcage_change ORDER BY number").fetchall()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path / "a shop's.db")
    shop.capture.install()
    with closing(shop.writer):
        yield shop


def agent(name: str, since: int = 1) -> Scope:
    return Scope((name,), since)


# Installing


def test_installing_is_told_once_and_removing_leaves_nothing(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "a.db", "orders")
    assert not shop.capture.is_installed()
    query = "SELECT sql FROM sqlite_master WHERE name <> 'sqlite_sequence'"
    before = shop.writer.execute(query).fetchall()
    assert shop.capture.install() == ["rows of table orders are recorded from now on"]
    assert shop.capture.install() == []
    assert shop.capture.is_installed()
    assert len(shop.capture.remove()) == 10
    assert shop.writer.execute(query).fetchall() == before


def test_tables_without_a_key_and_those_that_are_not_there_are_refused(tmp_path: Path) -> None:
    schema = "CREATE TABLE bare (a)"
    for table, code in (("bare", "no_primary_key"), ("gone", "no_such_table")):
        shop = Shop(tmp_path / f"{table}.db", table, schema=schema)
        with pytest.raises(RefusedError, match=table) as caught:
            shop.capture.install()
        assert caught.value.code == code
        assert shop.writer.execute("SELECT count(*) FROM sqlite_master").fetchone() == (1,)


def test_a_table_no_longer_named_is_recorded_no_more(shop: Shop) -> None:
    only = Shop(shop.path, "orders", schema="")
    assert only.capture.install() == ["rows of table pairs are not recorded any more"]
    shop.write(None, "INSERT INTO pairs VALUES ('a', 'b', 'c')")
    assert shop.log() == []


def test_a_busy_database_is_said_to_be_busy_and_nothing_is_done(shop: Shop) -> None:
    shop.writer.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="busy"):
        shop.capture.take_back(agent("executor"), "rb-1:1")


# A schema that moves


def test_a_column_that_was_added_is_recorded_and_older_changes_can_still_be_taken_back(shop: Shop) -> None:
    shop.write("executor", "INSERT INTO orders (id, customer) VALUES (1, 'ann')", "INSERT INTO orders (id) VALUES (2)")
    shop.write("planner", "INSERT INTO orders (id) VALUES (3)")
    shop.write("executor", "DELETE FROM orders WHERE id = 2")
    shop.writer.execute("ALTER TABLE orders ADD COLUMN paid INTEGER DEFAULT 7")
    with pytest.raises(StoreError, match="not recorded as its tables are now"):
        shop.capture.take_back(agent("executor"), "rb-1:1")
    assert shop.capture.install() == ["table orders is recorded by its columns as they are now"]
    shop.write("executor", "UPDATE orders SET paid = 1 WHERE id = 1")
    assert shop.capture.take_back(agent("executor"), "rb-1:1").rows == 4
    assert shop.rows() == [(3, None, None, None, None, 7)]


def test_what_was_written_into_a_new_column_unseen_is_a_conflict(shop: Shop) -> None:
    shop.write("executor", "INSERT INTO orders (id, customer) VALUES (1, 'ann')")
    shop.writer.execute("ALTER TABLE orders ADD COLUMN paid INTEGER")
    shop.write("planner", "UPDATE orders SET paid = 1")
    assert "not known" in shop.capture.install()[0]
    taken = shop.capture.take_back(agent("executor"), "rb-1:1")
    assert "its columns changed" in taken.conflicts[0]
    shop.write("executor", "INSERT INTO orders (id) VALUES (9)")
    assert shop.capture.take_back(agent("executor", since=3), "rb-1:2").rows == 1


# Taking back


def test_every_value_comes_back_bit_for_bit(shop: Shop) -> None:
    values: list[object] = [
        None,
        2**63 - 1,
        -(2**63),
        0.1,
        1e300,
        -0.0,
        float("inf"),
        5e-324,
        b"\0\xff",
        "",
        "it's",
        "a\0b",
    ]
    for number, value in enumerate(values, 1):
        shop.writer.execute("INSERT INTO orders (id, raw) VALUES (?, ?)", (number, value))
    shop.writer.execute("INSERT INTO orders (id, raw) VALUES (99, CAST(X'FF41' AS TEXT))")
    query = "SELECT id, typeof(raw), hex(raw), CASE typeof(raw) WHEN 'text' THEN 1 ELSE raw END FROM orders"
    before = shop.writer.execute(query).fetchall()
    shop.write("executor", "UPDATE orders SET raw = 'spoilt'", "DELETE FROM orders WHERE id > 5")
    taken = shop.capture.take_back(agent("executor"), "rb-1:1")
    assert taken.conflicts == ()
    assert shop.writer.execute(query).fetchall() == before


def test_who_wrote_is_known_and_what_nobody_signed_stays(shop: Shop) -> None:
    shop.write("executor", "INSERT INTO orders (id) VALUES (1)")
    shop.write(None, "INSERT INTO orders (id) VALUES (2)")
    assert shop.capture.writers(1) == {"executor": 1, None: 1}
    taken = shop.capture.take_back(agent("executor"), "rb-1:1")
    assert (taken.rows, taken.tables, taken.unattributed) == (1, ("orders",), 1)
    assert [row[0] for row in shop.rows()] == [2]


@pytest.mark.parametrize(
    "statement", ["UPDATE orders SET price = 9", "UPDATE orders SET price = 9; UPDATE orders SET price = 2"]
)
@pytest.mark.parametrize("writer", ["planner", None])
def test_a_later_write_of_somebody_else_is_a_conflict(shop: Shop, writer: str | None, statement: str) -> None:
    shop.write("executor", "INSERT INTO orders (id, price) VALUES (1, 2)")
    shop.write(writer, *statement.split(";"))
    before = shop.rows()
    taken = shop.capture.take_back(agent("executor"), "rb-1:1")
    assert taken.rows == 0
    assert f"{writer or 'somebody unknown'} wrote it since" in taken.conflicts[0]
    assert shop.rows() == before
    assert not shop.capture.has_done("rb-1:1")


def test_what_the_record_did_not_see_is_a_conflict(shop: Shop) -> None:
    shop.write("executor", "INSERT INTO orders (id, price) VALUES (1, 2)")
    shop.write("planner", "UPDATE orders SET price = 3")
    shop.writer.execute("DELETE FROM rollcage_change WHERE agent = 'planner'")
    assert "not as that change left it" in shop.capture.take_back(agent("executor"), "rb-1:1").conflicts[0]


def test_rows_of_others_that_depend_on_it_are_a_conflict_and_never_go_along(tmp_path: Path) -> None:
    shop = Shop(
        tmp_path / "a.db",
        "orders",
        schema=SCHEMA + "CREATE TABLE lines (id INTEGER PRIMARY KEY, o INTEGER REFERENCES orders ON DELETE CASCADE)",
    )
    shop.capture.install()
    shop.write("executor", "INSERT INTO orders (id) VALUES (1)")
    shop.write("planner", "INSERT INTO lines VALUES (5, 1)")
    taken = shop.capture.take_back(agent("executor"), "rb-1:1")
    assert "would refer to a row of orders" in taken.conflicts[0]
    assert shop.rows("lines") == [(5, 1)]


def test_a_value_that_somebody_else_took_is_a_conflict(shop: Shop) -> None:
    shop.write(None, "INSERT INTO orders (id, customer) VALUES (1, 'ann')")
    shop.write("executor", "DELETE FROM orders")
    shop.write("planner", "INSERT INTO orders (id, customer) VALUES (2, 'ann')")
    assert "UNIQUE" in shop.capture.take_back(agent("executor"), "rb-1:1").conflicts[0]


def test_what_or_replace_removes_comes_back(shop: Shop) -> None:
    shop.write(None, "INSERT INTO orders (id, customer) VALUES (-1, 'eve'), (1, 'ann'), (2, 'bob'), (3, 'cid')")
    before = shop.rows()
    shop.write(
        "executor",
        "INSERT OR REPLACE INTO orders (id, customer) VALUES (1, 'bob')",
        "INSERT OR IGNORE INTO orders (id, customer) VALUES (3, 'dan')",
        "INSERT INTO orders (id, customer) VALUES (3, 'x') ON CONFLICT DO UPDATE SET price = 4",
        "UPDATE OR REPLACE orders SET id = 3 WHERE id = 1",
        "INSERT INTO orders (customer) VALUES ('new')",
    )
    assert shop.capture.take_back(agent("executor"), "rb-1:1").conflicts == ()
    assert shop.rows() == before


def test_a_trigger_of_the_users_that_changes_more_is_a_conflict(shop: Shop) -> None:
    shop.write(None, "INSERT INTO orders (id, price) VALUES (1, 1), (2, 2)")
    shop.write("executor", "UPDATE orders SET price = 5 WHERE id = 1")
    shop.writer.execute(
        "CREATE TRIGGER t AFTER UPDATE OF price ON orders WHEN NEW.id = 1"
        " BEGIN UPDATE orders SET raw = coalesce(raw, 0) + 1 WHERE id = 2; END"
    )
    assert "trigger of the database" in shop.capture.take_back(agent("executor"), "rb-1:1").conflicts[0]
    assert [row[2] for row in shop.rows()] == [5, 2]


def test_a_trial_changes_nothing_and_says_what_the_checks_would(shop: Shop) -> None:
    shop.write("executor", "INSERT INTO orders (id, price) VALUES (1, 500)")
    taken = shop.capture.take_back(agent("executor"), "trial", trial=True)
    assert (taken.rows, [check.count for check in taken.checks]) == (1, [0])
    assert shop.rows()[0][2] == 500
    assert len(shop.log()) == 1


def test_done_twice_it_does_nothing_more_and_it_can_be_taken_back_itself_and_again(shop: Shop) -> None:
    shop.write("executor", "INSERT INTO orders (id, price) VALUES (1, 2)", "UPDATE orders SET price = 3")
    shop.write("planner", "INSERT INTO pairs VALUES ('a', 'b', 'c')")
    before = shop.rows()
    assert shop.capture.take_back(agent("executor"), "rb-1:1").rows == 2
    assert shop.capture.take_back(agent("executor"), "rb-1:1").rows == 0
    assert shop.capture.has_done("rb-1:1")
    assert shop.capture.take_back(Scope(of="rb-1:1"), "rb-2:1").rows == 2
    assert shop.rows() == before
    assert shop.capture.take_back(Scope(of="rb-1:1"), "rb-2:1").rows == 0
    assert shop.capture.take_back(Scope(of="rb-2:1"), "rb-3:1").rows == 2
    assert shop.rows() == []
    shop.write("planner", "INSERT INTO orders (id, price) VALUES (1, 2)")
    assert "planner wrote it since" in shop.capture.take_back(Scope(of="rb-3:1"), "rb-4:1").conflicts[0]


def test_since_when_is_an_order_number(shop: Shop) -> None:
    long_ago, soon = datetime(2001, 1, 1, tzinfo=UTC), datetime.now(UTC) + timedelta(hours=1)
    shop.write("executor", "INSERT INTO orders (id) VALUES (1)", "INSERT INTO orders (id) VALUES (2)")
    assert (shop.capture.first_since(long_ago), shop.capture.first_since(soon)) == (1, 3)
    assert shop.capture.take_back(agent("executor", since=2), "rb-1:1").rows == 1
    assert [row[0] for row in shop.rows()] == [1]


def test_the_name_is_gone_after_an_error_and_within_a_transaction_of_the_callers(shop: Shop) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        shop.write("executor", *["INSERT INTO orders (id) VALUES (1)"] * 2)
    assert shop.log() == []
    shop.writer.execute("BEGIN")
    with writing_as(shop.writer, "executor"):
        shop.writer.execute("INSERT INTO orders (id) VALUES (1)")
    shop.writer.execute("INSERT INTO orders (id) VALUES (2)")
    shop.writer.execute("COMMIT")
    assert [entry[0] for entry in shop.log()] == ["executor", None]


def test_a_wide_table_is_recorded(tmp_path: Path) -> None:
    columns = ", ".join(f"c{number} INTEGER DEFAULT {number}" for number in range(120))
    shop = Shop(tmp_path / "a.db", "wide", schema=f"CREATE TABLE wide (id INTEGER PRIMARY KEY, {columns})")
    shop.capture.install()
    shop.write(None, "INSERT INTO wide (id) VALUES (1)")
    before = shop.rows("wide")
    shop.write("executor", "UPDATE wide SET c119 = 0, c3 = NULL")
    assert shop.capture.take_back(agent("executor"), "rb-1:1").rows == 1
    assert shop.rows("wide") == before


# Any history

AGENTS = ("executor", "planner", None)
WRITES = st.tuples(
    st.sampled_from(AGENTS),
    st.sampled_from(("insert", "update", "move", "delete")),
    st.integers(1, 4),
    st.integers(1, 4),
)


def applied(rows: dict[int, int], what: str, key: int, other: int) -> dict[int, int] | None:
    """Return the rows after a write; None where it writes nothing."""
    rows = dict(rows)
    if what == "insert":
        if key in rows:
            return None
        rows[key] = other
        return rows
    if key not in rows or (what == "move" and other in rows) or (what == "update" and rows[key] == other):
        return None
    if what == "update":
        rows[key] = other
    elif what == "delete":
        del rows[key]
    else:
        rows[other] = rows.pop(key)
    return rows


SQL = {
    "insert": "INSERT INTO t VALUES ({0}, {1})",
    "update": "UPDATE t SET v = {1} WHERE id = {0}",
    "move": "UPDATE t SET id = {1} WHERE id = {0}",
    "delete": "DELETE FROM t WHERE id = {0}",
}


def touched(what: str, key: int, other: int) -> set[int]:
    return {key, other} if what == "move" else {key}


def test_old_changes_are_forgotten_oldest_first_and_no_number_is_used_again(shop: Shop) -> None:
    shop.write("executor", *(f"INSERT INTO orders (id) VALUES ({number})" for number in range(1, 4)))
    now = datetime.now(UTC)
    assert shop.capture.forget(now - timedelta(hours=1), most=9) == 0
    assert [shop.capture.forget(now + timedelta(hours=1), most=2) for _ in range(3)] == [2, 1, 0]
    shop.capture.continue_above(2)
    shop.write("executor", "INSERT INTO orders (id) VALUES (4)")
    shop.capture.continue_above(100)
    shop.write("planner", "INSERT INTO orders (id) VALUES (5)")
    assert shop.capture.highest() == 101
    assert shop.capture.take_back(agent("executor"), "rb-1:1").rows == 1
    assert [row[0] for row in shop.rows()] == [1, 2, 3, 5]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(WRITES, max_size=14))
def test_taking_back_is_the_history_without_that_agents_writes_or_a_conflict(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[str | None, str, int, int]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.db"
    path.unlink(missing_ok=True)
    shop = Shop(path, "t", schema="CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER)")
    with closing(shop.writer):
        shop.capture.install()
        state: dict[int, int] = {}
        written = []
        for who, what, key, other in history:
            then = applied(state, what, key, other)
            if then is not None:
                state = then
                shop.write(who, SQL[what].format(key, other))
                written.append((who, what, key, other))
        assert dict(shop.writer.execute("SELECT id, v FROM t").fetchall()) == state
        mine: set[int] = set()
        in_the_way = False
        for who, what, key, other in written:
            if who == "executor":
                mine |= touched(what, key, other)
            elif touched(what, key, other) & mine:
                in_the_way = True
        before = shop.rows("t")
        taken = shop.capture.take_back(agent("executor"), "rb-1:1")
        assert bool(taken.conflicts) == in_the_way
        if in_the_way:
            assert shop.rows("t") == before
            return
        without: dict[int, int] = {}
        for who, what, key, other in written:
            if who != "executor":
                then = applied(without, what, key, other)
                assert then is not None
                without = then
        assert dict(shop.writer.execute("SELECT id, v FROM t").fetchall()) == without
        shop.capture.take_back(Scope(of="rb-1:1"), "rb-2:1")
        assert shop.rows("t") == before
