"""Leases of the test's own, of each kind there is, and real processes that hold them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rollcage.core.clock import Clock, SystemClock
from rollcage.core.coordination.embedded import EmbeddedLeases
from rollcage.core.coordination.leases import Leases
from rollcage.core.coordination.redis_leases import RedisLeases
from rollcage.core.store.paths import RepositoryPaths
from tests.coordination.redis_hosts import Hosts, named
from tests.coordination.redis_server import RedisServer, redis_server

Make = Callable[[Clock], EmbeddedLeases]
Spawn = Callable[..., "subprocess.Popen[str]"]

START = """
import ctypes, os, signal, sys
from pathlib import Path
from rollcage.core.clock import SystemClock
from rollcage.core.store.paths import RepositoryPaths
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: dies with the test
paths = RepositoryPaths(Path(sys.argv[1]))
"""
"""Of a process of the test's: ``sys.argv[1]`` is the folder of the state."""
EMBEDDED = """
from rollcage.core.coordination.embedded import EmbeddedLeases
leases = EmbeddedLeases(paths, SystemClock())
"""
REDIS = """
from rollcage.core.coordination.redis_leases import RedisLeases
leases = RedisLeases(paths, SystemClock(), {url!r})
"""


class Backend:
    """One kind of leases: `leases` opens them as one more holder would, `process` in a process of its own."""

    def __init__(self, paths: RepositoryPaths, kind: str, opened: Callable[[], Leases], code: str) -> None:
        self.kind = kind
        self._paths, self._opened, self._code = paths, opened, code
        self._made: list[Leases] = []
        self._children: list[subprocess.Popen[str]] = []

    def leases(self) -> Leases:
        self._made.append(self._opened())
        return self._made[-1]

    def process(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        """Run Python code with ``leases`` and, from ``sys.argv[2]`` on, the arguments; it is killed at the end."""
        command = [sys.executable, "-c", START + self._code + code, str(self._paths.root), *arguments]
        self._children.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return self._children[-1]

    def close(self) -> None:
        for child in self._children:
            child.kill()
            child.communicate()
        for leases in self._made:
            leases.close()


def _embedded(paths: RepositoryPaths, request: pytest.FixtureRequest) -> Backend:
    return Backend(paths, "embedded", lambda: EmbeddedLeases(paths, SystemClock()), EMBEDDED)


def _redis(paths: RepositoryPaths, request: pytest.FixtureRequest) -> Backend:
    server: RedisServer = request.getfixturevalue("redis")
    url = named(server.url)
    return Backend(paths, "redis", lambda: RedisLeases(paths, SystemClock(), url), REDIS.format(url=url))


BACKENDS = {"embedded": _embedded, "redis": _redis}
"""All that `rollcage.core.coordination.leases.Leases` promises is tested with each."""


@pytest.fixture
def paths(tmp_path: Path) -> RepositoryPaths:
    root = tmp_path / "state-of-one"
    root.mkdir(mode=0o700)
    return RepositoryPaths(root)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, paths: RepositoryPaths) -> Iterator[Backend]:
    made = BACKENDS[request.param](paths, request)
    yield made
    made.close()


@pytest.fixture
def make(paths: RepositoryPaths) -> Iterator[Make]:
    """Make embedded holders of their own, with any clock, as other processes would be."""
    made: list[EmbeddedLeases] = []

    def one(clock: Clock) -> EmbeddedLeases:
        made.append(EmbeddedLeases(paths, clock))
        return made[-1]

    yield one
    for leases in made:
        leases.close()


@pytest.fixture
def spawn(paths: RepositoryPaths, request: pytest.FixtureRequest) -> Iterator[Spawn]:
    """Run Python code in a process of its own, with embedded ``leases`` there; it is killed at the end."""
    backend = _embedded(paths, request)
    yield backend.process
    backend.close()


def line(child: subprocess.Popen[str]) -> str:
    """Return the next line that the child prints."""
    assert child.stdout is not None
    return child.stdout.readline().strip()


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """A Redis server for all tests of this worker; each has a namespace of its own there."""
    with redis_server(tcp=True) as running:
        yield running


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis server that the test may end, freeze and empty."""
    with redis_server(tcp=True) as running:
        yield running


@pytest.fixture
def hosts(tmp_path: Path, redis: RedisServer) -> Iterator[Hosts]:
    """Machines that share that server."""
    made = Hosts(tmp_path / "hosts", named(redis.url))
    yield made
    made.close()


@pytest.fixture
def own_hosts(tmp_path: Path, own_redis: RedisServer) -> Iterator[Hosts]:
    """Machines that share the server of the test's own."""
    made = Hosts(tmp_path / "hosts", named(own_redis.url))
    yield made
    made.close()
