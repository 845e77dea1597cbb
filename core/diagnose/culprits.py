"""The culprits of all faults: one search after the other, and a look at the branch without those that were found.

Every failing check is a fault to begin with; where its tests turn out to fail by different commits, each part is one of
its own, answered from the runs that there were. When each has its culprit, these are taken back from the head together
and the checks are run on that. What still fails goes back to a further commit, which is searched for with the culprits
taken back from each tree that is run: so is one hidden behind another. But a test that passed at the head and fails
there fails *because* they were taken back, since later work needs something of theirs: that is no fault, and nobody is
blamed for it. The same is an error that no commit had before, such as a test file that cannot be imported without
them: whether a fault is hidden behind that, the rehearsal of the plan shows, which takes back less and must pass every
check. Where a check names no tests the two cannot be told apart, and the further culprit is for a human. So is a branch
of which it was seen that it cannot be judged without the culprits. Where they cannot be taken back as whole commits,
the plan's finer parts are rehearsed instead, and must be seen to make the failing tests pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..checks.attempt import UNSEEN
from ..config import CheckSettings
from ..model import CheckOutcome
from .ancestry import Ancestry
from .probe import Fault, Follower, Prober, is_flaky
from .search import SearchResult, Terrain, search

MOST = 8
"""Culprits that are searched for; whoever has more of them goes back to the last good commit."""
REPEATS = 2
"""How often a culprit and its parents are run afresh; more often where answers were mixed."""


@dataclass(frozen=True, slots=True)
class Culprit:
    """A commit that was confirmed."""

    sha: str
    posterior: float
    checks: tuple[str, ...]
    """The checks that it makes fail."""
    same_tests: bool
    """Its failing tests were followed by name."""
    repeats: int = 0
    """How often it failed and its parents passed, each run afresh."""
    without: tuple[str, ...] = ()
    """The earlier culprits that had to be taken back to see it."""
    doubt: str = ""
    """Why it is for a human all the same; empty: there is no reason."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Where is searched."""

    head: str
    way: Sequence[str]
    """The way of the branch, newest first."""
    last_good: str | None
    terrain: Callable[[str], Terrain]
    lookback: int
    graph: Ancestry
    """A wide part of the history, to know what descends from what."""
    ways_back: Mapping[str, str]
    """The parents that merges on the way go back to."""


@dataclass(slots=True)
class Findings:
    """What all searches came to."""

    culprits: list[Culprit] = field(default_factory=list)
    """In the order in which they were found."""
    last_good: str | None = None
    reasons: list[str] = field(default_factory=list)
    """What remained open: why a human has to decide."""
    notes: list[str] = field(default_factory=list)
    """What else a human may want to know."""
    open: SearchResult | None = None
    """The first search that confirmed nobody."""
    confirm_runs: int = 0
    rehearse_runs: int = 0


