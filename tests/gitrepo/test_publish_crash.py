"""Killed at any point, a publication is put right by the next process: wholly published, or as if nothing had been."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from rollcage.core.gitrepo.mirror import Mirror
from rollcage.core.gitrepo.publication import Publication
from rollcage.core.gitrepo.publish import plan_publication, publish, state_of
from rollcage.core.gitrepo.repository import Repository
from tests.conftest import git
from tests.gitrepo.crash import CrashServer, read_journal
from tests.gitrepo.worlds import LINES, Content, World, edited, files_of, picture, status, tree_files, world, write

BAD = edited(LINES, 3, "the fault")

POINTS = [
    *("begin", "lock", "lock", "objects", "edits", "transaction"),
    *("follow", "edit", "edit", "follow", "edit", "edit", "edit"),
    *("commit", "install", "install", "unlock", "unlock"),
]
"""The records of `scene`, in order; a kill at one is before what it announces, and after what came before."""


@pytest.fixture(scope="module")
def server() -> Iterator[CrashServer]:
    started = CrashServer()
    yield started
    started.close()


@dataclass
class Scene:
    """A world with two working trees of the branch, and what it must look like in the end."""

    here: World
    twin: Path
    publication: Publication
    journal: Path

    def trees(self) -> list[Path]:
        return [self.here.top, self.twin]

    def pictures(self) -> list[dict[str, object]]:
        return [picture(top) for top in self.trees()]


def with_edits(files: dict[bytes, tuple[str, bytes]], **edits: str) -> dict[bytes, tuple[str, bytes]]:
    return files | {name.encode(): ("100644", text.encode()) for name, text in edits.items()}


def laid_out(place: Path) -> Scene:
    """Return the scene: edits in changed files, files that come, go, become folders and the other way round."""
    old: dict[str, Content] = {
        "calc": BAD,
        "staged": BAD,
        "plain": BAD,
        "gone": "x",
        "f": "file",
        "d/a": "a",
        "kept": "k",
        "renamed": BAD + "renamed",
    }
    new: dict[str, Content] = {"calc": LINES, "staged": LINES, "plain": LINES, "gone": None}
    new |= {"f": None, "f/now a folder": "f", "d/a": None, "d": "now a file", "tool": ("100755", b"#!")}
    new |= {"renamed": None, "now/renamed": LINES + "renamed"}
    here = world(place, old, new)
    twin = place / "twin"
    git(here.top, "worktree", "add", "-q", "--force", str(twin), "main")
    write(here.top, {"calc": edited(BAD, 15, "mine"), "staged": edited(BAD, 12, "staged"), "note": "n"})
    git(here.top, "add", "staged")
    write(here.top, {"staged": edited(edited(BAD, 12, "staged"), 17, "later"), "kept": "my kept"})
    write(twin, {"calc": edited(BAD, 9, "the twin's"), "renamed": edited(BAD, 8, "followed") + "renamed"})
    return Scene(here, twin, here.plan(), place / "journal")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path, Scene]]:
    """Yield the folder of the scene, a copy of it, and the scene."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{name}_NAME", "Ann")
            patch.setenv(f"GIT_{name}_EMAIL", "ann@example.com")
        place = tmp_path_factory.mktemp("crash") / "scene"
        place.mkdir()
        scene = laid_out(place)
        copy = place.with_name("copy")
        shutil.copytree(place, copy, symlinks=True)
        yield place, copy, scene


@pytest.fixture
def scene(template: tuple[Path, Path, Scene]) -> Scene:
    """Return the scene as it was in the beginning: at the same place, for git keeps absolute paths."""
    place, copy, scene = template
    shutil.rmtree(place)
    shutil.copytree(copy, place, symlinks=True)
    for top in scene.trees():
        status(top)  # the copied files have new times; let git note them
    return scene


