"""Runs the failing checks on commits for the search, counts what was really run, and knows when the time is up.

A `Fault` is what is searched for: a check, and of its tests those that fail by this fault. A failure of other tests is
none of it, so that a search never drifts from one fault to another. A test that is not there yet, in a run that passes,
does not fail; but whoever is blamed because of that, and of nothing else, may only have brought the test: see
`Follower.unseen`.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

from ..checks.attempt import UNSEEN
from ..clock import Clock
from ..config import CheckSettings
from ..gitrepo.finely import rehearse_finely
from ..gitrepo.rehearse import rehearse_series
from ..model import CheckOutcome
from ..services import Services
from .confidence import flake_rate

_WORTH_S = 5.0
"""A check that takes longer than this is run on a commit that may be asked next, where a core is idle."""

TreeOf = Callable[[str], str | None]
"""Returns the tree to run a check on for a commit; ``None``: there is none."""


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


@dataclass(frozen=True, slots=True)
class Fault:
    """What is searched for."""

    check: CheckSettings
    tests: frozenset[str] = frozenset()
    """The tests that fail by it; none: the check tells of none, and any failure of it counts."""
    followed: frozenset[str] = frozenset()
    """All tests of the check that are followed, this fault's and others': one run tells about each."""
    without: tuple[str, ...] = ()
    """Commits that did other faults, and are taken back in each tree that is run."""


class Prober:
    """Runs checks, also ahead of time, and counts. Close it: what still runs then is stopped."""

    def __init__(self, services: Services, stop: threading.Event) -> None:
        """Take what says that the time is up."""
        self._services, self._stop = services, stop
        self._counting = threading.Lock()
        self._trees: dict[tuple[str, tuple[str, ...]], str | None] = {}
        self._ahead: dict[tuple[str, str, frozenset[str]], tuple[Future[CheckOutcome], _Unwanted]] = {}
        self._executor: ThreadPoolExecutor | None = None
        self._durations: dict[str, float] = {}
        self.runs = 0
        """How often a check's command was run. What was known already costs nothing and does not count."""
        self.mixed: Counter[str] = Counter()
        """How often a check failed and passed on one tree, by its name."""
        self._judged: Counter[str] = Counter()

    def close(self) -> None:
        """Stop what runs ahead of time; waits until it has ended."""
        self._drop(())
        if self._executor is not None:
            self._executor.shutdown(wait=True)

    def flakiness(self) -> tuple[int, int]:
        """Return how many outcomes contradicted each other, and of how many."""
        with self._counting:
            return self.mixed.total(), self._judged.total()

    def flake_rate(self) -> float:
        """Return how likely the next answer is wrong, by what was seen so far."""
        return flake_rate(*self.flakiness())

    # -- trees

    def know_trees(self, trees: Mapping[str, str]) -> None:
        """Take the trees of many commits, so that each need not be asked for."""
        self._trees |= {(sha, ()): tree for sha, tree in trees.items()}

    def tree(self, sha: str, without: Sequence[str] = (), ways: Mapping[str, str] | None = None) -> str | None:
        """Return the tree of ``sha`` with its ancestors ``without`` taken back, by words too; ``None``: that conflicts.

        ``ways`` names the parents that merges go back to. Raises GitError.
        """
        key = (sha, tuple(without))
        if key not in self._trees:
            if without:
                mirror, parents = self._services.mirror, ways or {}
                plain = rehearse_series(mirror, sha, list(without), parents=parents)
                conflicts = plain.tree is None and plain.reason == "conflict"
                done = rehearse_finely(mirror, sha, list(without), parents=parents) if conflicts else plain
                self._trees[key] = done.tree
            else:
                self._trees[key] = self._services.repository.tree(sha)
        return self._trees[key]

    # -- runs

    def run(
        self,
        sha: str,
        tree: str,
        check: CheckSettings,
        only: frozenset[str] = frozenset(),
        *,
        fresh: bool = False,
        once: bool = True,
    ) -> CheckOutcome:
        """Return the outcome of one check on one tree, following the tests ``only``; from the cache unless ``fresh``.

        ``sha`` is the commit that has just this tree, or empty. A failure is not tried again unless ``once`` is False:
        a search doubts each answer anyway. Raises GitError, StoreError.
        """
        begun = None if fresh else self._ahead.pop((tree, check.name, only), None)
        if begun is not None:
            outcome = begun[0].result()
            if not begun[1].is_set() or self._stop.is_set():
                return outcome
        known = None if fresh else self.cached(tree, check, only)
        if known is not None:
            self._durations.setdefault(check.name, known.duration_s / max(known.runs, 1))
        return known or self._really(sha, tree, check, only, self._stop, once=once)

    def cached(self, tree: str, check: CheckSettings, only: frozenset[str]) -> CheckOutcome | None:
        """Return what is known without a run."""
        return self._services.checks.cached(tree, check, sorted(only), once=True)

    def is_worth_while(self, check: CheckSettings) -> bool:
        """Return whether it pays to run a check on commits that may not be asked about: it is a long one."""
        cores = self._services.settings.limits.parallel_checks
        return cores > 1 and self._durations.get(check.name, 0.0) >= _WORTH_S

    def begin(self, wanted: Iterator[tuple[str, str]], check: CheckSettings, only: frozenset[str]) -> None:
        """Begin runs on the first of ``wanted`` (commit, tree), as many as there are cores.

        What was begun before and is not among them is stopped.
        """
        cores = self._services.settings.limits.parallel_checks
        keys = {(tree, check.name, only): sha for sha, tree in islice(wanted, cores)}
        self._drop(keys)
        self._executor = self._executor or ThreadPoolExecutor(cores, thread_name_prefix="ahead")
        for key, sha in keys.items():
            if key not in self._ahead and self.cached(key[0], check, only) is None:
                unwanted = _Unwanted(self._stop)
                future = self._executor.submit(self._really, sha, key[0], check, only, unwanted)
                self._ahead[key] = (future, unwanted)

    def _drop(self, keys: Container[tuple[str, str, frozenset[str]]]) -> None:
        for key in [key for key in self._ahead if key not in keys]:
            _, unwanted = self._ahead.pop(key)
            unwanted.set()

    def _really(
        self,
        sha: str,
        tree: str,
        check: CheckSettings,
        only: frozenset[str],
        stop: threading.Event,
        *,
        once: bool = True,
    ) -> CheckOutcome:
        outcome = self._services.checks.run(sha, tree, check, fresh=True, stop=stop, only=sorted(only), once=once)
        with self._counting:
            self.runs += outcome.runs
            self._judged[check.name] += 1
            self.mixed[check.name] += is_flaky(outcome)
            self._durations[check.name] = outcome.duration_s / max(outcome.runs, 1)
        return outcome

    def quickest_first(self, checks: Iterable[CheckSettings]) -> list[CheckSettings]:
        """Return the checks in the order in which they are best searched with: a quick one finds the place for all."""
        return sorted(checks, key=lambda check: self._durations.get(check.name, 0.0))

    def contradicted(self, check: CheckSettings) -> None:
        """Count a run that said otherwise than one on the same tree before."""
        with self._counting:
            self.mixed[check.name] += 1


