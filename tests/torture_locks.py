"""Locks under random work and random faults: ``python -m tests.torture_locks``, or ``make torture``.

First trials of deadlock: a few sessions take random locks in random order, and a judge with a table of its own looks
at every answer (`tests.coordination.deadlock_trials`). Then campaigns: processes at random work (with an odd seed one
that makes circles of waiting) are killed, paused beyond the time of their leases, and what keeps the leases is locked,
loses answers or all of its data; their histories are held against what a lock promises
(`tests.coordination.campaign`). What fails is named by its seed:
``--backend B --trials 1 --seed S`` does that trial again, ``--campaigns 1 --trials 0 --seed S`` that campaign.
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from tests.coordination import campaign
from tests.coordination.deadlock_trials import Counts, trials
from tests.coordination.keepers import KEEPERS, Keeper, keeper_of

IN_MEMORY = Path("/dev/shm")
CHUNK = 250
"""Trials with one keeper; then another process begins anew with the next."""
SECONDS = 6.0
"""Of one campaign."""


@contextmanager
def kept(kind: str) -> Iterator[tuple[Keeper, Path]]:
    """Give a keeper of ``kind`` and a folder beside it, in memory where there is such a place."""
    memory = IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="torture-locks-", dir=memory))
    try:
        (folder / "locks").mkdir()
        keeper = keeper_of(kind, folder / "locks")
        try:
            yield keeper, folder
        finally:
            keeper.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def pool_of(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Give a pool whose workers end, and clear away what they made, when this process is interrupted or killed."""
    pool = ProcessPoolExecutor(workers, initializer=_be_worker)
    try:
        yield pool
    except BaseException:
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def end_in_order() -> None:
    """Let a signal to end be an exception: what is under way is cleared away."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def _be_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the one who waits for us
    end_in_order()
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: when our parent is killed


@contextmanager
def _ended_for_good() -> Iterator[None]:
    """In a worker: let it end here; its pool would let it go on with the next."""
    try:
        yield
    except SystemExit:
        os._exit(1)


def some_trials(kind: str, first: int, count: int) -> Counts:
    """Run the trials of so many seeds, in a worker."""
    with _ended_for_good(), kept(kind) as (keeper, _):
        return trials(keeper.leases, range(first, first + count))


def one_campaign(kind: str, seed: int) -> tuple[int, list[str]]:
    """Run one campaign, in a worker; return how many leases were had, and what was wrong."""
    with _ended_for_good(), kept(kind) as (keeper, folder):
        befalls = ["kill", "pause", *keeper.faults()]
        plan = campaign.entangled(keeper, folder, seed, SECONDS) if seed % 2 else None
        ended = campaign.run(keeper, folder, seed, seconds=SECONDS, befalls=befalls, plan=plan)
        had = sum(one.call == "acquire" and one.answer == "ok" for one in ended.history.operations)
        return had, ended.faults(keeper.slack)


def all_trials(kind: str, first: int, count: int, workers: int) -> Counts:
    """Run ``count`` trials in ``workers`` processes; tell how it goes."""
    begun, counts, told = time.monotonic(), Counts(), 0
    with pool_of(workers) as pool:
        chunks = [
            pool.submit(some_trials, kind, first + done, min(CHUNK, count - done)) for done in range(0, count, CHUNK)
        ]
        for ended in as_completed(chunks):
            some = ended.result()
            counts.add(some)
            print(*(f"{kind}: {bad}" for bad in some.bad), sep="\n", end="\n" if some.bad else "", flush=True)
            if counts.trials * 10 // count > told or some.bad:
                told = counts.trials * 10 // count
                print(f"{kind}: {counts.trials:,}/{count:,} trials, {_told(counts)}", flush=True)
    seconds = time.monotonic() - begun
    print(f"{kind}: {counts.trials:,} trials of deadlock, {_told(counts)}, {seconds / 60:.1f} min", flush=True)
    return counts


def _told(counts: Counts) -> str:
    return (
        f"{counts.steps:,} steps; circles: {counts.circles:,} broken by a refusal, {counts.passes:,} by letting pass,"
        f" after {counts.slowest * 1_000:.0f} ms at most; endless waits {len(counts.endless)},"
        f" wrong victims {len(counts.victims)}, wrong grants {len(counts.grants)}; unanswered {counts.unanswered}"
    )


def all_campaigns(kind: str, first: int, count: int) -> int:
    """Run ``count`` campaigns, one after the other, each of several processes; return how many were bad."""
    bad = had = 0
    with pool_of(1) as pool:
        for seed in range(first, first + count):
            leases, wrong = pool.submit(one_campaign, kind, seed).result()
            had += leases
            bad += bool(wrong)
            told = f"{kind}: campaign {seed}: {leases:,} leases, {len(wrong)} faults"
            print(told, *wrong[:10], sep="\n  ", flush=True)
    print(f"{kind}: {count} campaigns with faults, {had:,} leases, {bad} campaigns bad", flush=True)
    return bad


def main() -> int:
    """Torture the locks; return 1 where something is bad."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=30_000, help="of deadlock, for each backend")
    parser.add_argument("--campaigns", type=int, default=20, help=f"of {SECONDS:g} s each, for each backend")
    parser.add_argument("--seed", type=int, help="the first one; by default another each time")
    parser.add_argument("--backend", choices=(*KEEPERS, "both"), default="both")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    end_in_order()
    seed = random.SystemRandom().randrange(10**9) if asked.seed is None else asked.seed
    print(f"seed {seed}", flush=True)
    bad = 0
    for kind in KEEPERS if asked.backend == "both" else (asked.backend,):
        if asked.trials:
            bad += len(all_trials(kind, seed, asked.trials, asked.workers).bad)
        if asked.campaigns:
            bad += all_campaigns(kind, seed, asked.campaigns)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
