"""A process of the lease bench: takes one job a line, works through it on one lock with others, tells what it saw.

A job: kind, place, seconds to work, seconds inside, seconds between. The answer: how often it was inside, how long it
waited for that each time, how often somebody else was inside too. It ends when its input does.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

Close = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Lock:
    """One lock, as each library has it."""

    acquire: Callable[[], Any]
    release: Callable[[Any], object]
    """Gets what ``acquire`` returned."""
    close: Close = lambda: None


def embedded(place: str) -> Lock:
    """Return ours, in SQLite."""
    from rollcage.core.clock import SystemClock
    from rollcage.core.coordination.embedded import EmbeddedLeases
    from rollcage.core.store.paths import RepositoryPaths

    leases = EmbeddedLeases(RepositoryPaths(Path(place)), SystemClock())
    return Lock(lambda: leases.acquire("bench", "worker", 30, 60), leases.release, leases.close)


def bare_sqlite(place: str) -> Lock:
    """Return what two smallest transactions cost: no queue, no holder, no token, so no lock."""
    import sqlite3

    connection = sqlite3.connect(Path(place) / "bare.db", isolation_level=None)
    connection.executescript(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
        "CREATE TABLE IF NOT EXISTS lease (name TEXT PRIMARY KEY, holder TEXT, expires REAL) WITHOUT ROWID"
    )

    def acquire() -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO lease VALUES ('bench', 'worker', 0.0)")
        connection.execute("COMMIT")

    def release(_: None) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DELETE FROM lease WHERE name = 'bench'")
        connection.execute("COMMIT")

    return Lock(acquire, release, connection.close)


def file_lock(place: str) -> Lock:
    """Return filelock's."""
    from filelock import FileLock

    lock = FileLock(Path(place) / "filelock")
    return Lock(lock.acquire, lambda _: lock.release())


def port_locker(place: str) -> Lock:
    """Return portalocker's."""
    from portalocker import Lock as PortaLock

    lock = PortaLock(str(Path(place) / "portalocker"), timeout=60)
    return Lock(lock.acquire, lambda _: lock.release())


def fasteners_lock(place: str) -> Lock:
    """Return fasteners'."""
    from fasteners import InterProcessLock

    lock = InterProcessLock(str(Path(place) / "fasteners"))
    return Lock(lock.acquire, lambda _: lock.release())


def disk_cache(place: str) -> Lock:
    """Return diskcache's Lock."""
    return _disk_cache(place, "Lock")


def disk_cache_r(place: str) -> Lock:
    """Return diskcache's RLock."""
    return _disk_cache(place, "RLock")


def _disk_cache(place: str, name: str) -> Lock:
    import diskcache

    cache = diskcache.Cache(str(Path(place) / "diskcache"))
    lock = getattr(diskcache, name)(cache, name)
    return Lock(lock.acquire, lambda _: lock.release(), cache.close)


def tooz_file(place: str) -> Lock:
    """Return tooz's on files."""
    return _tooz(f"file://{place}/tooz")


def tooz_redis(place: str) -> Lock:
    """Return tooz's on Redis."""
    return _tooz(place.split()[2])


def _tooz(address: str) -> Lock:
    from tooz import coordination

    coordinator = coordination.get_coordinator(address, f"worker-{random.getrandbits(60):x}".encode())
    coordinator.start()
    lock = coordinator.get_lock(b"bench")
    return Lock(lock.acquire, lambda _: lock.release(), coordinator.stop)


def on_redis(place: str) -> Lock:
    """Return ours, in Redis; ``place``: the folder of the state, the server's address by socket and by port."""
    from rollcage.core.clock import SystemClock
    from rollcage.core.coordination.redis_leases import RedisLeases
    from rollcage.core.store.paths import RepositoryPaths

    folder, address, _ = place.split()
    leases = RedisLeases(RepositoryPaths(Path(folder)), SystemClock(), f"{address}?namespace=bench")
    return Lock(lambda: leases.acquire("bench", "worker", 30, 60), leases.release, leases.close)


def redis_py(place: str) -> Lock:
    """Return redis-py's own."""
    import redis

    client = redis.Redis.from_url(place.split()[1])
    lock = client.lock("redis-py", timeout=30)
    return Lock(lock.acquire, lambda _: lock.release(), client.close)


def python_redis_lock(place: str) -> Lock:
    """Return python-redis-lock's."""
    import redis
    import redis_lock

    client = redis.Redis.from_url(place.split()[1])
    lock = redis_lock.Lock(client, "python-redis-lock", expire=30)
    return Lock(lock.acquire, lambda _: lock.release(), client.close)


KINDS: dict[str, Callable[[str], Lock]] = {
    "embedded": embedded,
    "bare SQLite": bare_sqlite,
    "filelock": file_lock,
    "portalocker": port_locker,
    "fasteners": fasteners_lock,
    "diskcache Lock": disk_cache,
    "diskcache RLock": disk_cache_r,
    "tooz, files": tooz_file,
    "Redis": on_redis,
    "redis-py": redis_py,
    "python-redis-lock": python_redis_lock,
    "tooz, Redis": tooz_redis,
}


def work(job: dict[str, Any], shared: mmap.mmap, me: int) -> dict[str, Any]:
    """Do ``job``; between two turns it rests for a random time about ``between``, so that no two march in step."""
    lock = KINDS[job["kind"]](job["place"])
    chance = random.Random(me)
    print("ready", flush=True)
    sys.stdin.readline()
    waits, violations = [], 0
    until = time.monotonic() + job["seconds"]
    while (asked := time.monotonic()) < until:
        held = lock.acquire()
        waits.append(time.monotonic() - asked)
        violations += shared[0] != 0
        shared[0] = me
        if job["inside"]:
            time.sleep(job["inside"])
        violations += shared[0] != me
        shared[0] = 0
        lock.release(held)
        if job["between"]:
            time.sleep(job["between"] * chance.uniform(0.5, 1.5))
    lock.close()
    return {"waits": waits, "violations": violations}


def main() -> None:
    """Take jobs until there are no more."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # dies with the bench: prctl(2), PR_SET_PDEATHSIG
    with ExitStack() as stack, catch_warnings():
        simplefilter("ignore")
        file = stack.enter_context(Path(sys.argv[1]).open("r+b"))
        shared = mmap.mmap(file.fileno(), 1)
        for line in sys.stdin:
            print(json.dumps(work(json.loads(line), shared, int(sys.argv[2]))), flush=True)


if __name__ == "__main__":
    main()
