"""What a lease is, whoever keeps it: one protocol, kept in SQLite (`embedded`) or in Redis (`redis_leases`).

A lease is over when its time is up, or when its holder's process is dead. A holder that was only paused does not
notice: so whatever a lease protects compares the token with the highest it has seen, and refuses a lower one
(M. Kleppmann, "How to do distributed locking", 2016). Tokens of one name only grow, whatever is restarted or lost.

A name may have several ``permits`` (then it is a semaphore); a lease takes ``slots`` of them, usually one. All who use
a name must mean the same number of permits. A *session* is one line of work: it waits for one thing at a time; what a
session holds and what it waits for make the wait-for graph.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ..errors import ExitCode, LeaseError, UsageError
from ..text import clean

if TYPE_CHECKING:
    from ..model import Lease  # all nouns together are dear, and who takes a lock needs none of them


class LostLeaseError(LeaseError):
    """A renewal or release came too late, or with a token that is not the lease's; the message says why, if known.

    ``lapsed``: its time was up, but nobody took it since; otherwise it was broken, or somebody else has had it.
    """

    exit_code = ExitCode.ERROR

    def __init__(self, message: str, *, lapsed: bool = False) -> None:
        """Take the message for people, and which of the two it was."""
        super().__init__(message)
        self.lapsed = lapsed


class DeadlockError(LeaseError):
    """To wait would close, or had closed, a circle of sessions that wait for each other; ``cycle`` names them.

    ``cycle`` goes holder, lock, holder, lock, ..., each waiting for the lock behind it, which the next holds; cleaned.
    """

    def __init__(self, message: str, cycle: Sequence[str] = ()) -> None:
        """Take the message for people, and the circle."""
        super().__init__(message)
        self.cycle = tuple(cycle)

    @classmethod
    def closing(cls, name: str, cycle: Sequence[str]) -> DeadlockError:
        """Return the error for who would close ``cycle`` by waiting for ``name``."""
        if len(cycle) == 2:
            return cls(f"lock {name!r}: {cycle[0]} holds it, and would wait for itself", cycle)
        told = ", ".join(f"{who} waits for {what}" for who, what in zip(cycle[::2], cycle[1::2], strict=True))
        advice = "give back what you hold, and take all in one order"
        return cls(f"lock {name!r}: to wait for it would close a circle: {told}; {advice}", cycle)

    @classmethod
    def refused(cls, name: str, verdict: str) -> DeadlockError:
        """Return the error for whose wait for ``name`` was ended from outside; see `verdict`."""
        why, *cycle = (clean(word, limit=1_000) for word in verdict.split(_SEPARATOR))
        return cls(f"lock {name!r}: the wait for it was ended: {why}", cycle)


_SEPARATOR = "\x1f"
"""In no text that was cleaned."""


def verdict(reason: str, cycle: Sequence[str] = ()) -> str:
    """Return why a wait is ended, in one text, as the waiter reads it."""
    return _SEPARATOR.join([clean(reason) or "refused", *(clean(word, limit=200) for word in cycle)])


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A lease as its holder has it."""

    name: str
    holder: str
    token: int
    """Hand it to whatever the lease protects."""
    ttl: float
    """Seconds that each renewal gives."""
    expires: float
    """On the boot clock of this machine, seconds; never later than the keeper of the leases thinks."""
    slots: int = 1
    """So many permits of its name it takes."""


@dataclass(frozen=True, slots=True)
class Holding:
    """A lease in the wait-for graph."""

    name: str
    session: str
    holder: str
    token: int
    slots: int
    permits: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """Someone in a queue, in the wait-for graph."""

    name: str
    session: str
    holder: str
    seq: int
    """Its place: a lower one of the same name is served first. Grows in the order of arrival over all names."""
    slots: int
    permits: int
    waited: float
    """Seconds since it came."""


@dataclass(frozen=True, slots=True)
class WaitLog:
    """Who holds and who waits, at one moment; only what lives."""

    holdings: tuple[Holding, ...]
    waitings: tuple[Waiting, ...]
    """By ``seq``."""


