"""What every kind of leases promises: so many at a time as there are permits, in turn, with tokens that only grow."""

from __future__ import annotations

import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from rollcage.core.clock import SystemClock
from rollcage.core.coordination.fence import FENCE_SCHEMA, accept
from rollcage.core.coordination.leases import DeadlockError, HeldLease, Leases, LostLeaseError, WaitLog
from rollcage.core.errors import ExitCode, LeaseError, StoreError, UsageError
from rollcage.core.store.paths import RepositoryPaths
from rollcage.core.store.store import Store
from tests.coordination.conftest import Backend, line

HOLD = "held = leases.acquire('branch/main', 'child', 60.0)\nprint(held.token, flush=True)\nsys.stdin.read()\n"
WAIT = "leases.acquire('a', 'waiter', 60.0, 60.0); print('had', flush=True); sys.stdin.read()"


def until(done: Callable[[], bool]) -> None:
    """Poll until it is so."""
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline, "it did not come to that"
        threading.Event().wait(0.005)


def until_waiting(leases: Leases, count: int) -> WaitLog:
    """Poll until so many wait."""
    until(lambda: len(leases.wait_log().waitings) == count)
    return leases.wait_log()


def nothing(who: str, what: str, subject: str, why: str = "") -> None:
    """Record nothing."""


class TestHolding:
    """Take, renew, give back."""

    def test_is_for_one(self, backend: Backend) -> None:
        ann, bob = backend.leases(), backend.leases()
        before = SystemClock().boot()
        held = ann.acquire("issue/42", "ann", ttl=30)
        assert (held.name, held.holder, held.ttl, held.slots) == ("issue/42", "ann", 30, 1)
        assert before + 29 < held.expires < before + 40
        with pytest.raises(LeaseError, match=rf"'issue/42' was not had.* is held by ann with token {held.token}") as no:
            bob.acquire("issue/42", "bob")
        assert no.value.exit_code == ExitCode.NO_LOCK
        with pytest.raises(LeaseError):
            ann.acquire("issue/42", "ann")
        assert bob.acquire("issue/7", "bob").token > 0
        ann.release(held)
        assert bob.acquire("issue/42", "bob").token > held.token

    def test_is_listed(self, backend: Backend) -> None:
        ann = backend.leases()
        assert ann.list() == []
        first = ann.acquire("issue/9", "planner", session="line one")
        second = ann.acquire("branch/main", "engine", ttl=10)
        listed = backend.leases().list()
        assert [(lease.name, lease.holder, lease.token, lease.permits, lease.slots) for lease in listed] == [
            ("branch/main", "engine", second.token, 1, 1),
            ("issue/9", "planner", first.token, 1, 1),
        ]
        assert listed[1].session == "line one"
        assert listed[0].session not in {"", "line one"}
        assert 5 < listed[0].expires_in_s <= 10
        assert abs((SystemClock().now() - listed[0].since).total_seconds()) < 30

    def test_lasts_longer_when_it_is_renewed(self, backend: Backend) -> None:
        ann = backend.leases()
        held = ann.acquire("a", "ann", ttl=10)
        renewed = ann.renew(held)
        assert renewed.expires > held.expires
        assert (renewed.token, renewed.ttl) == (held.token, 10)
        assert ann.find("a", held.token).expires == pytest.approx(renewed.expires, abs=0.5)
        with pytest.raises(LeaseError):
            backend.leases().acquire("a", "bob")

    def test_is_handed_on_by_name_and_token(self, backend: Backend) -> None:
        """As between `lock acquire` and `lock release` of one script, which are two processes."""
        ann, bob = backend.leases(), backend.leases()
        held = ann.acquire("a", "ann", ttl=20)
        found = bob.find("a", held.token)
        assert (found.name, found.holder, found.token, found.ttl, found.slots) == ("a", "ann", held.token, 20, 1)
        bob.release(bob.renew(found))
        assert ann.list() == []
        for name, token in (("a", held.token), ("b", held.token), ("a", 10**9)):
            with pytest.raises(LostLeaseError):
                bob.find(name, token)

    @pytest.mark.parametrize("name", ["", "a\nb", "\x1b[31m", "x" * 201, " a"])
    def test_needs_a_plain_name(self, backend: Backend, name: str) -> None:
        with pytest.raises(UsageError, match="is no name for a lock"):
            backend.leases().acquire(name, "ann")

    @pytest.mark.parametrize("odd", ["issue/Zähler 'x' \"y\" %", "名前/🙂", "branch/-rf; DROP TABLE lease"])
    def test_takes_any_plain_name(self, backend: Backend, odd: str) -> None:
        leases = backend.leases()
        held = leases.acquire(odd, odd, session=odd)
        assert [(lease.name, lease.holder, lease.session) for lease in leases.list()] == [(odd, odd, odd)]
        leases.release(held)

    @pytest.mark.parametrize(
        "wrong",
        [{"ttl": 0.0}, {"ttl": -1.0}, {"ttl": 1e10}, {"wait": -1.0}, {"permits": 0}, {"slots": 0}, {"slots": 2}],
    )
    def test_needs_numbers_that_can_be(self, backend: Backend, wrong: dict[str, float]) -> None:
        with pytest.raises(UsageError):
            backend.leases().acquire("a", "ann", **wrong)  # type: ignore[arg-type]

    def test_is_over_for_a_closed_holder(self, backend: Backend) -> None:
        ann = backend.leases()
        held = ann.acquire("a", "ann")
        ann.close()
        assert backend.leases().acquire("a", "bob").token > held.token
        with pytest.raises(StoreError):
            ann.list()
        with pytest.raises(StoreError):
            ann.acquire("b", "ann")


