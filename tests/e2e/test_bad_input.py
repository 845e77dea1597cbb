"""Whatever is wrong, one clear line says what to do; the exit code is that of CLI.md, and nothing is changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import git
from tests.e2e.conftest import BAD, SETTINGS, Shop, processes_of, until, world


@pytest.fixture(autouse=True)
def unchanged(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test of this file does with the shop, refs, index and every file are as the test left them."""
    shop: Shop | None = request.getfixturevalue("shop") if "shop" in request.fixturenames else None
    before = world(shop.path) if shop else None
    yield
    assert shop is None or world(shop.path) == before


def one_line(shop: Shop, *words: str, code: int) -> str:
    """Run rollcage, which must say exactly one line, and print nothing; return the line."""
    ran = shop.here(*words)
    assert (ran.code, ran.out) == (code, ""), ran.err
    lines = ran.err.splitlines()
    assert len(lines) == 1, ran.err
    assert lines[0].startswith("rollcage: ")
    assert "defect" not in lines[0]
    return lines[0]


def escalated(shop: Shop, *words: str) -> str:
    """Run rollcage, which must hand it to a human as its outcome; return the alert that says why."""
    ran = shop.here(*words, "--json")
    assert ran.code == 4, ran.err
    *events, outcome = ran.records
    assert (outcome["event"], outcome["result"], outcome["incidents"]) == ("outcome", "escalated", [])
    (alert,) = [str(event["text"]) for event in events if event["event"] == "alert"]
    return alert


def configure(shop: Shop, run: str, **more: str) -> list[str]:
    """Return the words that name settings of this test's own, outside the repository: trusted as named."""
    keys = "".join(f", {key}: {value}" for key, value in more.items())
    file = shop.path.parent / "own.yml"
    file.write_text(f"level: auto\nchecks:\n- {{name: tests, run: {run}, timeout: 1s, retries: 0{keys}}}\n")
    return ["--config", str(file), "--auto", "--once"]


