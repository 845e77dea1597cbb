"""Real agents for tests: everything that a test starts is gone when it ends, and that is asserted."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from rollcage.core.config import AgentSettings
from rollcage.core.fleet.runs import Run, latest_runs
from rollcage.core.fleet.start import start_agent
from rollcage.core.store.paths import RepositoryPaths

MARK = "ROLLCAGE_TEST"


def eventually(condition: Callable[[], object], what: str = "it", seconds: float = 20.0) -> None:
    """Wait until ``condition`` holds; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        threading.Event().wait(0.01)


def marked(mark: str) -> list[psutil.Process]:
    """Return all living processes that the test started, however far they got away."""
    found = []
    for process in psutil.process_iter():
        try:
            if (
                process.pid != os.getpid()
                and process.status() != psutil.STATUS_ZOMBIE
                and process.environ().get(MARK) == mark
            ):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Mark what the test starts; kill it in the end, and assert that it is gone."""
    mark = str(tmp_path)
    monkeypatch.setenv(MARK, mark)
    yield mark

    def none_left() -> bool:
        left = marked(mark)
        for process in left:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        return not left

    eventually(none_left, "the end of all processes")


@pytest.fixture
def paths(own_home: Path) -> RepositoryPaths:
    """Return the places of a repository's state; the folder exists, nothing in it."""
    root = own_home / "state" / "rollcage" / "repositories" / "6f1c2d3e-0000-4000-8000-000000000001"
    root.mkdir(parents=True, mode=0o700)
    return RepositoryPaths(root)


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., tuple[str, ...]]:
    """Return a function that makes a Python program of its text, and returns how to run it."""

    made: list[Path] = []

    def make(text: str, *arguments: object) -> tuple[str, ...]:
        path = tmp_path / f"agent-{len(made)}.py"
        made.append(path)
        path.write_text("import os, signal, subprocess, sys, time\n" + text)
        return (sys.executable, "-S", "-u", str(path), *map(str, arguments))

    return make


@pytest.fixture
def start(paths: RepositoryPaths, tmp_path: Path) -> Callable[..., Run]:
    """Return a function that starts an agent in the background."""

    def begin(argv: tuple[str, ...], name: str = "ann", **options: object) -> Run:
        settings = AgentSettings(run=argv, stage="executor", competition="titanic")
        return start_agent(paths, name, settings, tmp_path, **options)  # type: ignore[arg-type]

    return begin


def latest(paths: RepositoryPaths, name: str = "ann") -> Run:
    """Return the newest run of an agent as it is registered now."""
    return next(run for run in latest_runs(paths.inbox_db) if run.agent == name)


def output(run: Run) -> str:
    """Return what the run has written so far."""
    path = Path(run.output)
    return path.read_text(errors="replace") if path.exists() else ""


def numbers(path: Path) -> list[int]:
    """Return the pids that agents wrote into ``path``, one per line."""
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def is_running(pid: int) -> bool:
    """Return whether a process lives (a zombie does not)."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def spawn(*argv: str, **options: object) -> subprocess.Popen[bytes]:
    """Start a process of the test's own."""
    return subprocess.Popen(argv, **options)  # type: ignore[call-overload,no-any-return]
