"""The services of one repository, opened once and handed to every stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .checks.checks import Checks
from .clock import Clock
from .config import Settings
from .data.database import Database, open_database
from .gitrepo.git import require_git
from .gitrepo.history import attribute
from .gitrepo.mirror import Mirror
from .gitrepo.repository import Repository
from .gitrepo.scratch import ScratchPool
from .model import Commit
from .store.paths import RepositoryPaths
from .store.signals import Signals
from .store.store import Store


@dataclass(frozen=True, slots=True)
class Services:
    """What stages stand on. Safe to share between the threads of one engine."""

    repository: Repository
    paths: RepositoryPaths
    store: Store
    signals: Signals
    mirror: Mirror
    pool: ScratchPool
    checks: Checks
    database: Database | None
    settings: Settings
    pin: str
    """SHA-256 of the trusted settings; part of what an approval binds to."""
    clock: Clock


def open_services(
    repository: Repository, paths: RepositoryPaths, store: Store, settings: Settings, pin: str, clock: Clock
) -> Services:
    """Open everything that stages need; makes `mirror.git` where it is missing.

    Raises GitVersionError, StoreError, or SettingsError for a database that cannot be opened.
    """
    require_git()
    mirror = Mirror(repository, paths.mirror)
    mirror.ensure()
    pool = ScratchPool(mirror, paths.scratch, settings.limits.parallel_checks)
    return Services(
        repository=repository,
        paths=paths,
        store=store,
        signals=Signals(store),
        mirror=mirror,
        pool=pool,
        checks=Checks(settings, repository.top, pool, store, clock),
        database=open_database(settings.database, repository.top) if settings.database else None,
        settings=settings,
        pin=pin,
        clock=clock,
    )


def attributed(services: Services, commits: Sequence[Commit]) -> list[Commit]:
    """Return the commits with whose each is: by trailer, author, branch or working tree it was made in, co-author."""
    store = services.store
    return attribute(commits, services.settings.agents, lambda sha: store.get_note(origin_key(sha)))


def origin_key(sha: str) -> str:
    """Return the note that holds in whose branch or working tree the commit ``sha`` was seen to be made."""
    return f"origin:{sha}"
