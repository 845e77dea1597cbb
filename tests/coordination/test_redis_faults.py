"""Leases in a Redis server that is started anew, loses its data or its answers, or cannot be reached."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rollcage.core.clock import SystemClock
from rollcage.core.coordination import redis_connection, redis_leases, redis_line
from rollcage.core.coordination.leases import DeadlockError, LostLeaseError
from rollcage.core.coordination.redis_connection import UnreachableError
from rollcage.core.coordination.redis_floor import AHEAD, Floor
from rollcage.core.coordination.redis_leases import RedisLeases
from rollcage.core.coordination.redis_lua import Script
from rollcage.core.coordination.redis_scripts import RELEASE
from rollcage.core.errors import LeaseError, StoreError
from rollcage.core.store.paths import RepositoryPaths
from tests.coordination.redis_hosts import Hosts, Proxy, named, until, waiting
from tests.coordination.redis_server import RedisServer, redis_server


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_connection, "COMMAND_TIMEOUT", 0.2)
    monkeypatch.setattr(redis_line, "PATIENCE", 1.0)


@pytest.fixture
def proxy(redis: RedisServer) -> Iterator[Proxy]:
    made = Proxy(redis.socket)
    yield made
    made.close()


class TestLoss:
    """The server is started anew, or its data are gone."""

    def test_is_told_to_who_held_something(self, own_hosts: Hosts, own_redis: RedisServer) -> None:
        leases = own_hosts.leases()
        held = leases.acquire("a", "ann")
        own_redis.kill()
        own_redis.start()
        for late in (leases.renew, leases.release):
            with pytest.raises(LostLeaseError, match=r"Redis server unix://.* lost its data") as lost:
                late(held)
            assert not lost.value.lapsed
        other = own_hosts.leases("other").acquire("a", "bob")
        assert other.token > held.token
        with pytest.raises(LostLeaseError, match="lost its data"):
            leases.renew(held)

    def test_does_not_come_with_every_restart(self, tmp_path: Path) -> None:
        with redis_server(keep=True) as keeping:
            hosts = Hosts(tmp_path, named(keeping.url))
            leases = hosts.leases()
            held = leases.acquire("a", "ann")
            keeping.kill()
            keeping.start()
            held = leases.renew(held)
            with pytest.raises(LeaseError):
                hosts.leases("other").acquire("a", "bob")
            leases.release(held)
            leases.close()

    def test_lets_waiters_wait_on(self, own_hosts: Hosts, own_redis: RedisServer) -> None:
        ann, bob = own_hosts.leases("one"), own_hosts.leases("two")
        held = ann.acquire("a", "ann")
        with ThreadPoolExecutor(1) as pool:
            waits = pool.submit(bob.acquire, "a", "bob", 30, 20)
            waiting(ann, 1)
            own_redis.kill()
            time.sleep(0.1)
            own_redis.start()
            assert waits.result(10).token > held.token

    def test_gives_no_token_again_even_if_the_clock_of_the_server_was_put_back(
        self, own_hosts: Hosts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        leases = own_hosts.leases()
        tokens = [leases.acquire(name, "ann").token for name in "abc"]
        put_back(monkeypatch)
        leases.server.command("FLUSHALL")
        tokens.append(leases.acquire("d", "ann").token)
        own_hosts.leases().server.command("FLUSHALL")
        tokens.append(own_hosts.leases().acquire("e", "another process of this machine").token)
        assert tokens == sorted(set(tokens))
        assert tokens[-1] - tokens[0] < 10_000_000

    def test_of_a_part_alone_counts_too(self, own_hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
        """A replica that lagged behind became the primary: it never heard of the last lease."""
        leases = own_hosts.leases()
        leases.acquire("a", "ann")
        before = leases.server.command("HGETALL", leases._table.key)
        held = leases.acquire("b", "ann")
        leases.server.command("DEL", leases._table.key)
        leases.server.command("HSET", leases._table.key, *before)
        with pytest.raises(LostLeaseError, match="lost its data"):
            leases.renew(held)
        put_back(monkeypatch)
        assert leases.acquire("b", "ann").token > held.token

    def test_of_the_scripts_is_nothing(self, hosts: Hosts) -> None:
        leases = hosts.leases()
        held = leases.acquire("a", "ann")
        leases.server.command("SCRIPT", "FLUSH")
        leases.release(leases.renew(held))


def put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server's clock go back by an hour, as far as the scripts see."""
    for module, name in ((redis_line, "ACQUIRE"), (redis_leases, "RENEW"), (redis_leases, "RELEASE")):
        script = getattr(module, name)
        earlier = Script(script.body, script.quick, head="now = now - 3600 * 1000000\n")
        monkeypatch.setattr(module, name, earlier)


