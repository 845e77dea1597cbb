"""Consoles show how it stands with the tracker without asking it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rollcage.core.board import TrackerView
from rollcage.core.config import TrackerSettings
from rollcage.core.issues.github.credentials import APP_ID, APP_INSTALLATION, server_of
from rollcage.core.issues.github.limiter import READ, Limiter, Told, limits_file
from rollcage.core.issues.glance import TrackerGlance
from rollcage.core.issues.local import open_connections
from rollcage.core.store.paths import RepositoryPaths

from ..conftest import ManualClock

SETTINGS = TrackerSettings(kind="github", repo="acme/shop")


@pytest.fixture
def paths(tmp_path: Path) -> RepositoryPaths:
    root = tmp_path / "state" / "repositories" / "shop"
    root.mkdir(parents=True)
    return RepositoryPaths(root)


def test_issues_of_this_machine_need_no_word(paths: RepositoryPaths, clock: ManualClock) -> None:
    assert TrackerGlance(TrackerSettings(), paths, clock).read() is None


def test_looking_makes_no_file_and_knows_nothing_at_first(paths: RepositoryPaths, clock: ManualClock) -> None:
    for environ in ({}, {"GITHUB_TOKEN": "t"}):
        assert TrackerGlance(SETTINGS, paths, clock, environ).read() == TrackerView("github")
    assert list(paths.root.parent.parent.rglob("*.db")) == []


@pytest.mark.parametrize(
    ("environ", "who"),
    [({"GITHUB_TOKEN": "t"}, "t"), ({APP_ID: "12", APP_INSTALLATION: "34", "GITHUB_TOKEN": "t"}, "app:12:34")],
)
def test_it_shows_what_any_process_with_that_token_learned(
    paths: RepositoryPaths, clock: ManualClock, environ: dict[str, str], who: str
) -> None:
    glance = TrackerGlance(SETTINGS, paths, clock, environ)
    limiter = Limiter(limits_file(paths, server_of(SETTINGS), who), clock)
    limiter.settle(limiter.reserve(READ), Told(4812, 5000, 600), reached=True)
    assert glance.read() == TrackerView("github", True, 4812, 5000)
    assert glance.read() == glance.read()  # what is the same is not drawn again
    clock.advance(1)
    limiter.settle(limiter.reserve(READ), sent=False, reached=False)
    assert glance.read() == TrackerView("github", False, 4812, 5000)
    glance.close()
    limiter.close()


def test_it_counts_what_waits_and_what_is_in_conflict(paths: RepositoryPaths, clock: ManualClock) -> None:
    connections = open_connections(paths)
    with connections.transaction() as connection:
        for state, repository in (("waiting", "shop"), ("waiting", "shop"), ("conflict", "shop"), ("waiting", "other")):
            connection.execute(
                "INSERT INTO outbox (at, tracker, holder, kind, args, bases, state, key) "
                "VALUES ('', ?, '', 'update', '{}', '{}', ?, hex(randomblob(8)))",
                (f"github acme/{repository}", state),
            )
    connections.close()
    glance = TrackerGlance(SETTINGS, paths, clock, {})
    assert glance.read() == TrackerView("github", waiting=2, conflicts=1)
    glance.close()


def test_a_damaged_file_of_limits_blinds_no_console(paths: RepositoryPaths, clock: ManualClock) -> None:
    file = limits_file(paths, server_of(SETTINGS), "t")
    file.parent.mkdir()
    file.write_bytes(b"damaged" * 1000)
    assert TrackerGlance(SETTINGS, paths, clock, {"GITHUB_TOKEN": "t"}).read() == TrackerView("github")


def test_a_console_does_not_load_pygithub() -> None:
    import subprocess

    code = "import sys, rollcage.core.picture; print(sorted({'github', 'jwt', 'requests'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
