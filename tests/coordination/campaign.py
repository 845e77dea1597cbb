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

from tests.coordination import circles, guarded, intervals, linearizable
from tests.coordination.history import History, now, read
from tests.coordination.keepers import Keeper
from tests.coordination.workload import Plan, argument

LOCKS = {"issue/1": 1, "issue/2": 1, "pool": 3}
SPARES = 3
"""Processes that stand by, for those that are killed: so many are, at most."""


@dataclass
class Ended:
    """What a campaign came to."""

    history: History
    writes: list[guarded.Write]
    befell: list[str] = field(default_factory=list)
    """What, and when."""

    def faults(self, slack: float) -> list[str]:
        """Return everything that is wrong, in words; ``slack`` as in `linearizable`."""
        return [
            *intervals.faults(self.history),
            *guarded.faults(self.writes),
            *linearizable.faults(self.history, slack),
            *circles.faults(self.history),
        ]


def run(
    keeper: Keeper,
    folder: Path,
    seed: int,
    *,
    processes: int = 3,
    befalls: Sequence[str] = (),
    plan: Plan | None = None,
    seconds: float = 1.5,
) -> Ended:
    """Let ``processes`` work at random for ``seconds``; what ``befalls`` them and the keeper does so again and again.

    ``befalls``: of "kill", "pause" and what the keeper has; each comes once before any comes twice. ``folder`` gets the
    histories and the guarded file; ``plan`` is what else they do than usual.
    """
    chance = random.Random(seed)
    base = plan or Plan(keeper.kind, keeper.place, str(folder), "", seed, 2, seconds, LOCKS, ttl=0.08)
    spares = [f"p{processes + number}" for number in range(SPARES if "kill" in befalls else 0)]
    working = [f"p{number}" for number in range(processes)]
    deaths: dict[str, float] = {}
    losses: list[tuple[float, float]] = []
    befell: list[str] = []
    with _children() as children:
        for process in [*working, *spares]:
            children[process] = _start(replace(base, process=process, wall_steps=process == "p1"))
        for child in children.values():
            _expect(child, "ready")
        for process in working:
            _go(children[process])
        until = now() + base.seconds
        to_come: list[str] = []
        while befalls and now() < until:
            threading.Event().wait(chance.uniform(0.03, 0.15))
            to_come = to_come or chance.sample(befalls, len(befalls))
            fault = to_come.pop()
            process = chance.choice(working)
            befell.append(f"{fault} at {now():.3f}")
            if fault == "kill" and spares:
                deaths[process] = now()
                children[process].kill()
                spare = working[working.index(process)] = spares.pop()
                _go(children[spare])
            elif fault == "pause":
                children[process].send_signal(signal.SIGSTOP)
                threading.Event().wait(min(base.ttl, 0.08) * chance.uniform(1, 6))
                children[process].send_signal(signal.SIGCONT)
            elif fault != "kill" and (lost := keeper.befall(fault, chance)) is not None:
                losses.append(lost)
        for process in working:
            _expect(children[process], "done")
    history = History(read(sorted(folder.glob("*.jsonl"))), deaths, tuple(losses)).in_doubt()
    file = guarded.Guarded(folder / "guarded.db")
    try:
        return Ended(history, file.writes(), befell)
    finally:
        file.close()


def entangled(keeper: Keeper, folder: Path, seed: int, seconds: float) -> Plan:
    """Return the plan for work that makes circles of waiting."""
    locks = {f"lock {letter}": permits for letter, permits in zip("abcde", (1, 1, 1, 1, 2), strict=True)}
    return Plan(keeper.kind, keeper.place, str(folder), "", seed, 3, seconds, locks, ttl=3, circles=True)


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