class TestLateness:
    """Too late is an error to the caller, never silent."""

    def test_of_a_release_and_a_renewal(self, backend: Backend) -> None:
        ann, bob = backend.leases(), backend.leases()
        held = ann.acquire("a", "ann", ttl=0.1)
        until(lambda: not ann.list())
        for late in (ann.renew, ann.release):
            with pytest.raises(LostLeaseError) as lost:
                late(held)
            assert lost.value.lapsed
            assert lost.value.exit_code == ExitCode.ERROR
        newer = bob.acquire("a", "bob")
        for late in (ann.renew, ann.release):
            with pytest.raises(LostLeaseError, match=f"token {held.token}") as lost:
                late(held)
            assert not lost.value.lapsed
        bob.release(newer)

    def test_of_a_second_release(self, backend: Backend) -> None:
        ann = backend.leases()
        held = ann.acquire("a", "ann")
        ann.release(held)
        with pytest.raises(LostLeaseError):
            ann.release(held)

    def test_of_a_stopped_holder_is_refused_by_what_the_lease_protects(self, backend: Backend) -> None:
        """Stopped beyond its time it holds nothing, does not know it, and writes: the fence knows better."""
        leases = backend.leases()
        child = backend.process(
            "held = leases.acquire('a', 'child', 0.3)\nprint(held.token, flush=True)\nsys.stdin.readline()\n"
            "try:\n    leases.renew(held)\nexcept Exception as error:\n    print(type(error).__name__, flush=True)\n"
        )
        stale = int(line(child))
        child.send_signal(signal.SIGSTOP)
        newer = leases.acquire("a", "next", wait=30)
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as guarded:
            guarded.execute(FENCE_SCHEMA)
            guarded.execute("BEGIN")
            accept(guarded, "a", newer.token)
            with pytest.raises(LostLeaseError):
                accept(guarded, "a", stale)
        child.send_signal(signal.SIGCONT)
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
        assert line(child) == "LostLeaseError"
        leases.release(newer)


class TestBreaking:
    """An operator takes it away; the audit log knows, and its holder is told."""

    def test_is_recorded_and_told(self, backend: Backend, paths: RepositoryPaths) -> None:
        ann, bob = backend.leases(), backend.leases()
        held = ann.acquire("issue/42", "ann")
        with closing(Store.open(paths, SystemClock())) as store:
            assert bob.break_("issue/42", "op@host", "ann hangs", store.audit).token == held.token
            record = store.audit_records()[0]
        assert (record.who, record.what, record.why) == ("op@host", "break lock", "ann hangs")
        assert record.subject == f"issue/42: token {held.token}, held by ann"
        for late in (ann.renew, ann.release):
            with pytest.raises(LostLeaseError, match=r"broken by op@host: ann hangs") as lost:
                late(held)
            assert not lost.value.lapsed
        assert bob.acquire("issue/42", "bob").token > held.token

    def test_that_cannot_be_recorded_is_not_done(self, backend: Backend) -> None:
        ann = backend.leases()
        held = ann.acquire("a", "ann")

        def full(who: str, what: str, subject: str, why: str = "") -> object:
            raise StoreError("the disk is full")

        with pytest.raises(StoreError):
            ann.break_("a", "op", "", full)
        ann.renew(held)

    def test_of_nothing_is_an_error(self, backend: Backend) -> None:
        with pytest.raises(LostLeaseError, match="nobody holds lock 'a'"):
            backend.leases().break_("a", "op", "", nothing)

    def test_of_a_semaphore_is_by_token(self, backend: Backend) -> None:
        leases = backend.leases()
        first, second = (leases.acquire("s", "ann", permits=2) for _ in range(2))
        with pytest.raises(UsageError, match="token"):
            leases.break_("s", "op", "", nothing)
        assert leases.break_("s", "op", "", nothing, second.token).token == second.token
        leases.renew(first)
        with pytest.raises(LostLeaseError, match="broken by op"):
            leases.renew(second)

    def test_lets_the_next_in(self, backend: Backend) -> None:
        leases = backend.leases()
        leases.acquire("a", "ann", ttl=60)
        child = backend.process(WAIT)
        until_waiting(leases, 1)
        leases.break_("a", "op", "it hangs", nothing)
        assert line(child) == "had"


