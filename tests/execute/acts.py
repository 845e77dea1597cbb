"""What a process may be killed at: the engine's part of a rollback, and all else that writes what must not be lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rollcage.core.clock import SystemClock
from rollcage.core.data.sqlite import SqliteDatabase
from rollcage.core.execute import restoring
from rollcage.core.execute.checkpoints import take_checkpoint
from rollcage.core.execute.restoring import NEWEST, Lost, rebuild_lost, restore
from rollcage.core.execute.retention import prune
from rollcage.core.gitrepo.upkeep import UNREACHABLE_FOR, join_packs, reclaim
from rollcage.core.services import Services
from tests.execute.scene import Scene, carry_on, made_safe

Request = Mapping[str, Any]


@contextmanager
def _opened(scene: Scene, request: Request) -> Iterator[Services]:
    services = scene.services(**request.get("settings", {}))
    try:
        yield services
    finally:
        services.store.close()


def _carry_on(scene: Scene, request: Request) -> str:
    return carry_on(scene, request.get("rollback", "rb-1"), **request.get("settings", {})).state.value


def _make_safe(scene: Scene, request: Request) -> str:
    return made_safe(scene)


def be_impatient(seconds: float) -> None:
    """Wait only so long for a lock of git's or of a SQLite database, where the promise is not how long."""
    restoring._LOCK_WAIT_S = seconds
    defaults = SqliteDatabase.__init__.__kwdefaults__
    assert defaults
    defaults["busy_wait"] = seconds


def _restore(scene: Scene, request: Request) -> str:
    """Bring the oldest snapshot back."""
    with _opened(scene, request) as services:
        done = restore(services, services.store.snapshots()[-1].id, "ann")
        return f"left: {done.left}, failed: {done.failed}"


def _rebuild(scene: Scene, request: Request) -> str:
    git_dir = scene.top / ".git"
    if git_dir.exists():
        return "left: ()"  # it was killed after it was there
    return f"left: {rebuild_lost(Lost(scene.top, git_dir, scene.paths), NEWEST, 'ann', SystemClock()).left}"


def _prune(scene: Scene, request: Request) -> str:
    """Let it be 40 days later."""
    with _opened(scene, request) as services:
        prune(services, services.clock.now() + timedelta(days=40))
    return "pruned"


def _upkeep(scene: Scene, request: Request) -> str:
    with _opened(scene, request) as services:
        join_packs(services.mirror)
        reclaim(services.mirror, services.clock.now() + UNREACHABLE_FOR + timedelta(days=1))
    return "kept up"


def _keep_branches(scene: Scene, request: Request) -> str:
    with _opened(scene, request) as services:
        services.mirror.keep_branches()
    return "kept"


def _checkpoint(scene: Scene, request: Request) -> str:
    with _opened(scene, request) as services:
        take_checkpoint(services, services.repository.tip("main") or "", every=0)
    return "kept"


ACTS: dict[str, Callable[[Scene, Request], str]] = {
    "carry_on": _carry_on,
    "make_safe": _make_safe,
    "restore": _restore,
    "rebuild": _rebuild,
    "prune": _prune,
    "upkeep": _upkeep,
    "keep_branches": _keep_branches,
    "checkpoint": _checkpoint,
}
"""By name; each may be done again after a kill, and says how it ended."""
