"""The last good tree, with the good commits since made again on top of it: what BRANCH_RESET publishes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..gitrepo.history import commits
from ..gitrepo.objects import empty_tree, read_commits, read_trees
from ..gitrepo.threeway import Merge, merge_trees
from ..services import Services
from .line import Line


@dataclass(frozen=True, slots=True)
class Piece:
    """A commit, or a merge with all that it brought, that can be made again."""

    sha: str
    before: str
    """The commit that it changes."""
    commits: tuple[str, ...]
    """The commits that it stands for."""
    is_new: bool
    """It came after the diagnosis: nobody was asked about it, so it stays."""


@dataclass(frozen=True, slots=True)
class Remade:
    """The last good tree with what was made again."""

    tree: str
    kept: tuple[str, ...]
    """The pieces made again, the oldest first; those that came after the diagnosis are left out."""
    lost: tuple[str, ...]
    """The commits that no target is and that are not made again, the oldest first."""
    conflicts: tuple[str, ...]
    """One line for each that was to be made again and conflicts."""


def pieces(
    services: Services, line: Line, targets: Sequence[str], known_head: str, keeps: Sequence[str] | None = None
) -> list[Piece]:
    """Return what can be made again since the last good commit, the oldest first; targets are left out.

    A merge is one piece, unless a target is in it or ``keeps`` names commits in it: then each of its commits is one.
    What a merge brought that is a target itself goes as a whole. ``known_head`` is where the diagnosis looked.
    """
    shas = [unit.sha for unit in line.units]
    new_from = shas.index(known_head) + 1 if known_head in shas else len(shas)
    if known_head == line.goal:
        new_from = 0
    found: list[Piece] = []
    for number, unit in enumerate(line.units):
        if unit.sha in targets:
            continue
        is_new = number >= new_from
        if set(targets).isdisjoint(unit.brought) and (
            keeps is None or unit.sha in keeps or set(keeps).isdisjoint(unit.brought)
        ):
            found.append(Piece(unit.sha, unit.before, unit.brought, is_new))
            continue
        parents = {sha: commit.parents for sha, commit in read_commits(services.mirror, unit.brought).items()}
        found += [
            Piece(sha, parents[sha][0] if parents[sha] else "", (sha,), is_new)
            for sha in unit.brought
            if sha not in targets
        ]
    return found


def remake(services: Services, line: Line, found: Sequence[Piece], keeps: Sequence[str] | None) -> Remade:
    """Make the pieces in ``keeps`` (None: all of them) again on the last good tree, the oldest first.

    One that conflicts is left out and named, and what stands on it conflicts in its turn. Raises GitError.
    """
    wanted = [piece for piece in found if keeps is None or piece.is_new or piece.sha in keeps]
    (tree,) = read_trees(services.mirror, [line.goal])
    kept: list[Piece] = []
    lost = [piece for piece in found if piece not in wanted]
    conflicts: list[str] = []
    for run in _runs(wanted):
        merged, _ = _apply(services, tree, run)
        if merged is not None:
            tree = merged
            kept += run
            continue
        for piece in run:  # they do not go together: one by one
            merged, problems = _apply(services, tree, [piece])
            if merged is not None:
                tree = merged
                kept.append(piece)
            else:
                lost.append(piece)
                conflicts += [f"{piece.sha[:12]} cannot be made again: {problem}" for problem in problems[:1]]
    order = {piece.sha: number for number, piece in enumerate(found)}
    lost.sort(key=lambda piece: order[piece.sha])
    return Remade(
        tree,
        tuple(piece.sha for piece in kept if not piece.is_new),
        tuple(sha for piece in lost for sha in piece.commits),
        tuple(conflicts),
    )


def apart(services: Services, found: Sequence[Piece], files: set[str]) -> tuple[str, ...]:
    """Return those of ``found`` that touch none of ``files``: they hardly need what is taken back."""
    names = [sha for piece in found for sha in piece.commits]
    touching = {
        commit.sha
        for sha in names
        for commit in commits(services.mirror, sha, limit=1)
        if files.intersection(commit.files)
    }
    return tuple(piece.sha for piece in found if touching.isdisjoint(piece.commits))


def _runs(wanted: Sequence[Piece]) -> list[list[Piece]]:
    """Return ``wanted`` with those that directly follow one another together: that conflicts less."""
    runs: list[list[Piece]] = []
    for piece in wanted:
        if runs and piece.before == runs[-1][-1].sha:
            runs[-1].append(piece)
        else:
            runs.append([piece])
    return runs


def _apply(services: Services, tree: str, run: Sequence[Piece]) -> tuple[str | None, tuple[str, ...]]:
    """Return ``tree`` with what ``run`` changes, or the conflicts."""
    base, theirs = read_trees(services.mirror, [run[0].before or empty_tree(tree), run[-1].sha])
    if base == tree:
        return theirs, ()
    (merged,) = merge_trees(services.mirror, [Merge(base, tree, theirs)], attributes_of=tree)
    return merged.tree, merged.conflicts