def assert_published(scene: Scene) -> None:
    here = scene.here
    assert git(here.top, "rev-parse", "main") == here.new
    wanted = tree_files(here.top, here.new)
    later = edited(edited(LINES, 12, "staged"), 17, "later")
    assert files_of(here.top) == with_edits(
        wanted, calc=edited(LINES, 15, "mine"), staged=later, note="n", kept="my kept"
    )
    assert status(here.top) == " M calc\n M kept\nMM staged\n?? note"
    assert git(here.top, "show", ":staged") + "\n" == edited(LINES, 12, "staged")
    followed = {"now/renamed": edited(LINES, 8, "followed") + "renamed"}
    assert files_of(scene.twin) == with_edits(wanted, calc=edited(LINES, 9, "the twin's"), **followed)
    assert status(scene.twin) == " M calc\n M now/renamed"
    assert state_of(here.repository, scene.publication) == "done"
    assert_nothing_left(scene)


def assert_nothing_left(scene: Scene) -> None:
    for git_dir in (scene.here.top / ".git", scene.here.top / ".git/worktrees/twin"):
        assert [path.name for path in git_dir.rglob("*") if path.suffix == ".lock" or "rollcage" in path.name] == []
    for top in scene.trees():
        assert [name for name in files_of(top) if b".rollcage" in name] == []


def test_the_points_are_all_there_are(scene: Scene) -> None:
    names: list[str] = []
    publish(scene.here.repository, scene.here.mirror, scene.publication, lambda name, _: names.append(name))
    assert names == POINTS
    assert_published(scene)


@pytest.mark.parametrize("point", range(len(POINTS)), ids=lambda point: f"{point}-{POINTS[point]}")
def test_killed_at_any_point_it_is_put_right(scene: Scene, server: CrashServer, point: int) -> None:
    here, before = scene.here, scene.pictures()
    assert server.run("publish", here, scene.publication, scene.journal, kill_at=point) == (signal.SIGKILL, "")
    assert [name for name, _ in read_journal(scene.journal)] == POINTS[: point + 1]
    moved = git(here.top, "rev-parse", "main") == here.new
    assert moved == (point > POINTS.index("commit"))
    outcome = server.run("resume", here, scene.publication, scene.journal)
    if point < POINTS.index("follow"):
        assert outcome == (0, "untouched")
        assert scene.pictures() == before
    else:
        assert outcome == (0, "done")
        assert_published(scene)


def test_what_was_found_untouched_can_be_published_anew_and_what_is_done_stays_done(
    scene: Scene, server: CrashServer
) -> None:
    server.run("publish", scene.here, scene.publication, scene.journal, kill_at=POINTS.index("transaction"))
    assert server.run("resume", scene.here, scene.publication, scene.journal) == (0, "untouched")
    server.run("publish", scene.here, scene.publication, scene.journal, kill_at=POINTS.index("install"))
    for _ in range(2):
        assert server.run("resume", scene.here, scene.publication, scene.journal) == (0, "done")
    assert_published(scene)


@pytest.mark.parametrize("name", ["follow", "commit", "install"])
def test_killed_before_the_branch_moved_it_can_be_taken_back(scene: Scene, server: CrashServer, name: str) -> None:
    before = scene.pictures()
    last = len(POINTS) - 1 - POINTS[::-1].index(name)
    server.run("publish", scene.here, scene.publication, scene.journal, kill_at=last)
    outcome = server.run("withdraw", scene.here, scene.publication, scene.journal)
    if name == "install":
        assert outcome[1].startswith("already_published")
        assert server.run("resume", scene.here, scene.publication, scene.journal) == (0, "done")
        assert_published(scene)
    else:
        assert outcome == (0, "[]")
        assert scene.pictures() == before


def test_the_next_plain_commit_of_an_agent_brings_nothing_back(scene: Scene, server: CrashServer) -> None:
    here = scene.here
    server.run("publish", here, scene.publication, scene.journal, kill_at=POINTS.index("install"))
    blocked = subprocess.run(["git", "commit", "-qam", "too early"], cwd=here.top, check=False, capture_output=True)
    assert blocked.returncode != 0
    server.run("resume", here, scene.publication, scene.journal)
    git(here.top, "commit", "-q", "-a", "-m", "on")
    assert git(here.top, "show", "HEAD:calc") + "\n" == edited(LINES, 15, "mine")
    assert git(here.top, "show", "HEAD:plain") + "\n" == LINES
    assert git(here.top, "diff", "--name-only", here.new, "HEAD").split() == ["calc", "kept", "staged"]


