"""A scene for each test, made by copying one that was laid out once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rollcage.core.model import RollbackState
from tests.conftest import as_ann, git
from tests.execute.crash import CrashServer
from tests.execute.killing import Templates
from tests.execute.scene import Scene, begin, carry_on, copied, lay_out


@dataclass(frozen=True)
class LaidOut:
    """A scene made once, and copies of it: as it was, and with the rollback rb-1 in its journal."""

    scene: Scene
    bad: str
    fresh: Path
    begun: Path

    def anew(self, copy: Path) -> Scene:
        """Put a copy in the place that it was made in, for git keeps absolute paths."""
        copied(copy, self.scene.place)
        git(self.scene.top, "status")  # the copied files have new times; let git note them
        return self.scene


@pytest.fixture(scope="session")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> LaidOut:
    """Return the scenes to copy."""
    with as_ann():
        folder = tmp_path_factory.mktemp("laid-out")
        scene, bad = lay_out(folder / "scene")
        copied(scene.place, folder / "fresh")
        begin(scene, bad)
        copied(scene.place, folder / "begun")
        return LaidOut(scene, bad, folder / "fresh", folder / "begun")


@pytest.fixture
def bad(laid_out: LaidOut) -> str:
    """Return the commit that is to be taken back."""
    return laid_out.bad


@pytest.fixture
def scene(laid_out: LaidOut) -> Scene:
    """Return a scene in which nobody did anything."""
    return laid_out.anew(laid_out.fresh)


@pytest.fixture
def begun(laid_out: LaidOut) -> Scene:
    """Return a scene with the rollback rb-1 in its journal; nothing of it has happened."""
    return laid_out.anew(laid_out.begun)


@pytest.fixture(scope="session")
def carried_out_once(laid_out: LaidOut) -> Path:
    """Return the copy in which rb-1 was carried out."""
    copy = laid_out.fresh.with_name("carried-out")
    with as_ann():
        assert carry_on(laid_out.anew(laid_out.begun)).state is RollbackState.DONE
    copied(laid_out.scene.place, copy)
    return copy


@pytest.fixture
def carried_out(laid_out: LaidOut, carried_out_once: Path) -> Scene:
    """Return a scene whose rollback rb-1 was carried out."""
    return laid_out.anew(carried_out_once)


@pytest.fixture(scope="session")
def server() -> Iterator[CrashServer]:
    """Yield a server of processes that may be killed."""
    started = CrashServer()
    yield started
    started.close()


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory, server: CrashServer) -> Iterator[Templates]:
    """Yield the tasks that may be killed, each made once."""
    with as_ann():
        yield Templates(tmp_path_factory.mktemp("crash"), server)
