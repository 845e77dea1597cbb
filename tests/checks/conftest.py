"""A small project with a check, and `Checks` on the real scratch pool and the real store."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from rollcage.core.checks.checks import Checks
from rollcage.core.config import CheckSettings, LimitSettings, Settings
from rollcage.core.gitrepo.mirror import Mirror
from rollcage.core.gitrepo.repository import Repository
from rollcage.core.gitrepo.scratch import ScratchPool
from rollcage.core.store.identity import identify
from rollcage.core.store.store import Store
from tests.conftest import ManualClock, git
from tests.gitrepo.conftest import commit

PYTHON = sys.executable


class Project:
    """A repository with a calculator in it, and what checks say about its commits."""

    def __init__(self, top: Path, state: Path, clock: ManualClock) -> None:
        self.top = top
        repository = Repository.discover(top)
        paths = identify(repository.common_dir, repository.root_commits, home=state)
        self.store = Store.open(paths, clock)
        self.mirror = Mirror(repository, paths.mirror)
        self.mirror.ensure()
        self.pool = ScratchPool(self.mirror, paths.scratch, 2)
        self.clock = clock

    def commit(self, files: Mapping[str, str] | None = None) -> tuple[str, str]:
        """Write ``files``, commit everything on the branch; return the commit and its tree."""
        commit(self.top, files or {})
        return self.head()

    def head(self) -> tuple[str, str]:
        return git(self.top, "rev-parse", "HEAD"), git(self.top, "rev-parse", "HEAD^{tree}")

    def checks(self, *checks: CheckSettings) -> Checks:
        settings = Settings(checks=checks, limits=LimitSettings(parallel_checks=2))
        return Checks(settings, self.top, self.pool, self.store, self.clock)


@pytest.fixture
def project(repository: Path, own_home: Path, clock: ManualClock) -> Iterator[Project]:
    """Return the repository ``shop`` with ``calc.py`` and a test of it that needs no runner."""
    project = Project(repository, own_home / "state", clock)
    project.commit(
        {
            "calc.py": "def add(a, b):\n    return a + b\n",
            "test_calc.py": "from calc import add\n\nassert add(2, 2) == 4, 'add is broken'\n",
        }
    )
    yield project
    project.store.close()


MakeCheck = Callable[..., CheckSettings]


@pytest.fixture
def check() -> MakeCheck:
    """Return a maker of check settings: by default the project's own test, quick to fail."""

    def make(run: str | tuple[str, ...] = (PYTHON, "test_calc.py"), **settings: object) -> CheckSettings:
        return CheckSettings.model_validate({"name": "tests", "run": run, "timeout": 20, "retries": 1, **settings})

    return make


def shell(script: str) -> tuple[str, ...]:
    """Return the command that runs ``script`` in a shell."""
    return ("sh", "-c", script)
