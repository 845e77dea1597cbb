"""One holder at a time, served in turn, with tokens that only grow; who is dead or late has nothing."""

from __future__ import annotations

import shutil
import signal
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rollcage.core.clock import SystemClock
from rollcage.core.coordination.embedded import EmbeddedLeases
from rollcage.core.coordination.leases import HeldLease, LostLeaseError
from rollcage.core.errors import ExitCode, LeaseError, StoreError, UsageError
from rollcage.core.store.paths import RepositoryPaths
from rollcage.core.store.store import Store
from tests.conftest import ManualClock
from tests.coordination.conftest import Make, Spawn, line

HOLD = "held = leases.acquire('branch/main', 'child', 60.0)\nprint(held.token, flush=True)\nsys.stdin.read()\n"


class TestHolding:
    """Take, renew, give back."""

    def test_is_for_one(self, make: Make, clock: ManualClock) -> None:
        ann, bob = make(clock), make(clock)
        held = ann.acquire("issue/42", "ann", ttl=30)
        assert (held.name, held.holder, held.token, held.ttl, held.expires) == ("issue/42", "ann", 1, 30, 1030)
        with pytest.raises(
            LeaseError, match=r"'issue/42' was not had within 0 s: it is held by ann with token 1"
        ) as no:
            bob.acquire("issue/42", "bob")
        assert no.value.exit_code == ExitCode.NO_LOCK
        with pytest.raises(LeaseError):
            ann.acquire("issue/42", "ann")
        assert bob.acquire("issue/7", "bob").token == 2
        ann.release(held)
        assert bob.acquire("issue/42", "bob").token == 3

    def test_is_listed(self, make: Make, clock: ManualClock) -> None:
        ann = make(clock)
        assert ann.list() == []
        ann.acquire("issue/9", "planner")
        ann.acquire("branch/main", "engine", ttl=10)
        clock.advance(4)
        assert [(lease.name, lease.holder, lease.token, lease.expires_in_s) for lease in make(clock).list()] == [
            ("branch/main", "engine", 2, 6.0),
            ("issue/9", "planner", 1, 26.0),
        ]
        clock.advance(6)
        assert [lease.name for lease in ann.list()] == ["issue/9"]

    def test_lasts_as_long_as_it_is_renewed(self, make: Make, clock: ManualClock) -> None:
        ann = make(clock)
        held = ann.acquire("a", "ann", ttl=10)
        for _ in range(5):
            clock.advance(9)
            held = ann.renew(held)
        assert held.expires == clock.boot() + 10
        assert held.token == 1
        with pytest.raises(LeaseError):
            make(clock).acquire("a", "bob")

    @pytest.mark.parametrize("name", ["", "a\nb", "\x1b[31m", "x" * 201, " a"])
    def test_needs_a_plain_name(self, make: Make, clock: ManualClock, name: str) -> None:
        with pytest.raises(UsageError, match="is no name for a lock"):
            make(clock).acquire(name, "ann")

    def test_is_over_for_a_closed_holder(self, make: Make, clock: ManualClock) -> None:
        ann = make(clock)
        ann.acquire("a", "ann")
        ann.close()
        assert make(clock).acquire("a", "bob").token == 2
        with pytest.raises(StoreError, match="was closed"):
            ann.list()


