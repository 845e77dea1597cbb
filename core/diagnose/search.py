"""The culprit found by running checks: a good commit to start from, bisection, and confirmation against the parent.

Pure but for the probe that it is given. It bisects as ``git bisect`` does along first parents, with two differences:
where evidence points somewhere it splits the probability in halves rather than the number of commits (the entropy
rule of noisy and weighted search: R. Nowak, Generalized binary search, 2011), as long as that cannot cost more than two
probes beyond ``ceil(log2 n)``; and a commit that cannot be tested is stepped away from instead of walked around.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

_TRUST = 0.75
"""The share of the priors in the odds; the rest is spread evenly, since evidence may be wrong."""
_SPARE = 2
"""Probes that following the evidence may cost beyond plain bisection."""
_NEIGHBOURS = 4
"""How many commits beside the oldest one are tried where that one cannot be tested."""


class Probe(Protocol):
    """Runs the failing checks on a commit."""

    def __call__(self, sha: str, fresh: bool = False) -> bool | None:
        """Return whether ``sha`` passes; ``None``: cannot tell (flaky, does not build). ``fresh``: not from a cache."""
        ...


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What the search came to. ``culprits`` is what may be acted on; all else is for people."""

    confirmed: bool
    """The culprit fails and its parent passes, both seen afresh."""
    culprits: tuple[str, ...]
    """The confirmed culprit, or nothing."""
    candidates: tuple[str, ...]
    """What is left under suspicion, newest first; more than one: those between cannot be tested."""
    last_good: str | None
    search_runs: int
    confirm_runs: int
    reasons: tuple[str, ...]
    """Why there is no confirmed culprit; empty where there is one."""


def search(
    history: Sequence[str],
    probe: Probe,
    *,
    last_good: str | None = None,
    priors: Mapping[str, float] | None = None,
    lookback: int = 200,
    repeats: int = 2,
    progress: Callable[[str], None] = lambda text: None,
    stop: Callable[[], bool] = lambda: False,
) -> SearchResult:
    """Find the commit that made the checks fail at the head of ``history``: first parents, newest first.

    Without a ``last_good`` that passes it looks back in doubling steps, at most ``lookback`` commits. The culprit is
    confirmed by ``repeats`` fresh runs on it and on its parent. ``progress`` gets a line before each run; once ``stop``
    says so, no further run is begun and the result is what is known by then.
    """
    return _Search(history, probe, priors or {}, progress, stop).run(last_good, lookback, repeats)


@dataclass(slots=True)
class _Range:
    """The culprit lies from ``bad``, the oldest known to fail, up to but without ``good``; positions count from 0."""

    bad: int
    good: int | None


