"""Runs the failing checks on commits for the search, counts what was really run, and knows when the time is up."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from ..clock import Clock
from ..config import CheckSettings
from ..model import CheckOutcome
from ..services import Services


class TimeLimit(threading.Event):
    """Set once another event is set, or its time is over. Who runs checks looks at it again and again; none waits."""

    def __init__(self, clock: Clock, seconds: float, stop: threading.Event) -> None:
        """Let the time begin now."""
        super().__init__()
        self._clock, self._deadline, self._stop = clock, clock.boot() + seconds, stop

    def is_set(self) -> bool:
        """Return whether it is time to stop."""
        return self._stop.is_set() or self.is_over

    @property
    def is_over(self) -> bool:
        """Whether the time is over, whatever the other event says."""
        return self._clock.boot() >= self._deadline


class Prober:
    """Runs checks on commits and remembers what was seen; `rollcage.core.diagnose.search` asks it."""

    def __init__(self, services: Services, failing: Sequence[CheckSettings], stop: threading.Event) -> None:
        """Take the checks that fail."""
        self._services, self._failing, self._stop = services, failing, stop
        self._checks = services.checks.counted_anew()
        self._tests: Mapping[str, tuple[str, ...]] = {}
        self._trees: dict[str, str] = {}
        self.search_runs = self.confirm_runs = 0
        """How often a check's command was run. What was known already costs nothing and does not count."""

    def follow(self, head: str) -> None:
        """Learn which tests fail at ``head``: only they are followed, so that no other fault is blamed."""
        self._tests = {check.name: self.outcome(head, check).failing for check in self._failing}

    def outcome(self, sha: str, check: CheckSettings, *, fresh: bool = False) -> CheckOutcome:
        """Run one check on one commit, following the failing tests that are known; cached by tree unless ``fresh``."""
        tree = self._trees.get(sha) or self._services.repository.tree(sha)
        self._trees[sha] = tree
        only = sorted(self._tests.get(check.name, ()))
        before = self._checks.runs
        outcome = self._checks.run(sha, tree, check, fresh=fresh, stop=self._stop, only=only)
        if fresh:
            self.confirm_runs += self._checks.runs - before
        else:
            self.search_runs += self._checks.runs - before
        return outcome

    def __call__(self, sha: str, fresh: bool = False) -> bool | None:
        """Return whether ``sha`` passes; ``None``: cannot tell (flaky, does not build, stopped)."""
        verdict: bool | None = True
        for check in self._failing:
            passed = self.outcome(sha, check, fresh=fresh).passed
            if passed is False:
                return False
            verdict = None if passed is None else verdict
        return verdict