class TestLateness:
    """Too late is an error to the caller, never silent."""

    def test_of_a_release_and_a_renewal(self, make: Make, clock: ManualClock) -> None:
        ann, bob = make(clock), make(clock)
        held = ann.acquire("a", "ann", ttl=10)
        clock.advance(10)
        for late in (ann.renew, ann.release):
            with pytest.raises(LostLeaseError, match="token 1 has lapsed") as lost:
                late(held)
            assert lost.value.lapsed
            assert lost.value.exit_code == ExitCode.ERROR
        newer = bob.acquire("a", "bob")
        for late in (ann.renew, ann.release):
            with pytest.raises(LostLeaseError, match="token 1 is stale") as lost:
                late(held)
            assert not lost.value.lapsed
        bob.release(newer)

    def test_of_a_second_release(self, make: Make, clock: ManualClock) -> None:
        ann = make(clock)
        held = ann.acquire("a", "ann")
        ann.release(held)
        with pytest.raises(LostLeaseError):
            ann.release(held)

    def test_of_a_lease_from_before_the_machine_was_started(self, make: Make, clock: ManualClock) -> None:
        """The boot clock begins anew, so the old expiry would seem far away."""
        ann = make(clock)
        held = ann.acquire("a", "ann", ttl=1e6)
        after = Rebooted(2)
        with pytest.raises(LeaseError):
            make(clock).acquire("a", "bob")
        bob = make(after)
        assert bob.list() == []
        assert bob.acquire("a", "bob").token > held.token

    def test_of_a_paused_holder_is_seen_by_what_the_lease_protects(self, make: Make, clock: ManualClock) -> None:
        seen = 0
        written = []

        def guarded_write(token: int) -> bool:
            nonlocal seen
            if token < seen:
                return False
            seen = token
            written.append(token)
            return True

        paused = make(clock).acquire("a", "ann", ttl=10)
        assert guarded_write(paused.token)
        clock.advance(11)
        assert guarded_write(make(clock).acquire("a", "bob", ttl=10).token)
        assert not guarded_write(paused.token)


class TestBreaking:
    """An operator takes it away; the audit log knows."""

    def test_is_recorded_and_noticed(self, make: Make, paths: RepositoryPaths, clock: ManualClock) -> None:
        store = Store.open(paths, clock)
        ann, bob = make(clock), make(clock)
        held = ann.acquire("issue/42", "ann")
        assert bob.break_("issue/42", "op@host", "ann hangs", store.audit).token == held.token
        with pytest.raises(LostLeaseError, match="was broken") as lost:
            ann.renew(held)
        assert not lost.value.lapsed
        record = store.audit_records()[0]
        assert (record.who, record.what, record.why) == ("op@host", "break lock", "ann hangs")
        assert record.subject == "issue/42: token 1, held by ann"
        assert bob.acquire("issue/42", "bob").token == 2
        store.close()

    def test_that_cannot_be_recorded_is_not_done(self, make: Make, clock: ManualClock) -> None:
        ann = make(clock)
        held = ann.acquire("a", "ann")

        def full(who: str, what: str, subject: str, why: str = "") -> object:
            raise StoreError("the disk is full")

        with pytest.raises(StoreError):
            ann.break_("a", "op", "", full)
        ann.renew(held)

    def test_of_nothing_is_an_error(self, make: Make, clock: ManualClock) -> None:
        with pytest.raises(LeaseError, match="nobody holds lock 'a'"):
            make(clock).break_("a", "op", "", lambda who, what, subject, why="": None)