class Follower:
    """Answers `rollcage.core.diagnose.search` for one fault; where a run tells it apart in two, it goes on with one."""

    def __init__(self, prober: Prober, fault: Fault, tree_of: TreeOf) -> None:
        """Take what gives the tree of a commit without the other faults."""
        self._prober, self._tree_of = prober, tree_of
        self.fault = fault
        self.left: set[str] = set()
        """Tests that turned out to fail by another fault: they still are to be searched for."""
        self.seen: set[str] = set()
        """Commits that pass with at least one of the tests in the run."""
        self.unseen: set[str] = set()
        """Commits that pass without any of them."""
        self._answers: dict[str, bool] = {}

    def __call__(self, sha: str, fresh: bool = False) -> bool | None:
        """Return whether ``sha`` passes; ``None``: cannot tell (flaky, does not build, conflicts, stopped)."""
        tree = self._tree_of(sha)
        passes = None if tree is None else self._answer(sha, tree, fresh)
        if passes is not None and self._answers.setdefault(sha, passes) is not passes:
            self._prober.contradicted(self.fault.check)
        return passes

    def passed(self, sha: str) -> bool:
        """Return whether ``sha`` was seen to pass."""
        return self._answers.get(sha) is True

    def _answer(self, sha: str, tree: str, fresh: bool) -> bool | None:
        fault = self.fault
        # Of a fresh run only this fault's tests count: another one's say nothing about whether these were run at all.
        only = fault.tests if fresh else fault.followed
        outcome = self._prober.run(self._commit(sha, tree), tree, fault.check, only, fresh=fresh)
        if fresh and outcome.passed and fault.tests:
            (self.unseen if outcome.detail.startswith(UNSEEN) else self.seen).add(sha)
        if outcome.passed is not False or not fault.tests:
            return outcome.passed
        hit = fault.tests.intersection(outcome.failing)
        if not hit:
            return True
        self.left |= fault.tests - hit
        self.fault = replace(fault, tests=hit)
        return False

    def known(self, shas: Iterable[str]) -> dict[str, bool]:
        """Return which of ``shas`` pass or fail by what is cached; what differs between its tests is left out."""
        fault, found = self.fault, {}
        for sha in shas:
            tree = self._prober.tree(sha)
            cached = tree and self._prober.cached(tree, fault.check, fault.followed)
            if not cached or cached.passed is None:
                continue
            hit = fault.tests.intersection(cached.failing)
            if cached.passed or not fault.tests or hit in (fault.tests, frozenset()):
                found[sha] = cached.passed or bool(fault.tests and not hit)
        return found

    def begin(self, shas: Iterator[str]) -> None:
        """Begin runs that are likely wanted next, the one that is wanted for sure first, if the check is a long one."""
        if self._prober.is_worth_while(self.fault.check):
            trees = ((sha, self._tree_of(sha)) for sha in shas)
            known = ((self._commit(sha, tree), tree) for sha, tree in trees if tree)
            self._prober.begin(known, self.fault.check, self.fault.followed)

    def _commit(self, sha: str, tree: str) -> str:
        """Return ``sha`` if that is what ``tree`` is of; a tree with something taken back has no commit."""
        return sha if self._prober.tree(sha) == tree else ""


class _Unwanted(threading.Event):
    """Set once a run that was begun ahead of time is not wanted any more, or the time is up."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__()
        self._time_is_up = stop

    def is_set(self) -> bool:
        return super().is_set() or self._time_is_up.is_set()


def is_flaky(outcome: CheckOutcome) -> bool:
    """Return whether a check failed and passed on one tree."""
    return outcome.passed is None and outcome.detail.startswith("flaky")
