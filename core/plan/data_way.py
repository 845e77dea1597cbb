"""How the database goes back in step with the code, where it has to and can.

From little to much: nothing, where no data are damaged and no migration is taken back; the rows that the agents in
trouble wrote, where they are recorded and a trial shows that taking them back mends what the checks found; the user's
down-migration, where only the form of the data is in question; a checkpoint, which loses everything written since; the
down-migration for want of anything else. Otherwise there is no way back, and that is said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath

from ..clock import iso
from ..data.capture import RowCapture, Scope
from ..data.checkpoints import newest_before
from ..errors import RollcageError
from ..gitrepo.history import changed_files
from ..model import Checkpoint, Diagnosis, Rollback
from ..services import Services
from ..text import clean
from .risk import Effect

_MIGRATIONS = frozenset({"migrations", "migration", "migrate", "alembic"})
"""Folders of Django, Rails, Alembic, Prisma, Flyway, Supabase and their like."""
_TRIAL = "trial"


@dataclass(frozen=True, slots=True)
class DataWay:
    """What happens to the database."""

    effect: Effect
    subject: str = ""
    """Of the plan's step ``database``: how; empty: there is no such step."""
    words: str = "nothing"
    """For people, as in the plan; ``no way back: …`` where data is damaged and nothing can mend it."""


def find_data_way(services: Services, diagnosis: Diagnosis, targets: Sequence[str], agents: Sequence[str]) -> DataWay:
    """Return how the database goes back when ``targets`` are taken back and ``agents`` are those in trouble.

    What is damaged is `Diagnosis.reach.tables`: tables, or the database checks that found errors. What other checks
    find now, of another incident, is mended along where taking back these agents' rows is seen to do it, and by nothing
    else: it may be somebody else's fault. Raises StoreError.
    """
    if services.database is None or services.settings.database is None:
        return DataWay("none")
    migrations = _migrations(services, targets)
    damaged = diagnosis.reach.tables
    elsewhere = damaged or _failing_now(services)
    why = ""
    if elsewhere and not migrations:
        way, why = _by_rows(services, diagnosis, elsewhere, targets, agents)
        if way is not None:
            return way
    if not damaged and not migrations:
        return DataWay("same", words=f"damaged, and stays as it is: {why}") if why else DataWay("same")
    has_down = bool(migrations) and services.settings.database.down is not None
    down = DataWay("goes_back", "down", "taken back by database.down: " + clean(", ".join(migrations), limit=200))
    if has_down and not damaged:
        return down
    kept = newest_before(services.store, services.mirror, targets, _began(services, diagnosis, targets))
    if kept is not None and kept.databases:
        return _by_checkpoint(services, diagnosis, kept, agents)
    if has_down:
        return down
    none = "there is no checkpoint of the last good state"
    if not damaged:
        files = clean(", ".join(migrations), limit=200)
        return DataWay("unknown", words=f"unknown: {files} changes its form; {none}, and no database.down is named")
    return DataWay("no_way_back", words=f"no way back: {none}{f'; {why}' if why else ''}")


def way_to_undo(services: Services, rollback: Rollback) -> str:
    """Return the subject of the step ``database`` that turns round what ``rollback`` did to data; empty: nothing."""
    step = next((each for each in services.store.steps(rollback.id) if each.name == "database"), None)
    if step is None:
        return ""
    if step.subject.startswith(("rows ", "undo ")):
        return f"undo {rollback.id}"
    return f"snapshot {rollback.snapshot}" if rollback.snapshot else ""