class TestWaiting:
    """Served in turn."""

    def test_gets_it_when_it_is_free(self, make: Make, clock: ManualClock) -> None:
        make(clock).acquire("a", "ann", ttl=10)
        start = clock.boot()
        assert make(clock).acquire("a", "bob", wait=60).token == 2
        assert 10 <= clock.boot() - start < 11

    def test_ends_in_time_and_leaves_the_queue(self, make: Make, clock: ManualClock) -> None:
        ann, bob = make(clock), make(clock)
        held = ann.acquire("a", "ann")
        with pytest.raises(LeaseError, match="within 2 s"):
            bob.acquire("a", "bob", wait=2)
        ann.release(held)
        ann.acquire("a", "ann")

    def test_is_in_order_among_processes(self, make: Make, spawn: Spawn) -> None:
        code = (
            "held = leases.acquire('a', sys.argv[2], 60.0, 60.0)\nprint(held.token, flush=True)\nleases.release(held)\n"
        )
        leases = make(SystemClock())
        held = leases.acquire("a", "test", ttl=60)
        names = ["one", "two", "three"]
        children = []
        for count, name in enumerate(names, 1):
            children.append(spawn(code, name))
            wait_for_waiters(leases, count)
        assert [waiter.holder for waiter in leases.list()[0].waiters] == ["one", "two", "three"]
        with pytest.raises(LeaseError):
            leases.acquire("a", "jumper")
        leases.release(held)
        assert [int(line(child)) for child in children] == [2, 3, 4]

    def test_no_one_jumps_the_queue(self, make: Make, spawn: Spawn) -> None:
        leases = make(SystemClock())
        held = leases.acquire("a", "test", ttl=60)
        waiter = spawn("leases.acquire('a', 'waiter', 60.0, 60.0); print('had', flush=True); sys.stdin.read()")
        wait_for_waiters(leases, 1)
        waiter.send_signal(signal.SIGSTOP)
        leases.release(held)
        with pytest.raises(LeaseError, match="goes to waiter first"):
            leases.acquire("a", "jumper")
        waiter.send_signal(signal.SIGCONT)
        assert line(waiter) == "had"

    def test_a_waiter_that_no_longer_looks_loses_its_place(self, make: Make, spawn: Spawn) -> None:
        leases = make(SystemClock())
        held = leases.acquire("a", "test", ttl=60)
        impatient = "import rollcage.core.coordination.lease_table as module; module.WAITER_TTL = 0.5\n"
        waiter = spawn(
            impatient + "leases.acquire('a', 'waiter', 60.0, 60.0); print('had', flush=True); sys.stdin.read()"
        )
        wait_for_waiters(leases, 1)
        waiter.send_signal(signal.SIGSTOP)
        leases.release(held)
        second = leases.acquire("a", "second", ttl=60, wait=30)
        waiter.send_signal(signal.SIGCONT)
        wait_for_waiters(leases, 1)
        leases.release(second)
        assert line(waiter) == "had"

    def test_a_dead_waiter_is_passed_over(self, make: Make, spawn: Spawn) -> None:
        leases = make(SystemClock())
        held = leases.acquire("a", "test", ttl=60)
        waiter = spawn("leases.acquire('a', 'waiter', 60.0, 60.0)")
        wait_for_waiters(leases, 1)
        waiter.kill()
        waiter.wait(timeout=10)
        assert leases.list()[0].waiters == ()
        leases.release(held)
        leases.acquire("a", "second")

    def test_never_lets_two_in(self, make: Make) -> None:
        """Threads of two holders, thirty turns: the intervals do not overlap, and the tokens are in their order."""
        clock = SystemClock()
        holders = [make(clock), make(clock)]
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

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(turn, range(30)))
        assert tokens == sorted(set(tokens))
        assert len(tokens) == 30


class TestDeath:
    """The kernel tells who is dead; the time of the lease need not be waited for."""

    def test_of_a_holder_frees_its_leases_at_once(self, make: Make, spawn: Spawn) -> None:
        leases = make(SystemClock())
        child = spawn(HOLD)
        assert line(child) == "1"
        assert [lease.holder for lease in leases.list()] == ["child"]
        with pytest.raises(LeaseError):
            leases.acquire("branch/main", "test")
        child.kill()
        child.wait(timeout=10)
        assert leases.list() == []
        assert leases.acquire("branch/main", "test").token == 2

    def test_is_not_what_a_stopped_holder_is(self, make: Make, spawn: Spawn) -> None:
        leases = make(SystemClock())
        child = spawn(HOLD)
        assert line(child) == "1"
        child.send_signal(signal.SIGSTOP)
        with pytest.raises(LeaseError):
            leases.acquire("branch/main", "test")

    def test_leaves_a_file_that_the_next_holder_removes(self, make: Make, spawn: Spawn, paths: RepositoryPaths) -> None:
        leases = make(SystemClock())
        child = spawn(HOLD)
        line(child)
        assert len(list(paths.holders.iterdir())) == 1
        child.kill()
        child.wait(timeout=10)
        leases.acquire("a", "test")
        assert len(list(paths.holders.iterdir())) == 1
        assert [lease.name for lease in leases.list()] == ["a"]

    def test_is_not_concluded_from_a_missing_file(self, make: Make, paths: RepositoryPaths, clock: ManualClock) -> None:
        """In doubt the holder lives, until its time is up."""
        make(clock).acquire("a", "ann", ttl=10)
        for file in paths.holders.iterdir():
            file.unlink()
        with pytest.raises(LeaseError):
            make(clock).acquire("a", "bob")
        clock.advance(10)
        assert make(clock).acquire("a", "bob").token == 2


