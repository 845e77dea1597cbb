"""Whether a history has an order of its calls, each between its asking and its answer, that one lock alone would give.

The search is J. M. Wing's and C. Gong's ("Testing and verifying concurrent objects", 1993) with G. Lowe's memory of
what was tried ("Testing for linearizability", 2017): a set of calls already placed and the state that they led to is
never gone into twice. Names are checked one by one, which is as good: linearizability is local (M. Herlihy and J. Wing,
1990).

A lease's end is an event within the keeper of the leases: it happens at its time or up to ``slack`` seconds after.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from tests.coordination.history import History, Operation

MOST = 400_000
"""So many states are tried, then the checker gives up: some ten seconds."""


class Timed(Protocol):
    """What the search needs of a call."""

    @property
    def invoked(self) -> float:
        """When it was asked."""
        ...

    @property
    def returned(self) -> float:
        """When it was answered; infinite: it need not have happened at all."""
        ...


class UndecidedError(Exception):
    """The search became too long."""


class NoOrderError(Exception):
    """There is no order; the message tells how far one goes, and what comes then."""


class _Node:
    """A call's beginning or its end, in a list of those not yet placed, by time."""

    __slots__ = ("after", "before", "end", "number")

    def __init__(self, number: int, end: _Node | None) -> None:
        self.number, self.end = number, end
        self.before: _Node
        self.after: _Node | None = None


C = TypeVar("C", bound=Timed)
S = TypeVar("S", bound=Hashable)


def order(
    calls: Sequence[C],
    start: S,
    step: Callable[[S, C], S | None],
    settled: Callable[[S, C], bool] = lambda state, call: False,
    most: int = MOST,
) -> list[C]:
    """Return an order of ``calls`` that the object gives, with those that never ended where they help.

    ``step`` returns the state after a call, ``None`` where the object would not have answered so. ``settled`` tells of
    a call that leaves the state as it is whether it always will: then it need not be tried at a later place too.
    Raises NoOrderError where there is none, UndecidedError after ``most`` states.
    """
    head = _linked(calls)
    must = sum(1 for call in calls if call.returned < math.inf)
    placed, state = 0, start
    tried: set[tuple[int, S]] = set()
    path: list[tuple[_Node, S, bool]] = []
    furthest, story = -1, ""
    node = head.after
    while must:
        if node is not None and node.end is not None:
            call = calls[node.number]
            after = step(state, call)
            now_placed = placed | 1 << node.number
            if (
                after is None
                or (now_placed, after) in tried
                or (after == state and call.returned == math.inf)  # it need not have happened, and makes no difference
            ):
                node = node.after
                continue
            tried.add((now_placed, after))
            if len(tried) > most:
                raise UndecidedError(f"{len(calls)} calls, {len(tried)} states")
            path.append((node, state, after == state and settled(state, call)))
            placed, state = now_placed, after
            must -= call.returned < math.inf
            _take_out(node)
            node = head.after
        else:  # an end of what is not placed: nothing behind it may come first
            if len(path) > furthest:
                furthest, story = len(path), _story(calls, [node.number for node, _, _ in path], state, head)
            while True:
                if not path:
                    raise NoOrderError(story)
                last, state, only = path.pop()
                placed ^= 1 << last.number
                must += calls[last.number].returned < math.inf
                _put_back(last)
                if not only:
                    break
            node = last.after
    return [calls[node.number] for node, _, _ in path]


def _story(calls: Sequence[Timed], placed: list[int], state: object, head: _Node) -> str:
    """Tell the last of the calls that were placed, the state after them, and those of which one would be next."""
    told = [f"{len(placed)} of {len(calls)} calls have an order; the last of them:"]
    told += [f"  {calls[number]}" for number in placed[-4:]]
    told.append(f"which leads to {state}; next would be one of:")
    node = head.after
    while node is not None and node.end is not None:
        told.append(f"  {calls[node.number]}")
        node = node.after
    return "\n    ".join(told)


def _linked(calls: Sequence[Timed]) -> _Node:
    moments: list[tuple[float, int, _Node]] = []
    for number, call in enumerate(calls):
        end = _Node(number, None)
        moments += [(call.invoked, 0, _Node(number, end)), (call.returned, 1, end)]
    head = last = _Node(-1, None)
    for _, _, node in sorted(moments, key=lambda moment: moment[:2]):
        last.after, node.before = node, last
        last = node
    return head


def _take_out(node: _Node) -> None:
    for each in (node, node.end):
        assert each is not None
        each.before.after = each.after
        if each.after is not None:
            each.after.before = each.before


def _put_back(node: _Node) -> None:
    for each in (node.end, node):
        assert each is not None
        each.before.after = each
        if each.after is not None:
            each.after.before = each


Held = tuple[int, int, float]
"""Token, slots, the end of its time."""
State = tuple[int, frozenset[Held]]
"""The highest token that was given, and what is held."""
FREE: State = (0, frozenset())


