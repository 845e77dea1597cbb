"""Leases for several machines, in a Redis server: the scripts of `redis_scripts` decide, on the server's clock.

A clone on another machine has the same leases: their keys begin with the repository's oldest root commit. Who waits
blocks on a list of its own, into which the script that frees a permit puts the grant: nobody polls, only one is woken,
and nobody barges. A waiter says every `REFRESH` seconds that it lives; one that is silent for `SILENCE` is passed over.
So what a dead process of another machine holds is over `SILENCE` after its time at the latest. One of this machine is
seen at once by its free flock, if it had the same state directory, by whoever waits for what it holds.

A request that is sent twice, since its answer was lost, finds what it did by its id. What was granted to nobody's
knowledge is given back with the next request, or lapses. A server that lost its data is noticed: no token of the time
before counts any more, and none is given again (`redis_floor`).
"""

from __future__ import annotations

import builtins
import itertools
import math
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ..clock import Clock
from ..errors import LeaseError, StoreError, UsageError
from ..model import Lease, Waiter
from ..store.files import make_private
from ..store.locate import read_record
from ..store.paths import RepositoryPaths
from ..text import clean
from .holders import Holder, is_alive, is_holder_id, sweep
from .leases import DeadlockError, HeldLease, Holding, LostLeaseError, Recorder, Waiting, WaitLog, lock_name
from .redis_connection import RedisServer, UnreachableError, parse_address
from .redis_floor import Floor
from .redis_scripts import ACQUIRE, FIND, FORGET, LEAVE, LOG, LOOK, PASS, REFUSE, RELEASE, RENEW, TAKE, Script
from .waits import may_pass, refusal

SILENCE = 1.0
"""Seconds after which a waiter that does not say that it lives is passed over; it keeps its place a while longer."""
REFRESH = 0.3
"""Seconds between two such words."""
GLANCE = 0.05
"""Seconds between two looks of a waiter whether the holders on this machine are alive."""
UNTANGLE = 1.0
"""Seconds between two looks of a waiter, who holds something too, whether it is in a circle."""
PATIENCE = 2.0
"""Seconds for which a waiter bears a server that cannot be reached, such as one that is started anew."""

_MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What somebody asks for. ``request`` names it: asked for twice, it is the same."""

    name: str
    holder: str
    id: str
    session: str
    ttl: float
    permits: int
    slots: int
    request: str


@dataclass(slots=True)
class _Wait:
    """A wait under way."""

    asked: float
    """When the last look was sent, on the boot clock."""
    told: int
    """The server's time at that look."""
    lapse: float
    """Seconds from then until the first of those ahead lapses; 0: there is none."""
    holds: bool
    """Whether its session holds something: only then somebody can wait for it."""
    watched: dict[int, str]
    """Holders whose death can be seen here, by token."""


