"""Machines of a test that share a Redis server, processes that hold leases there, and a proxy that loses answers."""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

from rollcage.core.clock import Clock, SystemClock
from rollcage.core.coordination.redis_leases import RedisLeases
from rollcage.core.store.paths import RepositoryPaths

HOLDER = """
import sys
from pathlib import Path
from rollcage.core.clock import SystemClock
from rollcage.core.coordination.redis_leases import RedisLeases
from rollcage.core.store.paths import RepositoryPaths
class Clock(SystemClock):
    def boot_id(self):
        return sys.argv[3] or super().boot_id()
leases = RedisLeases(RepositoryPaths(Path(sys.argv[1])), Clock(), sys.argv[2])
name, ttl, wait = sys.argv[4], float(sys.argv[5]), float(sys.argv[6])
held = leases.acquire(name, "child", ttl, wait)
print(held.token, flush=True)
sys.stdin.read()
"""


class Machine(SystemClock):
    """The clock of another machine, wrong by ``off`` seconds."""

    def __init__(self, name: str, off: float = 0.0) -> None:
        super().__init__()
        self.name, self.off = name, off

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.off)

    def boot(self) -> float:
        return super().boot() + self.off

    def boot_id(self) -> str:
        return self.name


@dataclass
class Hosts:
    """Machines, each with a state directory and a boot of its own, that share one server."""

    folder: Path
    url: str
    made: list[RedisLeases] = field(default_factory=list)
    children: list[subprocess.Popen[str]] = field(default_factory=list)

    def leases(self, host: str = "here", off: float = 0.0, url: str = "") -> RedisLeases:
        clock: Clock = SystemClock() if host == "here" else Machine(host, off)
        self.made.append(RedisLeases(self.paths(host), clock, url or self.url))
        return self.made[-1]

    def paths(self, host: str = "here") -> RepositoryPaths:
        return RepositoryPaths(self.folder / host)

    def holder(self, name: str, ttl: float = 60, wait: float = 0, host: str = "here") -> subprocess.Popen[str]:
        """Start a process that takes a lease, prints its token and holds it."""
        boot_id = "" if host == "here" else host
        words = [str(self.paths(host).root), self.url, boot_id, name, str(ttl), str(wait)]
        command = [sys.executable, "-c", HOLDER, *words]
        self.children.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return self.children[-1]

    def close(self) -> None:
        for child in self.children:
            child.kill()
            child.communicate()
        for leases in self.made:
            leases.close()


def named(url: str) -> str:
    """Return the address, with a namespace of the test's own."""
    return f"{url}?namespace={uuid4()}"


def token_of(child: subprocess.Popen[str]) -> int:
    """Return the token that the child prints once it has the lease."""
    assert child.stdout is not None
    return int(child.stdout.readline())


def until(done: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.002)


def waiting(leases: RedisLeases, count: int) -> None:
    until(lambda: len(leases.wait_log().waitings) == count)


class Proxy:
    """Stands before a server, and can swallow its answers, hang up instead of giving one, or refuse what is asked."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.fault = ""
        self.count = 0
        """Of the answers that it is to befall."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        self._lines: list[socket.socket] = []

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._carry, args=(line,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _carry(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(str(self.target))
            self._lines += [client, server]
            while True:
                try:
                    for ready in select.select([client, server], [], [])[0]:
                        data = ready.recv(65536)
                        if not data:
                            return
                        if ready is client and self.count and self.fault == "refuse":
                            self.count -= 1
                            return
                        if ready is server and self.count and self.fault:
                            self.count -= 1
                            if self.fault == "hang up":
                                return
                            continue
                        (server if ready is client else client).sendall(data)
                except (OSError, ValueError):
                    return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for line in self._lines:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
