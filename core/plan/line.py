"""The branch's own line of commits since the last good one, and what each of them brought.

It is not always that of the first parents: where main was fast-forwarded to an agent's merge, what main pointed to
before is the merge's second parent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..gitrepo.git import Git
from ..gitrepo.history import branch_parent
from ..gitrepo.objects import read_commits
from ..services import Services


@dataclass(frozen=True, slots=True)
class Unit:
    """A commit of the branch's own line."""

    sha: str
    before: str
    """The commit that the branch was at before."""
    brought: tuple[str, ...]
    """The commits that came with it, the oldest first: a merge's, or it alone. Merges are not among them."""


@dataclass(frozen=True, slots=True)
class Line:
    """What happened on a branch since the last good commit."""

    goal: str
    """The newest commit of the line with no target in its history; empty: a target is the first commit of all."""
    units: tuple[Unit, ...]
    """The oldest first: from the one behind ``goal`` to the head."""


def line_since(services: Services, head: str, targets: Sequence[str]) -> Line | None:
    """Return the branch's line since the newest commit without any of ``targets``; None: one is not in its history.

    A merge whose way back is not known is taken to have come into its first parent. Raises GitError.
    """
    git = services.mirror.git
    graph = _graph(services, git, head, targets)
    if not targets or any(target not in graph for target in targets):
        return None
    tainted: set[str] = set()
    for sha in reversed(graph):  # parents before children
        if sha in targets or not tainted.isdisjoint(graph[sha]):
            tainted.add(sha)
    units: list[Unit] = []
    at = head
    while at in tainted:
        parents = graph[at]
        if not parents:
            return Line("", ())
        before = parents[0]
        if len(parents) > 1:
            before = branch_parent(services.repository, services.settings.branch, at) or before
        units.append(Unit(at, before, (at,) if len(parents) < 2 else _brought(git, at, before)))
        at = before
    return Line(at, tuple(reversed(units)))


def _graph(services: Services, git: Git, head: str, targets: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the parents of each commit that may have a target in its history, children before parents."""
    known = list(read_commits(services.mirror, targets))
    if not known:
        return {}
    # What all of them descend from bounds the walk; unrelated ones have no such commit.
    bound = git.text("merge-base", "--octopus", *known, ok=(0, 1)).split()
    limits = [f"^{parent}" for commit in read_commits(services.mirror, bound[:1]).values() for parent in commit.parents]
    out = git.text("rev-list", "--parents", "--topo-order", head, *limits, "--")
    rows = [line.split() for line in out.splitlines()]
    return {row[0]: tuple(row[1:]) for row in rows}


def _brought(git: Git, merge: str, before: str) -> tuple[str, ...]:
    out = git.text("rev-list", "--topo-order", "--reverse", "--no-merges", merge, f"^{before}", "--")
    return tuple(out.split())
