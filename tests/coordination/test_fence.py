"""A database that refuses who comes with an older token than somebody before."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rollcage.core.clock import SystemClock
from rollcage.core.config import CoordinationSettings
from rollcage.core.coordination.fence import FENCE_SCHEMA, accept
from rollcage.core.coordination.leases import LostLeaseError
from rollcage.core.coordination.opening import open_leases
from rollcage.core.store.paths import RepositoryPaths
from tests.coordination.redis_hosts import named
from tests.coordination.redis_server import RedisServer


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


def test_lets_write_whoever_holds_the_lock_now_though_another_keeper_gives_the_locks(
    guarded: sqlite3.Connection, paths: RepositoryPaths, redis: RedisServer
) -> None:
    """The settings change, and change back: no token is lower than one that the keeper before gave."""
    here = CoordinationSettings()
    there = CoordinationSettings(kind="redis", url=named(redis.url))
    highest = 0
    for settings in (here, there, here, here, there, there, here, there, here):
        leases = open_leases(settings, paths, SystemClock())
        for _ in range(2):
            held = leases.acquire("issue/7", "ann")
            assert held.token > highest
            write(guarded, highest := held.token)
            leases.release(held)
        leases.close()
    with pytest.raises(LostLeaseError, match="is stale"):
        write(guarded, highest - 1)


def test_tokens_grow_also_where_the_other_keeper_is_used_from_another_boot_on(
    paths: RepositoryPaths, redis: RedisServer
) -> None:
    class Rebooted(SystemClock):
        def boot_id(self) -> str:
            return "another"

    there = open_leases(CoordinationSettings(kind="redis", url=named(redis.url)), paths, SystemClock())
    token = there.acquire("issue/7", "ann").token
    there.close()
    here = open_leases(CoordinationSettings(), paths, Rebooted())
    assert here.acquire("issue/7", "ann").token > token
    here.close()
