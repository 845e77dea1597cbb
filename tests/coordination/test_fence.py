"""A database that refuses who comes with an older token than somebody before."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rollcage.core.coordination.fence import FENCE_SCHEMA, accept
from rollcage.core.coordination.leases import LostLeaseError


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "guarded.db", isolation_level=None)) as connection:
        connection.execute(FENCE_SCHEMA)
        connection.execute("CREATE TABLE written (token INTEGER)")
        yield connection


def write(connection: sqlite3.Connection, token: int, name: str = "issue/7") -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        accept(connection, name, token)
        connection.execute("INSERT INTO written VALUES (?)", (token,))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def test_lets_the_same_and_later_tokens_write(guarded: sqlite3.Connection) -> None:
    for token in (3, 3, 4, 70_000):
        write(guarded, token)
    assert guarded.execute("SELECT token FROM written").fetchall() == [(3,), (3,), (4,), (70_000,)]


def test_refuses_an_older_one(guarded: sqlite3.Connection) -> None:
    write(guarded, 5)
    with pytest.raises(LostLeaseError, match="'issue/7': token 4 is stale; token 5 has written since"):
        write(guarded, 4)
    assert guarded.execute("SELECT token FROM written").fetchall() == [(5,)]


def test_is_one_for_each_name(guarded: sqlite3.Connection) -> None:
    write(guarded, 5)
    write(guarded, 2, "issue/8")


def test_forgets_what_was_rolled_back(guarded: sqlite3.Connection) -> None:
    guarded.execute("BEGIN")
    accept(guarded, "issue/7", 9)
    guarded.execute("ROLLBACK")
    write(guarded, 5)


def test_stands_within_a_transaction_only(guarded: sqlite3.Connection) -> None:
    with pytest.raises(ValueError, match="within the transaction"):
        accept(guarded, "issue/7", 1)