class Rebooted(ManualClock):
    """The clock of the ``number``-th boot: it begins near zero again."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.seconds = float(number)

    def boot_id(self) -> str:
        return f"boot-{self.number}"


class Tokens(RuleBasedStateMachine):
    """Tokens grow through restarts of the process, reboots, and power cuts that take the last grants with them."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.boots = 1
        self.clock = Rebooted(1)
        self.leases: EmbeddedLeases | None = None
        self.highest = 0
        self.held: list[HeldLease] = []

    @initialize()
    def begin(self) -> None:
        (self.folder / "root").mkdir()
        self.open()

    def open(self) -> None:
        self.leases = EmbeddedLeases(RepositoryPaths(self.folder / "root"), self.clock)
        self.held = []

    @rule(name=st.sampled_from("ab"), ttl=st.floats(1, 20))
    def acquire(self, name: str, ttl: float) -> None:
        assert self.leases is not None
        free = name not in {lease.name for lease in self.leases.list()}
        try:
            held = self.leases.acquire(name, "me", ttl)
        except LeaseError:
            assert not free
            return
        assert free
        assert held.token > self.highest
        self.highest = held.token
        self.held.append(held)

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        assert self.leases is not None
        if self.held:
            held = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
            current = {lease.token for lease in self.leases.list()}
            try:
                self.leases.release(held)
                assert held.token in current
            except LostLeaseError:
                assert held.token not in current

    @rule(seconds=st.floats(0, 15))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def restart(self) -> None:
        assert self.leases is not None
        self.leases.close()
        self.open()

    @rule(grants=st.integers(0, 30))
    def power_cut(self, grants: int) -> None:
        """Only what was synced survives: the state from before the last grants."""
        assert self.leases is not None
        self.leases.release(self.leases.acquire("c", "me"))  # the block of this boot is reserved, hence synced
        synced = self.folder / "synced"
        self.leases.close()
        shutil.copytree(self.folder / "root", synced)
        self.open()
        for _ in range(grants):
            held = self.leases.acquire("c", "me")
            self.highest = max(self.highest, held.token)
            self.leases.release(held)
        self.leases.close()
        shutil.rmtree(self.folder / "root")
        synced.rename(self.folder / "root")
        self.boots += 1
        self.clock = Rebooted(self.boots)
        self.open()

    @invariant()
    def one_holder_each(self) -> None:
        if self.leases is not None:
            names = [lease.name for lease in self.leases.list()]
            assert len(names) == len(set(names))

    def teardown(self) -> None:
        if self.leases is not None:
            self.leases.close()
        shutil.rmtree(self.folder)


Tokens.TestCase.settings = settings(max_examples=12, stateful_step_count=12, deadline=None)
TestTokens = Tokens.TestCase


def test_a_block_that_is_used_up_is_followed_by_another(
    make: Make, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollcage.core.coordination.tokens.BLOCK", 3)
    leases = make(clock)
    tokens = []
    for _ in range(8):
        held = leases.acquire("a", "ann")
        tokens.append(held.token)
        leases.release(held)
    assert tokens == [1, 2, 3, 4, 5, 6, 7, 8]


def wait_for_waiters(leases: EmbeddedLeases, count: int) -> None:
    """Poll until so many wait for the one lease there is."""
    clock = SystemClock()
    deadline = clock.boot() + 30
    while len(leases.list()[0].waiters) != count:
        assert clock.boot() < deadline, "nobody came to wait"
        threading.Event().wait(0.01)
