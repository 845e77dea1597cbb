"""The database goes back in step with the code, whoever is killed meanwhile, and comes back where that is undone."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from rollcage.core.codec import canonical
from rollcage.core.data.capture_sqlite import writing_as
from rollcage.core.execute.capture import install_capture
from rollcage.core.execute.checkpoints import take_checkpoint
from rollcage.core.execute.retention import prune
from rollcage.core.execute.runner import carry_out, start_rollback, work_for
from rollcage.core.execute.snapshots import snapshot_name, take_snapshot
from rollcage.core.model import IncidentState, OptionType, PlanStep, RecoveryPlan, Rollback, RollbackState, StepState
from rollcage.core.plan.recovery import step
from rollcage.core.services import Services
from tests.conftest import git
from tests.execute.data_crash import DataCrashServer
from tests.execute.scene import Scene, incident_of
from tests.postgres import Server

SQLITE: dict[str, object] = {"url": "sqlite:///app.log", "row_capture": ["orders"]}
ALL = [(1, "ann", 2), (2, "bob", 2), (3, "eve", 5)]
"""What stands in the table after everybody wrote."""
OTHERS = [(1, "ann", 2), (3, "eve", 5)]
"""Without what the executor wrote."""
KEPT = [(1, "ann", 1)]
"""At the checkpoint."""


class Data:
    """A scene whose database was written by two agents, with a checkpoint from before."""

    def __init__(self, scene: Scene, **database: object) -> None:
        self.scene = scene
        self.settings: dict[str, object] = {"database": {**SQLITE, **database}}
        (scene.top / "models").mkdir(exist_ok=True)
        self._opened: dict[str, Services] = {}

    @property
    def services(self) -> Services:
        """Everything opened by the settings as they are now, once: it takes longer than what is tested here."""
        key = canonical(self.settings)
        if key not in self._opened:
            self._opened[key] = self.scene.services(**self.settings)
        return self._opened[key]

    def close(self) -> None:
        for services in self._opened.values():
            services.store.close()

    @property
    def path(self) -> Path:
        return self.scene.top / "app.log"

    def run(self, *statements: str, agent: str = "") -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            if not agent:
                return [row for statement in statements for row in connection.execute(statement).fetchall()]
            with writing_as(connection, agent):
                for statement in statements:
                    connection.execute(statement)
            return []

    def write(self) -> None:
        """Let everybody write, and keep a checkpoint in between."""
        self.run("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, price INTEGER)")
        services = self.services
        assert install_capture(services) == ["rows of table orders are recorded from now on"]
        self.run("INSERT INTO orders VALUES (1, 'ann', 1)", agent="planner")
        assert take_checkpoint(services, git(self.scene.top, "rev-parse", "main")) is not None
        self.run("UPDATE orders SET price = 2", agent="planner")
        self.run("INSERT INTO orders VALUES (2, 'bob', 2)", agent="executor")
        self.run("INSERT INTO orders VALUES (3, 'eve', 5)", agent="planner")

    def rows(self) -> list[tuple[object, ...]]:
        return self.run("SELECT id, customer, price FROM orders ORDER BY id")

    def begin(self, subject: str, *more: PlanStep, kind: str = "rollback", of: str = "") -> Rollback:
        """Write a rollback that brings the database back into the journal; nothing has happened yet."""
        services = self.services
        alone = subject.startswith(("rows", "undo"))  # their way back is no snapshot; it would take its time here
        checkpoint = services.store.checkpoints()[0].id if services.store.checkpoints() else ""
        plan = RecoveryPlan(
            option="opt-1.1",
            incident=incident_of(services).id,
            type=OptionType.RESTART_ONLY,
            agent="executor",
            branch="main",
            head=git(self.scene.top, "rev-parse", "main"),
            tree=None,
            targets=(),
            message="",
            steps=(
                *([] if alone else [step("snapshot")]),
                step("database", subject.replace("CHK", checkpoint)),
                *more,
            ),
            plan_hash="0" * 64,
        )
        return start_rollback(services, plan, approved_by="ann", kind=kind, of=of)

    def carry_on(self, rollback: Rollback) -> Rollback:
        found = self.services.store.rollback(rollback.id)
        assert found is not None
        return carry_out(work_for(self.services, found, lambda run: []))

    def step(self, rollback: str = "rb-1") -> tuple[StepState, dict[str, object], str]:
        found = next(each for each in self.services.store.steps(rollback) if each.name == "database")
        return found.state, dict(found.data), found.note


FAILS = PlanStep(3, "metrics", "", "", "", "nobody")
"""A step that fails, for there is no such agent."""


@pytest.fixture
def data(scene: Scene) -> Iterator[Data]:
    data = Data(scene)
    data.write()
    yield data
    data.close()


# What each subject does, and how it is undone


@pytest.mark.parametrize(
    ("subject", "left"),
    [("rows executor since 1", OTHERS), ("rows executor,planner since 2", KEPT), ("checkpoint CHK", KEPT)],
)
def test_the_data_go_back_and_come_again_where_the_rollback_is_undone(
    data: Data, subject: str, left: list[tuple[object, ...]]
) -> None:
    done = data.carry_on(data.begin(subject))
    assert (done.state, data.rows()) == (RollbackState.DONE, left)
    undone = data.carry_on(data.begin("undo rb-1" if subject.startswith("rows") else f"snapshot {done.snapshot}"))
    assert (undone.state, data.rows()) == (RollbackState.DONE, ALL)


def test_what_is_turned_round_brings_the_errors_back_that_it_had_mended(data: Data) -> None:
    database = {**SQLITE, "checks": [{"name": "bob", "sql": "SELECT 1 FROM orders WHERE customer = 'bob'"}]}
    data.settings = {"database": database}
    assert data.carry_on(data.begin("rows executor since 1", step("verify"))).state is RollbackState.DONE
    services = data.services
    first = replace(services.store.steps("rb-1")[0], number=0, name="snapshot", data={"data_errors": {"bob": 1.0}})
    services.store.save_step(first)
    again = data.carry_on(data.begin("undo rb-1", step("verify"), kind="undo", of="rb-1"))
    assert (again.state, again.note, data.rows()) == (RollbackState.DONE, "", ALL)


@pytest.mark.parametrize("subject", ["rows executor since 1", "checkpoint CHK"])
def test_a_rollback_that_fails_later_gives_the_data_back(data: Data, subject: str) -> None:
    failed = data.carry_on(data.begin(subject, FAILS))
    assert (failed.state, data.rows()) == (RollbackState.UNDONE, ALL)


def test_rows_that_somebody_wrote_since_planning_are_left_and_nothing_is_half_done(data: Data) -> None:
    rollback = data.begin("rows executor,planner since 2")
    data.run("UPDATE orders SET price = 9 WHERE id = 3")
    failed = data.carry_on(rollback)
    state, found, note = data.step()
    assert (failed.state, state, found["code"]) == (RollbackState.UNDONE, StepState.UNDONE, "data_conflict")
    assert "somebody unknown wrote it since" in note
    assert data.rows() == [(1, "ann", 2), (2, "bob", 2), (3, "eve", 9)]


@pytest.mark.parametrize("subject", ["rows executor since 1", "checkpoint CHK"])
def test_a_database_that_another_holds_is_waited_for_only_so_long(
    data: Data, subject: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollback = data.begin(subject)
    monkeypatch.setattr(data.services.database, "_busy_wait", 0.2)
    with closing(sqlite3.connect(data.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # reading goes on: the snapshot is taken
        other.execute("DELETE FROM orders")
        assert data.carry_on(rollback).state in {RollbackState.UNDONE, RollbackState.FAILED}
    assert "busy" in data.step()[2]
    assert data.rows() == ALL


def test_trees_come_back_with_the_database_only_where_the_plan_says_so(data: Data) -> None:
    data.settings["files"] = ["models"]
    weights = data.scene.top / "models" / "weights.log"
    weights.write_text("good\n")
    kept = take_checkpoint(data.services, git(data.scene.top, "rev-parse", "main"), every=0)
    assert kept is not None
    weights.write_text("spoilt\n")
    data.carry_on(data.begin("checkpoint CHK"))
    assert weights.read_text() == "spoilt\n"
    data.carry_on(data.begin("checkpoint CHK with files"))
    assert weights.read_text() == "good\n"
    data.carry_on(data.begin("checkpoint CHK with files", FAILS))
    weights.write_text("spoilt\n")
    assert data.carry_on(data.begin("checkpoint CHK with files", FAILS)).state is RollbackState.UNDONE
    assert weights.read_text() == "spoilt\n"


def numbers(data: Data) -> list[tuple[object, ...]]:
    return data.run("SELECT number FROM rollcage_change ORDER BY number")


def test_a_restore_brings_the_record_back_too_and_no_number_is_used_again(data: Data) -> None:
    done = data.carry_on(data.begin("checkpoint CHK"))
    assert numbers(data) == [(1,)]
    data.run("INSERT INTO orders VALUES (9, 'kim', 1)", agent="executor")
    assert numbers(data) == [(1,), (5,)]
    data.carry_on(data.begin(f"snapshot {done.snapshot}"))
    data.run("INSERT INTO orders VALUES (9, 'kim', 1)", agent="executor")
    assert numbers(data) == [(1,), (2,), (3,), (4,), (6,)]


def test_old_changes_go_but_not_while_something_is_wrong(data: Data) -> None:
    services = data.services
    later = services.clock.now() + timedelta(days=31)
    incident = incident_of(services)
    assert prune(services, later) == []
    services.store.save_incident(replace(incident, state=IncidentState.CLEARED, closed=services.clock.now()))
    rollback = data.carry_on(data.begin("rows executor since 1"))
    for found in services.store.incidents(open_only=True):
        services.store.save_incident(replace(found, state=IncidentState.CLEARED, closed=services.clock.now()))
    services.store.save_rollback(replace(rollback, ended=later - timedelta(days=1)))
    assert prune(services, later) == ["removed 4 recorded changes of rows"]
    assert numbers(data) == [(5,)]
    undone = data.carry_on(data.begin("undo rb-1"))
    assert (undone.state, data.rows()) == (RollbackState.DONE, ALL)


# The user's own way


DOWN = """
import os, sqlite3, sys
assert "SECRET_KEY" not in os.environ
connection = sqlite3.connect(os.environ["DATABASE_URL"].removeprefix("sqlite:///"), isolation_level=None)
connection.execute("INSERT INTO ran VALUES (1)")
assert open("calc").read().count("fault") == 1
print("\\033[31mtaken back\\033[0m ghp_" + "a" * 36)
if os.path.exists("plan") and len(sys.argv) > 1:
    sys.exit(sys.argv[1])
