"""What the leases of one machine promise beside: by the injected clock, over damage, and between processes."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rollcage.core.clock import SystemClock
from rollcage.core.coordination import lease_file, lease_table
from rollcage.core.coordination.embedded import EmbeddedLeases
from rollcage.core.coordination.leases import HeldLease, LostLeaseError
from rollcage.core.errors import LeaseError, StoreError
from rollcage.core.store.paths import RepositoryPaths
from tests.conftest import ManualClock
from tests.coordination.conftest import Make, Spawn, line
from tests.coordination.test_leases import until, until_waiting

ID = "01234567-89ab-cdef-0123-456789abcdef"
"""Of a holder that is not there, and so counts as alive."""


class Rebooted(ManualClock):
    """The clock of the ``number``-th boot: it begins near zero again."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.seconds = float(number)

    def boot_id(self) -> str:
        return f"boot-{self.number}"


class TestTime:
    """By the injected clock."""

    def test_ends_a_lease(self, make: Make, clock: ManualClock) -> None:
        ann = make(clock)
        ann.acquire("issue/9", "planner")
        held = ann.acquire("branch/main", "engine", ttl=10)
        assert (held.token, held.expires) == (2, 1010)
        clock.advance(4)
        assert [(lease.name, lease.expires_in_s) for lease in make(clock).list()] == [
            ("branch/main", 6.0),
            ("issue/9", 26.0),
        ]
        clock.advance(6)
        assert [lease.name for lease in ann.list()] == ["issue/9"]
        with pytest.raises(LostLeaseError, match="token 2 has lapsed"):
            ann.renew(held)
        newer = make(clock).acquire("branch/main", "bob")
        with pytest.raises(LostLeaseError, match=r"token 2 is stale; bob has had the lock since, with token 3"):
            ann.release(held)
        assert newer.token == 3

    def test_lets_a_waiter_in_when_it_is_up(self, make: Make, clock: ManualClock) -> None:
        make(clock).acquire("a", "ann", ttl=10)
        start = clock.boot()
        assert make(clock).acquire("a", "bob", wait=60).token == 2
        assert 10 <= clock.boot() - start < 11

    def test_is_that_of_the_boot_clock(self, make: Make, clock: ManualClock) -> None:
        """A step of the wall clock moves nothing."""
        ann = make(clock)
        held = ann.acquire("a", "ann", ttl=10)
        clock.moment = clock.moment.replace(year=1999)
        assert [lease.name for lease in ann.list()] == ["a"]
        clock.moment = clock.moment.replace(year=2077)
        ann.release(ann.renew(held))

    def test_begins_anew_with_the_machine(self, make: Make, clock: ManualClock) -> None:
        """The boot clock begins at zero, so the old expiry would seem far away."""
        held = make(clock).acquire("a", "ann", ttl=1e6)
        with pytest.raises(LeaseError):
            make(clock).acquire("a", "bob")
        bob = make(Rebooted(2))
        assert bob.list() == []
        assert bob.acquire("a", "bob").token > held.token


