"""Which Issue waits for which: written one by one, never in a circle, and looked at again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import partial

from ..errors import UsageError
from .desk import Desk, Holds
from .errors import IssueUpdateError, OutcomeUnknownError, TrackerError
from .inflight import Flight, settle
from .scope import check_write
from .update import ATTEMPTS, BASE_DELAY
from .values import check_number

LEASE = "issue-blockers"
"""Held while one looks for circles: two that each see none could close one together."""


def set_blockers(desk: Desk, number: int, add: Iterable[int] = (), remove: Iterable[int] = ()) -> tuple[int, ...]:
    """Let the Issue wait for those of ``add``, no longer for those of ``remove``; return all that it waits for then.

    Raises UsageError where that would close a circle, IssueUpdateError where it failed: then nothing of it is left, or
    it says what; LeaseError, ScopeViolationError.
    """
    check_number(number)
    added, removed = {check_number(each) for each in add}, {check_number(each) for each in remove}
    if both := added & removed:
        raise UsageError(f"Issue {min(both)} is both added and removed; allowed: one of them")
    name = f"issue/{number}"
    with desk.hold(sorted([LEASE, name])) as holds:
        if desk.scope is not None:
            check_write(desk.scope, "block", desk.tracker.get(number), {})
        with desk.guarded(holds, [LEASE, name]):
            before = set(desk.tracker.blocked_by(number))
            _refuse_circles(desk, number, added - before)
            after = _write(desk, number, before, (before | added) - removed, holds)
            if before != after:
                desk.records.wrote(
                    desk.holder,
                    "set blockers",
                    f"issue {number}",
                    before={"blocked_by": sorted(before)},
                    after={"blocked_by": sorted(after)},
                    token=holds.token(name),
                )
    return tuple(sorted(after))


def _refuse_circles(desk: Desk, number: int, added: Iterable[int]) -> None:
    for blocker in sorted(added):
        came_from = {blocker: number}
        waiting = [blocker]
        while waiting:
            at = waiting.pop()
            if at == number:
                circle = [number]
                step = came_from[number]
                while step != number:
                    circle.append(step)
                    step = came_from[step]
                text = ", which waits for ".join(f"#{each}" for each in [number, *reversed(circle)])
                raise UsageError(f"Issue {number} would wait for itself: {text}; nothing was written")
            for behind in desk.tracker.blocked_by(at):
                if behind not in came_from or behind == number:
                    came_from[behind] = at
                    waiting.append(behind)


def _write(desk: Desk, number: int, before: set[int], wanted: set[int], holds: Holds) -> set[int]:
    there = before
    try:
        for attempt in range(ATTEMPTS):
            if attempt:
                desk.clock.wait(threading.Event(), BASE_DELAY * 2 ** (attempt - 1))
                there = set(desk.tracker.blocked_by(number))
            if there >= wanted and not there & (before - wanted):
                return there
            _send(desk, number, there, wanted, before, holds)
            there = set(desk.tracker.blocked_by(number))
            if there >= wanted and not there & (before - wanted):
                return there
    except TrackerError as error:
        try:
            now = set(desk.tracker.blocked_by(number))
            _send(desk, number, now, before, wanted, holds)
        except TrackerError:
            raise IssueUpdateError(f"Issue {number}: {error}; some of its blockers may be changed") from error
        raise IssueUpdateError(f"Issue {number}: {error}; its blockers are as they were") from error
    raise IssueUpdateError(f"Issue {number}: after {ATTEMPTS} attempts its blockers are not as wanted")


def _send(desk: Desk, number: int, there: set[int], wanted: set[int], before: set[int], holds: Holds) -> None:
    """Add and remove one by one; what neither ``wanted`` nor ``before`` has is somebody else's, and stays."""
    for blocker in sorted(wanted - there):
        _once(desk, number, holds, partial(desk.tracker.add_blocker, number, blocker))
    for blocker in sorted(there & (before - wanted)):
        _once(desk, number, holds, partial(desk.tracker.remove_blocker, number, blocker))


def _once(desk: Desk, number: int, holds: Holds, act: Callable[[], None]) -> None:
    if desk.is_local:
        act()
        return
    flight = Flight(desk, number, holds)
    with flight.sending({"new": {}, "old": {}}):  # no values: the next look tells, once it can land no more
        holds.renew()
        try:
            act()
            flight.sent()
        except OutcomeUnknownError:
            flight.sent(lost=True)
    flight.end()
    settle(desk, [f"issue/{number}"], holds)
