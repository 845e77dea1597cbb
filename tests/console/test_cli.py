"""The command line: help, usage errors, exit codes, both streams."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rollcage import __version__
from rollcage.console import diagnostics
from rollcage.console.cli import VERBS
from rollcage.core.errors import RefusedError, SettingsError
from tests.conftest import git
from tests.console.cli_support import Rollcage, runner


@pytest.fixture
def rollcage(capsys: pytest.CaptureFixture[str], repository: Path, monkeypatch: pytest.MonkeyPatch) -> Rollcage:
    monkeypatch.chdir(repository)
    return runner(capsys)


def test_every_verb_has_a_help_that_fits_its_line(rollcage: Rollcage) -> None:
    overview = rollcage("--help")
    assert overview.code == 0
    for verb in VERBS:
        assert f"\n  {verb} " in overview.out
        if verb not in ("signal", "lock"):  # their options are read by the light verbs
            own = rollcage(verb, "--help")
            assert own.code == 0
            assert f"Usage: rollcage {verb}" in own.out


def test_the_version_is_data(rollcage: Rollcage) -> None:
    assert rollcage("--version").out == f"rollcage {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["inciden"], "did you mean 'incidents'?"),
        (["agents", "--bogus"], "--bogus"),
        (["show"], "Missing argument"),
        (["--once"], "--once needs --auto"),
        (["--json"], "--json needs --auto"),
        (["--auto", "agents"], "--auto does not go before a command"),
        (["--auto", "--settle", "9"], "--settle needs --once"),
        (["--auto", "--once", "--settle", "9 parsec"], "'parsec'"),
        (["--auto", "--level", "off"], "'off'"),
        (["--auto", "--plain"], "leave --auto out"),
        (["stop"], "name one agent, or --all"),
        (["stop", "a", "--all"], "name one agent, or --all"),
        (["completion", "csh"], "'csh'"),
        (["show", "inc-9"], "there is no 'inc-9'"),
        (["diagnose", "inc-9"], "there is no incident 'inc-9'"),
        (["diagnose"], "there is no incident to diagnose"),
        (["run", "a"], "Missing argument"),
        (["run", "a", "--stage", "cleaner", "--", "true"], "allowed: planner, analyzer"),
        (["replay", "nowhere.jsonl"], "nowhere.jsonl"),
        (["-C", "nowhere", "health"], "no such folder: nowhere"),
        (["--config", "nowhere.yml", "agents"], "nowhere.yml: does not exist"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(rollcage: Rollcage, arguments: list[str], problem: str) -> None:
    ran = rollcage(*arguments)
    assert ran.code == 2
    assert ran.out == ""
    lines = [line for line in ran.err.splitlines() if "no rollcage.yml" not in line]
    assert len(lines) == 1
    assert lines[0].startswith("rollcage: ")
    assert problem in lines[0]


def test_outside_of_a_repository_it_says_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = runner(capsys)("health")
    assert ran.code == 2
    assert "not a git repository" in ran.err
    assert "-C DIR" in ran.err


def test_another_folder_is_worked_on_by_name(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert runner(capsys)("-C", str(repository / ".git"), "incidents").code == 0


def test_a_linked_worktree_has_the_state_of_the_main_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(repository, "worktree", "add", "-q", str(tmp_path / "linked"))
    monkeypatch.chdir(repository)
    runner(capsys)("init")
    (tmp_path / "linked" / "rollcage.yml").write_text("level: off\n")
    monkeypatch.chdir(tmp_path / "linked")
    ran = runner(capsys)("audit", "--json")
    assert [record["what"] for record in ran.records] == ["trust"]
    assert runner(capsys)("agents").code == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_that_names_the_program(rollcage: Rollcage, shell: str) -> None:
    ran = rollcage("completion", shell)
    assert ran.code == 0
    assert "_ROLLCAGE_COMPLETE" in ran.out


def test_words_are_completed(rollcage: Rollcage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_ROLLCAGE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "rollcage inc")
    monkeypatch.setenv("COMP_CWORD", "1")
    ran = rollcage()
    assert ran.code == 0
    assert ran.out.split() == ["plain,incidents"]


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (RefusedError("x", "will not"), 1, "rollcage: will not"),
        (SettingsError("f.yml", 3, "a.b", "is wrong"), 2, "rollcage: f.yml:3: a.b: is wrong"),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(), 1, ""),
    ],
)
def test_an_error_is_its_line_and_its_exit_code(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
) -> None:
    def work() -> int:
        raise error

    assert diagnostics.guarded(work) == code
    out, err = capsys.readouterr()
    assert (out, err.strip()) == ("", line)


def test_a_defect_is_one_line_and_a_report_without_secrets(capsys: pytest.CaptureFixture[str], own_home: Path) -> None:
    secret = "_".join(["ghp", "x" * 36])

    def work() -> int:
        raise ValueError(f"token {secret}\x1b[31m")

    assert diagnostics.guarded(work) == 1
    _, err = capsys.readouterr()
    (report,) = (own_home / "state" / "rollcage" / "crashes").iterdir()
    assert err.count("\n") == 1
    assert str(report) in err
    text = report.read_text()
    assert "ValueError" in text
    assert secret not in text + err
    assert "\x1b" not in text + err
    assert report.stat().st_mode & 0o777 == 0o600


def test_a_reader_that_leaves_and_a_full_disk_end_it_quietly_or_with_a_line(repository: Path) -> None:
    program = f"import sys; from rollcage.console.cli import main; sys.exit(main({['--help']!r}))"
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=repository, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, cwd=repository, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert done.stderr.decode().count("\n") == 1
    assert b"No space left" in done.stderr


def test_a_verb_is_loaded_only_when_it_is_called() -> None:
    program = (
        "import sys; import rollcage.console.cli; "
        "print([name for name in sys.modules if name.startswith(('rollcage.console.verbs.', 'pydantic', 'textual', "
        "'networkx', 'yaml', 'git', 'psutil', 'rich'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_agents_may_not_trust(rollcage: Rollcage, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLCAGE_AGENT", "executor")
    (repository / "rollcage.yml").write_text("level: auto\n")
    ran = rollcage("trust")
    assert ran.code == 1
    assert "only an operator decides" in ran.err
    assert rollcage("agents").code == 2
    (record,) = rollcage("audit", "--json").records
    assert (record["who"], record["what"], record["outcome"]) == ("executor", "decision_refused", "refused")


@pytest.mark.parametrize("place", ["relative", "{top}/.state"])
def test_state_among_the_files_of_the_repository_is_refused(
    rollcage: Rollcage, repository: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv("ROLLCAGE_STATE_DIR", place.format(top=repository))
    answer = rollcage("health")
    assert answer.code == 2
    assert "ROLLCAGE_STATE_DIR is" in answer.err
    assert sorted(path.name for path in repository.iterdir()) == [".git", "README"]


def test_an_agent_without_a_name_is_a_usage_error(rollcage: Rollcage) -> None:
    answer = rollcage("run", "--", "sh", "-c", "exit 7")
    assert answer.code == 2
    assert "NAME is missing" in answer.err
