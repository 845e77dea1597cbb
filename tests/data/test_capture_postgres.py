"""What one agent wrote into a PostgreSQL database is taken back, and nothing of the others'."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollcage.core.config import DatabaseCheck
from rollcage.core.data.capture import RowCapture, Scope
from rollcage.core.data.postgres import PostgresDatabase
from rollcage.core.errors import RefusedError, StoreError
from tests.data.test_capture_sqlite import SQL, WRITES, agent, applied, touched
from tests.data.test_postgres import run
from tests.postgres import Server

SCHEMA = """
CREATE TABLE orders (id integer PRIMARY KEY, customer text UNIQUE, price numeric, twice numeric
    GENERATED ALWAYS AS (price * 2) STORED);
CREATE TABLE lines (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, o int REFERENCES orders ON DELETE CASCADE);
"""


class Shop:
    """A database that agents write into."""

    def __init__(self, url: str, *tables: str, schema: str = SCHEMA) -> None:
        self.url = url
        run(url, schema)
        checks = [DatabaseCheck(name="dear", sql="SELECT id, price FROM orders WHERE price > 100")]
        self.database = PostgresDatabase(url, checks, captured=tables or ("orders", "lines"), lock_wait=0.3)
        assert self.database.capture is not None
        self.capture: RowCapture = self.database.capture

    def write(self, agent: str | None, *statements: str) -> None:
        name = f"rollcage:{agent}" if agent else "a program"
        with psycopg.connect(self.url, application_name=name) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def rows(self, table: str = "orders") -> list[tuple[object, ...]]:
        return run(self.url, f"SELECT * FROM {table} ORDER BY 1")


@pytest.fixture
def shop(url: str) -> Shop:
    shop = Shop(url)
    shop.capture.install()
    return shop


def test_installing_is_told_once_and_removing_leaves_nothing(url: str) -> None:
    shop = Shop(url, "orders")
    assert not shop.capture.is_installed()
    assert shop.capture.install() == ["rows of table orders are recorded from now on"]
    assert shop.capture.install() == []
    assert shop.capture.is_installed()
    both = Shop(url, "lines", schema="")
    assert len(both.capture.install()) == 2
    assert both.capture.remove() == ["triggers of lines", "function rollcage_capture", "table rollcage_change"]
    assert run(url, "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal") == [(0,)]


def test_tables_without_a_key_and_those_that_are_not_there_are_refused(url: str) -> None:
    for table, code in (("bare", "no_primary_key"), ("gone", "no_such_table")):
        shop = Shop(url, table, schema="CREATE TABLE IF NOT EXISTS bare (a int)")
        with pytest.raises(RefusedError, match=table) as caught:
            shop.capture.install()
        assert caught.value.code == code


def test_the_agent_is_known_by_its_session_or_its_environment(shop: Shop, postgres_server: Server) -> None:
    environment = {**os.environ, "PGAPPNAME": "rollcage:executor"}
    for words in (
        ["-c", "INSERT INTO orders VALUES (1)"],
        ["-c", "SET rollcage.agent = 'planner'; INSERT INTO orders VALUES (2)"],
    ):
        subprocess.run([postgres_server.programs / "psql", "-q", shop.url, *words], env=environment, check=True)
    shop.write(None, "INSERT INTO orders VALUES (3)")
    assert shop.capture.writers(1) == {"executor": 1, "planner": 1, None: 1}
    taken = shop.capture.take_back(agent("executor"), "rb-1:1")
    assert (taken.rows, taken.tables, taken.unattributed) == (1, ("orders",), 1)
    assert [row[0] for row in shop.rows()] == [2, 3]


def test_every_value_comes_back_bit_for_bit(url: str) -> None:
    values = {
        "double precision": "ARRAY[0.1, 1e300, '-0', 'Infinity', 'NaN', 5e-324]::float8[]",
        "numeric": "ARRAY[1.10, 123456789012345678901234567890.5, 'NaN']::numeric[]",
        "bytea": "ARRAY['\\x00ff', '']::bytea[]",
        "timestamptz": "ARRAY['2026-11-20 14:00:00.123456+05:30', 'infinity']::timestamptz[]",
        "interval": "ARRAY['1 month -3 days 04:05:06.7']::interval[]",
        "json": """ARRAY['{"b": 1, "a":  1.0, "b": 2}']::json[]""",
        "jsonb": """ARRAY['{"b": 12345678901234567890.1}', '"x"']::jsonb[]""",
        "int4range": "ARRAY['[1,5)', 'empty']::int4range[]",
        "date": "ARRAY['0044-03-15 BC', '2026-11-20']::date[]",
        "uuid": "ARRAY['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11']::uuid[]",
        "bit varying(9)": "ARRAY['101']::varbit[]",
        "text": "ARRAY['it''s', E'tab\\tü\\n', '']::text[]",
        "bigint": "ARRAY[9223372036854775807]::int8[]",
    }
    columns = ", ".join(f"one{n} {kind}, many{n} {kind}[]" for n, kind in enumerate(values))
    shop = Shop(url, "things", schema=SCHEMA + f"CREATE TABLE things (id int PRIMARY KEY, {columns})")
    shop.capture.install()
    for number in range(6):
        items = ", ".join(f"({value})[{number + 1}], {value}" for value in values.values())
        shop.write(None, f"INSERT INTO things VALUES ({number}, {items})")
    query = "SELECT id, t::text, encode(record_send(t), 'hex') FROM things t ORDER BY 1"
    before = run(url, query)
    gone = ", ".join(f"one{n} = NULL, many{n} = NULL" for n in range(len(values)))
    with psycopg.connect(url, application_name="rollcage:executor") as connection:
        connection.execute(
            "SET timezone = 'Asia/Tokyo'; SET intervalstyle = 'postgres_verbose'; SET datestyle = 'German'"
        )
        connection.execute("SET bytea_output = 'escape'; SET extra_float_digits = -3")
        connection.execute(f"UPDATE things SET {gone} WHERE id < 3".encode())
        connection.execute("DELETE FROM things WHERE id > 2")
    assert shop.capture.take_back(agent("executor"), "rb-1:1").conflicts == ()
    assert run(url, query) == before


@pytest.mark.parametrize("writer", ["planner", None])
def test_a_later_write_of_somebody_else_is_a_conflict(shop: Shop, writer: str | None) -> None:
    shop.write("executor", "INSERT INTO orders (id, price) VALUES (1, 2)")
    shop.write(writer, "UPDATE orders SET price = 9", "UPDATE orders SET price = 2")
    before = shop.rows()
    taken = shop.capture.take_back(agent("executor"), "rb-1:1")
    assert f"{writer or 'somebody unknown'} wrote it since" in taken.conflicts[0]
    assert shop.rows() == before
    assert not shop.capture.has_done("rb-1:1")


def test_rows_of_others_that_depend_on_it_are_a_conflict_and_never_go_along(shop: Shop) -> None:
    shop.write("executor", "INSERT INTO orders VALUES (1)", "INSERT INTO lines (o) VALUES (1)")
    shop.write("planner", "INSERT INTO lines (o) VALUES (1)")
    assert "rows of lines depend on it" in shop.capture.take_back(agent("executor"), "rb-1:1").conflicts[0]
    assert len(shop.rows("lines")) == 2


def test_what_the_database_refuses_is_a_conflict(shop: Shop) -> None:
    shop.write(None, "INSERT INTO orders VALUES (1, 'ann')")
    shop.write("executor", "DELETE FROM orders")
    shop.write("planner", "INSERT INTO orders VALUES (2, 'ann')")
    assert "unique" in shop.capture.take_back(agent("executor"), "rb-1:1").conflicts[0]


def test_truncate_cascades_and_moved_keys_come_back_and_go_again(shop: Shop) -> None:
    shop.write(None, "INSERT INTO orders VALUES (1, 'ann'), (2, 'bob')", "INSERT INTO lines (o) VALUES (1), (1), (2)")
    before = [shop.rows(), shop.rows("lines")]
    shop.write("executor", "DELETE FROM orders WHERE id = 1", "INSERT INTO orders VALUES (7) ON CONFLICT DO NOTHING")
    shop.write("executor", "UPDATE orders SET id = 8 WHERE id = 7", "TRUNCATE orders CASCADE")
    after = [shop.rows(), shop.rows("lines")]
    taken = shop.capture.take_back(agent("executor"), "rb-1:1")
    assert taken.conflicts == ()
    assert [shop.rows(), shop.rows("lines")] == before
    assert shop.capture.take_back(agent("executor"), "rb-1:1").rows == 0
    assert shop.capture.take_back(Scope(of="rb-1:1"), "rb-2:1").rows == taken.rows
    assert [shop.rows(), shop.rows("lines")] == after


def test_a_trial_changes_nothing_and_says_what_the_checks_would(shop: Shop) -> None:
    shop.write("executor", "INSERT INTO orders (id, price) VALUES (1, 500)")
    taken = shop.capture.take_back(agent("executor"), "trial", trial=True)
    assert (taken.rows, [check.count for check in taken.checks]) == (1, [0])
    assert shop.rows()[0][0] == 1
    assert not shop.capture.has_done("trial")


def test_columns_that_came_or_went_do_no_harm(shop: Shop) -> None:
    shop.write(None, "INSERT INTO orders (id, customer) VALUES (1, 'ann'), (2, 'bob')")
    shop.write("executor", "UPDATE orders SET customer = 'x' WHERE id = 1", "DELETE FROM orders WHERE id = 2")
    run(shop.url, "ALTER TABLE orders ADD COLUMN paid int DEFAULT 7, DROP COLUMN twice")
    shop.write("executor", "UPDATE orders SET paid = 1")
    assert shop.capture.take_back(agent("executor"), "rb-1:1").conflicts == ()
    assert shop.rows() == [(1, "ann", None, 7), (2, "bob", None, 7)]


def test_what_was_written_while_a_trigger_was_gone_is_a_conflict(shop: Shop) -> None:
    shop.write("executor", "INSERT INTO orders VALUES (1)")
    run(shop.url, "ALTER TABLE orders DISABLE TRIGGER rollcage_row")
    with pytest.raises(StoreError, match="not recorded as its tables are now"):
        shop.capture.take_back(agent("executor"), "rb-1:1")
    assert "not known" in shop.capture.install()[0]
    assert "not known" in shop.capture.take_back(agent("executor"), "rb-1:1").conflicts[0]


def test_a_writer_in_the_middle_of_its_work_is_waited_for_only_so_long(shop: Shop) -> None:
    shop.write("executor", "INSERT INTO orders VALUES (1)")
    with psycopg.connect(shop.url) as writer:
        writer.execute("INSERT INTO orders VALUES (2)")
        with pytest.raises(StoreError, match="busy"):
            shop.capture.take_back(agent("executor"), "rb-1:1")
    assert shop.capture.take_back(agent("executor"), "rb-1:1").rows == 1


def test_since_when_is_an_order_number(shop: Shop) -> None:
    shop.write("executor", "INSERT INTO orders VALUES (1)", "INSERT INTO orders VALUES (2)")
    now = datetime.now(UTC)
    assert shop.capture.first_since(now - timedelta(hours=1)) == 1
    assert shop.capture.first_since(now + timedelta(hours=1)) == 3
    assert shop.capture.take_back(agent("executor", since=2), "rb-1:1").rows == 1


def test_thousands_of_rows_that_hang_together_go_back_together(url: str) -> None:
    schema = """CREATE TABLE "100%" (
            id int PRIMARY KEY, "of%" int UNIQUE, above int REFERENCES "100%" ON DELETE CASCADE);
        CREATE TABLE parts (id int PRIMARY KEY, whole int REFERENCES "100%" ON DELETE CASCADE);
        CREATE INDEX ON parts (whole); CREATE INDEX ON "100%" (above)"""
    shop = Shop(url, "100%", "parts", schema=schema + ";" + SCHEMA)
    shop.capture.install()
    shop.write(None, 'INSERT INTO "100%" SELECT n, n FROM generate_series(1, 300) n')
    shop.write(None, "INSERT INTO parts SELECT n, n FROM generate_series(1, 300) n")
    before = [shop.rows('"100%"'), shop.rows("parts")]
    with psycopg.connect(url, application_name="rollcage:executor") as connection, connection.pipeline():
        for n in range(1001, 1300):
            connection.execute('INSERT INTO "100%%" VALUES (%s, %s, %s)', (n, n, n - 1 if n % 9 > 2 else None))
            connection.execute("INSERT INTO parts VALUES (%s, %s)", (n, n))
            connection.execute('UPDATE "100%%" SET "of%%" = -%s WHERE id = %s', (n, n))
            connection.execute("UPDATE parts SET whole = %s WHERE id = %s", (n - 1000, n))
            connection.execute("DELETE FROM parts WHERE id = %s", (n - 1000,))
            connection.execute('UPDATE "100%%" SET "of%%" = %s WHERE id = %s', (2 * n, n - 1000))
            connection.execute('UPDATE "100%%" SET "of%%" = %s WHERE id = %s', (n - 1000, n))
    shop.write("executor", 'TRUNCATE "100%" CASCADE')
    taken = shop.capture.take_back(agent("executor"), "rb-1:1")
    assert (taken.conflicts, taken.rows) == ((), 7 * 299 + 900 - 1)
    assert [shop.rows('"100%"'), shop.rows("parts")] == before
    reverted = run(
        url, "SELECT count(reverts), count(DISTINCT reverts) FROM rollcage_change WHERE operation = 'rb-1:1'"
    )
    assert reverted == [(taken.rows, taken.rows)]


def test_old_changes_are_forgotten_oldest_first_and_no_number_is_used_again(shop: Shop) -> None:
    shop.write("executor", *(f"INSERT INTO orders VALUES ({number})" for number in range(1, 4)))
    now = datetime.now(UTC)
    assert shop.capture.forget(now - timedelta(hours=1), most=9) == 0
    assert [shop.capture.forget(now + timedelta(hours=1), most=2) for _ in range(3)] == [2, 1, 0]
    shop.capture.continue_above(2)
    shop.write("executor", "INSERT INTO orders VALUES (4)")
    shop.capture.continue_above(100)
    shop.write("planner", "INSERT INTO orders VALUES (5)")
    assert shop.capture.highest() == 101
    assert shop.capture.take_back(agent("executor"), "rb-1:1").rows == 1
    assert [row[0] for row in shop.rows()] == [1, 2, 3, 5]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(WRITES, max_size=8))
def test_taking_back_is_the_history_without_that_agents_writes_or_a_conflict(
    url: str, history: list[tuple[str | None, str, int, int]]
) -> None:
    run(url, "DROP TABLE IF EXISTS t, rollcage_change")
    shop = Shop(url, "t", schema="CREATE TABLE t (id int PRIMARY KEY, v int)")
    shop.capture.install()
    state: dict[int, int] = {}
    written = []
    connection = psycopg.connect(url, autocommit=True)
    for who, what, key, other in history:
        then = applied(state, what, key, other)
        if then is not None:
            state = then
            connection.execute("SELECT set_config('rollcage.agent', %s, false)", (who or "",))
            connection.execute(SQL[what].format(key, other).encode())
            written.append((who, what, key, other))
    connection.close()
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
        then = applied(without, what, key, other) if who != "executor" else None
        without = without if then is None else then
    assert dict(shop.rows("t")) == without  # type: ignore[arg-type]
    shop.capture.take_back(Scope(of="rb-1:1"), "rb-2:1")
    assert shop.rows("t") == before
