"""From a bad commit to a verified rollback, as a user meets it: the program, a repository, nothing faked."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from tests.conftest import git
from tests.e2e.conftest import BAD, GOOD, PYTHON_CHECK, QUICK_CHECK, Shop


def break_it(shop: Shop) -> str:
    """Commit the fault, then two good commits, then leave two uncommitted edits."""
    bad = shop.commit("executor", "tidy add", {"calc.py": BAD})
    shop.commit("planner", "plan on", {"plan.md": "plan\nmore\non\n"})
    shop.commit("executor", "more notes", {"notes.md": "notes\nmore\n"})
    (shop.path / "plan.md").write_text("plan\nmore\non\nhalf a thought\n")
    (shop.path / "draft.md").write_text("not committed\n")
    return bad


def assert_recovered(shop: Shop) -> None:
    """The fault is gone, all good commits and all uncommitted bytes are there, and nothing is staged."""
    assert shop.read("calc.py") == GOOD
    assert git(shop.path, "show", "main:calc.py") + "\n" == GOOD
    assert git(shop.path, "show", "main:plan.md") == "plan\nmore\non"
    assert git(shop.path, "show", "main:notes.md") == "notes\nmore"
    assert shop.read("plan.md") == "plan\nmore\non\nhalf a thought\n"
    assert shop.read("draft.md") == "not committed\n"
    assert git(shop.path, "status", "--porcelain") == " M plan.md\n?? draft.md\n?? rollcage.yml"
    git(shop.path, "fsck", "--strict", "--no-dangling")
    git(shop.path, "commit", "-q", "-a", "-m", "go on")
    assert git(shop.path, "show", "main:calc.py") + "\n" == GOOD


def test_a_healthy_repository_is_healthy_and_left_alone(shop: Shop) -> None:
    before = shop.head()
    events = shop.once(code=0)
    assert events[-1]["event"] == "outcome"
    assert events[-1]["result"] == "healthy"
    assert shop.head() == before
    assert not [event for event in events if event["event"] in {"finding", "incident"}]


def test_the_bad_commit_alone_is_taken_back(shop: Shop) -> None:
    shop.trust(shop.read("rollcage.yml").replace(QUICK_CHECK, PYTHON_CHECK))
    shop.once(code=0)
    bad = break_it(shop)
    done = shop.rollcage("--auto", "--once", "--json", code=0)
    assert done.stderr == ""
    events = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = {event["event"] for event in events}
    assert {"finding", "incident", "diagnosis", "option", "plan", "decision", "phase", "step", "verification"} <= kinds
    assert [event["seq"] for event in events] == sorted({event["seq"] for event in events})
    diagnosis = next(event for event in events if event["event"] == "diagnosis")
    assert [culprit["sha"] for culprit in diagnosis["culprits"]] == [bad]
    assert diagnosis["verdict"] == "act"
    assert diagnosis["culprits"][0]["agent"] == "executor"
    outcome = events[-1]
    assert outcome["result"] == "recovered"
    assert outcome["head_after"] == shop.head() != outcome["head_before"]
    assert len(outcome["rollbacks"]) == 1
    assert_recovered(shop)


def test_for_people_each_line_is_a_step_and_the_last_says_recovered(shop: Shop) -> None:
    shop.here("--auto", "--once")
    bad = break_it(shop)
    ran = shop.here("--auto", "--once")
    lines = ran.out.splitlines()
    assert (ran.code, ran.err) == (0, "")
    assert any(f'act: {bad[:12]} "tidy add" by executor makes tests fail' in line for line in lines)
    assert lines[-1].startswith("recovered, ")
    assert shop.head()[:12] in lines[-1]


def test_without_a_commit_known_as_good_it_looks_back(shop: Shop) -> None:
    break_it(shop)
    events = shop.once(code=0)
    assert events[-1]["result"] == "recovered"
    assert_recovered(shop)


def test_propose_waits_and_an_approval_is_carried_out(shop: Shop) -> None:
    shop.once(code=0)
    break_it(shop)
    before = shop.head()
    events = shop.once("--level", "propose", code=3)
    assert events[-1]["result"] == "waiting"
    assert shop.head() == before
    option = next(event["id"] for event in events if event["event"] == "option" and event["rank"] == 1)
    assert "+    return a + b" in shop.here("show", option, "--diff").out
    assert shop.here("rollback", option, "--yes").code == 0
    assert_recovered(shop)


def test_undo_brings_the_tree_back_exactly_and_redo_takes_it_back_again(shop: Shop) -> None:
    shop.once(code=0)
    break_it(shop)
    before = git(shop.path, "rev-parse", "main^{tree}")
    rollback = shop.once(code=0)[-1]["rollbacks"][0]
    after = git(shop.path, "rev-parse", "main^{tree}")
    assert shop.here("undo", rollback).code == 0
    assert git(shop.path, "rev-parse", "main^{tree}") == before
    assert shop.read("draft.md") == "not committed\n"
    assert shop.here("redo", rollback).code == 0
    assert git(shop.path, "rev-parse", "main^{tree}") == after
    assert shop.here("audit", "--verify").code == 0


KILLED = """
import os, signal, sys
from rollcage.core.execute.journal import Journal
method, step, name = sys.argv.pop(1).split()
written = getattr(Journal, method)
def write_and_die(self, entry, *args, **data):
    result = written(self, entry, *args, **data)
    if entry.name == step and name in ("-", data.get("forward", {}).get("records", [["-"]])[-1][0]):
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(Journal, method, write_and_die)
from rollcage.__main__ import main
sys.exit(main())
"""
"""The program, killed as soon as a certain line of the journal is durable."""


@pytest.mark.parametrize(
    "line", ["begin snapshot -", "add publish install", "begin checks -"], ids=["before", "amid", "after"]
)
def test_killed_in_the_middle_the_next_run_ends_it_and_nothing_is_lost(shop: Shop, line: str) -> None:
    """Before the branch moves, amid that, and after; tests/execute/test_crash.py kills at every other line."""
    break_it(shop)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, line, "--auto", "--once", "--json"],
        cwd=shop.path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    events = shop.once(code=0)
    assert events[-1]["result"] == "recovered", events[-1]
    assert len(events[-1]["rollbacks"]) == 1
    assert_recovered(shop)
    assert shop.here("audit", "--verify").code == 0


def test_an_approval_that_was_rejected_before_an_engine_ran_is_not_carried_out(shop: Shop) -> None:
    shop.once(code=0)
    break_it(shop)
    shop.once("--level", "propose", code=3)
    before = shop.head()
    assert shop.here("approve", "opt-1.1").code == 3
    assert shop.here("reject", "opt-1.1").code == 3
    events = shop.once("--level", "propose", code=4)
    assert events[-1]["result"] == "escalated"
    assert shop.head() == before
    assert shop.read("calc.py") == BAD
