"""Whether sessions that will ask for locks one after the other can come to wait for each other.

They can only where the order in which they take them has a circle (J. W. Havender, "Avoiding deadlock in multitasking
systems", IBM Systems Journal 7(2), 1968): locks taken in one global order never deadlock, and most plans are cleared
by that alone. Where there is a circle of locks, all ways in which these sessions could go on are tried: a lock that all
of them hold in common, or a permit to spare, may keep a circle from ever closing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .leases import Holding, Waiting, WaitLog
from .waits import cycles, deadlocked

if TYPE_CHECKING:
    import networkx

MOST_STATES = 3_000
"""Ways to go on that are tried; where there are more, a circle of locks counts as one that can close."""
MOST_CIRCLES = 20


@dataclass(frozen=True, slots=True)
class Want:
    """A lock of which somebody holds, or will want, so many slots."""

    name: str
    slots: int = 1
    permits: int = 1


@dataclass(frozen=True, slots=True)
class Course:
    """What a session holds now, and what it will ask for, in order; it gives all back at its end."""

    session: str
    holder: str
    holds: tuple[Want, ...]
    wants: tuple[Want, ...]


def lock_order(courses: Iterable[Course]) -> networkx.DiGraph[str]:
    """Return the graph of locks: an edge from each lock to those that somebody asks for while it holds it."""
    import networkx

    graph: networkx.DiGraph[str] = networkx.DiGraph()
    for course in courses:
        held = [want.name for want in course.holds]
        for want in course.wants:
            graph.add_edges_from((name, want.name) for name in held)
            held.append(want.name)
    return graph


def closing_circles(courses: Sequence[Course]) -> tuple[list[tuple[str, ...]], bool]:
    """Return the circles that can close, in the form of `cycles`, and whether that is proven.

    It is not where there are too many ways to go on: then they are circles in the order of the locks alone.
    """
    import networkx

    graph = lock_order(courses)
    knots = [
        knot
        for knot in networkx.strongly_connected_components(graph)
        if len(knot) > 1 or any(graph.has_edge(name, name) for name in knot)
    ]
    found: dict[frozenset[str], tuple[str, ...]] = {}
    proven = True
    for knot in sorted(knots, key=min):
        # Who never holds one lock of the knot while asking for another cannot be in a circle of it: it will end.
        inside = [course for course in courses if _is_in(course, knot)]
        circles, all_tried = _reachable(inside)
        if not all_tried and not circles:
            circles, proven = _in_order(graph.subgraph(knot), inside), False
        for circle in circles:
            found.setdefault(frozenset(circle), circle)
    return list(found.values())[:MOST_CIRCLES], proven


def safe_order(courses: Sequence[Course]) -> list[str]:
    """Return holders in an order in which all can go, one after the other, to their ends; empty: there is none.

    The safe sequence of the banker's algorithm (E. W. Dijkstra, EWD 623, 1977), each asking for all it wants at once.
    """
    free = _free(courses, [0] * len(courses))
    left, order = list(courses), list[str]()
    while left:
        for course in left:
            wanted = dict.fromkeys((want.name for want in course.wants), 0)
            for want in course.wants:
                wanted[want.name] += want.slots
            if all(free[name] >= slots for name, slots in wanted.items()):
                for want in course.holds:
                    free[want.name] += want.slots
                left.remove(course)
                order.append(course.holder)
                break
        else:
            return []
    return list(dict.fromkeys(order))


def _is_in(course: Course, knot: set[str]) -> bool:
    names = [want.name for want in (*course.holds, *course.wants)]
    return sum(name in knot for name in names) > 1 and any(want.name in knot for want in course.wants)


def _reachable(courses: Sequence[Course]) -> tuple[list[tuple[str, ...]], bool]:
    """Return the circles of all states that can be reached, and whether all were tried."""
    found: list[tuple[str, ...]] = []
    start = tuple(0 for _ in courses)
    seen, stack = {start}, [start]
    while stack and len(found) < MOST_CIRCLES:
        state = stack.pop()
        free = _free(courses, state)
        nexts, waiting = [], []
        for place, (course, step) in enumerate(zip(courses, state, strict=True)):
            if step > len(course.wants):
                continue  # it has come to its end
            want = course.wants[step] if step < len(course.wants) else None
            if want is not None and free[want.name] < want.slots:
                waiting.append(place)
            else:
                nexts.append((*state[:place], step + 1, *state[place + 1 :]))
        stuck_log = _log(courses, state, waiting)
        if waiting and deadlocked(stuck_log):
            found += [circle for circle in cycles(stuck_log) if circle not in found]
            continue  # whatever comes after it is the same circle
        for after in nexts:
            if after not in seen:
                seen.add(after)
                stack.append(after)
        if len(seen) > MOST_STATES:
            return found, False
    return found, True


def _log(courses: Sequence[Course], state: Sequence[int], waiting: Sequence[int]) -> WaitLog:
    holdings, waitings = [], []
    for place, (course, step) in enumerate(zip(courses, state, strict=True)):
        if step <= len(course.wants):
            holdings += [
                Holding(want.name, course.session, course.holder, 0, want.slots, want.permits)
                for want in (*course.holds, *course.wants[:step])
            ]
        if place in waiting:
            want = course.wants[step]
            waitings.append(Waiting(want.name, course.session, course.holder, place + 1, want.slots, want.permits, 0.0))
    return WaitLog(tuple(holdings), tuple(waitings))


def _free(courses: Sequence[Course], state: Sequence[int]) -> dict[str, int]:
    """Return the permits that are free once each course has gone so many steps."""
    free: dict[str, int] = {}
    for course in courses:
        for want in (*course.holds, *course.wants):
            free[want.name] = max(free.get(want.name, 0), want.permits)
    for course, step in zip(courses, state, strict=True):
        if step <= len(course.wants):
            for want in (*course.holds, *course.wants[:step]):
                free[want.name] -= want.slots
    return free


def _in_order(graph: networkx.DiGraph[str], courses: Sequence[Course]) -> list[tuple[str, ...]]:
    """Return circles of locks with one holder each: who asks for the next while it holds the one before."""
    from itertools import islice

    import networkx

    circles = []
    for names in islice(networkx.simple_cycles(graph, length_bound=2 * len(courses)), MOST_CIRCLES):
        told: list[str] = []
        for held, asked in zip(names, (*names[1:], names[0]), strict=True):
            told += [next(course.holder for course in courses if _asks(course, held, asked)), asked]
        circles.append((*told, told[0]))
    return circles


def _asks(course: Course, held: str, asked: str) -> bool:
    before = [want.name for want in course.holds]
    for want in course.wants:
        if want.name == asked and held in before:
            return True
        before.append(want.name)
    return False