class _Search:
    def __init__(
        self,
        history: Sequence[str],
        probe: Probe,
        priors: Mapping[str, float],
        progress: Callable[[str], None],
        stop: Callable[[], bool],
    ) -> None:
        self._history, self._probe, self._progress, self._stop = history, probe, progress, stop
        self._priors = priors
        self._known: dict[int, bool | None] = {}
        self._search_runs = self._confirm_runs = 0

    def run(self, last_good: str | None, lookback: int, repeats: int) -> SearchResult:
        if not self._history:
            return self._end("there are no commits to search")
        head = self._ask(0, "is the head failing?")
        if head is not False:
            return self._end("the checks pass at the head" if head else "the checks cannot tell at the head")
        found = self._look_back(last_good, min(lookback, len(self._history) - 1))
        if found.good is None:
            return self._end(self._why_no_good(found.bad, lookback), found)
        self._bisect(found)
        if self._stop():
            return self._end("stopped before the search was done", found)
        if found.good - found.bad > 1:
            return self._end(
                f"{found.good - found.bad} commits remain: those between the last that passes and the first that fails "
                "cannot be tested",
                found,
            )
        problem = self._confirm(found.bad, found.good, repeats)
        return self._end(problem, found)

    def _end(self, problem: str, found: _Range | None = None) -> SearchResult:
        good = found.good if found else None
        candidates = tuple(self._history[found.bad : good]) if found and good is not None else ()
        return SearchResult(
            confirmed=not problem,
            culprits=() if problem else candidates,
            candidates=candidates,
            last_good=None if good is None else self._history[good],
            search_runs=self._search_runs,
            confirm_runs=self._confirm_runs,
            reasons=(problem,) if problem else (),
        )

    def _ask(self, at: int, what: str) -> bool | None:
        if at not in self._known:
            if self._stop():
                return None
            self._progress(what)
            self._search_runs += 1
            self._known[at] = self._probe(self._history[at])
        return self._known[at]

    # -- a commit that passes

    def _look_back(self, last_good: str | None, limit: int) -> _Range:
        found = _Range(0, None)
        if last_good is not None and last_good in self._history:
            at = self._history.index(last_good)
            passes = self._ask(at, f"does {last_good[:12]} still pass?")
            if passes:
                return _Range(0, at)
            if passes is False:
                found.bad = at
        start, step = found.bad, 1
        while found.good is None and start < limit and not self._stop():
            at = min(start + step, limit)
            self._place(found, at, f"looking for a commit that passes: {at} back")
            if at == limit:
                break
            step *= 2
        if found.good is None and self._known.get(limit) is None:
            for at in range(limit - 1, max(found.bad, limit - 1 - _NEIGHBOURS), -1):
                self._place(found, at, f"looking for a commit that passes: {at} back")
                if self._known.get(at) is not None:
                    break
        return found

    def _place(self, found: _Range, at: int, what: str) -> None:
        passes = self._ask(at, what)
        if passes:
            found.good = at
        elif passes is False:
            found.bad = max(found.bad, at)

    def _why_no_good(self, bad: int, lookback: int) -> str:
        if self._stop():
            return "stopped before a commit was found that passes"
        whole = len(self._history) - 1 <= lookback
        how_far = "in the whole history" if whole else f"in the last {lookback} commits"
        seen = "" if bad else "; beyond the head none could be tested"
        return f"no commit that passes was found {how_far}{seen}"

    # -- the one that fails first

    def _bisect(self, found: _Range) -> None:
        assert found.good is not None
        budget = (found.good - found.bad - 1).bit_length() + _SPARE
        skipped = 0
        while (at := self._split(found, budget, skipped)) is not None and not self._stop():
            about = (found.good - found.bad - 1).bit_length()
            what = f"searching: {found.good - found.bad} commits left, about {about} check runs"
            if self._ask(at, what) is None:
                skipped += 1
                continue
            self._place(found, at, what)
            budget, skipped = budget - 1, 0

    def _split(self, found: _Range, budget: int, skipped: int) -> int | None:
        """Return where to probe next; ``None``: nothing is left that can be tested.

        Probing a position fails if the culprit is there or older. Wanted is the one that fails with probability 1/2,
        among those which keep both sides small enough for the budget; after skips 1/4, 3/4, 1/8, ... to get away.
        """
        assert found.good is not None
        free = [at for at in range(found.bad + 1, found.good) if at not in self._known]
        if not free:
            return None
        size = 2 ** max(budget - 1, 0)
        fitting = [at for at in free if max(at - found.bad, found.good - at) <= size]
        odds = self._odds(found.bad, found.good)
        newer = dict(zip(range(found.bad + 1, found.good), accumulate(odds), strict=False))
        wanted = 1 - _halves(skipped + 1)
        if not fitting:
            middle = (found.bad + found.good) / 2
            return min(free, key=lambda at: abs(at - middle))
        return min(fitting, key=lambda at: abs(newer[at] - wanted))

    def _odds(self, bad: int, good: int) -> list[float]:
        """Return the probability of each position from ``bad`` on that it is the culprit, given that one is."""
        priors = [max(self._priors.get(self._history[at], 0.0), 0.0) for at in range(bad, good)]
        total, count = sum(priors), good - bad
        if total <= 0:
            return [1 / count] * count
        return [_TRUST * prior / total + (1 - _TRUST) / count for prior in priors]

    # -- confirmation

    def _confirm(self, suspect: int, parent: int, repeats: int) -> str:
        """Return what speaks against the suspect; empty: it failed and its parent passed, each time afresh."""
        for number in range(1, repeats + 1):
            for at, wanted, name in ((suspect, False, "suspect"), (parent, True, "parent")):
                sha = self._history[at][:12]
                if self._stop():
                    return "stopped before the suspect was confirmed"
                self._progress(f"confirming {self._history[suspect][:12]}: {name}, run {number} of {repeats}")
                self._confirm_runs += 1
                passes = self._probe(self._history[at], fresh=True)
                if passes is None:
                    return f"the {name} {sha} could not be judged when it was run again"
                if passes is not wanted:
                    return f"the {name} {sha} {'passed' if passes else 'failed'} when it was run again: flaky"
        return ""


def _halves(number: int) -> float:
    """Return 1/2, 1/4, 3/4, 1/8, 5/8, ...: the van der Corput sequence in base 2, which spreads evenly."""
    value, part = 0.0, 0.5
    while number:
        value += part * (number & 1)
        number, part = number >> 1, part / 2
    return value
