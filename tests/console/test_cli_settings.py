"""init and trust, and what an untrusted or wrong file does to the other verbs."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from rollcage.core.settings_file import parse
from tests.conftest import git
from tests.console.cli_support import Rollcage, runner


@pytest.fixture
def rollcage(capsys: pytest.CaptureFixture[str], repository: Path, monkeypatch: pytest.MonkeyPatch) -> Rollcage:
    monkeypatch.chdir(repository)
    return runner(capsys)


def test_init_writes_a_right_file_for_the_branch_that_is_checked_out_and_trusts_it(
    rollcage: Rollcage, repository: Path
) -> None:
    git(repository, "checkout", "-q", "-b", "feature/x")
    (repository / "go.mod").write_text("module shop\n")
    ran = rollcage("init")
    assert ran.code == 0
    assert ran.out == ""
    settings = parse((repository / "rollcage.yml").read_bytes())
    assert settings.branch == "feature/x"
    assert settings.checks[0].run == ("go", "test", "./...")
    assert rollcage("agents").code == 0
    assert [path.name for path in repository.iterdir() if "rollcage" in path.name] == ["rollcage.yml"]


def test_init_says_what_to_do_where_it_finds_no_tests(rollcage: Rollcage) -> None:
    assert "name a check command" in rollcage("init").err


def test_init_takes_the_branch_of_an_unborn_repository(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "-q", "-b", "trunk", "new")
    monkeypatch.chdir(tmp_path / "new")
    assert runner(capsys)("init").code == 0
    assert parse((tmp_path / "new" / "rollcage.yml").read_bytes()).branch == "trunk"


def test_init_never_overwrites(rollcage: Rollcage, repository: Path) -> None:
    (repository / "rollcage.yml").write_text("# mine\n")
    ran = rollcage("init")
    assert ran.code == 2
    assert "is left as it is" in ran.err
    assert (repository / "rollcage.yml").read_text() == "# mine\n"


def test_trust_shows_what_changed(rollcage: Rollcage, repository: Path) -> None:
    (repository / "rollcage.yml").write_text("level: watch\n")
    first = rollcage("trust")
    assert (first.code, "+level: watch" in first.out) == (0, True)
    (repository / "rollcage.yml").write_text("level: auto\n")
    second = rollcage("trust")
    assert "-level: watch\n+level: auto" in second.out
    assert "as it is" in rollcage("trust").err


def test_a_wrong_file_is_not_trusted(rollcage: Rollcage, repository: Path) -> None:
    (repository / "rollcage.yml").write_text("level: off\nbrnch: x\n")
    ran = rollcage("trust")
    assert ran.code == 2
    assert [line.split(": ")[1] for line in ran.err.splitlines()] == ["rollcage.yml:1", "rollcage.yml:2"]


@pytest.mark.parametrize("verb", [["agents"], ["health"], ["run", "a", "--", "touch", "ran"]])
def test_nothing_is_run_with_settings_that_are_not_trusted(
    rollcage: Rollcage, repository: Path, verb: list[str]
) -> None:
    (repository / "rollcage.yml").write_text("level: watch\n")
    ran = rollcage(*verb)
    assert ran.code == 2
    assert "rollcage trust" in ran.err
    assert not (repository / "ran").exists()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("rules:\n  check_failed:\n    warning: 9\n", "3: rules.check_failed.warning"),
        ("database:\n  url: sqlite:///a.db?mode=ro\n", "2: database.url"),
        ("console:\n  mouse: true\n  quiet_hours: night\n", "3: console.quiet_hours"),
        ("console: {theme: pink}\n", "1: console.theme"),
    ],
)
def test_what_another_room_cannot_use_is_named_with_its_line(
    rollcage: Rollcage, repository: Path, text: str, place: str
) -> None:
    (repository / "rollcage.yml").write_text(text)
    for verb in ("agents", "trust"):
        ran = rollcage(verb)
        assert ran.code == 2
        assert ran.err.startswith(f"rollcage: rollcage.yml:{place}: ")


def test_without_a_file_it_says_that_it_runs_on_defaults(rollcage: Rollcage) -> None:
    ran = rollcage("agents")
    assert ran.code == 0
    assert "no rollcage.yml: running on defaults; rollcage init writes one" in ran.err


def test_a_file_named_by_hand_needs_no_trust(rollcage: Rollcage, tmp_path: Path) -> None:
    (tmp_path / "own.yml").write_text("agents: {ann: {stage: planner}}\n")
    ran = rollcage("--config", str(tmp_path / "own.yml"), "agents", "--json")
    assert [(record["name"], record["stage"]) for record in ran.records] == [("ann", "planner")]


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("\n", 2)])
def test_on_a_terminal_a_change_is_shown_and_asked_about(repository: Path, answer: str, code: int) -> None:
    (repository / "rollcage.yml").write_text("agents: {ann: {}}\n")
    program = "import sys; from rollcage.console.cli import main; sys.exit(main(['agents', '--json']))"
    command = [sys.executable, "-c", program]
    controller, terminal = pty.openpty()
    os.write(controller, answer.encode())
    done = subprocess.run(command, cwd=repository, stdin=terminal, stderr=terminal, stdout=subprocess.PIPE, check=False)
    os.close(terminal)
    shown = b""
    try:
        while chunk := os.read(controller, 65536):
            shown += chunk
    except OSError:  # the other side is closed: all was read
        pass
    os.close(controller)
    assert done.returncode == code
    assert b"+agents: {ann: {}}" in shown
    assert b"Trust it? [y/N]" in shown
    assert (b'"name": "ann"' in done.stdout) == (code == 0)
