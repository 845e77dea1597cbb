"""What a process never imports: the light verbs nothing heavy, whatever runs without a screen no Textual.

The import contracts in pyproject.toml say who may import whom; this shows what really gets loaded, in processes of its
own. So agents may call ``rollcage signal`` thousands of times, and a service needs no terminal.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from rollcage.core.store.identity import identify
from tests.conftest import git

HEAVY = {"click", "yaml", "pydantic", "psutil", "git", "networkx", "filelock", "junitparser", "textual", "rich"}
SCREEN = {"textual", "rollcage.widgets", "rollcage.themes", "rollcage.console.app", "rollcage.console.screens"}

AS_MODULE = """
import json, runpy, sys
report = sys.argv.pop(1)
try:
    runpy.run_module("rollcage", run_name="__main__", alter_sys=True)
finally:
    with open(report, "w") as file:
        json.dump(sorted(sys.modules), file)
"""
"""``python -m rollcage ...``, which writes down at its end what it had imported."""


def loaded_by(words: list[str], directory: Path, *, codes: tuple[int, ...] = (0,), stdin: str = "") -> set[str]:
    """Run ``python -m rollcage WORDS`` and return the names of all modules that it had loaded when it ended."""
    report = directory / "modules.json"
    done = subprocess.run(
        [sys.executable, "-c", AS_MODULE, str(report), *words],
        cwd=directory,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode in codes, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return set(json.loads(report.read_text()))


def roots(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


@pytest.fixture
def known(repository: Path) -> Path:
    """Return a repository that rollcage has seen."""
    identify(repository / ".git", lambda: git(repository, "rev-list", "--max-parents=0", "HEAD").split())
    return repository


def test_the_version_is_told_without_anything_heavy(tmp_path: Path) -> None:
    loaded = loaded_by(["--version"], tmp_path)
    assert "rollcage.console.light" in loaded
    assert roots(loaded).isdisjoint(HEAVY | {"sqlite3", "asyncio", "logging"})


@pytest.mark.parametrize(
    "words",
    [
        ["metric", "error_rate", "0.01"],
        ["step", "load users", "--expect", "40m"],
        ["error", "no answer"],
        ["test", "test_add", "passed"],
        ["data", "orphans", "3"],
        ["message", "half way"],
        ["-"],
    ],
    ids=lambda words: words[0],
)
def test_a_signal_is_written_without_anything_heavy(known: Path, words: list[str]) -> None:
    line = '{"at": "2026-11-20T14:02:31Z", "kind": "metric", "name": "error_rate", "value": 0.01}\n'
    loaded = loaded_by(["signal", *words, "--agent", "executor"], known, stdin=line)
    assert roots(loaded).isdisjoint(HEAVY | {"asyncio", "logging"})
    [inbox] = Path(os.environ["ROLLCAGE_STATE_DIR"]).glob("repositories/*/inbox.db")
    assert sqlite3.connect(inbox).execute("select count(*) from signal").fetchone() == (1,)


def test_a_refused_signal_costs_no_more(known: Path) -> None:
    loaded = loaded_by(["signal", "metric", "error_rate", "much", "--agent", "executor"], known, codes=(2,))
    assert roots(loaded).isdisjoint(HEAVY)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["acquire", "x", "--ttl", "0.1"], 0),
        (["acquire", "x", "--wait", "much"], 2),
        (["release", "x", "--token", "77"], 1),
        (["run", "x", "--", "true"], 0),
    ],
    ids=str,
)
def test_a_lock_is_taken_without_anything_heavy(known: Path, words: list[str], code: int) -> None:
    loaded = loaded_by(["lock", *words], known, codes=(code,))
    assert roots(loaded).isdisjoint(HEAVY | {"asyncio", "logging", "subprocess", "tempfile"})
    assert "rollcage.core.model" not in loaded


@pytest.mark.parametrize("module", ["rollcage.console.auto", "rollcage.core.engine", "rollcage.api"])
def test_what_runs_without_a_screen_never_imports_textual(module: str) -> None:
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert SCREEN.isdisjoint(json.loads(done.stdout))


@pytest.mark.parametrize("words", [["--auto", "--once", "--json"], ["health"], ["doctor"], ["incidents", "--json"]])
def test_a_whole_run_without_a_screen_never_imports_textual(repository: Path, words: list[str]) -> None:
    """What a function imports only when it is called counts too."""
    loaded = loaded_by(words, repository, codes=(0, 1) if words == ["doctor"] else (0,))
    assert "rollcage.console.cli" in loaded
    assert SCREEN.isdisjoint(loaded)
