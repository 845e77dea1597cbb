"""Watches a phase while it works: an overrun raises an alert, also where a step hangs, and cuts nothing short."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..errors import RollcageError
from ..services import Services

PHASE_DEADLINE_S = {1: 120.0, 2: 300.0, 3: 600.0, 4: 900.0}
"""How long a phase may take, the user's own check commands left out (spec, section 3)."""
_LOOK_S = 5.0
"""Real time between two looks at the clock that counts, which may jump or be another one."""


def overran(services: Services, what: str, took: float, limit: float, **about: str) -> None:
    """Tell that ``what`` has taken ``took`` seconds, over its ``limit``. Raises StoreError."""
    text = f"{what} has taken {took:.0f} s, over its {limit:.0f} s; it goes on"
    services.store.append_event("alert", {"severity": "warning", "text": text, **about})


@contextmanager
def watched(services: Services, what: str, limit: float, *, before: float = 0.0, **about: str) -> Iterator[list[float]]:
    """Tell once if what is done within takes, with the seconds ``before`` it, longer than ``limit``.

    Yields a list that is empty as long as nothing was told.
    """
    told: list[float] = []
    over = threading.Event()
    begun = services.clock.boot()

    def watch() -> None:
        while (left := limit - before - (services.clock.boot() - begun)) >= 0:
            if over.wait(min(left + 0.01, _LOOK_S)):
                return
        took = before + services.clock.boot() - begun
        told.append(took)
        with suppress(RollcageError):  # a full disk: there is nowhere to tell it, and the step says so itself
            overran(services, what, took, limit, **about)

    if before > limit:
        yield told
        return
    watcher = threading.Thread(target=watch, name="rollcage-deadline", daemon=True)
    watcher.start()
    try:
        yield told
    finally:
        over.set()
        watcher.join()
