"""Rehearsing 100 single-commit reverts, against git's own three-way merges of the same 100 trees."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from rollcage.core.gitrepo.mirror import Mirror
from rollcage.core.gitrepo.rehearse import Reversal, rehearse_reverts
from rollcage.core.gitrepo.repository import Repository
from tests.conftest import git

from .history import make_history
from .measure import Row, interleaved, timed

REVERTS = 100
RUNS = 11
AIM, AIM_S = 5.0, 0.5


def measure(place: Path) -> list[Row]:
    """Measure in a short and in a long history; both sides begin with none of the resulting objects written."""
    short, long = _both(place, 1_000), _both(place, 10_000)
    floor = "git merge-tree --stdin"
    return [
        Row("1,000 commits", short[0], floor, short[1], AIM),
        Row("10,000 commits", long[0], floor, long[1], AIM),
        Row("10,000 commits, absolute", long[0], aim=AIM_S),
    ]


def _both(place: Path, length: int) -> list[list[float]]:
    top = place / f"history-{length}"
    commits = make_history(top, length)
    prepared, pairs = _prepare(place, top)
    _compare(_rehearse(place, top, commits)[1], _merge(place, prepared, pairs)[1])
    return interleaved(RUNS, lambda: _rehearse(place, top, commits)[0], lambda: _merge(place, prepared, pairs)[0])


def _rehearse(place: Path, top: Path, commits: Sequence[str]) -> tuple[float, list[Reversal]]:
    """Rehearse in a mirror that was just made, so that nothing is remembered."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        mirror = Mirror(Repository.discover(top), Path(folder) / "mirror.git")
        mirror.ensure()
        found = list[Reversal]()
        took = timed(lambda: found.extend(rehearse_reverts(mirror, commits[0], commits[:REVERTS])))
    return took, found


def _merge(place: Path, prepared: Path, pairs: bytes) -> tuple[float, bytes]:
    """Run the one bare process, in a repository that was just made."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        git(prepared, "clone", "-q", "--bare", "--shared", ".", folder)
        argv = ["git", "-C", folder, "merge-tree", "--write-tree", "--stdin"]
        answers = list[bytes]()
        took = timed(lambda: answers.append(subprocess.run(argv, input=pairs, capture_output=True, check=True).stdout))
    return took, answers[0]


def _prepare(place: Path, top: Path) -> tuple[Path, bytes]:
    """Write the commits that the bare process merges: for each revert its base, and on top of it both sides."""
    prepared = place / f"{top.name}.git"
    git(top, "clone", "-q", "--bare", "--shared", ".", str(prepared))
    trees = git(top, "log", "-n", str(REVERTS + 1), "--format=%T", "main").split("\n")
    lines = list[str]()
    for number, (tree, before) in enumerate(pairwise(trees)):
        base, ours, theirs = 3 * number + 1, 3 * number + 2, 3 * number + 3
        lines += ["reset refs/heads/side", *_commit(base, tree)]
        lines += [*_commit(ours, trees[0], base), *_commit(theirs, before, base)]
        lines += [f"get-mark :{ours}", f"get-mark :{theirs}"]
    stream = "\n".join([*lines, "done", ""]).encode()
    ids = git(prepared, "fast-import", "--quiet", "--force", "--done", stdin=stream).split("\n")
    return prepared, "".join(f"{ours} {theirs}\n" for ours, theirs in zip(ids[0::2], ids[1::2], strict=True)).encode()


def _commit(mark: int, tree: str, parent: int | None = None) -> list[str]:
    lines = ["commit refs/heads/side", f"mark :{mark}", "committer Ann <ann@example.com> 0 +0000", "data 0"]
    return [*lines, *([f"from :{parent}"] if parent else []), "deleteall", f'M 040000 {tree} ""']


def _compare(reversals: Sequence[Reversal], merged: bytes) -> None:
    """Raise RuntimeError unless both sides did the same work: 100 clean merges with the same trees."""
    trees = [reversal.tree for reversal in reversals]
    if len(set(trees)) != REVERTS or not all(tree and tree.encode() in merged for tree in trees):
        raise RuntimeError("the reverts and the bare merges give different trees")