class RedisLeases:
    """The leases of one repository, held by this process; safe between threads and processes, and after a fork."""

    def __init__(self, paths: RepositoryPaths, clock: Clock, url: str) -> None:
        """Take the server's address; connect at the first use.

        Raises StoreError where redis-py is missing or clones could not be told to be the same, UsageError for ``url``.
        """
        address = parse_address(url)
        self._paths, self._clock = paths, clock
        self._boot_id = clock.boot_id()
        self._server = RedisServer(address)
        self.namespace = address.namespace or repository_namespace(paths)
        """Who names the same one has the same leases."""
        self.key = f"rollcage:{{{self.namespace}}}"
        """All that it keeps on the server begins with that."""
        self._holders = paths.root / "redis_holders"
        make_private(self._holders)
        self._floor = Floor(paths.root / "redis_floor", self._boot_id)
        self._guard = threading.Lock()
        self._holder: Holder | None = None
        self._pid = 0
        self._requests = itertools.count(1)
        self._doubtful: dict[str, str] = {}
        """Requests whose answer was lost, and the name that each was for."""

    @property
    def server(self) -> RedisServer:
        """The server, for those who examine it."""
        return self._server

    def acquire(
        self,
        name: str,
        holder: str,
        ttl: float = 30.0,
        wait: float = 0.0,
        *,
        permits: int = 1,
        slots: int = 1,
        session: str = "",
    ) -> HeldLease:
        """See `Leases.acquire`."""
        return self._acquire(self._wanted(name, holder, ttl, wait, permits, slots, session), wait)

    def acquire_all(
        self, names: Sequence[str], holder: str, ttl: float = 30.0, wait: float = 0.0, *, session: str = ""
    ) -> tuple[HeldLease, ...]:
        """See `Leases.acquire_all`."""
        wanted = [self._wanted(name, holder, ttl, wait, 1, 1, session) for name in dict.fromkeys(names)]
        wanted.sort(key=lambda each: each.name.encode())
        end = self._clock.boot() + wait
        kept = _Kept(self, self._clock)
        try:
            for each in wanted:
                kept.held.append(self._acquire(each, max(0.0, end - self._clock.boot()), kept.renew_in_time, told=wait))
            kept.renew()
        except BaseException:
            for held in reversed(kept.held):
                with suppress(LostLeaseError, StoreError):  # lost or not: it ends
                    self.release(held)
            raise
        return tuple(kept.held)

    def renew(self, held: HeldLease) -> HeldLease:
        """See `Leases.renew`."""
        sent = self._clock.boot()  # the time counts from before, however late the answer comes
        answer = self._run(RENEW, held.name, held.token, _micro(held.ttl), repeat=False)
        if answer[0] != "held":
            raise self._lost(held.name, held.token, answer)
        return replace(held, expires=sent + held.ttl)

    def release(self, held: HeldLease) -> None:
        """See `Leases.release`."""
        again = (held.name, held.token, 1)
        answer = self._server.run(RELEASE, self.key, held.name, held.token, 0, again=again)
        if answer[0] != "held":
            raise self._lost(held.name, held.token, answer)

    def find(self, name: str, token: int) -> HeldLease:
        """See `Leases.find`."""
        sent = self._clock.boot()
        answer = self._run(FIND, lock_name(name), token)
        if answer[0] == "held":
            _, holder, ttl, left, slots, boot_id, holder_id = answer
            if self._lives(boot_id, holder_id):
                return HeldLease(name, clean(holder), token, ttl / _MICRO, sent + left / _MICRO, slots)
            answer = ["gone", "its holder has ended"]
        raise self._lost(name, token, answer)

    def list(self) -> builtins.list[Lease]:
        """See `Leases.list`."""
        now, leases, waiters = self._log()
        queues: dict[str, builtins.list[Waiter]] = {}
        for each in waiters:
            queues.setdefault(each[0], []).append(Waiter(clean(each[1]), _moment(each[7]), clean(each[4])))
        return [
            Lease(
                clean(name),
                clean(holder),
                token,
                (expires - now) / _MICRO,
                _moment(since),
                tuple(queues.get(name, ())),
                clean(session),
                permits,
                slots,
            )
            for token, holder, _, _, session, slots, permits, since, expires, _, _, name in leases
        ]

    def wait_log(self) -> WaitLog:
        """See `Leases.wait_log`."""
        now, leases, waiters = self._log()
        return WaitLog(
            tuple(
                Holding(clean(each[11]), clean(each[4]), clean(each[1]), each[0], each[5], each[6]) for each in leases
            ),
            tuple(
                Waiting(
                    clean(each[0]),
                    clean(each[4]),
                    clean(each[1]),
                    each[9],
                    each[5],
                    each[6],
                    max(0.0, (now - each[7]) / _MICRO),
                )
                for each in waiters
            ),
        )

    def refuse(self, waiting: Waiting, reason: str) -> bool:
        """See `Leases.refuse`."""
        told = clean(reason) or "refused"
        return bool(self._run(REFUSE, waiting.name, waiting.seq, waiting.session, told, repeat=False))

    def break_(self, name: str, by: str, reason: str, record: Recorder, token: int | None = None) -> Lease:
        """See `Leases.break_`; raises UsageError where several hold the name and ``token`` names none of them."""
        leases = [lease for lease in self.list() if lease.name == name and token in {None, lease.token}]
        if not leases:
            raise LostLeaseError(f"nobody holds lock {clean(name)!r}; `rollcage locks` lists them")
        if len(leases) > 1:
            tokens = ", ".join(str(lease.token) for lease in leases)
            raise UsageError(f"several hold {clean(name)!r}; name the one to break by its token: {tokens}")
        lease = leases[0]
        record(by, "break lock", f"{lease.name}: token {lease.token}, held by {lease.holder}", reason)
        why = f"it was broken by {clean(by, limit=200)}" + (f": {clean(reason)}" if reason else "")
        if not self._run(TAKE, name, lease.token, "", why, repeat=False):
            raise LostLeaseError(f"nobody holds lock {clean(name)!r} any more: it has gone by itself")
        return lease

    def close(self) -> None:
        """See `Leases.close`."""
        with self._guard:
            holder, self._holder = self._holder, None
            if holder is not None and self._pid == os.getpid():
                forgotten = False
                with suppress(StoreError):  # then its flock tells on this machine, and its time on others
                    self._server.run(FORGET, self.key, holder.id)
                    forgotten = True
                holder.close(forgotten=forgotten)
            self._server.close()
            self._floor.close()

    # -- who asks

    def _wanted(
        self, name: str, holder: str, ttl: float, wait: float, permits: int, slots: int, session: str
    ) -> _Wanted:
        lock_name(name)
        if not 0 < ttl < math.inf or not 0 <= wait < math.inf:
            raise UsageError(f"lock {name!r}: a time to live of {ttl:g} s, a wait of {wait:g} s; allowed: numbers")
        if not 0 < slots <= permits:
            raise UsageError(f"lock {name!r}: {slots} of {permits} permits; allowed: at least 1, at most all")
        me = self._begin()
        return _Wanted(
            name,
            clean(holder, limit=200) or "nobody",
            me,
            clean(session) if session else f"{me}:{threading.get_ident()}",
            float(ttl),
            permits,
            slots,
            f"{me}:{next(self._requests)}",
        )

    def _begin(self) -> str:
        """Return who this process is."""
        holder = self._holder
        if holder is not None and self._pid == os.getpid():
            return holder.id
        with self._guard:
            if self._holder is not None and self._pid != os.getpid():
                self._holder.close_in_child()
                self._holder = None
            if self._holder is None:
                self._server.check_open()
                sweep(self._holders, self._forget)
                self._holder, self._pid = Holder(self._holders), os.getpid()
            return self._holder.id

    def _forget(self, holder_id: str) -> None:
        self._run(FORGET, holder_id)

    # -- taking and waiting

    def _acquire(
        self, wanted: _Wanted, wait: float, meanwhile: Callable[[], None] | None = None, told: float | None = None
    ) -> HeldLease:
        end = self._clock.boot() + wait
        if self._doubtful:
            self._settle()
        try:
            sent, answer = self._ask(wanted, wait)
            while answer[0] == "busy" and self._evict(wanted.name, _pairs(answer[3:])):
                sent, answer = self._ask(wanted, wait)
            if answer[0] != "waiting":
                return self._taken(wanted, sent, answer, wait if told is None else told)
            return self._waited(wanted, end, wait if told is None else told, sent, answer, meanwhile)
        except BaseException as error:
            if isinstance(error, LeaseError | UsageError) and not isinstance(error, LostLeaseError):
                raise  # the server said so
            self._doubtful[wanted.request] = wanted.name
            if not isinstance(error, StoreError):  # else it could not be told anything
                with suppress(StoreError):
                    self._settle()
            raise

    def _ask(self, wanted: _Wanted, wait: float) -> tuple[float, Any]:
        sent = self._clock.boot()
        return sent, self._run(
            ACQUIRE,
            wanted.name,
            wanted.holder,
            wanted.id,
            self._boot_id,
            wanted.session,
            wanted.slots,
            wanted.permits,
            _micro(wanted.ttl),
            wanted.request,
            self._floor.get(),
            _micro(SILENCE) if wait > 0 else 0,
        )

    def _taken(self, wanted: _Wanted, sent: float, answer: Any, wait: float) -> HeldLease:
        """Return the lease that ``answer`` grants. Raises what else it says."""
        match answer:
            case ["granted", token, left]:
                return self._held(wanted, token, sent + left / _MICRO)
            case ["refused", why]:
                raise DeadlockError(f"lock {wanted.name!r}: the wait was ended: {clean(why)}")
            case ["mismatch", permits, holder]:
                raise UsageError(
                    f"lock {wanted.name!r} has {permits} permits for {clean(holder)}, {wanted.permits} here;"
                    " all must agree"
                )
            case [_, 0, holder, *_]:
                obstacle = f"goes to {clean(holder) or 'others'} first, who waits for it"
            case [_, token, holder, *_]:
                obstacle = f"is held by {clean(holder)} with token {token}"
            case _:
                raise StoreError(f"Redis server {self._server.shown} answered {clean(repr(answer), limit=80)}")
        raise LeaseError(f"lock {wanted.name!r} was not had within {wait:g} s: it {obstacle}")

    def _held(self, wanted: _Wanted, token: int, expires: float) -> HeldLease:
        self._floor.note(token)
        return HeldLease(wanted.name, wanted.holder, token, wanted.ttl, expires, wanted.slots)

    def _waited(
        self,
        wanted: _Wanted,
        end: float,
        told: float,
        sent: float,
        answer: Any,
        meanwhile: Callable[[], None] | None,
    ) -> HeldLease:
        """Wait in the queue. Raises as `acquire` does."""
        untangle = -math.inf
        reached = self._clock.boot()
        while True:
            try:
                if answer[0] == "unknown":  # the server lost its data: to the end of the queue
                    sent, answer = self._ask(wanted, 1)
                if answer[0] != "waiting":
                    return self._taken(wanted, sent, answer, told)
                state = _Wait(sent, answer[1], answer[2] / _MICRO, bool(answer[3]), _pairs(answer[4:]))
                if state.holds and self._clock.boot() >= untangle:
                    untangle = self._clock.boot() + UNTANGLE
                    self._untangle(wanted)
                if meanwhile is not None:
                    meanwhile()
                left = end - self._clock.boot()
                if left <= 0:
                    sent = self._clock.boot()
                    return self._taken(wanted, sent, self._run(LEAVE, wanted.name, wanted.request), told)
                held = self._sleep(wanted, state, min(left, REFRESH))
                if held is not None:
                    return held
                sent = reached = self._clock.boot()
                answer = self._run(LOOK, wanted.name, wanted.request, _micro(SILENCE))
            except UnreachableError:
                now = self._clock.boot()
                if now >= min(end, reached + PATIENCE):
                    raise
                threading.Event().wait(GLANCE)
                sent, answer = now, ["unknown"]

    def _sleep(self, wanted: _Wanted, state: _Wait, seconds: float) -> HeldLease | None:
        """Return the lease if it is granted within ``seconds``; ``None``: look again."""
        end = self._clock.boot() + (min(seconds, state.lapse + 0.001) if state.lapse else seconds)

        def glance() -> None:
            self._evict(wanted.name, state.watched)

        glance()
        while True:
            left = end - self._clock.boot()
            message = self._server.pop(
                f"{self.key}:wake:{wanted.request}", max(left, 0.001), glance, GLANCE if state.watched else None
            )
            match (message or "").split():
                case ["granted", token, moment]:
                    # When that was on our clock: no later than now, and no later than the server's clock tells.
                    since = min(self._clock.boot(), state.asked + (int(moment) - state.told) / _MICRO)
                    return self._held(wanted, int(token), since + wanted.ttl)
                case ["watch", token, holder]:
                    state.watched[int(token)] = holder
                case _:
                    return None
            if left <= 0:
                return None

    def _untangle(self, wanted: _Wanted) -> None:
        """See whether this wait closes a circle. Raises DeadlockError where it is the one to give way.

        A circle that queue order alone makes is undone by letting pass whoever may.
        """
        log = self.wait_log()
        circle = refusal(log, wanted.session)
        if circle:
            answer = self._run(LEAVE, wanted.name, wanted.request)
            if answer[0] == "left":
                raise _deadlock(wanted.name, circle)
            return  # it was granted meanwhile: the next look finds it
        for waiting in log.waitings:
            if waiting.permits > 1 and may_pass(log, waiting):  # of one permit nothing is free while somebody waits
                self._run(PASS, waiting.name, waiting.seq, waiting.session)

    def _settle(self) -> None:
        """Give back what was asked for, and may have been granted, when an answer was lost. Raises StoreError."""
        for request, name in list(self._doubtful.items()):
            answer = self._run(LEAVE, name, request)
            if answer[0] == "granted":
                self._run(RELEASE, name, answer[1], 0)
            self._doubtful.pop(request, None)

    # -- who lives

    def _evict(self, name: str, watched: dict[int, str]) -> bool:
        """Take ``name`` from those of ``watched`` who are dead; return whether there were any."""
        dead = [token for token, holder in watched.items() if not self._lives(self._boot_id, holder)]
        for token in dead:
            self._run(TAKE, name, token, watched.pop(token), "its holder has ended", repeat=False)
        return bool(dead)

    def _lives(self, boot_id: str, holder: str) -> bool:
        """Tell whether that holder lives, as far as it can be told here; in doubt it does."""
        return boot_id != self._boot_id or not is_holder_id(holder) or is_alive(self._holders, holder)

    def _log(self) -> tuple[int, builtins.list[Any], builtins.list[Any]]:
        """Return the server's time, the leases by name and token, and the waiters by place; those that live."""
        now, leases, waiters = self._run(LOG)
        known: dict[tuple[str, str], bool] = {}
        for each in (*leases, *waiters):
            known.setdefault((each[3], each[2]), True)
        known = {(boot_id, holder): self._lives(boot_id, holder) for boot_id, holder in known}
        return (
            now,
            sorted((each for each in leases if known[each[3], each[2]]), key=lambda each: (each[11].encode(), each[0])),
            sorted((each for each in waiters if known[each[3], each[2]]), key=lambda each: int(each[9])),
        )

    def _run(self, script: Script, *arguments: object, repeat: bool = True) -> Any:
        return self._server.run(script, self.key, *arguments, repeat=repeat)

    def _lost(self, name: str, token: int, answer: Any) -> LostLeaseError:
        match answer:
            case ["lapsed"]:
                return LostLeaseError(f"lock {name!r}: token {token} has lapsed; take the lock again", lapsed=True)
            case ["gone", why]:
                return LostLeaseError(f"lock {name!r}: token {token} is stale; {clean(why)}")
            case ["lost"]:
                return LostLeaseError(
                    f"lock {name!r}: token {token} is stale; Redis server {self._server.shown} lost its data: "
                    "take the lock again"
                )
            case _:
                return LostLeaseError(f"lock {name!r}: token {token} is stale; it was broken, or taken by another")


