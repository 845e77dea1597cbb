"""The way back of a commit: from which tree to which other one a merge brings the branch when the commit goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import GitError
from ..text import clean
from .mirror import Mirror
from .objects import CommitObject, empty_tree, read_commits


@dataclass(frozen=True, slots=True)
class Way:
    """The way back of one commit, or of several in a row: from the tree ``base`` to ``theirs``, that of ``parent``."""

    sha: str
    """The commit, of several in a row the newest."""
    parent: str
    """The commit before the oldest; empty: none (a first commit)."""
    base: str
    theirs: str


@dataclass(frozen=True, slots=True)
class Series:
    """The steps that take several commits back from one head, or why there are none."""

    head: str
    """The id of the commit."""
    head_tree: str
    targets: tuple[str, ...]
    """Their ids, the newest first; of a series that does not go, what does not."""
    steps: tuple[Way, ...]
    """The newest first; targets that directly follow one another are one."""
    reason: str
    """A code of `rollcage.core.gitrepo.rehearse.Reversal`; empty: it goes."""


def read_series(
    mirror: Mirror, head: str, targets: Sequence[str], *, parents: Mapping[str, str] | None = None
) -> Series:
    """Return how all of ``targets`` are taken back together, whatever order they are given in.

    ``parents`` names for a merge the parent to go back to. Raises GitError if ``head`` is unknown.
    """
    commits, head_tree = read_head(mirror, head, targets)
    ways = {}
    for target in targets:
        found, reason = ways_of(commits, target, parents or {})
        if len(found) != 1:
            return Series(commits[head].sha, head_tree, (target,), (), reason)
        ways[found[0].sha] = found[0]
    order = _newest_first(mirror, commits[head].sha, list(ways))
    if order is None:
        return Series(commits[head].sha, head_tree, tuple(ways), (), "not_in_history")
    return Series(commits[head].sha, head_tree, tuple(order), tuple(_joined([ways[sha] for sha in order])), "")


def with_parents(mirror: Mirror, names: Sequence[str]) -> dict[str, CommitObject]:
    """Return the commits by the names asked for, and their parents; what is no commit is left out."""
    commits = read_commits(mirror, names)
    return {**read_commits(mirror, [parent for commit in commits.values() for parent in commit.parents]), **commits}


def read_head(mirror: Mirror, head: str, targets: Sequence[str]) -> tuple[dict[str, CommitObject], str]:
    """Return the commits, their parents too, and the tree of ``head``. Raises GitError if that is unknown."""
    commits = with_parents(mirror, [head, *targets])
    if head not in commits:
        raise GitError(f"no commit {clean(head, limit=80)} in {clean(str(mirror.repository.top))}")
    return commits, commits[head].tree


def ways_of(commits: Mapping[str, CommitObject], target: str, parents: Mapping[str, str]) -> tuple[list[Way], str]:
    """Return the way back of ``target``, or all of them with the reason code why it is not one."""
    commit = commits.get(target)
    if commit is None:
        return [], "unknown_commit"
    if not commit.parents:
        return [Way(commit.sha, "", commit.tree, empty_tree(commit.tree))], ""
    known = parents.get(commit.sha)
    candidates = [known] if known in commit.parents else list(commit.parents)
    if any(parent not in commits for parent in candidates):
        return [], "unknown_parent"
    ways = [Way(commit.sha, parent, commit.tree, commits[parent].tree) for parent in candidates]
    return ways, "merge_parent" if len(ways) > 1 else ""


def _joined(ways: Sequence[Way]) -> list[Way]:
    """Return ``ways``, newest first, with those in a row made one."""
    steps: list[Way] = []
    for way in ways:
        if steps and steps[-1].parent == way.sha:
            steps[-1] = replace(steps[-1], parent=way.parent, theirs=way.theirs)
        else:
            steps.append(way)
    return steps


def _newest_first(mirror: Mirror, head: str, shas: Sequence[str]) -> list[str] | None:
    """Return ``shas`` with children before parents; None if one is not in the history of ``head``."""
    if len(shas) < 2 and head in shas:
        return list(shas)
    # What all of them descend from bounds the walk; unrelated ones have no such commit.
    bound = mirror.git.text("merge-base", "--octopus", *shas, ok=(0, 1)).split()
    limits = [f"^{parent}" for commit in read_commits(mirror, bound[:1]).values() for parent in commit.parents]
    history = mirror.git.text("rev-list", "--topo-order", head, *limits, "--").split("\n")
    wanted = set(shas)
    order = [sha for sha in history if sha in wanted]
    return order if len(order) == len(wanted) else None
