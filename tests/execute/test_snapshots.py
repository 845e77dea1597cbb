"""A snapshot is whole or not there, and is taken once, whoever dies at it; making safe likewise."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollcage.core.config import Level
from rollcage.core.data.manifest import read_manifest, verify_folder
from rollcage.core.errors import StoreError
from rollcage.core.execute.safe import critical_action
from rollcage.core.execute.snapshots import snapshot_name, take_snapshot
from rollcage.core.gitrepo import snapshot as git_snapshot
from rollcage.core.model import Hold
from tests.conftest import ManualClock
from tests.execute.crash import CrashServer
from tests.execute.scene import Scene, made_safe

SAFE = [
    *("set_note making_safe:inc-1", "append_event phase"),
    *("set_note standby:inc-1", "set_hold executor", "append_event agent", "audit engine"),
    *("save_snapshot", "audit engine", "set_note safe:inc-1", "append_event phase", "audit engine"),
]


def test_it_has_all_that_is_uncommitted_and_the_trees_outside_git(scene: Scene) -> None:
    (scene.top / "models").mkdir()
    (scene.top / "models" / "weights.log").write_text("ignored by git\n")
    services = scene.services(files=["models", "gone"])
    snapshot = take_snapshot(services, snapshot_name(services, services.clock.now()), "by hand")
    assert verify_folder(Path(snapshot.path)) == []
    kept = read_manifest(Path(snapshot.path))
    assert git_snapshot.verify(services.repository, services.mirror, kept["git"]["commit"]) == []
    assert (kept["git"]["dirty"], kept["git"]["untracked"]) == (4, 1)
    assert snapshot.worktrees == (str(scene.top),)
    assert snapshot.warnings == ("gone does not exist",)
    assert any("blobs" in file["path"] for file in kept["files"])
    assert Path(snapshot.path).stat().st_mode & 0o777 == 0o700


def test_names_are_never_given_twice(scene: Scene, clock: ManualClock) -> None:
    services = scene.services()
    names = [snapshot_name(services, clock.now()) for _ in range(3)]
    assert names == ["snap-20261120T140000Z", "snap-20261120T140000Z-2", "snap-20261120T140000Z-3"]


def test_one_that_was_begun_is_made_anew_and_one_that_is_whole_is_left(scene: Scene) -> None:
    services = scene.services()
    name = snapshot_name(services, services.clock.now())
    git_snapshot.take(services.repository, services.mirror, name, services.clock.now())
    (services.paths.snapshots / name / "database.sqlite3.partial").write_text("half")
    (scene.top / "draft").write_text("changed since\n")
    taken = take_snapshot(services, name, "again")
    kept = read_manifest(Path(taken.path))
    assert git_snapshot.verify(services.repository, services.mirror, kept["git"]["commit"]) == []
    assert take_snapshot(services, name, "once more") == taken


def test_an_empty_one_is_none(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    services = scene.services()
    monkeypatch.setattr(type(services.repository), "worktrees", lambda self: [])
    with pytest.raises(StoreError, match="came out empty"):
        take_snapshot(services, "snap-1", "why")
    assert services.store.snapshots() == []


def test_one_that_cannot_be_written_says_where(scene: Scene) -> None:
    services = scene.services()
    services.paths.snapshots.write_text("in the way")
    with pytest.raises(StoreError, match=r"cannot be written.*emergency_snapshots"):
        snapshot_name(services, services.clock.now())


# Making safe


@pytest.mark.parametrize(
    ("level", "setting", "action"),
    [
        (Level.AUTO, None, "stop"),
        (Level.PROPOSE, None, "pause"),
        (Level.WATCH, "stop", "notify"),
        (Level.PROPOSE, "stop", "stop"),
        (Level.AUTO, "notify", "notify"),
    ],
)
def test_what_is_done_at_once_follows_from_level_and_settings(
    scene: Scene, level: Level, setting: str | None, action: str
) -> None:
    assert critical_action(scene.settings(on_critical=setting), level) == action


def test_the_writes_of_making_safe(begun: Scene, server: CrashServer) -> None:
    assert server.run(begun, act="make_safe", list_writes=True) == (0, "\n".join(SAFE))


@pytest.mark.parametrize("write", range(len(SAFE) - 1), ids=SAFE[:-1])
def test_made_safe_again_after_a_kill_there_is_one_snapshot_and_the_agent_is_held(
    begun: Scene, server: CrashServer, write: int
) -> None:
    assert server.run(begun, act="make_safe", die_at=write)[0] == 9
    snapshot = made_safe(begun)
    services = begun.services()
    assert [taken.id for taken in services.store.snapshots()] == [snapshot]
    assert [folder.name for folder in services.paths.snapshots.iterdir()] == [snapshot]
    assert verify_folder(services.paths.snapshots / snapshot) == []
    assert services.store.holds()["executor"].hold is Hold.STOPPED
    assert services.store.verify_audit().ok
    services.store.close()
