"""Desks for tests: over the local tracker, or over one that lies elsewhere and fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rollcage.core.clock import Clock
from rollcage.core.coordination.embedded import EmbeddedLeases
from rollcage.core.issues.desk import Desk
from rollcage.core.issues.local import LocalTracker, open_connections
from rollcage.core.issues.records import Records
from rollcage.core.issues.scope import Scope
from rollcage.core.issues.tracker import Tracker
from rollcage.core.store.audit import AuditRecord
from rollcage.core.store.paths import RepositoryPaths


@contextmanager
def opened(
    folder: Path, clock: Clock, tracker: Tracker | None = None, *, holder: str = "ann", scope: Scope | None = None
) -> Iterator[Desk]:
    """Give a desk at the state in ``folder``; without ``tracker`` over the local one."""
    paths = RepositoryPaths(folder)
    connections = open_connections(paths)
    leases = EmbeddedLeases(paths, clock)
    there = tracker or LocalTracker(connections, clock, holder)
    desk = Desk(there, leases, Records(connections, clock), clock, holder, scope, None, connections)
    try:
        yield desk
    finally:
        desk.close()


def written(desk: Desk) -> list[tuple[str, str, str]]:
    """Return what, subject and outcome of all that was written, oldest first; the chain must be whole."""
    assert desk.records.verify_audit().ok
    return [(record.what, record.subject, record.outcome) for record in audited(desk)]


def audited(desk: Desk) -> list[AuditRecord]:
    """Return the whole audit log."""
    return desk.records.audit_records(1_000_000)
