"""Deadlocks are foreseen where some way to go on leads into one; those that formed are ended, at one session's cost."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcage.core.config import Settings
from rollcage.core.coordination import lease_table, redis_line, waiting_line, waits
from rollcage.core.coordination.deadlock import (
    DeadlockBreak,
    LockRequest,
    RestartStep,
    Want,
    break_existing_deadlock,
    detect_potential_deadlock,
    find_deadlock,
)
from rollcage.core.coordination.leases import DeadlockError, HeldLease, Leases, LostLeaseError, WaitLog
from rollcage.core.coordination.stages import PlannedAgent, prevent_deadlock_formation
from rollcage.core.errors import StoreError, UsageError
from tests.coordination.conftest import Backend, line
from tests.coordination.test_waits import log, logs

NOBODY = WaitLog((), ())


# -- before


def test_two_who_take_two_locks_in_different_orders_may_wait_for_each_other() -> None:
    risk = detect_potential_deadlock(NOBODY, [LockRequest("ann", ("x", "y")), LockRequest("bob", ("y", "x"))])
    assert risk.deadlock_risk
    assert risk.detected_cycles == (("ann", "y", "bob", "x", "ann"),)
    assert risk.affected_agents == ("ann", "bob")
    assert risk.resolution_strategies == (
        "bob takes its locks in the global order: x, y",
        "ann asks only once the others have given back what they hold",
        "let them go one after the other: ann, then bob",
        "bound the wait of bob for x, and let it give back what it holds when it is over",
    )


def test_one_order_or_a_lock_before_both_or_a_permit_to_spare_is_no_risk() -> None:
    for requests in (
        [LockRequest("ann", ("x", "y")), LockRequest("bob", ("x", "y"))],
        [LockRequest("ann", ("gate", "x", "y")), LockRequest("bob", ("gate", "y", "x"))],
        [LockRequest("ann", ("x", Want("s", 1, 2))), LockRequest("bob", (Want("s", 1, 2), "x"))],
    ):
        risk = detect_potential_deadlock(NOBODY, requests)
        assert not risk.deadlock_risk
        assert risk.resolution_strategies == ()


def test_what_is_held_and_awaited_now_counts(backend: Backend) -> None:
    leases = backend.leases()
    leases.acquire("x", "ann", session="a")
    held = leases.acquire("y", "bob", session="b")
    assert not detect_potential_deadlock(leases, [LockRequest("ann", ("y",))]).deadlock_risk
    both = [LockRequest("ann", ("y",)), LockRequest("bob", ("x",))]
    assert detect_potential_deadlock(leases, both).detected_cycles == (("ann", "y", "bob", "x", "ann"),)
    assert leases.find("y", held.token).holder == "bob"  # nothing was granted or taken


def test_who_is_stuck_already_is_told_first() -> None:
    risk = detect_potential_deadlock(log("a+x", "b+y", "a?y", "b?x"), [])
    assert risk.affected_agents == ("A", "B")
    assert "there already" in risk.resolution_strategies[0]


def test_where_there_is_too_much_to_try_the_order_of_the_locks_decides() -> None:
    names = [f"l{n}" for n in range(12)]
    requests = [LockRequest(f"a{n}", (*names[n:], *names[:n])) for n in range(12)]
    begun = time.process_time()
    risk = detect_potential_deadlock(NOBODY, requests)
    assert risk.deadlock_risk
    assert time.process_time() - begun < 5


WANTS = st.lists(st.sampled_from("xyz"), min_size=1, max_size=3, unique=True)


@settings(max_examples=100, deadline=None)
@given(st.lists(WANTS, min_size=1, max_size=4), st.fixed_dictionaries({name: st.integers(1, 2) for name in "xyz"}))
def test_a_risk_is_seen_where_and_only_where_some_schedule_ends_in_one(
    plans: list[list[str]], permits: dict[str, int]
) -> None:
    requests = [
        LockRequest(f"a{place}", tuple(Want(name, 1, permits[name]) for name in names))
        for place, names in enumerate(plans)
    ]
    assert detect_potential_deadlock(NOBODY, requests).deadlock_risk == ends_in_deadlock(plans, permits)


def ends_in_deadlock(plans: list[list[str]], permits: dict[str, int]) -> bool:
    """Go every way there is: a way that ends before all have ended is a deadlock."""
    seen, stack = set(), [tuple(0 for _ in plans)]
    while stack:
        state = stack.pop()
        if state in seen:
            continue
        seen.add(state)
        free = dict(permits)
        for names, step in zip(plans, state, strict=True):
            for name in names[:step] if step <= len(names) else ():
                free[name] -= 1
        moves = [
            (*state[:place], step + 1, *state[place + 1 :])
            for place, (names, step) in enumerate(zip(plans, state, strict=True))
            if step == len(names) or (step < len(names) and free[names[step]] > 0)
        ]
        if not moves and any(step <= len(names) for names, step in zip(plans, state, strict=True)):
            return True
        stack += moves
    return False


# -- plans


FLEET = Settings.model_validate(
    {
        "agents": {
            "e": {"stage": "executor", "depends_on": ["analyzer"]},
            "p": {"stage": "planner"},
            "a": {"stage": "analyzer"},
            "m": {"stage": "monitor"},
            "r": {"stage": "retrospective"},
        }
    }
)


def test_agents_go_in_the_order_of_their_stages_each_with_its_time() -> None:
    plan = prevent_deadlock_formation([PlannedAgent(name) for name in "rmeap"], FLEET)
    assert [step.agent for step in plan.safe_execution_plan] == ["p", "a", "e", "m", "r"]
    assert [step.timeout for step in plan.safe_execution_plan] == [1_800, 7_200, 14_400, 28_800, 3_600]
    assert [step.after for step in plan.safe_execution_plan] == [(), ("p",), ("a",), ("e",), ("m",)]
    assert not plan.deadlock_prevention_applied
    assert plan.execution_constraints[0] == (
        "stages in strict order: planner before analyzer before executor before monitor before retrospective"
    )


def test_what_goes_back_is_left_out_and_told() -> None:
    plan = prevent_deadlock_formation(
        [PlannedAgent("p", waits_for=("e",)), PlannedAgent("e", locks=("y", "x", "y"), creates_for=("p", "m"))], FLEET
    )
    assert [(step.agent, step.after, step.locks) for step in plan.safe_execution_plan] == [
        ("p", (), ()),
        ("e", ("p",), ("x", "y")),
    ]
    assert plan.deadlock_prevention_applied
    assert plan.execution_constraints[:3] == (
        "p does not wait for e: executor comes after its stage",
        "e creates no Issue for p: executor comes after its stage",
        "e takes its locks in the global order: x, y",
    )


def test_a_circle_that_no_stage_opens_is_an_error() -> None:
    ring = [PlannedAgent("u", waits_for=("v",)), PlannedAgent("v", waits_for=("u",))]
    with pytest.raises(UsageError, match=r"u waits for v waits for u|v waits for u waits for v"):
        prevent_deadlock_formation(ring, FLEET)
    around = [PlannedAgent("p", waits_for=("u",)), PlannedAgent("u", waits_for=("e",)), PlannedAgent("e")]
    with pytest.raises(UsageError, match="with the order of the stages"):
        prevent_deadlock_formation(around, FLEET)
    with pytest.raises(UsageError, match="'x', which is no stage; allowed: planner"):
        prevent_deadlock_formation([PlannedAgent("u", stage="x")], FLEET)


@settings(max_examples=50, deadline=None)
@given(st.permutations("rmeap"), st.lists(WANTS, min_size=5, max_size=5))
def test_a_safe_plan_holds_no_risk(order: list[str], locks: list[list[str]]) -> None:
    plan = prevent_deadlock_formation(
        [PlannedAgent(name, tuple(its)) for name, its in zip(order, locks, strict=True)], FLEET
    )
    requests = [LockRequest(step.agent, step.locks) for step in plan.safe_execution_plan]
    assert not detect_potential_deadlock(NOBODY, requests).deadlock_risk


# -- for real: the five shapes of PostgreSQL's isolation tests (src/test/isolation/specs/deadlock-*.spec)


@dataclass
class Session:
    """A line of work with holdings of its own, whose waits go on in the background."""

    name: str
    leases: Leases
    held: list[HeldLease] = field(default_factory=list)
    refused: list[DeadlockError] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def lock(self, name: str, slots: int = 1, permits: int = 1) -> None:
        """Ask, and come back once it is had, is refused, or is seen waiting."""
        before = sum(each.session == self.name for each in self.leases.wait_log().waitings)

        def work() -> None:
            try:
                self.held.append(
                    self.leases.acquire(name, self.name, 60, 30, permits=permits, slots=slots, session=self.name)
                )
            except DeadlockError as error:
                self.refused.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self.threads.append(thread)
        until(
            lambda: (
                not thread.is_alive()
                or sum(each.session == self.name for each in self.leases.wait_log().waitings) > before
            )
        )

    def shared(self, name: str) -> None:
        self.lock(name, 1, 4)

    def alone(self, name: str, slots: int = 4) -> None:
        self.lock(name, slots, 4)

    def has(self, *names: str) -> bool:
        until(lambda: sorted(each.name for each in self.held) == sorted(names))
        return True

    def waits(self) -> bool:
        return any(each.session == self.name for each in self.leases.wait_log().waitings)

    def end(self) -> None:
        for held in self.held:
            self.leases.release(held)
        self.held.clear()


def until(condition: Callable[[], bool], patience: float = 10.0) -> None:
    pause, deadline = threading.Event(), time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        pause.wait(0.002)


@pytest.fixture
def sessions(backend: Backend) -> Iterator[Callable[[str], list[Session]]]:
    made: list[Session] = []

    def some(names: str) -> list[Session]:
        made.extend(Session(name, backend.leases()) for name in names.split())
        return made[-len(names.split()) :]

    yield some
    for waiting in made[0].leases.wait_log().waitings:
        made[0].leases.refuse(waiting, "the test is over")
    for session in made:
        for thread in session.threads:
            thread.join(10)


Some = Callable[[str], list[Session]]


def test_hard(sessions: Some) -> None:
    ring = sessions("s1 s2 s3 s4 s5 s6 s7 s8")
    for number, session in enumerate(ring, start=1):
        session.lock(f"a{number}")
    for number, session in enumerate(ring, start=1):
        session.lock(f"a{number % 8 + 1}")
    until(lambda: [len(session.refused) for session in ring] == [0] * 7 + [1])
    assert ring[7].refused[0].cycle[:4] == ("s8", "a1", "s1", "a2")
    for number in range(8, 0, -1):
        assert ring[number - 1].has(f"a{number}", *([f"a{number + 1}"] if number < 8 else []))
        ring[number - 1].end()


def test_simple(sessions: Some) -> None:
    s1, s2 = sessions("s1 s2")
    s1.shared("a1")
    s2.shared("a1")
    s1.alone("a1", 3)
    s2.alone("a1", 3)
    until(lambda: (len(s1.refused), len(s2.refused)) == (0, 1))
    s2.end()
    assert s1.has("a1", "a1")


def test_soft(sessions: Some) -> None:
    d1, d2, e1, e2 = everybody = sessions("d1 d2 e1 e2")
    d1.shared("a1")
    d2.shared("a2")
    e1.alone("a1")
    e2.alone("a2")
    d1.shared("a2")
    d2.shared("a1")
    until(lambda: not d1.waits() or not d2.waits())
    first, then = (d1, d2) if not d1.waits() else (d2, d1)
    assert first.has("a1", "a2")
    assert e1.waits()
    assert e2.waits()
    first.end()
    (e1 if then is d2 else e2).has("a1" if then is d2 else "a2")
    (e1 if then is d2 else e2).end()
    assert then.has("a1", "a2")
    then.end()
    assert (e2 if then is d2 else e1).has("a2" if then is d2 else "a1")
    assert not any(session.refused for session in everybody)


def test_soft_2(sessions: Some) -> None:
    s1, s2, s3, s4 = everybody = sessions("s1 s2 s3 s4")
    s1.lock("a1")
    s2.shared("a2")
    s2.lock("a1")
    s3.alone("a2")
    s4.alone("a2")
    s1.shared("a2")
    assert s1.has("a1", "a2")
    assert all(session.waits() for session in (s2, s3, s4))
    s1.end()
    assert s2.has("a1", "a2")
    s2.end()
    assert s3.has("a2")
    s3.end()
    assert s4.has("a2")
    assert not any(session.refused for session in everybody)


@pytest.mark.parametrize("how", ["release", "break", "lapse"])
def test_a_circle_by_queue_order_that_the_end_of_a_lease_closes_is_undone_then(
    sessions: Some, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    # Nobody looks by himself meanwhile.
    monkeypatch.setattr(waiting_line, "LOOK", 60)
    monkeypatch.setattr(lease_table, "WAITER_TTL", 60)
    monkeypatch.setattr(redis_line, "UNTANGLE", 60)
    x, y, w, s = everybody = sessions("x y w s")
    x.lock("e", 1, 2)
    held = y.leases.acquire("e", "y", 0.5 if how == "lapse" else 60, permits=2, session="y")
    s.lock("l")
    w.lock("e", 2, 2)
    s.lock("e", 1, 2)
    x.lock("l")
    assert how == "lapse" or all(session.waits() for session in (x, w, s))
    if how == "release":
        y.leases.release(held)
    elif how == "break":
        y.leases.break_("e", "operator", "a test", lambda who, what, subject, why="": None, held.token)
    until(lambda: sorted(each.name for each in s.held) == ["e", "l"], patience=5)
    assert w.waits()
    s.end()
    assert x.has("e", "l")
    x.end()
    assert w.has("e")
    assert not any(session.refused for session in everybody)


def test_parallel(sessions: Some) -> None:
    """As soft, but d1 and d2 wait in three threads each; lock 3 lets d1 end before d2."""
    d1, d2, e1, e2 = everybody = sessions("d1 d2 e1 e2")
    d1.lock("1", 1, 9)
    d1.lock("3", 9, 9)
    d2.lock("2", 1, 9)
    e1.lock("1", 9, 9)
    e2.lock("2", 9, 9)
    for _ in range(3):
        d1.lock("2", 1, 9)
    for _ in range(3):
        d2.lock("1", 1, 9)
    d2.lock("3", 1, 9)
    assert d1.has("1", "3", "2", "2", "2")
    d1.end()
    until(lambda: bool(e1.held) or len(d2.held) == 5)
    e1.end()
    assert d2.has("2", "1", "1", "1", "3")
    d2.end()
    assert e2.has("2")
    e2.end()
    assert not any(session.refused for session in everybody)


def test_processes_refuse_each_other_too(backend: Backend) -> None:
    code = (
        "from rollcage.core.errors import LeaseError\n"
        "leases.acquire(sys.argv[2], sys.argv[2]); print('first', flush=True); sys.stdin.readline()\n"
        "try: leases.acquire(sys.argv[3], sys.argv[2], wait=20); print('had', flush=True)\n"
        "except LeaseError as error: print(type(error).__name__, *error.cycle, flush=True)\n"
    )
    one, other = backend.process(code, "x", "y"), backend.process(code, "y", "x")
    assert (line(one), line(other)) == ("first", "first")
    for child in (one, other):
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    assert sorted((line(one).split()[0], line(other).split()[0])) == ["DeadlockError", "had"]


# -- breaking those that nobody saw form


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """See `let_circles_form`."""
    let_circles_form(monkeypatch)


def let_circles_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no keeper of leases see circles, as one on another host whose view was late."""
    for name, module in list(sys.modules.items()):
        users = name.startswith("rollcage.core.coordination.") and module is not waits
        if users and getattr(module, "refusal", None) is waits.refusal:
            monkeypatch.setattr(module, "refusal", lambda log, session: ())


