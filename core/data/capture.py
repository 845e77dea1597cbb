"""Row capture: what is asked of it, whichever the database, and which recorded changes may be taken back.

Triggers write each change of a captured table into the table ``rollcage_change`` of the user's database: its order
number, when, in which transaction, by which agent, and the row before and after. A row is known by its primary key; a
change of the key is recorded as two changes, a row that goes and one that comes.

Taking back is itself recorded, each change with the number of the one that it ``reverts``. So a change *stands* unless
a change that stands reverts it, and taking back can be taken back (as commits and their reverts in git).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ..errors import RefusedError
from ..text import clean
from .database import CheckError

OURSELVES = "rollcage"
"""The agent of what rollcage takes back."""
CONFLICTS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Change:
    """One recorded change of one row."""

    number: int
    """Grows for ever within one database; gaps are no losses."""
    agent: str | None
    """``None``: nobody said who wrote; never taken back."""
    table: str
    kind: str
    """``I`` the row came, ``U`` it changed, ``D`` it went; ``S``: the table's columns changed and what was written
    into the new ones since is not known."""
    key: str
    """Its primary key as JSON text, equal for equal keys."""
    before: str | None
    after: str | None
    """The row as JSON text."""
    reverts: int | None = None
    """The number of the change that it takes back."""
    operation: str | None = None
    """What took it back, such as ``rb-7:5``."""


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What taking back did, or would do."""

    rows: int = 0
    """Changes taken back."""
    tables: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    """Why nothing was taken back: on what something else stands; empty: all was."""
    unattributed: int = 0
    """Changes of the same tables and time of which nobody is known to be the writer: they stay."""
    checks: tuple[CheckError, ...] = ()
    """What `database.checks` say with all of it taken back; of a trial only."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which changes are to be taken back."""

    agents: tuple[str, ...] = ()
    since: int = 1
    """Their changes from this number on."""
    of: str = ""
    """Instead of agents: all that this operation did."""
    tables: tuple[str, ...] = ()
    """Only of these; empty: of all."""


class RowCapture(Protocol):
    """The recording of one database's rows. Safe between threads: nothing is held between two calls."""

    tables: tuple[str, ...]

    def install(self) -> list[str]:
        """Record every table of the settings, and no other; return what was changed for it, nothing where all stands.

        Raises RefusedError ``no_primary_key`` or ``no_such_table``, StoreError where the database is busy.
        """
        ...

    def remove(self) -> list[str]:
        """Take triggers and recorded changes out of the database; return what was removed."""
        ...

    def is_installed(self) -> bool:
        """Return whether every table of the settings is recorded as it is now. Raises StoreError."""
        ...

    def first_since(self, moment: datetime) -> int:
        """Return the number of the first change at or after ``moment``; the next one's where none was recorded."""
        ...

    def writers(self, since: int) -> dict[str | None, int]:
        """Return who wrote how many changes from ``since`` on, taking back not counted."""
        ...

    def has_done(self, operation: str) -> bool:
        """Return whether ``operation`` took something back."""
        ...

    def highest(self) -> int:
        """Return the highest number ever used; 0 where nothing is recorded. Raises StoreError."""
        ...

    def continue_above(self, number: int) -> None:
        """Use none of the numbers up to ``number`` any more: a restore brings the record back as it was. StoreError."""
        ...

    def forget(self, before: datetime, *, most: int) -> int:
        """Remove the changes that are older than every one since ``before``, ``most`` at the most; return how many.

        Nothing where nothing is recorded. One short transaction. Raises StoreError.
        """
        ...

    def take_back(self, scope: Scope, operation: str, *, trial: bool = False) -> TakenBack:
        """Take back the changes of ``scope``, newest first, in one transaction, as ``operation``; all or none.

        Each row is compared with what the change left there, and swapped for what was before. Where somebody else wrote
        the row since, or the database refuses, it is a conflict, and nothing is changed. Done twice it does nothing the
        second time. ``trial`` rolls everything back and says what the checks would answer. Raises StoreError (busy, not
        installed).
        """
        ...


def standing(history: Iterable[Change]) -> list[Change]:
    """Return those of ``history`` (by number) that stand: not reverted, or whose revert was reverted itself."""
    gone: set[int] = set()
    kept = []
    for change in sorted(history, key=lambda change: -change.number):
        if change.number in gone:
            continue
        kept.append(change)
        if change.reverts is not None:
            gone.add(change.reverts)
    return kept[::-1]


def is_target(change: Change, scope: Scope) -> bool:
    """Return whether ``scope`` means ``change``."""
    if scope.tables and change.table not in scope.tables:
        return False
    if scope.of:
        return change.operation == scope.of
    return change.agent in scope.agents and change.reverts is None and change.number >= scope.since


def plan(history: Sequence[Change], scope: Scope) -> tuple[list[Change], list[str]]:
    """Return what to take back, newest first, and the conflicts that the record itself shows.

    ``history`` has every change, from the oldest that may be meant on, of every row that is meant. A change beside
    its own revert is over and done with, whoever made it; any other later change of the row by somebody else is a
    conflict, even where it left the very same content: the row's newest writer has a say in it.
    """
    live = standing(history)
    targets = [change for change in live if is_target(change, scope)]
    meant = {change.number for change in targets}
    rows: dict[tuple[str, str], int] = {}
    for change in targets:
        rows.setdefault((change.table, change.key), change.number)
    schema = {change.table: change.number for change in history if change.kind == "S"}
    conflicts = [
        f"{clean(table)}: its columns changed at {number}, and what was written into the new ones is not known"
        for table, number in schema.items()
        if any(change.table == table and change.number < number for change in targets)
    ]
    for change in live:
        oldest = rows.get((change.table, change.key))
        if oldest is None or change.number < oldest or change.number in meant:
            continue
        if change.reverts is not None and change.reverts >= oldest:
            continue  # with the change that it took back it comes to nothing
        conflicts.append(f"{where(change)}: {who(change)} wrote it since, at {change.number}")
    return targets[::-1], conflicts


def where(change: Change) -> str:
    """Return a row's name for people."""
    return clean(f"{change.table} {change.key}", limit=120)


def who(change: Change) -> str:
    """Return a writer's name for people."""
    return clean(change.agent, limit=64) if change.agent else "somebody unknown"


def shown(conflicts: Sequence[str]) -> tuple[str, ...]:
    """Return conflicts for people: not too many."""
    more = len(conflicts) - CONFLICTS_SHOWN
    return (*conflicts[:CONFLICTS_SHOWN], *([f"and {more:,} more"] if more > 0 else []))


def no_primary_key(table: str) -> RefusedError:
    """Return the refusal of a table whose rows cannot be told apart."""
    return RefusedError(
        "no_primary_key", f"table {clean(table)} has no primary key, so its rows cannot be recorded: give it one"
    )


def no_such_table(table: str) -> RefusedError:
    """Return the refusal of a table that is not there."""
    return RefusedError(
        "no_such_table", f"database.row_capture names {clean(table)}, and there is no such table; mend rollcage.yml"
    )
