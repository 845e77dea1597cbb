"""All that may be killed: rollbacks of every shape, their undoing, and what else writes what must not be lost."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from rollcage.core.data.capture_sqlite import writing_as
from rollcage.core.execute.capture import install_capture
from rollcage.core.execute.checkpoints import take_checkpoint
from rollcage.core.execute.runner import start_rollback
from rollcage.core.execute.snapshots import snapshot_name, take_snapshot
from rollcage.core.model import OptionType, PlanStep, RecoveryPlan
from rollcage.core.plan.options import build_options
from rollcage.core.plan.recovery import step
from rollcage.core.plan.undo import plan_undo
from tests.conftest import git
from tests.execute.scene import (
    BAD,
    MINE,
    SHAPES,
    Scene,
    begin,
    carry_on,
    diagnosis_of,
    give_worktree,
    incident_of,
)
from tests.gitrepo.worlds import edited


@dataclass(frozen=True)
class Task:
    """What is to be carried out in a scene: one of the `ACTS`, with what it is asked for."""

    settings: dict[str, object] = field(default_factory=dict)
    rollback: str = "rb-1"
    act: str = "carry_on"
    named: bool = False
    """What it returns has a time in it."""

    def request(self) -> dict[str, object]:
        return {"act": self.act, "settings": self.settings, "rollback": self.rollback}


Lay = Callable[[Scene, str], Task]
"""Prepares a scene with its bad commit until nothing is left but to carry the task out."""


def _database(scene: Scene, **more: object) -> dict[str, object]:
    with closing(sqlite3.connect(scene.database)) as connection:
        connection.executescript("CREATE TABLE t (a INTEGER PRIMARY KEY, b); INSERT INTO t VALUES (1, 'one')")
    return {"database": {"url": f"sqlite:///{scene.database}", **more}}


def _begin(scene: Scene, culprits: list[str], shape: Callable[[RecoveryPlan], RecoveryPlan], **settings: Any) -> Task:
    """Plan to take ``culprits`` back, as the first option says after ``shape``."""
    services = scene.services(**settings)
    try:
        incident = incident_of(services)
        services.checks.run_all(git(scene.top, "rev-parse", "main"), scene.tree())
        pairs = build_options(services, incident, diagnosis_of(incident, *culprits))
        services.store.save_options(incident.id, pairs)
        start_rollback(services, shape(pairs[0][1]), approved_by="engine")
    finally:
        services.store.close()
    return Task(settings)


def _same(plan: RecoveryPlan) -> RecoveryPlan:
    return plan


def _with(plan: RecoveryPlan, new: PlanStep, *, before: str = "") -> RecoveryPlan:
    """Return the plan with another step, at its end, or before the one of that name."""
    at = next((number for number, each in enumerate(plan.steps) if each.name == before), len(plan.steps))
    return replace(plan, steps=(*plan.steps[:at], new, *plan.steps[at:]))


def _simple(name: str) -> Lay:
    def lay(scene: Scene, bad: str) -> Task:
        if name == "history":
            git(scene.top, "checkout", "-q", "--", "plan")  # an edit of lines that go would be in the way
        if name == "whole_agent":
            give_worktree(scene)
        settings = _database(scene)
        begin(scene, bad, SHAPES[name], **settings)
        return Task(settings)

    return lay


def _part(scene: Scene, bad: str) -> Task:
    """Take back one file of the bad commit."""
    old = git(scene.top, "rev-parse", f"{bad}~:calc")
    index = scene.place / "part-index"

    def only_calc(plan: RecoveryPlan) -> RecoveryPlan:
        services = scene.services()
        run, environment = services.mirror.git, {"GIT_INDEX_FILE": str(index)}
        run.run("read-tree", plan.head, env=environment)
        run.run("update-index", "--cacheinfo", f"100644,{old},calc", env=environment)
        tree = run.text("write-tree", env=environment)
        services.store.close()
        return replace(plan, type=OptionType.FILE_SELECTIVE, tree=tree, parts=("calc",))

    return _begin(scene, [bad], only_calc)


def _several(scene: Scene, bad: str) -> Task:
    """Take two commits of two agents back, with a good one between them, on a file with local work."""
    second = scene.commit("planner", "another fault", calc=edited(BAD, 8, "the other fault"))
    (scene.top / "calc").write_text(edited(MINE, 8, "the other fault"))
    return _begin(scene, [bad, second], _same)


def _rows(scene: Scene, bad: str) -> Task:
    settings = _database(scene, row_capture=["t"])
    services = scene.services(**settings)
    install_capture(services)
    services.store.close()
    with closing(sqlite3.connect(scene.database, isolation_level=None)) as connection:
        for agent, number in (("executor", 2), ("planner", 3)):
            with writing_as(connection, agent):
                connection.execute("INSERT INTO t VALUES (?, ?)", (number, agent))
        with writing_as(connection, "executor"):
            connection.execute("UPDATE t SET b = 'spoilt' WHERE a = 1")
    back = step("database", "rows executor since 1")
    return _begin(scene, [bad], lambda plan: _with(plan, back, before="checks"), **settings)


def _checkpoint(scene: Scene, bad: str) -> Task:
    settings = _database(scene)
    services = scene.services(**settings)
    kept = take_checkpoint(services, f"{bad}~")
    services.store.close()
    assert kept is not None
    with closing(sqlite3.connect(scene.database)) as connection, connection:
        connection.execute("UPDATE t SET b = 'spoilt'")
    back = step("database", f"checkpoint {kept.id}")
    return _begin(scene, [bad], lambda plan: _with(plan, back, before="checks"), **settings)


def _worktrees(scene: Scene, bad: str) -> Task:
    """Let a second working tree have the same branch, with work of its own in it."""
    git(scene.top, "worktree", "add", "-q", "--force", str(scene.place / "twin"), "main")
    (scene.place / "twin" / "calc").write_text(edited(BAD, 17, "the twin's"))
    (scene.place / "twin" / "plan").write_text("plan\nmore\nthe twin's plan\n")
    return _begin(scene, [bad], _same)


def _renamed(scene: Scene, bad: str) -> Task:
    """Take a rename back together with the fault; the renamed file has local work in it, here and in a twin."""
    (scene.top / "calc").write_text(BAD)
    git(scene.top, "mv", "calc", "engine")
    git(scene.top, "commit", "-q", "-m", "rename calc\n\nAgent: executor\n", "--only", "--", "calc", "engine")
    moved = git(scene.top, "rev-parse", "HEAD")
    (scene.top / "engine").write_text(MINE)
    git(scene.top, "worktree", "add", "-q", "--force", str(scene.place / "twin"), "main")
    (scene.place / "twin" / "engine").write_text(edited(BAD, 17, "the twin's"))
    check = f"! cat calc engine 2>/dev/null | grep -q fault && test ! -e '{scene.flag}'"
    checks = [{"name": "tests", "run": ["sh", "-c", check], "retries": 0}]
    return _begin(scene, [bad, moved], _same, checks=checks)


def _submodule(scene: Scene, bad: str) -> Task:
    """Take a commit back that moved the entry of a submodule that is checked out."""
    library = scene.place / "library"
    library.mkdir()
    git(library, "init", "-q", "-b", "main")
    for text in ("old\n", "new\n"):
        (library / "code").write_text(text)
        git(library, "add", "code")
        git(library, "commit", "-q", "-m", text)
    allowed = ("-c", "protocol.file.allow=always")
    git(scene.top, *allowed, "submodule", "--quiet", "add", str(library), "sub")
    git(scene.top / "sub", "checkout", "-q", "main~1")
    git(scene.top, "add", "sub")
    git(scene.top, "commit", "-q", "-m", "use it\n\nAgent: planner\n", "--only", "--", "sub", ".gitmodules")
    git(scene.top / "sub", "checkout", "-q", "main")
    git(scene.top, "commit", "-q", "-m", "a newer one\n\nAgent: executor\n", "--only", "--", "sub")
    return _begin(scene, [bad, git(scene.top, "rev-parse", "HEAD")], _same)


def _push(scene: Scene, bad: str) -> Task:
    remote = scene.place / "remote.git"
    git(scene.place, "init", "-q", "--bare", str(remote))
    git(scene.top, "remote", "add", "origin", str(remote))
    git(scene.top, "push", "-q", "origin", "main")
    return _begin(scene, [bad], lambda plan: _with(plan, step("push", "origin")))


def _undo(scene: Scene, bad: str) -> Task:
    """Turn a rollback round that was carried out, with an agent's commit on top of it."""
    begin(scene, bad)
    done = carry_on(scene)
    scene.commit("planner", "on and on", other2="more\n")
    services = scene.services()
    turned = start_rollback(services, plan_undo(services, done, "undo"), approved_by="ann", kind="undo", of="rb-1")
    services.store.close()
    return Task(rollback=turned.id)


