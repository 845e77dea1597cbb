"""Kills a task of `tests.execute.shapes` at its places, lets it begin again, and compares the end with what must be."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from rollcage.core.clock import SystemClock
from rollcage.core.data.manifest import read_manifest, verify_folder
from rollcage.core.store.store import Store
from tests.conftest import git
from tests.execute.crash import CrashServer, slow_checkout
from tests.execute.places import Met, Place, distinct
from tests.execute.scene import Scene, copied, journal, lay_out
from tests.execute.shapes import OTHERS, ROLLBACKS, Task
from tests.gitrepo.worlds import files_of, status

__all__ = ["Template", "Templates", "assert_alike", "end_of", "tried", "world_of"]


def world_of(scene: Scene) -> dict[str, object]:
    """Return all that must be the same whoever was killed."""
    seen = scene.world()
    if "database" in seen:  # what is recorded of rows has times in it
        lines = seen["database"]
        assert isinstance(lines, list)
        seen["database"] = [line for line in lines if "rollcage" not in line]
    twin, sub, remote = scene.place / "twin", scene.top / "sub", scene.place / "remote.git"
    if twin.exists():
        seen |= {"twin status": status(twin), "twin files": files_of(twin)}
        seen["twin locks"] = [
            path.name for path in (scene.top / ".git/worktrees/twin").iterdir() if "lock" in path.name
        ]
    if sub.exists():
        seen |= {"sub": git(sub, "rev-parse", "HEAD"), "sub status": status(sub)}
    if remote.exists():
        seen["remote"] = git(remote, "log", "--format=%T %s", "main")
    return seen


def kept_by(scene: Scene) -> dict[str, object]:
    """Return what the state keeps, without ids; each of it is read, and must be whole."""
    store = Store.open(scene.paths, SystemClock(), read_only=True)
    try:
        snapshots, checkpoints = store.snapshots(), store.checkpoints()
        assert store.verify_audit().ok
    finally:
        store.close()
    for snapshot in snapshots:
        assert verify_folder(Path(snapshot.path)) == [], f"{snapshot.id} is damaged"
        commit = str(read_manifest(Path(snapshot.path))["git"]["commit"])
        git(scene.paths.mirror, "ls-tree", "-r", commit)
    for checkpoint in checkpoints:
        assert verify_folder(Path(checkpoint.path)) == [], f"{checkpoint.id} is damaged"
    refs = git(scene.paths.mirror, "for-each-ref", "--format=%(refname:lstrip=2)", "refs/rollcage/branches")
    return {
        "snapshots": [snapshot.why.partition(" snap-")[0] for snapshot in snapshots],
        "checkpoints": len(checkpoints),
        "mirror's branches": refs,
    }


@dataclass(frozen=True)
class Template:
    """A task to begin with, its scene kept as a copy, and what becomes of it where nobody is killed."""

    scene: Scene
    copy: Path
    task: Task
    commits: set[str]
    before: dict[str, object]
    met: list[Met]
    end: str
    world: dict[str, object]
    journal: dict[str, object]

    @property
    def settings(self) -> dict[str, object]:
        return self.task.settings

    def anew(self) -> Scene:
        """Put the scene back as it was, at the same place, for git keeps absolute paths."""
        copied(self.copy, self.scene.place)
        for tree in (self.scene.top, self.scene.place / "own", self.scene.place / "twin"):
            if (tree / ".git").exists() and self.scene.top.joinpath(".git").exists():
                git(tree, "status")  # the copied files have new times; let git note them
        return self.scene

    def places(self) -> list[Place]:
        """Return the places at which a kill leaves something else on the disk than at those before."""
        return distinct(self.met)


@dataclass
class Templates:
    """Templates by the name of their task, each made once."""

    folder: Path
    server: CrashServer
    looking: bool = False
    """Whether `Template.places` is asked: then the disk is looked at wherever it may have changed."""
    made: dict[tuple[str, bool], Template] = field(default_factory=dict)

    def get(self, name: str, *, back: bool) -> Template:
        """Return a task of which nothing was done yet; ``back``: one whose checks failed, killed there."""
        known = self.made.get((name, back))
        return known or self.made.setdefault((name, back), self._make(name, back=back))

    def _make(self, name: str, *, back: bool) -> Template:
        scene, bad = lay_out(self.folder / f"{name}-{back}" / "scene")
        slow_checkout(scene)
        commits = set(git(scene.top, "rev-list", "--all").split())
        task = (ROLLBACKS | OTHERS)[name](scene, bad)
        there = (scene.top / ".git").exists()
        before = world_of(scene) if there else {}
        commits |= set(git(scene.top, "rev-list", "--all").split()) if there else set()
        if back:
            scene.flag.touch()
            last = ("journal", "finish checks", "after")
            assert self.server.run(scene, die=last, **task.request())[0] == 9
        copy = scene.place.with_name("copy")
        copied(scene.place, copy)
        end, met = self.server.places(scene, looking=self.looking, **task.request())
        world, kept = end_of(scene, task)
        return Template(scene, copy, task, commits, before, met, end, world, kept)


def end_of(scene: Scene, task: Task) -> tuple[dict[str, object], dict[str, object]]:
    """Return what must be the same in the end, of the world and of the journal."""
    if task.act == "carry_on":
        return world_of(scene), journal(scene, task.rollback)
    return world_of(scene) | kept_by(scene), {}


def assert_alike(found: dict[str, object], wanted: dict[str, object], but: Collection[str] = ()) -> None:
    """Compare all but some."""
    assert {name: found[name] for name in found if name not in but} == {
        name: wanted[name] for name in wanted if name not in but
    }


def tried(template: Template, server: CrashServer, place: Place) -> tuple[bool, str]:
    """Kill the task at ``place`` and let it begin again; return whether it was killed, and what is wrong then."""
    scene, request = template.anew(), template.task.request()
    killed, said = server.run(scene, die=place, **request)
    try:
        # How often git is asked, or a file made, can differ a little.
        assert killed == 9 or place[0] in {"git", "file"}, f"not killed: {killed}, {said}"
        if killed:
            ended = server.run(scene, **request)
            assert ended[0] == 0, ended
            assert template.task.named or ended[1] == template.end, ended
        world, kept = end_of(scene, template.task)
        assert_alike(world, template.world)
        assert_alike(kept, template.journal)
        kept_by(scene)
        git(scene.top, "fsck", "--strict", "--no-dangling")
        git(scene.paths.mirror, "fsck", "--connectivity-only", "--no-dangling")
        kept_commits = set(git(scene.paths.mirror, "rev-list", "--all").split())
        assert template.commits <= kept_commits or template.task.act == "checkpoint", "commits are lost"
    except AssertionError as failure:
        return killed == 9, " ".join(str(failure).split("\n")[:40])[:2_000]
    return killed == 9, ""
