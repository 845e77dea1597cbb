"""The way of one request to its lease: asked for, waited for in the queue, had; and what becomes of it when it fails.

Who waits blocks on a list of its own, into which the script that frees a permit puts the grant. A request is known to
the server by its id: sent twice, since an answer was lost, it finds what it did.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import LeaseError, StoreError, UsageError
from ..text import clean
from .leases import DeadlockError, HeldLease
from .redis_connection import UnreachableError
from .redis_scripts import ACQUIRE, LEAVE, LOOK, PASS
from .redis_table import MICRO, RedisTable, micro
from .waits import passes, refusal

SILENCE = 1.0
"""Seconds after which a waiter that does not say that it lives is passed over; it keeps its place a while longer."""
REFRESH = 0.3
"""Seconds between two such words."""
GLANCE = 0.05
"""Seconds between two looks of a waiter whether the holders on this machine are alive."""
UNTANGLE = 1.0
"""Seconds between two looks of a waiter, who holds something too, whether it is in a circle; unless it is told to."""
PATIENCE = 2.0
"""Seconds for which a waiter bears a server that cannot be reached, such as one that is started anew."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody asks for."""

    name: str
    holder: str
    id: str
    session: str
    ttl: float
    permits: int
    slots: int
    request: str
    """Names it."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What the server told a waiter."""

    sent: float
    """When it was asked, on the boot clock."""
    now: int
    """The server's time then."""
    lapse: float
    """Seconds from then until the first of those who hold the name lapses; 0: nobody holds it."""
    holds: bool
    """Whether the session of the waiter holds something: only then somebody can wait for it."""
    watched: dict[int, str]
    """Holders whose death can be seen here, by token; grows when the server tells of new ones."""


class Line:
    """One who wants a lock."""

    def __init__(self, table: RedisTable, wanted: Wanted, wait: float, told: float | None = None) -> None:
        """Take what is wanted, and how long to wait for it, seconds; ``told``: as people are told. Asks nothing yet."""
        self._table, self._clock, self._wanted = table, table.clock, wanted
        self._wait, self._told = wait, wait if told is None else told
        self._untangled = -math.inf

    def take(self, meanwhile: Callable[[], None]) -> HeldLease:
        """Return the lease, once it is had; ``meanwhile`` is called several times a second.

        Raises LeaseError where it is not had in time, DeadlockError, UsageError, StoreError; and what ``meanwhile``
        raises. Whatever is not of the first three leaves it open whether the server still has the request.
        """
        end = self._clock.boot() + self._wait
        sent, answer = self._ask()
        while answer[0] == "busy" and self._table.evict(self._wanted.name, _pairs(answer[3:])):
            sent, answer = self._ask()
        reached = self._clock.boot()
        while True:
            try:
                if answer[0] == "unknown":  # the server lost its data: to the end of the queue
                    sent, answer = self._ask()
                if answer[0] != "waiting":
                    return self._had(sent, answer)
                look = _Look(sent, answer[1], answer[2] / MICRO, bool(answer[3]), _pairs(answer[4:]))
                self._untangle(look)
                meanwhile()
                left = end - self._clock.boot()
                if left <= 0:
                    sent = self._clock.boot()
                    return self._had(sent, self._table.run(LEAVE, self._wanted.name, self._wanted.request))
                held = self._sleep(look, min(left, REFRESH))
                if held is not None:
                    return held
                sent = reached = self._clock.boot()
                answer = self._table.run(LOOK, self._wanted.name, self._wanted.request, micro(SILENCE))
            except UnreachableError:
                now = self._clock.boot()
                if now >= min(end, reached + PATIENCE):
                    raise
                self._clock.wait(threading.Event(), GLANCE)
                sent, answer = now, ["unknown"]

    def _ask(self) -> tuple[float, Any]:
        wanted, sent = self._wanted, self._clock.boot()
        return sent, self._table.run(
            ACQUIRE,
            wanted.name,
            wanted.holder,
            wanted.id,
            self._table.boot_id,
            wanted.session,
            wanted.slots,
            wanted.permits,
            micro(wanted.ttl),
            wanted.request,
            self._table.floor.get(),
            micro(SILENCE) if self._wait > 0 else 0,
        )

    def _had(self, sent: float, answer: Any) -> HeldLease:
        """Return the lease that ``answer`` grants. Raises what else it says."""
        name = self._wanted.name
        match answer:
            case ["granted", token, left]:
                return self._held(token, sent + left / MICRO)
            case ["refused", why]:
                raise DeadlockError.refused(name, why)
            case ["mismatch", permits, holder]:
                raise UsageError(
                    f"lock {name!r} has {permits} permits for {clean(holder)}, {self._wanted.permits} here;"
                    " all must agree"
                )
            case [_, 0, holder, *_]:
                obstacle = f"goes to {clean(holder) or 'others'} first, who waits for it"
            case [_, token, holder, *_]:
                obstacle = f"is held by {clean(holder)} with token {token}"
            case _:
                raise StoreError(f"Redis server {self._table.server.shown} answered {clean(repr(answer), limit=80)}")
        raise LeaseError(f"lock {name!r} was not had within {self._told:g} s: it {obstacle}")

    def _held(self, token: int, expires: float) -> HeldLease:
        wanted = self._wanted
        self._table.floor.note(token)
        return HeldLease(wanted.name, wanted.holder, token, wanted.ttl, expires, wanted.slots)

    def _sleep(self, look: _Look, seconds: float) -> HeldLease | None:
        """Return the lease if it is granted within ``seconds``; ``None``: look again."""
        end = self._clock.boot() + (min(seconds, look.lapse + 0.001) if look.lapse else seconds)

        def glance() -> None:
            self._table.evict(self._wanted.name, look.watched)

        glance()
        while True:
            left = end - self._clock.boot()
            message = self._table.server.pop(
                f"{self._table.key}:wake:{self._wanted.request}", left, glance, GLANCE if look.watched else None
            )
            match (message or "").split():
                case ["granted", token, moment]:
                    # When that was on our clock: no later than now, and no later than the server's clock tells.
                    since = min(self._clock.boot(), look.sent + (int(moment) - look.now) / MICRO)
                    return self._held(int(token), since + self._wanted.ttl)
                case ["watch", token, holder] if left > 0:
                    look.watched[int(token)] = holder
                case ["untangle"]:
                    self._untangled = -math.inf
                    return None
                case _:
                    return None

    def _untangle(self, look: _Look) -> None:
        """See now and then whether this wait is in a circle. Raises DeadlockError where it is the one to give way.

        A circle that queue order alone makes is undone by letting pass whoever may.
        """
        if not look.holds or self._clock.boot() < self._untangled + UNTANGLE:
            return
        self._untangled = self._clock.boot()
        name, log = self._wanted.name, self._table.wait_log("entangled")
        circle = refusal(log, self._wanted.session)
        if circle:
            if self._table.run(LEAVE, name, self._wanted.request)[0] == "left":
                raise DeadlockError.closing(name, circle)
            return  # it was granted meanwhile, or refused: the next look tells
        for waiting in passes(log):
            self._table.run(PASS, waiting.name, waiting.seq, waiting.session)


def _pairs(flat: Sequence[Any]) -> dict[int, str]:
    return {int(token): str(holder) for token, holder in zip(flat[::2], flat[1::2], strict=True)}
