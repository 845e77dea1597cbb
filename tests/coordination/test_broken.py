"""The proofs prove something: locks that are broken on purpose are caught, each by several of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollcage.core.coordination import waiting_line
from rollcage.core.coordination.leases import Waiting, WaitLog
from tests.coordination import deadlock_trials, guarded, intervals, linearizable
from tests.coordination.campaign import LOCKS, Ended, run
from tests.coordination.history import now
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


class TestJudgeOfWaits:
    """It finds what is wrong with locks whose care about circles is broken."""

    def test_that_nobody_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(waiting_line, "refusal", lambda log, session: ())
        monkeypatch.setattr(deadlock_trials, "BOUND", 0.2)
        counts = deadlock_trials.trials(Embedded(str(tmp_path)).leases, range(SEED, SEED + 8))
        assert counts.endless
        assert not counts.victims

    def test_that_whoever_holds_something_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refusal(log: WaitLog, session: str) -> tuple[str, ...]:
            mine = [one for one in log.waitings if one.session == session]
            held = {one.name: one.holder for one in log.holdings if one.session != session}
            holds = any(one.session == session for one in log.holdings)
            wanted = [one for one in mine if one.name in held]
            return (session, wanted[0].name, held[wanted[0].name], "") if holds and wanted else ()

        monkeypatch.setattr(waiting_line, "refusal", refusal)
        counts = deadlock_trials.trials(Embedded(str(tmp_path)).leases, range(SEED, SEED + 8))
        assert counts.victims

    def test_that_whoever_fits_may_pass(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def may_pass(log: WaitLog, waiting: Waiting) -> bool:
            held = sum(one.slots for one in log.holdings if one.name == waiting.name)
            return held + waiting.slots <= waiting.permits

        monkeypatch.setattr(waiting_line, "may_pass", may_pass)
        counts = deadlock_trials.trials(Embedded(str(tmp_path)).leases, range(SEED, SEED + 120))
        assert any("out of turn" in fault for fault in counts.grants)

    def test_but_nobody_is_blamed_for_a_lease_whose_time_is_up(self, tmp_path: Path) -> None:
        """Found by seed 3011730: the table still had it, since its lock was nobody's after."""
        leases = Embedded(str(tmp_path)).leases()
        sessions = deadlock_trials.Sessions(leases, most=4)
        try:
            trial = deadlock_trials.Trial(sessions, SEED, deadlock_trials.Counts())
            trial.table = deadlock_trials.Table(
                {"a": 3, "b": 2},
                {"a": {"s2": 1, "s3": 1}, "b": {"s0": 2}},
                {"a": [("s0", 3)], "b": [("s3", 2)]},
            )
            assert trial._stuck() == {"s0", "s3"}
            trial._lapsing["s3", "a"] = now() + 100
            assert trial._stuck() == {"s0", "s3"}
            trial._lapsing["s3", "a"] = now()
            assert trial._stuck() == set()
        finally:
            leases.close()
            sessions.close()
