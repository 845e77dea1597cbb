"""What is seen becomes signals; what cannot be seen keeps nothing else from being seen, and is said."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollcage.core.config import AgentSettings
from rollcage.core.detect.intake import Intake
from rollcage.core.errors import RollcageError, UsageError
from rollcage.core.fleet.control import stop_tree
from rollcage.core.fleet.runs import Run, current_runs
from rollcage.core.fleet.start import start_agent
from rollcage.core.gitrepo.history import Origin
from rollcage.core.model import EVERYBODY, AgentState, Commit, Hold, IncidentState, Signal, SignalKind
from rollcage.core.observe.observer import AGAIN_S, Observer
from rollcage.core.observe.origin import origins
from rollcage.core.services import attributed
from tests.conftest import ManualClock, git
from tests.loop import BAD, CHECK, GOOD, Shop, eventually


def observer(shop: Shop, **more: Any) -> Observer:
    return Observer(shop.services, lambda since: EVERYBODY, **more)


def signals(shop: Shop, kind: SignalKind) -> list[Signal]:
    return [each for each in shop.services.signals.since(0) if each.kind is kind]


def run_of(shop: Shop, agent: str, cwd: Path) -> Run:
    return Run(
        id=f"run-{agent}",
        agent=agent,
        argv=("true",),
        cwd=str(cwd),
        supervisor_pid=os.getpid(),
        supervisor_started=0.0,
        boot_id="",
        child_pid=None,
        state=AgentState.RUNNING,
        since=shop.services.clock.now(),
        output="",
    )


def linked(shop: Shop, name: str) -> Path:
    """Return a linked working tree of the shop on a branch of its own."""
    path = shop.path.parent / name
    git(shop.path, "worktree", "add", "-q", "-b", name, str(path))
    return path


def commit_in(tree: Path, message: str) -> str:
    (tree / "work.md").write_text(message)
    git(tree, "add", "work.md")
    git(tree, "commit", "-q", "-m", message)
    return git(tree, "rev-parse", "HEAD")


class TestChecks:
    """The checks on the tip of the branch."""

    def test_a_tip_that_passes_is_good_and_looked_at_once(self, shop: Shop) -> None:
        watching = observer(shop)
        assert [outcome.passed for outcome in watching.run_checks()] == [True]
        assert shop.services.store.is_good(shop.head(), shop.services.checks.checks_hash)
        assert watching.run_checks() == ()
        assert [each.text for each in signals(shop, SignalKind.TEST)] == ["passed"]
        assert watching.doubt is None

    def test_a_tip_that_fails_names_who_may_have_done_it(self, shop: Shop) -> None:
        shop.mark_good()
        bad = shop.break_it()
        asked: list[list[Commit]] = []

        def prime(since: Any) -> str:
            asked.append(list(since))
            return "executor"

        Observer(shop.services, prime).run_checks()
        (told,) = signals(shop, SignalKind.TEST)
        assert (told.text, told.attrs["suspect_agent"], told.attrs["sha"]) == ("failed", "executor", shop.head())
        assert [commit.sha for commit in asked[0]] == [shop.head(), bad], "those since the last good one"

    def test_a_failure_comes_with_what_the_check_said_last(self, shop: Shop) -> None:
        shop.configure(checks=[{**CHECK, "run": ["sh", "-c", "printf 'one\\n\\ntwo\\n'; exit 1"]}])
        observer(shop).run_checks()
        assert signals(shop, SignalKind.TEST)[0].attrs["output"] == ["one", "two"]

    def test_one_that_cannot_be_run_says_nothing_and_is_tried_again(self, shop: Shop) -> None:
        shop.configure(checks=[{**CHECK, "run": ["./check"]}])
        clock = ManualClock()
        shop.open(clock)
        watching = observer(shop)
        watching.run_checks()
        assert isinstance(watching.doubt, UsageError)
        assert "check tests cannot be started: ./check" in str(watching.doubt)
        assert [each.text for each in signals(shop, SignalKind.TEST)] == ["unknown"]
        assert not shop.services.store.is_good(shop.head(), shop.services.checks.checks_hash)
        assert watching.run_checks() == ()
        clock.advance(AGAIN_S + 1)
        assert len(watching.run_checks()) == 1

    def test_one_that_cannot_fail_is_doubted_and_marks_nothing_good(self, shop: Shop) -> None:
        shop.configure(checks=[{**CHECK, "run": ["true"]}])
        watching = observer(shop)
        watching.run_checks()
        assert "even with every source emptied" in str(watching.doubt)
        assert not shop.services.store.is_good(shop.head(), shop.services.checks.checks_hash)

    def test_who_may_not_touch_the_checkout_tries_no_canary_there(self, shop: Shop, tmp_path: Path) -> None:
        seen = tmp_path / "where"
        shop.configure(checks=[{**CHECK, "run": ["sh", "-c", f"pwd >>{seen}; grep -q 'a + b' calc.py"]}])
        observer(shop, may_run_in_checkout=False).run_checks()
        assert str(shop.path) not in seen.read_text().split()
        observer(shop).run_checks()
        assert str(shop.path) in seen.read_text().split()

    def test_one_that_has_no_verdict_is_no_finding_but_said(self, shop: Shop) -> None:
        shop.configure(checks=[{**CHECK, "run": ["sh", "-c", "exit 125"]}])
        watching = observer(shop)
        watching.run_checks()
        assert "check tests has no verdict" in str(watching.doubt)
        Intake(shop.services, ()).take_in()
        assert shop.services.store.incidents() == []

    def test_a_failure_tells_which_changed_files_its_output_names(self, shop: Shop) -> None:
        shop.configure(checks=[{**CHECK, "run": ["sh", "-c", "echo at /x/calc.py:3 in my_plan.md; exit 1"]}])
        shop.commit("executor", "change", {"calc.py": BAD, "plan.md": "x\n"})
        observer(shop).run_checks()
        assert signals(shop, SignalKind.TEST)[-1].attrs["files"] == ["calc.py"]

    def test_a_flaky_one_is_no_finding_and_no_doubt_but_shown(self, shop: Shop, tmp_path: Path) -> None:
        once = tmp_path / "once"
        shop.configure(
            checks=[{**CHECK, "retries": 1, "run": ["sh", "-c", f"test -e {once} || {{ touch {once}; exit 1; }}"]}]
        )
        watching = observer(shop)
        watching.run_checks()
        assert watching.doubt is None
        assert watching.flaky == (f"check tests is flaky: failed 1 of 2 runs at {shop.head()[:12]}",)
        Intake(shop.services, ()).take_in()
        assert shop.services.store.incidents() == []
        assert not shop.services.store.is_good(shop.head(), shop.services.checks.checks_hash)


class TestOrigin:
    """Whose commit it is, by where it was made."""

    def test_a_commit_belongs_to_the_agent_that_has_the_working_tree_for_itself(self, shop: Shop) -> None:
        ours, shared = linked(shop, "ours"), linked(shop, "shared")
        mine, other = commit_in(ours, "mine"), commit_in(shared, "whose?")
        runs = [
            run_of(shop, "executor", ours / "deep"),
            run_of(shop, "planner", shared),
            run_of(shop, "monitor", shared),
            run_of(shop, "analyzer", shop.path),
        ]
        made = origins(shop.services.repository, runs, [], "main")
        assert made[mine] == Origin("executor", "in the working tree of executor")
        assert other not in made
        assert shop.head() not in made, "people commit in the main working tree, too"
        assert git(shop.path, "rev-parse", "main~1") not in made, "it was checked out there, not made there"

    def test_a_commit_belongs_to_the_agent_whose_branch_it_was_made_on(self, shop: Shop) -> None:
        made = {}
        for branch in ("executor", "executor/fix", "agents/planner", "executor/planner", "other"):
            git(shop.path, "checkout", "-q", "-b", branch.replace("executor/", "by/executor/"), "main")
            made[branch] = commit_in(shop.path, branch)
        git(shop.path, "checkout", "-q", "main")
        found = origins(shop.services.repository, [], ["executor", "planner", "main"], "main")
        assert found == {
            made["executor"]: Origin("executor", "on branch executor"),
            made["executor/fix"]: Origin("executor", "on branch by/executor/fix"),
            made["agents/planner"]: Origin("planner", "on branch agents/planner"),
        }

    def test_a_trailer_that_contradicts_the_place_is_a_finding(self, shop: Shop) -> None:
        watching = observer(shop)
        watching.look()
        watching.look()
        git(shop.path, "checkout", "-q", "-b", "executor")
        lie = commit_in(shop.path, "not mine\n\nAgent: planner")
        honest = commit_in(shop.path, "mine\n\nCo-Authored-By: planner <planner@bots.example>")
        git(shop.path, "branch", "-f", "main", "executor")
        watching.look()
        told = {each.name: each for each in signals(shop, SignalKind.COMMIT)}
        assert told[lie].attrs["mismatch"] == "says that it is planner's, but was made on branch executor"
        assert (told[honest].agent, "mismatch" in told[honest].attrs) == ("executor", False)
        assert Intake(shop.services, ()).take_in() == ["inc-1"]
        assert shop.services.store.incidents()[0].title == "commit of doubtful origin"

    def test_what_a_real_agent_commits_in_its_own_tree_is_its_own(self, shop: Shop, agent: Any) -> None:
        tree = linked(shop, "ours")
        agent("executor", tree)
        watching = observer(shop)
        watching.look()
        sha, lie = commit_in(tree, "says nothing"), commit_in(tree, "lies\n\nAgent: planner")
        git(shop.path, "merge", "-q", "--ff-only", "ours")
        watching.look()
        told = {each.name: each for each in signals(shop, SignalKind.COMMIT)}
        assert (told[sha].agent, "mismatch" in told[sha].attrs) == ("executor", False)
        assert (told[lie].agent, "mismatch" in told[lie].attrs) == ("planner", True)
        (kept,) = attributed(shop.services, [Commit(sha, (), "Ann <a@x>", shop.services.clock.now(), "says nothing")])
        assert kept.agent == "executor", "a diagnosis knows it, too"


@pytest.fixture
def agent(shop: Shop) -> Iterator[Any]:
    """Yield what starts a real agent that only waits; afterwards no process of it is left."""
    paths = shop.services.paths

    def start(name: str, folder: Path) -> Run:
        command = (sys.executable, "-S", "-c", "import signal; signal.pause()")
        return start_agent(paths, name, AgentSettings(run=command), folder)

    yield start
    for run in current_runs(paths.inbox_db):
        os.kill(run.supervisor_pid, signal.SIGTERM)
        stop_tree(run)
    eventually(lambda: not current_runs(paths.inbox_db), "the end of the agents")


class TestLook:
    """What is quick."""

    def test_what_cannot_be_seen_keeps_nothing_else_from_being_seen(self, shop: Shop, agent: Any) -> None:
        agent("executor", shop.path)
        watching = observer(shop)
        watching.look()
        before = len(signals(shop, SignalKind.METRIC))
        (shop.path / ".git").rename(shop.path / "gone")
        with pytest.raises(RollcageError, match=r"branch main is gone.*its history is kept in .*mirror\.git"):
            watching.look()
        assert len(signals(shop, SignalKind.METRIC)) > before
        (shop.path / "gone").rename(shop.path / ".git")
        watching.look()
        watching.close()

    def test_the_trouble_of_an_agent_that_has_ended_ends(self, shop: Shop) -> None:
        """Memory is measured no more once the processes are gone; without a word of that it would be high for ever."""
        shop.configure(rules={"memory_usage": {"normal": 1, "warning": 2, "critical": 9, "for": 0}})
        shop.signal("metric", "memory_usage", value=3.0)
        intake = Intake(shop.services, ())
        intake.take_in()
        watching = observer(shop)
        shop.services.store.set_hold("executor", Hold.STOPPED)
        watching.look()
        intake.take_in()
        assert shop.services.store.incidents()[0].state is IncidentState.OPEN, "that it is held is no cure"
        shop.services.store.set_hold("executor", Hold.NONE)
        watching.look()
        intake.take_in()
        assert shop.services.store.incidents()[0].state is IncidentState.CLEARED

    def test_the_database_is_looked_at_when_it_is_time(self, shop: Shop) -> None:
        import sqlite3

        with sqlite3.connect(shop.path / "app.db") as connection:
            connection.execute("create table orders (id integer)")
        connection.close()
        shop.configure(
            database={
                "url": "sqlite:///app.db",
                "checks": [{"name": "empty", "sql": "select count(*) from orders", "expect": 1}],
                "every": "5m",
            }
        )
        clock = ManualClock()
        shop.open(clock)
        watching = observer(shop)
        assert (watching.look_at_data(), watching.look_at_data()) == (1, 0)
        clock.advance(301)
        assert watching.look_at_data() == 1
        assert [each.value for each in signals(shop, SignalKind.DATA)] == [1.0, 1.0]


def test_a_mended_tip_is_looked_at_again(shop: Shop) -> None:
    watching = observer(shop)
    shop.commit("executor", "tidy add", {"calc.py": BAD})
    watching.run_checks()
    shop.commit("executor", "mend", {"calc.py": GOOD})
    watching.run_checks()
    assert [each.text for each in signals(shop, SignalKind.TEST)] == ["failed", "passed"]
