"""Diagnosis in a history of 100,000 commits: suspects ranked, their reverts rehearsed, a snapshot taken, and memory."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import rollcage
from rollcage.core.clock import SystemClock
from rollcage.core.config import Settings
from rollcage.core.diagnose.suspects import rank
from rollcage.core.gitrepo.history import commits
from rollcage.core.gitrepo.mirror import Mirror
from rollcage.core.gitrepo.rehearse import Reversal, rehearse_reverts
from rollcage.core.gitrepo.repository import Repository
from rollcage.core.gitrepo.snapshot import take
from rollcage.core.gitrepo.touched import touched_names
from rollcage.core.model import Suspect
from rollcage.core.services import attributed, open_services
from rollcage.core.store.identity import identify
from rollcage.core.store.store import Store
from tests.conftest import git

from .history import FILES_A_FOLDER, make_history
from .measure import Row, environment, interleaved, timed

COMMITS, FOLDERS, SUSPECTS, DIRTY = 100_000, 400, 500, 100
RUNS = 5
RANKING_AIM_S, REHEARSAL_AIM_S, SNAPSHOT_AIM, MEMORY_AIM = 2.0, 2.0, 1.5, 200.0
_FILES = [f"failing/at_{number}.py" for number in range(200)]
_TESTS = [f"tests.unit.test_{number}.TestAll.test_it" for number in range(5_000)]


def measure(place: Path) -> list[Row]:
    """Measure all of it in one history that is made here, which takes a minute or so."""
    top = place / "long"
    shas = make_history(top, COMMITS, folders=FOLDERS, repack=False)
    git(top, "update-index", "-q", "--refresh")
    ranking = [_ranking(top) for _ in range(RUNS + 1)][1:]
    rehearsal = [_rehearsal(place, top, shas[:SUSPECTS]) for _ in range(RUNS + 1)][1:]
    memory, of_git = zip(*[_memory(top) for _ in range(2)], strict=True)
    snapshot, added = _snapshots(place, top)
    first, _ = _snapshots(place, top, runs=1, warm_up=0)
    history = f"{COMMITS:,} commits, {SUSPECTS} suspects"
    return [
        Row("list and rank the suspects", ranking, aim=RANKING_AIM_S, note=history),
        Row("rehearse the revert of each", rehearsal, aim=REHEARSAL_AIM_S, note="in a mirror that was just made"),
        Row("peak memory of both", memory, aim=MEMORY_AIM, unit="MiB", note="of a process of its own"),
        Row("  of git below it", of_git, unit="MiB", note="packs that it maps count, though they can be dropped"),
        Row(
            f"snapshot, {FOLDERS * FILES_A_FOLDER:,} files, {DIRTY} dirty",
            snapshot,
            "git add, temporary index",
            added,
            SNAPSHOT_AIM,
        ),
        Row("  the very first one", first, unit="s", note="the mirror then copies the whole history"),
    ]


def _ranking(top: Path) -> float:
    """Return the seconds to list and rank the suspects, with a state that was just made."""
    with tempfile.TemporaryDirectory() as state, environment({"ROLLCAGE_STATE_DIR": state}):
        return _rank_in(top)


def _rank_in(top: Path) -> float:
    repository = Repository.discover(top)
    paths = identify(repository.common_dir, repository.root_commits)
    store = Store.open(paths, SystemClock())
    try:
        services = open_services(repository, paths, store, Settings(), "", SystemClock())
        found = list[Suspect]()

        def work() -> None:
            listed = attributed(services, commits(services.mirror, repository.tip("main") or "", limit=SUSPECTS))
            now = datetime.now(UTC)
            touched = touched_names(services.mirror, listed)
            found.extend(rank(listed, now, failing_files=_FILES, failing_tests=_TESTS, check="tests", touched=touched))

        took = timed(work)
        if len(found) != SUSPECTS:
            raise RuntimeError(f"{len(found)} suspects were listed, not {SUSPECTS}")
        return took
    finally:
        store.close()


def _rehearsal(place: Path, top: Path, targets: Sequence[str]) -> float:
    with tempfile.TemporaryDirectory(dir=place) as folder:
        mirror = Mirror(Repository.discover(top), Path(folder) / "mirror.git")
        mirror.ensure()
        found = list[Reversal]()
        took = timed(lambda: found.extend(rehearse_reverts(mirror, targets[0], targets)))
    if len({each.tree for each in found if each.tree}) != len(targets):
        raise RuntimeError("not every revert has a tree of its own")
    return took


def _memory(top: Path) -> tuple[float, float]:
    """Return the MiB that a process which ranks and rehearses has at its peak, and the greatest git below it."""
    argv = [sys.executable, "-m", __name__, str(top)]
    home = Path(rollcage.__file__).parent.parent
    done = subprocess.run(argv, cwd=home, capture_output=True, text=True, check=True)
    own, below = done.stdout.split()
    return float(own), float(below)


def _snapshots(place: Path, top: Path, *, runs: int = RUNS, warm_up: int = 1) -> list[list[float]]:
    """Take snapshots, and add to temporary indexes, each time of other contents, which neither has seen before."""
    repository, numbers = Repository.discover(top), count(1)
    changed = git(top, "ls-files").split("\n")[:: FOLDERS * FILES_A_FOLDER // DIRTY]
    with tempfile.TemporaryDirectory(dir=place) as folder:
        mirror = Mirror(repository, Path(folder) / "mirror.git")
        mirror.ensure()
        index = Path(folder) / "index"

        def edit() -> int:
            number = next(numbers)
            for name in changed:
                file = top / name
                file.write_text(f"# {folder} {number}\n{file.read_text()}")
            return number

        def snapshot() -> float:
            number = edit()
            return timed(lambda: take(repository, mirror, f"snap-{number}", datetime.now(UTC)))

        def add() -> float:
            edit()

            def work() -> None:
                shutil.copyfile(top / ".git" / "index", index)
                variables = {**os.environ, "GIT_INDEX_FILE": str(index)}
                subprocess.run(["git", "add", "-A"], cwd=top, env=variables, check=True)

            return timed(work)

        found = interleaved(runs, snapshot, add, warm_up=warm_up)
    git(top, "checkout", "-q", "--", ".")
    return found


def _peak(who: int) -> float:
    """Return the greatest resident set in MiB; getrusage(2) tells KiB, on macOS bytes."""
    return resource.getrusage(who).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _main(top: Path) -> None:
    _ranking(top)
    targets = git(top, "rev-list", "-n", str(SUSPECTS), "main").split("\n")
    with tempfile.TemporaryDirectory() as folder:
        _rehearsal(Path(folder), top, targets)
    print(f"{_peak(resource.RUSAGE_SELF):.1f} {_peak(resource.RUSAGE_CHILDREN):.1f}")


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
