"""Where safe Issue operations are done from: a tracker, the leases, the records, and who works there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..clock import Clock
from ..coordination.fence import accept
from ..coordination.leases import HeldLease, Leases
from ..errors import LeaseError, StoreError, UsageError
from ..store.connections import Connections
from ..store.paths import RepositoryPaths
from .inflight import is_open, settle
from .local import LocalTracker, open_connections
from .records import Records
from .scope import Scope
from .tracker import Tracker

if TYPE_CHECKING:
    from ..config import Settings

TTL = 60.0
"""Seconds that a lease gives; renewed before each write to a tracker that is not ours."""
WAIT = 60.0
"""Seconds to wait for leases that others hold."""


class Holds:
    """The leases that an operation works under, as they are now."""

    def __init__(self, leases: Leases, held: Sequence[HeldLease] = ()) -> None:
        """Take where they were had, and them."""
        self._leases = leases
        self._held = {lease.name: lease for lease in held}

    def __contains__(self, name: str) -> bool:
        return name in self._held

    def token(self, name: str) -> int:
        """Return the fencing token of the lease ``name``."""
        return self._held[name].token

    def renew(self) -> None:
        """Give all of them their whole time again. Raises LostLeaseError: then nothing may be written any more."""
        for name, lease in self._held.items():
            self._held[name] = self._leases.renew(lease)

    def with_(self, more: Sequence[HeldLease]) -> Holds:
        """Return these and ``more``."""
        return Holds(self._leases, [*self._held.values(), *more])

    def tokens(self) -> Mapping[str, int]:
        """Return the tokens by the names of their leases."""
        return {name: lease.token for name, lease in self._held.items()}


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything that an Issue operation needs. What `open_desk` opened is closed by `close`."""

    tracker: Tracker
    leases: Leases
    records: Records
    clock: Clock
    holder: str
    """Who works here, as leases and records name them: an agent's name, or ``NAME on HOST``."""
    scope: Scope | None = None
    """What they may write; ``None``: everything."""
    held: Holds | None = None
    """Leases that are held already, by a batch or by ``rollcage lock run``: not taken, not given back."""
    connections: Connections | None = field(default=None, repr=False)

    @property
    def local(self) -> LocalTracker | None:
        """The tracker, where its Issues lie beside the records: then both are written in one transaction."""
        there = self.tracker
        return there if isinstance(there, LocalTracker) and self.records.lies_in(there.connections) else None

    @property
    def is_local(self) -> bool:
        """Whether the Issues lie beside the records."""
        return self.local is not None

    @contextmanager
    def hold(self, names: Sequence[str], wait: float = WAIT) -> Iterator[Holds]:
        """Hold the leases ``names``, all or none, in the global order, while the work within goes on.

        What a killed holder had sent to a tracker that is not ours is waited for and seen to first, see `inflight`.
        Raises as `rollcage.core.coordination.leases.Leases.acquire_all` does, LeaseError where ``wait`` is not enough
        for that, and TrackerError where the tracker does not answer then.
        """
        had = self.held or Holds(self.leases)
        missing = [name for name in names if name not in had]
        taken: Sequence[HeldLease] = ()
        if len(missing) == 1:
            taken = (self.leases.acquire(missing[0], self.holder, TTL, wait),)
        elif missing:
            taken = self.leases.acquire_all(missing, self.holder, TTL, wait)
        try:
            holds = had.with_(taken)
            if not self.is_local:
                settle(self, names, holds, wait)
            yield holds
        finally:
            for lease in reversed(taken):
                # Lost meanwhile: each write was checked by its token or read again. Not given back: it lapses.
                with suppress(LeaseError, StoreError):
                    if not self._must_lapse(lease):
                        self.leases.release(lease)

    def _must_lapse(self, lease: HeldLease) -> bool:
        """Tell whether what was sent under it may still land, and others could have it who see no note of that."""
        if self.is_local:
            return False
        from ..coordination.embedded import EmbeddedLeases

        return not isinstance(self.leases, EmbeddedLeases) and is_open(self.records, lease)

    @contextmanager
    def guarded(self, holds: Holds, names: Sequence[str]) -> Iterator[None]:
        """Let the work within be done only under the leases ``names``, as they are now.

        Where Issues lie beside the records, all of it is one transaction, in which the tokens are compared with the
        highest ones seen; elsewhere the leases are renewed just before. Raises LostLeaseError.
        """
        if not self.is_local:
            holds.renew()
            yield
            return
        with self.records.connected() as connection:
            for name in names:
                accept(connection, name, holds.token(name))
            yield

    @contextmanager
    def recording(self, holds: Holds, names: Sequence[str]) -> Iterator[None]:
        """Let the records within be written in one transaction, and only while no later holder wrote any."""
        with self.records.connected() as connection:
            for name in names:
                if name in holds:
                    accept(connection, name, holds.token(name))
            yield

    def holding(self, holds: Holds) -> Desk:
        """Return the desk at which ``holds`` are held already: what is done there takes them as its own."""
        return replace(self, held=holds)

    def close(self) -> None:
        """Close the tracker, the leases and the records."""
        self.tracker.close()
        self.leases.close()
        if self.connections is not None:
            self.connections.close()


def open_desk(
    settings: Settings, paths: RepositoryPaths, clock: Clock, *, holder: str, scope: Scope | None = None
) -> Desk:
    """Open the desk of a repository with the tracker and the leases of its settings.

    Whatever a process that died there left unfinished is brought to its end first, as far as the tracker can be
    reached. A lease that ``rollcage lock run`` holds for this process counts as held. Raises StoreError, TrackerError
    for a tracker that cannot be used as it is set, LostLeaseError where that lease is lost.
    """
    from ..coordination.opening import open_leases

    connections = open_connections(paths)
    leases: Leases | None = None
    tracker: Tracker | None = None
    try:
        records = Records(connections, clock)
        leases = open_leases(settings.coordination, paths, clock)
        tracker = _tracker(settings, paths, clock, connections, holder)
        desk = Desk(tracker, leases, records, clock, holder, scope, _given(leases, os.environ), connections)
        if records.has_unfinished():
            from .batch import recover  # only then: it needs all there is

            recover(desk)
    except BaseException:
        if tracker is not None:  # an engine tries again and again
            tracker.close()
        if leases is not None:
            leases.close()
        connections.close()
        raise
    return desk


def _tracker(
    settings: Settings, paths: RepositoryPaths, clock: Clock, connections: Connections, holder: str
) -> Tracker:
    if settings.tracker.kind == "local":
        return LocalTracker(connections, clock, holder)
    from .github.tracker import open_github  # PyGithub is dear: only who needs it

    return open_github(settings.tracker, paths, clock)


def _given(leases: Leases, environment: Mapping[str, str]) -> Holds | None:
    """Return what ``rollcage lock run`` holds for this process."""
    name, token = environment.get("ROLLCAGE_LOCK_NAME", ""), environment.get("ROLLCAGE_LOCK_TOKEN", "")
    if not name or not token:
        return None
    if not token.isdecimal():
        raise UsageError("ROLLCAGE_LOCK_TOKEN is no token; allowed: what `rollcage lock run` set, or nothing")
    return Holds(leases, (leases.find(name, int(token)),))
