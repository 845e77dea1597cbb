"""A fault that wrote rows: code and data go back in step, what others wrote stays, and undo brings both back."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from rollcage.api import writing_as
from tests.conftest import git
from tests.e2e.conftest import BAD, GOOD, Shop, until

DATABASE = """
database:
  url: sqlite:///shop.db
  checks:
    - {name: negative, sql: "SELECT id, price FROM orders WHERE price < 0"}
"""
Rows = list[tuple[object, ...]]
BEFORE: Rows = [(1, 5), (2, 6)]
"""At the last good commit."""
SPOILT: Rows = [(1, -5), (2, 6), (3, -1), (4, 8)]
"""The executor changed 1 and wrote 3, the planner wrote 4."""
MENDED: Rows = [(1, 5), (2, 6), (4, 8)]


@contextmanager
def connected(shop: Shop) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(shop.path / "shop.db", isolation_level=None)) as connection:
        yield connection


def rows(shop: Shop) -> Rows:
    with connected(shop) as connection:
        return connection.execute("SELECT * FROM orders ORDER BY id").fetchall()


def spoil(shop: Shop, *more: str) -> None:
    """Let all be well once, then let the executor break code and data, and the planner go on working."""
    shop.trust((shop.path / "rollcage.yml").read_text() + DATABASE + "".join(more))
    (shop.path / ".git" / "info" / "exclude").write_text("shop.db*\n")
    with connected(shop) as connection:
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, price INTEGER)")
        connection.executemany("INSERT INTO orders VALUES (?, ?)", BEFORE)
        assert shop.once(code=0)[-1]["result"] == "healthy"
        second = int(time.time())
        until(lambda: time.time() > second + 1)  # git's times are of a second, and the fault is after the checkpoint
        shop.commit("executor", "tidy add", {"calc.py": BAD})
        shop.commit("planner", "plan on", {"plan.md": "plan\nmore\non\n"})
        with writing_as(connection, "executor"):
            connection.execute("INSERT INTO orders VALUES (3, -1)")
            connection.execute("UPDATE orders SET price = -price WHERE id = 1")
        with writing_as(connection, "planner"):
            connection.execute("INSERT INTO orders VALUES (4, 8)")
    assert rows(shop) == SPOILT


def undo(shop: Shop) -> None:
    done = shop.here("undo", "rb-1")
    assert done.code == 0, done.err
    assert (shop.committed("calc.py"), shop.read("calc.py")) == (BAD, BAD)
    assert rows(shop) == SPOILT


def test_where_rows_are_recorded_only_those_of_the_agent_go_back_by_itself(shop: Shop) -> None:
    spoil(shop, "  row_capture: [orders]\n")
    events = shop.once(code=0)
    assert events[-1]["result"] == "recovered"
    assert (shop.committed("calc.py"), rows(shop)) == (GOOD, MENDED)
    assert git(shop.path, "status", "--porcelain") == "?? rollcage.yml"
    undo(shop)


def test_a_checkpoint_loses_what_others_wrote_so_it_waits_for_a_human_who_is_told(shop: Shop) -> None:
    spoil(shop)
    head = shop.head()
    events = shop.once(code=3)
    assert events[-1]["result"] == "waiting"
    options = [event for event in events if event["event"] == "option"]
    best = options[0]
    assert best["risk_level"] in {"HIGH", "CRITICAL"}
    plan = next(event for event in events if event["event"] == "plan" and event["option"] == best["id"])
    assert "everything written since is lost" in plan["database"]
    assert (shop.head(), rows(shop)) == (head, SPOILT)
    done = shop.here("rollback", best["id"], "--yes")
    assert done.code == 0, done.err
    assert (shop.committed("calc.py"), rows(shop)) == (GOOD, BEFORE)
    undo(shop)


def test_damaged_data_without_a_failing_check_name_their_writer_whose_rows_go_back_on_approval(shop: Shop) -> None:
    check = '    - {name: negative, sql: "SELECT id, price FROM orders WHERE price < 0"}'
    many = check.replace("SELECT id, price", "SELECT 200 * count(*)")
    shop.trust((shop.path / "rollcage.yml").read_text() + DATABASE.replace(check, many) + "  row_capture: [orders]\n")
    (shop.path / ".git" / "info" / "exclude").write_text("shop.db*\n")
    with connected(shop) as connection:
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, price INTEGER)")
        connection.executemany("INSERT INTO orders VALUES (?, ?)", BEFORE)
        assert shop.once(code=0)[-1]["result"] == "healthy"
        with writing_as(connection, "planner"):
            connection.execute("INSERT INTO orders VALUES (4, 8)")
        with writing_as(connection, "executor"):
            connection.execute("INSERT INTO orders VALUES (3, -1)")
    events = shop.once(code=3)
    diagnosis = next(event for event in events if event["event"] == "diagnosis")
    assert (diagnosis["verdict"], diagnosis["agents"], diagnosis["reach"]["tables"]) == (
        "ask",
        ["executor"],
        ["orders"],
    )
    option = next(event for event in events if event["event"] == "option" and event["rank"] == 1)
    assert option["type"] == "RESTART_ONLY"
    assert shop.here("rollback", option["id"], "--yes").code == 0
    assert rows(shop) == [*BEFORE, (4, 8)]