def test_somebodys_edit_since_stops_the_resumption_and_is_never_overwritten(scene: Scene, server: CrashServer) -> None:
    here = scene.here
    server.run("publish", here, scene.publication, scene.journal, kill_at=POINTS.index("commit"))
    write(here.top, {"plain": "saved after the kill"})
    for _ in range(2):
        killed, said = server.run("resume", here, scene.publication, scene.journal)
        assert killed == 0
        assert said.startswith("third_content: somebody changed plain in")
    assert (here.top / "plain").read_text() == "saved after the kill"
    assert git(here.top, "rev-parse", "main") == here.old
    write(here.top, {"plain": LINES})
    assert server.run("resume", here, scene.publication, scene.journal) == (0, "done")
    assert_published(scene)


def test_an_edit_made_after_the_branch_moved_is_an_edit_as_any(scene: Scene, server: CrashServer) -> None:
    here = scene.here
    server.run("publish", here, scene.publication, scene.journal, kill_at=POINTS.index("install"))
    write(here.top, {"plain": edited(LINES, 5, "saved after the kill"), "d": None})
    assert server.run("resume", here, scene.publication, scene.journal) == (0, "done")
    assert status(here.top) == " M calc\n D d\n M kept\n M plain\nMM staged\n?? note"
    write(here.top, {"plain": LINES, "d": "now a file"})
    assert_published(scene)


def test_a_file_that_its_owner_removed_or_cut_since_stops_the_resumption(scene: Scene, server: CrashServer) -> None:
    here = scene.here
    server.run("publish", here, scene.publication, scene.journal, kill_at=POINTS.index("commit"))
    for content in (None, LINES[:30], ""):
        write(here.top, {"plain": content})
        assert server.run("resume", here, scene.publication, scene.journal)[1].startswith("third_content")
        assert ((here.top / "plain").read_text() if content is not None else None) == content
    write(here.top, {"plain": LINES})
    assert server.run("resume", here, scene.publication, scene.journal) == (0, "done")
    assert_published(scene)


def test_taken_back_somebodys_edit_since_stays_and_is_named(scene: Scene, server: CrashServer) -> None:
    before = scene.pictures()
    server.run("publish", scene.here, scene.publication, scene.journal, kill_at=POINTS.index("commit"))
    write(scene.here.top, {"plain": "saved after the kill", "calc": "this too"})
    _, said = server.run("withdraw", scene.here, scene.publication, scene.journal)
    assert "plain" in said
    assert "calc" in said
    assert (scene.here.top / "plain").read_text() == "saved after the kill"
    assert (scene.here.top / "calc").read_text() == "this too"
    write(scene.here.top, {"plain": BAD, "calc": edited(BAD, 15, "mine")})
    assert scene.pictures() == before


def test_a_branch_that_went_elsewhere_after_the_kill_is_respected(scene: Scene, server: CrashServer) -> None:
    here, before = scene.here, scene.pictures()
    server.run("publish", here, scene.publication, scene.journal, kill_at=POINTS.index("commit"))
    elsewhere = git(here.top, "commit-tree", "-p", here.old, "-m", "an agent's", f"{here.old}^{{tree}}")
    git(here.top, "update-ref", "refs/heads/main", elsewhere)
    assert state_of(here.repository, scene.publication) == "foreign"
    assert server.run("resume", here, scene.publication, scene.journal)[1].startswith("branch_moved")
    git(here.top, "update-ref", "refs/heads/main", here.old)
    assert scene.pictures() == before


