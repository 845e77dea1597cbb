"""Several locks at once, whoever keeps them: in one global order, all or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Protocol, TypeVar

from ..clock import Clock
from ..errors import StoreError
from .leases import HeldLease, Leases, LostLeaseError


class Named(Protocol):
    """What is wanted of one lock."""

    @property
    def name(self) -> str:
        """Of the lock."""
        ...


Wanted = TypeVar("Wanted", bound=Named)


def all_or_none(
    leases: Leases,
    clock: Clock,
    ttl: float,
    wanted: Iterable[Wanted],
    take: Callable[[Wanted, Callable[[], None]], HeldLease],
) -> tuple[HeldLease, ...]:
    """Take ``wanted`` in the order of their UTF-8 bytes; what was taken is given back where one of them is not had.

    ``take`` gets what it calls while it waits: that renews those with less than two thirds of their time left. Raises
    what ``take`` and renewing raise.
    """
    held: list[HeldLease] = []

    def keep() -> None:
        if any(each.expires - clock.boot() < ttl * 2 / 3 for each in held):
            held[:] = [leases.renew(each) for each in held]

    try:
        for each in sorted(wanted, key=lambda one: one.name.encode()):
            held += [take(each, keep)]
        keep()
    except BaseException:
        for one in reversed(held):
            with suppress(LostLeaseError, StoreError):  # lost or not: it ends
                leases.release(one)
        raise
    return tuple(held)