class Recorder(Protocol):
    """How a break is recorded: `rollcage.core.store.audit.Audit.audit`."""

    def __call__(self, who: str, what: str, subject: str, why: str = "") -> object:
        """Write a record, durably."""
        ...


class Leases(Protocol):
    """The leases of one repository, asked for by this process; safe between threads and processes.

    All raise StoreError where the keeper (the file, the server) cannot be read or written, or does not answer in time:
    then one does not know more than before, and must not act as if one held the lease.
    """

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
        """Take ``slots`` of the ``permits`` of ``name`` for ``ttl`` seconds; waits at most ``wait`` s, served in turn.

        ``holder`` tells people who it is: an agent's name, or ``NAME on HOST``. ``session`` default: this thread of
        this process. Not re-entrant. Raises LeaseError where it is not had in time; DeadlockError where waiting would
        close a circle, or when it was chosen to end one; UsageError for a name that is none, or for permits other than
        those that others mean who hold or await it now.
        """
        ...

    def acquire_all(
        self, names: Sequence[str], holder: str, ttl: float = 30.0, wait: float = 0.0, *, session: str = ""
    ) -> tuple[HeldLease, ...]:
        """Take all of ``names`` (once each) in the one global order, that of their UTF-8 bytes; all or none.

        ``wait`` is for all of them together. Raises as `acquire` does, and LostLeaseError, which says why, where one
        was lost (broken, or this process was paused) while another was waited for; what is left is given back.
        """
        ...

    def renew(self, held: HeldLease) -> HeldLease:
        """Give ``held`` its whole time again; return it as it is now. Raises LostLeaseError, saying why, if lost."""
        ...

    def release(self, held: HeldLease) -> None:
        """Give ``held`` back. Raises LostLeaseError if it is no longer held: the work under it may have been late."""
        ...

    def find(self, name: str, token: int) -> HeldLease:
        """Return the lease that ``token`` stands for. Raises LostLeaseError if it is no longer held."""
        ...

    def list(self) -> builtins.list[Lease]:
        """Return the leases that are held now, by name and token, each with who waits for its name, in turn."""
        ...

    def wait_log(self) -> WaitLog:
        """Return who holds and who waits now, of all processes and machines that share these leases."""
        ...

    def refuse(self, waiting: Waiting, reason: str, cycle: Sequence[str] = ()) -> bool:
        """Time ``waiting`` out: its `acquire` raises DeadlockError with ``reason`` and the circle that it was in.

        Returns whether it still waited.
        """
        ...

    def break_(self, name: str, by: str, reason: str, record: Recorder, token: int | None = None) -> Lease:
        """Take the lease ``name`` (of a semaphore: the one with ``token``) from its holder; return what it was.

        Its holder notices at its next renewal and is told by whom and why. ``record`` is called first, with who, what,
        subject and why: a break that cannot be recorded is not done. Raises LostLeaseError where nobody holds it.
        """
        ...

    def close(self) -> None:
        """End this holder: what it still holds is free at once. A later use is a StoreError."""
        ...


LONGEST = 1e9
"""Seconds: nothing lasts longer, nor is waited for longer."""


def lock_name(name: str) -> str:
    """Return ``name``. Raises UsageError where it is empty, too long or no plain text."""
    if not name or clean(name, limit=200) != name:
        shown = clean(name, limit=80)
        raise UsageError(f"{shown!r} is no name for a lock: one line of plain text, at most 200 characters")
    return name


def check_numbers(name: str, ttl: float, wait: float, permits: int, slots: int) -> None:
    """Raise UsageError where a lease cannot be asked for with these."""
    if not 0 < ttl <= LONGEST or not 0 <= wait <= LONGEST:
        asked = f"{ttl:g} s to live, {wait:g} s to wait"
        raise UsageError(f"lock {name!r}: {asked}; allowed: more than 0, and 0 or more, up to {LONGEST:g}")
    if not 0 < slots <= permits:
        raise UsageError(f"lock {name!r}: {slots} of {permits} permits; allowed: at least 1, at most all")
