"""Storms: 8 processes of 5 agents, killed at random; what was acknowledged is there, once, and no batch is half."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import GitHub
from .fault_proxy import Fault
from .history import Done, Truth, overwritten, read, verdict
from .nursery import Nursery
from .storm import MIX, Mallory, github_arena, local_arena, storm, storm_faults

IN_MEMORY = Path("/dev/shm")
"""Where it is there: a kill takes nothing from it, and fsync costs nothing."""


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="storm-", dir=IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None))
    yield made
    shutil.rmtree(made)


def test_no_update_is_lost_and_no_batch_is_half_on_this_machine(folder: Path) -> None:
    told = storm(local_arena(folder), rounds=2, operations=4, seed=1)
    assert told.wrong == (), told
    assert told.killed > 0


def test_no_update_is_lost_and_no_batch_is_half_on_a_github_with_faults(folder: Path, github: GitHub) -> None:
    storm_faults(github.proxy, 0.05)
    told = storm(github_arena(folder, github), rounds=1, operations=3, seed=2, killing=0.4)
    assert told.wrong == (), told


def test_what_others_wrote_without_rollcage_is_kept_or_told(folder: Path, github: GitHub) -> None:
    arena = github_arena(folder, github)
    mallory = Mallory(arena, github, range(1, 4))
    mix = {"line": 3, "label": 1}
    storm(
        arena,
        rounds=2,
        operations=3,
        seed=3,
        killing=0.5,
        issues=3,
        processes=3,
        agents=3,
        mix=mix,
        during=mallory.write,
        check=lambda *_: [],
    )
    assert mallory.written > 3
    assert mallory.lost() == []


def test_a_storm_finds_out_who_writes_without_care(folder: Path) -> None:
    told = storm(
        local_arena(folder), rounds=1, operations=20, seed=4, processes=4, killing=0, issues=1, mix={"naive": 1}
    )
    assert any("acknowledged and is lost" in each for each in told.wrong)


def test_the_last_recovery_leaves_nothing_open(folder: Path) -> None:
    told = storm(local_arena(folder), rounds=2, operations=1, seed=5, processes=4, killing=1.0, mix={"batch": 1})
    assert told.wrong == (), told


HISTORIES = [
    ("line", {"issue": 1, "text": "lost"}, "ack", {}, "acknowledged and is lost"),
    ("line", {"issue": 1, "text": "a"}, "no", {}, "was refused and is there"),
    ("line", {"issue": 1, "text": "twice"}, "ack", {}, "is there 2 times"),
    ("comment", {"issue": 1, "text": "gone"}, "ack", {}, "acknowledged and is lost"),
    ("comment", {"issue": 1, "text": "said"}, "ack", {}, "is there 2 times"),
    ("label", {"issue": 1, "name": "x", "on": False}, "ack", {}, "label x of Issue 1 is there"),
    ("label", {"issue": 1, "name": "y", "on": True}, "ack", {}, "label y of Issue 1 is not there"),
    ("count", {"issue": 2, "to": 1}, "ack", {}, "counter of Issue 2 is 3"),
    ("create", {"title": "twin"}, "ack", {"number": 3, "created": True}, "is there 2 times"),
    ("create", {"title": "gone"}, "ack", {"number": 9, "created": True}, "is there as []"),
    (
        "batch",
        {"labels": [[1, "x"], [1, "y"]], "lines": [], "titles": [], "comments": []},
        "unknown",
        {},
        "HALF A BATCH",
    ),
    (
        "batch",
        {"labels": [[1, "x"]], "lines": [[1, "a"]], "titles": [], "comments": []},
        "no",
        {},
        "was refused and is there",
    ),
    (
        "batch",
        {"labels": [[1, "z"]], "lines": [], "titles": ["gone"], "comments": []},
        "ack",
        {},
        "acknowledged and is lost",
    ),
    ("stray", {"way": 1}, "ack", {}, "misdirected"),
]


@pytest.mark.parametrize(("kind", "told", "phase", "result", "wrong"), HISTORIES)
def test_a_history_that_cannot_be_is_found_out(
    kind: str, told: dict[str, object], phase: str, result: dict[str, object], wrong: str
) -> None:
    labels = frozenset({"comp:shop"})
    issues = [
        Truth(1, "work", "a\ntwice\ntwice", "open", labels | {"x"}, ("said", "said")),
        Truth(2, "counter 3 by a", "", "open", labels),
        Truth(3, "twin", "", "open", labels),
        Truth(4, "twin", "", "open", labels),
    ]
    assert any(wrong in each for each in verdict([Done("a.1", kind, told, phase, result)], issues))


def test_a_line_that_was_overwritten_counts_unless_it_came_back_or_was_told() -> None:
    versions = [("ann", "one"), ("mallory", "one\nhers"), ("bot", "one\nours")]
    assert overwritten(versions, []) == ["'hers' was overwritten and nobody was told"]
    assert overwritten(versions, ["theirs: one\nhers"]) == []
    assert overwritten([*versions, ("bot", "one\nhers\nours")], []) == []
    assert overwritten([("ann", "one"), ("bot", "one\nours"), ("bot", "one")], []) == []
    assert "naive" not in MIX


def test_what_a_killed_agent_had_sent_replaces_nothing_that_its_successor_wrote(folder: Path, github: GitHub) -> None:
    """GitHub works on a request for 10 s at most: so long a successor has to wait, on a clock eight times as fast."""
    arena = github_arena(folder, github, fast=8)
    number = arena.make("work", ["comp:shop"])
    request = {**arena.request, "issues": [number], "mix": {"line": 1}, "operations": 1, "seed": 1}
    late = github.proxy.fail(Fault.SLOW, method="PATCH", seconds=1.2)
    nursery = Nursery("tests.issues.storm_acts")
    try:
        dead = nursery.begin(**request, agents=["dead"], round=0)
        deadline = time.monotonic() + 30
        while not late.hits and time.monotonic() < deadline:
            time.sleep(0.02)
        dead.kill()
        dead.end(30)
        assert nursery.begin(**request, agents=["next"], round=1).end(60) == (0, "")
        github.proxy.heal()
        while not any(each.fault for each in github.proxy.asked("PATCH")) and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        nursery.close()
    assert verdict(read(folder / "history"), arena.truth()) == []
