"""What several processes did to one set of leases: each call with when it was asked, when answered, and the answer.

A line is written before each call and one after it, so that a killed process has told what it had begun. All times are
seconds of the machine's boot clock, which is one for all its processes and never steps.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rollcage.core.coordination.leases import DeadlockError, HeldLease, LostLeaseError
from rollcage.core.errors import LeaseError, StoreError
from rollcage.core.model import Lease

if TYPE_CHECKING:
    from tests.coordination.keepers import Locks

T = TypeVar("T")

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> float:
    """Return the boot clock of the machine, in seconds."""
    return time.clock_gettime(_CLOCK)


@dataclass(frozen=True, slots=True)
class Operation:
    """One call and what came of it."""

    process: str
    call: str
    """acquire, renew, release, break."""
    name: str
    invoked: float
    returned: float = math.inf
    """Infinite: it never was, its process died."""
    answer: str = "unknown"
    """ok; refused (not had in time, or a circle); lost; unknown (it may or may not have been done)."""
    token: int = 0
    """Of the lease that it is about, or that it gave; 0: nobody knows."""
    slots: int = 1
    permits: int = 1
    wait: float = 0.0
    ttl: float = 0.0
    expires: float = 0.0
    """As an acquire or a renewal answered."""
    together: bool = False
    """One of several taken at once: where they were refused, it may have been had for a while and been given back."""
    holder: str = ""
    """Who asked; in these tests one line of work."""
    circle: tuple[str, ...] = ()
    """Of a refusal: the circle that was told, holder, lock, holder, lock, ..."""


_DOUBTFUL = {("release", "lost"), ("break", "lost")}


@dataclass(frozen=True, slots=True)
class History:
    """All calls of all processes, and what befell them."""

    operations: tuple[Operation, ...]
    deaths: dict[str, float] = field(default_factory=dict)
    """When each process that was killed was killed (a moment before the signal)."""
    losses: tuple[tuple[float, float], ...] = ()
    """From when to when the keeper of the leases lost all of its data."""

    def in_doubt(self) -> History:
        """Return the same, with what is not known where the keeper lost its data during a release or a break.

        It may have been done, its answer lost, and be asked for again of a keeper that knows of no such lease any more.
        """
        return replace(self, operations=tuple(map(self._as_known, self.operations)))

    def _as_known(self, one: Operation) -> Operation:
        lost = any(begun <= one.returned and one.invoked <= ended for begun, ended in self.losses)
        return replace(one, answer="unknown") if lost and (one.call, one.answer) in _DOUBTFUL else one

    @property
    def names(self) -> list[str]:
        """The names of all locks, sorted."""
        return sorted({operation.name for operation in self.operations})


class Recorded:
    """Leases whose every call is written down; raises what they raise."""

    def __init__(self, leases: Locks, path: Path, process: str) -> None:
        """Write to the file ``path``, which several threads, but no two processes may share."""
        self.leases, self.process = leases, process
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._ids = itertools.count()

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
        told = {
            "names": [name], "holder": holder, "ttl": ttl, "wait": wait, "permits": permits, "slots": slots,
        }  # fmt: skip

        def work() -> HeldLease:
            return self.leases.acquire(name, holder, ttl=ttl, wait=wait, permits=permits, slots=slots, session=session)

        return self._told("acquire", told, work, lambda held: [(held.name, held.token, held.expires)])

    def acquire_all(
        self, names: Sequence[str], holder: str, ttl: float = 30.0, wait: float = 0.0, *, session: str = ""
    ) -> tuple[HeldLease, ...]:
        """See `Leases.acquire_all`."""
        told = {"names": list(names), "holder": holder, "ttl": ttl, "wait": wait, "together": True}

        def work() -> tuple[HeldLease, ...]:
            return self.leases.acquire_all(names, holder, ttl=ttl, wait=wait, session=session)

        return self._told("acquire", told, work, lambda all_: [(held.name, held.token, held.expires) for held in all_])

    def renew(self, held: HeldLease) -> HeldLease:
        """See `Leases.renew`."""
        return self._told(
            "renew",
            {"names": [held.name], "token": held.token, "ttl": held.ttl},
            lambda: self.leases.renew(held),
            lambda renewed: [(held.name, held.token, renewed.expires)],
        )

    def release(self, held: HeldLease) -> None:
        """See `Leases.release`."""
        told = {"names": [held.name], "token": held.token}
        self._told("release", told, lambda: self.leases.release(held), lambda _: [(held.name, held.token, 0.0)])

    def break_(self, name: str, token: int, record: Callable[..., object]) -> Lease:
        """See `Leases.break_`; the token must be named, else nobody could tell what was broken."""
        return self._told(
            "break",
            {"names": [name], "token": token},
            lambda: self.leases.break_(name, "operator", "a test", record, token),
            lambda lease: [(name, token, 0.0)],
        )

    def _told(
        self,
        call: str,
        told: dict[str, Any],
        work: Callable[[], T],
        given: Callable[[T], list[tuple[str, int, float]]],
    ) -> T:
        number = next(self._ids)
        self._write({"id": number, "call": call, "invoked": now(), **told})
        try:
            found = work()
        except LostLeaseError:  # of several at once, one may be lost while the others are waited for
            self._write({"id": number, "returned": now(), "answer": "refused" if call == "acquire" else "lost"})
            raise
        except StoreError:
            self._write({"id": number, "returned": now(), "answer": "unknown"})
            raise
        except LeaseError as error:
            circle = error.cycle if isinstance(error, DeadlockError) else ()
            self._write({"id": number, "returned": now(), "answer": "refused", "circle": circle})
            raise
        self._write({"id": number, "returned": now(), "answer": "ok", "given": given(found)})
        return found

    def _write(self, line: dict[str, Any]) -> None:
        os.write(self._file, json.dumps({"process": self.process, **line}).encode() + b"\n")


def read(paths: Iterable[Path]) -> tuple[Operation, ...]:
    """Return what was recorded in these files, in the order of asking."""
    begun: dict[tuple[str, int], dict[str, Any]] = {}
    ended: dict[tuple[str, int], dict[str, Any]] = defaultdict(dict)
    for path in paths:
        for line in path.read_bytes().splitlines():
            try:
                told = json.loads(line)
            except ValueError:  # its process was killed amid the last line
                continue
            (begun if "call" in told else ended)[(told["process"], told["id"])] = told
    found = [one for key, call in begun.items() for one in _operations(call, ended[key])]
    return tuple(sorted(found, key=lambda operation: operation.invoked))


def _operations(call: dict[str, Any], end: dict[str, Any]) -> Iterable[Operation]:
    given = {name: (token, expires) for name, token, expires in end.get("given", ())}
    for name in call["names"]:
        token, expires = given.get(name, (call.get("token", 0), 0.0))
        yield Operation(
            call["process"],
            call["call"],
            name,
            call["invoked"],
            end.get("returned", math.inf),
            end.get("answer", "unknown"),
            token,
            call.get("slots", 1),
            call.get("permits", 1),
            call.get("wait", 0.0),
            call.get("ttl", 0.0),
            expires,
            call.get("together", False),
            call.get("holder", ""),
            tuple(end.get("circle", ())),
        )
