"""Risk: points from 0 to 10 by a table, so that anyone can say why an option is LOW or HIGH.

| factor | points |
|---|---|
| lines_changed | over 50: 1, over 300: 2, over 1,500: 3 |
| commits_taken_back | 2 or more: 1, over 3: 2, over 10: 3 |
| lost_lines (wanted lines that would go) | 1 or more: 6, over 20: 7, over 100: 8 |
| lost_commits (wanted commits that would go) | 1 or more: 9 |
| needed (things that would go though later work names them) | 1 or more: 3, over 3: 4 |
| dependents (later commits that touch the same files) | 1 or more: 1, 3 or more: 2, 10 or more: 3 |
| others_files (of those, files that other agents changed) | 1 or more: 1, 5 or more: 2 |
| database | goes back in step: 2, unknown: 2, no way back: 3, goes back and what was written since is lost: 6 |
| history_rewritten (the ref moves back) | 9 |
| pushed (others may have it) | yes or unknown: 1 |
| dirty_overlap (uncommitted edits stand in the way) | 6 |
| dirty_same_file (uncommitted edits in a file that changes) | 1 |
| checks_passed (in rehearsal) | but for what is flaky at the head too: 1, not run: 4, failed: 8 |
| confidence (that this is the culprit) | under 0.95: 1, under 0.8: 2, under 0.5: 3 |
| agents_stopped | 2 or more: 1, over 3: 2 |

They are added up, to 10 at most, and to 8 where neither commits, lines nor history would be lost: CRITICAL means that
something is. An option that changes no code (RESTART_ONLY) has no points for pushed, checks_passed and confidence.
0-2 LOW, 3-5 MEDIUM, 6-8 HIGH, 9-10 CRITICAL. More of anything is never less risk.

So a confirmed commit taken back alone, with passing checks, nothing lost and nothing built on it, is LOW (MEDIUM from
1,500 lines on); on evidence alone, without a check to run, it is HIGH.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..model import RiskFactor, RiskLevel

MOST = 10
MOST_WITHOUT_LOSS = 8

Effect = Literal["none", "same", "goes_back", "unknown", "no_way_back", "loses_writes"]
"""What happens to the database; *none*: there is none, *same*: it stays as it is and fits, *loses_writes*: it goes back
as a whole, and what anybody wrote since goes with it."""


@dataclass(frozen=True, slots=True)
class RiskFacts:
    """What is known of an option; ``None`` where it is not."""

    lines_changed: int
    """Added plus deleted, against the branch as it is."""
    lost_lines: int
    lost_commits: int
    needed: int
    """What of the targets later work names: by names only, for the checks may pass without it."""
    dependents: int
    others_files: int
    database: Effect
    history_rewritten: bool
    pushed: bool | None
    dirty_overlap: bool
    dirty_same_file: bool
    checks_passed: bool | Literal["flaky"] | None
    """In rehearsal, on the exact tree; ``None``: none was run, or none has a verdict; *flaky*: all but for tests that
    are flaky without the change as well (`rollcage.core.plan.proof`)."""
    confidence: float
    agents_stopped: int
    commits_taken_back: int

    @property
    def changes_code(self) -> bool:
        """Whether the branch would get other content."""
        counts = (self.lines_changed, self.commits_taken_back, self.lost_lines, self.lost_commits)
        return any(counts) or self.history_rewritten

    @property
    def loses(self) -> bool:
        """Whether work that nobody blamed would go."""
        return bool(self.lost_lines or self.lost_commits or self.history_rewritten)


_COUNTS: dict[str, tuple[tuple[int, int], ...]] = {
    "lines_changed": ((50, 1), (300, 2), (1_500, 3)),
    "commits_taken_back": ((1, 1), (3, 2), (10, 3)),
    "lost_lines": ((0, 6), (20, 7), (100, 8)),
    "lost_commits": ((0, 9),),
    "needed": ((0, 3), (3, 4)),
    "dependents": ((0, 1), (2, 2), (9, 3)),
    "others_files": ((0, 1), (4, 2)),
    "agents_stopped": ((1, 1), (3, 2)),
}
"""Each count with what it must be over for how many points."""
_DATABASE: dict[Effect, int] = {"none": 0, "same": 0, "goes_back": 2, "unknown": 2, "no_way_back": 3, "loses_writes": 6}
_CHECKS: dict[bool | Literal["flaky"] | None, tuple[str, int]] = {
    True: ("yes", 0),
    "flaky": ("but for what is flaky at the head too", 1),
    None: ("not run", 4),
    False: ("no", 8),
}
_WHY = {
    "lines_changed": "more changes at once are harder to judge",
    "commits_taken_back": "more commits go than one",
    "lost_lines": "wanted lines would go",
    "lost_commits": "wanted commits would go",
    "needed": "later work names what would go",
    "dependents": "later commits build on the same files",
    "others_files": "other agents changed the same files since",
    "agents_stopped": "more agents stop than one",
    "database": "data and code must fit together afterwards",
    "history_rewritten": "the branch moves back: whoever has the old commits is left behind",
    "pushed": "others may have it already",
    "dirty_overlap": "uncommitted edits stand in the way",
    "dirty_same_file": "a file that changes has uncommitted edits",
    "checks_passed": "nothing shows that it works afterwards",
    "confidence": "it may not be the culprit",
}


def assess(facts: RiskFacts) -> tuple[int, RiskLevel, tuple[RiskFactor, ...]]:
    """Return the points, the level, and the factors that count (the heaviest first), by the table above."""
    points: dict[str, tuple[str, int]] = {}
    for name, steps in _COUNTS.items():
        count: int = getattr(facts, name)
        points[name] = (f"{count:,}", max((worth for over, worth in steps if count > over), default=0))
    points["database"] = (facts.database.replace("_", " "), _DATABASE[facts.database])
    points["history_rewritten"] = ("yes", 9 * facts.history_rewritten)
    points["dirty_overlap"] = ("yes", 6 * facts.dirty_overlap)
    points["dirty_same_file"] = ("yes", 1 * facts.dirty_same_file)
    if facts.changes_code:
        points["pushed"] = ("unknown" if facts.pushed is None else "yes", 1 * (facts.pushed is not False))
        points["checks_passed"] = _CHECKS[facts.checks_passed]
        doubt = sum(not facts.confidence >= edge for edge in (0.95, 0.8, 0.5))
        points["confidence"] = (f"{facts.confidence:.2f}", doubt)
    factors = [RiskFactor(name, value, worth, _WHY[name]) for name, (value, worth) in points.items() if worth]
    factors.sort(key=lambda factor: -factor.points)
    total = min(sum(factor.points for factor in factors), MOST if facts.loses else MOST_WITHOUT_LOSS)
    return total, level(total), tuple(factors)


def level(points: int) -> RiskLevel:
    """Return the level of 0 to 10 points."""
    if points <= 2:
        return RiskLevel.LOW
    if points <= 5:
        return RiskLevel.MEDIUM
    return RiskLevel.HIGH if points <= 8 else RiskLevel.CRITICAL
