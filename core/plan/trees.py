"""How the tree of each type of option is made: on objects, before any ref moves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping

from ..gitrepo.finely import rehearse_finely
from ..gitrepo.history import commits
from ..gitrepo.rehearse import lost_lines
from ..model import Diagnosis, OptionType
from ..services import Services
from .line import line_since
from .made import Made
from .reset import Piece, apart, pieces, remake
from .selective import selected
from .ways_back import ways_back
from .wishes import Wish
from .words import why_not

MOST_TRIES = 8
"""So many trees are checked at most to find which later commits can be made again."""


def trees(
    services: Services,
    head: str,
    wish: Wish,
    diagnosis: Diagnosis,
    message: str,
    holds: Callable[[Made], bool],
    *,
    stop: threading.Event | None = None,
) -> Iterator[Made]:
    """Yield what could be published for ``wish``; more than one where it must be tried what goes together.

    Those that lose less come first. ``holds`` tells whether no check fails on a tree. Raises GitError, StoreError.
    """
    ways = ways_back(services, wish.targets, message)
    if wish.type is OptionType.RESTART_ONLY:
        yield Made(services.repository.tree(head), ())
    elif wish.type is OptionType.BRANCH_RESET:
        yield from _reset(services, head, wish, diagnosis, ways, holds)
    elif wish.type is OptionType.FILE_SELECTIVE:
        yield from selected(services, head, wish, ways, stop=stop)
    else:
        yield _whole(services, head, wish, ways)


def _whole(services: Services, head: str, wish: Wish, ways: Mapping[str, str]) -> Made:
    """Return the tree without the targets of ``wish``, within the line where git's own merge conflicts."""
    whole = rehearse_finely(services.mirror, head, wish.targets, parents=ways)
    problems = why_not(whole, services.settings.branch)
    tree = None if problems else whole.tree
    lost = 0
    if tree is not None:
        lost = lost_lines(services.mirror, head, tree, wish.targets, parents=ways, finely=whole.finely)
    targets = whole.targets if tree is not None else wish.targets
    return Made(tree, targets, problems, whole.reason, ways, lost)


def _reset(
    services: Services,
    head: str,
    wish: Wish,
    diagnosis: Diagnosis,
    ways: Mapping[str, str],
    holds: Callable[[Made], bool],
) -> Iterator[Made]:
    branch = services.settings.branch
    line = line_since(services, head, wish.targets)
    if line is None or not line.goal:
        why = f"there is nothing before it on {branch}" if line else f"not every commit is in the history of {branch}"
        yield Made(None, wish.targets, (why,), ways=ways)
        return
    order = {sha: -number for number, sha in enumerate(sha for unit in line.units for sha in (*unit.brought, unit.sha))}
    targets = tuple(sorted(wish.targets, key=lambda sha: order.get(sha, 1)))
    if wish.rewrite:
        gone = tuple(dict.fromkeys(sha for unit in line.units for sha in unit.brought if sha not in targets))
        lines = lost_lines(services.mirror, head, line.goal, targets, parents=ways)
        tree = services.repository.tree(line.goal)
        yield Made(tree, targets, (), ways=ways, lost_lines=lines, lost_commits=gone, goal=line.goal)
        return
    found = pieces(services, line, targets, diagnosis.head or head, wish.keeps)
    unknown = [sha for sha in wish.keeps or () if sha not in {piece.sha for piece in found}]
    if unknown:
        why = f"{unknown[0][:12]} cannot be kept: it is not among the others' commits since {line.goal[:12]}"
        yield Made(None, targets, (why,), ways=ways)
        return
    head_tree = services.repository.tree(head)

    def made_with(keeps: tuple[str, ...] | None) -> Made:
        made = remake(services, line, found, keeps)
        if made.tree == head_tree:
            return Made(None, targets, ("nothing would change: all of it would be made again",), ways=ways)
        lines = lost_lines(services.mirror, head, made.tree, targets, parents=ways)
        return Made(
            made.tree, targets, made.conflicts, ways=ways, lost_lines=lines, lost_commits=made.lost, keeps=made.kept,
            goal=line.goal,
        )  # fmt: skip

    yield made_with(wish.keeps)
    if wish.keeps is None and found:
        yield from _fewer(services, targets, found, made_with, holds)


def _fewer(
    services: Services,
    targets: tuple[str, ...],
    found: list[Piece],
    made_with: Callable[[tuple[str, ...] | None], Made],
    holds: Callable[[Made], bool],
) -> Iterator[Made]:
    """Yield what is left where not all can be made again: without what touches a file of the targets, or nothing.

    Where that holds, what was left out comes back by halves as far as it still does: so only what breaks it is lost.
    """
    files = {path for sha in targets for commit in commits(services.mirror, sha, limit=1) for path in commit.files}
    for base in dict.fromkeys((apart(services, found, files), ())):
        made = made_with(base)
        if made.tree is None or not holds(made):
            yield made
            continue
        left = [piece.sha for piece in found if piece.sha not in base and not piece.is_new]
        groups = [left[: len(left) // 2], left[len(left) // 2 :]] if len(left) > 1 else []
        keeps, tries = base, MOST_TRIES
        while groups and tries:
            group = groups.pop(0)
            tries -= 1
            more = made_with((*keeps, *group))
            if more.tree is not None and set(group) <= set(more.keeps) and holds(more):
                keeps, made = (*keeps, *group), more
            elif len(group) > 1:
                groups[:0] = [group[: len(group) // 2], group[len(group) // 2 :]]
        yield made
