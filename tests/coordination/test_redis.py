"""Leases in a Redis server: of several machines, through its restarts and losses, and where it cannot be reached."""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rollcage.core.clock import SystemClock
from rollcage.core.config import CoordinationSettings
from rollcage.core.coordination import redis_line
from rollcage.core.coordination.leases import DeadlockError, HeldLease, LostLeaseError, WaitLog
from rollcage.core.coordination.opening import open_leases
from rollcage.core.coordination.redis_connection import parse_address
from rollcage.core.coordination.redis_leases import RedisLeases
from rollcage.core.coordination.redis_table import repository_namespace
from rollcage.core.errors import LeaseError, StoreError, UsageError
from rollcage.core.gitrepo.repository import Repository
from rollcage.core.store.identity import identify
from rollcage.core.store.paths import RepositoryPaths
from tests.conftest import git
from tests.coordination.redis_hosts import Hosts, Machine, named, token_of, until, waiting
from tests.coordination.redis_server import RedisServer
from tests.gitrepo.conftest import commit


class TestAddress:
    """What is wrong with it is said, its secrets are not."""

    @pytest.mark.parametrize(
        ("url", "problem"),
        [
            ("http://:hunter2@h", "begins with 'http'"),
            ("redis://:hunter2@h:port", "cannot be read"),
            ("redis://:hunter2@h/zero", "cannot be read"),
            ("redis://:hunter2@h/0?hunter2=1", "has the option"),
            ("redis://:hunter2@h/0?namespace=a b", "no good namespace"),
            ("unix://", "names no path"),
        ],
    )
    def test_that_is_none_is_refused(self, url: str, problem: str) -> None:
        with pytest.raises(UsageError, match=problem) as error:
            parse_address(url)
        assert "allowed: " in str(error.value)
        assert "hunter2@" not in str(error.value)

    @pytest.mark.parametrize(
        ("url", "shown", "options"),
        [
            ("redis://h", "redis://h:6379/0", {"host": "h", "port": 6379, "db": 0}),
            ("rediss://ann:p%40w@h:1/2", "rediss://h:1/2", {"username": "ann", "password": "p@w", "db": 2}),
            ("redis://[::1]:7/1", "redis://[::1]:7/1", {"host": "::1"}),
            ("unix://:pw@/run/redis.sock?db=3", "unix:///run/redis.sock?db=3", {"path": "/run/redis.sock", "db": 3}),
        ],
    )
    def test_is_shown_without_its_secrets(self, url: str, shown: str, options: dict[str, object]) -> None:
        address = parse_address(url)
        assert address.shown == shown
        assert options.items() <= address.options.items()

    def test_needs_the_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "redis", None)
        with pytest.raises(
            StoreError, match=r"redis://h:6379/0 need the package redis.* pip install 'rollcage\[redis\]'"
        ):
            RedisLeases(RepositoryPaths(tmp_path), SystemClock(), "redis://:pw@h?namespace=x")

    def test_is_opened_as_the_settings_say(self, tmp_path: Path, redis: RedisServer) -> None:
        settings = CoordinationSettings(kind="redis", url=named(redis.url))
        leases = open_leases(settings, RepositoryPaths(tmp_path / "state"), SystemClock())
        assert isinstance(leases, RedisLeases)
        leases.release(leases.acquire("a", "ann"))
        leases.close()
        with pytest.raises(StoreError, match="was closed"):
            leases.list()


