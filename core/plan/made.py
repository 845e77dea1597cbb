"""What came of making the tree of an option: the tree, or why there is none, and what goes with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Made:
    """A tree, or why there is none."""

    tree: str | None
    """None: it cannot be done, or it would change nothing."""
    targets: tuple[str, ...]
    """The newest first, as far as they are in the history."""
    conflicts: tuple[str, ...] = ()
    """One line for each thing that keeps it from being done; with a tree: what is left out of it."""
    reason: str = ""
    """Why there is no tree: a code of `rollcage.core.gitrepo.rehearse.Reversal`; empty: there is one, or as said."""
    ways: Mapping[str, str] | None = None
    """By merge among the targets, the parent that it goes back to."""
    lost_lines: int = 0
    lost_commits: tuple[str, ...] = ()
    """Commits that no target is and that go along."""
    keeps: tuple[str, ...] = ()
    goal: str = ""
    """BRANCH_RESET: the last good commit."""
    parts: tuple[str, ...] = ()