ROLLBACKS: dict[str, Lay] = {
    **{name: _simple(name) for name in SHAPES},
    "part": _part,
    "several": _several,
    "rows": _rows,
    "checkpoint": _checkpoint,
    "worktrees": _worktrees,
    "renamed": _renamed,
    "submodule": _submodule,
    "push": _push,
    "undo": _undo,
}
"""Rollbacks of every shape that the executor carries out."""
ONE_WAY = frozenset({"only_restart", "push", "undo"})
"""Those of which no way back is tried: there is none, or it is that of another."""


# What else may be killed


def _snapshot(scene: Scene, settings: dict[str, object]) -> None:
    services = scene.services(**settings)
    take_snapshot(services, snapshot_name(services, services.clock.now()), "by hand")
    services.mirror.keep_branches()
    services.store.close()


def _restore(scene: Scene, bad: str) -> Task:
    """Bring files, index, database and trees back that a mad agent threw away."""
    settings = {**_database(scene), "files": ["models"]}
    (scene.top / "models").mkdir()
    for name in ("v.log", "w.log"):
        (scene.top / "models" / name).write_text(f"weights {name}")
    _snapshot(scene, settings)
    git(scene.top, "reset", "-q", "--hard")
    git(scene.top, "clean", "-fdxq")
    with closing(sqlite3.connect(scene.database)) as connection, connection:
        connection.execute("DELETE FROM t")
    return Task(settings, act="restore")


