"""A user's own repository, driven by the real program: in a process of its own, or in this one where that is the same.

Starting Python and importing costs most of a short test, so what does not depend on the process is called here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from tests.conftest import as_ann, copied_repository, git
from tests.console.cli_support import Rollcage, runner
from tests.loop import commit

CHECK = "import calc; assert calc.add(2, 3) == 5, 'add'; assert calc.double(4) == 8, 'double'"
PYTHON_CHECK = f"""['{sys.executable}', '-B', '-S', '-c', "{CHECK}"]"""
"""Runs the code, as tests do."""
QUICK_CHECK = "[grep, -qs, 'a + b', calc.py, lib/calc.py]"
"""Comes to the same; a search runs a dozen checks, and starting Python is most of what they cost."""

SETTINGS = f"""\
version: 1
branch: main
level: auto
checks:
  - name: tests
    run: {QUICK_CHECK}
    timeout: 30s
    retries: 0
agents:
  executor: {{commits: {{trailer: executor}}}}
  planner: {{commits: {{trailer: planner}}}}
"""

GOOD = "def add(a, b):\n    return a + b\n\n\ndef double(a):\n    return 2 * a\n"
BAD = GOOD.replace("a + b", "a - b")


@dataclass(frozen=True)
class Shop:
    """The repository and how to call rollcage on it."""

    path: Path
    here: Rollcage
    """``here("show", "inc-1")`` runs the command line in this process, in the repository's folder."""

    def rollcage(self, *words: str, code: int | None = None, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run the program in a process of its own."""
        done = subprocess.run(
            [sys.executable, "-m", "rollcage", *words],
            cwd=self.path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert code is None or done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def once(self, *words: str, code: int | None = None) -> list[dict[str, Any]]:
        """Run ``--auto --once --json`` and return its events."""
        ran = self.here("--auto", "--once", "--json", *words)
        assert code is None or ran.code == code, f"exit {ran.code}\n{ran.out}\n{ran.err}"
        return ran.records

    def commit(self, agent: str, summary: str, files: dict[str, str | bytes | None]) -> str:
        """Write ``files`` (``None``: remove it) and commit just these as ``agent``; return the sha."""
        for name, content in files.items():
            path = self.path / name
            if content is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.encode() if isinstance(content, str) else content)
        git(self.path, "--literal-pathspecs", "add", "--all", "--", *files)
        words = ["--literal-pathspecs", "commit", "-q", "-m", f"{summary}\n\nAgent: {agent}\n", "--only"]
        git(self.path, *words, "--", *files)
        return git(self.path, "rev-parse", "HEAD")

    def head(self) -> str:
        """Return the commit of the branch."""
        return git(self.path, "rev-parse", "main")

    def read(self, name: str) -> str:
        """Return what is in a file of the checkout."""
        return (self.path / name).read_text()

    def committed(self, name: str) -> str:
        """Return what is in a file at the branch."""
        return git(self.path, "cat-file", "blob", f"main:{name}") + "\n"

    def trust(self, settings: str) -> None:
        """Write the settings and trust them."""
        (self.path / "rollcage.yml").write_text(settings)
        ran = self.here("trust")
        assert ran.code == 0, ran.err


def world(path: Path) -> dict[str, object]:
    """Return everything of a repository that is its users': refs, index, status, and every byte of the checkout."""
    files = {
        file.relative_to(path).as_posix(): str(file.readlink()) if file.is_symlink() else file.read_bytes()
        for file in sorted(path.rglob("*"))
        if ".git" not in file.relative_to(path).parts and (file.is_symlink() or file.is_file())
    }
    looks = {
        "refs": ["for-each-ref"],
        "head": ["rev-parse", "--symbolic-full-name", "HEAD"],
        "index": ["ls-files", "--stage", "-z"],
        "status": ["status", "--porcelain", "-z"],
    }
    return {"files": files, **{name: git(path, *words) for name, words in looks.items()}}


Found = TypeVar("Found")


def until(look: Callable[[], Found], seconds: float = 30.0) -> Found:
    """Return what ``look`` returns as soon as that is true; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    tick = threading.Event()
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {look}"
        tick.wait(0.05)
    return found


@pytest.fixture(scope="session")
def e2e_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the repository of `shop`, made once."""
    path = tmp_path_factory.mktemp("e2e") / "template"
    path.mkdir()
    with as_ann():
        git(path, "init", "-q", "-b", "main")
        commit(path, "planner", "start", {"calc.py": GOOD, "plan.md": "plan\n", ".gitignore": "__pycache__/\n"})
        commit(path, "planner", "plan more", {"plan.md": "plan\nmore\n"})
        commit(path, "executor", "add notes", {"notes.md": "notes\n"})
    return path


@pytest.fixture
def shop(
    tmp_path: Path, e2e_template: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Shop]:
    """Yield a trusted repository with three good commits; afterwards no process that it started is left."""
    path = tmp_path / "my shop ü"
    copied_repository(e2e_template, path)
    monkeypatch.chdir(path)
    shop = Shop(path, runner(capsys))
    shop.trust(SETTINGS)
    yield shop
    left = processes_of(tmp_path)
    for process in left:
        process.kill()
    assert not left, f"left behind: {left}"


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return all processes, but this one, whose home lies in ``folder``."""
    home = str(folder / "home")
    return [
        process
        for process in psutil.process_iter(["environ", "status"])
        if process.pid != os.getpid()
        and process.info["status"] != psutil.STATUS_ZOMBIE
        and (process.info["environ"] or {}).get("HOME") == home
    ]
