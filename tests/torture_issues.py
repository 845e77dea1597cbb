"""Storms over Issues until so many batches were begun: ``python -m tests.torture_issues``, or ``make torture``.

Processes full of agents are killed at random moments while they work on the same Issues, on this machine and on a
GitHub with faults; then every Issue is held against what was acknowledged. Each storm begins in a fresh place, so that
a bad one can be repeated by its seed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from tests.issues import emulate
from tests.issues.conftest import new_repository
from tests.issues.fault_proxy import FaultProxy
from tests.issues.storm import MIX, Told, github_arena, local_arena, storm, storm_faults

IN_MEMORY = Path("/dev/shm")
MIXES = ({"batch": 6, "failing": 2, "line": 2}, MIX, {"batch": 8, "create": 2, "stray": 1})
"""What takes turns: mostly batches, a little of all, and many creations in batches."""
FAULTS = (0.0, 0.02, 0.08)
"""Which shares of GitHub's answers go wrong in some way."""


def main() -> int:
    """Run storms until ``--batches`` were begun on each tracker; return 1 where anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--batches", type=int, default=3_000, help="so many in all, half of them on each tracker")
    parser.add_argument("--seed", type=int, default=1, help="of the first storm; the others count on")
    parser.add_argument("--only", choices=("local", "github"), help="on this tracker only")
    parser.add_argument("--storms", type=int, default=10_000, help="so many storms at most: 1 repeats one by its seed")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # and clear away on the way
    trackers = [asked.only] if asked.only else ["local", "github"]
    if "github" in trackers and (why := emulate.missing()):
        print(f"github: left out: {why}", flush=True)
        trackers.remove("github")
    begun, wrong, total = time.monotonic(), 0, Counter[str]()
    for kind in trackers:
        share = asked.batches // len(trackers)
        with _proxy(kind) as proxy:
            for number, told in enumerate(_storms(kind, proxy, asked.seed, share)):
                wrong += len(told.wrong)
                total.update(told.operations)
                total["killed"] += told.killed
                words = f"{_batches(total)} batches of {asked.batches}: {told}, {told.seconds:.0f} s"
                print(f"{kind}, seed {asked.seed + number}: {words}", *told.wrong, sep="\n  ", flush=True)
                if number + 1 == asked.storms:
                    break
    minutes, killed = (time.monotonic() - begun) / 60, total.pop("killed", 0)
    counts = f"{sum(total.values())} operations, {_batches(total)} of them batches, {killed} processes killed"
    print(f"{counts}, {wrong} wrong, {minutes:.1f} min", flush=True)
    return 1 if wrong else 0


def _batches(counted: Counter[str]) -> int:
    return sum(count for name, count in counted.items() if name.startswith("batch "))


@contextmanager
def _folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="torture-", dir=IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextmanager
def _proxy(kind: str) -> Iterator[FaultProxy | None]:
    with _folder() as folder:
        start: Callable[[str], object] = lambda url: emulate.Emulate.started(folder, url)  # noqa: E731
        with FaultProxy.serving(start) if kind == "github" else nullcontext() as proxy:
            yield proxy


def _storms(kind: str, proxy: FaultProxy | None, seed: int, batches: int) -> Iterator[Told]:
    begun = 0
    while begun < batches:
        mix, faults = MIXES[seed % len(MIXES)], FAULTS[seed // 2 % len(FAULTS)]
        with _folder() as folder:
            if proxy is None:
                told = storm(local_arena(folder), rounds=5, operations=2, seed=seed, killing=0.8, mix=mix)
            else:
                proxy.reset(seed)
                arena = github_arena(folder, new_repository(proxy))
                if faults:
                    storm_faults(proxy, faults)
                told = storm(arena, rounds=5, operations=2, seed=seed, killing=0.7, mix=mix)
        begun += sum(count for name, count in told.operations.items() if name.startswith("batch "))
        seed += 1
        yield told


if __name__ == "__main__":
    sys.exit(main())