class TestWaiting:
    """Served in turn."""

    def test_ends_in_time_and_leaves_the_queue(self, backend: Backend) -> None:
        ann, bob = backend.leases(), backend.leases()
        held = ann.acquire("a", "ann")
        with pytest.raises(LeaseError, match=r"within 0\.2 s"):
            bob.acquire("a", "bob", wait=0.2)
        assert ann.wait_log().waitings == ()
        ann.release(held)
        ann.acquire("a", "ann")

    def test_gets_what_lapses(self, backend: Backend) -> None:
        first = backend.leases().acquire("a", "ann", ttl=0.3)
        assert backend.leases().acquire("a", "bob", wait=60).token > first.token

    def test_is_in_order_among_processes(self, backend: Backend) -> None:
        code = (
            "held = leases.acquire('a', sys.argv[2], 60.0, 60.0)\nprint(held.token, flush=True)\nleases.release(held)\n"
        )
        leases = backend.leases()
        held = leases.acquire("a", "test", ttl=60)
        names = ["one", "two", "three"]
        children = []
        for count, name in enumerate(names, 1):
            children.append(backend.process(code, name))
            log = until_waiting(leases, count)
        assert [waiter.holder for waiter in leases.list()[0].waiters] == names
        assert [waiting.holder for waiting in log.waitings] == names
        assert [waiting.seq for waiting in log.waitings] == sorted({waiting.seq for waiting in log.waitings})
        assert all(0 <= waiting.waited < 60 for waiting in log.waitings)
        with pytest.raises(LeaseError):
            leases.acquire("a", "jumper")
        leases.release(held)
        tokens = [int(line(child)) for child in children]
        assert tokens == sorted({held.token, *tokens})[1:]

    def test_a_dead_waiter_is_passed_over(self, backend: Backend) -> None:
        leases = backend.leases()
        held = leases.acquire("a", "test", ttl=60)
        waiter = backend.process(WAIT)
        until_waiting(leases, 1)
        waiter.kill()
        waiter.wait(timeout=10)
        leases.release(held)
        leases.acquire("a", "second", wait=30)

    def test_that_is_stopped_does_not_stop_the_others(self, backend: Backend) -> None:
        leases = backend.leases()
        held = leases.acquire("a", "test", ttl=60)
        waiter = backend.process(
            "from rollcage.core.coordination import lease_table\nlease_table.WAITER_TTL = 0.5  # of an embedded one\n"
            "leases.acquire('a', 'waiter', 1.0, 60.0); print('had', flush=True); sys.stdin.read()"
        )
        until_waiting(leases, 1)
        waiter.send_signal(signal.SIGSTOP)
        leases.release(held)
        second = leases.acquire("a", "second", ttl=60, wait=30)
        waiter.send_signal(signal.SIGCONT)
        leases.release(second)
        assert line(waiter) == "had"

    def test_can_be_refused_from_outside(self, backend: Backend) -> None:
        leases = backend.leases()
        held = leases.acquire("a", "test", ttl=60)
        child = backend.process(
            "try:\n    leases.acquire('a', 'child', 60.0, 60.0)\nexcept Exception as error:\n"
            "    print(type(error).__name__, error, error.cycle, flush=True)\n"
        )
        log = until_waiting(leases, 1)
        assert leases.refuse(log.waitings[0], "it waited longest", ("child", "a", "test", "\x07b"))
        said = line(child)
        assert said.startswith("DeadlockError")
        assert said.endswith("it waited longest ('child', 'a', 'test', 'b')")
        child.wait(timeout=10)
        assert leases.wait_log().waitings == ()
        assert not leases.refuse(log.waitings[0], "again")
        leases.renew(held)

    def test_never_lets_two_in(self, backend: Backend) -> None:
        """Threads of two holders, sixty turns: the intervals do not overlap, and the tokens are in their order."""
        holders = [backend.leases(), backend.leases()]
        inside: list[int] = []
        tokens: list[int] = []

        def turn(number: int) -> None:
            leases = holders[number % 2]
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


