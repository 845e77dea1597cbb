"""Fixtures that every room uses: a clock moved by hand, a state directory and git repositories of the test's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.loop import Shop, Stages
    from tests.postgres import Server


GIT_SETTINGS = "[user]\n\tname = Ann\n\temail = ann@example.com\n[maintenance]\n\tauto = false\n"
"""Every commit starts git's maintenance otherwise, which looks for what to do and finds nothing."""


class ManualClock:
    """A clock that only moves when told; `wait` moves it instead of sleeping."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 11, 20, 14, 0, 0, tzinfo=UTC)
        self.seconds = 1_000.0

    def now(self) -> datetime:
        return self.moment

    def boot(self) -> float:
        return self.seconds

    def boot_id(self) -> str:
        return "test-boot"

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)
        self.seconds += seconds

    def wait(self, event: threading.Event, timeout: float) -> bool:
        if not event.is_set():
            self.advance(timeout)
        return event.is_set()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test its own home, state directory and git identity; nothing of the machine's leaks in."""
    home = tmp_path / "home"
    home.mkdir()
    for name in [name for name in os.environ if name.startswith(("GIT_", "ROLLCAGE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    monkeypatch.setenv("ROLLCAGE_STATE_DIR", str(home / "state" / "rollcage"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    # Not by GIT_* in the environment: to keep these from the git that rollcage runs takes it one process more each.
    settings = home / ".config" / "git" / "config"
    settings.parent.mkdir(parents=True)
    settings.write_text(GIT_SETTINGS)
    return home


def git(directory: Path, *arguments: str, stdin: bytes | None = None) -> str:
    """Run the real git in ``directory``; return its output without the last line end."""
    environment = {**os.environ, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        ["git", *arguments], cwd=directory, env=environment, input=stdin, capture_output=True, check=False
    )
    assert done.returncode == 0, f"git {arguments}: {done.stderr.decode(errors='replace')}"
    return done.stdout.decode(errors="surrogateescape").rstrip("\n")


def copied_repository(template: Path, path: Path) -> None:
    """Put a copy of a repository at ``path``."""
    shutil.copytree(template, path, symlinks=True)
    git(path, "update-index", "-q", "--refresh")  # the copied files have new times


@contextmanager
def as_ann() -> Iterator[None]:
    """Within, git has somebody to commit as; for what is made once for all tests, outside of any one's home."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{name}_NAME", "Ann")
            patch.setenv(f"GIT_{name}_EMAIL", "ann@example.com")
        yield


@pytest.fixture(scope="session")
def repository_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the repository of `repository`, made once."""
    path = tmp_path_factory.mktemp("repository") / "template"
    path.mkdir()
    with as_ann():
        git(path, "init", "-q", "-b", "main")
        (path / "README").write_text("shop\n")
        git(path, "add", "README")
        git(path, "commit", "-q", "-m", "start")
    for sample in (path / ".git" / "hooks").iterdir():
        sample.unlink()  # git's examples: the most of what there is to copy
    return path


@pytest.fixture
def repository(tmp_path: Path, repository_template: Path) -> Path:
    """Return a real repository ``shop`` on branch main with one commit."""
    path = tmp_path / "shop"
    copied_repository(repository_template, path)
    return path


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a running PostgreSQL server, started by the first test that needs it; nothing of it is left at the end."""
    from tests.postgres import Server  # only here: most tests need no server

    with Server.started(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="session")
def shop_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the repository of `shop`, made once."""
    from tests.loop import lay_out

    path = tmp_path_factory.mktemp("shop") / "template"
    with as_ann():
        lay_out(path)
    return path


@pytest.fixture
def shop(tmp_path: Path, shop_template: Path) -> Iterator[Shop]:
    """Yield a small shop under watch; what it opened is closed."""
    from tests.loop import Shop  # only here: most tests need no engine

    shop = Shop(tmp_path, shop_template)
    yield shop
    shop.close()


@pytest.fixture(scope="session")
def stages(tmp_path_factory: pytest.TempPathFactory, shop_template: Path) -> Stages:
    """Return shops in which something has happened."""
    from tests.loop import Stages

    return Stages(tmp_path_factory.mktemp("stages"), shop_template)


@pytest.fixture
def troubled(stages: Stages) -> Iterator[Shop]:
    """Yield the shop with a fault after a commit known to be good, and the incident of it."""
    from tests.loop import Shop

    with stages.at(Shop.trouble) as shop:
        yield shop
