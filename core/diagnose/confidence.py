"""How sure a diagnosis is: the share of diagnoses with that number which are right. Pure arithmetic.

For each culprit, in odds against it::

    (1 - p) / p  x  E[f^r] / E[(1 - f)^r]

*p* is its probability after the search, *r* how often it was run afresh and failed while its parents, run afresh,
passed, and *f* the chance that a run says the wrong thing. If the fault is older, each of the *r* passes of the parent
was a wrong one; if it is newer, each of the *r* failures was. *f* is not known: its distribution is a beta one, from a
prior of `RATE` (1.5 % of runs are flaky: J. Micco, Flaky Tests at Google and How We Mitigate Them, 2016) that weighs as
much as `WEIGHT` runs, and the mixed outcomes and runs that were seen. So the expectations are products of
(a + i) / (a + b + i), the moments of the beta-binomial distribution (J. G. Skellam, 1948), and a check of which little
is known is not taken to be steady.

Beyond that model: a check that names no tests may have failed at the culprit for another reason than at the head
(`OTHER_FAULT`). What was not confirmed is never called sure (`UNCONFIRMED`): it rests on two answers, the last that
passed and the first that failed, each wrong by the chance *f*, and between them on the evidence, which misleads at
times (*p* to the power of `TEMPER`, fitted). Nothing is surer than `CEILING`, because checks can depend on the hour,
the network or the machine. Several culprits must all be right: the product. `tests/bench/calibration.py` measures what
comes of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

RATE, WEIGHT = 0.015, 33.0
OTHER_FAULT = 0.03
TEMPER = 1.25
UNCONFIRMED = 0.85
CEILING = 0.99


@dataclass(frozen=True, slots=True)
class Proof:
    """What was seen of one culprit."""

    posterior: float
    """Its probability among all candidates after the search, those that could not be tested included."""
    repeats: int = 0
    """How often it failed and all its parents passed, each run afresh; 0: not confirmed."""
    same_tests: bool = True
    """The same failing tests were followed all the way; False: the check names none."""


def confidence(proofs: Sequence[Proof], *, mixed: int = 0, runs: int = 0) -> float:
    """Return how sure it is that the culprits are those of ``proofs``; 0 without any.

    ``mixed``: how many of the ``runs`` of these checks contradicted another run on the same tree.
    """
    if not proofs:
        return 0.0
    return min(prod(_of_one(proof, mixed, runs) for proof in proofs), CEILING)


def flake_rate(mixed: int, runs: int) -> float:
    """Return how likely the next run says the wrong thing, given how many of the ``runs`` so far did."""
    return (RATE * WEIGHT + mixed) / (WEIGHT + max(runs, mixed))


def _of_one(proof: Proof, mixed: int, runs: int) -> float:
    believed = min(max(proof.posterior, 0.0), 1 - 1e-6)
    if not proof.repeats:
        return min(float(believed**TEMPER) * (1 - flake_rate(mixed, runs)) ** 2, UNCONFIRMED)
    wrong, whole = RATE * WEIGHT + mixed, WEIGHT + max(runs, mixed)
    against = (1 - believed) * prod((wrong + turn) / (whole + turn) for turn in range(proof.repeats))
    right = believed * prod((whole - wrong + turn) / (whole + turn) for turn in range(proof.repeats))
    sure = right / (right + against) if right + against > 0 else 0.0
    return sure * (1.0 if proof.same_tests else 1 - OTHER_FAULT)
