"""Killed at any line of its journal, a rollback is carried on by the next process to the same end; also its undoing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rollcage.core.execute.journal import Journal, JournalError
from rollcage.core.model import Hold, RollbackState, StepState
from tests.conftest import git
from tests.execute.crash import CrashServer
from tests.execute.scene import AFTER, MINE, Scene, begin, carry_on, copied, journal, lay_out

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


ACTING = ("snapshot", "commit", "publish", "checks", "restart_agent", "resume_others")
"""Steps that leave something behind before it is written down that they did."""


def points(writes: list[str]) -> list[tuple[int, str]]:
    """Return where to die: after each write, and before those that say that something was done."""
    said = [index for index, name in enumerate(writes) if name.startswith(("finish", "save")) and name.endswith(ACTING)]
    said += [index for index, name in enumerate(writes) if name.startswith("save")]
    return [(index, "after") for index in range(len(writes))] + [(index, "before") for index in said]


def names(writes: list[str]) -> list[str]:
    return [f"{when} {index} {writes[index]}" for index, when in points(writes)]


@dataclass(frozen=True)
class Template:
    """A scene to begin with, kept as a copy, and what becomes of it where nobody is killed."""

    scene: Scene
    copy: Path
    picture: dict[str, object]
    journal: dict[str, object]

    def anew(self) -> Scene:
        """Put the scene back as it was, at the same place, for git keeps absolute paths."""
        copied(self.copy, self.scene.place)
        git(self.scene.top, "status")  # the copied files have new times; let git note them
        return self.scene


@pytest.fixture(scope="module")
def own_identity() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{name}_NAME", "Ann")
            patch.setenv(f"GIT_{name}_EMAIL", "ann@example.com")
        yield


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, own_identity: None, server: CrashServer) -> Template:
    """Return a rollback of which nothing was done yet."""
    scene, bad = lay_out(tmp_path_factory.mktemp("forward") / "scene")
    begin(scene, bad)
    copy = scene.place.with_name("copy")
    copied(scene.place, copy)
    assert server.run(scene, list_writes=True) == (0, "\n".join(FORWARD))
    return Template(scene, copy, scene.picture(), journal(scene))


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory, own_identity: None, server: CrashServer) -> Template:
    """Return a rollback that was published, whose checks failed then, and that was killed there."""
    scene, bad = lay_out(tmp_path_factory.mktemp("back") / "scene")
    begin(scene, bad)
    before = scene.picture()
    scene.flag.touch()
    assert server.run(scene, die_at=FORWARD.index("finish checks"))[0] == 9
    copy = scene.place.with_name("copy")
    copied(scene.place, copy)
    assert server.run(scene, list_writes=True) == (0, "\n".join(BACK))
    after = scene.picture()
    for name in ("head", "index", "status", "files", "locks", "leftovers"):
        assert after[name] == before[name], name
    return Template(scene, copy, after, journal(scene))


def test_a_rollback_takes_the_fault_back_and_leaves_all_else(template: Template) -> None:
    files = template.picture["files"]
    assert isinstance(files, dict)
    assert files[b"calc"] == ("100644", AFTER.encode())
    assert files[b"plan"] == ("100644", b"plan\nmore\nhalf a thought\n")
    assert template.picture["status"] == "A  .gitignore\n M calc\nM  other\n M plan\n?? draft"
    assert template.picture["locks"] == template.picture["leftovers"] == []
    assert template.journal["state"] is RollbackState.DONE
    assert template.journal["audit"]


@pytest.mark.parametrize(("write", "when"), points(FORWARD), ids=names(FORWARD))
def test_a_killed_rollback_is_carried_on_to_the_same_end(
    template: Template, server: CrashServer, write: int, when: str
) -> None:
    scene = template.anew()
    assert server.run(scene, die_at=write, when=when) == (9, "")
    assert server.run(scene) == (0, "done")
    assert scene.picture() == template.picture
    assert journal(scene) == template.journal
    git(scene.top, "fsck", "--strict", "--no-dangling")


@pytest.mark.parametrize(("write", "when"), points(BACK), ids=names(BACK))
def test_a_killed_undoing_is_carried_on_to_the_same_end(
    failed: Template, server: CrashServer, write: int, when: str
) -> None:
    scene = failed.anew()
    assert server.run(scene, die_at=write, when=when) == (9, "")
    assert server.run(scene) == (0, "undone")
    assert scene.picture() == failed.picture
    assert journal(scene) == failed.journal


def test_an_undone_rollback_leaves_the_old_content_and_the_problem_agent_stopped(failed: Template) -> None:
    files = failed.picture["files"]
    assert isinstance(files, dict)
    assert files[b"calc"] == ("100644", MINE.encode())
    assert failed.journal["state"] is RollbackState.UNDONE
    assert failed.journal["holds"] == {"executor": Hold.STOPPED}


@pytest.mark.parametrize("limit", [60_000, 120_000, 200_000, 300_000])
def test_a_full_disk_loses_nothing_and_it_ends_well_when_there_is_room(
    template: Template, failed: Template, server: CrashServer, limit: int
) -> None:
    scene = template.anew()
    number, said = server.run(scene, limit=limit)
    assert number == 0
    assert said.startswith("JournalError: ")
    assert "\n" not in said
    assert journal(scene)["state"] is RollbackState.RUNNING
    _, ended = server.run(scene)  # a step may have failed for lack of room while the journal could still be written
    assert ended in {"done", "undone"}
    reference = (template if ended == "done" else failed).picture
    for name in ("head", "index", "status", "files", "locks", "leftovers"):
        assert scene.picture()[name] == reference[name], name


def test_whoever_was_replaced_can_write_no_more(template: Template) -> None:
    scene = template.anew()
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
