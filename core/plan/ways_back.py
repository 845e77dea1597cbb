"""To which parent a merge goes back when it is taken back: as the branch remembers it, or as the message says."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..gitrepo.history import branch_parent, parents
from ..gitrepo.objects import read_commits
from ..services import Services

_TRAILER = "Rollcage-Way-Back"
_LINE = re.compile(rf"^{_TRAILER}: ([0-9a-f]{{40,64}}) ([0-9a-f]{{40,64}})$", re.MULTILINE)
MOST = 8
"""Of a merge with more parents none is offered: nobody could choose."""


def ways_back(services: Services, targets: Sequence[str], message: str = "") -> dict[str, str]:
    """Return for each merge in ``targets`` the parent that it goes back to, where that is known.

    ``message``, of the commit that takes them back, decides where it has the trailer of `way_back_trailer`; else what
    the branch pointed to before the merge came into it.
    """
    chosen = dict(_LINE.findall(message))
    found: dict[str, str] = {}
    for sha in _known(services, targets):
        known = parents(services.mirror, sha)
        if len(known) < 2:
            continue
        way = chosen.get(sha) if chosen.get(sha) in known else None
        way = way or branch_parent(services.repository, services.settings.branch, sha)
        if way is not None:
            found[sha] = way
    return found


def unknown_merge(services: Services, targets: Sequence[str], message: str = "") -> tuple[str, tuple[str, ...]] | None:
    """Return the one merge in ``targets`` whose way back is not known, with its parents; none: there is not just one.

    Each parent is to be rehearsed then, and a human asked.
    """
    known = ways_back(services, targets, message)
    merges = [(sha, parents(services.mirror, sha)) for sha in _known(services, targets) if sha not in known]
    merges = [(sha, found) for sha, found in merges if len(found) > 1]
    return merges[0] if len(merges) == 1 and len(merges[0][1]) <= MOST else None


def way_back_trailer(merge: str, parent: str) -> str:
    """Return the line for a commit message that chooses ``parent``."""
    return f"{_TRAILER}: {merge} {parent}"


def has_way_back(message: str) -> bool:
    """Return whether ``message`` chooses the way back of a merge."""
    return _LINE.search(message) is not None


def _known(services: Services, targets: Sequence[str]) -> list[str]:
    commits = read_commits(services.mirror, targets)
    return [sha for sha in targets if sha in commits]