class _Kept:
    """Leases that are had already, kept while others are waited for."""

    def __init__(self, leases: RedisLeases, clock: Clock) -> None:
        self._leases, self._clock = leases, clock
        self.held: list[HeldLease] = []

    def renew_in_time(self) -> None:
        """Renew those with less than half of their time. Raises LostLeaseError, StoreError."""
        for index, held in enumerate(self.held):
            if held.expires - self._clock.boot() < held.ttl / 2:
                self.held[index] = self._leases.renew(held)

    def renew(self) -> None:
        """Renew all but the last, which was just taken."""
        self.held[:-1] = [self._leases.renew(held) for held in self.held[:-1]]


def repository_namespace(paths: RepositoryPaths) -> str:
    """Return what all clones of the repository have in common. Raises StoreError where there is nothing."""
    record = read_record(str(paths.root)) or {}
    roots = record.get("roots")
    if not isinstance(roots, list) or not roots:
        raise StoreError(
            "this repository has no commit yet by which clones on other machines would know it; make one, or name it: "
            "?namespace=NAME behind the url under coordination: in rollcage.yml"
        )
    return clean(str(roots[0]), limit=100)


def _deadlock(name: str, circle: Sequence[str]) -> DeadlockError:
    told = ", ".join(f"{who} waits for {what}" for who, what in zip(circle[::2], circle[1::2], strict=True))
    return DeadlockError(f"lock {name!r}: to wait for it would close a circle: {told}", circle)


def _pairs(flat: Sequence[Any]) -> dict[int, str]:
    return {int(token): str(holder) for token, holder in zip(flat[::2], flat[1::2], strict=True)}


def _micro(seconds: float) -> int:
    return max(1, int(min(seconds, 1e9) * _MICRO))


def _moment(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / _MICRO, UTC)
