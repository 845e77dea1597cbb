"""Deadlocks foreseen, and deadlocks broken. That they do not form is the business of `stages` and of `waits`.

Who is about to wait and would close a circle is refused by the keeper of the leases itself (`waits.refusal`). What is
here is for the rest: plans that have not begun, and circles that no keeper saw form, across hosts or with tools that
keep leases for others.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from ..text import clean
from .foresight import Course, Want, closing_circles, safe_order
from .leases import Holding, Leases, LostLeaseError, Recorder, Waiting, WaitLog
from .waits import deadlocked

if TYPE_CHECKING:
    import networkx


@dataclass(frozen=True, slots=True)
class LockRequest:
    """Who would ask for which locks, in this order, keeping each until it has ended."""

    agent: str
    """A holder, as leases name it."""
    locks: tuple[str | Want, ...]
    """A name is a lock with one permit."""
    session: str = ""
    """Of its lines of work the one that asks; empty: all that it holds and waits for counts as one line of work."""


@dataclass(frozen=True, slots=True)
class DeadlockRisk:
    """What could come of requests before they are granted."""

    deadlock_risk: bool
    detected_cycles: tuple[tuple[str, ...], ...]
    """Each goes holder, lock, holder, lock ... and the first holder again; cleaned."""
    affected_agents: tuple[str, ...]
    resolution_strategies: tuple[str, ...]
    """For people, the best first."""


@dataclass(frozen=True, slots=True)
class RestartStep:
    """How an agent of a circle goes on."""

    agent: str
    action: str
    """``continue``: it runs and gets what it waits for; ``restart``: it was timed out and has to ask again."""
    after: tuple[str, ...]
    """Agents that have to be done with their locks before."""
    locks: tuple[str, ...]
    """What it waits for or, in the global order, what it has to take again."""


@dataclass(frozen=True, slots=True)
class DeadlockBreak:
    """What became of a deadlock."""

    deadlock_broken: bool
    """False: there is none, or somebody else was quicker."""
    forced_timeout_agent: str
    """Empty: none."""
    restart_plan: tuple[RestartStep, ...]
    """In the order in which they can go on. What they have done so far is kept: no file, no commit, no message."""
    recovery_actions: tuple[str, ...]
    """What was done, for people."""


class HasWaitLog(Protocol):
    """Whatever can tell who holds and who waits."""

    def wait_log(self) -> WaitLog:
        """See `Leases.wait_log`."""
        ...


# -- before


def detect_potential_deadlock(state: WaitLog | HasWaitLog, requests: Sequence[LockRequest]) -> DeadlockRisk:
    """Say what could come of ``requests`` on top of who holds and waits now, before anything is granted.

    Who holds now and asks for nothing more is taken to give back what it holds. Raises StoreError where ``state`` is
    leases that cannot be read.
    """
    log = state if isinstance(state, WaitLog) else state.wait_log()
    courses = _courses(log, requests)
    circles, proven = closing_circles(courses)
    if not circles:
        return DeadlockRisk(False, (), (), ())
    told = tuple(tuple(clean(word, limit=200) for word in circle) for circle in circles)
    agents = tuple(sorted({holder for circle in told for holder in circle[:-1:2]}))
    return DeadlockRisk(True, told, agents, tuple(_strategies(log, courses, requests, told, proven)))


def _courses(log: WaitLog, requests: Sequence[LockRequest]) -> list[Course]:
    whole = {request.agent for request in requests if not request.session}

    def of(each: Holding | Waiting) -> str:
        return f"agent {each.holder}" if each.holder in whole else f"session {each.session or id(each)}"

    holders: dict[str, str] = {}
    holds: dict[str, list[Want]] = {}
    wants: dict[str, list[Want]] = {}
    for held in log.holdings:
        holders[of(held)] = held.holder
        holds.setdefault(of(held), []).append(Want(held.name, held.slots, held.permits))
    for waiting in log.waitings:
        holders[of(waiting)] = waiting.holder
        wants.setdefault(of(waiting), []).append(Want(waiting.name, waiting.slots, waiting.permits))
    for request in requests:
        key = f"agent {request.agent}" if request.agent in whole else f"session {request.session}"
        holders[key] = request.agent
        wants.setdefault(key, []).extend(each if isinstance(each, Want) else Want(each) for each in request.locks)
    return [
        Course(key, holder, tuple(holds.get(key, ())), tuple(wants.get(key, ()))) for key, holder in holders.items()
    ]


def _strategies(
    log: WaitLog,
    courses: Sequence[Course],
    requests: Sequence[LockRequest],
    circles: Sequence[tuple[str, ...]],
    proven: bool,
) -> list[str]:
    found = []
    if deadlocked(log):
        found.append("a deadlock is there already: end it first (break_existing_deadlock)")
    affected = {clean(course.holder, limit=200) for course in courses} & {word for each in circles for word in each}
    asking = [each for each in requests if clean(each.agent, limit=200) in affected]
    ordered = [replace(each, locks=tuple(sorted(each.locks, key=lambda lock: _name(lock).encode()))) for each in asking]
    changed = [each for each, before in zip(ordered, asking, strict=True) if each.locks != before.locks]
    others = [each for each in requests if each not in asking]
    if changed and not closing_circles(_courses(log, [*others, *ordered]))[0]:
        found += [
            f"{clean(each.agent)} takes its locks in the global order: {', '.join(clean(_name(x)) for x in each.locks)}"
            for each in changed
        ]
    for late in asking:
        if not closing_circles(_courses(log, [each for each in requests if each is not late]))[0]:
            found.append(f"{clean(late.agent)} asks only once the others have given back what they hold")
            break
    order = safe_order(courses)
    if len(order) > 1:
        among = [clean(holder) for holder in order if clean(holder, limit=200) in affected]
        found.append(f"let them go one after the other: {', then '.join(among)}")
    circle = min(circles, key=len)
    found.append(f"bound the wait of {circle[-3]} for {circle[-2]}, and let it give back what it holds when it is over")
    if not proven:
        found.append("there are too many ways to go on to try them all: that the circle can close is not proven")
    return found


def _name(lock: str | Want) -> str:
    return lock if isinstance(lock, str) else lock.name


# -- now


def wait_graph(log: WaitLog) -> networkx.MultiDiGraph[str]:
    """Return the wait-for graph: sessions, with their ``holder``; edges with ``lock`` and ``by``: held, or queue.

    An edge of the queue leads to each who stands ahead.
    """
    import networkx

    graph: networkx.MultiDiGraph[str] = networkx.MultiDiGraph()
    for session, holder in [(each.session, each.holder) for each in log.holdings + log.waitings]:
        graph.add_node(session, holder=holder)
    for waiting in log.waitings:
        for held in log.holdings:
            if held.name == waiting.name:
                graph.add_edge(waiting.session, held.session, lock=waiting.name, by="held")
        for other in log.waitings:
            if other.name == waiting.name and other.seq < waiting.seq:
                graph.add_edge(waiting.session, other.session, lock=waiting.name, by="queue")
    return graph


def find_deadlock(log: WaitLog, agents: Collection[str] = ()) -> tuple[Waiting, tuple[Waiting, ...]] | None:
    """Return who of a deadlock waits longest, and the waits of the circle from it on; ``None``: there is none.

    Of several deadlocks the one whose victim came first; with ``agents`` only one that one of these is in. All who
    look at the same moment find the same.
    """
    import networkx

    stuck = deadlocked(log)
    if not stuck:
        return None
    named = {clean(agent, limit=200) for agent in agents}
    graph = wait_graph(log).subgraph(stuck)
    held: networkx.DiGraph[str] = networkx.DiGraph()
    held.add_edges_from((one, other) for one, other, data in graph.edges(data=True) if data["by"] == "held")
    found = []
    for knot in networkx.strongly_connected_components(held):
        # Who is stuck behind a knot but no part of it is no victim: its end would free nobody there.
        inside = held.subgraph(knot)
        waits = [each for each in log.waitings if each.session in knot]
        if not inside.edges or (agents and not any(clean(each.holder, limit=200) in named for each in waits)):
            continue
        victim = min(waits, key=lambda each: each.seq)
        back = networkx.shortest_path(inside, target=victim.session)
        path = [victim.session, *min((back[key] for key in inside.successors(victim.session)), key=len)]
        circle = [_wait_of(log, one, other) for one, other in pairwise(path)]
        found.append((circle[0], tuple(circle)))
    return min(found, key=lambda each: each[0].seq, default=None)


def _wait_of(log: WaitLog, session: str, other: str) -> Waiting:
    """Return the wait of ``session`` for something that ``other`` holds."""
    names = {held.name for held in log.holdings if held.session == other}
    return next(each for each in log.waitings if each.session == session and each.name in names)


def told_circle(circle: Sequence[Waiting]) -> tuple[str, ...]:
    """Return a circle of waits as holder, lock, holder, lock ... and the first holder again; cleaned."""
    words = [clean(word, limit=200) for waiting in circle for word in (waiting.holder, waiting.name)]
    return (*words, *words[:1])


def break_existing_deadlock(
    leases: Leases, agents: Collection[str] = (), *, by: str, record: Recorder
) -> DeadlockBreak:
    """End one deadlock, if there is one: time out who waits longest in it, and break the leases which it holds.

    With ``agents`` only a deadlock that one of these holders is in. ``record`` writes into the audit log, before each
    act. May be called by several at once, and again: they pick the same victim, and a wait is timed out only once; who
    comes late finds nothing to do. The agents' processes are left alone: the victim's wait raises DeadlockError, the
    leases it loses are told at its next renewal; `RestartStep` says who has to ask again.

    Raises StoreError where leases cannot be read or written, or nothing can be recorded.
    """
    log = leases.wait_log()
    found = find_deadlock(log, agents)
    if found is None:
        return DeadlockBreak(False, "", (), ())
    victim, circle = found
    told = told_circle(circle)
    why = f"deadlock {' → '.join(told)}: {told[0]} waited longest"
    record(by, "break deadlock", f"{told[0]} waits for {told[1]}", why)
    if not leases.refuse(victim, f"timed out by {clean(by)} to end the {why}", told[:-1]):
        return DeadlockBreak(False, "", (), (f"{told[0]} does not wait for {told[1]} any more",))
    actions = [f"timed out the wait of {told[0]} for {told[1]}"]
    lost = [held for held in log.holdings if held.session == victim.session]
    for held in lost:
        name = clean(held.name, limit=200)
        try:
            leases.break_(held.name, by, why, record, held.token)
            actions.append(f"broke {name}, which {told[0]} held with token {held.token}")
        except LostLeaseError:
            actions.append(f"{told[0]} had given {name} back")
    return DeadlockBreak(True, told[0], _restart_plan(circle, lost), tuple(actions))


def _restart_plan(circle: Sequence[Waiting], lost: Sequence[Holding]) -> tuple[RestartStep, ...]:
    """Return how they go on: who waited for what the victim held first, the victim last."""
    victim, *others = circle
    steps: list[RestartStep] = []
    for waiting in reversed(others):
        after = tuple(dict.fromkeys(step.agent for step in steps))
        steps.append(
            RestartStep(clean(waiting.holder, limit=200), "continue", after[-1:], (clean(waiting.name, limit=200),))
        )
    again = sorted({victim.name, *(held.name for held in lost)}, key=str.encode)
    after = tuple(dict.fromkeys(step.agent for step in steps))
    locks = tuple(clean(name, limit=200) for name in again)
    return (*steps, RestartStep(clean(victim.holder, limit=200), "restart", after[-1:], locks))


__all__ = [
    "DeadlockBreak",
    "DeadlockRisk",
    "LockRequest",
    "RestartStep",
    "Want",
    "break_existing_deadlock",
    "detect_potential_deadlock",
    "find_deadlock",
    "told_circle",
    "wait_graph",
]
