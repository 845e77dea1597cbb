"""The one engine that leads a repository.

Two locks: a flock in the repository's common git directory, so that two engines never lead one repository even with
different state directories, and which the kernel frees when an engine dies; and the lease ``engine``, whose fencing
token goes with what the engine does, and which shows who leads.
"""

from __future__ import annotations

import os
import threading
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import LeaseError
from ..store.files import not_writable, write_atomically
from ..text import clean
from .embedded import EmbeddedLeases
from .holders import is_free
from .leases import HeldLease, LostLeaseError

if TYPE_CHECKING:
    from filelock import BaseFileLock

LEASE = "engine"
TTL = 10.0
"""Seconds; `Leader.heartbeat` is to be called several times within."""
TRY_EVERY = 1.0
"""Seconds between two tries to lead of who stands by: an engine that dies is replaced within its lease."""


class Leader:
    """This process as a candidate; at most one of all leads. Safe between threads."""

    def __init__(self, common_dir: Path, leases: EmbeddedLeases) -> None:
        """Take the common git directory and the leases of its repository. Touches nothing yet."""
        self._folder = common_dir / "rollcage"
        self._leases = leases
        self._held: HeldLease | None = None
        self._guard = threading.Lock()
        self.name = f"pid {os.getpid()} on {clean(os.uname().nodename)}"

    @cached_property
    def _flock(self) -> BaseFileLock:
        from filelock import FileLock  # who only asks who leads needs it not

        return FileLock(self._folder / "leader.lock", thread_local=False)

    @property
    def leading(self) -> bool:
        """Whether this one leads, as far as it knows: between two heartbeats it may have lost that."""
        return self._held is not None

    @property
    def token(self) -> int | None:
        """The fencing token of this leadership; ``None`` where it does not lead."""
        held = self._held
        return held.token if held else None

    def try_lead(self) -> bool:
        """Lead if nobody does; return whether this one leads. Raises StoreError."""
        from filelock import Timeout

        with self._guard:
            if self._held is not None:
                return True
            try:
                self._folder.mkdir(exist_ok=True)
                self._flock.acquire(timeout=0.1)  # longer than anybody's look whether it is free
            except Timeout:
                return False
            except OSError as error:
                raise not_writable(self._folder, error) from error
            try:
                # The name first: once the lease is there, nothing may fail any more.
                write_atomically(self._folder / "leader", f"{self.name}\n".encode(), mode=0o644)
                self._held = self._leases.acquire(LEASE, self.name, TTL)
            except LeaseError:
                return False  # another leads that has the flock of a git directory which is gone
            finally:
                if self._held is None:
                    self._flock.release()
            return True

    def heartbeat(self) -> bool:
        """Renew the lease; return whether this one still leads. Raises StoreError.

        Where its time was up (the machine slept, the process was stopped) nobody else can have led, because of the
        flock: it leads on with a new token. Where it was broken by an operator, it resigns.
        """
        with self._guard:
            if self._held is None:
                return False
            try:
                self._held = self._renewed(self._held)
            except LeaseError:
                self._held = None
                self._flock.release()
            return self._held is not None

    def _renewed(self, held: HeldLease) -> HeldLease:
        try:
            return self._leases.renew(held)
        except LostLeaseError as lost:
            if not lost.lapsed:
                raise
            return self._leases.acquire(LEASE, self.name, TTL)

    def holder(self) -> str | None:
        """Return who leads, as ``pid 47 on host``; ``None``: nobody."""
        if self._held is not None:
            return self.name
        for lease in self._leases.list():
            if lease.name == LEASE:
                return lease.holder
        if is_free(self._folder / "leader.lock") is not False:
            return None
        try:  # one with another state directory
            return clean((self._folder / "leader").read_text(encoding="utf-8", errors="replace"))
        except OSError:
            return "another process"

    def resign(self) -> None:
        """Lead no longer. Raises StoreError where the lease cannot be given back: it lapses then."""
        with self._guard:
            held, self._held = self._held, None
            if held is None:
                return
            try:
                self._leases.release(held)
            except LostLeaseError:
                return  # it was over already: that is what was asked for
            finally:
                self._flock.release()
