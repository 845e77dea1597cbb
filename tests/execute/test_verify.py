"""What is verified, and what is only noted: other checks that fail on, flaky ones, a database broken before."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from rollcage.core.execute.integrity import all_problems, integrity_problems
from rollcage.core.execute.runner import start_rollback
from rollcage.core.model import OptionType, Rollback, RollbackState
from rollcage.core.plan.options import build_options
from tests.conftest import git
from tests.execute.scene import BAD, GOOD, Scene, carry_on, diagnosis_of, incident_of


def begin_with(scene: Scene, bad: str, **settings: object) -> Rollback:
    services = scene.services(**settings)
    services.checks.run_all(git(scene.top, "rev-parse", "main"), scene.tree())
    incident = incident_of(services)
    pairs = build_options(services, incident, diagnosis_of(incident, bad))
    services.store.save_options(incident.id, pairs)
    plan = next(plan for option, plan in pairs if option.type is OptionType.SINGLE_COMMIT)
    record = start_rollback(services, plan, approved_by="ann@here")
    services.store.close()
    return record


def with_another(*command: str, retries: int = 0) -> dict[str, object]:
    tests = {"name": "tests", "run": ["sh", "-c", "! grep -q fault calc"], "retries": 0}
    return {"checks": [tests, {"name": "other", "run": list(command), "retries": retries}]}


def step_data(scene: Scene, name: str) -> dict[str, object]:
    return dict(next(step for step in scene.services().store.steps("rb-1") if step.name == name).data)


def test_another_check_that_fails_for_a_reason_of_its_own_undoes_nothing(scene: Scene, bad: str) -> None:
    settings = with_another("false")
    begin_with(scene, bad, **settings)
    ended = carry_on(scene, **settings)
    assert (ended.state, ended.note) == (RollbackState.DONE, "noted: check other fails as it did before")
    assert git(scene.top, "show", "main:calc") + "\n" == GOOD


def test_a_check_that_passed_before_and_fails_now_undoes_it(scene: Scene, bad: str) -> None:
    settings = with_another("sh", "-c", f"test ! -e '{scene.flag}'")
    begin_with(scene, bad, **settings)
    scene.flag.touch()
    ended = carry_on(scene, **settings)
    assert (ended.state, ended.note) == (RollbackState.UNDONE, "after the rollback check other fails")
    assert git(scene.top, "show", "main:calc") + "\n" == BAD


def test_a_check_that_never_has_a_verdict_undoes_nothing(scene: Scene, bad: str) -> None:
    settings = with_another("/nowhere/check")
    begin_with(scene, bad, **settings)
    assert carry_on(scene, **settings).state is RollbackState.DONE


def test_a_flaky_check_undoes_nothing(scene: Scene, bad: str, tmp_path: Path) -> None:
    count = tmp_path / "count"
    flips = f"n=$(cat '{count}' 2>/dev/null || echo 0); echo $((n + 1)) > '{count}'; test $((n % 2)) = 1"
    settings = with_another("sh", "-c", flips, retries=1)
    begin_with(scene, bad, **settings)
    assert carry_on(scene, **settings).state is RollbackState.DONE
    noted = step_data(scene, "checks")["reservations"]
    assert noted == ["check other has no verdict: flaky: failed 1 of 2 runs"]


def database(scene: Scene) -> Path:
    path = scene.place / "app.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE t (a); INSERT INTO t VALUES (1); CREATE INDEX i ON t (a)")
    return path


def broken(path: Path) -> None:
    """Take the index's entry away behind SQLite's back: integrity_check finds it, reading goes on."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 't')")
        connection.commit()


def test_a_database_is_kept_and_looked_at(scene: Scene, bad: str) -> None:
    settings: dict[str, object] = {"database": {"url": f"sqlite:///{database(scene)}"}}
    begin_with(scene, bad, **settings)
    ended = carry_on(scene, **settings)
    assert ended.state is RollbackState.DONE
    snapshot = scene.services().store.snapshot(ended.snapshot)
    assert snapshot is not None
    assert [Path(snapshot.path, name).stat().st_size > 0 for name in snapshot.databases] == [True]


def test_a_database_that_was_broken_before_is_told_and_the_rollback_stays(scene: Scene, bad: str) -> None:
    path = database(scene)
    settings: dict[str, object] = {"database": {"url": f"sqlite:///{path}"}}
    begin_with(scene, bad, **settings)
    broken(path)
    assert integrity_problems(scene.services(**settings))
    ended = carry_on(scene, **settings)
    assert ended.state is RollbackState.UNVERIFIED
    assert ended.note.startswith("broken before the rollback already, and still: database: ")
    assert git(scene.top, "show", "main:calc") + "\n" == GOOD


def test_a_database_that_is_gone_is_a_warning(scene: Scene, bad: str) -> None:
    path = database(scene)
    settings: dict[str, object] = {"database": {"url": f"sqlite:///{path}"}}
    begin_with(scene, bad, **settings)
    path.unlink()
    ended = carry_on(scene, **settings)
    snapshot = scene.services().store.snapshot(ended.snapshot)
    assert snapshot is not None
    assert any("there is no database" in warning for warning in snapshot.warnings)
    assert ended.state is RollbackState.DONE


def test_a_database_that_vanishes_meanwhile_undoes_it(scene: Scene, bad: str) -> None:
    path = database(scene)
    settings = with_another("sh", "-c", f"test ! -e '{scene.flag}' || rm -f '{path}'")
    settings |= {"database": {"url": f"sqlite:///{path}"}}
    begin_with(scene, bad, **settings)
    scene.flag.touch()
    ended = carry_on(scene, **settings)
    assert (ended.state, ended.note) == (RollbackState.UNDONE, "database: it is not there")


def test_a_database_with_more_errors_than_before_undoes_it(scene: Scene, bad: str) -> None:
    path = database(scene)
    spoil = f"import sqlite3; c = sqlite3.connect('{path}'); c.execute('INSERT INTO t VALUES (-1)'); c.commit()"
    settings = with_another("sh", "-c", f'test ! -e "{scene.flag}" || {sys.executable} -c "{spoil}"')
    checks = [{"name": "negative", "sql": "SELECT count(*) FROM t WHERE a < 0", "expect": 0}]
    settings |= {"database": {"url": f"sqlite:///{path}", "checks": checks}}
    begin_with(scene, bad, **settings)
    scene.flag.touch()
    ended = carry_on(scene, **settings)
    assert (ended.state, ended.note) == (
        RollbackState.UNDONE,
        "database check negative finds 1 errors, 0 before",
    )
    assert all_problems(scene.services(**settings)) == ["database check negative finds 1 errors"]


def test_missing_objects_are_found(scene: Scene) -> None:
    services = scene.services()
    assert integrity_problems(services) == []
    blob = git(scene.top, "rev-parse", "main:calc")
    (scene.top / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    assert integrity_problems(services) == ["1 objects of main are missing or damaged"]
