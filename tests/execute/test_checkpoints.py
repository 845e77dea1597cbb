"""At good commits data are kept, once each; what is needed stays, and they come back as they were."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rollcage.core.data.objects import PIECE
from rollcage.core.errors import StoreError
from rollcage.core.execute.checkpoints import (
    newest_before,
    restore_checkpoint,
    restore_checkpoint_files,
    take_checkpoint,
)
from rollcage.core.execute.retention import prune
from rollcage.core.execute.snapshots import snapshot_name, take_snapshot
from rollcage.core.gitrepo.repository import Repository
from rollcage.core.model import Checkpoint, IncidentState, Snapshot
from rollcage.core.services import Services, open_services
from tests.conftest import ManualClock, git
from tests.execute.scene import Scene, incident_of

CHECK = {"name": "sad", "sql": "SELECT count(*) FROM orders WHERE price < 0"}


class World:
    """A repository with a database and a tree outside git."""

    def __init__(self, scene: Scene, clock: ManualClock) -> None:
        self.top = scene.top
        self.clock = clock
        (self.top / "models").mkdir()
        (self.top / "models" / "weights.log").write_text("one\n")
        self.run("CREATE TABLE orders (id INTEGER PRIMARY KEY, price REAL, note TEXT)")
        self.services = self.opened(scene)

    def opened(self, scene: Scene, **settings: object) -> Services:
        services = scene.services()
        found = scene.settings(
            **{"database": {"url": "sqlite:///app.log", "checks": [CHECK]}, "files": ["models"], **settings}
        )
        services.store.close()
        store = type(services.store).open(scene.paths, self.clock)
        return open_services(Repository.discover(self.top), scene.paths, store, found, "0" * 64, self.clock)

    def run(self, sql: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.top / "app.log", isolation_level=None)) as connection:
            return connection.execute(sql).fetchall()

    def tip(self) -> str:
        return git(self.top, "rev-parse", "main")

    def objects(self) -> list[Path]:
        return sorted((self.services.paths.root / "checkpoints" / "objects").iterdir())

    def wait(self, seconds: float = 700) -> None:
        self.clock.advance(seconds)


@pytest.fixture
def world(scene: Scene, clock: ManualClock) -> Iterator[World]:
    world = World(scene, clock)
    yield world
    world.services.store.close()


def test_it_is_taken_where_something_was_written_and_not_too_often(world: World) -> None:
    first = take_checkpoint(world.services, world.tip())
    assert first is not None
    assert (first.databases, first.files, first.sha) == (("sqlite",), ("models",), world.tip())
    world.run("INSERT INTO orders VALUES (1, 2, '')")
    assert take_checkpoint(world.services, world.tip()) is None
    world.wait()
    second = take_checkpoint(world.services, world.tip())
    assert second is not None
    world.wait()
    assert take_checkpoint(world.services, world.tip()) is None
    (world.top / "models" / "weights.log").write_text("two\n")
    third = take_checkpoint(world.services, world.tip())
    assert third is not None
    assert third.size == len("two\n")
    assert [each.id for each in world.services.store.checkpoints()] == [third.id, second.id, first.id]
    assert world.services.store.verify_audit().ok


def test_none_is_taken_while_something_is_wrong(world: World) -> None:
    world.run("INSERT INTO orders VALUES (1, -2, '')")
    assert take_checkpoint(world.services, world.tip()) is None
    world.run("DELETE FROM orders")
    incident = incident_of(world.services)
    assert take_checkpoint(world.services, world.tip()) is None
    world.services.store.save_incident(replace(incident, state=IncidentState.CLEARED, closed=world.clock.now()))
    assert take_checkpoint(world.services, world.tip()) is not None


def test_what_stays_the_same_is_kept_once(world: World) -> None:
    world.run("CREATE TABLE big (id INTEGER PRIMARY KEY, content BLOB)")
    world.run(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60)"
        " INSERT INTO big SELECT i, randomblob(100000) FROM n"
    )
    first = take_checkpoint(world.services, world.tip())
    world.wait()
    world.run("UPDATE big SET content = zeroblob(100000) WHERE id = 30")
    second = take_checkpoint(world.services, world.tip())
    assert first is not None
    assert second is not None
    assert first.size > 6_000_000
    assert second.size <= 4 * PIECE


def test_it_comes_back_as_it_was(world: World) -> None:
    world.run("INSERT INTO orders VALUES (1, 2, 'kept')")
    kept = take_checkpoint(world.services, world.tip())
    assert kept is not None
    world.run("DELETE FROM orders")
    world.run("ALTER TABLE orders ADD COLUMN late")
    (world.top / "models" / "weights.log").write_text("spoilt\n")
    (world.top / "models" / "new.log").write_text("new\n")
    restore_checkpoint(world.services, kept)
    assert world.run("SELECT * FROM orders") == [(1, 2.0, "kept")]
    assert (world.top / "models" / "weights.log").read_text() == "spoilt\n"
    restored = restore_checkpoint_files(world.services, kept)
    assert restored is not None
    assert restored.written == ("models/weights.log",)
    assert (world.top / "models" / "weights.log").read_text() == "one\n"
    assert (world.top / "models" / "new.log").exists()


def test_a_damaged_one_changes_nothing(world: World) -> None:
    world.run("INSERT INTO orders VALUES (1, 2, 'kept')")
    kept = take_checkpoint(world.services, world.tip())
    assert kept is not None
    world.run("DELETE FROM orders")
    for path in world.objects():
        path.write_bytes(b"spoilt")
    with pytest.raises(StoreError, match="is damaged"):
        restore_checkpoint(world.services, kept)
    for path in world.objects():
        path.unlink()
    with pytest.raises(StoreError, match="is gone"):
        restore_checkpoint(world.services, kept)
    assert world.run("SELECT * FROM orders") == []


def test_the_newest_before_a_fault_is_found(world: World, bad: str) -> None:
    good = git(world.top, "rev-parse", f"{bad}^")
    taken = []
    for number, sha in enumerate((good, bad, world.tip())):
        world.run(f"INSERT INTO orders VALUES ({number}, 1, '')")
        taken.append(take_checkpoint(world.services, sha))
        world.wait()
    store, mirror = world.services.store, world.services.mirror
    assert newest_before(store, mirror, [bad]) == taken[0]
    assert newest_before(store, mirror, [world.tip()]) == taken[1]
    assert newest_before(store, mirror, []) == taken[2]
    assert newest_before(store, mirror, [], world.clock.now() - timedelta(seconds=1000)) == taken[1]
    assert newest_before(store, mirror, [good]) is None


def test_old_ones_go_but_never_the_last_nor_one_that_is_needed(world: World) -> None:
    taken = []
    for number in range(4):
        world.run(f"INSERT INTO orders VALUES ({number}, 1, '')")
        taken.append(take_checkpoint(world.services, world.tip()))
        if number == 1:
            world.wait(10)
            incident = incident_of(world.services)
            closed = replace(incident, state=IncidentState.CLEARED, closed=world.clock.now())
            world.services.store.save_incident(closed)
        world.wait()
    world.services.store.save_incident(incident)
    ids = [checkpoint.id for checkpoint in taken if checkpoint is not None]
    begun = world.services.paths.root / "checkpoints" / "chk-begun"
    begun.mkdir()
    before = len(world.objects())
    assert prune(world.services, world.clock.now()) == []
    assert not begun.exists()
    later = world.clock.now() + timedelta(days=31)
    assert prune(world.services, later) == [f"removed {ids[number]}: older than 30 days" for number in (0, 2)]
    assert [each.id for each in world.services.store.checkpoints()] == [ids[3], ids[1]]
    assert len(world.objects()) == before - 2
    restore_checkpoint(world.services, world.services.store.checkpoints()[1])
    assert len(world.run("SELECT * FROM orders")) == 2


def test_too_much_is_let_go_oldest_first_and_what_is_too_large_is_not_kept(world: World, scene: Scene) -> None:
    for number in range(3):
        world.run(f"INSERT INTO orders VALUES ({number}, 1, '')")
        take_checkpoint(world.services, world.tip())
        world.wait()
    one = (world.top / "app.log").stat().st_size
    world.services = world.opened(scene, retention={"size": one * 2 + 100})
    assert len(prune(world.services, world.clock.now())) == 1
    world.services = world.opened(scene, retention={"size": one - 1})
    world.run("INSERT INTO orders VALUES (9, 1, '')")
    with pytest.raises(StoreError, match="no checkpoint was taken"):
        take_checkpoint(world.services, world.tip())
    assert len(list((world.services.paths.root / "checkpoints").glob("chk-*"))) == 2


def test_snapshots_and_checkpoints_share_one_budget_and_the_oldest_of_both_goes(world: World, scene: Scene) -> None:
    services = world.services
    kept: list[Snapshot | Checkpoint] = []
    for number in range(2):
        world.run(f"INSERT INTO orders VALUES ({number}, 1, '')")
        kept.append(take_snapshot(services, snapshot_name(services, services.clock.now()), "by hand"))
        world.wait()
        taken = take_checkpoint(services, world.tip())
        assert taken is not None
        kept.append(taken)
        world.wait()
    one = (world.top / "app.log").stat().st_size
    world.services = world.opened(scene, retention={"size": sum(each.size for each in kept) - kept[0].size - one // 2})
    done = prune(world.services, world.clock.now())
    assert [line.split(":")[0] for line in done[:2]] == [f"removed {each.id}" for each in kept[:2]]
    assert [each.id for each in services.store.snapshots()] == [kept[2].id]
    assert [each.id for each in services.store.checkpoints()] == [kept[3].id]