class TestTheRepository:
    """What must be there before anything can be watched."""

    def test_no_repository(self, shop: Shop, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        line = one_line(shop, "-C", str(tmp_path / "empty"), "--auto", "--once", code=2)
        assert "not a git repository" in line
        assert "-C DIR" in line

    def test_a_branch_that_does_not_exist(self, shop: Shop, tmp_path: Path) -> None:
        (tmp_path / "own.yml").write_text("branch: trunk\n")
        words = ["--config", str(tmp_path / "own.yml"), "--auto"]
        line = one_line(shop, *words, "--once", code=2)
        assert "no branch trunk" in line
        assert "branch: in rollcage.yml" in line
        assert shop.rollcage(*words, code=2).stderr == f"{line}\n"

    def test_another_branch_is_checked_out_and_the_named_one_is_watched_all_the_same(self, shop: Shop) -> None:
        git(shop.path, "branch", "-q", "elsewhere")
        git(shop.path, "symbolic-ref", "HEAD", "refs/heads/elsewhere")
        assert shop.once(code=0)[-1]["result"] == "healthy"
        git(shop.path, "symbolic-ref", "HEAD", "refs/heads/main")
        git(shop.path, "branch", "-q", "-D", "elsewhere")

    @pytest.mark.parametrize(
        ("script", "problem"),
        [("", "git was not found on PATH"), ("#!/bin/sh\necho 'git version 2.37.9'\n", "git 2.37.9 is too old")],
        ids=["no git", "git too old"],
    )
    def test_git(self, shop: Shop, tmp_path: Path, script: str, problem: str) -> None:
        """In processes of their own: GitPython looks for git as it is imported."""
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "env").symlink_to("/usr/bin/env")
        if script:
            (tmp_path / "bin" / "git").write_text(script)
            (tmp_path / "bin" / "git").chmod(0o755)
        done = subprocess.run(
            [sys.executable, "-m", "rollcage", "--auto", "--once"],
            cwd=shop.path,
            env={**os.environ, "PATH": str(tmp_path / "bin")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"rollcage: {problem}")
        assert "needs git 2.39 or newer" in done.stderr
        assert done.stderr.count("\n") == 1


WRONG_SETTINGS = [
    ("brnach: main\n", "1: brnach: ", "did you mean 'branch'?"),
    ("level: yolo\n", "1: level: ", "allowed: watch, propose, auto"),
    ("version: 2\n", "1: version: ", "1"),
    ("checks:\n- run: pytest\n", "2: checks[0].name: ", "is missing"),
    ("checks:\n- {name: t, run: x, timeout: soon}\n", "2: checks[0].timeout: ", "such as 90m"),
    ('checks:\n- {name: t, run: "pytest \'x"}\n', "2: checks[0].run: ", "no closing quotation"),
    ("rules:\n  memory_usage: {warning: 5 parsec}\n", "2: rules.memory_usage", "parsec"),
    ("limits: {same_problem: many}\n", "1: limits.same_problem: ", "allowed: a whole number"),
    ("agents:\n  a: {start: always}\n", "2: agents.a.start: ", "allowed: manual, engine"),
    ("agents:\n  a: {depends_on: [b]}\n", "2: agents.a.depends_on[0]: ", "'b' is no agent or stage"),
    ("database: {url: 'mysql://x/y'}\n", "1: database.url: ", "allowed: sqlite:///FILE"),
    ("- a\n- b\n", "1: is no mapping", "allowed: lines such as"),
    ("level: [\n", "2: is not valid YAML", ""),
    ("level: auto\nlevel: watch\n", "2: level: ", "twice"),
    ("level: \x07\n", "1: ", "control character"),
]
"""The text, where the mistake is, and what is said of it."""


class TestSettings:
    """`rollcage.yml` is wrong, or nobody trusted it."""

    def test_wrong_ones_are_named_with_file_line_and_key(self, shop: Shop, tmp_path: Path) -> None:
        file = tmp_path / "own.yml"
        for text, place, said in WRONG_SETTINGS:
            file.write_text(text)
            line = one_line(shop, "--config", str(file), "--auto", "--once", code=2)
            assert line.startswith(f"rollcage: {file}:{place}"), line
            assert said in line
        assert "does not exist" in one_line(shop, "--config", "/no/such.yml", "--auto", "--once", code=2)

    def test_untrusted_ones_are_not_run(self, shop: Shop) -> None:
        trap = shop.path.parent / "ran"
        file = shop.path / "rollcage.yml"
        file.write_text(f"checks: [{{name: t, run: [touch, '{trap}'], setup: [touch, '{trap}']}}]\n")
        try:
            for words in (["--auto", "--once"], ["health"], ["run", "a", "--", "true"]):
                assert "rollcage trust" in one_line(shop, *words, code=2)
        finally:
            file.write_text(SETTINGS)
        assert not trap.exists()


class TestChecks:
    """A check that says nothing is never taken for a healthy branch."""

    def test_a_command_that_does_not_exist(self, shop: Shop) -> None:
        line = escalated(shop, *configure(shop, "no-such-command -q"))
        assert "check tests cannot be started: no-such-command" in line
        assert "must be on PATH" in line

    def test_a_setup_that_fails(self, shop: Shop) -> None:
        line = escalated(shop, *configure(shop, "'true'", setup="'false'"))
        assert "check tests has no verdict: setup failed" in line

    def test_one_that_cannot_fail(self, shop: Shop) -> None:
        line = escalated(shop, *configure(shop, "'true'"))
        assert "check tests passes even with every source emptied: it cannot fail" in line

    def test_one_that_hangs_is_ended_with_all_its_processes_and_nobody_is_blamed(
        self, shop: Shop, tmp_path: Path
    ) -> None:
        ran = shop.here(*configure(shop, "[sh, -c, 'sleep 1000 & setsid sleep 1000 & sleep 1000']"), "--json")
        assert ran.code == 4, ran.err
        assert ran.records[-1]["result"] == "escalated"
        (diagnosis,) = [record for record in ran.records if record["event"] == "diagnosis"]
        assert (diagnosis["verdict"], diagnosis["culprits"]) == ("cannot_tell", [])
        assert not processes_of(tmp_path)

    def test_one_that_fails_everywhere_blames_nobody_and_its_own_words_are_shown(self, shop: Shop) -> None:
        ran = shop.here(*configure(shop, "[sh, -c, 'echo first; echo no module named duckdb >&2; exit 1']"), "--json")
        assert ran.code == 4, ran.err
        (diagnosis,) = [record for record in ran.records if record["event"] == "diagnosis"]
        assert (diagnosis["verdict"], diagnosis["culprits"]) == ("cannot_tell", [])
        shown = shop.here("show", "inc-1").out
        assert "check tests fails: no module named duckdb" in shown
        assert "  | first\n  | no module named duckdb\n" in shown


class TestTheState:
    """Where it cannot be written, or somebody else leads."""

    @pytest.mark.parametrize("verb", [["--auto", "--once"], ["incidents"], ["doctor"], ["init"]])
    def test_no_write_permission(self, shop: Shop, monkeypatch: pytest.MonkeyPatch, verb: list[str]) -> None:
        monkeypatch.setenv("ROLLCAGE_STATE_DIR", "/dev/null/state")  # as root everything else can be written
        ran = shop.here(*verb)
        assert ran.code != 0
        assert "/dev/null/state" in ran.out + ran.err
        assert "ROLLCAGE_STATE_DIR" in ran.out + ran.err
        assert "defect" not in ran.err

    def test_another_engine_leads(self, shop: Shop) -> None:
        words = [sys.executable, "-m", "rollcage", "--auto"]
        with subprocess.Popen(words, cwd=shop.path, stdin=subprocess.DEVNULL) as engine:
            try:
                until(lambda: f"engine: pid {engine.pid} on" in shop.here("health").out)
                line = one_line(shop, "--auto", "--once", code=75)
                assert f"another engine leads this repository: pid {engine.pid} on" in line
            finally:
                engine.terminate()
        assert engine.returncode == 0

    def test_unknown_ids(self, shop: Shop) -> None:
        for words, problem in [
            ("show inc-9", "there is no 'inc-9'"),
            ("show opt-9.9 --diff", "'opt-9.9' is neither an option nor a rollback"),
            ("approve opt-9.9", "there is no option opt-9.9; rollcage options lists them"),
            ("reject opt-9.9", "there is no option opt-9.9; rollcage options lists them"),
            ("edit opt-9.9", "there is no option opt-9.9; rollcage options lists them"),
            ("rollback opt-9.9 --yes", "there is no option opt-9.9; rollcage options lists them"),
            ("undo rb-9", "there is no rollback rb-9; rollcage rollbacks lists them"),
            ("redo rb-9", "there is no rollback rb-9; rollcage rollbacks lists them"),
            ("diagnose inc-9", "there is no incident 'inc-9'; rollcage incidents lists them"),
            ("options inc-9", "there is no incident 'inc-9'; rollcage incidents lists them"),
            ("stop nobody", "there is no agent 'nobody'; known: executor, planner"),
        ]:
            assert problem in one_line(shop, *words.split(), code=2)

    def test_a_decision_that_comes_too_late(self, shop: Shop) -> None:
        """What was recovered is not rolled back twice, and an undone rollback not undone again."""
        first = shop.head()
        shop.commit("executor", "tidy add", {"calc.py": BAD})
        events = shop.once(code=0)
        option = next(event["id"] for event in events if event["event"] == "option")
        head = shop.head()
        for words in (["rollback", option, "--yes"], ["approve", option], ["reject", option]):
            assert "nothing is left to decide" in one_line(shop, *words, code=2)
        assert shop.head() == head
        git(shop.path, "reset", "-q", "--hard", first)


def test_the_folder_is_deleted_under_it(shop: Shop, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    shutil.rmtree(gone)
    assert "no such folder" in one_line(shop, "-C", str(gone), "agents", code=2)
