"""One process of random work on locks: ``python -m tests.coordination.workload PLAN``, told to start by a line.

It dies with whoever started it, also when it was stopped.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import sqlite3
import sys
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

from rollcage.core.clock import SystemClock
from rollcage.core.coordination.fence import accept
from rollcage.core.coordination.leases import HeldLease
from rollcage.core.errors import LeaseError, StoreError
from tests.coordination.guarded import Guarded, accept_all
from tests.coordination.history import Recorded, now
from tests.coordination.keepers import open_locks

LONG = 60.0
"""Seconds that who takes several locks waits for each: nobody should have to."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one process is to do."""

    kind: str
    place: str
    """Where the locks are."""
    folder: str
    """Where it writes its history and the guarded file lies."""
    process: str
    seed: int
    threads: int
    seconds: float
    locks: dict[str, int]
    """Names and their permits."""
    ttl: float
    """The shortest; the longest is four times that."""
    waits: bool = True
    together: bool = True
    breaks: bool = True
    fenced: bool = True
    """The guarded file looks at the tokens."""
    circles: bool = False
    """Take several locks one by one, in any order, and wait for each: circles of waiting are sure to come."""
    wall_steps: bool = False
    """Its wall clock jumps by hours."""


class SteppingClock(SystemClock):
    """The machine's clocks, but that for people is set again and again."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._chance = random.Random(seed)

    def now(self) -> datetime:
        """Return a time up to two hours off."""
        return super().now() + timedelta(seconds=self._chance.uniform(-7_200, 7_200))


def dies_with_parent() -> None:
    """Let the kernel end this process when its parent does: prctl(2), PR_SET_PDEATHSIG."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def main(plan: Plan) -> None:
    """Work until the time is up; whatever the locks refuse is part of the work."""
    clock = SteppingClock(plan.seed) if plan.wall_steps else SystemClock()
    locks = open_locks(plan.kind, plan.place, clock)
    recorded = Recorded(locks, Path(plan.folder) / f"{plan.process}.jsonl", plan.process)
    guarded = Guarded(Path(plan.folder) / "guarded.db", accept if plan.fenced else accept_all)
    print("ready", flush=True)
    sys.stdin.readline()
    until = now() + plan.seconds
    inside: dict[int, HeldLease] = {}
    threads = [
        threading.Thread(
            target=_entangle if plan.circles else _work, args=(plan, number, recorded, guarded, until, inside)
        )
        for number in range(plan.threads)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    locks.close()
    guarded.close()
    print("done", flush=True)


def _work(
    plan: Plan, number: int, locks: Recorded, guarded: Guarded, until: float, inside: dict[int, HeldLease]
) -> None:
    """Do random work as thread ``number``; ``inside`` tells what each thread holds, for others to break."""
    chance = random.Random(f"{plan.seed} {plan.process} {number}")
    who = f"{plan.process}/{number}"
    single = [name for name, permits in plan.locks.items() if permits == 1]
    while now() < until:
        ttl = plan.ttl * chance.uniform(1, 4)
        wait = chance.choice([0.0, 0.02, 0.3]) if plan.waits else 0.0
        try:
            others = [held for thread, held in list(inside.items()) if thread != number]
            if plan.breaks and others and chance.random() < 0.05:
                broken = chance.choice(others)
                locks.break_(broken.name, broken.token, lambda who, what, subject, why="": None)
                continue
            if plan.together and chance.random() < 0.2:
                taken = locks.acquire_all(chance.sample(single, min(len(single), 2)), who, ttl, wait)
            else:
                name = chance.choice(list(plan.locks))
                permits = plan.locks[name]
                slots = chance.randint(1, permits)
                taken = (locks.acquire(name, who, ttl, wait, permits=permits, slots=slots),)
        except (LeaseError, StoreError):
            continue
        for held in taken:
            inside[number] = held
            try:
                _inside(plan, chance, locks, guarded, held)
            except (LeaseError, StoreError, sqlite3.OperationalError):
                continue
            finally:
                del inside[number]


def _entangle(
    plan: Plan, number: int, locks: Recorded, guarded: Guarded, until: float, inside: dict[int, HeldLease]
) -> None:
    """Take some locks in any order and give them back, again and again; begin anew where a circle was in the way."""
    chance = random.Random(f"{plan.seed} {plan.process} {number}")
    who = f"{plan.process}/{number}"
    while now() < until:
        taken: list[HeldLease] = []
        try:
            for name in chance.sample(list(plan.locks), chance.randint(2, min(4, len(plan.locks)))):
                permits = plan.locks[name]
                slots = chance.randint(1, permits)
                taken.append(locks.acquire(name, who, plan.ttl, LONG, permits=permits, slots=slots))
                _rest(chance.choice([0, 0.001, 0.003]))
        except (LeaseError, StoreError):
            pass
        for held in reversed(taken):
            with suppress(LeaseError, StoreError):
                locks.release(held)


def _inside(plan: Plan, chance: random.Random, locks: Recorded, guarded: Guarded, held: HeldLease) -> None:
    """Rely on ``held``, for so long that at times it is lost meanwhile, and give it back."""
    guards = plan.locks[held.name] == 1
    if guards:
        guarded.write(held.name, held.token, plan.process)
    _rest(chance.choice([0, 0, 0.001, 0.004]))
    if chance.random() < 0.3:
        held = locks.renew(held)
    if chance.random() < 0.06:
        _rest(max(0.0, held.expires - now()) + chance.uniform(0, 0.03))
    if guards:
        guarded.write(held.name, held.token, plan.process)
    locks.release(held)


def _rest(seconds: float) -> None:
    if seconds:
        threading.Event().wait(seconds)


def argument(plan: Plan) -> str:
    """Return the argument for ``plan``."""
    return json.dumps(asdict(plan))


if __name__ == "__main__":
    dies_with_parent()
    main(Plan(**json.loads(sys.argv[1])))
    os._exit(0)  # no thread of a library is waited for
