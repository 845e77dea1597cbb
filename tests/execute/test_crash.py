"""Killed anywhere, a rollback is carried on by the next process to the same end, and nothing is lost; also its undoing.

Anywhere: at every write of the journal and of the state, at every git process, and amid git's own checkout. A usual run
tries a spread of these places; ``make torture`` tries all of them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rollcage.core.execute.journal import Journal, JournalError
from rollcage.core.model import Hold, RollbackState, StepState
from tests.conftest import git
from tests.execute.crash import CrashServer, Place, slow_checkout
from tests.execute.scene import (
    AFTER,
    MINE,
    SHAPES,
    Scene,
    begin,
    carry_on,
    copied,
    give_worktree,
    journal,
    lay_out,
)

PUBLISH = ["add publish"] * 10
FORWARD = [
    "take_over",
    *("begin stop_agent", "finish stop_agent", "begin stand_by", "finish stand_by"),
    *("begin still_valid", "finish still_valid", "begin snapshot", "finish snapshot"),
    *("begin commit", "finish commit", "begin publish", *PUBLISH, "finish publish"),
    *("begin checks", "finish checks", "begin verify", "finish verify"),
    *("begin restart_agent", "finish restart_agent", "begin metrics", "finish metrics"),
    *("begin resume_others", "finish resume_others", "save done"),
]
"""The journal's writes of a rollback that goes well, in order."""
BACK = [
    *("take_over", "finish checks", "save", "add publish", *PUBLISH, "save"),
    *(f"finish {step}" for step in ("publish", "commit", "snapshot", "still_valid", "stand_by", "stop_agent")),
    *("save", "save undone"),
]
"""Those of the undoing of one whose checks failed."""

SPREAD = {"journal": 2, "store": 1, "git": 1, "checkout": 1}
"""In a usual run so many places of each kind are tried, evenly spread; with ``--torture`` all of them."""
BEGINNINGS = [*((name, False) for name in SHAPES), *((name, True) for name in SHAPES if name != "only_restart")]
"""The shape of the plan, and whether it is the way back from checks that failed."""


@dataclass(frozen=True)
class Template:
    """A scene to begin with, kept as a copy, and what becomes of it where nobody is killed."""

    scene: Scene
    copy: Path
    settings: dict[str, object]
    commits: set[str]
    before: dict[str, object]
    places: list[Place]
    end: str
    world: dict[str, object]
    journal: dict[str, object]

    def anew(self) -> Scene:
        """Put the scene back as it was, at the same place, for git keeps absolute paths."""
        copied(self.copy, self.scene.place)
        for tree in (self.scene.top, self.scene.place / "own"):
            if tree.exists():
                git(tree, "status")  # the copied files have new times; let git note them
        return self.scene


@dataclass
class Templates:
    """Templates by the shape of their plan, each made once."""

    folder: Path
    server: CrashServer
    made: dict[tuple[str, bool], Template] = field(default_factory=dict)

    def get(self, shape: str, *, back: bool) -> Template:
        """Return a rollback of which nothing was done yet; ``back``: one whose checks failed, killed there."""
        known = self.made.get((shape, back))
        return known or self.made.setdefault((shape, back), self._make(shape, back=back))

    def _make(self, shape: str, *, back: bool) -> Template:
        scene, bad = lay_out(self.folder / f"{shape}-{back}" / "scene")
        if shape == "history":
            git(scene.top, "checkout", "-q", "--", "plan")  # an edit of lines that go would be in the way
        if shape == "whole_agent":
            give_worktree(scene)
        slow_checkout(scene)
        with closing(sqlite3.connect(scene.database)) as connection:
            connection.executescript("CREATE TABLE t (a); INSERT INTO t VALUES (1)")
        settings: dict[str, object] = {"database": {"url": f"sqlite:///{scene.database}"}}
        begin(scene, bad, SHAPES[shape], **settings)
        before, commits = scene.world(), set(git(scene.top, "rev-list", "--all").split())
        if back:
            scene.flag.touch()
            assert self.server.run(scene, die=("journal", "finish checks", "after"), settings=settings)[0] == 9
        copy = scene.place.with_name("copy")
        copied(scene.place, copy)
        places = self.server.places(scene, settings=settings)
        kept = journal(scene)
        end = str(kept["state"])
        return Template(scene, copy, settings, commits, before, places, end, scene.world(), kept)


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory, server: CrashServer) -> Iterator[Templates]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{name}_NAME", "Ann")
            patch.setenv(f"GIT_{name}_EMAIL", "ann@example.com")
        yield Templates(tmp_path_factory.mktemp("crash"), server)


