"""Who did it, as probabilities: priors from evidence, made sharper by every check that was run. Pure arithmetic.

The hypotheses are: *this commit did it*, one for each candidate. A check on a commit fails if the culprit is that
commit or an ancestor of it, and says the wrong thing with a small probability, the flake rate. So an answer multiplies
the probability of each candidate by the rate where it contradicts, and by the rest where it agrees: Bayes' rule for
search with answers that may be wrong (M. Burnashev and K. Zigangirov, An interval estimation problem for controlled
observations, 1974). What to ask next is the commit whose answer is expected to tell most, which is the one that fails
with a probability nearest to 1/2 (R. Nowak, The geometry of generalized binary search, 2011). ``git bisect`` chooses by
the number of commits instead (``bisect.c``: the commit whose ancestors are nearest to half of what is left); that
number bounds here how far evidence may lead astray. The same idea for flaky tests: ``git_bayesect``, 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from .ancestry import Ancestry, bits

TRUST = 0.9
"""The share of the priors in the odds; the rest is spread evenly, since evidence may be wrong."""
FLAKE_RATE = 0.01
"""How often an answer is wrong, as long as nothing was seen to be flaky. A failure counts only when it was repeated."""


class Posterior:
    """The probabilities of the candidates, given what was seen so far."""

    def __init__(
        self, graph: Ancestry, priors: Mapping[str, float], flake_rate: Callable[[], float] = lambda: FLAKE_RATE
    ) -> None:
        """Take the candidates, what evidence says of them (any weights) and how often an answer is wrong."""
        self._graph, self._flake_rate = graph, flake_rate
        weights = [max(priors.get(sha, 0.0), 0.0) for sha in graph.shas]
        total, count = sum(weights), len(weights)
        even = 1 / max(count, 1)
        self._priors = [TRUST * weight / total + (1 - TRUST) * even if total > 0 else even for weight in weights]
        self._whole = (1 << count) - 1
        self._seen: dict[int, bool] = {}
        self._live: int | None = None

    def saw(self, at: int, passes: bool | None) -> None:
        """Take in that the commit at a position passes or fails; ``None`` takes back what was seen there."""
        self._live = None
        self._seen.pop(at, None)
        if passes is not None:
            self._seen[at] = passes

    @property
    def live(self) -> int:
        """The candidates that contradict the fewest of the answers; normally none of them."""
        if self._live is None:
            counts = self._contradictions()
            fewest = min(counts, default=0)
            self._live = sum(1 << at for at, count in enumerate(counts) if count == fewest)
        return self._live

    def probabilities(self) -> list[float]:
        """Return the probability of each candidate; they sum to 1."""
        rate = min(max(self._flake_rate(), 1e-6), 0.5)
        odds = rate / (1 - rate)
        weights = [prior * odds**count for prior, count in zip(self._priors, self._contradictions(), strict=True)]
        total = sum(weights) or 1.0
        return [weight / total for weight in weights]

    def choose(self, free: Iterable[int], budget: int, wanted: float = 0.5) -> int | None:
        """Return which of ``free`` to ask next; ``None``: none of them can tell anything.

        It is the one that fails with a probability nearest to ``wanted``, among those after which ``budget`` - 1 more
        answers suffice whatever this one is; where there is none such, the one that halves what is left best.
        """
        live = self.live
        left = live.bit_count()
        telling = []
        for at in free:
            older = (live & self._graph.upto[at]).bit_count()
            if 0 < older < left:
                telling.append((at, max(older, left - older)))
        if not telling:
            return None
        room = 2 ** max(budget - 1, 0)
        fitting = [at for at, most in telling if most <= room]
        if not fitting:
            return min(telling, key=lambda entry: entry[1])[0]
        failing = self._failing(fitting)
        most_of = dict(telling)
        return min(fitting, key=lambda at: (round(abs(failing[at] - wanted), 9), most_of[at]))

    def fails(self, at: int) -> float:
        """Return the probability that the commit at a position fails, if one of `live` did it."""
        return self._failing([at])[at]

    def _contradictions(self) -> list[int]:
        counts = [0] * len(self._priors)
        for at, passes in self._seen.items():
            against = self._graph.upto[at] if passes else self._whole & ~self._graph.upto[at]
            for other in bits(against):
                counts[other] += 1
        return counts

    def _failing(self, positions: Sequence[int]) -> dict[int, float]:
        """Return for each position the share of it and its ancestors in what is left, by eight candidates at a time."""
        live, size = self.live, len(self._priors) // 8 + 1
        weights = self.probabilities()
        weights = [weight if live >> at & 1 else 0.0 for at, weight in enumerate(weights)]
        total = sum(weights) or 1.0
        chunks = [chunk for chunk, byte in enumerate(live.to_bytes(size, "little")) if byte]
        tables = [(chunk, _sums(weights[8 * chunk : 8 * chunk + 8])) for chunk in chunks]
        failing = {}
        for at in positions:
            members = self._graph.upto[at].to_bytes(size, "little")
            failing[at] = sum(table[members[chunk]] for chunk, table in tables) / total
        return failing


def _sums(weights: Sequence[float]) -> list[float]:
    """Return for each of the 256 sets of eight candidates the sum of their weights."""
    sums = [0.0]
    for weight in [*weights, *[0.0] * (8 - len(weights))]:
        sums += [earlier + weight for earlier in sums]
    return sums
