"""Row capture as the engine keeps it: installed where the settings name tables, and each change of it told."""

from __future__ import annotations

from ..data.database import MissingDatabaseError
from ..services import Services


def install_capture(services: Services) -> list[str]:
    """Record the rows of the tables that `database.row_capture` names as they are now; return what was changed for it.

    Cheap where nothing is to do: called when the engine starts, again and again while it runs, since a migration may
    have changed a table, and after a restore. Raises RefusedError for a table that cannot be recorded, StoreError.
    """
    capture = services.database.capture if services.database is not None else None
    if capture is None:
        return []
    try:
        said = capture.install()
    except MissingDatabaseError:  # not made yet; it is tried again
        return []
    with services.store.transaction():
        for line in said:
            services.store.append_event("alert", {"severity": "warning", "text": f"database: {line}"})
            services.store.audit("engine", "row_capture", "database", line)
    return said
