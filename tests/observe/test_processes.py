"""Samples show what the whole tree of an agent uses, and survive whatever its processes do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil

from rollcage.core.fleet import control
from rollcage.core.fleet.runs import Run, current_runs, is_alive
from rollcage.core.model import Hold, Signal, SignalKind
from rollcage.core.observe.processes import ProcessSampler
from rollcage.core.store.paths import RepositoryPaths
from rollcage.core.store.store import Store
from tests.conftest import ManualClock
from tests.fleet.conftest import eventually, numbers, output

Start = Callable[..., Run]
Script = Callable[..., tuple[str, ...]]
NOW = datetime(2026, 11, 20, 14, tzinfo=UTC)


def by_name(signals: Sequence[Signal], agent: str = "ann") -> dict[str, float]:
    return {s.name: s.value for s in signals if s.agent == agent and s.value is not None}


def test_the_whole_tree_counts(start: Start, script: Script) -> None:
    run = start(
        script(
            "if len(sys.argv) == 1: subprocess.Popen([*sys.orig_argv, 'child'])\n"
            "memory = bytearray(os.urandom(1)) * 40_000_000\n"
            "files = [open(os.devnull) for _ in range(30)]\n"
            "print('ready'); time.sleep(60)"
        )
    )
    eventually(lambda: output(run).count("ready") == 2)
    sampler = ProcessSampler()
    first = sampler.sample([run], NOW)
    assert {(s.at, s.agent, s.kind) for s in first} == {(NOW, "ann", SignalKind.METRIC)}
    values = by_name(first)
    assert set(values) == {"memory_usage", "descriptors", "processes"}
    assert values["processes"] == 2
    assert values["memory_usage"] > 80_000_000
    assert values["descriptors"] > 60
    assert next(s.unit for s in first if s.name == "memory_usage") == "B"
    assert set(by_name(sampler.sample([run], NOW))) == {"memory_usage", "descriptors", "processes", "cpu"}


def test_processor_time_of_what_came_and_went_between_two_samples_counts(
    start: Start, script: Script, tmp_path: Path
) -> None:
    # The agent itself does nothing; each of its short-lived children burns 50 ms.
    burn = "import time; end = time.process_time() + 0.05\nwhile time.process_time() < end: pass"
    run = start(
        script(
            f"while True:\n    subprocess.run([sys.executable, '-S', '-c', {burn!r}], check=True)\n"
            "    open(sys.argv[1], 'a').write('1\\n')",
            tmp_path / "done",
        )
    )
    idle = start(script("time.sleep(60)"), name="bob")
    done = tmp_path / "done"
    eventually(lambda: numbers(done))
    sampler = ProcessSampler()
    sampler.sample([run, idle], NOW)
    before = len(numbers(done))
    eventually(lambda: len(numbers(done)) > before + 4)
    control.pause_tree(run)
    signals = sampler.sample([run, idle], NOW)
    assert by_name(signals)["cpu"] > by_name(signals, "bob")["cpu"]
    assert by_name(signals)["cpu"] > 0.05


def test_processes_that_vanish_meanwhile_do_no_harm(start: Start, script: Script) -> None:
    run = start(
        script(
            "while True:\n    subprocess.Popen(['true'])\n    try: os.waitpid(-1, os.WNOHANG)\n    except OSError: pass"
        )
    )
    sampler = ProcessSampler()
    for _ in range(30):
        assert by_name(sampler.sample([run], NOW))["processes"] >= 1


def test_halted_processes_are_told_by_their_state(start: Start, script: Script) -> None:
    run = start(script("print('ready'); time.sleep(60)"))
    eventually(lambda: output(run))
    control.pause_tree(run)
    states = next(s.attrs["states"] for s in ProcessSampler().sample([run], NOW) if s.name == "processes")
    assert states == {psutil.STATUS_STOPPED: 1}


def test_a_held_agent_has_no_memory_to_judge(
    start: Start, script: Script, paths: RepositoryPaths, clock: ManualClock
) -> None:
    store = Store.open(paths, clock)
    store.set_hold("ann", Hold.STOPPED)
    start(script("pass"))
    runs = current_runs(paths.inbox_db)
    assert by_name(ProcessSampler().sample(runs, NOW)) == {"processes": 0}
    store.close()


def test_a_run_that_ended_gives_nothing_but_that(start: Start, script: Script) -> None:
    run = start(script("pass"))
    eventually(lambda: not is_alive(run))
    sampler = ProcessSampler()
    assert by_name(sampler.sample([run], NOW)) == {"processes": 0}
    assert sampler.sample([], NOW) == []
