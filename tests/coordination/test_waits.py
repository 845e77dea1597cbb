"""Whoever is stuck for good is found, nobody else; and a circle that the queue alone made is let go on."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random

import networkx
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcage.core.coordination.leases import Holding, Waiting, WaitLog
from rollcage.core.coordination.waits import cycles, deadlocked, may_pass, passes, refusal, refusals


def log(*events: str) -> WaitLog:
    """Return what ``events`` make: ``a+l`` a holds l, ``a?l`` a waits for l; ``l:2/4`` takes two of four permits."""
    holdings, waitings = [], []
    for place, event in enumerate(events, start=1):
        session, _, what = event.replace("?", "+").partition("+")
        name, _, size = what.partition(":")
        slots, _, permits = (size or "1/1").partition("/")
        if "+" in event:
            holdings.append(Holding(name, session, session.upper(), place, int(slots), int(permits)))
        else:
            waitings.append(Waiting(name, session, session.upper(), place, int(slots), int(permits), 0.0))
    return WaitLog(tuple(holdings), tuple(waitings))


def test_the_wait_that_closes_a_circle_is_refused_and_told_the_circle() -> None:
    both = log("a+x", "b+y", "a?y", "b?x")
    assert refusal(both, "b") == ("B", "x", "A", "y")
    assert refusal(both, "a") == ()
    assert cycles(both) == [("A", "y", "B", "x", "A")]


def test_who_waits_for_what_it_holds_itself_waits_for_ever() -> None:
    assert refusal(log("a+x", "a?x"), "a") == ("A", "x")


def test_a_line_of_waiters_is_no_circle() -> None:
    line = log("a+x", "b?x", "b+y", "c?y", "c+z", "d?z")
    assert [refusal(line, session) for session in "abcd"] == [()] * 4
    assert cycles(line) == []


def test_a_circle_that_another_permit_will_open_is_none() -> None:
    open_ = log("a+s:1/2", "c+s:1/2", "b+y", "a?y", "b?s:1/2")
    assert refusal(open_, "b") == ()
    assert cycles(open_) == []
    shut = replace(open_, waitings=(*open_.waitings, Waiting("y", "c", "C", 9, 1, 1, 0.0)))
    assert refusal(shut, "c") == ("C", "y", "B", "s")


def test_of_waits_that_came_at_once_the_newest_of_each_circle_is_refused_and_no_more() -> None:
    both = log("x+1", "y+2", "z+3", "x?2", "y?1", "z?2")
    assert [session for session in "xyz" if refusal(both, session)] == ["y"]


def test_names_in_a_circle_are_cleaned() -> None:
    waits = WaitLog((Holding("x", "a", "evil\x1b[31m", 1, 1, 1),), (Waiting("x", "a", "evil\x1b[31m\n", 2, 1, 1, 0.0),))
    assert refusal(waits, "a") == ("evil", "x")


# -- the five shapes of PostgreSQL's isolation tests (src/test/isolation/specs/deadlock-*.spec)


def test_hard() -> None:
    ring = log(*(f"s{n}+a{n}" for n in range(1, 9)), *(f"s{n}?a{n % 8 + 1}" for n in range(1, 9)))
    assert [waiting.session for waiting, _ in refusals(ring)] == ["s8"]
    assert refusal(ring, "s8")[:4] == ("S8", "a1", "S1", "a2")


def test_simple_two_who_hold_it_shared_want_it_alone() -> None:
    upgrade = log("s1+a1:1/4", "s2+a1:1/4", "s1?a1:3/4", "s2?a1:3/4")
    assert [waiting.session for waiting, _ in refusals(upgrade)] == ["s2"]


def test_soft() -> None:
    soft = log("d1+a1:1/4", "d2+a2:1/4", "e1?a1:4/4", "e2?a2:4/4", "d1?a2:1/4", "d2?a1:1/4")
    assert refusals(soft) == ()
    assert deadlocked(soft) == frozenset()
    assert cycles(soft) == [("E1", "a1", "D1", "a2", "E2", "a2", "D2", "a1", "E1")]
    assert [waiting.session for waiting in soft.waitings if may_pass(soft, waiting)] == ["d1", "d2"]
    assert [waiting.session for waiting in passes(soft)] == ["d1"]


def test_soft_2_one_passes_two() -> None:
    soft = log("s1+a1", "s2+a2:1/4", "s2?a1", "s3?a2:4/4", "s4?a2:4/4", "s1?a2:1/4")
    assert refusals(soft) == ()
    assert [waiting.session for waiting in soft.waitings if may_pass(soft, waiting)] == ["s1"]


def test_parallel_a_session_waits_in_several_threads() -> None:
    soft = log(
        *("d1+a1:1/9", "d1+a3:9/9", "d2+a2:1/9", "e1?a1:9/9", "e2?a2:9/9"),
        *("d1?a2:1/9",) * 3,
        *("d2?a1:1/9",) * 3,
    )
    assert refusals(soft) == ()
    passing = [waiting for waiting in soft.waitings if may_pass(soft, waiting)]
    assert [waiting.session for waiting in passing] == ["d1"] * 3 + ["d2"] * 3
    assert passes(soft) == tuple(passing[:3])
    two_left = WaitLog(soft.holdings, tuple(each for each in soft.waitings if each.seq != passing[0].seq))
    assert may_pass(two_left, passing[1])


def test_nobody_passes_who_could_wait() -> None:
    queue = log("a+x:1/4", "b?x:4/4", "c?x:1/4")
    assert not may_pass(queue, queue.waitings[1])
    beside = log("a+x:1/4", "a?y", "b+y", "b?x:4/4", "c+z", "c?x:1/4")
    assert deadlocked(beside) >= {"a", "b"}
    assert not may_pass(beside, beside.waitings[-1])


# -- against every schedule there is


NAMES = ("k", "l", "m")
SESSIONS = tuple("abcdef")


@st.composite
def logs(draw: st.DrawFn) -> WaitLog:
    permits = {name: draw(st.integers(1, 3)) for name in NAMES}
    holdings: list[Holding] = []
    for name in NAMES:
        left = permits[name]
        for session in draw(st.permutations(SESSIONS)):
            if left and draw(st.booleans()):
                slots = draw(st.integers(1, left))
                left -= slots
                holdings.append(Holding(name, session, session.upper(), len(holdings) + 1, slots, permits[name]))
    waitings: list[Waiting] = []
    for session in draw(st.permutations(SESSIONS)):
        name = draw(st.sampled_from((*NAMES, *NAMES, "")))
        if name:
            slots = draw(st.integers(1, permits[name]))
            waitings.append(
                Waiting(name, session, session.upper(), len(waitings) + 1, slots, permits[name], 0.0),
            )
    return WaitLog(tuple(holdings), tuple(waitings))


def free(state: WaitLog, name: str, permits: int) -> int:
    return permits - sum(each.slots for each in state.holdings if each.name == name)


def granted(state: WaitLog, waiting: Waiting) -> WaitLog:
    held = Holding(waiting.name, waiting.session, waiting.holder, 0, waiting.slots, waiting.permits)
    return WaitLog((*state.holdings, held), tuple(each for each in state.waitings if each != waiting))


def ended(state: WaitLog, session: str) -> WaitLog:
    return WaitLog(tuple(each for each in state.holdings if each.session != session), state.waitings)


def never_served(state: WaitLog, *, fair: bool) -> frozenset[str]:
    """Try all schedules, in which any session that does not wait may end and any wait that fits may be granted."""
    waiting_ones = {each.session for each in state.waitings}
    served: set[str] = set()
    seen: set[tuple[frozenset[Holding], frozenset[Waiting]]] = set()
    stack = [state]
    while stack and served != waiting_ones:
        now = stack.pop()
        key = (frozenset(now.holdings), frozenset(now.waitings))
        if key in seen:
            continue
        seen.add(key)
        still = {each.session for each in now.waitings}
        served |= waiting_ones - still
        stack += [ended(now, session) for session in {each.session for each in now.holdings} - still]
        for each in now.waitings:
            is_first = not any(other.name == each.name and other.seq < each.seq for other in now.waitings)
            if free(now, each.name, each.permits) >= each.slots and (is_first or not fair):
                stack.append(granted(now, each))
    return frozenset(waiting_ones - served)


@settings(max_examples=150, deadline=None)
@given(logs())
def test_those_whom_no_schedule_serves_are_stuck_and_nobody_else(state: WaitLog) -> None:
    assert deadlocked(state) == never_served(state, fair=False)


@settings(max_examples=150, deadline=None)
@given(logs())
def test_there_are_circles_where_and_only_where_fair_queues_serve_somebody_never(state: WaitLog) -> None:
    stuck = never_served(state, fair=True)
    found = cycles(state)
    assert bool(found) == bool(stuck)
    graph: networkx.DiGraph[str] = networkx.DiGraph()
    for each in state.waitings:
        blockers = [held.session for held in state.holdings if held.name == each.name]
        blockers += [other.session for other in state.waitings if other.name == each.name and other.seq < each.seq]
        graph.add_edges_from((each.session.upper(), other.upper()) for other in blockers)
    for circle in found:
        assert circle[0] == circle[-1]
        walk = circle[::2]
        assert {each.lower() for each in walk} <= stuck
        assert all(graph.has_edge(one, other) for one, other in pairwise(walk))
        assert len(set(walk)) == len(walk) - 1
    assert len(set(found)) == len(found)


@settings(max_examples=150, deadline=None)
@given(logs())
def test_the_refused_are_those_that_closed_a_circle_when_they_came(state: WaitLog) -> None:
    came = WaitLog(state.holdings, ())
    expected = []
    for waiting in state.waitings:
        now = WaitLog(came.holdings, (*came.waitings, waiting))
        if never_served(now, fair=False):
            expected.append(waiting)
        else:
            came = now
    assert [waiting for waiting, _ in refusals(state)] == expected
    assert [each for each in state.waitings if refusal(state, each.session)] == expected
    for waiting in expected:
        circle = refusal(state, waiting.session)
        assert circle[0] == waiting.holder
        assert circle[1] == waiting.name
        held = {(each.name, each.holder) for each in state.holdings}
        waits = {(each.holder, each.name) for each in state.waitings}
        assert all(pair in waits for pair in zip(circle[::2], circle[1::2], strict=True))
        assert all(pair in held for pair in zip(circle[1::2], (*circle[2::2], circle[0]), strict=True))


@settings(max_examples=150, deadline=None)
@given(logs(), st.randoms(use_true_random=False))
def test_with_refusals_and_passes_everybody_comes_to_an_end(state: WaitLog, random: Random) -> None:
    shut = {waiting for waiting, _ in refusals(state)}
    state = WaitLog(state.holdings, tuple(each for each in state.waitings if each not in shut))
    while state.waitings:
        still = {each.session for each in state.waitings}
        moves = [ended(state, session) for session in {each.session for each in state.holdings} - still]
        for each in state.waitings:
            is_first = not any(other.name == each.name and other.seq < each.seq for other in state.waitings)
            passes = may_pass(state, each)
            if passes:
                assert each.session in never_served(state, fair=True)
                assert free(state, each.name, each.permits) >= each.slots
            if passes or (is_first and free(state, each.name, each.permits) >= each.slots):
                moves.append(granted(state, each))
        assert moves, "somebody waits for ever"
        state = random.choice(moves)


def test_a_long_queue_is_searched_to_its_end() -> None:
    queue = log("a+x", *(f"s{n}?x" for n in range(200)), "a+y", "s0+z", "a?z")
    assert refusal(queue, "a") == ("A", "z", "S0", "x")
    assert len(cycles(queue)) == 1
