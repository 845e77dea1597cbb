"""Old and large snapshots go, what is needed stays, and a removal that was killed is ended the next time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rollcage.core.execute.retention import prune
from rollcage.core.execute.snapshots import snapshot_name, take_snapshot
from rollcage.core.execute.standby import safe_note
from rollcage.core.gitrepo.snapshot import SNAPSHOTS, verify
from rollcage.core.gitrepo.upkeep import MANY_PACKS, join_packs, reclaim
from rollcage.core.model import Rollback, RollbackState, Snapshot
from rollcage.core.services import Services
from tests.conftest import ManualClock, git
from tests.loop import Shop


@pytest.fixture
def services(shop: Shop, clock: ManualClock) -> Services:
    return shop.open(clock).services()


def snapped(services: Services, shop: Shop, text: str) -> Snapshot:
    (shop.path / "draft").write_text(text)
    return take_snapshot(services, snapshot_name(services, services.clock.now()), "by hand")


def refs(services: Services) -> list[str]:
    return services.mirror.git.text("for-each-ref", "--format=%(refname:lstrip=3)", SNAPSHOTS).split()


def rolled_back(services: Services, state: RollbackState, snapshot: str) -> None:
    now = services.clock.now()
    services.store.save_rollback(
        Rollback(
            id=services.store.new_rollback_id(),
            incident="inc-9",
            option="opt-9.1",
            plan_hash="",
            kind="rollback",
            state=state,
            approved_by="ann",
            started=now,
            head_before="",
            ended=None if state is RollbackState.RUNNING else now,
            snapshot=snapshot,
        )
    )


def test_what_is_old_goes_and_what_is_needed_stays(services: Services, shop: Shop, clock: ManualClock) -> None:
    names = ("old", "of an incident", "failed", "running", "undoable", "not any more", "newest")
    snapshots = {}
    for name in names:
        clock.advance(60)
        snapshots[name] = snapped(services, shop, name).id
    incident = shop.incident()
    services.store.set_note(safe_note(incident.id), snapshots["of an incident"])
    rolled_back(services, RollbackState.DONE, snapshots["not any more"])
    clock.advance(40 * 86_400)
    rolled_back(services, RollbackState.FAILED, snapshots["failed"])
    rolled_back(services, RollbackState.RUNNING, snapshots["running"])
    rolled_back(services, RollbackState.DONE, snapshots["undoable"])
    clock.advance(3_600)
    assert len([line for line in prune(services, clock.now()) if "older than 30 days" in line]) == 2
    stay = {snapshots[name] for name in names if name not in ("old", "not any more")}
    assert {snapshot.id for snapshot in services.store.snapshots()} == stay == set(refs(services))
    assert {folder.name for folder in services.paths.snapshots.iterdir()} == stay
    assert prune(services, clock.now()) == []
    assert services.store.verify_audit().ok


def test_the_oldest_go_where_all_are_too_large(shop: Shop, clock: ManualClock) -> None:
    shop.configure(retention={"size": 700})
    services = shop.open(clock).services()
    taken = []
    for number in range(3):
        clock.advance(60)
        taken.append(snapped(services, shop, f"draft {number}"))
    assert sum(snapshot.size for snapshot in taken) > 700 > taken[-1].size
    assert "over 7e-07 GB" in prune(services, clock.now())[0]
    kept = services.store.snapshots()
    assert kept[0] == taken[-1]
    assert sum(snapshot.size for snapshot in kept) <= 700


def test_one_that_is_being_made_stays_and_what_a_kill_left_goes_a_day_later(
    services: Services, shop: Shop, clock: ManualClock
) -> None:
    kept = snapped(services, shop, "kept")
    begun = snapped(services, shop, "begun")
    services.store.forget_snapshot(begun.id)  # as if killed before its record was written, or after it was removed
    (services.paths.snapshots / ".gone-snap-1").mkdir()
    prune(services, clock.now())
    assert {folder.name for folder in services.paths.snapshots.iterdir()} == {kept.id, begun.id}
    folder = Path(begun.path)
    prune(services, datetime.fromtimestamp(folder.stat().st_mtime, UTC) + timedelta(days=2))
    assert not folder.exists()
    assert refs(services) == [kept.id]


def test_packs_are_joined_and_nothing_that_is_needed_is_dropped(
    services: Services, shop: Shop, clock: ManualClock
) -> None:
    snapshots = [snapped(services, shop, f"draft {number}") for number in range(2)]
    for number in range(MANY_PACKS + 1):
        git(shop.path, "commit", "-q", "--allow-empty", "-m", f"more {number}")
        services.mirror.keep_branches()
    head = shop.head()
    packs = services.mirror.objects / "pack"
    assert join_packs(services.mirror)
    assert len(list(packs.glob("*.pack"))) <= MANY_PACKS
    assert not join_packs(services.mirror)
    before = services.mirror.git.text("for-each-ref")
    loose = services.mirror.git.text("hash-object", "-w", "--stdin", stdin=b"rehearsed")
    prune(services, clock.now())
    assert reclaim(services.mirror, clock.now())
    assert services.mirror.git.text("for-each-ref") == before
    assert services.mirror.git.text("cat-file", "-t", loose) == "blob"
    git(shop.path, "config", "gc.auto", "0")
    (shop.path / ".git").rename(shop.path / "gone")  # what is kept needs nothing of the user's
    assert services.mirror.git.text("rev-list", "--count", head) == str(MANY_PACKS + 4)
    services.mirror.git.run("fsck", "--connectivity-only")
    (shop.path / "gone").rename(shop.path / ".git")
    commits = [services.mirror.git.text("rev-parse", f"{SNAPSHOTS}/{snapshot.id}") for snapshot in snapshots]
    assert verify(services.repository, services.mirror, commits[1]) != []
