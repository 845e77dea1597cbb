"""The data go back by the smallest way that is seen to mend them; where there is none, that is said."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest

from rollcage.core.data.capture_sqlite import writing_as
from rollcage.core.execute.capture import install_capture
from rollcage.core.execute.checkpoints import take_checkpoint
from rollcage.core.model import (
    Diagnosis,
    Reach,
    Rollback,
    RollbackState,
    Step,
    StepState,
)
from rollcage.core.plan.data_way import DataWay, find_data_way, way_to_undo
from rollcage.core.services import Services
from tests.conftest import git
from tests.execute.scene import Scene, diagnosis_of, incident_of

CHECK = {"name": "sad", "sql": "SELECT id, price FROM orders WHERE price < 0"}
NO_WAY = "no way back: there is no checkpoint of the last good state"


class World:
    """A database that the executor spoils."""

    def __init__(self, scene: Scene, bad: str, *captured: str, down: str | None = None) -> None:
        self.scene, self.bad = scene, bad
        self.good = git(scene.top, "rev-parse", f"{bad}^")
        self.write("", "CREATE TABLE orders (id INTEGER PRIMARY KEY, price INTEGER)", "CREATE TABLE other (id INTEGER)")
        database = {"url": "sqlite:///app.log", "checks": [CHECK], "row_capture": captured, "down": down}
        self.services: Services = scene.services(database=database, files=["models"])
        install_capture(self.services)

    def write(self, agent: str, *statements: str) -> None:
        with closing(sqlite3.connect(self.scene.top / "app.log", isolation_level=None)) as connection:
            if not agent:
                for statement in statements:
                    connection.execute(statement)
                return
            with writing_as(connection, agent):
                for statement in statements:
                    connection.execute(statement)

    def diagnosis(self, *tables: str, files: tuple[str, ...] = ()) -> Diagnosis:
        found = diagnosis_of(incident_of(self.services), self.bad)
        return replace(found, onset=self.services.clock.now(), reach=Reach(tables=tables, files=files))

    def way(self, *tables: str, files: tuple[str, ...] = (), targets: tuple[str, ...] | None = None) -> DataWay:
        wanted = (self.bad,) if targets is None else targets
        return find_data_way(self.services, self.diagnosis(*tables, files=files), wanted, ["executor"])

    def checkpoint(self) -> None:
        """Take one, too late to be a way back."""
        assert take_checkpoint(self.services, self.good, every=0) is not None

    def earlier(self) -> str:
        """Let it have been taken an hour earlier, before the bad commit was made."""
        kept = self.services.store.checkpoints()[0]
        self.services.store.save_checkpoint(replace(kept, at=kept.at - timedelta(hours=1)))
        return kept.id


@pytest.fixture
def world(scene: Scene, bad: str) -> Iterator[World]:
    world = World(scene, bad, "orders")
    yield world
    world.services.store.close()


def test_whole_data_stay_as_they_are(world: World) -> None:
    assert world.way() == DataWay("same")
    assert find_data_way(replace(world.services, database=None), world.diagnosis("sad"), [], []) == DataWay("none")


@pytest.mark.parametrize("damaged", ["sad", "orders"])
def test_rows_go_back_where_that_is_seen_to_mend_the_damage(world: World, damaged: str) -> None:
    world.write("planner", "INSERT INTO orders VALUES (1, 5)")
    world.write("executor", "INSERT INTO orders VALUES (2, -1), (3, 4)")
    world.write("", "INSERT INTO orders VALUES (4, 5)")
    way = world.way(damaged)
    assert (way.effect, way.subject) == ("goes_back", "rows executor since 1")
    assert way.words == "2 changes of executor in orders taken back, from 1 on; 1 changes by nobody known stay"
    assert world.services.database is not None
    assert world.services.database.check_errors()[0].count == 1


def test_rows_that_do_not_mend_it_or_conflict_are_no_way(world: World) -> None:
    assert world.way("sad").words == f"{NO_WAY}; no rows of executor were recorded since"
    world.write("executor", "INSERT INTO orders VALUES (2, -1)")
    world.write("planner", "INSERT INTO orders VALUES (3, -1)")
    assert world.way("sad").words.endswith("with the rows of executor taken back sad would still find errors")
    world.write("planner", "UPDATE orders SET price = -2 WHERE id = 2")
    way = world.way("sad")
    assert way.effect == "no_way_back"
    assert "planner wrote it since" in way.words


def test_damage_of_another_incident_is_mended_along_only_by_these_agents_rows(world: World) -> None:
    # That incident may be escalated by now, for nobody was known to be in trouble: what the checks find counts.
    world.write("planner", "INSERT INTO orders VALUES (1, -5)")
    world.write("executor", "INSERT INTO orders VALUES (2, 5)")
    way = world.way()
    assert (way.effect, way.subject) == ("same", "")
    assert way.words.startswith("damaged, and stays as it is: with the rows of executor taken back sad would still")
    world.write("planner", "DELETE FROM orders WHERE id = 1")
    world.write("executor", "INSERT INTO orders VALUES (3, -1)")
    assert world.way().subject == "rows executor since 1"
    world.write("planner", "UPDATE orders SET price = -2 WHERE id = 3")
    assert "planner wrote it since" in world.way().words


def test_tables_that_are_not_recorded_are_no_way(scene: Scene, bad: str) -> None:
    world = World(scene, bad, "orders")
    assert world.way("other").words == f"{NO_WAY}; rows of other are not recorded"
    assert world.way("elsewhere").words == f"{NO_WAY}; rows of elsewhere are not recorded"
    world.services.store.close()


def test_a_checkpoint_from_before_says_what_it_loses(world: World) -> None:
    world.checkpoint()
    assert world.way("sad").effect == "no_way_back"
    kept = world.earlier()
    world.write("planner", "INSERT INTO orders VALUES (3, -1)")
    way = world.way("sad")
    assert (way.effect, way.subject) == ("loses_writes", f"checkpoint {kept}")
    assert way.words.startswith(f"restored to {kept}, of {world.good[:12]} and ")
    assert way.words.endswith("; everything written since is lost, also 1 changes of others")
    assert world.way("sad", files=("models/weights",)).subject == f"checkpoint {kept} with files"


def test_a_migration_goes_back_by_the_users_command_or_a_checkpoint(scene: Scene, bad: str) -> None:
    (scene.top / "migrations").mkdir()
    sha = scene.commit("executor", "add a column", **{"migrations/2.py": "x\n"})
    world = World(scene, bad)
    world.checkpoint()
    way = world.way(targets=(sha,))
    assert (way.effect, way.subject) == ("unknown", "")
    assert way.words.startswith("unknown: migrations/2.py changes its form; there is no checkpoint")
    kept = world.earlier()
    assert world.way(targets=(sha,)).subject == f"checkpoint {kept}"
    world.services.store.close()
    world = World.__new__(World)
    world.scene, world.bad = scene, bad
    world.services = scene.services(database={"url": "sqlite:///app.log", "down": "make down"}, files=["models"])
    assert world.way(targets=(sha,)) == DataWay("goes_back", "down", "taken back by database.down: migrations/2.py")
    assert world.way("sad", targets=(sha,)).subject == f"checkpoint {kept}"
    world.services.store.close()


def test_how_it_is_turned_round_later(world: World) -> None:
    store = world.services.store
    rollback = Rollback(
        id="rb-1",
        incident="inc-1",
        option="opt-1.1",
        plan_hash="0",
        kind="rollback",
        state=RollbackState.DONE,
        approved_by="ann",
        started=world.services.clock.now(),
        head_before=world.good,
        snapshot="snap-1",
    )
    assert way_to_undo(world.services, rollback) == ""
    expected = {
        "rows executor since 1": "undo rb-1",
        "undo rb-0": "undo rb-1",
        "checkpoint chk-1": "snapshot snap-1",
        "down": "snapshot snap-1",
    }
    for subject, undone_by in expected.items():
        step = Step(rollback="rb-1", number=1, phase=3, name="database", subject=subject, state=StepState.DONE)
        store.save_step(step)
        assert way_to_undo(world.services, rollback) == undone_by
