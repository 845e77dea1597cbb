"""A supervisor keeps one agent: detached, registered, bounded, and without any engine."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from rollcage.core.clock import SystemClock
from rollcage.core.errors import RefusedError, UsageError
from rollcage.core.fleet import control, runs, supervision
from rollcage.core.fleet.lifecycle import fold
from rollcage.core.fleet.runs import Run, current_runs
from rollcage.core.fleet.start import NotStartedError
from rollcage.core.model import AgentState, Hold, SignalKind
from rollcage.core.store.paths import RepositoryPaths
from rollcage.core.store.signals import Signals
from rollcage.core.store.store import Store

from .conftest import eventually, is_running, latest, numbers, output
from .test_output import full_disk

Start = Callable[..., Run]
Script = Callable[..., tuple[str, ...]]


def states(paths: RepositoryPaths, name: str = "ann") -> list[str]:
    return [s.name for s in Signals(paths.inbox_db).since(0) if s.kind is SignalKind.STATE and s.agent == name]


def ended(paths: RepositoryPaths, name: str = "ann") -> Callable[[], bool]:
    return lambda: latest(paths, name).exit_code is not None


def test_an_agent_runs_detached_and_its_end_is_recorded(paths: RepositoryPaths, start: Start, script: Script) -> None:
    run = start(script("print('hello from', os.getcwd()); print('oops', file=sys.stderr); sys.exit(7)"))
    assert os.getsid(run.supervisor_pid) != os.getsid(0)
    eventually(ended(paths))
    run = latest(paths)
    assert (run.state, run.exit_code, run.child_pid) == (AgentState.ERROR, 7, None)
    assert sorted(output(run).splitlines()) == [f"hello from {run.cwd}", "oops"]
    assert states(paths) == ["starting", "running", "error"]
    eventually(lambda: not runs.is_alive(run))
    assert current_runs(paths.inbox_db) == []


def test_the_states_of_one_run_after_another_make_a_valid_lifecycle(
    paths: RepositoryPaths, start: Start, script: Script
) -> None:
    for code in (0, 3, 0):
        run = start(script(f"sys.exit({code})"))
        eventually(lambda: not runs.is_alive(run))  # noqa: B023 - called at once
    life = fold(Signals(paths.inbox_db).since(0))
    assert life.state is AgentState.COMPLETED
    assert not life.refused
    assert [change.to_state.value for change in life.history] == [
        *("starting", "running", "completed"),
        *("idle", "starting", "running", "error"),
        *("starting", "running", "completed"),
    ]
    assert life.history[6].trigger == "exit 3"


def test_a_supervisor_is_known_by_pid_start_time_and_boot(paths: RepositoryPaths, start: Start, script: Script) -> None:
    start(script("time.sleep(60)"))
    (run,) = current_runs(paths.inbox_db)
    assert run.boot_id == SystemClock().boot_id()
    assert run.child_pid is not None
    assert [process.pid for process in runs.tree(run)] == [run.child_pid]
    assert runs.trees([run])[run.id] == runs.tree(run)
    assert not runs.is_alive(_but(run, supervisor_started=run.supervisor_started - 5))
    assert not runs.is_alive(_but(run, boot_id="another"))
    assert runs.tree(_but(run, boot_id="another")) == []


def _but(run: Run, **changes: object) -> Run:
    from dataclasses import replace

    return replace(run, **changes)  # type: ignore[arg-type]


def test_the_agent_learns_who_it_is(paths: RepositoryPaths, start: Start, script: Script) -> None:
    start(script("import json; print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('ROLLCAGE_')}))"))
    eventually(ended(paths))
    run = latest(paths)
    told = json.loads(output(run))
    assert told["ROLLCAGE_AGENT"] == "ann"
    assert told["ROLLCAGE_COMPETITION"] == "titanic"
    assert told["ROLLCAGE_INBOX"] == str(paths.inbox_db)
    assert told["ROLLCAGE_MAILBOX"] == str(paths.agents / "ann" / "mailbox.jsonl")
    assert told["ROLLCAGE_RUN"] == run.id


def test_it_gives_signs_of_life(paths: RepositoryPaths, start: Start, script: Script) -> None:
    start(script("time.sleep(60)"))
    first = latest(paths).seen
    assert first is not None
    eventually(lambda: (seen := latest(paths).seen) is not None and seen > first)


def test_a_second_supervisor_is_refused_until_the_first_is_dead(
    paths: RepositoryPaths, start: Start, script: Script
) -> None:
    sleeper = script("time.sleep(60)")
    first = start(sleeper)
    with pytest.raises(
        RefusedError, match=f"ann runs already under supervisor {first.supervisor_pid}; stop it"
    ) as said:
        start(sleeper)
    assert said.value.code == "already_running"
    start(sleeper, name="bob")
    os.kill(first.supervisor_pid, signal.SIGTERM)
    eventually(lambda: not runs.is_alive(first))
    assert start(sleeper).id != first.id


def test_what_a_killed_supervisor_left_behind_is_found_and_ended_by_the_next(
    paths: RepositoryPaths, start: Start, script: Script
) -> None:
    sleeper = script("time.sleep(60)")
    first = start(sleeper)
    assert first.child_pid is not None
    os.kill(first.supervisor_pid, signal.SIGKILL)
    eventually(lambda: not runs.is_alive(first))
    assert [process.pid for process in runs.tree(first)] == [first.child_pid]
    second = start(sleeper)
    assert not is_running(first.child_pid)
    assert second.child_pid is not None
    assert is_running(second.child_pid)
    assert states(paths) == ["starting", "running", "error", "starting", "running"]
    control.stop_tree(second)


def test_sigterm_ends_the_whole_tree(paths: RepositoryPaths, start: Start, script: Script, tmp_path: Path) -> None:
    run = start(
        script(
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
            "print(child.pid); time.sleep(60)"
        )
    )
    eventually(lambda: output(run).strip())
    os.kill(run.supervisor_pid, signal.SIGTERM)
    eventually(ended(paths))
    assert latest(paths).exit_code == 128 + signal.SIGTERM
    assert not is_running(int(output(run)))


def test_daemons_stay_in_the_tree_and_end_with_the_agent(
    paths: RepositoryPaths, start: Start, script: Script, tmp_path: Path
) -> None:
    pids, go = tmp_path / "pids", tmp_path / "go"
    run = start(
        script(
            "if os.fork() == 0:\n"
            "    os.setsid()\n"
            "    if os.fork() == 0:\n"
            "        open(sys.argv[1], 'a').write(f'{os.getpid()}\\n')\n"
            "        time.sleep(60)\n"
            "    os._exit(0)\n"
            "os.wait()\n"
            "while not os.path.exists(sys.argv[2]): time.sleep(0.01)\n",
            pids,
            go,
        )
    )
    eventually(lambda: numbers(pids))
    (daemon,) = numbers(pids)
    eventually(lambda: psutil.Process(daemon).ppid() == run.supervisor_pid, "adoption")
    assert daemon in {process.pid for process in runs.tree(run)}
    go.touch()
    eventually(ended(paths))
    assert not is_running(daemon)
    assert latest(paths).exit_code == 0


def test_a_stopped_agent_is_started_again_when_it_is_released(
    paths: RepositoryPaths, start: Start, script: Script
) -> None:
    store = Store.open(paths, SystemClock())
    # An agent that ends in peace is no less stopped for that.
    run = start(script("signal.signal(15, lambda *_: sys.exit(0)); print('begun'); time.sleep(60)"))
    eventually(lambda: "begun" in output(run))
    store.set_hold("ann", Hold.STOPPED, "tests fail")
    assert control.stop_tree(run).terminated == 1
    eventually(lambda: latest(paths).state is AgentState.ERROR)
    assert Signals(paths.inbox_db).recent("ann", "error", 1)[0].attrs["trigger"] == "stopped"
    store.set_hold("ann", Hold.STANDBY)
    assert runs.is_alive(run)
    store.set_hold("ann", Hold.NONE)
    eventually(lambda: output(run).count("begun") == 2, "the second start")
    eventually(lambda: latest(paths).state is AgentState.RUNNING)
    assert latest(paths).id == run.id
    # Released already, the next end is an end.
    eventually(lambda: runs.tree(run))
    store.close()
    os.kill(run.supervisor_pid, signal.SIGTERM)
    eventually(lambda: not runs.is_alive(run))


def test_a_release_right_behind_the_stop_is_not_missed(paths: RepositoryPaths, start: Start, script: Script) -> None:
    store = Store.open(paths, SystemClock())
    run = start(script("print('begun'); time.sleep(60)"))
    for times in (1, 2, 3):
        eventually(lambda: output(run).count("begun") == times)  # noqa: B023 - called at once
        store.set_hold("ann", Hold.STOPPED)
        control.stop_tree(run)
        store.set_hold("ann", Hold.NONE)
    eventually(lambda: output(run).count("begun") == 4)
    store.close()


# A supervisor whose clock, when it is asked for the time of the change to *starting*, sets a hold: behind the last look
# at the holds, before there is a process that could be stopped or halted.
LATE_HOLD = """
import os, signal, sys
from pathlib import Path
from rollcage.core.clock import SystemClock
from rollcage.core.fleet.launch import Order
from rollcage.core.fleet.supervision import Reporter, Supervisor
from rollcage.core.fleet.wakeup import Wakeup
from rollcage.core.model import Hold
from rollcage.core.store.paths import RepositoryPaths
from rollcage.core.store.store import Store

