"""Who waits for whom: whether a wait closes a circle, and whether it is one of queue order alone.

The states of deadlock are found by reducing the graph of holdings and waits: again and again a session that waits for
nothing, or whose wait can be granted, is finished and gives back what it holds; who is left over is stuck (R. C. Holt,
"Some Deadlock Properties of Computer Systems", ACM Computing Surveys 4(3), 1972). So a wait for any one of several
permits is judged rightly: a circle in the picture is no deadlock while a holder of another permit can go on.

Two reductions are told apart. In the *fair* one a wait is granted only when nobody stands ahead of it. In the *free*
one whatever fits may be granted: who is stuck even so is stuck for good, and someone has to be refused. Who is stuck
in the fair one alone is stuck by queue order, and letting someone pass ends it; as in PostgreSQL, which rearranges its
queues (src/backend/storage/lmgr/README, "The Deadlock Detection Algorithm").

Doubt counts for the waiter: a session that waits in several of its threads is taken as going on when each of them by
itself can, and a holding of a session that is not known as one that will be given back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..text import clean
from .leases import Holding, Waiting, WaitLog

MOST_CYCLES = 100
"""Circles that `cycles` returns at most: their number can grow with the factorial of that of the sessions."""
_MOST_STEPS = 10_000
"""Of the search for the circles of one session: the way to few circles can be as long."""


def refusal(log: WaitLog, session: str) -> tuple[str, ...]:
    """Return the circle that the newest wait of ``session`` closes: it is to be refused; empty: it closes none.

    The circle goes holder, lock, holder, lock, ..., each waiting for the lock behind it, which the next holds; cleaned.
    Where several waits of a circle came at once, everyone who is asked with the same log picks the same one, the newest
    of the circle: as if they had come one after the other, by ``seq``, and each that closes a circle were refused.
    """
    if all(held.session != session for held in log.holdings):
        return ()  # nobody can wait for it
    if session not in _reduce(log, fair=False).stuck:
        return ()
    newest = max((waiting.seq for waiting in log.waitings if waiting.session == session), default=0)
    for waiting, closed in _closing(log):
        if waiting.session == session and waiting.seq == newest:
            return closed
    return ()


def refusals(log: WaitLog) -> tuple[tuple[Waiting, tuple[str, ...]], ...]:
    """Return all waits that `refusal` would refuse, by ``seq``, each with its circle: without them nobody is stuck."""
    return tuple(_closing(log))


def may_pass(log: WaitLog, waiting: Waiting) -> bool:
    """Return whether ``waiting`` may be granted before those ahead of it, because queue order alone made a circle.

    So it is where there are enough free permits for it, and those who are ahead of it and stuck wait, by however many
    steps, for its session: they cannot go on before it has, so none of them loses by it, and each pass brings them
    nearer to what they wait for.
    """
    held = sum(each.slots for each in log.holdings if each.name == waiting.name)
    ahead = [each for each in log.waitings if each.name == waiting.name and each.seq < waiting.seq]
    if not ahead or waiting.permits - held < waiting.slots:
        return False
    me = _key(waiting)
    if all(each.session != me for each in log.holdings):
        return False  # nobody can wait for it
    fair = _reduce(log, fair=True)
    if me not in fair.stuck or me in _reduce(log, fair=False).stuck:
        return False
    edges = _edges(log, fair)
    return any(_key(each) in fair.stuck and me in _reach(edges, _key(each)) for each in ahead)


def passes(log: WaitLog) -> tuple[Waiting, ...]:
    """Return who is to pass, one after the other, until queue order alone keeps nobody in a circle, as far as it fits.

    Each is one that `may_pass` once those before it have passed: where one pass is enough, there is one.
    """
    found: list[Waiting] = []
    while (waiting := next((each for each in log.waitings if may_pass(log, each)), None)) is not None:
        found.append(waiting)
        held = Holding(waiting.name, waiting.session, waiting.holder, 0, waiting.slots, waiting.permits)
        log = WaitLog((*log.holdings, held), tuple(each for each in log.waitings if each != waiting))
    return tuple(found)


def deadlocked(log: WaitLog) -> frozenset[str]:
    """Return the sessions that are stuck whatever is granted to whom: until one of them is refused, or gives up."""
    return frozenset(_reduce(log, fair=False).stuck)


def cycles(log: WaitLog) -> list[tuple[str, ...]]:
    """Return the circles of waiting: holder, lock, holder, lock ... and the first holder again; cleaned.

    Each waits for the lock behind it, which the next holds or, standing ahead in the queue, is to have first. Only
    those who are stuck: where another holder of a permit can go on, there is none. Each begins with who waits longest;
    they are sorted by that, and no more than `MOST_CYCLES`.
    """
    fair = _reduce(log, fair=True)
    edges = _edges(log, fair)
    names = _names(log)
    order = {key: place for place, key in enumerate(dict.fromkeys(map(_key, log.waitings)))}
    found: list[tuple[str, ...]] = []
    for start in sorted(fair.stuck, key=lambda key: order[key]):
        for path in _circles_from(edges, start, order):
            found.append(_told(path, names, closed=True))
            if len(found) >= MOST_CYCLES:
                return found
    return found


@dataclass(frozen=True, slots=True)
class _Rest:
    """What a reduction leaves over."""

    stuck: set[str]
    free: dict[str, int]
    """Permits by name, once all others have given back what they hold."""


_Edges = dict[str, list[tuple[str, str]]]
"""Session to (name it waits for, session it waits for)."""


def _key(waiting: Waiting) -> str:
    return waiting.session or f"\0{waiting.seq}"  # a session that is not known is nobody else's


def _reduce(log: WaitLog, *, fair: bool) -> _Rest:
    free: dict[str, int] = {}
    for name, permits in [(each.name, each.permits) for each in log.holdings + log.waitings]:
        free[name] = max(free.get(name, 0), permits)
    waits: dict[str, list[Waiting]] = {}
    queues: dict[str, deque[int]] = {}
    for waiting in sorted(log.waitings, key=lambda each: each.seq):
        waits.setdefault(_key(waiting), []).append(waiting)
        queues.setdefault(waiting.name, deque()).append(waiting.seq)
    holds: dict[str, list[tuple[str, int]]] = {}
    for held in log.holdings:
        if held.session in waits:
            free[held.name] -= held.slots
            holds.setdefault(held.session, []).append((held.name, held.slots))
    moved = True
    while moved and waits:
        moved = False
        for key, wanted in list(waits.items()):
            left = []
            for waiting in wanted:
                queue = queues[waiting.name]
                if free[waiting.name] < waiting.slots or (fair and queue[0] != waiting.seq):
                    left.append(waiting)
                elif fair:
                    queue.popleft()
                    moved = True
            if not left:
                moved = True
                del waits[key]
                for name, slots in holds.pop(key, ()):
                    free[name] += slots
            elif fair:
                waits[key] = left
    return _Rest(set(waits), free)


def _edges(log: WaitLog, fair: _Rest) -> _Edges:
    """Return who of those left over by a fair reduction waits for whom of them.

    What does not fit waits for those who hold permits of its name, and would wherever it stood; what fits waits for
    those ahead of it that do not.
    """
    edges: _Edges = {key: [] for key in fair.stuck}
    for waiting in log.waitings:
        if (key := _key(waiting)) not in fair.stuck:
            continue
        free = fair.free[waiting.name]
        if free < waiting.slots:
            holders = [each.session for each in log.holdings if each.name == waiting.name]
        else:
            holders = [
                _key(each)
                for each in log.waitings
                if each.name == waiting.name and each.seq < waiting.seq and free < each.slots
            ]
        edges[key] += [(waiting.name, holder) for holder in dict.fromkeys(holders) if holder in fair.stuck]
    return {key: list(dict.fromkeys(targets)) for key, targets in edges.items()}


def _closing(log: WaitLog) -> Iterator[tuple[Waiting, tuple[str, ...]]]:
    """Let the waits of those who are stuck for good come one after the other; yield each that closes a circle."""
    stuck = _reduce(log, fair=False).stuck
    if not stuck:
        return
    names = _names(log)
    came: list[Waiting] = []
    for waiting in sorted((each for each in log.waitings if _key(each) in stuck), key=lambda each: each.seq):
        now = WaitLog(log.holdings, (*came, waiting))
        rest = _reduce(now, fair=False)
        path = _shortest_circle(_held_edges(now, rest.stuck), _key(waiting)) if rest.stuck else ()
        if path:
            yield waiting, _told(path, names)
        else:
            came.append(waiting)


def _held_edges(log: WaitLog, stuck: set[str]) -> _Edges:
    return {
        key: [
            (waiting.name, held.session)
            for waiting in log.waitings
            if _key(waiting) == key
            for held in log.holdings
            if held.name == waiting.name and held.session in stuck
        ]
        for key in stuck
    }


def _shortest_circle(edges: _Edges, start: str) -> tuple[tuple[str, str], ...]:
    """Return (session, name it waits for) from ``start`` round to it again; empty: there is none."""
    came_from: dict[str, tuple[str, str]] = {}
    queue = deque([start])
    while queue:
        key = queue.popleft()
        for name, target in edges.get(key, ()):
            if target == start:
                path = [(key, name)]
                while path[-1][0] != start:
                    path.append(came_from[path[-1][0]])
                return tuple(reversed(path))
            if target not in came_from:
                came_from[target] = (key, name)
                queue.append(target)
    return ()


def _circles_from(edges: _Edges, start: str, order: dict[str, int]) -> Iterator[tuple[tuple[str, str], ...]]:
    """Yield each circle, once, in which ``start`` waits longest: a depth-first search among those who can reach it."""
    later = {
        key: [(name, target) for name, target in targets if order[target] >= order[start]]
        for key, targets in edges.items()
        if order[key] >= order[start]
    }
    back: _Edges = {}
    for key, targets in later.items():
        for name, target in targets:
            back.setdefault(target, []).append((name, key))
    leads_back = _reach(back, start)
    path: list[tuple[str, str]] = []
    stack = [(start, iter(later[start]))]
    for _ in range(_MOST_STEPS):
        if not stack:
            return
        key, left = stack[-1]
        for name, target in left:
            if target == start:
                yield (*path, (key, name))
            elif target in leads_back and all(target != each for each, _ in stack):
                path.append((key, name))
                stack.append((target, iter(later[target])))
                break
        else:
            stack.pop()
            if path:
                path.pop()


def _reach(edges: _Edges, start: str) -> set[str]:
    """Return whom ``start`` waits for, by one step or more."""
    reached: set[str] = set()
    stack = [start]
    while stack:
        for _, target in edges.get(stack.pop(), ()):
            if target not in reached:
                reached.add(target)
                stack.append(target)
    return reached


def _names(log: WaitLog) -> dict[str, str]:
    """Return how people call each session."""
    return {
        **{held.session: held.holder for held in log.holdings},
        **{_key(waiting): waiting.holder for waiting in log.waitings},
    }


def _told(path: Iterable[tuple[str, str]], names: dict[str, str], *, closed: bool = False) -> tuple[str, ...]:
    words = [clean(word, limit=200) for key, name in path for word in (names[key], name)]
    return (*words, *words[:1]) if closed else tuple(words)
