"""The past of a branch: which way it went, and the newest commit on record that was good."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..gitrepo.graph import branch_values, read_graph
from ..services import Services
from .ancestry import Ancestry, ancestry, way_of_branch

WIDTH = 5_000
"""Newest commits whose shape is looked at; far more than ``limits.lookback`` with what merges brought."""


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of the history before any check is run."""

    way: tuple[str, ...]
    """What the branch went over, newest first; one more than ``limits.lookback`` tells that there is more."""
    good: str | None
    """The newest commit on record as good for the checks as they are now."""
    graph: Ancestry
    trees: Mapping[str, str]

    @property
    def ways_back(self) -> dict[str, str]:
        """The parent that each merge on the way goes back to."""
        return {sha: before for sha, before in zip(self.way, self.way[1:], strict=False) if self._is_merge(sha)}

    def _is_merge(self, sha: str) -> bool:
        return len(self.graph.parents[self.graph.position[sha]]) > 1

    @classmethod
    def read(cls, services: Services, head: str) -> Past:
        """Read it, with two git processes however long it is. Raises GitError, StoreError."""
        listed = read_graph(services.mirror, head, limit=WIDTH)
        parents = {commit.sha: commit.parents for commit in listed}
        values = branch_values(services.repository, services.settings.branch)
        good = set(services.store.good_commits(services.checks.checks_hash))
        graph = ancestry(parents)
        return cls(
            way=tuple(way_of_branch(graph, head, values)[: services.settings.limits.lookback + 2]),
            good=next((sha for sha in graph.shas if sha in good), None),
            graph=graph,
            trees={commit.sha: commit.tree for commit in listed},
        )
