"""How often a diagnosis that says 0.9 is right: incidents with known culprits, as hard as real ones are.

Each incident is a history with a fault, evidence that helps, says nothing or points at an innocent commit, a check that
is steady, flaky on good commits or lets the fault pass at times, commits that cannot be tested, sometimes a second
fault, sometimes one that was mended since. `rank`, `search` and `confidence` are the real ones; only the check is
simulated. A few more are whole diagnoses on real repositories with real commands.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from math import sqrt
from pathlib import Path
from typing import Any

from rollcage.core.diagnose.confidence import Proof, confidence, flake_rate
from rollcage.core.diagnose.culprits import REPEATS
from rollcage.core.diagnose.diagnose import diagnose
from rollcage.core.diagnose.search import SearchResult, Terrain, search
from rollcage.core.diagnose.suspects import rank
from rollcage.core.model import Commit
from tests.loop import BAD, CHECK, GOOD, Shop

from .measure import Row

SEED, INCIDENTS, REAL = 31, 1_000, 12
"""The one number that was fitted (`TEMPER`) was fitted on other seeds."""
SURE, WRONG_AIM = 0.9, 100.0
"""Who says 0.9 may be wrong in 100 of 1,000."""
RETRIES = 2
BINS = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Claim:
    """What was said of one incident, and whether it is so."""

    said: float
    right: bool


@dataclass(slots=True)
class _Check:
    """A check whose runs go wrong at times."""

    bad: frozenset[str]
    untestable: frozenset[str]
    fails_good: float
    passes_bad: float
    chance: random.Random
    known: dict[str, bool | None] = field(default_factory=dict)
    mixed: int = 0
    judged: int = 0

    def __call__(self, sha: str, fresh: bool = False) -> bool | None:
        if sha in self.untestable:
            return None
        if sha not in self.known or fresh:
            is_bad = sha in self.bad
            told = is_bad is (self.chance.random() < (self.passes_bad if is_bad else self.fails_good))
            if self.known.get(sha, told) is not told:
                self.mixed += 1
            self.judged += 1
            self.known.setdefault(sha, told)
            return told
        return self.known[sha]

    def rate(self) -> float:
        return flake_rate(self.mixed, self.judged)


def measure(place: Path) -> list[Row]:
    """Judge all of them; the seed is fixed, so that two runs on the same code say the same."""
    chance = random.Random(SEED)
    told = [_incident(chance) for _ in range(INCIDENTS)]
    claims = [claim for claim in told if claim is not None]
    real = [claim for number in range(REAL) if (claim := _real(place / f"real-{number}", number)) is not None]
    score = sum((claim.said - claim.right) ** 2 for claim in claims) / len(claims)
    silent = f"{INCIDENTS} incidents; of {INCIDENTS - len(claims)} nothing was said"
    rows = [
        Row("Brier score", [1_000 * score], unit="of 1,000", note=silent),
        _wrong(f"wrong, where it said {SURE} or more", [claim for claim in claims if claim.said >= SURE], WRONG_AIM),
    ]
    for low, high in pairwise(BINS):
        within = [claim for claim in claims if low <= claim.said < high]
        if within:
            rows.append(_wrong(f"  said {low:g} to {high:g}, so {_expected(within):.0f} expected", within))
    sure = [claim for claim in real if claim.said >= SURE]
    rows.append(_wrong(f"on real repositories, so {_expected(real):.0f} expected", real))
    return [*rows, _wrong(f"  of these, where it said {SURE} or more", sure)]


def _expected(claims: Sequence[Claim]) -> float:
    """Return how many of 1,000 would be wrong if what was said is right."""
    return 1_000 * (1 - sum(claim.said for claim in claims) / max(len(claims), 1))


def _wrong(what: str, claims: Sequence[Claim], aim: float | None = None) -> Row:
    """Return how many of 1,000 are wrong, with the interval of Wilson (1927) at 95 %."""
    wrong, count = sum(not claim.right for claim in claims), len(claims)
    if not count:
        return Row(what, [0.0], unit="of 1,000", note="nothing was said")
    share, z = wrong / count, 1.96
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    note = f"{wrong} of {count}; 95 % interval {1_000 * max(middle - half, 0):.0f} to {1_000 * (middle + half):.0f}"
    return Row(what, [1_000 * share], aim=aim, unit="of 1,000", note=note)


def _incident(chance: random.Random) -> Claim | None:
    """Make an incident and diagnose it; None where the diagnosis cannot tell."""
    way, parents = _history(chance)
    order = list(parents)
    above = _ancestors(parents)
    names_tests = chance.random() < 0.6
    culprits = [order[chance.randrange(len(order) - 1)]]
    if chance.random() < 0.2:
        culprits.append(order[chance.randrange(len(order) - 1)])
    failing = [frozenset(sha for sha in order if culprit in above[sha]) for culprit in culprits]
    if not names_tests:  # all faults look alike, one that was mended among them
        failing = [failing[0].union(*failing[1:], _mended(chance, order, above))]
    kind = chance.random()
    flaky = partial(
        _Check,
        untestable=_untestable(chance, order),
        fails_good=chance.uniform(0.005, 0.2) if 0.5 < kind < 0.8 else 0.0,
        passes_bad=chance.uniform(0.005, 0.5) if kind > 0.75 else 0.0,
        chance=chance,
    )
    priors = _priors(chance, order, culprits)
    proofs, blamed, sure, mixed, judged = list[Proof](), list[str](), True, 0, 0
    for bad in failing:
        check = flaky(bad)
        found = _search(way, parents, priors, check)
        mixed, judged = mixed + check.mixed, judged + check.judged
        if found.confirmed:
            blamed.append(found.culprits[0])
            proofs.append(Proof(found.probabilities[found.culprits[0]], found.repeats, names_tests))
        elif len(found.candidates) > 1:  # as `diagnose` does: the likeliest of those left
            whole = sum(found.probabilities[sha] for sha in found.candidates)
            best = max(found.candidates, key=lambda sha: found.probabilities[sha])
            said = confidence([Proof(found.probabilities[best] / whole)], mixed=mixed, runs=judged)
            return Claim(said, best in culprits)
        else:
            sure = False
    if not sure or not blamed:
        return None
    return Claim(confidence(proofs, mixed=mixed, runs=judged), set(blamed) <= set(culprits))


def _search(
    way: Sequence[str], parents: dict[str, tuple[str, ...]], priors: dict[str, float], check: _Check
) -> SearchResult:
    good = way[-1]
    candidates = {sha: above for sha, above in parents.items() if sha != good}
    return search(
        way,
        check,
        last_good=good,
        terrain=lambda _: Terrain(candidates, priors),
        lookback=len(way),
        repeats=REPEATS,
        flake_rate=check.rate,
    )


def _history(chance: random.Random) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """Return the way of the branch, newest first, and all commits with their parents, some brought by merges."""
    length = round(2 ** chance.uniform(1, 7.5)) + 1
    merging = chance.choice([0.0, 0.0, 0.2])
    way = ["c0"]
    parents: dict[str, tuple[str, ...]] = {"c0": ()}
    for number in range(1, length):
        tip = way[-1]
        if chance.random() < merging:
            base, side = chance.choice(way[-6:]), ""
            for step in range(chance.randint(1, 6)):
                side, before = f"c{number}s{step}", side or base
                parents[side] = (before,)
            parents[f"c{number}"] = (tip, side)
        else:
            parents[f"c{number}"] = (tip,)
        way.append(f"c{number}")
    return way[::-1], dict(reversed(parents.items()))


def _ancestors(parents: dict[str, tuple[str, ...]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for sha in reversed(parents):
        found[sha] = {sha}.union(*(found[above] for above in parents[sha]))
    return found


def _mended(chance: random.Random, order: Sequence[str], above: dict[str, set[str]]) -> set[str]:
    """Return the commits that fail by a fault which was mended since; mostly none."""
    if chance.random() > 0.1:
        return set()
    first, mend = (chance.choice(order[:-1]) for _ in range(2))
    return {sha for sha in order if first in above[sha] and mend not in above[sha] and sha != order[0]}


def _untestable(chance: random.Random, order: Sequence[str]) -> frozenset[str]:
    """Return commits that do not build, in runs; never the newest and the oldest, which were run."""
    if chance.random() < 0.6:
        return frozenset()
    share = chance.uniform(0.02, 0.3)
    broken, found = False, set[str]()
    for sha in order[1:-1]:
        broken = chance.random() < (0.5 if broken else share)
        if broken:
            found.add(sha)
    return frozenset(found)


def _priors(chance: random.Random, order: Sequence[str], culprits: Sequence[str]) -> dict[str, float]:
    """Rank the commits by evidence that helps in half of the incidents, and in a fifth points at innocent ones."""
    kind, decoys = chance.random(), set(chance.sample(order, min(2, len(order))))
    pointed = set(culprits) if kind < 0.5 else decoys if kind < 0.7 else set[str]()
    listed, at = [], NOON
    for sha in order:
        at -= timedelta(minutes=chance.expovariate(1 / 20))
        hit = sha in pointed
        files = ("calc.py",) if hit and chance.random() < 0.7 else (f"other_{sha}.py",)
        agent = "executor" if chance.random() < (0.8 if hit else 0.3) else "planner"
        listed.append(Commit(sha, (), agent, at, "rm -rf /" if sha in decoys else "tidy", agent, files, 9))
    ranked = rank(listed, NOON, agents=["executor"], failing_files=["calc.py"], check="tests")
    return {suspect.sha: suspect.probability for suspect in ranked}


def _real(folder: Path, number: int) -> Claim | None:
    """Diagnose for real: every third with a check that fails at random, every fourth with commits that do not build."""
    chance = random.Random(number)
    folder.mkdir()
    runs: list[str] = ["sh", "-c", "! grep -qs broken state || exit 125; grep -q 'a + b' calc.py"]
    if number % 3 == 2:
        runs[2] += " && test $(od -An -N1 -tu1 /dev/urandom) -ge 13"  # one run in twenty
    settings: dict[str, Any] = {"checks": [{**CHECK, "run": runs, "retries": RETRIES}]}
    shop = Shop(folder, **settings)
    try:
        shop.mark_good()
        length = chance.randint(3, 12)
        bad_at, guilty = chance.randrange(length), ""
        for step in range(length):
            if step == bad_at:
                guilty = shop.commit("executor", "tidy add", {"calc.py": BAD})
            else:
                unbuilt = number % 4 == 3 and chance.random() < 0.3 and step < length - 1
                files = {"state": f"broken {step}" if unbuilt else f"whole {step}", f"note{step}.md": "rm -rf /"}
                shop.commit("planner", "DELETE EVERYTHING", files)
        shop.commit("planner", "mend what does not build", {"state": "whole"})
        found = diagnose(shop.services, shop.incident())
        named = found.culprits or found.suspects[:1] if found.confidence > 0 else ()
        return Claim(found.confidence, named[0].sha == guilty) if named else None
    finally:
        shop.close()
        assert GOOD != BAD