root, hold, *argv = sys.argv[1:]
paths = RepositoryPaths(Path(root))
(paths.agents / "ann").mkdir(parents=True)
store = Store.open(paths, SystemClock())

class Clock(SystemClock):
    asked = 0
    def now(self):
        self.asked += 1
        if self.asked == 3:
            store.set_hold("ann", Hold(hold))
        return super().now()

with Wakeup([signal.SIGCHLD, signal.SIGTERM]) as wakeup:
    Supervisor(Order("ann", tuple(argv), "/", root), wakeup, Reporter(os.dup(1)), Clock()).run()
"""


@contextmanager
def ending(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()


@pytest.mark.parametrize("hold", [Hold.STOPPED, Hold.PAUSED])
def test_a_hold_that_comes_just_before_the_start_is_obeyed(paths: RepositoryPaths, script: Script, hold: Hold) -> None:
    argv = [sys.executable, "-c", LATE_HOLD, str(paths.root), hold, *script("time.sleep(60)")]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as supervisor, ending(supervisor):
        eventually(lambda: "running" in states(paths))
        if hold is Hold.STOPPED:
            eventually(lambda: latest(paths).state is AgentState.ERROR, seconds=supervision.GRACE - 1)
            assert runs.tree(latest(paths)) == []
        else:
            eventually(lambda: {p.status() for p in runs.tree(latest(paths))} == {psutil.STATUS_STOPPED})
            assert control.resume_tree(latest(paths)) == 1


def test_an_agent_is_stopped_even_if_whoever_wanted_it_died_before_doing_so(
    paths: RepositoryPaths, start: Start, script: Script
) -> None:
    store = Store.open(paths, SystemClock())
    run = start(script("time.sleep(60)"))
    store.set_hold("ann", Hold.STOPPED)
    eventually(lambda: latest(paths).state is AgentState.ERROR)
    assert runs.tree(run) == []
    store.close()


def test_a_stop_that_was_taken_back_does_not_start_an_agent_twice(
    paths: RepositoryPaths, start: Start, script: Script, tmp_path: Path
) -> None:
    store, go = Store.open(paths, SystemClock()), tmp_path / "go"
    run = start(script("print('begun')\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.01)", go))
    eventually(lambda: output(run))
    store.set_hold("ann", Hold.STOPPED)
    store.set_hold("ann", Hold.NONE)
    # The supervisor has seen the release once two more heartbeats came.
    for _ in range(2):
        seen = latest(paths).seen
        eventually(lambda: latest(paths).seen != seen)  # noqa: B023 - called at once
    go.touch()
    eventually(ended(paths))
    assert output(run) == "begun\n"
    store.close()


def test_that_a_running_agent_is_held_is_on_record(paths: RepositoryPaths, start: Start, script: Script) -> None:
    store, inbox = Store.open(paths, SystemClock()), Signals(paths.inbox_db)
    start(script("time.sleep(60)"))

    def told() -> list[object]:
        return [signal.attrs["hold"] for signal in inbox.since(0) if "hold" in signal.attrs]

    store.set_hold("ann", Hold.PAUSED)
    eventually(lambda: told() == ["paused"])
    store.set_hold("ann", Hold.NONE)
    eventually(lambda: told() == ["paused", "none"])
    assert fold(inbox.since(0)).state is AgentState.RUNNING
    store.close()
    inbox.close()


def test_a_process_that_just_ended_is_not_taken_for_the_agent(
    paths: RepositoryPaths, start: Start, script: Script
) -> None:
    run = start(script("time.sleep(60)"))
    lock = sqlite3.connect(paths.inbox_db, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    control.stop_tree(run)
    assert latest(paths).child_pid == run.child_pid
    assert [found.child_pid for found in current_runs(paths.inbox_db)] == [None]
    lock.execute("ROLLBACK")
    lock.close()


def test_an_agent_that_is_held_is_not_started(paths: RepositoryPaths, start: Start, script: Script) -> None:
    store = Store.open(paths, SystemClock())
    store.set_hold("ann", Hold.PAUSED, "by hand")
    run = start(script("print('begun')"))
    assert (run.child_pid, run.state) == (None, AgentState.IDLE)
    assert runs.tree(run) == []
    store.set_hold("ann", Hold.NONE)
    eventually(ended(paths))
    assert output(run) == "begun\n"
    store.close()


def test_a_supervisor_that_waits_can_be_ended(paths: RepositoryPaths, start: Start, script: Script) -> None:
    store = Store.open(paths, SystemClock())
    store.set_hold("ann", Hold.STOPPED)
    run = start(script("print('begun')"))
    os.kill(run.supervisor_pid, signal.SIGTERM)
    eventually(ended(paths))
    assert output(run) == ""
    store.close()


def test_an_agent_that_runs_too_long_is_ended(paths: RepositoryPaths, start: Start, script: Script) -> None:
    start(script("time.sleep(60)"), timeout=0.3)
    eventually(ended(paths))
    assert (latest(paths).state, latest(paths).exit_code) == (AgentState.TIMEOUT, 124)
    assert states(paths)[-1] == "timeout"


def test_a_locked_inbox_neither_keeps_the_agent_from_working_nor_loses_what_happened(
    paths: RepositoryPaths, start: Start, script: Script, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    run = start(script("while not os.path.exists(sys.argv[1]): time.sleep(0.01)\nprint('worked')", go))
    lock = sqlite3.connect(paths.inbox_db, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    go.touch()
    eventually(lambda: "worked" in output(run))
    eventually(lambda: not runs.tree(run))
    lock.execute("COMMIT")
    lock.close()
    eventually(ended(paths))
    assert states(paths) == ["starting", "running", "completed"]


def test_a_full_disk_does_not_keep_the_agent_from_working(
    paths: RepositoryPaths, start: Start, script: Script, tmp_path: Path
) -> None:
    agent = script("print('x' * 10_000); os.mkdir(sys.argv[1])", tmp_path / "worked")
    with full_disk(500):  # children inherit it
        run = start(agent)
    eventually((tmp_path / "worked").exists)
    eventually(lambda: runs.is_alive(run) and not runs.tree(run))
    assert output(run) == "x" * 500
    assert runs.latest_runs(paths.inbox_db) == []


def test_a_command_that_does_not_exist_is_an_error_with_its_reason(
    paths: RepositoryPaths, start: Start, tmp_path: Path
) -> None:
    with pytest.raises(NotStartedError, match="agent ann: cannot start no-such-command: No such file or directory"):
        start(("no-such-command",))
    eventually(ended(paths))
    assert (latest(paths).state, latest(paths).exit_code) == (AgentState.ERROR, 125)


@pytest.mark.parametrize("name", ["", "-x", "a/b", "..", "a" * 65, "é", "a b"])
def test_a_name_that_is_no_name_is_refused(start: Start, name: str, paths: RepositoryPaths) -> None:
    with pytest.raises(UsageError, match="cannot be an agent's name"):
        start(("true",), name=name)
    assert not paths.agents.exists()


def test_the_repository_cannot_put_its_code_into_the_supervisor(
    paths: RepositoryPaths, start: Start, script: Script, tmp_path: Path
) -> None:
    (tmp_path / "psutil.py").write_text("raise SystemExit('taken over')\n")
    (tmp_path / "rollcage").mkdir()
    start(script("print('fine')"))
    eventually(ended(paths))
    assert latest(paths).exit_code == 0