def spread(places: list[Place], turn: int, *, everything: bool) -> list[Place]:
    """Return the places to try: all, or some of each kind, others for each ``turn``."""
    if everything:
        return places
    chosen: list[Place] = []
    for kind, number in SPREAD.items():
        mine = [place for place in places if place[0] == kind]
        shift = (turn + 0.5) / len(BEGINNINGS)
        chosen += [mine[int((index + shift) * len(mine) / number)] for index in range(min(number, len(mine)))]
    return chosen


def assert_alike(found: dict[str, object], wanted: dict[str, object], but: Collection[str] = ()) -> None:
    assert {name: found[name] for name in found if name not in but} == {
        name: wanted[name] for name in wanted if name not in but
    }


def test_the_places_of_a_rollback_and_of_its_undoing_are_all_there_are(templates: Templates) -> None:
    for back, writes in ((False, FORWARD), (True, BACK)):
        places = templates.get("one_commit", back=back).places
        assert len([place for place in places if place[0] == "journal"]) == 2 * len(writes)


@pytest.mark.parametrize(("shape", "back"), BEGINNINGS, ids=lambda value: {True: "back", False: ""}.get(value, value))
def test_killed_anywhere_it_comes_to_the_same_end_and_nothing_is_lost(
    templates: Templates, server: CrashServer, shape: str, back: bool, torture: bool
) -> None:
    template = templates.get(shape, back=back)
    failures = {}
    for place in spread(template.places, BEGINNINGS.index((shape, back)), everything=torture):
        scene = template.anew()
        try:
            killed, said = server.run(scene, die=place, settings=template.settings)
            assert killed == 9 or place[0] == "git", (killed, said)  # how often git is asked can differ a little
            if killed:
                assert server.run(scene, settings=template.settings) == (0, template.end)
            assert_alike(scene.world(), template.world)
            assert_alike(journal(scene), template.journal)
            git(scene.top, "fsck", "--strict", "--no-dangling")
            assert template.commits <= set(git(scene.paths.mirror, "rev-list", "--all").split()), "commits are lost"
        except AssertionError as failure:
            failures[" ".join(map(str, place))] = str(failure)[:2_000]
    assert failures == {}


def test_a_rollback_takes_the_fault_back_and_leaves_all_else(templates: Templates) -> None:
    template = templates.get("one_commit", back=False)
    files = template.world["files"]
    assert isinstance(files, dict)
    assert files[b"calc"] == ("100644", AFTER.encode())
    assert files[b"m.slow"] == ("100644", b"good\n")
    assert files[b"plan"] == ("100644", b"plan\nmore\nhalf a thought\n")
    assert template.world["status"] == "A  .gitignore\n M calc\nM  other\n M plan\n?? draft"
    assert template.world["locks"] == template.world["leftovers"] == []
    assert template.world["database"] == template.before["database"]
    assert template.journal["state"] is RollbackState.DONE
    assert template.journal["audit"]


@pytest.mark.parametrize("shape", [name for name in SHAPES if name != "only_restart"])
def test_an_undone_rollback_leaves_the_old_content_and_the_problem_agent_stopped(
    templates: Templates, shape: str
) -> None:
    template = templates.get(shape, back=True)
    files = template.world["files"]
    assert isinstance(files, dict)
    assert files[b"calc"] == ("100644", MINE.encode())
    assert_alike(template.world, template.before, but=() if shape == "history" else {"trees", "branches"})
    assert template.journal["state"] is RollbackState.UNDONE
    assert template.journal["holds"] == {"executor": Hold.STOPPED}


@pytest.mark.parametrize("limit", [60_000, 200_000])
def test_a_full_disk_loses_nothing_and_it_ends_well_when_there_is_room(
    templates: Templates, server: CrashServer, limit: int
) -> None:
    template = templates.get("one_commit", back=False)
    scene = template.anew()
    number, said = server.run(scene, limit=limit, settings=template.settings)
    assert number == 0
    assert said.startswith("JournalError: ")
    assert "\n" not in said
    assert journal(scene)["state"] is RollbackState.RUNNING
    _, ended = server.run(scene, settings=template.settings)
    assert ended in {"done", "undone"}  # a step may have failed for lack of room while the journal could be written
    world = template.world if ended == "done" else template.before
    assert_alike(scene.world(), world, but=() if ended == "done" else {"trees", "branches"})


def test_whoever_was_replaced_can_write_no_more(begun: Scene) -> None:
    scene = begun
    services = scene.services()
    record = services.store.rollback("rb-1")
    assert record is not None
    first, second = Journal(services, record), Journal(services, record)
    first.take_over()
    step = first.begin(first.step(1), {})
    second.take_over()
    with pytest.raises(JournalError, match="another engine carries rb-1 on"):
        first.finish(step, StepState.DONE)
    assert second.step(1).state is StepState.DOING
    services.store.close()
    assert carry_on(scene).state is RollbackState.DONE