class TestSemaphore:
    """A name with several permits."""

    def test_has_so_many(self, backend: Backend) -> None:
        leases = backend.leases()
        held = [leases.acquire("s", f"agent {number}", permits=3) for number in range(3)]
        assert len({each.token for each in held}) == 3
        with pytest.raises(LeaseError):
            leases.acquire("s", "one more", permits=3)
        leases.release(held[1])
        again = leases.acquire("s", "one more", permits=3)
        assert [lease.token for lease in leases.list()] == [held[0].token, held[2].token, again.token]

    def test_gives_several_to_one(self, backend: Backend) -> None:
        leases = backend.leases()
        two = leases.acquire("s", "ann", permits=3, slots=2)
        assert two.slots == 2
        with pytest.raises(LeaseError):
            leases.acquire("s", "bob", permits=3, slots=2)
        leases.acquire("s", "cid", permits=3)
        assert [(lease.slots, lease.permits) for lease in leases.list()] == [(2, 3), (1, 3)]

    def test_means_the_same_for_all(self, backend: Backend) -> None:
        leases = backend.leases()
        held = leases.acquire("s", "ann", permits=2)
        for permits, wait in ((3, 0.0), (1, 0.0), (3, 60.0), (1, 60.0)):
            with pytest.raises(UsageError, match="2 permits"):
                leases.acquire("s", "bob", wait=wait, permits=permits)
        assert leases.wait_log().waitings == ()
        leases.release(held)
        leases.acquire("s", "bob", permits=3)

    def test_is_not_taken_past_who_wants_more(self, backend: Backend) -> None:
        leases = backend.leases()
        held = [leases.acquire("s", "ann", ttl=60, permits=2) for _ in range(2)]
        child = backend.process("leases.acquire('s', 'big', 60.0, 60.0, permits=2, slots=2); print('had', flush=True)")
        until_waiting(leases, 1)
        leases.release(held[0])
        with pytest.raises(LeaseError, match="goes to big first"):
            leases.acquire("s", "small", permits=2)
        leases.release(held[1])
        assert line(child) == "had"

    def test_wakes_all_for_whom_there_is_room(self, backend: Backend) -> None:
        leases = backend.leases()
        held = leases.acquire("s", "ann", ttl=60, permits=3, slots=3)
        with ThreadPoolExecutor(3) as pool:
            waits = [pool.submit(leases.acquire, "s", "next", 60.0, 60.0, permits=3) for _ in range(3)]
            until_waiting(leases, 3)
            leases.release(held)
            assert len({wait.result(30).token for wait in waits}) == 3


class TestSeveral:
    """Taken in the one global order, all or none."""

    def test_are_all_taken(self, backend: Backend) -> None:
        leases = backend.leases()
        names = ["b", "ä", "a", "b", "B"]
        held = leases.acquire_all(names, "ann")
        assert [each.name for each in held] == ["B", "a", "b", "ä"]
        assert [each.token for each in held] == sorted(each.token for each in held)
        assert {lease.name for lease in leases.list()} == set(names)
        for each in held:
            leases.release(each)

    def test_are_given_back_where_one_is_missing(self, backend: Backend) -> None:
        ann, bob = backend.leases(), backend.leases()
        ann.acquire("b", "ann")
        with pytest.raises(LeaseError, match=r"'b' was not had within 0\.1 s"):
            bob.acquire_all(["a", "b", "c"], "bob", wait=0.1)
        assert [lease.name for lease in ann.list()] == ["b"]
        assert ann.wait_log().waitings == ()

    def test_stay_while_more_is_waited_for(self, backend: Backend) -> None:
        """Longer than the time of those that are held already."""
        ann, bob = backend.leases(), backend.leases()
        ann.acquire("b", "ann", ttl=2)
        held = bob.acquire_all(["a", "b"], "bob", ttl=1, wait=30)
        for each in held:
            bob.release(bob.renew(each))

    def test_do_not_lock_each_other_out(self, backend: Backend) -> None:
        leases = backend.leases()

        def turn(number: int) -> None:
            names = random.Random(number).sample("abcd", 3)
            for each in leases.acquire_all(names, f"thread {number}", ttl=60, wait=60):
                leases.release(each)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(turn, range(16)))
        assert leases.list() == []