class TestDeath:
    """Seen by the free flock."""

    def test_is_seen_at_once(self, make: Make, spawn: Spawn) -> None:
        leases = make(SystemClock())
        child = spawn("leases.acquire('a', 'child', 60.0); print('had', flush=True); sys.stdin.read()")
        line(child)
        child.kill()
        child.wait(timeout=10)
        assert leases.list() == []
        assert leases.acquire("a", "test").token == 2

    def test_leaves_files_that_the_next_holder_removes(self, make: Make, spawn: Spawn, paths: RepositoryPaths) -> None:
        leases = make(SystemClock())
        held = leases.acquire("a", "test", ttl=60)
        child = spawn("leases.acquire('b', 'child', 60.0); leases.acquire('a', 'child', 60.0, 60.0)")
        until_waiting(leases, 1)
        assert len(list(paths.holders.iterdir())) == 3  # two holders, one bell
        child.kill()
        child.wait(timeout=10)
        other = make(SystemClock())
        other.acquire("c", "other")
        assert len(list(paths.holders.iterdir())) == 2
        leases.release(held)
        assert [lease.name for lease in leases.list()] == ["c"]
        leases.close()
        other.close()
        assert list(paths.holders.iterdir()) == []

    def test_is_not_concluded_from_a_missing_file(self, make: Make, paths: RepositoryPaths, clock: ManualClock) -> None:
        """In doubt the holder lives, until its time is up."""
        make(clock).acquire("a", "ann", ttl=10)
        for file in paths.holders.iterdir():
            file.unlink()
        with pytest.raises(LeaseError):
            make(clock).acquire("a", "bob")
        clock.advance(10)
        assert make(clock).acquire("a", "bob").token == 2

    def test_of_a_parent_is_seen_though_its_child_lives(self, make: Make, spawn: Spawn) -> None:
        """A child by fork has the parent's files, and could not use its connections."""
        leases = make(SystemClock())
        parent = spawn(
            "leases.acquire('a', 'parent', 60.0)\n"
            "if os.fork():\n    sys.stdin.read()\n"
            "try:\n    leases.list()\n"
            "except Exception as error:\n    print(error, flush=True)\n"
            "ctypes.CDLL(None).prctl(1, 0)\nsys.stdin.read()\n"
        )
        assert "opened before this process forked" in line(parent)
        with pytest.raises(LeaseError):
            leases.acquire("a", "test")
        parent.kill()
        parent.wait(timeout=10)
        leases.acquire("a", "test", wait=30)


class TestWaking:
    """Who waits is woken by name, and finds its way without."""

    def test_does_not_need_the_bell(self, make: Make, spawn: Spawn, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lease_table, "ring", lambda *_: None)
        leases = make(SystemClock())
        held = leases.acquire("a", "test", ttl=60)
        child = spawn("leases.acquire('a', 'child', 60.0, 60.0); print('had', flush=True)")
        until_waiting(leases, 1)
        leases.release(held)
        assert line(child) == "had"

    def test_is_done_when_the_leases_are_closed(self, make: Make, paths: RepositoryPaths) -> None:
        leases, other = make(SystemClock()), make(SystemClock())
        other.acquire("a", "ann", ttl=60)
        with ThreadPoolExecutor(1) as pool:
            waits = pool.submit(leases.acquire, "a", "bob", 60.0, 60.0)
            until_waiting(other, 1)
            leases.close()
            with pytest.raises(StoreError, match="was closed"):
                waits.result(30)
        assert other.wait_log().waitings == ()
        assert len(list(paths.holders.iterdir())) == 1

    def test_writes_into_no_file_of_others(self, make: Make, paths: RepositoryPaths, tmp_path: Path) -> None:
        leases = make(SystemClock())
        precious = tmp_path / "precious"
        precious.write_text("precious")
        held = leases.acquire("a", "test", ttl=60)
        (paths.holders / f"{ID}.0").write_text("a file")
        (paths.holders / f"{ID}.1").symlink_to(precious)
        with closing(sqlite3.connect(paths.locks_db)) as agent:
            for seq, (holder_id, bell) in enumerate([(ID, 0), (ID, 1), ("../../precious", 0), (ID, -1)], 1):
                agent.execute(
                    "INSERT INTO waiter SELECT ?, 'a', 'x', ?, ?, 's', 1, 1, 0.0, boot_id, ?, NULL FROM lease",
                    (seq, holder_id, bell, SystemClock().boot() + 3),
                )
                agent.commit()
                leases.break_("a", "op", "", lambda *_: None)
                agent.execute("DELETE FROM waiter")
                agent.commit()
                held = leases.acquire("a", "test", ttl=60)
        assert (paths.holders / f"{ID}.0").read_text() == "a file"
        assert precious.read_text() == "precious"
        leases.release(held)

    def test_works_below_a_long_path(self, tmp_path: Path) -> None:
        """A socket's path would have 107 bytes."""
        root = tmp_path / ("long" * 50)
        root.mkdir()
        with closing(EmbeddedLeases(RepositoryPaths(root), SystemClock())) as leases, ThreadPoolExecutor(1) as pool:
            held = leases.acquire("a", "ann", ttl=60)
            waits = pool.submit(leases.acquire, "a", "bob", 60.0, 60.0)
            until_waiting(leases, 1)
            leases.release(held)
            leases.release(waits.result(30))

    def test_is_fair_under_a_hot_loop(self, make: Make, spawn: Spawn) -> None:
        """Four processes that take it again as soon as they gave it back: nobody has much less than the others."""
        leases = make(SystemClock())
        held = leases.acquire("a", "test", ttl=60)
        code = (
            "import select\ncount = 0\n"
            "while not select.select([sys.stdin], [], [], 0)[0]:\n"
            "    leases.release(leases.acquire('a', 'child', 60.0, 60.0))\n    count += 1\n"
            "print(count, flush=True)\n"
        )
        children = [spawn(code) for _ in range(4)]
        until_waiting(leases, 4)
        leases.release(held)
        until(lambda: _highest(leases) > 400)
        for child in children:
            assert child.stdin is not None
            child.stdin.write("\n")
            child.stdin.flush()
        counts = [int(line(child)) for child in children]
        assert min(counts) >= 0.8 * sum(counts) / len(counts), counts


