"""Keeping leases while work is done under them, and saying why, in words, when one is lost.

Each lease is renewed a third of its time after it was taken or renewed last, so that two renewals may fail. Nothing
tells a process that it was paused: so `Heartbeat.check` looks at the clock itself, before whatever must not be late.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..clock import Clock
from ..errors import StoreError
from .leases import HeldLease, Leases, LostLeaseError

MARGIN = 0.1
"""Of its time, a lease must have so much left for `Heartbeat.check` to pass..."""
LONGEST_MARGIN = 2.0
"""...but no more than so many seconds."""
_RETRY = 0.1
"""Of its time, after which a renewal that the store did not answer is tried again."""


class Heartbeat:
    """Renews leases, by a thread of its own, from `start` to `stop`."""

    lost: threading.Event
    """Set once one of them is lost; `reason` says why."""

    def __init__(self, leases: Leases, held: HeldLease | Sequence[HeldLease], clock: Clock) -> None:
        """Take the leases as they were acquired."""
        self._leases, self._clock = leases, clock
        self._held = [held] if isinstance(held, HeldLease) else [*held]
        self._gone: set[int] = set()
        self._reason = ""
        self.lost = threading.Event()
        self._stop = threading.Event()
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._awake = clock.boot()
        """When the thread ran last, or was to run next."""
        self._asking = False
        """Whether the store is being asked now."""
        self._trouble = ""
        """What the store said when it was asked last, if it failed."""

    @property
    def held(self) -> tuple[HeldLease, ...]:
        """The leases as they were renewed last."""
        with self._guard:
            return tuple(self._held)

    @property
    def reason(self) -> str:
        """Why one was lost, in one line; empty: none was."""
        with self._guard:
            return self._reason

    def start(self) -> None:
        """Begin to renew."""
        self._thread = threading.Thread(target=self._run, name="rollcage heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Renew no more. Does not wait long for a store that does not answer."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(1.0)

    def left(self) -> float:
        """Return for how many seconds all of them are still held, as far as is known; 0: one is lost."""
        with self._guard:
            now = self._clock.boot()
            return 0.0 if self._reason else max(0.0, min((each.expires - now for each in self._held), default=0.0))

    def check(self, margin: float | None = None) -> None:
        """Make sure that all are still held, for ``margin`` seconds more (default: `MARGIN`), before a write.

        Raises LostLeaseError, saying why.
        """
        self._look()
        with self._guard:
            if self._reason:
                raise LostLeaseError(self._reason)
            now = self._clock.boot()
            for each in self._held:
                needed = min(each.ttl * MARGIN, LONGEST_MARGIN) if margin is None else margin
                if each.expires - now < needed:
                    its = f"lock {each.name!r}: token {each.token} has {each.expires - now:.1f} s left"
                    trouble = f": {self._trouble}" if self._trouble else ""
                    raise LostLeaseError(f"{its}, too little for a write ({needed:.1f} s){trouble}")

    def wait(self, timeout: float) -> bool:
        """Wait until one is lost, at most ``timeout`` seconds; return whether one is.

        It notices that the time is up even while the store does not answer.
        """
        end = self._clock.boot() + timeout
        while not self._look():
            now = self._clock.boot()
            if now >= end:
                return False
            self._clock.wait(self.lost, min(end - now, max(self.left(), 0.001)))
        return True

    def beat(self) -> float:
        """Renew what is due; return in how many seconds to do so again. The thread does this, again and again."""
        began = self._clock.boot()
        with self._guard:
            late, self._asking = began - self._awake, True
            due = [
                (place, each)
                for place, each in enumerate(self._held)
                if place not in self._gone and began >= _due(each)
            ]
        trouble = ""
        for place, each in due:
            asked = self._clock.boot()
            try:
                renewed = self._leases.renew(each)
            except LostLeaseError as error:
                now = self._clock.boot()
                over, late = now >= each.expires, max(late, now - asked)  # paused before, or within the call
                self._lose(place, _told(each, error, late if over else 0.0, self._trouble if over else ""))
            except StoreError as error:
                trouble = str(error)
                if self._clock.boot() >= each.expires:
                    self._lose(place, _unreachable(each, trouble))
            else:
                with self._guard:
                    self._held[place] = renewed
        now = self._clock.boot()
        with self._guard:
            self._trouble, self._asking = trouble, False
            kept = [each for place, each in enumerate(self._held) if place not in self._gone]
            pause = min((_due(each) - now for each in kept), default=1.0)
            if trouble:
                end = min((each.expires - now for each in kept), default=1.0)
                pause = max(pause, min(min((each.ttl for each in kept), default=1.0) * _RETRY, max(end, 0.0)))
            pause = max(pause, 0.0)
            self._awake = now + pause
        return pause

    def _run(self) -> None:
        while not self._stop.is_set():
            pause = self.beat()
            self._clock.wait(self._stop, pause)

    def _look(self) -> bool:
        """Return whether one is lost; by the clock, too."""
        with self._guard:
            now = self._clock.boot()
            over = [
                (place, each)
                for place, each in enumerate(self._held)
                if place not in self._gone and now >= each.expires
            ]
            late, trouble = now - self._awake, self._trouble
            if self._asking and not trouble:  # one cannot tell
                trouble = f"no answer for {late:.0f} s, or this process was paused or the machine slept"
                late = 0.0
        for place, each in over:
            lapsed = LostLeaseError(f"lock {each.name!r}: token {each.token} has lapsed", lapsed=True)
            self._lose(place, _told(each, lapsed, late, trouble))
        return self.lost.is_set()

    def _lose(self, place: int, reason: str) -> None:
        if self._stop.is_set():
            return  # whoever stopped it gives them back
        with self._guard:
            self._gone.add(place)
            self._reason = self._reason or reason
        self.lost.set()


@contextmanager
def holding(
    leases: Leases,
    names: str | Sequence[str],
    holder: str,
    clock: Clock,
    *,
    ttl: float = 30.0,
    wait: float = 0.0,
    permits: int = 1,
    slots: int = 1,
    session: str = "",
) -> Iterator[Heartbeat]:
    """Hold the lock ``names``, or all of several, within, renewed; gives the heartbeat, to be asked before each write.

    ``permits`` and ``slots`` are for one name. Raises as `Leases.acquire` does, and LostLeaseError at the end where a
    lease was lost by then, unless what is within has failed already.
    """
    if isinstance(names, str):
        held = [leases.acquire(names, holder, ttl, wait, permits=permits, slots=slots, session=session)]
    else:
        held = [*leases.acquire_all(names, holder, ttl, wait, session=session)]
    heartbeat = Heartbeat(leases, held, clock)
    heartbeat.start()
    try:
        yield heartbeat
    except BaseException as error:
        for problem in _given_back(leases, heartbeat):
            error.add_note(str(problem))
        raise
    problems = _given_back(leases, heartbeat)
    if heartbeat.reason:
        raise LostLeaseError(heartbeat.reason) from (problems[0] if problems else None)
    if problems:
        raise problems[0]


def _given_back(leases: Leases, heartbeat: Heartbeat) -> list[LostLeaseError | StoreError]:
    """Give all of them back, the last one first; return what went wrong."""
    heartbeat.stop()
    problems: list[LostLeaseError | StoreError] = []
    for each in reversed(heartbeat.held):
        try:
            leases.release(each)
        except (LostLeaseError, StoreError) as error:
            problems.append(error)
    return problems


def _due(held: HeldLease) -> float:
    return held.expires - held.ttl * 2 / 3


def _told(held: HeldLease, error: LostLeaseError, late: float, trouble: str) -> str:
    """Return why a renewal was refused."""
    if trouble and late < held.ttl / 2:
        its = _unreachable(held, trouble)
    elif late >= held.ttl / 3:
        paused = f"its time was up because this process was paused or the machine slept {late:.0f} s"
        its = f"lock {held.name!r}: token {held.token} is lost; {paused}"
    else:
        return str(error)
    return its if error.lapsed else f"{its}; {error}"


def _unreachable(held: HeldLease, trouble: str) -> str:
    its = f"lock {held.name!r}: token {held.token} is lost"
    return f"{its}; the store could not be reached until its time was up: {trouble}"
