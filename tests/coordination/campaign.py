"""Random work of several processes on one set of locks, with faults at random moments, and what is wrong with it."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.coordination import guarded, intervals, linearizable
from tests.coordination.history import History, now, read
from tests.coordination.keepers import Keeper
from tests.coordination.workload import Plan, argument

LOCKS = {"issue/1": 1, "issue/2": 1, "pool": 3}


@dataclass
class Ended:
    """What a campaign came to."""

    history: History
    writes: list[guarded.Write]
    befell: list[str] = field(default_factory=list)

    def faults(self, slack: float) -> list[str]:
        """Return everything that is wrong, in words; ``slack`` as in `linearizable`."""
        return [
            *intervals.faults(self.history),
            *guarded.faults(self.writes),
            *linearizable.faults(self.history, slack),
        ]


def run(
    keeper: Keeper,
    folder: Path,
    seed: int,
    *,
    processes: int = 3,
    threads: int = 2,
    seconds: float = 1.5,
    befalls: Sequence[str] = (),
    plan: Plan | None = None,
) -> Ended:
    """Let ``processes`` work at random for ``seconds``; what ``befalls`` them and the keeper does so again and again.

    ``befalls``: of "kill", "pause" and what the keeper has. ``folder`` gets the histories and the guarded file.
    """
    chance = random.Random(seed)
    base = plan or Plan(keeper.kind, keeper.place, str(folder), "", seed, threads, seconds, LOCKS, ttl=0.08)
    deaths: dict[str, float] = {}
    losses: list[tuple[float, float]] = []
    befell: list[str] = []
    with _children() as children:

        def begin(number: int) -> None:
            process = f"p{len(children)}"
            children[process] = _start(replace(base, process=process, wall_steps=number == 1))

        for number in range(processes):
            begin(number)
        for child in children.values():
            _expect(child, "ready")
        for child in children.values():
            _go(child)
        until = now() + seconds
        while befalls and now() < until:
            threading.Event().wait(chance.uniform(0.05, 0.25))
            fault = chance.choice(list(befalls))
            process = chance.choice([name for name in children if name not in deaths])
            befell.append(fault)
            if fault == "kill":
                deaths[process] = now()
                children[process].kill()
                begin(0)
                newest = list(children.values())[-1]
                _expect(newest, "ready")
                _go(newest)
            elif fault == "pause":
                children[process].send_signal(signal.SIGSTOP)
                threading.Event().wait(base.ttl * chance.uniform(1, 6))
                children[process].send_signal(signal.SIGCONT)
            elif (lost := keeper.befall(fault, chance)) is not None:
                losses.append(lost)
        for process, child in children.items():
            if process not in deaths:
                _expect(child, "done")
    history = History(read(sorted(folder.glob("*.jsonl"))), deaths, tuple(losses))
    file = guarded.Guarded(folder / "guarded.db")
    try:
        return Ended(history, file.writes(), befell)
    finally:
        file.close()


def _start(plan: Plan) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.coordination.workload", argument(plan)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _expect(child: subprocess.Popen[str], word: str) -> None:
    assert child.stdout is not None
    said = child.stdout.readline().strip()
    assert said == word, f"a process said {said!r}, not {word!r}; it ended with {child.poll()}"


def _go(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("go\n")
    child.stdin.flush()


@contextmanager
def _children() -> Iterator[dict[str, subprocess.Popen[str]]]:
    children: dict[str, subprocess.Popen[str]] = {}
    try:
        yield children
    finally:
        for child in children.values():
            child.kill()
            child.communicate()
