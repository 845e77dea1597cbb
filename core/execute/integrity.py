"""Whether what all stands on is whole: the objects of the branch, the database and what is in it, the fleet's voice."""

from __future__ import annotations

from ..data.database import MissingDatabaseError
from ..errors import StoreError
from ..fleet.runs import current_runs
from ..services import Services

MISSING_DATABASE = "database: it is not there"
"""The problem of one that was not made yet, or was deleted."""


SILENT_S = 15.0
"""After so long without a heartbeat, which comes every second, an agent's supervisor does not answer."""


def all_problems(services: Services) -> list[str]:
    """Return all that is amiss, looked at afresh but for the checks on the code; empty: nothing."""
    try:
        problems = integrity_problems(services)
    except StoreError as unseen:
        problems = [f"the database cannot be looked at: {unseen}"]
    errors = data_errors(services)
    problems += [f"database check {name} finds {count:g} errors" for name, count in errors.items() if count]
    return problems + [f"agent {agent} does not answer" for agent in silent_agents(services)]


def data_errors(services: Services) -> dict[str, float]:
    """Return how many errors each check of the database finds; one without an answer is left out."""
    if services.database is None:
        return {}
    return {each.name: each.count for each in services.database.check_errors() if each.count is not None}


def silent_agents(services: Services) -> list[str]:
    """Return the agents that run and whose supervisors give no sign of life, so that nobody could reach them."""
    now = services.clock.now()
    runs = current_runs(services.paths.inbox_db)
    return [run.agent for run in runs if run.seen is not None and (now - run.seen).total_seconds() > SILENT_S]


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
