"""Leases that are renewed while work is done, and the words for why one was lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence

import pytest

from rollcage.core.clock import SystemClock
from rollcage.core.coordination.heartbeat import Heartbeat, holding
from rollcage.core.coordination.leases import HeldLease, LostLeaseError
from rollcage.core.errors import LeaseError, StoreError
from tests.conftest import ManualClock
from tests.coordination.conftest import Backend, Make, Spawn, line
from tests.coordination.test_leases import nothing, until


class Unreachable:
    """Leases whose store does not answer."""

    def __init__(self, problem: str = "the server is gone") -> None:
        self.problem = problem

    def renew(self, held: HeldLease) -> HeldLease:
        raise StoreError(self.problem)


def beating(leases: object, held: HeldLease | Sequence[HeldLease], clock: ManualClock) -> Heartbeat:
    return Heartbeat(leases, held, clock)  # type: ignore[arg-type]


class TestBeat:
    """By the injected clock."""

    def test_renews_a_third_into_the_time(self, make: Make, clock: ManualClock) -> None:
        leases = make(clock)
        heart = beating(leases, leases.acquire("a", "ann", ttl=30), clock)
        assert heart.beat() == pytest.approx(10)
        assert heart.held[0].expires == 1030
        clock.advance(10)
        assert heart.beat() == pytest.approx(10)
        assert heart.held[0].expires == 1040
        for _ in range(20):
            clock.advance(heart.beat())
        heart.check()
        assert heart.reason == ""

    def test_renews_each_in_its_time(self, make: Make, clock: ManualClock) -> None:
        leases = make(clock)
        heart = beating(leases, [leases.acquire("a", "ann", ttl=30), leases.acquire("b", "ann", ttl=3)], clock)
        for _ in range(100):
            clock.advance(heart.beat())
        assert clock.boot() > 1090
        assert {lease.name for lease in leases.list()} == {"a", "b"}
        heart.check()

    def test_says_who_broke_it_and_why(self, make: Make, clock: ManualClock) -> None:
        leases = make(clock)
        heart = beating(leases, leases.acquire("a", "ann", ttl=30), clock)
        leases.break_("a", "op@host", "ann hangs", nothing)
        clock.advance(10)
        heart.beat()
        assert heart.lost.is_set()
        assert heart.reason == "lock 'a': token 1 was broken by op@host: ann hangs"
        with pytest.raises(LostLeaseError, match="broken by op@host: ann hangs"):
            heart.check()

    def test_says_that_it_was_paused(self, make: Make, clock: ManualClock) -> None:
        leases = make(clock)
        heart = beating(leases, leases.acquire("a", "ann", ttl=30), clock)
        heart.beat()
        clock.advance(100)
        heart.beat()
        assert "its time was up because this process was paused or the machine slept 90 s" in heart.reason

    def test_says_that_it_was_paused_and_who_has_it_now(self, make: Make, clock: ManualClock) -> None:
        leases, other = make(clock), make(clock)
        heart = beating(leases, leases.acquire("a", "ann", ttl=30), clock)
        heart.beat()
        clock.advance(100)
        other.acquire("a", "bob")
        heart.beat()
        assert "paused or the machine slept 90 s" in heart.reason
        assert "bob has had the lock since, with token 2" in heart.reason

    def test_bears_a_store_that_does_not_answer_until_the_time_is_up(self, clock: ManualClock) -> None:
        heart = beating(Unreachable(), HeldLease("a", "ann", 1, 30, clock.boot() + 30), clock)
        while clock.boot() < 1029.9:
            clock.advance(heart.beat())
            assert not heart.lost.is_set() or clock.boot() >= 1030
        heart.beat()
        assert heart.lost.is_set()
        assert heart.reason.endswith("the store could not be reached until its time was up: the server is gone")

    def test_goes_on_when_the_store_answers_again(self, make: Make, clock: ManualClock) -> None:
        leases = make(clock)
        held = leases.acquire("a", "ann", ttl=30)
        heart = beating(leases, held, clock)
        heart._leases = Unreachable()  # type: ignore[assignment]
        clock.advance(heart.beat())
        assert heart.beat() == pytest.approx(3)
        heart._leases = leases
        clock.advance(3)
        heart.beat()
        assert heart.held[0].expires == clock.boot() + 30
        heart.check()

    def test_loses_all_where_it_loses_one_but_renews_the_rest(self, make: Make, clock: ManualClock) -> None:
        leases = make(clock)
        heart = beating(leases, leases.acquire_all(["a", "b"], "ann", ttl=30), clock)
        leases.break_("a", "op", "", nothing)
        for _ in range(6):
            clock.advance(heart.beat())
        with pytest.raises(LostLeaseError, match="'a'"):
            heart.check()
        assert [lease.name for lease in leases.list()] == ["b"]


class TestCheck:
    """Before a write, by the clock alone."""

    def test_refuses_when_too_little_is_left(self, make: Make, clock: ManualClock) -> None:
        leases = make(clock)
        heart = beating(leases, leases.acquire("a", "ann", ttl=30), clock)
        clock.advance(27.5)
        heart.check()
        with pytest.raises(LostLeaseError, match=r"has 2\.5 s left, too little for a write \(5\.0 s\)"):
            heart.check(5)
        clock.advance(1)
        with pytest.raises(LostLeaseError, match=r"has 1\.5 s left"):
            heart.check()
        assert not heart.lost.is_set()
        heart.beat()
        heart.check(5)

    def test_notices_a_pause_before_the_thread_does(self, make: Make, clock: ManualClock) -> None:
        leases = make(clock)
        heart = beating(leases, leases.acquire("a", "ann", ttl=30), clock)
        heart.beat()
        clock.advance(40)
        with pytest.raises(LostLeaseError, match="paused or the machine slept 30 s"):
            heart.check()
        assert heart.lost.is_set()
        assert heart.left() == 0

    def test_waits_until_the_time_is_up_though_the_store_hangs(self, clock: ManualClock) -> None:
        heart = beating(Unreachable(), HeldLease("a", "ann", 1, 30, clock.boot() + 30), clock)
        assert not heart.wait(29)
        assert heart.wait(100)
        assert clock.boot() == pytest.approx(1030, abs=0.1)


class TestHolding:
    """With a thread, over each backend."""

    def test_keeps_it_longer_than_its_time(self, backend: Backend) -> None:
        leases, clock = backend.leases(), SystemClock()
        with holding(leases, "a", "ann", clock, ttl=1) as heart:
            first = heart.held[0].expires
            until(lambda: clock.boot() > first)
            heart.check(0)
            assert [lease.name for lease in leases.list()] == ["a"]
        assert leases.list() == []
        assert threading.active_count() < 20

    def test_keeps_several(self, backend: Backend) -> None:
        leases = backend.leases()
        with holding(leases, ["b", "a"], "ann", SystemClock()) as heart:
            assert [each.name for each in heart.held] == ["a", "b"]
        assert leases.list() == []

    def test_of_a_lost_lease_is_an_error_at_the_end(self, backend: Backend) -> None:
        leases = backend.leases()
        with (
            pytest.raises(LostLeaseError, match="broken by op: why not"),
            holding(leases, "a", "ann", SystemClock(), ttl=60),
        ):
            leases.break_("a", "op", "why not", nothing)

    def test_lets_the_error_of_the_work_through(self, backend: Backend) -> None:
        leases = backend.leases()
        with pytest.raises(ZeroDivisionError) as error, holding(leases, "a", "ann", SystemClock(), ttl=60):
            _ = leases.break_("a", "op", "why not", nothing).token / 0
        assert any("broken by op" in note for note in error.value.__notes__)

    def test_is_not_begun_where_it_is_not_had(self, backend: Backend) -> None:
        leases = backend.leases()
        leases.acquire("a", "ann")
        with pytest.raises(LeaseError), holding(leases, "a", "bob", SystemClock()):
            pytest.fail("it was had")

    def test_wakes_who_waits_for_the_loss(self, backend: Backend) -> None:
        leases = backend.leases()
        heart = Heartbeat(leases, leases.acquire("a", "ann", ttl=1), SystemClock())
        heart.start()
        leases.break_("a", "op", "", nothing)
        assert heart.wait(30)
        heart.stop()
        assert "broken by op" in heart.reason


def test_a_stopped_process_is_told_so(make: Make, spawn: Spawn) -> None:
    """SIGSTOP beyond its time: neither the thread nor the work goes on as if nothing had been."""
    child = spawn(
        "from rollcage.core.coordination.heartbeat import holding\n"
        "try:\n"
        "    with holding(leases, 'a', 'child', SystemClock(), ttl=0.5) as heart:\n"
        "        print('has it', flush=True)\n"
        "        sys.stdin.readline()\n"
        "        try:\n            heart.check()\n"
        "        except Exception as error:\n            print(error, flush=True)\n"
        "except Exception as error:\n    print(type(error).__name__, flush=True)\n"
    )
    assert line(child) == "has it"
    child.send_signal(signal.SIGSTOP)
    leases = make(SystemClock())
    leases.acquire("a", "next", wait=30)
    child.send_signal(signal.SIGCONT)
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()
    said = line(child)
    assert "lock 'a': token 1" in said
    assert "paused or the machine slept" in said
    assert line(child) == "LostLeaseError"
