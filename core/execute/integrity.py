"""Whether what rollcage stands on is whole: the objects of the branch and the database."""

from __future__ import annotations

from ..data.database import MissingDatabaseError
from ..services import Services

MISSING_DATABASE = "database: it is not there"
"""The problem of one that was not made yet, or was deleted."""


def integrity_problems(services: Services) -> list[str]:
    """Return what is broken in the repository's objects at the tip and in the database; empty: nothing.

    Raises StoreError where the database cannot be looked at, for it is busy.
    """
    problems = []
    tip = services.repository.tip(services.settings.branch)
    if tip is not None:
        listed = services.repository.git.run("rev-list", "--objects", "--missing=print", "-1", tip, ok=(0, 128))
        missing = [line for line in listed.out.splitlines() if line.startswith(b"?")]
        if listed.status != 0 or missing:
            problems.append(f"{len(missing) or 'some'} objects of {services.settings.branch} are missing or damaged")
    if services.database is not None:
        try:
            problems += [f"database: {problem}" for problem in services.database.integrity()]
        except MissingDatabaseError:
            problems.append(MISSING_DATABASE)
    return problems