def _by_rows(
    services: Services, diagnosis: Diagnosis, damaged: Sequence[str], targets: Sequence[str], agents: Sequence[str]
) -> tuple[DataWay | None, str]:
    """Return the way by taking rows back, or why there is none; tried in a transaction that is rolled back."""
    database, settings = services.database, services.settings.database
    capture = database.capture if database is not None else None
    if database is None or settings is None or capture is None or not agents:
        return None, ""
    try:
        unseen = _not_recorded(services, capture, damaged)
        if unseen:
            return None, f"rows of {', '.join(unseen)} are not recorded"
        began = _began(services, diagnosis, targets)
        scope = Scope(agents=tuple(agents), since=capture.first_since(began) if began is not None else 1)
        trial = capture.take_back(scope, _TRIAL, trial=True)
        now = {answer.name: answer.count or 0 for answer in database.check_errors()}
    except RollcageError as problem:
        return None, str(problem)
    who = clean(", ".join(agents), limit=100)
    if trial.conflicts:
        return None, f"the rows of {who} cannot be taken back: {trial.conflicts[0]}"
    if not trial.rows:
        return None, f"no rows of {who} were recorded since"
    meant = {check.name for check in settings.checks if check.name in damaged or _names_any(check.sql, damaged)}
    still = [each.name for each in trial.checks if (each.count or 0) > (0 if each.name in meant else now[each.name])]
    if still:
        return None, f"with the rows of {who} taken back {', '.join(still)} would still find errors"
    others = f"; {trial.unattributed:,} changes by nobody known stay" if trial.unattributed else ""
    words = f"{trial.rows:,} changes of {who} in {clean(', '.join(trial.tables), limit=200)} taken back"
    subject = f"rows {','.join(agents)} since {scope.since}"
    return DataWay("goes_back", subject, f"{words}, from {scope.since} on{others}"), ""


def _by_checkpoint(services: Services, diagnosis: Diagnosis, kept: Checkpoint, agents: Sequence[str]) -> DataWay:
    capture = services.database.capture if services.database is not None else None
    lost = "everything written since is lost"
    if capture is not None:
        try:
            writers = capture.writers(capture.first_since(kept.at))
        except RollcageError:
            writers = {}
        others = sum(count for who, count in writers.items() if who not in agents)
        if others:
            lost += f", also {others:,} changes of others"
    files = any(PurePosixPath(name).is_relative_to(tree) for tree in kept.files for name in diagnosis.reach.files)
    with_files = " with files" if files else ""
    words = f"restored to {kept.id}{with_files}, of {kept.sha[:12]} and {iso(kept.at)}; {lost}"
    return DataWay("loses_writes", f"checkpoint {kept.id}{with_files}", words)


def _not_recorded(services: Services, capture: RowCapture, damaged: Sequence[str]) -> list[str]:
    """Return the tables that the damage is about, as far as is known, and that are not recorded."""
    assert services.database is not None
    assert services.settings.database is not None
    checks = {check.name: check.sql for check in services.settings.database.checks}
    tables = services.database.tables()
    recorded = {name.lower() for name in capture.tables}
    about = {table for name in damaged for table in tables if table == name or _names(checks.get(name, ""), table)}
    missing = sorted(table for table in about if table.lower() not in recorded)
    return missing if about else sorted(damaged)


def _failing_now(services: Services) -> tuple[str, ...]:
    """Return the database checks that find errors now, where rows are recorded: whatever became of their incident."""
    if services.database is None or services.database.capture is None:
        return ()
    try:
        return tuple(answer.name for answer in services.database.check_errors() if answer.count)
    except RollcageError:  # it cannot be looked at now: nothing is known to be damaged
        return ()


def _names_any(sql: str, tables: Sequence[str]) -> bool:
    return any(_names(sql, table) for table in tables)


def _names(sql: str, table: str) -> bool:
    return re.search(rf"\b{re.escape(table)}\b", sql, re.IGNORECASE) is not None


def _began(services: Services, diagnosis: Diagnosis, targets: Sequence[str]) -> datetime | None:
    """Return when the trouble can have begun at the earliest: the first commit taken back, or the onset before it."""
    moments = []
    for target in targets:
        seconds = services.mirror.git.text("show", "-s", "--format=%at", "--end-of-options", target)
        moments.append(datetime.fromtimestamp(int(seconds), UTC))
    return min([*moments, *([diagnosis.onset] if diagnosis.onset is not None else [])], default=None)


def _migrations(services: Services, targets: Sequence[str]) -> list[str]:
    """Return the files of ``targets`` that change the form of the data."""
    found = []
    for target in targets:
        parents = services.mirror.git.text("rev-list", "--parents", "-n", "1", "--end-of-options", target).split()[1:]
        if parents:
            found += [name for name in changed_files(services.mirror, parents[0], target) if _is_migration(name)]
    return list(dict.fromkeys(found))


def _is_migration(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix == ".sql" or any(part.lower() in _MIGRATIONS for part in path.parts[:-1])