@dataclass(frozen=True, slots=True)
class Call:
    """What one lock is asked, or what happens in it."""

    what: str
    """take, refuse, renew, give, miss (a release or renewal that was told it is lost), lapse, end, wipe."""
    invoked: float
    returned: float = math.inf
    token: int = 0
    slots: int = 1
    permits: int = 1
    expires: float = 0.0
    in_turn: bool = False
    """Somebody else may have waited: then it may be refused though it would fit."""


def step(state: State, call: Call) -> State | None:
    """Return what a lock is after ``call``; None: it would not have done that."""
    highest, held = state
    mine = next((one for one in held if one[0] == call.token), None)
    used = sum(one[1] for one in held)
    match call.what:
        case "take":
            if used + call.slots > call.permits or 0 < call.token <= highest:
                return None
            return max(highest, call.token), held | {(call.token, call.slots, call.expires)}
        case "refuse":
            return state if call.in_turn or used + call.slots > call.permits else None
        case "renew":
            return None if mine is None else (highest, held - {mine} | {(call.token, mine[1], call.expires)})
        case "give":
            return None if mine is None else (highest, held - {mine})
        case "miss":
            return state if mine is None else None
        case "lapse":  # of what was renewed since, nothing
            return state if mine is None or mine[2] != call.expires else (highest, held - {mine})
        case "end":
            return state if mine is None else (highest, held - {mine})
        case "wipe":
            return highest, frozenset()
    raise AssertionError(call.what)


def settled(state: State, call: Call) -> bool:
    """Return whether ``call``, which changes nothing now, would not later either: it looks, or its lease is over."""
    highest, held = state
    if call.what in {"lapse", "end"}:
        return call.token <= highest and all(one[0] != call.token for one in held)
    return call.what != "wipe"


def calls_of(history: History, name: str, slack: float = 0.0) -> list[Call]:
    """Return what happened to the lock ``name``, by the time of asking.

    An acquire that was refused or never answered may have had the lock for a moment, or waited on: that only counts as
    an excuse for refusals of others.
    """
    mine = [operation for operation in history.operations if operation.name == name]
    excuses = [
        (operation.invoked, math.inf if operation.answer == "unknown" else operation.returned, operation)
        for operation in mine
        if operation.call == "acquire"
        and (operation.wait > 0 or operation.answer == "unknown" or (operation.together and operation.answer != "ok"))
    ]
    found: list[Call] = []
    for operation in mine:
        excused = operation.answer == "refused" and any(
            begun < operation.returned and ended > operation.invoked and other is not operation
            for begun, ended, other in excuses
        )
        found += _calls(operation, excused, history.deaths.get(operation.process, math.inf), slack)
    found += [Call("wipe", begun, ended) for begun, ended in history.losses]
    return sorted(found, key=lambda call: call.invoked)


def _calls(operation: Operation, excused: bool, death: float, slack: float) -> list[Call]:
    begun, ended, token = operation.invoked, operation.returned, operation.token
    slots, permits, expires = operation.slots, operation.permits, operation.expires
    # Its time counts from the asking: it may be over when it is had. Another machine's clock is known no better than by
    # how long the call took.
    over = max(expires + slack + (ended - begun if slack else 0.0), ended)
    match operation.call, operation.answer:
        case "acquire", "ok":
            taken = Call("take", begun, ended, token, slots, permits, expires)
            gone = [Call("end", death, token=token)] if death < math.inf else []
            return [taken, Call("lapse", expires, over, token, expires=expires), *gone]
        case "acquire", "refused":
            if operation.together:  # it may be another of them that was not had
                return []
            return [Call("refuse", begun, ended, 0, slots, permits, in_turn=excused)]
        case "acquire", _:
            return []
        case "renew", "ok":
            renewed = Call("renew", begun, ended, token, expires=expires)
            return [renewed, Call("lapse", expires, over, token, expires=expires)]
        case "renew", "unknown":
            return [Call("renew", begun, token=token, expires=-begun), Call("end", begun + operation.ttl, token=token)]
        case "release" | "break", "ok":
            return [Call("give", begun, ended, token)]
        case "release" | "break", "unknown":
            return [Call("give", begun, token=token)]
        case _, "lost":
            return [Call("miss", begun, ended, token)]
    raise AssertionError(operation)


def faults(history: History, slack: float = 0.0) -> list[str]:
    """Return the names whose history no lock with permits and leases could have, or that took too long to tell."""
    wrong = []
    for name in history.names:
        calls = calls_of(history, name, slack)
        try:
            order(calls, FREE, step, settled)
        except NoOrderError as stuck:
            wrong.append(f"{name}: no order of its calls and lapses is that of a lock: {stuck}")
        except UndecidedError as long:
            wrong.append(f"{name}: not decided: {long}")
    return wrong
