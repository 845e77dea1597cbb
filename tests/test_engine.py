"""The loop as a whole: once, and in its threads; one leads, none hangs the others, a rollback comes to its end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollcage.console.operator import StoreOperator
from rollcage.core.config import Level
from rollcage.core.coordination.leader import LEASE
from rollcage.core.decisions import answer_to
from rollcage.core.engine import Engine
from rollcage.core.errors import LeaseError, UsageError
from rollcage.core.execute.runner import start_rollback
from rollcage.core.model import Hold, IncidentState, RollbackState, Severity
from rollcage.core.outcome import Outcome
from tests.conftest import git
from tests.loop import BAD, CHECK, GOOD, Shop, Stages, eventually


def once(shop: Shop, level: Level = Level.AUTO, **more: Any) -> Outcome:
    """Run ``--once`` as a new process would."""
    shop.open()
    with shop.leading() as leader:
        return Engine(shop.services, leader, level).run_once(**more)


def state(shop: Shop, incident: str = "inc-1") -> IncidentState | None:
    found = shop.services.store.incident(incident)
    return found.state if found else None


def operator(shop: Shop) -> StoreOperator:
    return StoreOperator(shop.services.store, shop.services.clock, lambda: shop.context.leases, name="ann@desk")


def calc(shop: Shop) -> str:
    return (shop.path / "calc.py").read_text()


class Gate:
    """A check that, while it is shut, does not come to an end: so that something is in progress."""

    def __init__(self, folder: Path) -> None:
        self._shut, self._reached = folder / "gate-shut", folder / "gate-reached"

    def check(self, test: str, name: str = "tests") -> dict[str, Any]:
        wait = (
            f"if test -e {self._shut}; then touch {self._reached}; fi; while test -e {self._shut}; do sleep 0.02; done"
        )
        return {**CHECK, "name": name, "run": ["sh", "-c", f"{wait}; {test}"]}

    def shut(self) -> None:
        self._reached.unlink(missing_ok=True)
        self._shut.touch()

    def open(self) -> None:
        self._shut.unlink(missing_ok=True)

    def await_somebody(self) -> None:
        eventually(self._reached.exists, "a check that waits at the gate")


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """Yield a gate, open; it is open again in the end."""
    gate = Gate(tmp_path)
    yield gate
    gate.open()


def well_until_the_fault(shop: Shop) -> None:
    """Find all well at level auto, and then somebody commits the fault."""
    once(shop)
    shop.break_it()


def waits(shop: Shop) -> None:
    """Let the incident wait for a human."""
    well_until_the_fault(shop)
    assert once(shop, Level.PROPOSE).result == "waiting"


@pytest.fixture
def faulty(stages: Stages) -> Iterator[Shop]:
    with stages.at(well_until_the_fault) as shop:
        yield shop


@pytest.fixture
def waiting(stages: Stages) -> Iterator[Shop]:
    with stages.at(waits) as shop:
        yield shop


# -- once


def test_a_healthy_repository_is_healthy_and_its_tip_marked_good(shop: Shop) -> None:
    outcome = once(shop)
    assert (outcome.result, outcome.incidents, outcome.rollbacks) == ("healthy", (), ())
    assert outcome.head_before == outcome.head_after == shop.head()
    services = shop.services
    assert services.store.is_good(shop.head(), services.checks.checks_hash)


def test_a_fault_is_followed_to_its_end(faulty: Shop) -> None:
    shop = faulty
    head = shop.head()
    outcome = once(shop)
    assert (outcome.result, outcome.incidents, outcome.rollbacks) == ("recovered", ("inc-1",), ("rb-1",))
    assert (outcome.head_before, outcome.head_after) == (head, shop.head())
    assert calc(shop) == GOOD
    assert once(shop).result == "healthy"


def test_what_was_approved_while_no_engine_ran_is_carried_out_and_counts(waiting: Shop) -> None:
    shop = waiting
    again = once(shop, Level.PROPOSE)
    assert (again.result, again.incidents) == ("waiting", ("inc-1",)), "nobody decided, so it waits on"
    operator(shop).approve("opt-1.1")
    outcome = once(shop, Level.PROPOSE)
    assert (outcome.result, outcome.incidents, outcome.rollbacks) == ("recovered", ("inc-1",), ("rb-1",))


@pytest.mark.parametrize("decide", ["reject", "nothing"])
def test_while_the_check_fails_it_is_never_called_healthy(shop: Shop, decide: str) -> None:
    """Rejected, or escalated because nothing passes as far as one looks back."""
    shop.configure(limits={"lookback": 1})
    shop.break_it()
    assert once(shop).result == "escalated"
    if decide == "reject":
        store = shop.services.store
        incident = store.incident("inc-1")
        assert incident is not None
        store.save_incident(replace(incident, state=IncidentState.REJECTED))
    head = shop.head()
    outcome = once(shop)
    assert (outcome.result, outcome.incidents) == ("escalated", ("inc-1",))
    assert shop.head() == head
    shop.commit("planner", "mend it", {"calc.py": GOOD})
    assert once(shop).result == "healthy"


def test_a_rollback_that_a_killed_engine_left_is_carried_on_and_counts(waiting: Shop) -> None:
    shop = waiting
    services = shop.services
    incident, plan = services.store.incident("inc-1"), services.store.plan("opt-1.1")
    assert incident is not None
    assert plan is not None
    services.store.save_incident(replace(incident, state=IncidentState.ROLLING_BACK))
    start_rollback(services, plan, approved_by="ann@desk")
    outcome = once(shop, Level.PROPOSE)
    assert (outcome.result, outcome.incidents, outcome.rollbacks) == ("recovered", ("inc-1",), ("rb-1",))


def test_level_watch_changes_nothing_at_all(waiting: Shop) -> None:
    shop = waiting
    operator(shop).approve("opt-1.1")
    services = shop.services
    services.store.set_hold("planner", Hold.STANDBY)
    before = (shop.head(), git(shop.path, "status", "--porcelain", "--ignored"), services.store.holds())
    refs = git(shop.path, "for-each-ref")
    outcome = once(shop, Level.WATCH)
    assert outcome.result == "waiting"
    services = shop.services
    after = (shop.head(), git(shop.path, "status", "--porcelain", "--ignored"), services.store.holds())
    assert after == before
    assert git(shop.path, "for-each-ref") == refs
    assert [decision.taken for decision in services.store.decisions() if decision.by == "ann@desk"] == [False]


def test_at_level_watch_what_is_found_is_told_to_a_human(shop: Shop) -> None:
    once(shop, Level.WATCH)
    shop.break_it()
    outcome = once(shop, Level.WATCH)
    assert (outcome.result, outcome.incidents) == ("escalated", ("inc-1",))
    assert shop.services.store.snapshots() == []
    assert once(shop, Level.WATCH).result == "escalated"
    shop.commit("planner", "mend it", {"calc.py": GOOD})
    assert once(shop, Level.WATCH).result == "healthy"
    assert state(shop) is IncidentState.CLEARED


def test_a_warning_is_no_incident_to_follow_but_not_all_is_well(shop: Shop) -> None:
    shop.configure(rules={"load": {"normal": 1, "warning": 2, "critical": 9}})
    shop.signal("metric", "load", value=3.0)
    outcome = once(shop)
    assert (outcome.result, outcome.incidents) == ("waiting", ("inc-1",))
    assert shop.services.store.diagnosis("inc-1") is None
    shop.signal("metric", "load", value=0.0)
    assert once(shop).result == "healthy"


def test_settle_waits_for_rules_that_need_a_value_to_last(shop: Shop) -> None:
    shop.configure(rules={"load": {"normal": 1, "warning": 2, "critical": 9, "for": "0.3s"}})
    stop = threading.Event()

    def report() -> None:
        while not stop.wait(0.05):
            shop.signal("metric", "load", value=10.0)

    shop.services.signals  # noqa: B018 - opened in this thread
    reporter = threading.Thread(target=report)
    reporter.start()
    try:
        with shop.leading() as leader:
            assert Engine(shop.services, leader, Level.AUTO).run_once(settle=20.0).incidents == ("inc-1",)
    finally:
        stop.set()
        reporter.join()


def test_where_checks_cannot_be_run_it_is_not_healthy(shop: Shop) -> None:
    shop.configure(checks=[{**CHECK, "run": ["no-such-command"]}])
    assert once(shop).result == "escalated"
    told = [event.body for event in shop.services.store.recent_events(100) if event.event == "alert"]
    assert "check tests cannot be started: no-such-command" in str(told[-1]["text"])


def test_who_stands_by_for_a_decision_is_told_when_the_last_engine_leaves(waiting: Shop) -> None:
    shop = waiting
    store = shop.services.store
    store.set_hold("planner", Hold.STANDBY)
    for _ in range(2):
        with shop.leading() as leader:
            Engine(shop.services, leader, Level.PROPOSE).obey_once()
    told = [str(event.body["text"]) for event in store.recent_events(100) if event.event == "alert"]
    assert [text.partition(":")[0] for text in told if "no engine runs" in text] == [
        "no engine runs any more while inc-1 waits for a decision, until which planner stand by"
    ]


def test_a_branch_that_is_not_there_is_refused(shop: Shop) -> None:
    shop.configure(branch="nowhere")
    with pytest.raises(UsageError, match="there is no branch nowhere"):
        once(shop)


def test_asked_to_leave_it_comes_to_an_end_and_the_next_run_goes_on(shop: Shop, gate: Gate) -> None:
    shop.configure(checks=[gate.check("grep -q 'a + b' calc.py")])
    shop.break_it()
    gate.shut()
    shop.open()
    outcomes: list[Outcome] = []
    with shop.leading() as leader:
        engine = Engine(shop.services, leader, Level.AUTO)
        thread = threading.Thread(target=lambda: outcomes.append(engine.run_once()))
        thread.start()
        gate.await_somebody()
        engine.leaving.set()
        thread.join(30)
    assert [outcome.rollbacks for outcome in outcomes] == [()]
    gate.open()
    assert once(shop).result == "recovered"


def test_two_critical_incidents_are_both_followed(shop: Shop) -> None:
    shop.configure(rules={"load": {"normal": 1, "warning": 2, "critical": 9}})
    once(shop)
    shop.break_it()
    shop.signal("metric", "load", agent="monitor", value=10.0)
    outcome = once(shop)
    assert outcome.incidents == ("inc-1", "inc-2")
    assert {state(shop, "inc-1"), state(shop, "inc-2")} == {IncidentState.WAITING, IncidentState.RECOVERED}
    assert outcome.result == "waiting"


# -- continuously


class Running:
    """An engine in its threads."""

    def __init__(self, shop: Shop, level: Level) -> None:
        self.shop, self._lead = shop, shop.leading()
        self.leader = self._lead.__enter__()
        self.engine = Engine(shop.services, self.leader, level)
        self.engine.start()

    def close(self) -> None:
        self.engine.stop()
        assert self.engine.join(60)
        self._lead.__exit__(None, None, None)


@pytest.fixture
def run(shop: Shop) -> Iterator[Any]:
    """Yield what starts an engine; it is stopped in the end, and all its threads have ended then."""
    running: list[Running] = []

    def start(level: Level = Level.AUTO) -> Running:
        running.append(Running(shop, level))
        return running[-1]

    yield start
    for each in running:
        each.close()


def test_from_a_signal_to_its_incident_and_a_fault_to_its_end(shop: Shop, run: Any) -> None:
    shop.configure(rules={"load": {"normal": 1, "warning": 2, "critical": 9}})
    run()
    store = shop.services.store
    eventually(lambda: store.is_good(shop.head(), shop.services.checks.checks_hash), "the first check")
    shop.signal("metric", "load", agent="planner", value=3.0)
    eventually(lambda: state(shop) is IncidentState.OPEN, "the finding", seconds=10)
    shop.signal("metric", "load", agent="planner", value=0.0)
    eventually(lambda: state(shop) is IncidentState.CLEARED, "its end", seconds=10)
    shop.break_it()
    eventually(lambda: state(shop, "inc-2") is IncidentState.RECOVERED, "the recovery", seconds=60)
    assert calc(shop) == GOOD


def test_stopped_in_the_middle_a_rollback_is_carried_to_its_end(shop: Shop, gate: Gate, run: Any) -> None:
    shop.configure(checks=[gate.check("grep -q 'a + b' calc.py")])
    once(shop)
    shop.break_it()
    assert once(shop, Level.PROPOSE).result == "waiting"
    running = run(Level.PROPOSE)
    gate.shut()
    operator(shop).approve("opt-1.1")
    gate.await_somebody()  # the commit is on the branch, the checks look at it
    running.engine.stop()
    assert not running.engine.join(0.2)
    assert shop.services.store.rollbacks()[0].state is RollbackState.RUNNING
    gate.open()
    assert running.engine.join(60)
    assert shop.services.store.rollbacks()[0].state is RollbackState.DONE
    assert state(shop) is IncidentState.RECOVERED


def test_an_agent_is_stopped_and_a_decision_carried_out_while_a_check_takes_its_time(
    shop: Shop, gate: Gate, run: Any
) -> None:
    """A diagnosis can take half an hour: no operator waits for it, and it is not lost either."""
    shop.configure(
        checks=[gate.check("grep -q 'a + b' calc.py"), gate.check("test ! -e two && grep -q add calc.py", "second")]
    )
    once(shop)
    shop.commit("planner", "two", {"two": "2\n"})
    assert once(shop, Level.PROPOSE).incidents == ("inc-1",)
    store = shop.services.store
    first, later = operator(shop).reject("opt-1.1"), shop.finding(agent="executor")
    store.take_decision(first.id)  # it is not carried out before the diagnosis has begun: see below
    shop.commit("executor", "tidy add", {"calc.py": BAD})
    shop.incident(later)
    gate.shut()
    run(Level.PROPOSE)
    gate.await_somebody()
    stop = operator(shop).stop_agent("planner")
    eventually(lambda: answer_to(store, stop.id), "the stop")
    second = operator(shop).reject("opt-1.1")
    eventually(lambda: answer_to(store, second.id), "the decision")
    assert state(shop, "inc-2") is IncidentState.OPEN
    gate.open()
    eventually(lambda: state(shop, "inc-2") is IncidentState.WAITING, "the diagnosis", seconds=60)


def test_a_second_emergency_is_made_safe_while_the_first_is_diagnosed(shop: Shop, gate: Gate, run: Any) -> None:
    shop.configure(
        checks=[gate.check("grep -q 'a + b' calc.py")], rules={"load": {"normal": 1, "warning": 2, "critical": 9}}
    )
    once(shop)
    shop.break_it()
    gate.shut()
    shop.incident()
    run(Level.PROPOSE)
    gate.await_somebody()
    shop.signal("metric", "load", agent="planner", value=10.0)
    store = shop.services.store
    eventually(lambda: store.get_note("safe:inc-2"), "the second incident made safe")
    assert store.holds()["planner"].hold is Hold.PAUSED
    assert state(shop) is IncidentState.OPEN


def test_who_loses_the_leadership_ends(shop: Shop, run: Any) -> None:
    running = run(Level.PROPOSE)
    shop.context.leases.break_(LEASE, "ann", "another machine takes over", shop.services.store.audit)
    eventually(running.engine.leaving.is_set, "the end of the engine")
    assert running.engine.join(30)
    assert "the leadership was lost" in running.engine.failure
    with shop.leading():
        pass


def test_who_loses_the_leadership_during_once_says_so(shop: Shop, gate: Gate) -> None:
    shop.configure(checks=[gate.check("grep -q 'a + b' calc.py")])
    gate.shut()
    shop.open()
    failed: list[BaseException] = []
    with shop.leading() as leader:
        engine = Engine(shop.services, leader, Level.AUTO)

        def work() -> None:
            try:
                engine.run_once()
            except LeaseError as error:
                failed.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        gate.await_somebody()
        shop.context.leases.break_(LEASE, "ann", "another machine takes over", shop.services.store.audit)
        thread.join(30)
    assert ["the leadership was lost" in str(error) for error in failed] == [True]


def test_trouble_with_the_checks_themselves_is_a_warning_on_the_board(shop: Shop, run: Any) -> None:
    from rollcage.core.progress import warnings_of_engine

    shop.configure(checks=[{**CHECK, "run": ["true"]}])
    run(Level.PROPOSE)
    store = shop.services.store
    eventually(lambda: warnings_of_engine(store), "the warning")
    (warning,) = warnings_of_engine(store)
    assert "passes even with every source emptied" in warning
    eventually(lambda: [e for e in store.recent_events(50) if e.event == "alert"], "the alert")
    assert not store.is_good(shop.head(), shop.services.checks.checks_hash)


def test_severity_of_what_is_only_a_warning_stays(shop: Shop, run: Any) -> None:
    shop.configure(rules={"load": {"normal": 1, "warning": 2, "critical": 9}})
    run(Level.AUTO)
    shop.signal("metric", "load", value=3.0)
    eventually(lambda: state(shop) is IncidentState.OPEN, "the warning")
    shop.signal("metric", "load", value=10.0)
    eventually(lambda: state(shop) is IncidentState.WAITING, "what became of it when it got worse", seconds=60)
    incident = shop.services.store.incident("inc-1")
    assert incident is not None
    assert incident.severity is Severity.CRITICAL