class _Hunt:
    def __init__(
        self, ground: Ground, prober: Prober, progress: Callable[[str], None], stop: Callable[[], bool]
    ) -> None:
        self._ground, self._prober, self._progress, self._stop = ground, prober, progress, stop
        self._found = Findings()
        self._failing: dict[str, frozenset[str]] = {}
        self._unclear: list[str] = []

    def run(self, checks: Sequence[CheckSettings]) -> Findings:
        faults = self._at_head(checks)
        before = 0
        while faults and not self._stop():
            while faults and not self._stop() and len(self._found.culprits) < MOST:
                faults += self._follow(faults.pop(0))
            new, before = len(self._found.culprits) - before, len(self._found.culprits)
            if faults or self._found.open is not None:
                break
            if not new:
                self._found.reasons.append(f"it still fails {self._without_all()}, and nobody else is found")
                break
            faults = self._left_over(checks)
        if faults:
            many = len(self._found.culprits) >= MOST
            why = f"there are more than {MOST} culprits" if many else "not every failure was followed to its culprit"
            self._found.reasons.append(why)
        self._found.reasons += self._unclear  # such as "tests: flaky: failed 2 of 3 runs"
        return self._found

    def _at_head(self, checks: Sequence[CheckSettings]) -> list[Fault]:
        """Return what fails at the head; a check that does not is no fault, unless none does."""
        outcomes = {check.name: self._look(self._ground.head, (), check) for check in checks}
        self._failing = {name: frozenset(outcome.failing) for name, outcome in outcomes.items() if outcome}
        self._unclear = [
            f"{name}: {outcome.detail.partition(chr(10))[0]}"
            for name, outcome in outcomes.items()
            if outcome is not None and outcome.passed is None and outcome.detail
        ]
        failing = [check for check in checks if (seen := outcomes[check.name]) is None or seen.passed is not True]
        return [
            Fault(check, self._failing.get(check.name, frozenset()), self._failing.get(check.name, frozenset()))
            for check in self._prober.quickest_first(failing or checks[:1])
        ]

    def _look(self, sha: str, without: Sequence[str], check: CheckSettings) -> CheckOutcome | None:
        tree = self._tree(sha, without)
        return None if tree is None else self._prober.run("" if without else sha, tree, check)

    def _tree(self, sha: str, without: Sequence[str]) -> str | None:
        graph = self._ground.graph
        at = graph.position.get(sha)
        has = [one for one in without if at is not None and graph.upto[at] >> graph.position[one] & 1]
        return self._prober.tree(sha, has, self._ground.ways_back)

    # -- one fault

    def _follow(self, fault: Fault) -> list[Fault]:
        """Search for who did ``fault``; return what of it turned out to be another one."""
        follower = Follower(self._prober, fault, lambda sha: self._tree(sha, fault.without))
        result = search(
            self._ground.way,
            follower,
            last_good=self._ground.last_good,
            terrain=lambda good: self._terrain(good, follower),
            lookback=self._ground.lookback,
            repeats=REPEATS,
            progress=self._progress,
            stop=self._stop,
            ahead=follower.begin,
            runs=lambda: self._prober.runs,
            flake_rate=self._prober.flake_rate,
        )
        self._found.confirm_runs += result.confirm_runs
        if result.last_good is not None:
            self._found.last_good = self._older(self._found.last_good, result.last_good)
        if result.confirmed:
            self._add(follower, result)
        else:
            self._found.open = self._found.open or result
            self._found.reasons += self._told(fault, result.reasons)
        left = frozenset(follower.left)
        return [replace(fault, tests=left)] if left else []

    def _terrain(self, good: str, follower: Follower) -> Terrain:
        """Return the terrain with what is known by now: who is guilty already may well have done this too."""
        terrain = self._ground.terrain(good)
        priors, whole = dict(terrain.priors), sum(terrain.priors.values()) or 1.0
        for culprit in self._found.culprits:
            priors[culprit.sha] = 0.0 if culprit.sha in follower.fault.without else priors.get(culprit.sha, 0) + whole
        graph, guilty = self._ground.graph, follower.fault.without
        plain = [
            sha
            for sha in terrain.parents
            if not guilty
            or (
                (at := graph.position.get(sha)) is not None
                and not any(graph.upto[at] >> graph.position[one] & 1 for one in guilty)
            )
        ]
        return replace(terrain, priors=priors, known=follower.known(plain))

    def _add(self, follower: Follower, result: SearchResult) -> None:
        (sha,) = result.culprits
        fault = follower.fault
        same = next((known for known in self._found.culprits if known.sha == sha), None)
        doubt = ""
        parents = set(self._parents(sha))
        if fault.tests and parents & follower.unseen and not parents & follower.seen:
            doubt = f"the failing tests did not exist before {sha[:12]}: the fault may be older than its tests"
        elif len(parents) > 1 and all(map(follower.passed, parents)):
            doubt = f"all that the merge {sha[:12]} brought together is sound by itself: which of it has to go is open"
        elif fault.without and not fault.tests:
            first = ", ".join(one[:12] for one in fault.without)
            doubt = (
                f"{fault.check.name} names no tests (junit:), so it cannot be told whether {sha[:12]} is a fault of "
                f"its own or only needs what {first} brought"
            )
        found = Culprit(
            sha=sha,
            posterior=result.probabilities.get(sha, 0.0),
            checks=tuple(dict.fromkeys([*(same.checks if same else ()), fault.check.name])),
            same_tests=bool(fault.tests) and (same is None or same.same_tests),
            repeats=max(result.repeats, same.repeats if same else 0),
            without=fault.without,
            doubt=doubt if same is None or same.doubt else "",
        )
        if same:
            self._found.culprits[self._found.culprits.index(same)] = found
        else:
            self._found.culprits.append(found)

    def _parents(self, sha: str) -> tuple[str, ...]:
        graph = self._ground.graph
        return graph.parents[graph.position[sha]] if sha in graph.position else ()

    def _older(self, one: str | None, other: str) -> str:
        """Return which of two commits the branch's way came by first."""
        way = list(self._ground.way)
        if one is None or one not in way:
            return other if one is None else one
        return max(one, other, key=way.index) if other in way else other

    def _told(self, fault: Fault, reasons: Sequence[str]) -> list[str]:
        if not fault.without:
            return list(reasons)
        taken = ", ".join(sha[:12] for sha in fault.without)
        return [f"with {taken} taken back {fault.check.name} still fails: {reason}" for reason in reasons]

    # -- what is left when the culprits are gone

    def _without_all(self) -> str:
        return f"with {', '.join(culprit.sha[:12] for culprit in self._found.culprits)} taken back"

    def _left_over(self, checks: Sequence[CheckSettings]) -> list[Fault]:
        """Return what still fails without the culprits; where that is not seen, note why it is for a human."""
        without = tuple(culprit.sha for culprit in self._found.culprits)
        began, faults = self._prober.runs, []
        known = all(sha in self._ground.graph.position for sha in without)
        for check in checks:
            self._progress(f"does {check.name} pass {self._without_all()}?")
            outcome = self._look(self._ground.head, without, check) if known and not self._stop() else None
            if outcome is not None and is_flaky(outcome) and (followed := self._failing.get(check.name)):
                outcome = self._seen(self._ground.head, without, check, followed)
            if outcome is None and known and not self._stop():
                # A plan that keeps what later work needs may apply where the whole commits do not. Nothing is carried
                # out unattended of which it was not seen that the failing tests pass with it (core/plan/proof.py).
                self._found.notes.append(f"taken back whole it conflicts with later work: {self._without_all()}")
                break
            if outcome is None or outcome.passed is None:
                why = "stopped before that was run" if self._stop() else "it cannot be tried"
                why = outcome.detail.partition("\n")[0] if outcome is not None and outcome.detail else why
                self._found.reasons.append(f"it was not seen that {check.name} passes {self._without_all()}: {why}")
                break
            if not outcome.passed:
                faults += self._still(check, outcome, without)
        self._found.rehearse_runs += self._prober.runs - began
        return faults

    def _still(self, check: CheckSettings, outcome: CheckOutcome, without: tuple[str, ...]) -> list[Fault]:
        """Return the fault that is left; none: what fails was caused by taking the culprits back."""
        before, now = self._failing.get(check.name, frozenset()), frozenset(outcome.failing)
        if not before or not now:
            return [Fault(check, without=without)]
        kept = now & before
        if not kept and self._is_need(check, before, now, without):
            return []
        return [Fault(check, kept or now, kept or now, without)]

    def _is_need(
        self, check: CheckSettings, before: frozenset[str], fresh: frozenset[str], without: tuple[str, ...]
    ) -> bool:
        """Return whether the tests ``fresh`` fail only because later work needs something of the culprits.

        It is so where they passed at the head. Those that were not even run there can have been hidden: by a runner
        that stops at its first failure, or by the failure of a whole file, after which its tests have names of their
        own. Then they were seen to pass at the last good commit, or what failed at the head never was one that passes.
        """
        head, good = self._ground.head, self._found.last_good
        at_head = self._seen(head, (), check, fresh, once=False)
        if at_head is not None and (at_head.passed is not None or is_flaky(at_head)):
            return at_head.passed is not False
        if good is not None and self._were_seen(good, (), check, fresh):
            return False
        passed = self._were_seen(head, without, check, before)
        if not passed and (good is None or not self._were_seen(good, (), check, before)):
            return False
        name, *more = sorted(fresh)
        fails = f"{name} and {len(more)} more fail" if more else f"{name} fails"
        hides = "" if passed else ", which hides whether the tests that fail now pass then"
        self._found.notes.append(f"later work needs something of it: {self._without_all()} {fails}{hides}")
        return True

    def _seen(
        self, sha: str, without: Sequence[str], check: CheckSettings, only: frozenset[str], *, once: bool = True
    ) -> CheckOutcome | None:
        """Return what a run says that follows ``only``: this one is not from a cache, which cannot tell who was run."""
        tree = self._tree(sha, without)
        if tree is None or self._stop():
            return None
        return self._prober.run("" if without else sha, tree, check, only, fresh=True, once=once)

    def _were_seen(self, sha: str, without: Sequence[str], check: CheckSettings, only: frozenset[str]) -> bool:
        """Return whether ``only`` were run and pass there, or at least one of them where nothing fails at all."""
        outcome = self._seen(sha, without, check, only)
        return outcome is not None and outcome.passed is True and not outcome.detail.startswith(UNSEEN)


def find_culprits(
    ground: Ground,
    checks: Sequence[CheckSettings],
    prober: Prober,
    *,
    progress: Callable[[str], None] = lambda text: None,
    stop: Callable[[], bool] = lambda: False,
) -> Findings:
    """Find who made ``checks`` fail at the head: at most `MOST` commits, each confirmed afresh. Runs checks; long.

    Raises GitError, StoreError.
    """
    return _Hunt(ground, prober, progress, stop).run(checks)
