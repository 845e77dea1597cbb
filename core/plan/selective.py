"""Parts of commits: the smallest that are enough, and those that an operator names."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping

from ..gitrepo.parts import tree_taking_back
from ..gitrepo.rehearse import lost_lines
from ..model import OptionType
from ..services import Services
from .made import Made
from .smallest import Candidate as Smaller
from .smallest import find_smallest
from .wishes import Wish
from .words import why_not

MOST_SELECTIVE = 2
"""So many ways to take back parts of the same commits are offered at most."""


def selected(services: Services, head: str, wish: Wish, ways: Mapping[str, str]) -> Iterator[Made]:
    """Yield the tree without the parts that ``wish`` names; without any: the smallest that pass. Raises GitError."""
    parts = wish.parts
    if not parts:
        found = [each for each in find_smallest(services, head, wish.targets, ways) if each.parts and each.tree]
        if not found:
            why = "no part of it is enough by itself: take the whole commit back (SINGLE_COMMIT), or name the parts"
            yield Made(None, wish.targets, (why,), ways=ways)
            return
        parts = found[0].parts
    taken = tree_taking_back(services.mirror, head, wish.targets, parts, parents=ways).reversal
    problems = why_not(taken, services.settings.branch)
    tree = None if problems else taken.tree
    lost = 0
    if tree is not None:
        lost = lost_lines(services.mirror, head, tree, wish.targets, parents=ways, finely=taken.finely)
    targets = taken.targets if tree is not None else wish.targets
    yield Made(tree, targets, problems, taken.reason, ways, lost, parts=parts)


def smaller_ways(
    services: Services, head: str, wish: Wish, ways: Mapping[str, str], *, stop: threading.Event | None = None
) -> list[tuple[Wish, Smaller]]:
    """Return the ways to take back the targets of ``wish``, or parts of them, the best first, each with what was seen.

    The whole commits are one of them, where they go. Raises GitError, StoreError.
    """
    found: list[tuple[Wish, Smaller]] = []
    for each in find_smallest(services, head, wish.targets, ways, stop=stop):
        if each.tree is None:
            continue
        if not each.parts:
            found.append((wish, each))
        elif sum(bool(its.parts) for its, _ in found) < MOST_SELECTIVE:
            found.append((Wish(OptionType.FILE_SELECTIVE, wish.targets, parts=each.parts), each))
    return found
