"""The culprit found by running checks: a good commit to start from, the search among all that came since, confirmation.

Pure but for the probe that it is given. Where to ask is decided by `rollcage.core.diagnose.posterior`. The candidates
are a graph, not only first parents: a culprit within a merge is found itself; a merge whose parents pass and which
fails is the culprit itself; and where the commits that a merge brought cannot be tested one by one, but it fails and
what the branch was before it passes, the merge stands for them. A commit that cannot be tested is stepped away from, as
``git bisect skip`` does. Whatever the search believed, nobody is blamed whose parents were not seen to pass again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil, log
from typing import Protocol

from .ancestry import ancestry, bits
from .posterior import FLAKE_RATE, Posterior

_SPARE = 2
"""Probes that following the evidence may cost beyond plain bisection."""
_NEIGHBOURS = 4
"""How many commits beside the oldest one are tried where that one cannot be tested."""
_FLAKES = 3
"""Contradictions between two runs on one commit after which the search gives up: such a check tells nothing."""

_WRONG = 0.001
_MOST_REPEATS = 6


class Probe(Protocol):
    """Runs the failing checks on a commit."""

    def __call__(self, sha: str, fresh: bool = False) -> bool | None:
        """Return whether ``sha`` passes; ``None``: cannot tell (flaky, does not build). ``fresh``: not from a cache."""
        ...


@dataclass(frozen=True, slots=True)
class Terrain:
    """What lies between the head and a good commit."""

    parents: Mapping[str, Sequence[str]]
    """The candidates, newest first, each with all its parents."""
    priors: Mapping[str, float] = field(default_factory=dict)
    """How likely each is by evidence; any weights."""
    known: Mapping[str, bool] = field(default_factory=dict)
    """Which pass and which fail, as far as that is known without a run."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What the search came to. ``culprits`` is what may be acted on; all else is for people."""

    confirmed: bool
    """The culprit fails and its parents pass, all seen afresh."""
    culprits: tuple[str, ...]
    """The confirmed culprit, or nothing."""
    candidates: tuple[str, ...]
    """What is left under suspicion, newest first; more than one: those between cannot be tested."""
    last_good: str | None
    """The newest commit on the branch's own way that has none of the candidates."""
    search_runs: int
    confirm_runs: int
    reasons: tuple[str, ...]
    """Why there is no confirmed culprit; empty where there is one."""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    """Of all that were candidates, given what was seen."""
    contradicted: bool = False
    """A commit failed and passed, so that nothing can be said for sure."""
    repeats: int = 0
    """How often the culprit failed and each parent passed afresh; 0: there is none."""


def search(
    history: Sequence[str],
    probe: Probe,
    *,
    last_good: str | None = None,
    priors: Mapping[str, float] | None = None,
    terrain: Callable[[str], Terrain] | None = None,
    lookback: int = 200,
    repeats: int = 2,
    progress: Callable[[str], None] = lambda text: None,
    stop: Callable[[], bool] = lambda: False,
    ahead: Callable[[Iterator[str]], None] | None = None,
    runs: Callable[[], int] | None = None,
    flake_rate: Callable[[], float] = lambda: FLAKE_RATE,
) -> SearchResult:
    """Find the commit that made the checks fail at the head of ``history``, the way of the branch, newest first.

    Without a ``last_good`` that passes it looks back in doubling steps, at most ``lookback`` commits. ``terrain``
    tells what lies between the head and a commit that passes; without it that is the part of ``history`` with
    ``priors``. The culprit is confirmed by ``repeats`` fresh runs on it and on its parents, more of them where answers
    were flaky. What the search itself saw is not among them: that is why it is suspected. ``progress`` gets a line
    before each run; once ``stop`` says so, no further run is begun and the result is what is known by then. ``ahead``
    is told before a run which ones are likely the next, the likeliest first. ``runs`` tells how often a command was run
    so far, for the counts; without it questions are counted. A run on a suspect's parent that refutes the suspicion
    counts as search.
    """
    chain = {sha: tuple(history[at + 1 : at + 2]) for at, sha in enumerate(history)}

    def between(good: str) -> Terrain:
        until = history.index(good) if good in chain else len(history)
        return Terrain({sha: chain[sha] for sha in history[:until]}, priors or {})

    hunt = _Search(history, probe, terrain or between, repeats, progress, stop, ahead, runs, flake_rate)
    return hunt.run(last_good, lookback)


