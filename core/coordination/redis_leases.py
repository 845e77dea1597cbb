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
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from ..clock import Clock
from ..errors import LeaseError, StoreError, UsageError
from ..model import Lease, Waiter
from ..store.paths import RepositoryPaths
from ..text import clean
from .holders import Holder, sweep
from .leases import HeldLease, LostLeaseError, Recorder, Waiting, WaitLog, check_numbers, lock_name, verdict
from .redis_connection import RedisServer, UnreachableError
from .redis_line import Line, Wanted
from .redis_scripts import FIND, FORGET, LEAVE, REFUSE, RELEASE, RENEW, TAKE
from .redis_table import ENDED, MICRO, RedisTable, micro
from .several import all_or_none


class RedisLeases:
    """The leases of one repository, held by this process; safe between threads and processes, and after a fork."""

    def __init__(self, paths: RepositoryPaths, clock: Clock, url: str) -> None:
        """Take the server's address; connect at the first use.

        Raises StoreError where redis-py is missing or clones could not be told to be the same, UsageError for ``url``.
        """
        self._clock = clock
        self._table = RedisTable(paths, clock, url)
        self._guard = threading.Lock()
        self._holder: Holder | None = None
        self._pid = 0
        self._requests = itertools.count(1)
        self._doubtful: dict[str, str] = {}
        """Requests whose answer was lost, and the name that each was for."""
        self._unreleased: dict[int, str] = {}
        """Tokens that were given back, but the answer was lost, and the name of each."""
        self._open: set[object] = set()
        """Tokens of what is held, and requests under way: while there are any, `close` has something to end."""

    @property
    def server(self) -> RedisServer:
        """The server, for those who examine it."""
        return self._table.server

    @property
    def namespace(self) -> str:
        """Who names the same one on the same server has the same leases."""
        return self._table.namespace

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
        wanted = self._wanted(name, holder, ttl, wait, permits, slots, session)
        return self._take(wanted, wait, lambda: None)

    def acquire_all(
        self, names: Sequence[str], holder: str, ttl: float = 30.0, wait: float = 0.0, *, session: str = ""
    ) -> tuple[HeldLease, ...]:
        """See `Leases.acquire_all`."""
        end = self._clock.boot() + wait
        wanted = [self._wanted(name, holder, ttl, wait, 1, 1, session) for name in dict.fromkeys(names)]

        def take(one: Wanted, keep: Callable[[], None]) -> HeldLease:
            return self._take(one, max(0.0, end - self._clock.boot()), keep, told=wait)

        return all_or_none(self, self._clock, ttl, wanted, take)

    def renew(self, held: HeldLease) -> HeldLease:
        """See `Leases.renew`."""
        sent = self._clock.boot()  # the time counts from before, however late the answer comes
        answer = self._table.run(RENEW, held.name, held.token, micro(held.ttl), repeat=False)
        if answer[0] != "held":
            raise self._table.lost(held.name, held.token, answer)
        return replace(held, expires=sent + held.ttl)

    def release(self, held: HeldLease) -> None:
        """See `Leases.release`."""
        again = (held.name, held.token, 1)
        try:
            answer = self._table.server.run(RELEASE, self._table.key, held.name, held.token, 0, again=again)
        except UnreachableError:
            self._unreleased[held.token] = held.name
            raise
        self._open.discard(held.token)
        if answer[0] != "held":
            raise self._table.lost(held.name, held.token, answer)

    def find(self, name: str, token: int) -> HeldLease:
        """See `Leases.find`."""
        sent = self._clock.boot()
        answer = self._table.run(FIND, lock_name(name), token)
        if answer[0] == "held":
            _, holder, ttl, left, slots, boot_id, holder_id = answer
            if self._table.lives(boot_id, holder_id):
                return HeldLease(name, clean(holder), token, ttl / MICRO, sent + left / MICRO, slots)
            answer = ["gone", ENDED]
        raise self._table.lost(name, token, answer)

    def list(self) -> builtins.list[Lease]:
        """See `Leases.list`."""
        now, leases, waiters = self._table.living()
        queues: dict[str, builtins.list[Waiter]] = {}
        for each in waiters:
            queues.setdefault(each.name, []).append(Waiter(each.holder, _moment(each.since), each.session))
        return [
            Lease(
                lease.name,
                lease.holder,
                lease.number,
                (lease.expires - now) / MICRO,
                _moment(lease.since),
                tuple(queues.get(lease.name, ())),
                lease.session,
                lease.permits,
                lease.slots,
            )
            for lease in leases
        ]

    def wait_log(self) -> WaitLog:
        """See `Leases.wait_log`."""
        return self._table.wait_log()

    def refuse(self, waiting: Waiting, reason: str, cycle: Sequence[str] = ()) -> bool:
        """See `Leases.refuse`."""
        one = (waiting.name, waiting.seq, waiting.session, verdict(reason, cycle))
        return bool(self._table.server.run(REFUSE, self._table.key, *one, 0, again=(*one, 1)))

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
        why = f"was broken by {clean(by, limit=200)}: {clean(reason) or 'no reason'}"
        one = (name, lease.token, "", why)
        if not self._table.server.run(TAKE, self._table.key, *one, 0, again=(*one, 1)):
            raise LostLeaseError(f"token {lease.token} of lock {clean(name)!r} is held no more: it ended meanwhile")
        return lease

    def close(self) -> None:
        """See `Leases.close`."""
        with self._guard:
            holder, self._holder = self._holder, None
            if holder is not None and self._pid == os.getpid():
                forgotten = not self._open
                with suppress(StoreError):  # then its flock tells on this machine, and its time on others
                    if not forgotten:
                        self._table.run(FORGET, holder.id)
                    forgotten = True
                holder.close(forgotten=forgotten)
            elif holder is not None:
                holder.close_in_child()
            self._table.close()

    def _wanted(
        self, name: str, holder: str, ttl: float, wait: float, permits: int, slots: int, session: str
    ) -> Wanted:
        check_numbers(lock_name(name), ttl, wait, permits, slots)
        me = self._begin()
        return Wanted(
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
                self.server.check_open()
                sweep(self._table.holders, self._forget)
                self._holder, self._pid = Holder(self._table.holders), os.getpid()
            return self._holder.id

    def _forget(self, holder_id: str) -> None:
        self._table.run(FORGET, holder_id)

    def _take(self, wanted: Wanted, wait: float, meanwhile: Callable[[], None], told: float | None = None) -> HeldLease:
        if self._doubtful or self._unreleased:
            self._settle()
        self._open.add(wanted.request)
        try:
            held = Line(self._table, wanted, wait, told).take(meanwhile)
            self._open.add(held.token)
            self._open.discard(wanted.request)
            return held
        except BaseException as error:
            if isinstance(error, LeaseError | UsageError) and not isinstance(error, LostLeaseError):
                self._open.discard(wanted.request)
                raise  # the server said so
            self._doubtful[wanted.request] = wanted.name
            with suppress(StoreError):  # then with the next request, or it lapses
                self._settle()
            raise

    def _settle(self) -> None:
        """Give back what nobody relies on, but the server may think is held or waited for. Raises StoreError."""
        for token, name in builtins.list(self._unreleased.items()):
            self._table.run(RELEASE, name, token, 1)
            self._unreleased.pop(token, None)
            self._open.discard(token)
        for request, name in builtins.list(self._doubtful.items()):
            answer = self._table.run(LEAVE, name, request)
            if answer[0] == "granted":
                self._table.run(RELEASE, name, answer[1], 0)
            self._doubtful.pop(request, None)
            self._open.discard(request)


def _moment(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / MICRO, UTC)
