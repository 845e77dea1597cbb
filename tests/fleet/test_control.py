"""Stopping, pausing and resuming touch the whole tree of a run, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from rollcage.core.fleet import control, runs
from rollcage.core.fleet.runs import Run
from tests.conftest import git

from .conftest import eventually, is_running, numbers, output

Start = Callable[..., Run]
Script = Callable[..., tuple[str, ...]]

# A tree of three generations, each of which counts in a file of its own; grandchildren in a session of their own.
COUNTING_TREE = """
folder, depth = sys.argv[1], int(sys.argv[2])
if depth:
    for _ in range(2):
        subprocess.Popen([*sys.orig_argv[:-1], str(depth - 1)], start_new_session=depth == 1)
with open(f'{folder}/{os.getpid()}', 'ab', 0) as file:
    while True:
        file.write(b'x')
        time.sleep(0.005)
"""

# Forks without end, but for a bound in case that nobody ends it; nobody obeys SIGTERM.
FORK_STORM = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pids = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
while True:
    if os.fstat(pids).st_size < 1000 and os.fork() == 0:
        os.write(pids, b'%d\\n' % os.getpid())
    time.sleep(0.002)
"""


def counts(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir()}


@pytest.fixture
def counting(start: Start, script: Script, tmp_path: Path) -> tuple[Run, Path]:
    folder = tmp_path / "counts"
    folder.mkdir()
    run = start(script(COUNTING_TREE, folder, 2))
    eventually(lambda: len(counts(folder)) == 7 and all(counts(folder).values()), "seven processes at work")
    return run, folder


def test_a_tree_that_obeys_ends_without_a_kill(counting: tuple[Run, Path]) -> None:
    run, folder = counting
    result = control.stop_tree(run)
    assert (result.terminated, result.killed, result.left) == (7, 0, 0)
    assert not any(is_running(int(name)) for name in counts(folder))


def test_who_ignores_sigterm_is_killed_after_the_grace(start: Start, script: Script) -> None:
    run = start(
        script(
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
            "print('ready'); time.sleep(60)"
        )
    )
    eventually(lambda: "ready" in output(run))
    result = control.stop_tree(run, grace=0.2)
    assert (result.killed, result.left) == (2, 0)  # a child inherits what is ignored
    eventually(lambda: runs.tree(run) == [], "the last reaping")


def test_an_agent_has_time_to_tidy_up(start: Start, script: Script, tmp_path: Path) -> None:
    run = start(
        script(
            "def tidy(*_):\n"
            "    subprocess.run([sys.executable, '-c', 'import time; time.sleep(0.2)'], check=True)\n"
            "    open(sys.argv[1], 'w').close()\n"
            "    sys.exit(0)\n"
            "signal.signal(signal.SIGTERM, tidy)\n"
            "print('ready'); time.sleep(60)",
            tmp_path / "tidied",
        )
    )
    eventually(lambda: "ready" in output(run))
    result = control.stop_tree(run)
    assert (result.terminated, result.killed) == (1, 0)
    assert (tmp_path / "tidied").exists()


def test_a_fork_storm_is_ended(start: Start, script: Script, tmp_path: Path) -> None:
    run = start(script(FORK_STORM, tmp_path / "pids"))
    eventually(lambda: len(numbers(tmp_path / "pids")) > 50)
    result = control.stop_tree(run, grace=0.1)
    assert result.left == 0
    assert not [pid for pid in numbers(tmp_path / "pids") if is_running(pid)]


def test_a_paused_tree_does_nothing_until_it_is_resumed(counting: tuple[Run, Path]) -> None:
    run, folder = counting
    result = control.pause_tree(run)
    assert (result.paused, result.processes, result.why) == (True, 7, "")
    before = counts(folder)
    assert {process.status() for process in runs.tree(run)} == {psutil.STATUS_STOPPED}
    assert counts(folder) == before
    assert control.resume_tree(run) == 7
    eventually(lambda: all(size > before[name] for name, size in counts(folder).items()))


def test_a_paused_tree_can_be_stopped(counting: tuple[Run, Path]) -> None:
    run, _ = counting
    assert control.pause_tree(run).paused
    assert control.stop_tree(run).terminated == 7


def test_a_run_that_is_over_or_only_looks_alive_has_nothing_to_signal(start: Start, script: Script) -> None:
    run = start(script("pass"))
    eventually(lambda: not runs.is_alive(run))
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        reused = replace(run, supervisor_pid=os.getpid())
        assert bystander.pid in {process.pid for process in psutil.Process().children()}
        for over in (run, reused):
            assert control.stop_tree(over).terminated == 0
            assert control.pause_tree(over).processes == 0
            assert control.resume_tree(over) == 0
        assert bystander.poll() is None
        bystander.kill()


def test_other_agents_are_not_touched(start: Start, script: Script) -> None:
    ann, bob = start(script("time.sleep(60)")), start(script("time.sleep(60)"), name="bob")
    control.stop_tree(ann)
    assert len(runs.tree(bob)) == 1
    assert runs.is_alive(bob)


# Git in the tree


def test_an_agent_is_not_paused_in_the_middle_of_a_git_command(start: Start, script: Script, tmp_path: Path) -> None:
    run = start(
        script(
            "child = subprocess.Popen(['git', 'hash-object', '--stdin'], stdin=subprocess.PIPE)\n"
            "print('ready')\n"
            "while not os.path.exists(sys.argv[1]): time.sleep(0.01)\n"
            "child.communicate(); print('done'); time.sleep(60)",
            tmp_path / "go",
        )
    )
    eventually(lambda: "ready" in output(run) and len(runs.tree(run)) == 2)
    result = control.pause_tree(run, git_wait=0.1)
    assert not result.paused
    assert result.why.startswith("git hash-object (pid ")
    assert psutil.STATUS_STOPPED not in {process.status() for process in runs.tree(run)}
    (tmp_path / "go").touch()
    eventually(lambda: "done" in output(run))
    assert control.pause_tree(run).paused


def test_a_git_command_that_only_waits_does_not_keep_an_agent_from_being_paused(
    start: Start, script: Script, repository: Path
) -> None:
    run = start(
        script(
            f"os.chdir({str(repository)!r})\n"
            "child = subprocess.Popen(['git', '-c', 'a.b=c', 'cat-file', '--batch'], stdin=subprocess.PIPE)\n"
            "print('ready'); time.sleep(60)"
        )
    )
    eventually(lambda: "ready" in output(run) and len(runs.tree(run)) == 2)
    eventually(lambda: any(process.name() == "git" for process in runs.tree(run)))
    assert control.pause_tree(run).paused


@pytest.mark.parametrize("linked", [False, True])
def test_a_fresh_index_lock_is_waited_for_an_old_one_is_not(
    start: Start, script: Script, repository: Path, tmp_path: Path, linked: bool
) -> None:
    place, lock = repository, repository / ".git" / "index.lock"
    if linked:
        place = tmp_path / "linked"
        git(repository, "worktree", "add", "-q", "--detach", str(place))
        lock = repository / ".git" / "worktrees" / "linked" / "index.lock"
    run = start(script(f"os.chdir({str(place)!r}); print('ready'); time.sleep(60)"))
    eventually(lambda: "ready" in output(run))
    lock.touch()
    result = control.pause_tree(run, git_wait=0.1)
    assert (result.paused, result.why) == (False, f"{lock} is held")
    os.utime(lock, (1_000_000_000, 1_000_000_000))
    assert control.pause_tree(run).paused