class TestDeadlock:
    """Who would close a circle is told at once."""

    def test_of_two_has_one_victim(self, backend: Backend) -> None:
        ann, bob = backend.leases(), backend.leases()
        hers = ann.acquire("a", "ann", ttl=60, session="ann's")
        bob.acquire("b", "bob", ttl=60, session="bob's")
        with ThreadPoolExecutor(1) as pool:
            waits = pool.submit(bob.acquire, "a", "bob", 60.0, 60.0, session="bob's")
            until_waiting(ann, 1)
            with pytest.raises(DeadlockError) as error:
                ann.acquire("b", "ann", wait=60, session="ann's")
            assert set(error.value.cycle) == {"ann", "a", "bob", "b"}
            assert len(ann.wait_log().waitings) == 1
            ann.release(hers)
            assert waits.result(30).token > hers.token

    def test_with_itself_is_one(self, backend: Backend) -> None:
        leases = backend.leases()
        held = leases.acquire("a", "ann", ttl=60)
        with pytest.raises(DeadlockError, match="ann holds it, and would wait for itself"):
            leases.acquire("a", "ann", wait=60)
        leases.renew(held)

    def test_that_only_the_queue_makes_is_none(self, backend: Backend) -> None:
        """The big one waits for bob, who waits for ann, who stands behind the big one: she may pass."""
        leases = backend.leases()
        leases.acquire("s", "bob", ttl=60, permits=2, session="bob's")
        hers = leases.acquire("b", "ann", ttl=60, session="ann's")
        with ThreadPoolExecutor(3) as pool:
            pool.submit(leases.acquire, "s", "big", 60.0, 60.0, permits=2, slots=2, session="big's")
            until_waiting(leases, 1)
            anns = pool.submit(leases.acquire, "s", "ann", 60.0, 60.0, permits=2, session="ann's")
            until_waiting(leases, 2)
            bobs = pool.submit(leases.acquire, "b", "bob", 60.0, 60.0, session="bob's")
            passed = anns.result(30)
            leases.release(hers)
            leases.release(bobs.result(30))
            leases.release(passed)
            leases.release(leases.find("s", min(lease.token for lease in leases.list() if lease.name == "s")))

    def test_graph_shows_who_holds_and_who_waits(self, backend: Backend) -> None:
        leases = backend.leases()
        held = leases.acquire("s", "ann", ttl=60, permits=3, slots=2, session="ann's")
        backend.process("leases.acquire('s', 'child', 60.0, 60.0, permits=3, slots=3, session='child\\'s')")
        log = until_waiting(leases, 1)
        (holding,), (waiting,) = log.holdings, log.waitings
        assert (holding.name, holding.session, holding.holder) == ("s", "ann's", "ann")
        assert (holding.token, holding.slots, holding.permits) == (held.token, 2, 3)
        assert (waiting.name, waiting.session, waiting.holder) == ("s", "child's", "child")
        assert (waiting.slots, waiting.permits) == (3, 3)


class TestDeath:
    """The kernel tells who is dead; the time of the lease need not be waited for."""

    def test_of_a_holder_frees_its_leases(self, backend: Backend) -> None:
        leases = backend.leases()
        child = backend.process(HOLD)
        token = int(line(child))
        assert [lease.holder for lease in leases.list()] == ["child"]
        with pytest.raises(LeaseError):
            leases.acquire("branch/main", "test")
        child.kill()
        child.wait(timeout=10)
        assert leases.acquire("branch/main", "test", wait=30).token > token

    def test_is_noticed_by_who_waits(self, backend: Backend) -> None:
        leases = backend.leases()
        child = backend.process(HOLD)
        line(child)
        with ThreadPoolExecutor(1) as pool:
            waits = pool.submit(leases.acquire, "branch/main", "test", 60.0, 50.0)
            until_waiting(leases, 1)
            child.kill()
            had: HeldLease = waits.result(40)  # not after the 60 s of the dead one
        leases.release(had)

    def test_is_not_what_a_stopped_holder_is(self, backend: Backend) -> None:
        leases = backend.leases()
        child = backend.process(HOLD)
        line(child)
        child.send_signal(signal.SIGSTOP)
        with pytest.raises(LeaseError):
            leases.acquire("branch/main", "test", wait=0.3)
