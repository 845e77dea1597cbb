"""Candidates as a graph: who descends from whom, as bit sets, and the way that the branch itself went.

A set of commits is one whole number whose bit *i* stands for the commit at position *i*. Python's whole numbers have no
largest one, so that 500 candidates with all their ancestors take 500 numbers of 63 bytes, and *which of these are
ancestors of that* is a single ``&``.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ancestry:
    """Some commits, children before their parents; positions count from 0."""

    shas: tuple[str, ...]
    parents: tuple[tuple[str, ...], ...]
    """All parents of each, also those that are not among ``shas``."""
    upto: tuple[int, ...]
    """For each the set of itself and its ancestors, as far as they are among ``shas``."""
    position: Mapping[str, int]

    def positions(self, members: int) -> list[int]:
        """Return the positions in a set, the newest commit first."""
        return list(bits(members))


def ancestry(parents: Mapping[str, Sequence[str]]) -> Ancestry:
    """Return the graph of the commits that ``parents`` has as keys, each with its parents.

    Commits that are not related stay in the order given. Raises ValueError if a commit is its own ancestor.
    """
    shas = _children_first(parents)
    position = {sha: at for at, sha in enumerate(shas)}
    upto = [0] * len(shas)
    for at in range(len(shas) - 1, -1, -1):
        upto[at] = 1 << at
        for parent in parents[shas[at]]:
            if parent in position:
                upto[at] |= upto[position[parent]]
    return Ancestry(tuple(shas), tuple(tuple(parents[sha]) for sha in shas), tuple(upto), position)


def way_of_branch(graph: Ancestry, head: str, values: Sequence[str] = ()) -> list[str]:
    """Return the commits that a branch went over, newest first, from ``head`` to where ``graph`` ends.

    ``values`` are what the branch pointed to, as far as that is known, newest first. At a merge it goes on to the
    parent that the branch pointed to before the merge came into it. That is not always the first one: after an agent
    merged main into its own branch and main was fast-forwarded to that, the first parent is the agent's side. Where it
    is not known the first parent is taken.
    """
    known = [graph.position[sha] for sha in values if sha in graph.position]
    way, behind = [], 0
    at = graph.position.get(head)
    while at is not None:
        way.append(graph.shas[at])
        above = [graph.position.get(parent) for parent in graph.parents[at]]
        if len(above) > 1:
            # The newest value without the merge: the merge came into the branch by the move away from it. What lacks
            # an older merge lacks the newer ones too.
            while behind < len(known) and graph.upto[known[behind]] >> at & 1:
                behind += 1
            above = _before_merge(graph, above, known[behind] if behind < len(known) else None) or above
        at = above[0] if above else None
    return way


def _before_merge(graph: Ancestry, parents: Sequence[int | None], before: int | None) -> list[int | None]:
    """Return the parent that a branch at ``before`` was on; none: that is not known."""
    if before is None or before in parents:
        return [before] if before is not None else []
    holders = [parent for parent in parents if parent is not None and graph.upto[parent] >> before & 1]
    return [*holders] if len(holders) == 1 else []


def bits(members: int) -> Iterator[int]:
    """Yield the positions in a set, the smallest first."""
    while members:
        lowest = members & -members
        yield lowest.bit_length() - 1
        members ^= lowest


def _children_first(parents: Mapping[str, Sequence[str]]) -> list[str]:
    """Sort topologically (A. B. Kahn, 1962); of those that may come next the one that was given first comes next."""
    given = {sha: number for number, sha in enumerate(parents)}
    waiting = dict.fromkeys(parents, 0)
    for above in parents.values():
        for parent in set(above):
            if parent in waiting:
                waiting[parent] += 1
    ready = [given[sha] for sha, children in waiting.items() if not children]
    heapq.heapify(ready)
    names = list(parents)
    order = []
    while ready:
        sha = names[heapq.heappop(ready)]
        order.append(sha)
        for parent in set(parents[sha]):
            if parent in waiting:
                waiting[parent] -= 1
                if not waiting[parent]:
                    heapq.heappush(ready, given[parent])
    if len(order) < len(names):
        raise ValueError("a commit is its own ancestor")
    return order
