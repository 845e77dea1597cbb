"""The smallest change that is seen to make the checks pass and keeps what later work needs."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ..gitrepo.finely import rehearse_finely
from ..gitrepo.parts import tree_taking_back
from ..gitrepo.rehearse import Reversal, lost_lines, make_commit
from ..model import CheckOutcome
from ..services import Services

MOST_RUNS = 24
"""Runs of a check that one search may cost at most, the last tree's not counted in full."""


class Granularity(StrEnum):
    """How fine a candidate is."""

    COMMIT = "commit"
    FILE = "file"
    HUNK = "hunk"
    TOKEN = "token"  # noqa: S105 - no password


@dataclass(frozen=True, slots=True)
class Candidate:
    """A tree that takes back the targets or parts of them, and what was seen of it."""

    tree: str | None
    """None: it cannot be done, and ``reversal`` says why."""
    parts: tuple[str, ...]
    """The parts that go, as `rollcage.core.gitrepo.parts` names them; empty: the commits as a whole."""
    outcomes: tuple[CheckOutcome, ...]
    """Of every check, on this very tree; empty: none was run."""
    granularity: Granularity
    lost_lines: int
    """Lines that go although what is taken back did not bring them."""
    why: tuple[str, ...]
    """What speaks for it and against it, a line each, for people."""
    reversal: Reversal
    wanted: tuple[str, ...] = ()
    """What goes with it though later work needs it, a line each."""

    @property
    def passes(self) -> bool:
        """Return whether every check passed; without checks nothing speaks against it."""
        return self.tree is not None and all(check.passed is True for check in self.outcomes)


def find_smallest(
    services: Services,
    head: str,
    targets: Sequence[str],
    ways: Mapping[str, str] | None = None,
    *,
    stop: threading.Event | None = None,
    budget: int = MOST_RUNS,
) -> list[Candidate]:
    """Return the ways to take ``targets`` back from ``head``, the best first; never empty.

    ``ways`` names for a merge the parent to go back to. Raises GitError, StoreError.
    """
    reversal = rehearse_finely(services.mirror, head, targets, parents=ways)
    if reversal.tree is None or reversal.reason:
        return [Candidate(None, (), (), Granularity.COMMIT, 0, (), reversal)]
    commit = make_commit(services.mirror, reversal.tree, [head], "rehearsal", services.clock.now())
    outcomes = services.checks.run_all(commit, reversal.tree, stop=stop)
    lost = lost_lines(services.mirror, head, reversal.tree, targets, parents=ways)
    return [Candidate(reversal.tree, (), outcomes, Granularity.COMMIT, lost, (), reversal)]


def candidate_of(
    services: Services,
    head: str,
    targets: Sequence[str],
    parts: Sequence[str],
    ways: Mapping[str, str] | None = None,
    *,
    stop: threading.Event | None = None,
) -> Candidate:
    """Return what taking back just ``parts`` of the targets gives, with every check: for an edited plan.

    No parts are the whole commits. Raises GitError, StoreError.
    """
    taken = tree_taking_back(services.mirror, head, targets, parts, parents=ways)
    reversal = taken.reversal
    grain = granularity(parts)
    if reversal.tree is None or reversal.reason:
        return Candidate(None, tuple(parts), (), grain, 0, (), reversal)
    commit = make_commit(services.mirror, reversal.tree, [head], "rehearsal", services.clock.now())
    outcomes = services.checks.run_all(commit, reversal.tree, stop=stop)
    lost = lost_lines(services.mirror, head, reversal.tree, targets, parents=ways)
    return Candidate(reversal.tree, tuple(parts), outcomes, grain, lost, (), reversal)


def granularity(parts: Sequence[str]) -> Granularity:
    """Return the finest of ``parts`` by their names; of none, the commits as a whole."""
    numbers = [part.rpartition("#")[2] if "#" in part else "" for part in parts]
    if any("." in number and number.replace(".", "").isdigit() for number in numbers):
        return Granularity.TOKEN
    if any(number.isdigit() for number in numbers):
        return Granularity.HUNK
    return Granularity.FILE if parts else Granularity.COMMIT
