"""The proofs prove something: two locks that are broken on purpose are caught, each by several of them."""

from __future__ import annotations

from pathlib import Path

from tests.coordination import guarded, intervals, linearizable
from tests.coordination.campaign import LOCKS, Ended, run
from tests.coordination.keepers import Embedded
from tests.coordination.workload import Plan

SEED = 4


def worked(kind: str, folder: Path) -> Ended:
    plan = Plan(kind, str(folder), str(folder), "", SEED, 2, 0.7, LOCKS, ttl=0.03, breaks=False, fenced=False)
    return run(Embedded(str(folder)), folder, SEED, processes=2, plan=plan)


def test_no_lock_at_all_is_caught(tmp_path: Path) -> None:
    """Its tokens are right, so the token checks pass; those of what goes on at once do not."""
    ended = worked("no lock", tmp_path)
    assert intervals.overlaps(intervals.intervals(ended.history))
    assert linearizable.faults(ended.history)
    assert guarded.faults(ended.writes)


def test_a_lease_that_looks_at_no_token_is_caught(tmp_path: Path) -> None:
    """Who comes too late gives back what is another's, and writes after it."""
    ended = worked("no token", tmp_path)
    assert intervals.overlaps(intervals.intervals(ended.history))
    assert linearizable.faults(ended.history)
    assert guarded.faults(ended.writes)