class TestFloor:
    """The highest token that a machine has seen."""

    def test_is_exact_on_one_boot_and_a_bound_on_the_next(self, tmp_path: Path) -> None:
        floor = Floor(tmp_path / "floor", "boot-1")
        assert floor.get() == 0
        for token in (1_000, 1_500, 1_200):
            floor.note(token)
        assert floor.get() == 1_500
        assert Floor(tmp_path / "floor", "boot-1").get() == 1_500
        after = Floor(tmp_path / "floor", "boot-2")
        assert after.get() == 1_000 + AHEAD
        after.note(after.get() + 1)
        assert after.get() == 1_001 + AHEAD
        assert Floor(tmp_path / "floor", "boot-3").get() == 1_001 + 2 * AHEAD

    @pytest.mark.parametrize("damage", [b"", b"x", b"\0" * 100, b"boot-1 99999999999999999999 99999999999999999999"])
    def test_that_is_damaged_is_none(self, tmp_path: Path, damage: bytes) -> None:
        (tmp_path / "floor").write_bytes(damage)
        floor = Floor(tmp_path / "floor", "boot-1")
        assert floor.get() == 0
        floor.note(7)
        assert floor.get() == 7


class TestUnreachable:
    """It is said, in bounded time, and nobody holds what it cannot know of."""

    def test_is_one_line_without_the_password(self, tmp_path: Path, own_redis: RedisServer) -> None:
        url = f"redis://:hunter2@127.0.0.1:{own_redis.port}?namespace=x"
        own_redis.kill()
        leases = RedisLeases(RepositoryPaths(tmp_path), SystemClock(), url)
        with pytest.raises(UnreachableError) as error:
            leases.acquire("a", "ann", wait=0)
        told = str(error.value)
        assert f"Redis server redis://127.0.0.1:{own_redis.port}/0 cannot be reached" in told
        assert "no lock was taken or kept there; start it, or correct the address" in told
        assert "hunter2" not in told
        assert "\n" not in told
        leases.close()

    def test_is_not_borne_for_longer_than_a_restart_takes(
        self, own_hosts: Hosts, own_redis: RedisServer, hurried: None
    ) -> None:
        leases = own_hosts.leases()
        leases.acquire("a", "ann")
        with ThreadPoolExecutor(1) as pool:
            waits = pool.submit(leases.acquire, "a", "bob", 30, 60)
            waiting(leases, 1)
            own_redis.kill()
            with pytest.raises(StoreError, match="cannot be reached"):
                waits.result(5)

    def test_is_what_a_frozen_server_is(self, own_hosts: Hosts, own_redis: RedisServer, hurried: None) -> None:
        leases = own_hosts.leases()
        held = leases.acquire("a", "ann")
        own_redis.stop()
        for ask in (
            lambda: leases.renew(held),
            lambda: leases.acquire("b", "ann"),
            lambda: leases.acquire("a", "ann", wait=60),
            leases.list,
        ):
            begun = time.monotonic()
            with pytest.raises(StoreError, match="cannot be reached"):
                ask()
            assert time.monotonic() - begun < 2
        own_redis.go_on()
        leases.renew(held)
        assert leases.acquire("c", "ann").token > held.token
        until(lambda: [lease.name for lease in leases.list()] == ["a", "c"])

    def test_is_not_what_a_wrong_password_is(self, tmp_path: Path) -> None:
        with redis_server(password="right") as guarded:
            for url, told in (
                (guarded.url, "refuses|will not"),
                (f"unix://:wrong@{guarded.socket}", "refuses the password"),
            ):
                leases = RedisLeases(RepositoryPaths(tmp_path), SystemClock(), named(url))
                with pytest.raises(StoreError, match=told) as error:
                    leases.acquire("a", "ann")
                assert "wrong" not in str(error.value)
                leases.close()
            leases = RedisLeases(RepositoryPaths(tmp_path), SystemClock(), named(f"unix://:right@{guarded.socket}"))
            leases.release(leases.acquire("a", "ann"))
            leases.close()

    def test_is_what_no_tls_is(self, tmp_path: Path, redis: RedisServer, hurried: None) -> None:
        url = f"rediss://127.0.0.1:{redis.port}?namespace=x"
        leases = RedisLeases(RepositoryPaths(tmp_path), SystemClock(), url)
        with pytest.raises(StoreError, match="rediss://"):
            leases.acquire("a", "ann")
        leases.close()


