"""Parts of commits: the smallest that are enough, and those that an operator names."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence

from ..gitrepo.later import later_lines
from ..gitrepo.parts import parts_of
from ..model import OptionType
from ..services import Services
from .made import Made
from .smallest import MOST_RUNS, candidate_of, find_smallest
from .smallest import Candidate as Smaller
from .wanted import needed_by
from .wishes import Wish
from .words import why_not

MOST_SELECTIVE = 2
"""So many ways to take back parts of the same commits are offered at most."""


def selected(
    services: Services,
    head: str,
    wish: Wish,
    ways: Mapping[str, str],
    *,
    stop: threading.Event | None = None,
) -> Iterator[Made]:
    """Yield the tree without the parts that ``wish`` names; without any: the smallest that pass. Raises GitError."""
    if wish.parts:
        seen = candidate_of(services, head, wish.targets, wish.parts, ways, stop=stop)
    else:
        ranked = find_smallest(services, head, wish.targets, ways, stop=stop)
        found = [each for each in ranked if each.parts and each.tree]
        if not found:
            why = "no part of it is enough by itself: take the whole commit back (SINGLE_COMMIT), or name the parts"
            yield Made(None, wish.targets, (why,), ways=ways)
            return
        seen = found[0]
    yield made_of(services, wish, ways, seen)


def made_of(services: Services, wish: Wish, ways: Mapping[str, str], seen: Smaller) -> Made:
    """Return what was found to take back parts of the targets of ``wish``, as the tree of an option."""
    problems = why_not(seen.reversal, services.settings.branch)
    tree = None if problems else seen.tree
    targets = seen.reversal.targets if tree is not None else wish.targets
    return Made(tree, targets, problems, seen.reversal.reason, ways, seen.lost_lines, parts=seen.parts)


def needed_later(
    services: Services, head: str, targets: Sequence[str], parts: Sequence[str], ways: Mapping[str, str]
) -> tuple[str, ...]:
    """Return a line for each thing among ``parts`` of the targets (none: all) that later work names and that goes.

    A guess by names (`rollcage.core.plan.wanted`): that the checks pass without it does not prove that nobody wants it.
    Raises GitError.
    """
    every = parts_of(services.mirror, head, targets, parents=ways)
    gone = {part.name for part in every if not parts or part.name in parts or part.within in parts}
    wanted = needed_by(every, later_lines(services.mirror, head, targets)) if gone else []
    return tuple(each.why for each in wanted if each.part in gone)


def smaller_ways(
    services: Services,
    head: str,
    wish: Wish,
    ways: Mapping[str, str],
    *,
    budget: int = MOST_RUNS,
    stop: threading.Event | None = None,
) -> list[tuple[Wish, Smaller]]:
    """Return the ways to take back the targets of ``wish``, or parts of them, the best first, each with what was seen.

    The whole commits are one of them, where they go. Raises GitError, StoreError.
    """
    found: list[tuple[Wish, Smaller]] = []
    for each in find_smallest(services, head, wish.targets, ways, stop=stop, budget=budget):
        if each.tree is None:
            continue
        if not each.parts:
            found.append((wish, each))
        elif sum(bool(its.parts) for its, _ in found) < MOST_SELECTIVE:
            found.append((Wish(OptionType.FILE_SELECTIVE, wish.targets, parts=each.parts), each))
    return found
