"""The kinds of trouble: each grows one history and says what is true of it."""

from __future__ import annotations

from collections.abc import Callable

from . import culprits, merges, oddities
from .grow import Grower

Kind = Callable[[Grower], None]

KINDS: dict[str, tuple[Kind, int]] = {
    kind.__name__: (kind, count)
    for kind, count in (
        (culprits.single, 6),
        (culprits.very_line, 7),
        (culprits.beside, 4),
        (culprits.wanted_file, 5),
        (culprits.wanted_test, 4),
        (culprits.wanted_helper, 5),
        (culprits.woven, 4),
        (culprits.sandwich, 5),
        (culprits.interleaved, 6),
        (culprits.two_bugs, 5),
        (merges.merge_bad, 4),
        (merges.merge_mixed, 6),
        (merges.foxtrot, 5),
        (merges.octopus, 3),
        (merges.combination, 4),
        (culprits.renamed, 5),
        (oddities.unbuildable, 5),
        (oddities.unbuildable_culprit, 3),
        (oddities.flaky, 5),
        (oddities.frightening, 5),
        (culprits.revert_of_revert, 4),
        (oddities.dirty, 5),
        (oddities.dirty_line, 3),
        (culprits.large, 6),
        (oddities.keep, 2),
        (oddities.old, 2),
        (oddities.never_good, 2),
        (oddities.healthy, 12),
    )
}
"""Each kind, and how many cases of it there are."""