class TestNamespace:
    """Clones of one repository meet, wherever they are; others do not."""

    @staticmethod
    def of(repository: Path, home: Path) -> str:
        found = Repository.discover(repository)
        return repository_namespace(identify(found.common_dir, found.root_commits, home=home))

    def test_is_that_of_all_clones(self, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = self.of(repository, tmp_path / "one")
        monkeypatch.setenv("GIT_COMMITTER_DATE", "2040-01-01T00:00:00Z")
        git(repository, "checkout", "-q", "--orphan", "pages")
        commit(repository, {"index.html": "x"})
        git(tmp_path, "clone", "-q", str(repository), "clone")
        git(tmp_path / "clone", "checkout", "-q", "main")
        assert self.of(tmp_path / "clone", tmp_path / "two") == first
        assert self.of(repository, tmp_path / "three") == first

    def test_of_a_repository_without_a_commit_must_be_named(self, tmp_path: Path) -> None:
        git(tmp_path, "init", "-q", "new")
        with pytest.raises(StoreError, match=r"no commit yet.*\?namespace=NAME"):
            self.of(tmp_path / "new", tmp_path / "home")

    def test_of_a_shallow_clone_must_be_named_or_the_clone_be_made_whole(
        self, repository: Path, tmp_path: Path
    ) -> None:
        commit(repository, {"b": "x"})
        git(tmp_path, "clone", "-q", "--depth=1", f"file://{repository}", "clone")
        with pytest.raises(StoreError, match=r"is a shallow clone.* git fetch --unshallow, or .*\?namespace=NAME"):
            self.of(tmp_path / "clone", tmp_path / "home")
        git(tmp_path / "clone", "fetch", "-q", "--unshallow")
        assert self.of(tmp_path / "clone", tmp_path / "home") == self.of(repository, tmp_path / "other")

    def test_parts_the_locks(self, hosts: Hosts, redis: RedisServer) -> None:
        hosts.leases().acquire("a", "ann")
        hosts.leases(url=named(redis.url)).acquire("a", "bob")


class TestRoundTrips:
    """A lease is dear only where somebody else has it."""

    def test_are_one_to_take_and_one_to_give_back(self, hosts: Hosts) -> None:
        leases = hosts.leases()
        leases.release(leases.acquire("a", "ann"))
        leases.server.command("CONFIG", "RESETSTAT")
        leases.release(leases.acquire("a", "ann"))
        stats = str(leases.server.command("INFO", "commandstats"))
        (calls,) = [row for row in stats.splitlines() if row.startswith("cmdstat_evalsha:")]
        assert "calls=2," in calls
        assert "cmdstat_eval:" not in stats


class TestHosts:
    """Machines that share nothing but the server, and whose clocks disagree."""

    def test_share_the_leases(self, hosts: Hosts) -> None:
        ann, bob = hosts.leases("one", off=3600), hosts.leases("two", off=-3600)
        held = ann.acquire("a", "ann", ttl=20)
        assert 19 < held.expires - Machine("one", 3600).boot() <= 20
        with pytest.raises(LeaseError, match=f"held by ann with token {held.token}"):
            bob.acquire("a", "bob")
        (lease,) = bob.list()
        assert 19 < lease.expires_in_s <= 20
        assert abs((SystemClock().now() - lease.since).total_seconds()) < 10
        assert bob.find("a", held.token).expires <= held.expires - 7200 + 1
        threading.Timer(0.1, ann.release, [held]).start()
        late = bob.acquire("a", "bob", ttl=20, wait=10)
        assert 19 < late.expires - Machine("two", -3600).boot() <= 20
        assert late.token > held.token

    def test_never_think_that_a_lease_lasts_longer_than_the_server_does(self, hosts: Hosts) -> None:
        clock = SystemClock()
        leases = hosts.leases()
        for wait in (0, 5):
            if wait:
                first = leases.acquire("a", "ann", ttl=10, session="another")
                threading.Timer(0.05, leases.release, [first]).start()
            held = leases.acquire("a", "ann", ttl=10, wait=wait)
            for _ in range(3):
                asked = clock.boot()
                left = leases.list()[0].expires_in_s
                assert held.expires <= asked + left + (clock.boot() - asked)
                held = leases.renew(held)
            leases.release(held)

    def test_wait_for_the_dead_of_another_until_their_time_is_up(self, hosts: Hosts) -> None:
        child = hosts.holder("a", ttl=0.6, host="other")
        token_of(child)
        child.kill()
        child.wait()
        died = time.monotonic()
        with pytest.raises(LeaseError):
            hosts.leases().acquire("a", "ann")
        hosts.leases().acquire("a", "ann", wait=10)
        assert time.monotonic() - died < 0.6 + 1

    def test_pass_over_the_dead_waiters_of_another(self, hosts: Hosts) -> None:
        leases = hosts.leases()
        held = leases.acquire("a", "ann")
        child = hosts.holder("a", wait=60, host="other")
        waiting(leases, 1)
        child.kill()
        child.wait()
        until(lambda: not leases.wait_log().waitings, 1.5)
        leases.release(held)
        leases.acquire("a", "bob")

    def test_keep_the_place_of_a_waiter_that_was_silent(self, hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(redis_line, "SILENCE", 0.15)  # less than what lies between two of its words
        leases, other = hosts.leases(), hosts.leases("other")
        held = leases.acquire("a", "ann", ttl=60)
        with ThreadPoolExecutor(2) as pool:
            slow = pool.submit(other.acquire, "a", "slow", 60, 20)
            waiting(leases, 1)
            until(lambda: not leases.wait_log().waitings)
            monkeypatch.setattr(redis_line, "SILENCE", 5.0)
            quick = pool.submit(leases.acquire, "a", "quick", 60, 20)
            waiting(leases, 2)
            leases.release(held)
            first = slow.result(20)
            other.release(first)
            assert quick.result(20).token > first.token


class TestDeath:
    """Of a process of this machine: its flock is free."""

    def test_frees_what_it_held_at_once(self, hosts: Hosts) -> None:
        child = hosts.holder("a")
        token_of(child)
        leases = hosts.leases()
        assert [each.holder for each in leases.list()] == ["child"]
        child.kill()
        child.wait()
        assert leases.list() == []
        leases.acquire("a", "ann")

    def test_wakes_who_waits_within_a_tenth_of_a_second(self, hosts: Hosts) -> None:
        """Also who came when another held it: it is told whom to watch."""
        leases = hosts.leases()
        took = []
        for _ in range(3):
            held = leases.acquire("a", "ann", ttl=60)
            child = hosts.holder("a", wait=60)
            waiting(leases, 1)
            with ThreadPoolExecutor(1) as pool:
                waits = pool.submit(leases.acquire, "a", "bob", 60, 20)
                waiting(leases, 2)
                time.sleep(0.05)  # in the middle of its pause between two looks
                leases.release(held)
                token_of(child)
                child.kill()
                died = time.monotonic()
                held = waits.result(20)
                took.append(time.monotonic() - died)
                leases.release(held)
        assert min(took) < 0.1
        assert max(took) < 0.3

    def test_of_a_waiter_holds_nobody_up(self, hosts: Hosts) -> None:
        leases = hosts.leases()
        held = leases.acquire("a", "ann", ttl=60)
        child = hosts.holder("a", wait=60)
        waiting(leases, 1)
        child.kill()
        child.wait()
        assert leases.list()[0].waiters == ()
        leases.release(held)
        leases.acquire("a", "bob")

    def test_is_told_to_who_seemed_dead(self, hosts: Hosts) -> None:
        leases = hosts.leases()
        child = hosts.holder("a")
        token = token_of(child)
        child.kill()
        child.wait()
        with pytest.raises(LostLeaseError, match="its holder has ended"):
            leases.find("a", token)
        held = leases.acquire("a", "ann")
        with pytest.raises(LostLeaseError, match="its holder has ended"):
            leases.renew(HeldLease("a", "child", token, 60, 0))
        leases.release(held)

    def test_is_not_seen_by_who_cannot_see_it(self, hosts: Hosts) -> None:
        """The same boot, but another state directory: in doubt it lives."""
        child = hosts.holder("a")
        token_of(child)
        child.kill()
        child.wait()
        leases = RedisLeases(hosts.paths("elsewhere"), SystemClock(), hosts.url)
        hosts.made.append(leases)
        with pytest.raises(LeaseError, match="held by child"):
            leases.acquire("a", "ann")


class TestDeadlock:
    """Circles over several machines: one gives way, no one else."""

    def test_of_two_has_one_victim(self, hosts: Hosts) -> None:
        ann, bob = hosts.leases("one"), hosts.leases("two")
        for _ in range(5):
            barrier = threading.Barrier(2)

            def work(leases: RedisLeases, first: str, second: str, meet: threading.Barrier) -> str:
                held = leases.acquire(first, first, 30, session=f"session {first}")
                meet.wait(10)
                try:
                    leases.release(leases.acquire(second, first, 30, 20, session=f"session {first}"))
                except DeadlockError as error:
                    return f"victim of {sorted(error.cycle[1::2])}"
                finally:
                    leases.release(held)
                return "served"

            with ThreadPoolExecutor(2) as pool:
                done = [pool.submit(work, ann, "a", "b", barrier), pool.submit(work, bob, "b", "a", barrier)]
                assert sorted(each.result(20) for each in done) == ["served", "victim of ['a', 'b']"]

    def test_that_queue_order_alone_makes_has_none(self, hosts: Hosts) -> None:
        """Ann has one of two permits and waits for Bob's lock; Bob wants the other, behind Cy, who wants both."""
        ann, bob, cy = hosts.leases("one"), hosts.leases("two"), hosts.leases("three")
        one = ann.acquire("pool", "ann", permits=2, session="ann")
        lock = bob.acquire("lock", "bob", session="bob")
        with ThreadPoolExecutor(3) as pool:
            both = pool.submit(cy.acquire, "pool", "cy", 30, 20, permits=2, slots=2, session="cy")
            waiting(ann, 1)
            other = pool.submit(bob.acquire, "pool", "bob", 30, 20, permits=2, session="bob")
            waiting(ann, 2)
            locked = pool.submit(ann.acquire, "lock", "ann", 30, 20, session="ann")
            passed = other.result(5)
            bob.release(passed)
            bob.release(lock)
            ann.release(locked.result(5))
            ann.release(one)
            cy.release(both.result(5))

    def test_can_be_ended_from_outside(self, hosts: Hosts) -> None:
        leases, other = hosts.leases(), hosts.leases("other")
        leases.acquire("a", "ann")
        with ThreadPoolExecutor(1) as pool:
            waits = pool.submit(leases.acquire, "a", "bob", 30, 20, session="work")
            waiting(other, 1)
            log: WaitLog = other.wait_log()
            (place,) = log.waitings
            assert (place.name, place.session, place.holder) == ("a", "work", "bob")
            assert log.holdings[0].holder == "ann"
            assert other.refuse(place, "it was in the way")
            with pytest.raises(DeadlockError, match="it was in the way"):
                waits.result(5)
            assert not other.refuse(place, "again")


class TestCrowds:
    """Many at once."""

    def test_are_served_in_turn_and_one_at_a_time(self, hosts: Hosts) -> None:
        machines = [hosts.leases(name) for name in ("one", "two", "here")]
        inside: list[int] = []
        tokens: list[int] = []

        def turn(number: int) -> None:
            leases = machines[number % 3]
            held = leases.acquire("a", f"thread {number}", ttl=60, wait=60)
            inside.append(number)
            assert inside == [number]
            tokens.append(held.token)
            inside.remove(number)
            leases.release(held)

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(turn, range(60)))
        assert tokens == sorted(set(tokens))
        assert len(tokens) == 60

    def test_leave_nothing_in_the_server(self, hosts: Hosts) -> None:
        leases = hosts.leases()
        held = leases.acquire("a", "ann")
        with ThreadPoolExecutor(4) as pool:
            waits = [pool.submit(leases.acquire, "a", str(number), 30, 0.05) for number in range(4)]
            for each in waits:
                with pytest.raises(LeaseError):
                    each.result(10)
        leases.release(held)
        fields = leases.server.command("HKEYS", leases._table.key)
        assert sorted(fields) == ["\x01epoch", "\x01seq", "\x01token"]


def test_of_two_who_break_it_at_once_in_the_same_words_one_has_done_it(hosts: Hosts) -> None:
    first, second = hosts.leases(), hosts.leases()
    held = first.acquire("a", "ann")

    def before(who: str, what: str, subject: str, why: str = "") -> None:
        assert second.break_("a", "op", "ann hangs", lambda *_: None).token == held.token

    with pytest.raises(LostLeaseError, match=f"token {held.token} of lock 'a' is held no more"):
        first.break_("a", "op", "ann hangs", before)
    with pytest.raises(LostLeaseError, match="was broken by op: ann hangs"):
        first.renew(held)


def test_a_fork_is_a_holder_of_its_own(hosts: Hosts) -> None:
    leases = hosts.leases()
    held = leases.acquire("a", "parent")
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        told = "?"
        try:
            leases.acquire("a", "child")
            told = "both hold it"
        except LeaseError:
            told = str(leases.acquire("b", "child").token)
        finally:
            os.write(writer, told.encode())
            os._exit(0)
    os.waitpid(pid, 0)
    assert int(os.read(reader, 100)) > held.token
    os.close(reader)
    os.close(writer)
    assert [lease.name for lease in leases.list()] == ["a"]  # what the child held went with it
    leases.release(leases.renew(held))
