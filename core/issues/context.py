"""Where an agent really belongs, for an operation that was begun in a wrong place: one more try there, then a human."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from ..config import Settings
from ..fleet.runs import Run, current_runs
from ..store.paths import RepositoryPaths
from .desk import Desk
from .scope import Scope, in_right_context, scope_of, scope_of_environment

VIOLATION = "scope_violation"
"""The outcome in the audit of an operation that was refused; the engine tells people (`courier`)."""

T = TypeVar("T")


def right_scope(settings: Settings, paths: RepositoryPaths, agent: str) -> Scope | None:
    """Return what ``agent`` may write as its supervisor registered it, else as the settings say; ``None``: a person.

    Raises StoreError.
    """
    if not agent:
        return None
    run = _run_of(paths, agent)
    return scope_of(settings, agent, run.competition if run is not None else "")


def working_scope(settings: Settings, paths: RepositoryPaths, environ: Mapping[str, str]) -> Scope | None:
    """Return what the process with this environment may write; ``None``: a person.

    Of an agent that runs under supervision its supervisor's word counts, whatever became of its environment. Raises
    UsageError for names that are none, StoreError.
    """
    scope = scope_of_environment(settings, environ)
    if scope is None or not scope.agent:
        return scope
    run = _run_of(paths, scope.agent)
    return scope if run is None or not run.competition else scope_of(settings, scope.agent, run.competition)


def _run_of(paths: RepositoryPaths, agent: str) -> Run | None:
    return next((run for run in current_runs(paths.inbox_db) if run.agent == agent), None)


def in_place(desk: Desk, right: Scope | None, what: str, work: Callable[[Desk], T]) -> T:
    """Do ``work`` at ``desk``; where that violates its scope, once more with the ``right`` one; then write it down.

    ``what`` names the operation, such as ``update issue 7``. Raises ScopeViolationError, after people were told, and
    what ``work`` raises.
    """
    return in_right_context(
        lambda scope: work(replace(desk, scope=scope)),
        desk.scope,
        right,
        lambda violation: desk.records.audit(desk.holder, "isolation", what, str(violation), outcome=VIOLATION),
    )