connection.execute("ALTER TABLE orders DROP COLUMN late")
"""


def with_down(scene: Scene, *arguments: str) -> Data:
    data = Data(scene, down=[sys.executable, "-c", DOWN, *arguments], row_capture=[])
    data.run("CREATE TABLE orders (id INTEGER PRIMARY KEY, late)", "CREATE TABLE ran (x)")
    return data


def test_the_users_down_migration_runs_in_the_tree_that_has_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "s")
    data = with_down(scene)
    assert data.carry_on(data.begin("down")).state is RollbackState.DONE
    assert data.run("SELECT name FROM pragma_table_info('orders')") == [("id",)]
    assert data.step()[1]["output"] == "taken back ***"
    failed = data.carry_on(data.begin("down", FAILS))  # the column is gone: it fails by itself
    assert failed.state is RollbackState.UNDONE
    assert len(data.run("SELECT * FROM ran")) == 1


def test_one_that_fails_is_undone_to_the_fresh_snapshot_and_says_why(scene: Scene) -> None:
    data = with_down(scene, "no way: ghp_" + "a" * 36)
    assert data.carry_on(data.begin("down")).state is RollbackState.UNDONE
    assert data.run("SELECT * FROM ran") == []
    assert data.step()[2] == "database.down ended with status 1: no way: ***"


# Killed


SUBJECTS = {"rows executor since 1": OTHERS, "checkpoint CHK": KEPT}
INSIDE: dict[str, list[tuple[object, ...]]] = {
    "rows executor since 1": [
        ("rollcage.core.execute.journal", "Journal.begin", 0, "after"),
        ("rollcage.core.data.capture_sqlite", "_swap", 0, "after"),
        ("rollcage.core.execute.data_steps", "_refuse", 0),
    ],
    "checkpoint CHK": [
        ("rollcage.core.execute.journal", "Journal.add", 0, "after"),
        ("rollcage.core.data.sqlite", "SqliteDatabase._copy", 1),
        ("rollcage.core.execute.data_steps", "install_capture", 0),
    ],
}
POINTS = [(subject, point) for subject, points in INSIDE.items() for point in points]


def ids(point: object) -> str:
    return " ".join(str(word) for word in point[1:]) if isinstance(point, tuple) else str(point)


@pytest.fixture(scope="module")
def crashes() -> Iterator[DataCrashServer]:
    server = DataCrashServer()
    yield server
    server.close()


@pytest.mark.parametrize(("subject", "point"), POINTS, ids=ids)
def test_killed_anywhere_others_see_all_or_nothing_and_it_is_carried_on(
    data: Data, crashes: DataCrashServer, subject: str, point: tuple[object, ...]
) -> None:
    rollback = data.begin(subject)
    assert crashes.run(data.scene, rollback.id, data.settings, *point)[0] == 9
    assert data.rows() in (ALL, SUBJECTS[subject])
    assert data.carry_on(rollback).state is RollbackState.DONE
    assert data.rows() == SUBJECTS[subject]
    assert data.run("PRAGMA integrity_check") == [("ok",)]
    assert data.run("SELECT agent FROM rollcage_writer") == [(None,)]


def test_killed_while_it_is_undone_it_is_undone_to_the_end(data: Data, crashes: DataCrashServer) -> None:
    rollback = data.begin("rows executor since 1", FAILS)
    swap = ("rollcage.core.data.capture_sqlite", "_swap", 1)
    assert crashes.run(data.scene, rollback.id, data.settings, *swap)[0] == 9
    assert data.rows() == OTHERS
    assert data.carry_on(rollback).state is RollbackState.UNDONE
    assert data.rows() == ALL


def test_a_killed_down_migration_starts_again_from_the_fresh_snapshot(scene: Scene, crashes: DataCrashServer) -> None:
    data = with_down(scene)
    rollback = data.begin("down")
    after = ("rollcage.core.execute.data_steps", "clean_lines", 0)
    assert crashes.run(scene, rollback.id, data.settings, *after)[0] == 9
    assert len(data.run("SELECT * FROM ran")) == 1
    assert data.carry_on(rollback).state is RollbackState.DONE
    assert len(data.run("SELECT * FROM ran")) == 1


# PostgreSQL


class PostgresData(Data):
    """The same on a PostgreSQL server."""

    def __init__(self, scene: Scene, url: str) -> None:
        super().__init__(scene, url=url)
        self.url = url

    def run(self, *statements: str, agent: str = "") -> list[tuple[object, ...]]:
        name = f"rollcage:{agent}" if agent else "a program"
        rows: list[tuple[object, ...]] = []
        with psycopg.connect(self.url, application_name=name) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
                rows += cursor.fetchall() if cursor.description else []
        return rows


@pytest.fixture
def there(scene: Scene, postgres_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresData]:
    monkeypatch.setenv("PG_BIN", str(postgres_server.programs))
    data = PostgresData(scene, postgres_server.fresh())
    data.write()
    yield data
    data.close()


def test_a_snapshot_has_the_postgresql_database_and_brings_it_back(there: PostgresData) -> None:
    services = there.services
    kept = take_snapshot(services, snapshot_name(services, services.clock.now()), "by hand")
    assert kept.databases == ("database.dump",)
    there.run("DELETE FROM orders")
    assert services.database is not None
    services.database.restore(Path(kept.path) / kept.databases[0])
    assert there.rows() == ALL


@pytest.mark.parametrize("subject", SUBJECTS)
def test_postgresql_data_go_back_and_come_again(there: PostgresData, subject: str) -> None:
    done = there.carry_on(there.begin(subject))
    assert (done.state, there.rows()) == (RollbackState.DONE, SUBJECTS[subject])
    undone = there.carry_on(there.begin("undo rb-1" if subject.startswith("rows") else f"snapshot {done.snapshot}"))
    assert undone.state is RollbackState.DONE
    assert there.rows() == ALL
    there.run("INSERT INTO orders VALUES (9)", "DELETE FROM orders WHERE id = 9")
    assert there.run("SELECT max(number) > 4 FROM rollcage_change") == [(True,)]
    assert there.carry_on(there.begin(subject, FAILS)).state is RollbackState.UNDONE
    assert there.rows() == ALL


@pytest.mark.parametrize(
    ("subject", "point"),
    [
        ("rows executor since 1", ("rollcage.core.execute.data_steps", "_refuse", 0)),
        ("checkpoint CHK", ("rollcage.core.data.postgres", "run_script", 0)),
    ],
    ids=ids,
)
def test_killed_within_it_a_postgresql_database_is_carried_on_too(
    there: PostgresData, crashes: DataCrashServer, subject: str, point: tuple[object, ...]
) -> None:
    rollback = there.begin(subject)
    assert crashes.run(there.scene, rollback.id, there.settings, *point)[0] == 9
    assert there.rows() in (ALL, SUBJECTS[subject])
    assert there.carry_on(rollback).state is RollbackState.DONE
    assert there.rows() == SUBJECTS[subject]