@dataclass(frozen=True, slots=True)
class _Contradiction:
    """What spoke against a suspect when it was to be confirmed."""

    sha: str
    passes: bool | None
    why: str


class _Search:
    def __init__(
        self,
        history: Sequence[str],
        probe: Probe,
        terrain: Callable[[str], Terrain],
        repeats: int,
        progress: Callable[[str], None],
        stop: Callable[[], bool],
        ahead: Callable[[Iterator[str]], None] | None,
        runs: Callable[[], int] | None,
        flake_rate: Callable[[], float],
    ) -> None:
        self._history, self._probe, self._terrain, self._repeats = history, probe, terrain, repeats
        self._progress, self._stop, self._ahead, self._flake_rate = progress, stop, ahead, flake_rate
        self._asked = 0
        self._runs = runs or (lambda: self._asked)
        self._began = self._runs()
        self._confirm_runs = 0
        self._known: dict[str, bool | None] = {}
        self._afresh = Counter[str]()
        self._graph = ancestry({})
        self._posterior = Posterior(self._graph, {})
        self._good: str | None = None
        self._confirmed_by = 0
        self._flaky = False

    def run(self, last_good: str | None, lookback: int) -> SearchResult:
        if not self._history:
            return self._end("there are no commits to search")
        head = self._ask(self._history[0], "is the head failing?")
        if head is not False:
            return self._end("the checks pass at the head" if head else "the checks cannot tell at the head")
        limit = min(lookback, len(self._history) - 1)
        self._good, bad = self._look_back(last_good, limit)
        if self._good is None:
            return self._end(self._why_no_good(bad, limit, lookback))
        found = self._terrain(self._good)
        self._graph = ancestry(found.parents)
        self._posterior = Posterior(self._graph, found.priors, self._flake_rate)
        for sha, passes in {**found.known, **self._known}.items():
            self._note(sha, passes)
        return self._hunt()

    def _ask(self, sha: str, what: str) -> bool | None:
        if sha not in self._known:
            if self._stop():
                return None
            self._progress(what)
            self._asked += 1
            self._note(sha, self._probe(sha))
        return self._known[sha]

    def _note(self, sha: str, passes: bool | None) -> None:
        self._known[sha] = passes
        if sha in self._graph.position:
            self._posterior.saw(self._graph.position[sha], passes)

    # -- a commit that passes

    def _look_back(self, last_good: str | None, limit: int) -> tuple[str | None, int]:
        """Return a commit that passes, and the position of the oldest one that was seen to fail."""
        bad = 0
        if last_good is not None:
            passes = self._ask(last_good, f"does {last_good[:12]} still pass?")
            if passes:
                return last_good, bad
            if passes is False and last_good in self._history:
                bad = self._history.index(last_good)
        start, step = bad, 1
        while start < limit and not self._stop():
            at = min(start + step, limit)
            passes = self._back(at)
            if passes:
                return self._history[at], bad
            bad = max(bad, at) if passes is False else bad
            if at == limit:
                break
            step *= 2
        if self._known.get(self._history[limit]) is None:
            for at in range(limit - 1, max(bad, limit - 1 - _NEIGHBOURS), -1):
                passes = self._back(at)
                if passes:
                    return self._history[at], bad
                if passes is False:
                    return None, at
        return None, bad

    def _back(self, at: int) -> bool | None:
        return self._ask(self._history[at], f"looking for a commit that passes: {at} back")

    def _why_no_good(self, bad: int, limit: int, lookback: int) -> str:
        if self._stop():
            return "stopped before a commit was found that passes"
        how_far = f"in the last {lookback} commits" if limit == lookback else "in the whole history"
        seen = "" if bad else "; beyond the head none could be tested"
        return f"no commit that passes was found {how_far}{seen}"

    # -- the one that fails first

    def _hunt(self) -> SearchResult:
        budget = (self._posterior.live.bit_count() - 1).bit_length() + _SPARE
        skipped, doubts = 0, list[str]()
        while not self._stop() and len(doubts) < _FLAKES:
            live = self._posterior.live
            at = self._choose(budget, skipped)
            suspect = live.bit_length() - 1 if live.bit_count() == 1 else self._nearly_sure(live, at)
            if suspect is not None:
                if any(self._known.get(sha, True) is None for sha in self._family(suspect)):
                    break
                refuted = self._confirm(suspect, self._graph.parents[suspect])
                if refuted is None:
                    return self._end("", 1 << suspect)
                if self._is_new(refuted.sha):  # it was a question like others
                    self._note(refuted.sha, refuted.passes)
                    budget, skipped = (budget, skipped + 1) if refuted.passes is None else (budget - 1, 0)
                    continue
                doubts.append(refuted.why)
                self._flaky |= refuted.passes is not None
                if refuted.sha not in self._graph.position or refuted.passes is self._known[refuted.sha]:
                    break  # what the search stands on does not hold
                self._note(refuted.sha, None)
            elif at is None:
                break
            else:
                left = live.bit_count()
                sha = self._graph.shas[at]
                if self._ahead:
                    self._ahead(self._from(at, budget))
                what = f"searching: {left} commits left, about {(left - 1).bit_length()} check runs"
                passes = self._ask(sha, what)
                budget, skipped = (budget, skipped + 1) if passes is None else (budget - 1, 0)
        return self._unsure(doubts)

    def _family(self, suspect: int) -> tuple[str, ...]:
        return self._graph.shas[suspect], *self._graph.parents[suspect]

    def _choose(self, budget: int, skipped: int) -> int | None:
        """Return where to ask next. After commits that cannot be tested 1/4, 3/4, 1/8, ... to get away from them.

        Those beside one and between two of them likely cannot be tested either: they are asked when nothing else tells.
        """
        shas, known = self._graph.shas, self._known
        free = [at for at, sha in enumerate(shas) if sha not in known]
        wanted = 1 - _halves(skipped + 1)
        asked = [at for at, sha in enumerate(shas) if sha in known]
        near = {beside for at in asked if known[shas[at]] is None for beside in (at - 1, at + 1)}
        for newer, older in pairwise(asked):
            if known[shas[newer]] is None and known[shas[older]] is None:
                near.update(range(newer, older))
        far = [at for at in free if at not in near] if near else []
        at = self._posterior.choose(far, budget, wanted) if far else None
        return self._posterior.choose(free, budget, wanted) if at is None else at

    def _from(self, at: int, budget: int) -> Iterator[str]:
        """Yield what is asked now, then what would be asked behind each of its answers, behind the likelier first."""
        sha = self._graph.shas[at]
        yield sha
        fails = self._posterior.fails(at)
        then = set[str]()
        for passes in sorted((False, True), key=lambda passes: fails if passes else 1 - fails):
            self._note(sha, passes)
            after = self._choose(budget - 1, 0)
            self._note(sha, None)
            del self._known[sha]
            if after is not None and self._graph.shas[after] not in then:
                then.add(self._graph.shas[after])
                yield self._graph.shas[after]

    def _nearly_sure(self, live: int, at: int | None) -> int | None:
        """Return the one suspect left if the commit at ``at`` passes: asking there is the first run to confirm it."""
        if at is None:
            return None
        rest = live & ~self._graph.upto[at]
        suspect = rest.bit_length() - 1
        if rest.bit_count() != 1 or self._known.get(self._graph.shas[suspect]) is not False:
            return None
        return suspect if self._graph.shas[at] in self._graph.parents[suspect] else None

    def _is_new(self, sha: str) -> bool:
        return sha in self._graph.position and sha not in self._known

    def _unsure(self, doubts: Sequence[str]) -> SearchResult:
        live = self._posterior.live
        if self._stop():
            waited = "the suspect was confirmed" if live.bit_count() == 1 else "the search was done"
            return self._end(f"stopped before {waited}", live)
        if doubts:
            return self._end(doubts[-1], live)
        merge = self._whole_merge(live)
        if merge is not None:
            return self._end("", 1 << merge)
        if self._stop():
            return self._end("stopped before the suspect was confirmed", live)
        if live.bit_count() == 1:
            return self._end(
                f"{self._graph.shas[live.bit_length() - 1][:12]} remains, but its parent cannot be tested", live
            )
        why = "those between the last that passes and the first that fails cannot be tested"
        return self._end(f"{live.bit_count()} commits remain: {why}", live)

    def _whole_merge(self, live: int) -> int | None:
        """Return the merge that brought all that is left, if it fails and what the branch was before passes."""
        position = self._graph.position
        way = [sha for sha in self._history if sha in position and not live & ~self._graph.upto[position[sha]]]
        merge = position[way[-1]] if way else None
        before = self._history[len(way)] if way and len(way) < len(self._history) else None
        if merge is None or before is None or len(self._graph.parents[merge]) < 2:
            return None
        if before not in self._graph.parents[merge]:
            return None
        if before in position and live & self._graph.upto[position[before]]:
            return None
        told = f"searching: does {before[:12]} pass, from before the merge?"
        if self._ask(way[-1], f"searching: does the merge {way[-1][:12]} fail?") is not False:
            return None
        if before != self._good and self._ask(before, told) is not True:
            return None
        return merge if self._confirm(merge, (before,)) is None else None

    # -- confirmation

    def _confirm(self, suspect: int, parents: Sequence[str]) -> _Contradiction | None:
        """Return what speaks against the suspect; ``None``: it failed and its parents passed, each time afresh."""
        began = self._runs()
        refuted = self._tried_again(self._graph.shas[suspect], parents)
        if refuted is None:
            self._confirm_runs += self._runs() - began
        return refuted

    def _tried_again(self, suspect: str, parents: Sequence[str]) -> _Contradiction | None:
        if not parents:
            return _Contradiction(suspect, None, f"the suspect {suspect[:12]} has no parent to compare it with")
        roles = [*((parent, True, "parent") for parent in parents), (suspect, False, "suspect")]
        repeats = self._how_often()
        for number in range(1, repeats + 1):
            for sha, wanted, name in roles:
                if self._afresh[sha] >= number:
                    continue  # by a run that refuted another suspect
                if self._stop():
                    return _Contradiction("", None, "stopped before the suspect was confirmed")
                self._progress(f"confirming {suspect[:12]}: {name}, run {number} of {repeats}")
                self._asked += 1
                passes = self._probe(sha, fresh=True)
                self._afresh[sha] += 1
                if passes is wanted and self._known.get(sha) is not (not wanted):  # else it said both
                    self._note(sha, passes)
                elif passes is None:
                    why = f"the {name} {sha[:12]} could not be judged when it was run again"
                    return _Contradiction(sha, None, why)
                elif self._known.get(sha) is passes:
                    return _Contradiction(sha, passes, f"the {name} {sha[:12]} fails too, though a descendant passes")
                else:
                    did = "passed" if passes else "failed"
                    return _Contradiction(sha, passes, f"the {name} {sha[:12]} {did} when it was run again: flaky")
        self._confirmed_by = repeats
        return None

    def _how_often(self) -> int:
        """Return after how many runs in a row the same wrong answer is less likely than `_WRONG`."""
        rate = min(max(self._flake_rate(), 1e-6), 0.5)
        return min(max(self._repeats, ceil(log(_WRONG) / log(rate))), _MOST_REPEATS)

    def _end(self, problem: str, left: int = 0) -> SearchResult:
        shas = tuple(self._graph.shas[at] for at in bits(left))
        return SearchResult(
            confirmed=not problem,
            culprits=() if problem else shas,
            candidates=shas,
            last_good=self._newest_without(left) if self._good else None,
            search_runs=self._runs() - self._began - self._confirm_runs,
            confirm_runs=self._confirm_runs,
            reasons=(problem,) if problem else (),
            probabilities=dict(zip(self._graph.shas, self._posterior.probabilities(), strict=True)),
            contradicted=self._flaky,
            repeats=0 if problem else self._confirmed_by,
        )

    def _newest_without(self, candidates: int) -> str | None:
        """Return the newest commit on the branch's way that has no candidate: in it all was well."""
        position, upto = self._graph.position, self._graph.upto
        for sha in self._history:
            if sha not in position or not upto[position[sha]] & candidates:
                return sha
        return self._good


def _halves(number: int) -> float:
    """Return 1/2, 1/4, 3/4, 1/8, 5/8, ...: the van der Corput sequence in base 2, which spreads evenly."""
    value, part = 0.0, 0.5
    while number:
        value += part * (number & 1)
        number, part = number >> 1, part / 2
    return value