def _rebuild(scene: Scene, bad: str) -> Task:
    give_worktree(scene)
    _snapshot(scene, {})
    shutil.rmtree(scene.top / ".git")
    return Task(act="rebuild")


def _prune(scene: Scene, bad: str) -> Task:
    """Keep three snapshots and two checkpoints, all but the newest too old soon, and many packs."""
    settings = _database(scene)
    for number in range(3):
        (scene.top / "draft").write_text(f"draft {number}\n")
        _snapshot(scene, settings)
        services = scene.services(**settings)
        with closing(sqlite3.connect(scene.database)) as connection, connection:
            connection.execute("INSERT INTO t (b) VALUES ('more')")
        take_checkpoint(services, "main", every=0)
        services.store.close()
    return Task(settings, act="prune")


def _upkeep(scene: Scene, bad: str) -> Task:
    _prune(scene, bad)
    services = scene.services()
    for number in range(32):
        services.mirror.keep(scene.commit("planner", f"more {number}", more=f"{number}\n"), "more")
    services.mirror.git.run("hash-object", "-w", "--stdin", stdin=b"nobody needs this")
    services.store.close()
    return Task(act="upkeep")


def _keep_branches(scene: Scene, bad: str) -> Task:
    _snapshot(scene, {})
    git(scene.top, "branch", "a/b", bad)
    scene.commit("planner", "more", more="more\n")
    return Task(act="keep_branches")


def _make_safe(scene: Scene, bad: str) -> Task:
    begin(scene, bad)
    return Task(act="make_safe", named=True)


def _keep_data(scene: Scene, bad: str) -> Task:
    return Task(_database(scene), act="checkpoint")


OTHERS: dict[str, Lay] = {
    "restore": _restore,
    "rebuild": _rebuild,
    "prune": _prune,
    "upkeep": _upkeep,
    "keep_branches": _keep_branches,
    "make_safe": _make_safe,
    "keep_data": _keep_data,
}
"""What else writes what must not be lost; begun again after a kill."""

BEGINNINGS: list[tuple[str, bool]] = [
    *((name, False) for name in (*ROLLBACKS, *OTHERS)),
    *((name, True) for name in ROLLBACKS if name not in ONE_WAY),
]
"""The name, and whether it is the way back from checks that failed."""
