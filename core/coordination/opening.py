"""Which leases count: those that ``coordination:`` of the settings names."""

from __future__ import annotations

from ..clock import Clock
from ..config import CoordinationSettings
from ..store.paths import RepositoryPaths
from .embedded import EmbeddedLeases
from .leases import Leases


def open_leases(settings: CoordinationSettings, paths: RepositoryPaths, clock: Clock) -> Leases:
    """Open the leases that agents, Issue operations and operators share. Raises StoreError.

    The lease of the engine is not among them: it is always embedded, since an engine leads one state directory.
    """
    return EmbeddedLeases(paths, clock)