class Records:
    """The audit log, as far as a break needs it."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, who: str, what: str, subject: str, why: str = "") -> None:
        self.lines.append(f"{who}: {what}: {subject}")


def ring_of(sessions: Some, names: str) -> list[Session]:
    ring = sessions(names)
    for session in ring:
        session.lock(f"of-{session.name}")
    for place, session in enumerate(ring):
        session.lock(f"of-{ring[(place + 1) % len(ring)].name}")
    return ring


@pytest.mark.usefixtures("blind")
def test_who_waits_longest_is_timed_out_and_the_others_go_on(sessions: Some) -> None:
    a, b, c = ring_of(sessions, "a b c")
    (beside,) = sessions("beside")
    beside.lock("of-a")
    token, records = a.held[0].token, Records()
    done = break_existing_deadlock(b.leases, by="engine", record=records)
    assert done == DeadlockBreak(
        True,
        "a",
        (
            RestartStep("c", "continue", (), ("of-a",)),
            RestartStep("b", "continue", ("c",), ("of-c",)),
            RestartStep("a", "restart", ("b",), ("of-a", "of-b")),
        ),
        ("timed out the wait of a for of-b", f"broke of-a, which a held with token {token}"),
    )
    assert records.lines[0] == "engine: break deadlock: a waits for of-b"
    assert len(records.lines) == 2
    until(lambda: bool(a.refused))
    assert "timed out by engine" in str(a.refused[0])
    assert a.refused[0].cycle == ("a", "of-b", "b", "of-c", "c", "of-a")
    assert c.has("of-c", "of-a")
    with pytest.raises(LostLeaseError, match="engine"):
        a.leases.renew(a.held[0])
    assert not break_existing_deadlock(b.leases, by="engine", record=records).deadlock_broken
    assert beside.waits()


@pytest.mark.usefixtures("blind")
def test_two_who_break_it_at_once_take_one_victim(sessions: Some) -> None:
    ring = ring_of(sessions, "a b")
    start, done, records = threading.Barrier(4), list[DeadlockBreak](), Records()
    breakers = sessions("p q r t")

    def work(leases: Leases) -> None:
        start.wait(10)
        done.append(break_existing_deadlock(leases, by="operator", record=records))

    threads = [threading.Thread(target=work, args=(each.leases,)) for each in breakers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(each.deadlock_broken for each in done) == [False, False, False, True]
    until(lambda: len(ring[1].held) == 2 and len(ring[0].refused) == 1)
    assert not ring[1].refused


@pytest.mark.usefixtures("blind")
def test_only_the_deadlock_of_the_agents_that_are_named_is_broken(sessions: Some) -> None:
    first, second = ring_of(sessions, "a b"), ring_of(sessions, "u v")
    done = break_existing_deadlock(first[0].leases, ["v"], by="ann", record=Records())
    assert done.forced_timeout_agent == "u"
    assert second[1].has("of-u", "of-v")
    assert all(session.waits() for session in first)
    assert not break_existing_deadlock(first[0].leases, ["v"], by="ann", record=Records()).deadlock_broken


@pytest.mark.usefixtures("blind")
def test_a_break_that_cannot_be_recorded_is_not_done(sessions: Some) -> None:
    a, b = ring_of(sessions, "a b")

    def full(who: str, what: str, subject: str, why: str = "") -> None:
        raise StoreError("the disk is full")

    with pytest.raises(StoreError):
        break_existing_deadlock(a.leases, by="engine", record=full)
    assert a.waits()
    assert b.waits()


def test_who_only_stands_behind_a_circle_is_no_victim() -> None:
    found = find_deadlock(log("z?x", "a+x", "b+y", "a?y", "b?x", "z+w"))
    assert found is not None
    assert [waiting.session for waiting in found[1]] == ["a", "b"]
    assert find_deadlock(log("a+s:1/2", "c+s:1/2", "b+y", "a?y", "b?s:1/2")) is None


@settings(max_examples=150, deadline=None)
@given(logs())
def test_one_after_the_other_all_deadlocks_come_to_an_end(state: WaitLog) -> None:
    stuck = waits.deadlocked(state)
    while (found := find_deadlock(state)) is not None:
        victim, circle = found
        assert victim == circle[0]
        assert victim.seq == min(waiting.seq for waiting in circle)
        for waiting, following in zip(circle, (*circle[1:], circle[0]), strict=True):
            assert any(held.name == waiting.name for held in state.holdings if held.session == following.session)
        assert {waiting.session for waiting in circle} <= stuck
        state = WaitLog(
            tuple(held for held in state.holdings if held.session != victim.session),
            tuple(waiting for waiting in state.waitings if waiting != victim),
        )
        assert waits.deadlocked(state) < stuck
        stuck = waits.deadlocked(state)
    assert not stuck
