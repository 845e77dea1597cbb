"""Locks side by side: alone, among eight who come now and then, and among eight who come again at once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.coordination.redis_server import redis_server

from .lease_child import KINDS
from .measure import Row, interleaved, timed

FILES = ("filelock", "portalocker", "fasteners", "diskcache Lock", "diskcache RLock", "tooz, files")
SERVED = ("redis-py", "python-redis-lock", "tooz, Redis")
PROCESSES = 8
PAIRS = 400
ROUNDS = 7
SECONDS = 2.0
INSIDE, BETWEEN = 0.001, 0.02
PAIR_AIM_US = 1e6 / 15_000
P99_AIM_MS = 15.0
SHARE_AIM = 80.0
"""Per cent of the mean that the one who comes off worst has at least."""


def measure(place: Path) -> list[Row]:
    """Measure the locks on files, then those on Redis; each row names who was inside with another, and how often."""
    with crowds(place) as eight:
        rows = [
            *_alone("embedded", str(place), ("bare SQLite", *FILES)),
            *_together(eight, str(place), ("embedded", *(kind for kind in FILES if kind != "diskcache RLock"))),
        ]
        with redis_server(tcp=True) as server:
            folder = place / "redis"
            folder.mkdir()
            address = f"{folder} {server.url} {server.tcp_url}"
            rows += [*_alone("Redis", address, SERVED), *_together(eight, address, ("Redis", *SERVED))]
    return rows


def _alone(ours: str, place: str, others: Sequence[str]) -> list[Row]:
    """Measure pairs of acquire and release that nobody else is in the way of.

    On files ours has an aim by itself; on Redis it is to be no slower than redis-py's.
    """
    kinds = (ours, *others)
    locks = {kind: KINDS[kind](place) for kind in kinds}

    def pairs(kind: str) -> float:
        lock = locks[kind]

        def work() -> None:
            for _ in range(PAIRS):
                lock.release(lock.acquire())

        return timed(work) / PAIRS * 1e6

    found = dict(zip(kinds, interleaved(ROUNDS, *(partial(pairs, kind) for kind in kinds)), strict=True))
    for lock in locks.values():
        lock.close()
    title, aims = f"{ours}, a pair alone", {"redis-py": 1.0}
    rows = [Row(title, found[ours], other, found[other], aims.get(other), unit="us") for other in others]
    return rows if "redis-py" in others else [Row(title, found[ours], aim=PAIR_AIM_US, unit="us"), *rows]


@dataclass(frozen=True, slots=True)
class Crowd:
    """What eight processes saw of one lock."""

    waits: Sequence[float]
    """Seconds, sorted."""
    counts: Sequence[int]
    violations: int

    def wait(self, part: float) -> float:
        """Return the wait that ``part`` of all are no longer than, in ms."""
        return self.waits[min(len(self.waits) - 1, int(part * len(self.waits)))] * 1_000

    @property
    def share(self) -> float:
        """What the one who came off worst had, in per cent of the mean."""
        return min(self.counts) / (sum(self.counts) / len(self.counts)) * 100


class Crowds:
    """Eight processes that work on whatever lock they are told."""

    def __init__(self, children: Sequence[subprocess.Popen[str]]) -> None:
        self._children = children

    def work(self, kind: str, place: str, inside: float, between: float) -> Crowd:
        """Let all work on one lock at once."""
        job = {"kind": kind, "place": place, "seconds": SECONDS, "inside": inside, "between": between}
        for child in self._children:
            _tell(child, json.dumps(job))
        for child in self._children:
            _hear(child)
        for child in self._children:
            _tell(child, "go")
        told: list[dict[str, Any]] = [json.loads(_hear(child)) for child in self._children]
        return Crowd(
            sorted(wait for one in told for wait in one["waits"]),
            [len(one["waits"]) for one in told],
            sum(one["violations"] for one in told),
        )


@contextmanager
def crowds(place: Path) -> Iterator[Crowds]:
    """Start the processes; they end with the block, or with this process."""
    shared = place / "inside"
    shared.write_bytes(b"\0")
    command = [sys.executable, "-m", "tests.bench.lease_child", str(shared)]
    children = [
        subprocess.Popen([*command, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for number in range(1, PROCESSES + 1)
    ]
    try:
        yield Crowds(children)
    finally:
        for child in children:
            child.kill()
            child.communicate()


def _tell(child: subprocess.Popen[str], line: str) -> None:
    assert child.stdin is not None
    child.stdin.write(line + "\n")
    child.stdin.flush()


def _hear(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise RuntimeError(f"a process of the bench ended with {child.wait()}")
    return line


def _together(eight: Crowds, address: str, kinds: Sequence[str]) -> list[Row]:
    """Measure waits among those who come now and then, then shares among those who come again at once; ours first."""
    rows = []
    for kind in kinds:
        calm = eight.work(kind, address, INSIDE, BETWEEN)
        note = f"p50 {calm.wait(0.5):.1f} ms, longest {calm.wait(1):.0f} ms, {_bad(calm)}"
        aim = P99_AIM_MS if kind == kinds[0] else None
        rows.append(Row(f"{kind}, p99 wait of 8", [calm.wait(0.99)], aim=aim, unit="ms", note=note))
    for kind in kinds:
        hot = eight.work(kind, address, 0, 0)
        note = f"{sum(hot.counts) / SECONDS:,.0f} pairs/s, longest wait {hot.wait(1):.0f} ms, {_bad(hot)}"
        aim = SHARE_AIM if kind == kinds[0] else None
        rows.append(Row(f"{kind}, smallest share of 8", [hot.share], aim=aim, least=True, unit="%", note=note))
    return rows


def _bad(crowd: Crowd) -> str:
    return f"VIOLATIONS {crowd.violations}" if crowd.violations else "violations 0"
