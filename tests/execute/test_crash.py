"""Killed anywhere, a rollback is carried on by the next process to the same end, and nothing is lost; also its undoing.

Anywhere: see `tests.execute.places`. A usual run tries a spread of the places of some tasks; ``make torture`` tries all
places of all of them.
"""

from __future__ import annotations

import pytest

from rollcage.core.execute.journal import Journal, JournalError
from rollcage.core.model import Hold, RollbackState, StepState
from tests.execute.crash import CrashServer, Place
from tests.execute.killing import Templates, assert_alike, tried
from tests.execute.scene import AFTER, MINE, Scene, carry_on, journal

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

SPREAD = {"journal": 1, "file": 1, "git": 1, "checkout": 1}
"""So many places of each kind are tried, evenly spread."""
GIT = ("amid", "alone", "begin")
USUAL = [
    *(("one_commit", False), ("one_commit", True), ("whole_agent", False), ("whole_agent", True), ("history", True)),
    *(("renamed", False), ("rows", False), ("restore", False), ("rebuild", False), ("prune", False)),
]
"""What of `BEGINNINGS` a usual run tries: the name, and whether it is the way back."""


def spread(places: list[Place], turn: int) -> list[Place]:
    """Return some places of each kind, others for each ``turn``."""
    chosen: list[Place] = []
    for kind, number in SPREAD.items():
        mine = [place for place in places if place[0] == kind]
        shift = (turn + 0.5) / len(USUAL)
        chosen += [mine[int((index + shift) * len(mine) / number)] for index in range(min(number, len(mine)))]
    return [(kind, number, GIT[turn % 3] if kind == "git" else moment) for kind, number, moment in chosen]


def test_the_places_of_a_rollback_and_of_its_undoing_are_all_there_are(templates: Templates) -> None:
    for back, writes in ((False, FORWARD), (True, BACK)):
        met = templates.get("one_commit", back=back).met
        names = [each.name for each in met if each.place[0] == "journal" and each.place[2] == "after"]
        assert [name.partition(" ")[0] for name in names] == [name.partition(" ")[0] for name in writes]


@pytest.mark.parametrize(("shape", "back"), USUAL, ids=lambda value: {True: "back", False: ""}.get(value, value))
def test_killed_anywhere_it_comes_to_the_same_end_and_nothing_is_lost(
    templates: Templates, server: CrashServer, shape: str, back: bool
) -> None:
    template = templates.get(shape, back=back)
    places = spread([each.place for each in template.met], USUAL.index((shape, back)))
    failures = {" ".join(map(str, place)): tried(template, server, place)[1] for place in places}
    assert {place: wrong for place, wrong in failures.items() if wrong} == {}


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


@pytest.mark.parametrize("shape", [name for name, back in USUAL if back])
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
