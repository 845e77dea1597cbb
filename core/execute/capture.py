"""Row capture as the engine keeps it: installed where the settings name tables, each change told, and old ones let go.

A restore brings the record of changes back with the rows that it is of, so that both agree. Its numbers must not be
used again all the same, since plans and journals name changes by them: the highest one seen is kept in ``state.db``.
"""

from __future__ import annotations

import contextlib
from datetime import datetime
from pathlib import Path

from ..data.capture import RowCapture
from ..data.database import MissingDatabaseError
from ..errors import StoreError
from ..services import Services

BATCH = 2_000
"""Changes removed in one transaction of the user's database: others wait for it."""
BATCHES = 50
_HIGHEST = "row_capture:highest"


def install_capture(services: Services) -> list[str]:
    """Record the rows of the tables that `database.row_capture` names as they are now; return what was changed for it.

    Cheap where nothing is to do: called when the engine starts, again and again while it runs, since a migration may
    have changed a table, and after a restore. Raises RefusedError for a table that cannot be recorded, StoreError.
    """
    capture = _capture(services)
    if capture is None:
        return []
    try:
        said = capture.install()
        _keep_counting(services, capture)
    except MissingDatabaseError:  # not made yet; it is tried again
        return []
    with services.store.transaction():
        for line in said:
            services.store.append_event("alert", {"severity": "warning", "text": f"database: {line}"})
            services.store.audit("engine", "row_capture", "database", line)
    return said


def restore_database(services: Services, file: Path, *, sha256: str | None) -> None:
    """Bring the live database back to what ``file`` keeps, as `Database.restore` does; no number is used again.

    Raises StoreError; nothing was changed then, unless it says so.
    """
    if services.database is None:
        raise StoreError("the settings name no database any more; nothing was changed")
    capture = _capture(services)
    if capture is not None:
        with contextlib.suppress(StoreError):  # a wreck has no number to tell: the last one noted counts
            _note(services, capture.highest())
    services.database.restore(file, sha256=sha256)
    if capture is not None:
        _keep_counting(services, capture)


def forget_changes(services: Services, before: datetime) -> int:
    """Remove recorded changes from before ``before``, so many at a time; return how many. Raises StoreError."""
    capture, forgotten = _capture(services), 0
    if capture is None:
        return 0
    with contextlib.suppress(MissingDatabaseError):
        for _ in range(BATCHES):
            gone = capture.forget(before, most=BATCH)
            forgotten += gone
            if gone < BATCH:
                break
    return forgotten


def _keep_counting(services: Services, capture: RowCapture) -> None:
    """Let the numbers go on above every one seen, and note the highest."""
    noted = int(services.store.get_note(_HIGHEST) or 0)
    capture.continue_above(noted)
    _note(services, capture.highest())


def _note(services: Services, highest: int) -> None:
    if highest > int(services.store.get_note(_HIGHEST) or 0):
        services.store.set_note(_HIGHEST, str(highest))


def _capture(services: Services) -> RowCapture | None:
    return services.database.capture if services.database is not None else None
