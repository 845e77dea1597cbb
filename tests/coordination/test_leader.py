"""One engine leads a repository, whatever dies, sleeps, or is configured otherwise."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from rollcage.core.clock import SystemClock
from rollcage.core.coordination.embedded import EmbeddedLeases
from rollcage.core.coordination.leader import Leader
from rollcage.core.errors import StoreError
from rollcage.core.store.identity import identify
from tests.conftest import ManualClock
from tests.coordination.conftest import Make, Spawn, line

LEAD = """
from rollcage.core.coordination.leader import Leader
leader = Leader(Path(sys.argv[2]), leases)
print(leader.try_lead(), leader.name, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def common(repository: Path) -> Path:
    return repository / ".git"


def test_one_leads(common: Path, make: Make, clock: ManualClock) -> None:
    first, second = Leader(common, make(clock)), Leader(common, make(clock))
    assert first.holder() is None
    assert first.try_lead()
    assert first.try_lead()
    assert (first.leading, first.token) == (True, 1)
    assert not second.try_lead()
    assert (second.leading, second.token) == (False, None)
    assert second.holder() == first.holder() == f"pid {os.getpid()} on {os.uname().nodename}"
    first.resign()
    assert (first.leading, first.token) == (False, None)
    assert second.holder() is None
    assert second.try_lead()
    assert second.token == 2
    second.resign()
    second.resign()


def test_leads_on_by_its_heartbeat(common: Path, make: Make, clock: ManualClock) -> None:
    leader, watcher = Leader(common, make(clock)), make(clock)
    leader.try_lead()
    for _ in range(5):
        clock.advance(9)
        assert leader.heartbeat()
    assert leader.token == 1
    assert [lease.expires_in_s for lease in watcher.list()] == [10.0]
    leader.resign()
    assert not leader.heartbeat()


def test_leads_on_with_a_new_token_after_the_machine_slept(common: Path, make: Make, clock: ManualClock) -> None:
    leader, other = Leader(common, make(clock)), Leader(common, make(clock))
    leader.try_lead()
    clock.advance(3600)
    assert other.holder() == leader.name
    assert not other.try_lead()
    assert leader.heartbeat()
    assert leader.token == 2
    leader.resign()


def test_resigns_when_its_lease_is_broken(common: Path, make: Make, clock: ManualClock) -> None:
    operator = make(clock)
    leader, other = Leader(common, make(clock)), Leader(common, operator)
    leader.try_lead()
    operator.break_("engine", "op@host", "it hangs", lambda who, what, subject, why="": None)
    assert not leader.heartbeat()
    assert not leader.leading
    assert other.try_lead()
    assert not leader.try_lead()
    other.resign()


def test_does_not_lead_where_an_engine_of_another_state_directory_does(
    repository: Path, common: Path, make: Make, clock: ManualClock, tmp_path: Path
) -> None:
    leases = EmbeddedLeases(identify(common, lambda: ["root"], home=tmp_path / "other"), clock)
    first, second = Leader(common, make(clock)), Leader(common, leases)
    assert first.try_lead()
    assert not second.try_lead()
    assert second.holder() == first.name
    first.resign()
    assert second.holder() is None
    assert second.try_lead()
    second.resign()
    leases.close()


def test_does_not_lead_beside_another_after_git_was_deleted(common: Path, make: Make, clock: ManualClock) -> None:
    """The flock is gone with the folder, the lease is not."""
    first, second = Leader(common, make(clock)), Leader(common, make(clock))
    first.try_lead()
    shutil.rmtree(common / "rollcage")
    assert not second.try_lead()
    assert second.holder() == first.name
    first.resign()
    assert second.try_lead()
    second.resign()


def test_is_replaced_when_its_process_is_killed(common: Path, make: Make, spawn: Spawn) -> None:
    leader = Leader(common, make(SystemClock()))
    child = spawn(LEAD, str(common))
    assert line(child) == f"True pid {child.pid} on {os.uname().nodename}"
    assert not leader.try_lead()
    assert leader.holder() == f"pid {child.pid} on {os.uname().nodename}"
    child.kill()
    child.wait(timeout=10)
    assert leader.holder() is None
    assert leader.try_lead()
    leader.resign()


def test_without_a_git_directory_is_one_clear_line(common: Path, make: Make, clock: ManualClock) -> None:
    shutil.rmtree(common)
    with pytest.raises(StoreError, match="cannot write"):
        Leader(common, make(clock)).try_lead()