def _highest(leases: EmbeddedLeases) -> int:
    held = leases.acquire("counter", "test")
    leases.release(held)
    return held.token


class TestDamage:
    """Agents may write into the file; disks are full."""

    @pytest.mark.parametrize(
        "values",
        [
            "'a', 'text', 'x', 'ID', 's', 1, 1, 30.0, 0.0, 'BOOT', NOW",
            "'a', -5, 'x', 'ID', 's', 1, 1, 30.0, 0.0, 'BOOT', NOW",
            "'a', 9223372036854775807, 'x', 'ID', 's', 1, 1, 30.0, 0.0, 'BOOT', NOW",
            "'a', 7, x'ff00', 'ID', 's', 1, 1, 30.0, 0.0, 'BOOT', NOW",
            "'a', 7, CAST(x'ff00fe' AS TEXT), 'ID', 's', 1, 1, 30.0, 0.0, 'BOOT', NOW",
            "'a', 7, '\x1b[31mred', 'ID', 's', 1, 1, 30.0, 0.0, 'BOOT', NOW",
            "'a', 7, 'x', '../../etc/passwd', 's', 1, 1, 30.0, 0.0, 'BOOT', NOW",
            "'a', 7, 'x', 'ID', 's', 0, 0, 30.0, 0.0, 'BOOT', NOW",
            "'a', 7, 'x', 'ID', 's', 1, 99999999999999, 30.0, 0.0, 'BOOT', NOW",
            "'a', 7, 'x', 'ID', 's', 1, 1, -1.0, 0.0, 'BOOT', NOW",
            "'a', 7, 'x', 'ID', 's', 1, 1, 1e300, 0.0, 'BOOT', 1e200",
            "'a', 7, 'x', 'ID', 's', 1, 1, 30.0, 9e300, 'BOOT', NOW",
            "'a', 7, 'x', 'ID', 's', 1, 1, 30.0, 'yesterday', 'BOOT', NOW",
            "'a', 7, 'x', 'ID', 's', 1, 1, 30.0, 0.0, 'BOOT', 9e999",
            "'a', 7, 'x', 'ID', 's', 1, 1, 30.0, 0.0, 'BOOT', 1e12",
            "'a', 7, 'x', 'ID', 's', 1, 1, 30.0, 0.0, 'BOOT', 'soon'",
            "'a', 7, 'x', 'ID', 's', 1, 1, 30.0, 0.0, x'00', NOW",
            "x'61', 7, 'x', 'ID', 's', 1, 1, 30.0, 0.0, 'BOOT', NOW",
        ],
    )
    def test_of_a_lease_is_passed_over(
        self, make: Make, paths: RepositoryPaths, clock: ManualClock, values: str
    ) -> None:
        leases = make(clock)
        plant(paths, "lease", values)
        assert leases.list() == []
        assert leases.wait_log().holdings == ()
        with pytest.raises(LostLeaseError):
            leases.break_("a", "op", "", lambda *_: None)
        held = leases.acquire("a", "ann")
        assert 0 < held.token < 1_000
        leases.release(leases.renew(held))
        assert leases.acquire("a", "bob", permits=2).token > held.token

    @pytest.mark.parametrize(
        "values",
        [
            "7, 'a', 'x', 'ID', 0, 's', 1, 1, 0.0, 'BOOT', 1e12, NULL",
            "7, 'a', 'x', 'ID', 'bell', 's', 1, 1, 0.0, 'BOOT', NOW, NULL",
            "-7, 'a', '', 'ID', 0, 's', 1, 1, 0.0, 'BOOT', NOW, NULL",
            "7, 'a', 'x', 'ID', 0, 's', 1, 7, 0.0, 'BOOT', NOW, NULL",
            "7, 'a', 'x', 'ID', 0, 's', 1, 1, 'now', 'BOOT', NOW, NULL",
            "9223372036854775807, 'a', 'x', '/', 0, 's', 1, 1, 0.0, 'BOOT', NOW, 7",
            "7, 'a', 'x', 'ID', 0, 's', 1, 1, 0.0, 'BOOT', NOW, x'00'",
        ],
    )
    def test_of_a_queue_is_passed_over(
        self, make: Make, paths: RepositoryPaths, clock: ManualClock, values: str
    ) -> None:
        leases, other = make(clock), make(clock)
        plant(paths, "waiter", values)
        assert leases.wait_log().waitings == ()
        held = leases.acquire("a", "ann", ttl=5)
        plant(paths, "waiter", values)
        assert other.acquire("a", "bob", wait=60).token > held.token

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE token SET next = 'x', reserved = 'y', boot_id = x'00'",
            "UPDATE token SET next = 9223372036854775807, reserved = 9223372036854775807",
            "DELETE FROM token",
            "INSERT INTO broken VALUES (9223372036854775807, 'a', 'x', 'y')",
        ],
    )
    def test_of_the_old_counter_changes_no_token(
        self, make: Make, paths: RepositoryPaths, clock: ManualClock, statement: str
    ) -> None:
        leases = make(clock)
        first = leases.acquire("a", "ann").token
        with closing(sqlite3.connect(paths.locks_db)) as agent:
            agent.execute(statement)
            agent.commit()
        assert leases.acquire("b", "ann").token == first + 1
        assert make(Rebooted(2)).acquire("b", "ann").token == 10_001

    def test_by_a_full_disk_is_one_clear_line_and_no_lease(self, make: Make, spawn: Spawn) -> None:
        child = spawn(
            "import resource\nfrom rollcage.core.errors import StoreError\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "leases.release(leases.acquire('a', 'child'))\n"
            "full = os.path.getsize(paths.locks_db.with_name('locks.db-wal')) + 3000\n"
            "limits = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (full, limits[1]))\n"
            "held = []\n"
            "try:\n"
            "    for number in range(100):\n        held.append(leases.acquire(str(number), 'child'))\n"
            "except StoreError as error:\n    print(error, flush=True)\n"
            "print(*(each.name for each in held), flush=True)\n"
            "try:\n    leases.acquire('x', 'child', wait=0.1)\n"
            "except StoreError as error:\n    print('again', flush=True)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, limits)\n"
            "print(leases.acquire('room', 'child').token > max(each.token for each in held), flush=True)\n"
            "sys.stdin.read()\n"
        )
        said = line(child)
        assert "the disk" in said
        assert "this change was not written" in said
        held = line(child).split()
        assert line(child) == "again"
        assert line(child) == "True"
        assert sorted(lease.name for lease in make(SystemClock()).list()) == sorted([*held, "room"])

    def test_by_a_file_that_cannot_be_written_is_one_clear_line(self, make: Make, clock: ManualClock) -> None:
        leases = make(clock)
        held = leases.acquire("a", "ann")
        with leases._file.connections.reading() as connection:
            connection.execute("PRAGMA query_only=ON")
        for wait in (0.0, 5.0):
            with pytest.raises(StoreError, match="cannot be written; nothing was changed"):
                leases.acquire("b", "ann", wait=wait)
        with pytest.raises(StoreError, match="cannot be written"):
            leases.release(held)
        assert [lease.name for lease in leases.list()] == ["a"]

    def test_by_one_who_writes_for_ever_is_one_clear_line(
        self, make: Make, paths: RepositoryPaths, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("rollcage.core.coordination.lease_file.BUSY_TIMEOUT", 0.1)
        leases = make(clock)
        held = leases.acquire("a", "ann")
        with closing(sqlite3.connect(paths.locks_db, isolation_level=None)) as agent:
            agent.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match="locked by another process"):
                leases.acquire("b", "ann")
            with pytest.raises(StoreError, match="locked by another process"):
                leases.acquire("a", "bob", wait=5)
            with pytest.raises(StoreError, match="locked by another process"):
                leases.renew(held)
            assert [lease.name for lease in leases.list()] == ["a"]
            agent.execute("ROLLBACK")
        leases.release(leases.renew(held))

    def test_by_another_who_writes_lets_one_thread_of_a_process_look_at_a_time(
        self, make: Make, paths: RepositoryPaths, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Hundreds that look again and again hold each other up: most of five hundred were told that it is locked."""
        leases, looking, most = make(SystemClock()), list[object](), [0]
        patiently = lease_file._patiently

        def counted(do: Callable[[], object], deadline: float = 0.0) -> object:
            if not deadline:  # who reads, or ends what it has begun
                return patiently(do)
            looking.append(do)
            most[0] = max(most[0], len(looking))
            try:
                return patiently(do, deadline)
            finally:
                looking.remove(do)

        monkeypatch.setattr(lease_file, "_patiently", counted)
        with closing(sqlite3.connect(paths.locks_db, isolation_level=None)) as agent, ThreadPoolExecutor(20) as pool:
            agent.execute("BEGIN IMMEDIATE")
            asked = [pool.submit(leases.acquire, f"lock {n}", "ann") for n in range(20)]
            until(lambda: bool(looking))
            agent.execute("ROLLBACK")
            assert len({each.result(20).token for each in asked}) == 20
        assert most == [1]

    def test_by_a_deleted_file_is_a_lost_lease(self, make: Make, paths: RepositoryPaths, clock: ManualClock) -> None:
        """While it is held: who held it is told, nobody gets an older token, and all go on in the new file."""
        ann, bob = make(clock), make(clock)
        held = ann.acquire("a", "ann")
        for file in paths.root.glob("locks.db*"):
            file.unlink()
        newer = bob.acquire("a", "bob")
        assert newer.token > held.token
        with pytest.raises(LostLeaseError, match="bob has had the lock since"):
            ann.renew(held)
        with pytest.raises(LeaseError):
            ann.acquire("a", "ann")
        bob.release(newer)

    def test_by_a_deleted_file_is_noticed_by_who_waits(self, make: Make, paths: RepositoryPaths) -> None:
        leases, other = make(SystemClock()), make(SystemClock())
        held = leases.acquire("a", "ann", ttl=60)
        with ThreadPoolExecutor(1) as pool:
            waits = pool.submit(other.acquire, "a", "bob", 60.0, 60.0)
            until_waiting(leases, 1)
            for file in paths.root.glob("locks.db*"):
                file.unlink()
            newer = waits.result(30)
        assert newer.token > held.token
        with pytest.raises(LostLeaseError):
            leases.release(held)
        other.release(newer)

    def test_by_an_older_rollcage_is_carried_over(self, paths: RepositoryPaths, clock: ManualClock) -> None:
        from rollcage.core.coordination.lease_rows import MIGRATIONS

        with closing(sqlite3.connect(paths.locks_db)) as old:
            old.executescript(MIGRATIONS[0])
            old.execute("UPDATE token SET next = 57, reserved = 10001, boot_id = 'test-boot'")
            old.execute(
                "INSERT INTO lease VALUES ('a', 'ann', ?, 56, '2026-11-20T13:59:00.000000Z', 'test-boot', 1020)", (ID,)
            )
            old.execute("PRAGMA user_version=1")
            old.commit()
        with closing(EmbeddedLeases(paths, clock)) as leases:
            assert [(lease.name, lease.token, lease.expires_in_s) for lease in leases.list()] == [("a", 56, 20.0)]
            assert leases.acquire("b", "bob").token == 10_001


def plant(paths: RepositoryPaths, table: str, values: str) -> None:
    values = values.replace("ID", ID).replace("BOOT", "test-boot").replace("NOW", "1010.0")
    with closing(sqlite3.connect(paths.locks_db)) as agent:
        agent.execute(f"INSERT OR REPLACE INTO {table} VALUES ({values})")
        agent.commit()


class Tokens(RuleBasedStateMachine):
    """Tokens grow through all that can happen to the files."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.boots = 1
        self.clock = Rebooted(1)
        self.leases: EmbeddedLeases | None = None
        self.highest = 0
        self.held: list[HeldLease] = []

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @initialize()
    def begin(self) -> None:
        self.root.mkdir()
        self.open()

    def open(self) -> None:
        if self.leases is not None:
            self.leases.close()
        self.leases = EmbeddedLeases(RepositoryPaths(self.root), self.clock)
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
        self.open()

    @rule(name=st.sampled_from(["locks.db", "tokens.next", "tokens.reserved"]))
    def lose_a_file(self, name: str) -> None:
        """One at a time: all three at once are a new beginning."""
        assert self.leases is not None
        self.leases.close()
        for file in self.root.glob(f"{name}*"):
            file.unlink()
        self.open()
        self.some(1)

    @rule(grants=st.integers(0, 30), in_place=st.booleans(), name=st.sampled_from(["locks.db", "tokens.reserved"]))
    def put_an_old_copy_back(self, grants: int, in_place: bool, name: str) -> None:
        assert self.leases is not None
        old = self.folder / "old"
        self.leases.close()
        with suppress(FileNotFoundError):
            shutil.copy(self.root / name, old)
        self.open()
        self.some(grants)
        self.leases.close()
        if old.exists():
            if not in_place:
                (self.root / name).unlink(missing_ok=True)
            shutil.copy(old, self.root / name)
            old.unlink()
        self.open()

    @rule(grants=st.integers(0, 30))
    def power_cut(self, grants: int) -> None:
        """Only what was synced survives: the state from before the last grants."""
        assert self.leases is not None
        self.some(1)  # the block of this boot is reserved, hence synced
        synced = self.folder / "synced"
        self.leases.close()
        shutil.copytree(self.root, synced)
        self.open()
        self.some(grants)
        self.leases.close()
        shutil.rmtree(self.root)
        synced.rename(self.root)
        self.boots += 1
        self.clock = Rebooted(self.boots)
        self.open()

    def some(self, grants: int) -> None:
        assert self.leases is not None
        for _ in range(grants):
            held = self.leases.acquire("c", "me")
            assert held.token > self.highest
            self.highest = held.token
            self.leases.release(held)

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
    first, second = make(clock), make(clock)
    tokens = []
    for number in range(8):
        leases = second if number % 3 else first
        held = leases.acquire("a", "ann")
        tokens.append(held.token)
        leases.release(held)
    assert tokens == [1, 2, 3, 4, 5, 6, 7, 8]