def test_a_branch_that_went_on_from_the_new_commit_still_lets_the_rest_follow(
    scene: Scene, server: CrashServer
) -> None:
    here = scene.here
    server.run("publish", here, scene.publication, scene.journal, kill_at=POINTS.index("install"))
    assert state_of(here.repository, scene.publication) == "moved"
    later = git(here.top, "commit-tree", "-p", here.new, "-m", "an agent's", f"{here.new}^{{tree}}")
    git(here.top, "update-ref", "refs/heads/main", later)
    assert server.run("resume", here, scene.publication, scene.journal) == (0, "done")
    assert git(here.top, "rev-parse", "main") == later
    git(here.top, "update-ref", "refs/heads/main", here.new)
    assert_published(scene)


def test_locks_that_a_dead_git_left_on_the_branch_are_removed_only_if_they_are_ours(
    scene: Scene, server: CrashServer
) -> None:
    here = scene.here
    server.run("publish", here, scene.publication, scene.journal, kill_at=POINTS.index("commit"))
    wait_for(lambda: not (here.top / ".git/HEAD.lock").exists())  # git lets go by itself; power loss would not
    (here.top / ".git/refs/heads/main.lock").write_text(f"{here.new}\n")
    (here.top / ".git/HEAD.lock").write_text("")
    assert server.run("resume", here, scene.publication, scene.journal) == (0, "done")
    assert_published(scene)


def test_a_strangers_lock_on_the_branch_stops_the_resumption(scene: Scene, server: CrashServer) -> None:
    here = scene.here
    server.run("publish", here, scene.publication, scene.journal, kill_at=POINTS.index("commit"))
    lock = here.top / ".git/refs/heads/main.lock"
    wait_for(lambda: not lock.exists())
    lock.write_text(f"{here.old}\n")
    assert server.run("resume", here, scene.publication, scene.journal, wait=0.0)[1].startswith("ref_locked")
    assert lock.exists()
    lock.unlink()
    assert server.run("resume", here, scene.publication, scene.journal) == (0, "done")
    assert_published(scene)


def test_a_lock_that_somebody_removed_is_taken_again(scene: Scene, server: CrashServer) -> None:
    here = scene.here
    server.run("publish", here, scene.publication, scene.journal, kill_at=POINTS.index("commit"))
    (here.top / ".git/index.lock").unlink()
    git(here.top, "status")  # which now writes the index
    assert server.run("resume", here, scene.publication, scene.journal) == (0, "done")
    assert_published(scene)


