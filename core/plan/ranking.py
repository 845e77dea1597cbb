"""Which option comes first.

In this order: it is no restart where a culprit is known or a check fails (that mends neither); it is no choice that a
human has to make; it applies; no check failed in its rehearsal; it mends the fault and does not only take away what
shows it (`rollcage.core.plan.proof`), but before what loses more than the culprits; no uncommitted edit stands in its
way; it loses nothing that nobody blamed and nothing that later work needs; every check passed, none was flaky or
without a verdict; it is the smallest change (`rollcage.core.plan.smallest` orders the ways to take the culprits back;
beyond those the fewest lines count); it has the least risk. Flakiness comes behind loss: a check that passes at times
speaks for what was taken back, and a lucky pass is no reason to throw work away. Without a confirmed culprit the
likelier suspect comes before the smaller change: what is small and innocent helps nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..model import OptionType, RecoveryPlan, RollbackOption
from .proof import Proof
from .risk import RiskFacts

MOST_OPTIONS = 6
"""More than these nobody compares."""

BEHIND = 100
"""The place of what is only there to fall back on: behind every way to take just the culprits back."""

_FINENESS = {
    OptionType.SINGLE_COMMIT: 0,
    OptionType.FILE_SELECTIVE: 1,
    OptionType.FULL_AGENT_RESET: 2,
    OptionType.BRANCH_RESET: 3,
    OptionType.RESTART_ONLY: 4,
}
_COARSE = frozenset({OptionType.FULL_AGENT_RESET, OptionType.BRANCH_RESET})
_ONLY_A_TREE = frozenset({OptionType.SINGLE_COMMIT, OptionType.FILE_SELECTIVE, OptionType.BRANCH_RESET})
"""Types that do nothing but publish their tree."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A rehearsed option with what its rank depends on beside what it says itself."""

    option: RollbackOption
    plan: RecoveryPlan
    lines: int
    """Changed, against the branch as it is."""
    overlaps: bool = False
    """An uncommitted edit stands in its way."""
    reason: str = ""
    """Why it does not apply: a code of `rollcage.core.gitrepo.rehearse.Reversal`."""
    is_choice: bool = False
    """It is one of several ways of which a human must choose."""
    place: int = 0
    """Of its suspect among the suspects; with a confirmed culprit, among the ways to take that back; or `BEHIND`."""
    needed: tuple[str, ...] = ()
    """What goes with it though later work names it, a line each."""
    tests: tuple[str, ...] = ()
    """Tests and settings of checks among what its targets change."""
    risk: RiskFacts | None = None
    """What its risk was judged by."""
    proof: Proof | None = None
    """Whether it mends the fault and does not only hide it; None: not looked at yet."""

    @property
    def is_spotless(self) -> bool:
        """Whether nothing smaller can be better: it fails no check, loses nothing, and takes no test along."""
        rehearsal = self.option.rehearsal
        loses = rehearsal.lost_lines > 0 or bool(rehearsal.lost_commits or self.needed)
        return rehearsal.applies and not (self.failed or loses or self.tests or self.overlaps)

    @property
    def failed(self) -> bool:
        """Whether a check was seen to fail in its rehearsal; a flaky one was not."""
        return any(check.passed is False for check in self.option.rehearsal.checks)

    @property
    def passed(self) -> bool:
        """Whether it applies and its rehearsal passed every check."""
        return self.option.rehearsal.applies and all(check.passed is True for check in self.option.rehearsal.checks)


def ranked(found: Sequence[Candidate], *, has_culprit: bool, restart_failed: bool = False) -> list[Candidate]:
    """Return the candidates worth offering, the best first, at most `MOST_OPTIONS`.

    Of those that give the very same tree only the best is left, unless another one does something else beside.
    ``restart_failed``: a restart for the same problem did not last.
    """
    order: list[Candidate] = []
    for each in sorted(found, key=lambda each: _rank(each, has_culprit=has_culprit, restart_failed=restart_failed)):
        tree = each.option.rehearsal.tree
        if each.is_choice or not any(
            tree is not None and tree == better.option.rehearsal.tree and each.option.type in _ONLY_A_TREE
            for better in order
        ):
            order.append(each)
    return order[:MOST_OPTIONS]


def _doubt(each: Candidate) -> int:
    """Return 1 where it is not proven to mend the fault, and more where it throws work away that a finer way keeps."""
    rehearsal = each.option.rehearsal
    if each.option.type in _COARSE and (rehearsal.lost_commits or rehearsal.lost_lines):
        return 2
    return int(each.proof is not None and not each.proof.holds)


def _rank(each: Candidate, *, has_culprit: bool, restart_failed: bool) -> tuple[bool | int, ...]:
    option = each.option
    rehearsal = option.rehearsal
    open_ = any(check.passed is not True for check in rehearsal.checks)
    behind = option.type is OptionType.RESTART_ONLY and (has_culprit or open_ or restart_failed)
    return (
        behind,
        each.is_choice,
        not rehearsal.applies,
        each.failed,
        _doubt(each),
        each.overlaps,
        rehearsal.lost_commits != () or rehearsal.lost_lines > 0 or each.needed != (),
        open_,
        each.place,
        each.lines,
        option.risk_points,
        _FINENESS[option.type],
    )
