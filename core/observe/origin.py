"""Where commits were made, and whether that contradicts whose they say they are.

A linked working tree in which one agent alone works is that agent's. Git's log of where HEAD of a working tree was
tells which commits were made there. Nothing is said of the main working tree: people commit there, too.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ..fleet.runs import Run
from ..gitrepo.repository import Repository
from ..model import Signal

TAIL = 65_536
"""Bytes of each log that are read: some hundred entries."""


def made_by(repository: Repository, runs: Sequence[Run]) -> dict[str, str]:
    """Return by commit the agent in whose own working tree it was made, as far as that is known."""
    linked = {tree.path: tree.git_dir for tree in repository.worktrees() if tree.path != repository.top}
    agents = defaultdict[Path, set[str]](set)
    for run in runs:
        folder = Path(run.cwd)
        inside = [path for path in linked if folder.is_relative_to(path)]
        if inside:
            agents[max(inside, key=lambda path: len(path.parts))].add(run.agent)
    owners = {path: found.pop() for path, found in agents.items() if len(found) == 1}
    return {sha: agent for path, agent in owners.items() for sha in _made_in(linked[path])}


def _made_in(git_dir: Path) -> Iterable[str]:
    """Yield the commits that the working tree with that git directory made: gitrepository-layout(5), ``logs/HEAD``."""
    try:
        with (git_dir / "logs" / "HEAD").open("rb") as log:
            log.seek(max(log.seek(0, os.SEEK_END) - TAIL, 0))
            lines = log.read().split(b"\n")
    except OSError:  # no log is kept, or the working tree has just gone
        return
    for line in lines:
        identities, _, message = line.partition(b"\t")
        words = identities.split(b" ", 2)
        if message.startswith(b"commit") and len(words) == 3:
            yield words[1].decode("ascii", "replace")


def compared(signal: Signal, makers: dict[str, str]) -> Signal:
    """Return the signal of a commit as that of who made it, where it names nobody; with ``mismatch`` if it lies."""
    maker = makers.get(signal.name)
    if maker is None or signal.agent == maker:
        return signal
    if not signal.agent:
        return replace(signal, agent=maker)
    text = f"says that it is {signal.agent}'s, but was made in the working tree of {maker}"
    return replace(signal, attrs={**signal.attrs, "mismatch": text})
