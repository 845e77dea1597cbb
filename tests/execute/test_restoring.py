"""A snapshot is brought back by hand: what was lost comes back, what somebody worked on since stays."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from rollcage.core.errors import RefusedError, StoreError, UsageError
from rollcage.core.execute.restoring import PARTS, restore
from rollcage.core.execute.snapshots import snapshot_name, take_snapshot
from rollcage.core.model import RollbackState
from rollcage.core.services import Services
from tests.conftest import git
from tests.execute.scene import Scene
from tests.gitrepo.worlds import files_of, status, write


def snapped(services: Services) -> str:
    return take_snapshot(services, snapshot_name(services, services.clock.now()), "by hand").id


def seen(top: Path) -> dict[str, object]:
    files = {name: content for name, content in files_of(top).items() if name != b"app.db"}  # it counts its changes
    return {"index": git(top, "ls-files", "--stage"), "status": status(top), "files": files}


@pytest.fixture
def services(scene: Scene) -> Services:
    with closing(sqlite3.connect(scene.top / "app.db")) as live, live:
        live.execute("CREATE TABLE t (n)")
        live.execute("INSERT INTO t VALUES (1)")
    (scene.top / "models").mkdir()
    (scene.top / "models" / "w.log").write_text("weights")
    git(scene.top, "config", "core.excludesFile", str(scene.place / "ignore"))
    (scene.place / "ignore").write_text("app.db*\n")
    return scene.services(files=["models"], database={"url": "sqlite:///app.db"})


def test_all_that_a_mad_agent_threw_away_comes_back(scene: Scene, services: Services) -> None:
    before = seen(scene.top)
    snapshot = snapped(services)
    git(scene.top, "reset", "-q", "--hard")
    git(scene.top, "clean", "-fdxq", "-e", "app.db")
    with closing(sqlite3.connect(scene.top / "app.db")) as live, live:
        live.execute("DELETE FROM t")
    done = restore(services, snapshot, "ann")
    after = seen(scene.top)
    assert (done.left, done.failed) == ((), ())
    assert (after["index"], after["status"]) == (before["index"], before["status"])
    assert {b"calc", b"plan", b"draft", b"models/w.log"} <= files_of(scene.top).keys()
    with closing(sqlite3.connect(scene.top / "app.db")) as live:
        assert live.execute("SELECT n FROM t").fetchall() == [(1,)]
    again = restore(services, snapshot, "ann")
    assert again.left == ()
    assert seen(scene.top) == after
    assert services.store.verify_audit().ok


def test_what_somebody_worked_on_since_stays_and_is_named(scene: Scene, services: Services) -> None:
    snapshot = snapped(services)
    write(scene.top, {"calc": "newer work", "draft": "newer draft", "plan": None})
    git(scene.top, "reset", "-q", "--", "other")
    (scene.top / "more").write_text("more")
    git(scene.top, "add", "more")
    done = restore(services, snapshot, "ann", parts=("files", "index"))
    assert (scene.top / "calc").read_text() == "newer work"
    assert (scene.top / "draft").read_text() == "newer draft"
    assert (scene.top / "plan").read_text() == "plan\nmore\nhalf a thought\n"
    assert "calc" in done.left[0]
    assert "draft" in done.left[0]
    assert "something else is staged now" in done.left[1]
    assert status(scene.top).splitlines()[2] == "A  more"


def test_what_was_committed_since_is_not_turned_back_by_an_old_edit(scene: Scene, services: Services) -> None:
    snapshot = snapped(services)
    scene.commit("planner", "plan anew", plan="another plan\n")
    done = restore(services, snapshot, "ann", parts=("files", "index"))
    assert (scene.top / "plan").read_text() == "another plan\n"
    assert "plan" in done.left[0]


def test_a_part_that_fails_is_told_and_the_rest_is_done_and_done_again_it_is_whole(
    scene: Scene, services: Services
) -> None:
    snapshot = snapped(services)
    write(scene.top, {"draft": None})
    (scene.top / "app.db").unlink()
    (scene.top / "app.db").mkdir()
    done = restore(services, snapshot, "ann")
    assert len(done.failed) == 1
    assert done.failed[0].startswith("database: ")
    assert (scene.top / "draft").exists()
    (scene.top / "app.db").rmdir()
    again = restore(services, snapshot, "ann")
    assert (again.failed, again.before) == ((), done.before)


def test_it_refuses_amid_a_rollback_and_where_the_snapshot_is_damaged_or_unknown(
    begun: Scene,
) -> None:
    services = begun.services()
    snapshot = snapped(services)
    with pytest.raises(RefusedError) as refused:
        restore(services, snapshot, "ann")
    assert refused.value.code == "rollback_unfinished"
    rollback = services.store.unfinished_rollbacks()[0]
    services.store.save_rollback(replace(rollback, state=RollbackState.UNDONE))
    with pytest.raises(UsageError, match=f"there are: {snapshot}"):
        restore(services, "snap-1", "ann")
    folder = services.paths.snapshots / snapshot
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"].append({"path": "gone", "size": 1, "sha256": "0" * 64})
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="damaged, nothing was changed"):
        restore(services, snapshot, "ann")
    assert set(PARTS) == {"files", "index", "database", "trees"}