class TestLostAnswers:
    """Done or not done? The server knows it by the request."""

    @pytest.mark.parametrize("fault", ["swallow", "hang up"])
    def test_are_found_when_asked_again(self, hosts: Hosts, proxy: Proxy, hurried: None, fault: str) -> None:
        leases = hosts.leases(url=named(proxy.url))
        leases.release(leases.acquire("warm", "ann"))
        proxy.fault, proxy.count = fault, 1
        sent = SystemClock().boot()
        held = leases.acquire("a", "ann", ttl=20)
        assert held.expires <= sent + 20 + 0.01
        assert [lease.token for lease in leases.list()] == [held.token]
        proxy.count = 1
        leases.release(held)
        assert leases.list() == []
        with pytest.raises(LostLeaseError):
            leases.release(held)

    def test_of_a_break_and_a_refusal_are_found_too(self, hosts: Hosts, proxy: Proxy, hurried: None) -> None:
        leases, other = hosts.leases(url=(url := named(proxy.url))), hosts.leases(url=url)
        third = hosts.leases(url=url.replace(proxy.url, hosts.url.partition("?")[0]))  # past the proxy
        held = leases.acquire("a", "ann")
        with ThreadPoolExecutor(1) as pool:
            waits = pool.submit(third.acquire, "a", "bob", 30, 20)
            waiting(other, 1)
            (place,) = other.wait_log().waitings
            proxy.fault, proxy.count = "hang up", 1
            assert other.refuse(place, "it was in the way")
            with pytest.raises(DeadlockError, match="in the way"):
                waits.result(10)
        told: list[object] = []

        def record(who: str, what: str, subject: str, why: str = "") -> None:
            told.append((who, what, subject, why))
            proxy.count = 1

        assert other.break_("a", "op", "ann hangs", record).token == held.token
        assert len(told) == 1
        with pytest.raises(LostLeaseError, match="was broken by op: ann hangs"):
            leases.renew(held)

    def test_of_a_release_is_found_though_others_had_the_lock_since(self, hosts: Hosts) -> None:
        leases, other = hosts.leases(), hosts.leases("other")
        held = leases.acquire("a", "ann")
        leases.release(held)
        other.release(other.acquire("a", "bob"))
        sent_again = (leases._table.key, held.name, held.token, 1)
        assert leases.server.run(RELEASE, *sent_again) == ["held"]

    def test_of_a_release_that_never_came_through_is_made_good(self, hosts: Hosts, proxy: Proxy, hurried: None) -> None:
        leases = hosts.leases(url=named(proxy.url))
        held = leases.acquire("a", "ann")
        proxy.fault, proxy.count = "refuse", 2
        with pytest.raises(UnreachableError):
            leases.release(held)
        proxy.count = 0
        leases.acquire("b", "ann")
        assert [lease.name for lease in leases.list()] == ["b"]

    def test_leave_nothing_behind(self, hosts: Hosts, proxy: Proxy, hurried: None) -> None:
        """Nor does it matter whether the server did what it was asked."""
        leases = hosts.leases(url=named(proxy.url))
        leases.release(leases.acquire("warm", "ann"))
        proxy.fault, proxy.count = "swallow", 3
        with pytest.raises(UnreachableError):
            leases.acquire("a", "ann")
        assert [lease.name for lease in leases.list()] == ["a"]
        leases.release(leases.acquire("a", "ann"))
        assert leases.list() == []

    def test_do_not_cost_a_waiter_its_turn(self, hosts: Hosts, proxy: Proxy, hurried: None) -> None:
        url = named(proxy.url)
        ann, bob = hosts.leases("one", url=url), hosts.leases("two", url=url)
        held = ann.acquire("a", "ann")
        with ThreadPoolExecutor(1) as pool:
            waits = pool.submit(bob.acquire, "a", "bob", 30, 20)
            waiting(ann, 1)
            proxy.fault, proxy.count = "hang up", 2
            until(lambda: not proxy.count)
            ann.release(held)
            assert waits.result(10).token > held.token
        assert [lease.holder for lease in ann.list()] == ["bob"]

    def test_of_a_renewal_count_from_before_it(self, hosts: Hosts, proxy: Proxy, hurried: None) -> None:
        leases = hosts.leases(url=named(proxy.url))
        held = leases.acquire("a", "ann", ttl=5)
        proxy.fault, proxy.count = "swallow", 1
        with pytest.raises(UnreachableError):
            leases.renew(held)
        sent = SystemClock().boot()
        assert leases.renew(held).expires <= sent + 5.01
