"""The obvious script: stash, ``git bisect run``, ``git revert``, up to three rounds, and the stash comes back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import git

from . import unit
from .cases import Case
from .score import Score, dirty_lost, judge_culprits, judge_tree, settle, tree_files

ROUNDS = 3
LIMIT_S = 300


def run_script(case: Case, place: Path) -> Score:
    """Let the script mend one case, in a clone of its own; ``search`` counts the runs of all bisections."""
    score, started = Score(case.name, case.kind), time.monotonic()
    work = clone(case, place / "script")
    named: list[str] = []
    runs = place / "script-runs"
    check = [sys.executable, unit.__file__, "report.xml", *case.of.check]
    environment = os.environ | {"CORPUS_RUNS": str(runs)}
    if case.flaky:
        environment["CORPUS_COUNTER"] = str(place / "script-counter")
    head = tree_files(work, "HEAD")

    def call(*words: str) -> int:
        done = subprocess.run(words, cwd=work, env=environment, capture_output=True, check=False, timeout=LIMIT_S)
        return done.returncode

    if case.dirty:
        call("git", "stash", "-u", "-q")
    begin = case.good or git(work, "rev-list", "--max-parents=0", "HEAD")
    for _ in range(ROUNDS):
        if call(*check) == 0:
            break
        before = _size(runs)
        call("git", "bisect", "start", "HEAD", begin)
        found = call("git", "bisect", "run", *check) == 0
        score.search += _size(runs) - before
        culprit = git(work, "rev-parse", "refs/bisect/bad") if found else ""
        call("git", "bisect", "reset")
        if not found:
            break
        named.append(culprit)
        merge = len(git(work, "rev-list", "--parents", "-1", culprit).split()) > 2
        if call("git", "revert", "--no-edit", *(["-m", "1"] if merge else []), culprit):
            call("git", "revert", "--abort")
            break
        score.acted = True
    if case.dirty:
        call("git", "stash", "pop", "-q")
    result = tree_files(work, "HEAD")
    score.alarm = case.expect == "healthy" and bool(named)
    judge_culprits(score, case, named)
    judge_tree(score, case, head, result)
    score.dirty_lost = dirty_lost(case, work, not score.acted)
    settle(score, case)
    score.seconds = time.monotonic() - started
    return score


def clone(case: Case, work: Path) -> Path:
    """Check the case out as it is at the end, with the human's uncommitted work."""
    git(work.parent, "clone", "-q", str(case.repository), str(work))
    git(work, "remote", "remove", "origin")
    soil(case, work)
    return work


def soil(case: Case, work: Path) -> None:
    """Write the human's uncommitted work."""
    for path, text in case.dirty.items():
        (work / path).write_text(text)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
