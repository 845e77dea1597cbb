"""Which leases count: those that ``coordination:`` of the settings names."""

from __future__ import annotations

from ..clock import Clock
from ..config import CoordinationSettings
from ..store.paths import RepositoryPaths
from .leases import Leases


def open_leases(settings: CoordinationSettings, paths: RepositoryPaths, clock: Clock) -> Leases:
    """Open the leases that agents, Issue operations and operators share.

    Raises StoreError; and UsageError where the url of the Redis server is none. Such a server is asked only at the
    first use. The lease of the engine is not among them: it is always embedded, since an engine leads one state
    directory.
    """
    if settings.kind == "redis":
        from .redis_leases import RedisLeases

        return RedisLeases(paths, clock, settings.url or "")
    from .embedded import EmbeddedLeases

    return EmbeddedLeases(paths, clock)
