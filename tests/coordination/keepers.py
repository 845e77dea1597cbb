"""What keeps the leases under test, how a process comes by them, and what may befall the keeper."""

from __future__ import annotations

import random
import shutil
import socket
import sqlite3
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rollcage.core.clock import Clock, SystemClock
from rollcage.core.coordination.embedded import EmbeddedLeases
from rollcage.core.coordination.leases import HeldLease, Leases, Recorder
from rollcage.core.coordination.redis_leases import RedisLeases
from rollcage.core.model import Lease
from rollcage.core.store.paths import RepositoryPaths
from tests.coordination.broken import LeaseWithoutToken, NoLock
from tests.coordination.history import now
from tests.coordination.lossy import Lossy
from tests.coordination.redis_server import RedisServer


class Locks(Protocol):
    """What of `Leases` the random work asks for; broken locks have no more."""

    def acquire(
        self,
        name: str,
        holder: str,
        ttl: float = 30.0,
        wait: float = 0.0,
        *,
        permits: int = 1,
        slots: int = 1,
        session: str = "",
    ) -> HeldLease:
        """See `Leases.acquire`."""
        ...

    def acquire_all(
        self, names: Sequence[str], holder: str, ttl: float = 30.0, wait: float = 0.0, *, session: str = ""
    ) -> tuple[HeldLease, ...]:
        """See `Leases.acquire_all`."""
        ...

    def renew(self, held: HeldLease) -> HeldLease:
        """See `Leases.renew`."""
        ...

    def release(self, held: HeldLease) -> None:
        """See `Leases.release`."""
        ...

    def break_(self, name: str, by: str, reason: str, record: Recorder, token: int | None = None) -> Lease:
        """See `Leases.break_`."""
        ...

    def close(self) -> None:
        """See `Leases.close`."""
        ...


def open_locks(kind: str, place: str, clock: Clock) -> Locks:
    """Open the locks of ``kind`` at ``place``: the folder of the state, and of Redis the address behind it."""
    match kind:
        case "embedded":
            return EmbeddedLeases(RepositoryPaths(Path(place)), clock)
        case "redis":
            folder, _, address = place.partition(" ")
            return RedisLeases(RepositoryPaths(Path(folder)), clock, address)
        case "no lock":
            return NoLock()
        case "no token":
            return LeaseWithoutToken(Path(place) / "broken.db")
    raise AssertionError(kind)


class Keeper(Protocol):
    """A keeper of the test's own."""

    @property
    def kind(self) -> str:
        """What `open_locks` knows it by."""
        ...

    @property
    def place(self) -> str:
        """Where the locks are."""
        ...

    @property
    def slack(self) -> float:
        """Seconds by which a lease may end later than its holder knows."""
        ...

    def faults(self) -> Sequence[str]:
        """Return what may befall it: names for `befall`."""
        ...

    def befall(self, fault: str, chance: random.Random) -> tuple[float, float] | None:
        """Let it happen; return from when to when all data was lost, if it was."""
        ...

    def leases(self) -> Leases:
        """Open the leases, as another process would."""
        ...

    def close(self) -> None:
        """End it."""
        ...


@dataclass(frozen=True, slots=True)
class Embedded:
    """``locks.db``, locked at times for a while by someone who writes."""

    place: str
    kind: str = "embedded"
    slack: float = 0.0

    def faults(self) -> Sequence[str]:
        """See `Keeper.faults`."""
        return ["busy"]

    def befall(self, fault: str, chance: random.Random) -> None:
        """See `Keeper.befall`."""
        connection = sqlite3.connect(Path(self.place) / "locks.db", timeout=20, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        threading.Event().wait(chance.uniform(0.02, 0.3))
        connection.execute("ROLLBACK")
        connection.close()

    def leases(self) -> Leases:
        """See `Keeper.leases`."""
        return EmbeddedLeases(RepositoryPaths(Path(self.place)), SystemClock())

    def close(self) -> None:
        """Nothing runs."""


class Redis:
    """A Redis server that loses answers, hangs, and is started anew without its data."""

    kind = "redis"
    slack = 0.02

    def __init__(self, folder: Path) -> None:
        """Start it; the state lies in ``folder``, the sockets elsewhere: their paths may have 107 bytes only."""
        self._sockets = Path(tempfile.mkdtemp(prefix="redis-"))
        self._server = RedisServer(self._sockets)
        self._lossy = Lossy(self._sockets / "lossy", self._server.socket)
        self._folder = folder
        self._address = f"unix://{self._sockets / 'lossy'}?namespace=test"

    @property
    def place(self) -> str:
        """See `Keeper.place`."""
        return f"{self._folder} {self._address}"

    def faults(self) -> Sequence[str]:
        """See `Keeper.faults`."""
        return ["flush", "restart", "lost answers", "hang"]

    def befall(self, fault: str, chance: random.Random) -> tuple[float, float] | None:
        """See `Keeper.befall`."""
        begun = now()
        match fault:
            case "flush":
                with socket.socket(socket.AF_UNIX) as line:
                    line.connect(str(self._server.socket))
                    line.sendall(b"FLUSHALL\r\n")
                    assert line.recv(100) == b"+OK\r\n"
                return begun, now()
            case "restart":
                self._server.kill()
                self._server.start()
                return begun, now()
            case "lost answers":
                self._lossy.lose(chance.randint(1, 4))
            case "hang":
                self._server.stop()
                threading.Event().wait(chance.uniform(0.02, 0.4))
                self._server.go_on()
        return None

    def leases(self) -> Leases:
        """See `Keeper.leases`."""
        return RedisLeases(RepositoryPaths(self._folder), SystemClock(), self._address)

    def close(self) -> None:
        """End the server."""
        self._lossy.close()
        self._server.kill()
        shutil.rmtree(self._sockets)


KEEPERS = ("embedded", "redis")


def keeper_of(kind: str, folder: Path) -> Keeper:
    """Return a new keeper of ``kind``, with the state in ``folder``."""
    return Embedded(str(folder)) if kind == "embedded" else Redis(folder)
