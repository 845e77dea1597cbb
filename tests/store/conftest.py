"""A store of the test's own, and the nouns that it keeps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rollcage.core.store.identity import identify
from rollcage.core.store.paths import RepositoryPaths
from rollcage.core.store.store import Store
from tests.conftest import ManualClock, git


def roots(repository: Path) -> list[str]:
    """Return the root commits, as git says."""
    return git(repository, "rev-list", "--max-parents=0", "HEAD").split()


@pytest.fixture
def paths(repository: Path) -> RepositoryPaths:
    return identify(repository / ".git", lambda: roots(repository))


@pytest.fixture
def store(paths: RepositoryPaths, clock: ManualClock) -> Iterator[Store]:
    store = Store.open(paths, clock)
    yield store
    store.close()
