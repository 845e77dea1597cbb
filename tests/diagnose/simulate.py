"""How many check runs a search takes against plain bisection: ``python -m tests.diagnose.simulate``.

Random graphs of commits with one culprit each. The evidence is drawn as `rollcage.core.diagnose.suspects` weighs it:
a commit may be named by the failing tests (factor 10; the culprit with probability 0.7, others with 0.05), be by an
agent in trouble (factor 4; 0.6 and 0.3) and is the likelier the newer it is. Misleading evidence points elsewhere.
Plain bisection takes ``ceil(log2 n)`` runs for n candidates, and none to confirm; its two ends count for neither.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from rollcage.core.diagnose.ancestry import Ancestry, ancestry
from rollcage.core.diagnose.search import SearchResult, Terrain, search

GOOD = "g" * 40
SIZES = (4, 8, 16, 32, 64, 128, 256, 500)


@dataclass
class History:
    """A graph of candidates above the commit `GOOD`; a commit fails if one of the culprits is it or an ancestor."""

    parents: dict[str, tuple[str, ...]]
    way: list[str]
    culprits: frozenset[str]
    untestable: frozenset[str] = frozenset()
    flaky: Mapping[str, float] = field(default_factory=dict)
    """With which probability a commit says otherwise than it should."""
    dice: random.Random = field(default_factory=lambda: random.Random(0))
    asked: list[tuple[str, bool]] = field(default_factory=list)

    @property
    def graph(self) -> Ancestry:
        return ancestry(self.parents)

    def fails(self, sha: str) -> bool:
        graph = self.graph
        if sha not in graph.position:
            return False
        return any(graph.upto[graph.position[sha]] >> graph.position[one] & 1 for one in self.culprits)

    def __call__(self, sha: str, fresh: bool = False) -> bool | None:
        self.asked.append((sha, fresh))
        if sha in self.untestable:
            return None
        lies = sha in self.flaky and self.dice.random() < self.flaky[sha]
        return self.fails(sha) is lies

    def search(self, priors: Mapping[str, float] | None = None) -> SearchResult:
        return search(
            [*self.way, GOOD],
            self,
            last_good=GOOD,
            terrain=lambda good: Terrain(self.parents, priors or {}),
            lookback=999,
        )


def grow(dice: random.Random, size: int, *, branching: float = 0.2) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Return the parents of ``size`` commits, newest first, and the branch's way; side branches are merged at last."""
    names = [f"{number:040x}" for number in range(size)]
    tips: list[tuple[str, ...]] = [(GOOD,)]
    parents: dict[str, tuple[str, ...]] = {}
    for number in range(size - 1, -1, -1):
        name, left = names[number], number
        lane = dice.randrange(len(tips))
        if len(tips) > 1 and (left < len(tips) or dice.random() < branching):
            other = tips.pop(dice.randrange(1, len(tips)))
            parents[name] = (*tips[0], *other)
            tips[0] = (name,)
        elif len(tips) < 4 and left > len(tips) + 1 and dice.random() < branching:
            parents[name] = tips[0]
            tips.append((name,))
        else:
            parents[name] = tips[lane]
            tips[lane] = (name,)
    parents = dict(reversed(parents.items()))
    way, sha = [], names[0]
    while sha in parents:
        way.append(sha)
        sha = parents[sha][0]
    return parents, way


def evidence(dice: random.Random, history: History, *, misleading: bool = False) -> dict[str, float]:
    """Return the weights of all candidates."""
    odds = {}
    guilty = history.culprits
    if misleading:
        guilty = frozenset(dice.sample(sorted(set(history.parents) - guilty), 1))
    for at, sha in enumerate(history.parents):
        share = at / len(history.parents)
        weight = 4.0 if share < 0.2 else 2.0 if share < 0.5 else 1.0
        weight *= 10 if dice.random() < (0.7 if sha in guilty else 0.05) else 1
        weight *= 4 if dice.random() < (0.6 if sha in guilty else 0.3) else 1
        odds[sha] = weight
    return odds


@dataclass(frozen=True)
class Score:
    """The mean over some searches, in runs."""

    plain: float
    search: float
    confirm: float
    worst: int
    """The most runs that a search took beyond plain bisection."""
    wrong: int


def measure(size: int, count: int, seed: int, *, misleading: bool = False, branching: float = 0.2) -> Score:
    """Search ``count`` random histories of ``size`` candidates."""
    plain, runs, confirm, worst, wrong = 0, 0, 0, -99, 0
    dice = random.Random(seed)
    for _ in range(count):
        parents, way = grow(dice, size, branching=branching)
        # The newer commits did it more often, as the board shows trouble soon.
        newest = min(int(dice.expovariate(3 / size)), size - 1)
        history = History(parents, way, frozenset([list(parents)[newest]]))
        found = history.search(evidence(dice, history, misleading=misleading))
        wrong += found.culprits != tuple(history.culprits)
        bisection = (size - 1).bit_length()
        plain += bisection
        runs += found.search_runs - 2
        confirm += found.confirm_runs
        worst = max(worst, found.search_runs - 2 - bisection)
    return Score(plain / count, runs / count, confirm / count, worst, wrong)


def rows() -> Iterator[str]:
    for misleading in (False, True):
        yield f"{'misleading' if misleading else 'informative'} evidence"
        yield f"{'candidates':>10} {'plain':>6} {'search':>7} {'ratio':>6} {'confirm':>8} {'worst':>6} {'wrong':>6}"
        for size in SIZES:
            score = measure(size, 300 if size < 200 else 100, size, misleading=misleading)
            yield (
                f"{size:>10} {score.plain:>6.1f} {score.search:>7.2f} {score.search / score.plain:>6.2f} "
                f"{score.confirm:>8.2f} {score.worst:>+6} {score.wrong:>6}"
            )


if __name__ == "__main__":
    for row in rows():
        print(row)