def wait_for(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Poll until ``condition`` holds; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        os.sched_yield()


@dataclass
class Blocked:
    """A world whose checkout stops at the file ``m.slow`` until `let_go`."""

    here: World
    publication: Publication
    journal: Path
    reached: Path
    gate: Path

    def let_go(self) -> None:
        with self.gate.open("w"):
            pass


@pytest.fixture
def blocked(tmp_path: Path) -> Blocked:
    names = ("a", "edited", "m.slow", "z")
    here = world(tmp_path, dict.fromkeys(names, BAD), dict.fromkeys(names, LINES))
    reached, gate = tmp_path / "reached", tmp_path / "gate"
    os.mkfifo(gate)
    script = tmp_path / "smudge"
    # Planning asks for the content, too; git leads its own process group, and only read-tree writes files.
    writes = "ps -ww -o args= -p $(ps -o pgid= -p $$) | grep -q 'read-tree -m -u'"
    script.write_text(f"#!/bin/sh\nif {writes} && mkdir '{reached}' 2>/dev/null; then read line < '{gate}'; fi\ncat\n")
    script.chmod(0o755)
    git(here.top, "config", "filter.slow.smudge", f"'{script}'")
    write(here.top, {".git/info/attributes": "*.slow filter=slow\n", "edited": edited(BAD, 15, "mine")})
    return Blocked(here, here.plan(), tmp_path / "journal", reached, gate)


def assert_followed(blocked: Blocked) -> None:
    top = blocked.here.top
    assert {(top / name).read_text() for name in ("a", "m.slow", "z")} == {LINES}
    assert (top / "edited").read_text() == edited(LINES, 15, "mine")
    assert status(top) == " M edited"
    assert state_of(blocked.here.repository, blocked.publication) == "done"


def killed_amid_checkout(blocked: Blocked, server: CrashServer, *, with_git: bool) -> None:
    """Kill the publishing process while git writes files, with its git or without."""
    pid = server.start("publish", blocked.here, blocked.publication, blocked.journal)
    wait_for(blocked.reached.exists)
    kill(pid, with_git=with_git)
    assert server.end() == (signal.SIGKILL, "")


def kill(pid: int, *, with_git: bool) -> None:
    """Kill a publishing process, and then the processes that it has started."""
    with contextlib.suppress(psutil.NoSuchProcess):  # it was quicker
        process = psutil.Process(pid)
        family = process.children(recursive=True) if with_git else []
        process.kill()
        for child in family:
            with contextlib.suppress(psutil.NoSuchProcess):  # update-ref goes when its pipe closes
                child.kill()
        psutil.wait_procs(family, timeout=10)


def test_killed_with_its_git_amid_the_checkout_it_is_finished(blocked: Blocked, server: CrashServer) -> None:
    killed_amid_checkout(blocked, server, with_git=True)
    assert (blocked.here.top / "a").read_text() == LINES
    assert (blocked.here.top / "z").read_text() == BAD
    assert server.run("resume", blocked.here, blocked.publication, blocked.journal) == (0, "done")
    assert_followed(blocked)


def test_killed_with_its_git_amid_the_checkout_it_can_be_taken_back(blocked: Blocked, server: CrashServer) -> None:
    before = picture(blocked.here.top)
    killed_amid_checkout(blocked, server, with_git=True)
    assert server.run("withdraw", blocked.here, blocked.publication, blocked.journal) == (0, "[]")
    assert picture(blocked.here.top) == before


def test_a_file_that_git_was_writing_when_killed_is_written_anew(blocked: Blocked, server: CrashServer) -> None:
    killed_amid_checkout(blocked, server, with_git=True)
    write(blocked.here.top, {"m.slow": LINES[:50]})
    assert server.run("resume", blocked.here, blocked.publication, blocked.journal) == (0, "done")
    assert_followed(blocked)


def test_git_left_behind_by_a_kill_is_waited_for(blocked: Blocked, server: CrashServer) -> None:
    killed_amid_checkout(blocked, server, with_git=False)
    _, said = server.run("resume", blocked.here, blocked.publication, blocked.journal, wait=0.1)
    assert said.startswith("busy")
    blocked.let_go()
    assert server.run("resume", blocked.here, blocked.publication, blocked.journal, wait=10.0) == (0, "done")
    assert_followed(blocked)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_killed_at_any_time_it_is_put_right(scene: Scene, server: CrashServer, share: float) -> None:
    here = scene.here
    begun = time.monotonic()
    pid = server.start("publish", here, scene.publication, scene.journal)
    wait_for(lambda: time.monotonic() - begun > share)
    kill(pid, with_git=True)
    server.end()
    _, said = server.run("resume", here, scene.publication, scene.journal, wait=10.0)
    if said == "untouched":
        publish(here.repository, here.mirror, scene.publication, here.record)
    assert_published(scene)


def test_a_bare_repositorys_branch_is_moved_by_the_resumption(tmp_path: Path, server: CrashServer) -> None:
    here = world(tmp_path, {"calc": BAD}, {"calc": LINES})
    git(here.top, "checkout", "-q", "--detach")
    repository = Repository.discover(here.top)
    publication = plan_publication(repository, Mirror(repository, here.mirror.path), "main", here.old, here.new)
    server.run("publish", here, publication, tmp_path / "journal", kill_at=4)
    assert [name for name, _ in read_journal(tmp_path / "journal")][-1] == "commit"
    assert server.run("resume", here, publication, tmp_path / "journal") == (0, "done")
    assert git(here.top, "rev-parse", "main") == here.new
