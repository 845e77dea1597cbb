"""Where commits were made: in whose working tree, or on whose branch, by git's own logs.

A linked working tree in which one agent alone works is that agent's; nothing is said of the main working tree: people
commit there, too. A branch is the agent's that its name names: ``executor``, ``executor/fix``, ``agents/executor``.
Git's logs of where HEAD of a working tree and where a branch was tell which commits were made there.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from ..fleet.runs import Run
from ..gitrepo.history import Origin
from ..gitrepo.repository import Repository
from ..text import clean

TAIL = 65_536
"""Bytes of each log that are read: some hundred entries."""


def origins(repository: Repository, runs: Sequence[Run], agents: Collection[str], branch: str) -> dict[str, Origin]:
    """Return by commit where it was made, as far as that is known; the working tree counts before the branch.

    ``agents`` are their names; ``branch`` is everybody's, whatever its name.
    """
    return {**_on_branches(repository, agents, branch), **_in_worktrees(repository, runs)}


def _in_worktrees(repository: Repository, runs: Sequence[Run]) -> dict[str, Origin]:
    linked = {tree.path: tree.git_dir for tree in repository.worktrees() if tree.path != repository.top}
    working = defaultdict[Path, set[str]](set)
    for run in runs:
        folder = Path(run.cwd)
        inside = [path for path in linked if folder.is_relative_to(path)]
        if inside:
            working[max(inside, key=lambda path: len(path.parts))].add(run.agent)
    owners = {path: found.pop() for path, found in working.items() if len(found) == 1}
    return {
        sha: Origin(agent, f"in the working tree of {agent}")
        for path, agent in owners.items()
        for sha in _made_in(linked[path] / "logs" / "HEAD")
    }


def _on_branches(repository: Repository, agents: Collection[str], branch: str) -> dict[str, Origin]:
    logs = repository.common_dir / "logs" / "refs" / "heads"
    found: dict[str, Origin] = {}
    for folder, _, files in os.walk(logs):
        for file in files:
            path = Path(folder, file)
            name = path.relative_to(logs).as_posix()
            owners = {part for part in name.split("/") if part in agents}
            if name != branch and len(owners) == 1:
                origin = Origin(owners.pop(), clean(f"on branch {name}", limit=200))
                found |= dict.fromkeys(_made_in(path), origin)
    return found


def _made_in(log_file: Path) -> Iterable[str]:
    """Yield the commits that were made where this is the log of: gitrepository-layout(5), ``logs``."""
    try:
        with log_file.open("rb") as log:
            log.seek(max(log.seek(0, os.SEEK_END) - TAIL, 0))
            lines = log.read().split(b"\n")
    except OSError:  # no log is kept, or the working tree or branch has just gone
        return
    for line in lines:
        identities, _, message = line.partition(b"\t")
        words = identities.split(b" ", 2)
        if message.startswith(b"commit") and len(words) == 3:
            yield words[1].decode("ascii", "replace")
