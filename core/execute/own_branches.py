"""Which branches are an agent's own: those of working trees in which it alone works, and those that carry its name."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from ..fleet.runs import latest_runs
from ..gitrepo.history import commits
from ..services import Services, attributed
from ..text import clean

_MOST = 200
"""So many commits of a branch are looked at for whose they are."""


@dataclass(frozen=True, slots=True)
class OwnBranch:
    """A branch of one agent's own, or a working tree of it that has none."""

    branch: str
    tip: str
    problem: str = ""
    """Why it cannot be brought anywhere; empty: it can."""


def own_branches(services: Services, agent: str, fleet: str) -> list[OwnBranch]:
    """Return the branches of ``agent`` alone, by name; never ``fleet``, the branch that all work on.

    A branch is its own where a working tree has it checked out in which it alone runs; or where nobody else is known to
    work on it, a part of its name is the agent's, and every commit that is not on ``fleet`` is the agent's.
    """
    repository = services.repository
    used = _used_by(services)
    found: dict[str, OwnBranch] = {}
    for worktree in repository.worktrees():
        if used.get(worktree.path) != {agent} or worktree.path == repository.top:
            continue
        place = clean(str(worktree.path))
        if worktree.branch is None:
            found[place] = OwnBranch("", worktree.head, f"{place} is on no branch and stays where it is")
        elif worktree.branch != fleet:
            found[worktree.branch] = OwnBranch(worktree.branch, repository.tip(worktree.branch) or "")
    # Not every agent is started by rollcage: a working tree in which none was seen to run is no obstacle.
    others = {
        worktree.branch
        for worktree in repository.worktrees()
        if worktree.path == repository.top or used.get(worktree.path, {agent}) != {agent}
    }
    for line in repository.git.text("for-each-ref", "--format=%(objectname) %(refname)", "refs/heads/").splitlines():
        tip, _, ref = line.partition(" ")
        branch = ref.removeprefix("refs/heads/")
        if branch != fleet and branch not in others and agent in branch.split("/"):
            own = commits(services.mirror, tip, since=repository.tip(fleet), limit=_MOST + 1, first_parent=False)
            if own and len(own) <= _MOST and all(each.agent == agent for each in attributed(services, own)):
                found[branch] = OwnBranch(branch, tip)
    return [found[name] for name in sorted(found) if found[name].tip]


def _used_by(services: Services) -> dict[Path, set[str]]:
    """Return by working tree the agents that run, or ran last, within it."""
    trees = services.repository.worktrees()
    used = defaultdict[Path, set[str]](set)
    for run in latest_runs(services.paths.inbox_db):
        folder = Path(run.cwd)
        inside = [tree.path for tree in trees if folder.is_relative_to(tree.path)]
        if inside:
            used[max(inside, key=lambda path: len(path.parts))].add(run.agent)
    return used
