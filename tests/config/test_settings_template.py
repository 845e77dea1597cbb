"""The file that rollcage init writes is whole, right, and documents itself."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from rollcage.core import settings_template
from rollcage.core.config import Settings
from rollcage.core.settings_file import parse
from rollcage.core.settings_template import GuessedCheck, guess_check, template


def uncommented(text: str) -> str:
    return re.sub(r"^#(?= )(?! (How|After))", "", text, flags=re.MULTILINE)


def test_it_says_the_defaults() -> None:
    assert parse(template("main", None).encode()) == Settings()


def test_its_branch_and_check_are_taken_as_they_are() -> None:
    check = GuessedCheck(("./run tests", "-q", 'a"b', "c: d #e"), ("node_modules", "d e"))
    settings = parse(template("feature/é#1", check).encode())
    assert settings.branch == "feature/é#1"
    assert settings.checks[0].run == check.run
    assert settings.checks[0].link == check.link


def test_its_examples_are_right_once_their_hash_is_taken_away() -> None:
    settings = parse(uncommented(template("main", None)).encode())
    assert settings.checks[0].name == "tests"
    assert settings.agents
    assert settings.rules
    assert settings.database is not None


def test_every_setting_is_there_with_a_comment() -> None:
    lines = uncommented(template("main", None)).splitlines()
    for name in Settings.model_fields.keys() - {"state_dir"}:
        (line,) = [line for line in lines if line.startswith(f"{name}:")]
        assert " # " in line
    for name in ("timeout", "depends_on", "trailer", "for", "culprit_age", "row_capture", "token_env", "keymap"):
        assert any(re.match(rf"\s+{name}: .* # \w", line) for line in lines), name


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"package.json": json.dumps({"scripts": {"test": "jest"}})}, ("npm", "test")),
        ({"Makefile": "all:\n\ntest: all\n\tsh t.sh\n"}, ("make", "test")),
        ({"go.mod": "module x\n"}, ("go", "test", "./...")),
        ({"Cargo.toml": "[package]\n"}, ("cargo", "test")),
    ],
)
def test_a_check_is_guessed_by_the_files(tmp_path: Path, files: dict[str, str], command: tuple[str, ...]) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert guess_check(tmp_path) == GuessedCheck(command)


@pytest.mark.parametrize("file", ["pytest.ini", "conftest.py", "tests/test_a.py", "test_a.py"])
def test_pytest_is_guessed_for_a_python_suite(tmp_path: Path, file: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    guessed = guess_check(tmp_path)
    assert guessed is not None
    assert guessed.run[-2:] == ("pytest", "-q")


def test_the_checkouts_own_python_is_used_and_linked(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").touch()
    assert guess_check(tmp_path) == GuessedCheck((".venv/bin/python", "-m", "pytest", "-q"), (".venv",))


def test_no_module_of_the_repository_runs_while_guessing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conftest.py").touch()
    (tmp_path / "pytest.py").write_text("import pathlib; pathlib.Path('ran').touch()")
    monkeypatch.chdir(tmp_path)
    guess_check(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"package.json": json.dumps({"scripts": {"test": 'echo "Error: no test specified" && exit 1'}})},
        {"package.json": "{not json"},
        {"package.json": "[]"},
        {"Makefile": "test := 3\nlatest: x\n"},
        {"pyproject.toml": "[project]\n"},
    ],
)
def test_nothing_is_guessed_where_nothing_tells(tmp_path: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert settings_template.guess_check(tmp_path) is None
