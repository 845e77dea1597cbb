"""What is in the way is named, nothing is lost by it, and once it is gone the same rollback goes well."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollcage.core.execute.runner import plan_of, start_rollback
from rollcage.core.model import RecoveryPlan, RollbackState
from rollcage.core.plan.recovery import step
from tests.conftest import git
from tests.execute.crash import CrashServer
from tests.execute.killing import Templates, assert_alike, end_of
from tests.execute.scene import Scene, begin, carry_on


@contextmanager
def a_lock_of_a_dead_git(scene: Scene) -> Iterator[str]:
    lock = scene.top / ".git" / "index.lock"
    lock.touch()
    yield "index.lock"
    assert lock.exists(), "a lock that is not ours is never removed"
    lock.unlink()


@contextmanager
def a_read_only_folder(scene: Scene) -> Iterator[str]:
    scene.top.chmod(0o500)
    yield "cannot write in"
    scene.top.chmod(0o700)


@contextmanager
def a_locked_database(scene: Scene) -> Iterator[str]:
    with closing(sqlite3.connect(scene.database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield "is busy: another process holds it"
        other.execute("ROLLBACK")


@pytest.mark.parametrize("fault", [a_lock_of_a_dead_git, a_read_only_folder, a_locked_database])
def test_a_fault_ends_it_with_nothing_changed_and_the_same_goes_well_without_it(
    scene: Scene, bad: str, server: CrashServer, fault: Callable[[Scene], AbstractContextManager[str]]
) -> None:
    with closing(sqlite3.connect(scene.database)) as connection:
        connection.executescript("CREATE TABLE t (a); INSERT INTO t VALUES (1)")
    settings: dict[str, Any] = {"database": {"url": f"sqlite:///{scene.database}"}}
    begin(scene, bad, **settings)
    before = scene.world()
    with fault(scene) as said:
        assert server.run(scene, settings=settings, obey_modes=True, wait=0.2) == (0, "undone")
    services = scene.services(**settings)
    ended = services.store.rollback("rb-1")
    assert ended is not None
    assert ended.head_after == ""
    assert said in ended.note
    assert scene.world() == before
    again = start_rollback(services, plan_of(services, "rb-1"), approved_by="ann@here")
    services.store.close()
    assert carry_on(scene, again.id, **settings).state is RollbackState.DONE


@contextmanager
def a_full_disk(scene: Scene) -> Iterator[str]:
    yield "StoreError"


@pytest.mark.parametrize("fault", [a_lock_of_a_dead_git, a_read_only_folder, a_locked_database, a_full_disk])
def test_a_fault_in_the_way_of_a_restoration_is_told_and_without_it_all_comes_back(
    templates: Templates, server: CrashServer, fault: Callable[[Scene], AbstractContextManager[str]]
) -> None:
    template = templates.get("restore", back=False)
    scene, request = template.anew(), template.task.request()
    more = {"limit": 20_000} if fault is a_full_disk else {}
    with fault(scene) as words:
        _, said = server.run(scene, obey_modes=True, wait=0.2, **request, **more)
    assert words.replace("cannot write in", "cannot write") in said
    assert server.run(scene, **request) == (0, template.end)
    world, _ = end_of(scene, template.task)
    assert_alike(world, template.world)


@pytest.mark.parametrize("fault", [a_locked_database, a_full_disk])
def test_a_fault_in_the_way_of_a_database_changes_nothing_of_it_and_the_same_goes_well_without_it(
    templates: Templates, server: CrashServer, fault: Callable[[Scene], AbstractContextManager[str]]
) -> None:
    template = templates.get("checkpoint", back=False)
    scene, request = template.anew(), template.task.request()
    more = {"limit": 150_000} if fault is a_full_disk else {}
    with fault(scene):
        _, said = server.run(scene, wait=0.2, **request, **more)
    assert scene.world()["database"] == template.before["database"]
    if said == "undone":
        return
    ended = server.run(scene, **request)[1]
    world = template.world if ended == "done" else template.before
    assert scene.world()["database"] == world["database"]


def and_send(scene: Scene, plan: RecoveryPlan) -> RecoveryPlan:
    return replace(plan, steps=(*plan.steps, step("push", "origin")))


@pytest.mark.parametrize("online", [True, False])
def test_a_branch_that_cannot_be_sent_is_queued_and_spoils_no_rollback(
    scene: Scene, bad: str, tmp_path: Path, online: bool
) -> None:
    remote = tmp_path / "remote.git"
    git(scene.top, "init", "-q", "--bare", str(remote))
    git(scene.top, "remote", "add", "origin", str(remote))
    git(scene.top, "push", "-q", "origin", "main")
    if not online:
        remote.rename(tmp_path / "away")
    begin(scene, bad, and_send)
    ended = carry_on(scene)
    assert ended.state is RollbackState.DONE
    services = scene.services()
    alerts = [str(each.body["text"]) for each in services.store.recent_events(1000) if each.event == "alert"]
    if online:
        assert git(remote, "rev-parse", "main") == ended.head_after
        assert (alerts, list(services.store.outgoing())) == ([], [])
    else:
        assert [each.sha for each in services.store.outgoing()] == [ended.head_after]
        assert "rb-1: main is not at origin yet: " in alerts[0]
    services.store.close()
