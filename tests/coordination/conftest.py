"""EmbeddedLeases of the test's own, and real processes that hold them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rollcage.core.clock import Clock
from rollcage.core.coordination.embedded import EmbeddedLeases
from rollcage.core.store.identity import identify
from rollcage.core.store.paths import RepositoryPaths
from tests.conftest import git
from tests.coordination.redis_hosts import Hosts, named
from tests.coordination.redis_server import RedisServer, redis_server

Make = Callable[[Clock], EmbeddedLeases]
Spawn = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def paths(repository: Path) -> RepositoryPaths:
    return identify(repository / ".git", lambda: git(repository, "rev-list", "--max-parents=0", "HEAD").split())


@pytest.fixture
def make(paths: RepositoryPaths) -> Iterator[Make]:
    """Make holders of their own, as other processes would be."""
    made: list[EmbeddedLeases] = []

    def one(clock: Clock) -> EmbeddedLeases:
        made.append(EmbeddedLeases(paths, clock))
        return made[-1]

    yield one
    for leases in made:
        leases.close()


@pytest.fixture
def spawn(paths: RepositoryPaths) -> Iterator[Spawn]:
    """Run Python code in a process of its own, with ``leases`` there; it is killed at the end."""
    children: list[subprocess.Popen[str]] = []

    def one(code: str, *arguments: str) -> subprocess.Popen[str]:
        start = (
            "import sys; from pathlib import Path; from rollcage.core.clock import SystemClock\n"
            "from rollcage.core.coordination.embedded import EmbeddedLeases\n"
            "from rollcage.core.store.paths import RepositoryPaths\n"
            "leases = EmbeddedLeases(RepositoryPaths(Path(sys.argv[1])), SystemClock())\n"
        )
        command = [sys.executable, "-c", start + code, str(paths.root), *arguments]
        children.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return children[-1]

    yield one
    for child in children:
        child.kill()
        child.communicate()


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
