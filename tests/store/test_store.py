"""The store gives back what it was given, in the promised order, to every thread and process."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from rollcage.core.clock import SystemClock
from rollcage.core.errors import StoreError
from rollcage.core.model import CheckOutcome, DecisionVerdict, Hold, IncidentState, RollbackState, StepState
from rollcage.core.store.paths import RepositoryPaths
from rollcage.core.store.signals import Signals
from rollcage.core.store.store import Store
from tests.conftest import ManualClock
from tests.store import nouns


class TestEvents:
    """The event table."""

    def test_come_in_the_order_of_writing(self, store: Store, clock: ManualClock) -> None:
        assert store.last_seq() == 0
        first = store.append_event("phase", {"incident": "inc-1", "phase": 1, "at_": clock.now(), "who": "ü\ud800"})
        written = [first, *(store.append_event("step", {"number": n}) for n in range(5))]
        assert [event.seq for event in written] == [1, 2, 3, 4, 5, 6]
        assert store.events_since(0) == written
        assert store.events_since(2, limit=2) == written[2:4]
        assert store.recent_events(2) == written[4:]
        assert store.last_seq() == 6

    def test_are_numbered_for_ever(self, store: Store, paths: RepositoryPaths, clock: ManualClock) -> None:
        seq = store.append_event("agent", {}).seq
        store.close()
        again = Store.open(paths, clock)
        assert again.append_event("agent", {}).seq == seq + 1
        again.close()

    def test_that_json_cannot_hold_are_refused(self, store: Store) -> None:
        with pytest.raises(ValueError, match="JSON"):
            store.append_event("finding", {"value": float("nan")})
        with pytest.raises(TypeError):
            store.append_event("finding", {"value": object()})
        assert store.last_seq() == 0


class TestIncidents:
    """Incidents and what belongs to them."""

    def test_come_back_whole_and_newest_first(self, store: Store) -> None:
        for number in (1, 2, 10):
            store.save_incident(nouns.incident(number))
        store.save_incident(nouns.incident(2, IncidentState.RECOVERED))
        assert store.incident("inc-1") == nouns.incident(1)
        assert store.incident("inc-3") is None
        assert [i.id for i in store.incidents()] == ["inc-10", "inc-2", "inc-1"]
        assert [i.id for i in store.incidents(open_only=True)] == ["inc-10", "inc-1"]
        assert [i.id for i in store.incidents(limit=1)] == ["inc-10"]

    def test_have_ids_that_are_given_once(self, store: Store) -> None:
        with ThreadPoolExecutor(4) as pool:
            ids = list(pool.map(lambda _: store.new_incident_id(), range(20)))
        assert sorted(ids) == sorted(f"inc-{n}" for n in range(1, 21))
        assert [store.new_rollback_id(), store.new_rollback_id()] == ["rb-1", "rb-2"]

    def test_have_the_newest_diagnosis(self, store: Store) -> None:
        assert store.diagnosis("inc-1") is None
        store.save_diagnosis(nouns.diagnosis(1, "first idea"))
        store.save_diagnosis(nouns.diagnosis(1, "second idea"))
        store.save_diagnosis(nouns.diagnosis(2, "another"))
        assert store.diagnosis("inc-1") == nouns.diagnosis(1, "second idea")

    def test_have_options_with_plans_best_first(self, store: Store) -> None:
        pairs = [nouns.option(1, rank) for rank in (2, 1, 3)]
        store.save_options("inc-1", pairs)
        store.save_options("inc-2", [nouns.option(2, 1)])
        assert store.options("inc-1") == [pairs[1], pairs[0], pairs[2]]
        assert store.option("opt-1.2") == pairs[0][0]
        assert store.plan("opt-1.2") == pairs[0][1]
        assert store.option("opt-9.9") is None
        assert store.plan("opt-9.9") is None

    def test_lose_options_that_nobody_decided_on_when_there_are_new_ones(self, store: Store) -> None:
        store.save_options("inc-1", [nouns.option(1, rank) for rank in (1, 2, 3)])
        store.add_decision("inc-1", "opt-1.1", "7c1f", DecisionVerdict.WAIT, "engine", "risk")
        store.add_decision("inc-1", "opt-1.2", "7c1f", DecisionVerdict.REJECT, "ann@host")
        store.save_options("inc-1", [nouns.option(1, 4)])
        assert [option.id for option, _ in store.options("inc-1")] == ["opt-1.2", "opt-1.4"]

    def test_have_options_that_can_be_rehearsed_again_under_their_id(self, store: Store) -> None:
        store.save_options("inc-1", [nouns.option(1, 1, "old")])
        store.add_decision("inc-1", "opt-1.1", "old", DecisionVerdict.APPROVE, "ann@host")
        store.save_options("inc-1", [nouns.option(1, 1, "new")])
        assert [option.plan_hash for option, _ in store.options("inc-1")] == ["new"]
        assert store.decisions()[0].plan_hash == "old"


class TestDecisions:
    """Who decided what, and that each is acted on once."""

    def test_come_oldest_first(self, store: Store, clock: ManualClock) -> None:
        first = store.add_decision("inc-1", "opt-1.1", "7c1f", DecisionVerdict.APPROVE, "ann@host", "looks right")
        clock.advance(1)
        second = store.add_decision("inc-2", "opt-2.1", "aaaa", DecisionVerdict.REJECT, "engine")
        assert store.decisions() == [first, second]
        assert store.decisions(incident="inc-2") == [second]
        assert store.take_decision(first.id)
        assert store.decisions(untaken_only=True) == [second]
        assert store.decisions(incident="inc-1", untaken_only=True) == []
        assert store.decisions(incident="inc-1") == [replace(first, taken=True)]

    def test_are_taken_by_one_of_many(self, store: Store) -> None:
        decision = store.add_decision("inc-1", "opt-1.1", "7c1f", DecisionVerdict.APPROVE, "ann@host")
        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(lambda _: store.take_decision(decision.id), range(16))) == 1
        assert not store.take_decision(999)


class TestJournal:
    """Rollbacks, steps, snapshots (what a crash leaves is in test_crash)."""

    def test_keeps_rollbacks_newest_first(self, store: Store) -> None:
        for number in (1, 2, 3):
            store.save_rollback(nouns.rollback(number))
        store.save_rollback(nouns.rollback(2, RollbackState.DONE))
        assert [r.id for r in store.rollbacks()] == ["rb-3", "rb-2", "rb-1"]
        assert [r.id for r in store.unfinished_rollbacks()] == ["rb-1", "rb-3"]
        assert store.rollback("rb-2") == nouns.rollback(2, RollbackState.DONE)
        assert store.rollback("rb-9") is None

    def test_keeps_steps_by_number(self, store: Store) -> None:
        for number in (2, 10, 1):
            store.save_step(nouns.step(number))
        store.save_step(nouns.step(2, StepState.DONE))
        assert store.steps("rb-1") == [nouns.step(1), nouns.step(2, StepState.DONE), nouns.step(10)]
        assert store.steps("rb-2") == []

    def test_keeps_snapshots_newest_first(self, store: Store) -> None:
        for name in ("snap-1", "snap-1-2"):
            store.save_snapshot(nouns.snapshot(name))
        assert [s.id for s in store.snapshots()] == ["snap-1-2", "snap-1"]
        assert store.snapshot("snap-1") == nouns.snapshot("snap-1")
        assert store.snapshot("snap-2") is None


class TestFacts:
    """Holds, good commits, check results, notes."""

    def test_a_hold_asks_for_a_start_once_after_each_stop(self, store: Store, clock: ManualClock) -> None:
        def generation() -> int:
            return store.holds()["executor"].generation

        assert store.holds() == {}
        store.set_hold("executor", Hold.NONE)
        store.set_hold("executor", Hold.PAUSED)
        store.set_hold("executor", Hold.NONE)
        assert generation() == 0
        store.set_hold("executor", Hold.STOPPED, "inc-1")
        stopped = store.holds()["executor"]
        clock.advance(5)
        store.set_hold("executor", Hold.STOPPED, "inc-2")
        assert store.holds()["executor"] == replace(stopped, reason="inc-2")
        store.set_hold("executor", Hold.NONE)
        store.set_hold("executor", Hold.NONE)
        assert generation() == 1
        store.set_hold("executor", Hold.STOPPED)
        store.set_hold("executor", Hold.STANDBY)
        assert generation() == 1
        store.set_hold("executor", Hold.NONE)
        assert generation() == 2

    def test_a_supervisor_reads_holds_read_only(self, store: Store, paths: RepositoryPaths, clock: ManualClock) -> None:
        store.set_hold("executor", Hold.STOPPED)
        reader = Store.open(paths, clock, read_only=True)
        assert reader.holds()["executor"].hold is Hold.STOPPED
        store.set_hold("executor", Hold.NONE)
        assert reader.holds()["executor"].hold is Hold.NONE
        with pytest.raises(StoreError, match=r"cannot be written; nothing was changed"):
            reader.set_hold("executor", Hold.PAUSED)
        reader.close()

    def test_good_commits_come_newest_first(self, store: Store) -> None:
        for sha in ("a", "b", "c", "a"):
            store.mark_good(sha, "tree", "checks")
        store.mark_good("d", "tree", "other checks")
        assert store.good_commits("checks") == ["a", "c", "b"]
        assert store.good_commits("checks", limit=1) == ["a"]
        assert store.is_good("b", "checks")
        assert not store.is_good("b", "other checks")

    def test_check_results_are_found_by_tree_and_definition(self, store: Store) -> None:
        flaky = CheckOutcome("tests", None, 2, 1.5, ("test_add",), "flaky")
        store.save_check("tree", "definition", CheckOutcome("tests", False, 1, 1.0))
        store.save_check("tree", "definition", flaky)
        assert store.check("tree", "definition") == flaky
        assert store.check("tree", "other") is None

    def test_notes(self, store: Store) -> None:
        assert store.get_note("head") is None
        store.set_note("head", "3f2a91c")
        store.set_note("head", "9d02c44")
        assert store.get_note("head") == "9d02c44"


class TestTransaction:
    """All or nothing."""

    def test_takes_all_writers_in(self, store: Store, paths: RepositoryPaths, clock: ManualClock) -> None:
        other = Store.open(paths, clock)
        with store.transaction():
            store.save_rollback(nouns.rollback(1))
            with store.transaction():
                store.append_event("phase", {})
            assert store.last_seq() == 1
            assert other.last_seq() == 0
        assert other.last_seq() == 1
        assert other.rollbacks() == [nouns.rollback(1)]
        other.close()

    def test_leaves_nothing_after_an_error(self, store: Store) -> None:
        def fail() -> None:
            with store.transaction():
                store.append_event("phase", {})
                raise KeyError("stop")

        with pytest.raises(KeyError):
            fail()
        assert store.last_seq() == 0
        assert store.append_event("phase", {}).seq == 1

    def test_is_void_after_an_error_within_even_if_it_is_caught(self, store: Store) -> None:
        def fail() -> None:
            with store.transaction():
                store.append_event("phase", {})
                try:
                    with store.transaction():
                        store.append_event("step", {})
                        raise KeyError("stop")
                except KeyError:
                    pass

        with pytest.raises(StoreError, match="none of it was written"):
            fail()
        assert store.last_seq() == 0
        assert store.append_event("phase", {}).seq == 1

    def test_of_one_thread_is_not_joined_by_another(self, store: Store) -> None:
        with store.transaction():
            store.append_event("phase", {})
            seen = []
            thread = threading.Thread(target=lambda: seen.append(store.last_seq()))
            thread.start()
            thread.join()
        assert seen == [0]


class TestProcesses:
    """Several at once."""

    def test_write_events_without_loss_or_gap(self, store: Store, paths: RepositoryPaths) -> None:
        code = (
            "import sys; from pathlib import Path; from rollcage.core.clock import SystemClock\n"
            "from rollcage.core.store.paths import RepositoryPaths; from rollcage.core.store.store import Store\n"
            "store = Store.open(RepositoryPaths(Path(sys.argv[1])), SystemClock())\n"
            "for n in range(50): store.append_event('step', {'n': n}); store.audit('me', 'write', str(n))\n"
            "store.close()"
        )
        writers = [subprocess.Popen([sys.executable, "-c", code, str(paths.root)]) for _ in range(3)]
        assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
        assert [event.seq for event in store.events_since(0)] == list(range(1, 151))
        assert store.verify_audit().records == 150
        assert store.verify_audit().ok

    def test_open_a_new_store_at_once(self, paths: RepositoryPaths) -> None:
        start = threading.Barrier(6)

        def opened(_: int) -> int:
            start.wait(timeout=10)
            store = Store.open(paths, SystemClock())
            try:
                return store.append_event("step", {}).seq
            finally:
                store.close()

        with ThreadPoolExecutor(6) as pool:
            assert sorted(pool.map(opened, range(6))) == [1, 2, 3, 4, 5, 6]


class TestChanged:
    """The hint to look again."""

    def test_sees_what_anybody_wrote(self, store: Store, paths: RepositoryPaths, clock: ManualClock) -> None:
        assert store.changed()
        assert not store.changed()
        store.append_event("phase", {})
        assert store.changed()
        assert not store.changed()
        other = Store.open(paths, clock)
        other.set_note("head", "1")
        assert store.changed()
        thread = threading.Thread(target=lambda: store.set_note("head", "2"))
        thread.start()
        thread.join()
        assert store.changed()
        signals = Signals(store)
        assert store.changed()
        signals.put([nouns.incident(1).findings[0].signals[0]])
        assert store.changed()
        store.last_seq()
        signals.last_seq()
        assert not store.changed()
        signals.close()
        other.close()


def test_closes_the_connections_of_ended_threads(store: Store) -> None:
    """A console of weeks must not run out of descriptors."""
    for _ in range(20):
        thread = threading.Thread(target=store.last_seq)
        thread.start()
        thread.join()
    assert len(store._connections._open) <= 2


def test_is_of_no_use_after_it_was_closed(store: Store) -> None:
    store.close()
    with pytest.raises(StoreError, match="was closed"):
        store.last_seq()
