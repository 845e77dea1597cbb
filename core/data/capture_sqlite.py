"""Row capture of a SQLite database: installing its triggers, naming the writer, and taking changes back.

SQLite has no session variables. Who writes says so in the row of ``rollcage_writer``, set and cleared within the same
transaction, so that nobody else's writes are ever taken for theirs (one writer at a time):

    BEGIN IMMEDIATE;
    UPDATE rollcage_writer SET agent = 'executor';
    ... the agent's own statements ...
    UPDATE rollcage_writer SET agent = NULL;
    COMMIT;

In Python `writing_as` does that. What is written without a name is recorded without one, and is never taken back.

Not seen: rows that ``OR REPLACE`` removes through a unique index over expressions or part of the rows; a program that
drops the triggers. ``ALTER TABLE ... DROP COLUMN`` fails while a trigger names the column: take the table out of
`database.row_capture` first.
"""

# ruff: noqa: S608  every name in a statement is quoted, and every value bound or quoted

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ..errors import StoreError
from ..store.database import roll_back
from ..text import clean
from .capture import OURSELVES, Change, Scope, TakenBack, plan, shown, where
from .capture_sqlite_triggers import (
    OUR_TABLES,
    TABLES,
    TURN,
    Table,
    parameter,
    quoted,
    read_table,
    value_of,
)
from .database import CheckError, MissingDatabaseError
from .sqlite import connect, explained

_COLUMNS = "number, agent, tbl, kind, key, before, after, reverts, operation"
_FIELDS = tuple(f"c.{name}" for name in _COLUMNS.split(", "))

Ask = Callable[[sqlite3.Connection], list[CheckError]]


@contextmanager
def writing_as(connection: sqlite3.Connection, agent: str) -> Iterator[None]:
    """Write as ``agent`` within: a transaction of its own, committed at the end, or the one that is open already.

    Where nothing is recorded in this database it is a plain transaction. Raises what sqlite3 raises.
    """
    outer = connection.in_transaction
    if not outer:
        connection.execute("BEGIN IMMEDIATE")
    try:
        query = "SELECT 1 FROM sqlite_master WHERE name = 'rollcage_writer'"
        is_recorded = connection.execute(query).fetchone() is not None
        if is_recorded:
            connection.execute("UPDATE rollcage_writer SET agent = ?", (agent,))
        try:
            yield
        finally:
            if is_recorded and connection.in_transaction:
                connection.execute("UPDATE rollcage_writer SET agent = NULL")
        if not outer:
            connection.commit()
    except BaseException:
        if not outer:
            connection.rollback()
        raise


class SqliteCapture:
    """See `rollcage.core.data.capture.RowCapture`. Every call has a connection of its own."""

    def __init__(self, path: Path, tables: Sequence[str], *, busy_wait: float, ask: Ask) -> None:
        """Take the file, the tables, how long to wait for others' locks in seconds, and how to run the checks."""
        self.path, self.tables = path, tuple(tables)
        self._busy_wait = busy_wait
        self._ask = ask

    def install(self) -> list[str]:
        """See `RowCapture.install`. What is installed as it should be is only looked at."""
        with self._reading() as connection:
            if _look(connection, self.tables).is_as_wanted:
                return []
        with self._writing() as connection:
            for statement in TABLES.split(";"):
                connection.execute(statement)
            look = _look(connection, self.tables)
            said = [said for table in look.tables if (said := _told(connection, look, table))]
            said += [f"rows of table {clean(name)} are not recorded any more" for name in look.no_longer]
            for name in look.to_drop:
                connection.execute(f"DROP TRIGGER {quoted(name)}")
            for statement in look.to_make:
                connection.execute(statement)
            connection.execute("DELETE FROM rollcage_captured")
            connection.executemany(
                "INSERT INTO rollcage_captured VALUES (?, ?)",
                [(table.name, json.dumps(table.columns)) for table in look.tables],
            )
            return said

    def remove(self) -> list[str]:
        """See `RowCapture.remove`."""
        with self._writing() as connection:
            triggers, tables = _ours(connection)
            for name in triggers:
                connection.execute(f"DROP TRIGGER {quoted(name)}")
            for name in tables:
                connection.execute(f"DROP TABLE {quoted(name)}")
            return [*(f"trigger {clean(name)}" for name in triggers), *(f"table {name}" for name in tables)]

    def is_installed(self) -> bool:
        """See `RowCapture.is_installed`."""
        with self._reading() as connection:
            return _look(connection, self.tables).is_as_wanted

    def first_since(self, moment: datetime) -> int:
        """See `RowCapture.first_since`; to the millisecond."""
        with self._recorded() as connection:
            query = (
                "SELECT coalesce((SELECT min(number) FROM rollcage_change WHERE at >= ?),"
                " (SELECT coalesce(max(number), 0) + 1 FROM rollcage_change))"
            )
            return int(connection.execute(query, (_at(moment),)).fetchone()[0])

    def writers(self, since: int) -> dict[str | None, int]:
        """See `RowCapture.writers`."""
        with self._recorded() as connection:
            query = (
                "SELECT agent, count(*) FROM rollcage_change"
                " WHERE number >= ? AND reverts IS NULL AND kind <> 'S' GROUP BY agent"
            )
            return dict(connection.execute(query, (since,)).fetchall())

    def has_done(self, operation: str) -> bool:
        """See `RowCapture.has_done`."""
        with self._recorded() as connection:
            query = "SELECT 1 FROM rollcage_change WHERE operation = ? LIMIT 1"
            return connection.execute(query, (operation,)).fetchone() is not None

    def highest(self) -> int:
        """See `RowCapture.highest`."""
        with self._reading() as connection:
            if not _ours(connection)[1]:
                return 0
            found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'rollcage_change'").fetchone()
            return int(found[0]) if found is not None else 0

    def continue_above(self, number: int) -> None:
        """See `RowCapture.continue_above`: https://www.sqlite.org/autoinc.html says that ``seq`` may be written."""
        if self.highest() >= number:
            return
        with self._writing() as connection:
            if _ours(connection)[1]:
                connection.execute("DELETE FROM sqlite_sequence WHERE name = 'rollcage_change' AND seq < ?", (number,))
                connection.execute(
                    "INSERT INTO sqlite_sequence SELECT 'rollcage_change', ?"
                    " WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'rollcage_change')",
                    (number,),
                )

    def forget(self, before: datetime, *, most: int) -> int:
        """See `RowCapture.forget`."""
        with self._reading() as connection:
            if not _ours(connection)[1]:
                return 0
            kept = "SELECT number FROM rollcage_change WHERE at >= ? ORDER BY number LIMIT 1"
            old = f"SELECT number FROM rollcage_change WHERE number < coalesce(({kept}), 1e18) ORDER BY number LIMIT ?"
            numbers = connection.execute(old, (_at(before), most)).fetchall()
        if not numbers:
            return 0
        with self._writing() as connection:
            query = "DELETE FROM rollcage_change WHERE number <= ?"
            return connection.execute(query, numbers[-1]).rowcount

    def take_back(self, scope: Scope, operation: str, *, trial: bool = False) -> TakenBack:
        """See `RowCapture.take_back`. Foreign keys are looked at before and after; no cascade is followed."""
        with self._writing(commit=not trial) as connection:
            look = _look(connection, self.tables)
            if not look.is_as_wanted:
                raise StoreError(
                    f"{self._named} is not recorded as its tables are now; rollcage records it at its start"
                )
            history = _history(connection, scope)
            targets, conflicts = plan(history, scope)
            tables = {table.name: table for table in look.tables}
            lost = {change.table for change in targets} - set(tables)
            conflicts += [f"table {clean(name)} is not recorded any more" for name in sorted(lost)]
            if not conflicts:
                conflicts = _apply(connection, targets, tables, operation)
            unknown = _unattributed(connection, scope, {change.table for change in targets})
            if conflicts:
                roll_back(connection)
                return TakenBack(conflicts=shown(conflicts), unattributed=unknown)
            return TakenBack(
                rows=len(targets),
                tables=tuple(sorted({change.table for change in targets})),
                unattributed=unknown,
                checks=tuple(self._ask(connection)) if trial else (),
            )

    @property
    def _named(self) -> str:
        return f"database {clean(str(self.path))}"

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        if not self.path.is_file():
            raise MissingDatabaseError(f"there is no {self._named}; mend database: url: or let its program create it")
        with explained(self._named), closing(connect(self.path, "rw", self._busy_wait)) as connection:
            # Bytes that are no UTF-8 must come back as they were.
            connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
            yield connection

    @contextmanager
    def _recorded(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as connection:
            if not _ours(connection)[1]:
                raise StoreError(f"{self._named} is not recorded yet; rollcage records it at its start")
            yield connection

    @contextmanager
    def _writing(self, *, commit: bool = True) -> Iterator[sqlite3.Connection]:
        with self._reading() as connection:
            connection.execute("PRAGMA foreign_keys = OFF")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                if commit and connection.in_transaction:
                    connection.execute("COMMIT")
            finally:
                roll_back(connection)


@dataclass(frozen=True, slots=True)
class _Look:
    """What there is of the capture, against what there should be."""

    tables: tuple[Table, ...]
    """As they are now."""
    known: dict[str, list[str]]
    """The columns of those recorded so far."""
    to_drop: tuple[str, ...]
    to_make: tuple[str, ...]
    changed: frozenset[str]
    """Tables with a trigger that is another than it should be."""
    bare: frozenset[str]
    """Tables with a trigger that is missing."""

    @property
    def no_longer(self) -> list[str]:
        return sorted(set(self.known) - {table.name for table in self.tables})

    @property
    def is_as_wanted(self) -> bool:
        return not (self.to_drop or self.to_make or self.no_longer)


def _look(connection: sqlite3.Connection, names: Sequence[str]) -> _Look:
    tables = tuple({table.name: table for table in (read_table(connection, name) for name in names)}.values())
    wanted = {name: (table.name, sql) for table in tables for name, sql in table.triggers().items()}
    wanted["rollcage_turn"] = ("rollcage_writer", TURN)
    query = (
        "SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'rollcage\\_%' ESCAPE '\\'"
    )
    found = {str(name): (str(table), str(sql)) for name, table, sql in connection.execute(query)}
    known = {}
    if "rollcage_captured" in _ours(connection)[1]:
        rows = connection.execute("SELECT tbl, columns FROM rollcage_captured").fetchall()
        known = {str(name): list(json.loads(columns)) for name, columns in rows}
    return _Look(
        tables=tables,
        known=known,
        to_drop=tuple(name for name in found if found[name] != wanted.get(name)),
        to_make=tuple(sql for name, (table, sql) in wanted.items() if found.get(name) != (table, sql)),
        changed=frozenset(table for name, (table, _) in found.items() if found[name] != wanted.get(name)),
        bare=frozenset(table for name, (table, _) in wanted.items() if name not in found),
    )


def _ours(connection: sqlite3.Connection) -> tuple[list[str], list[str]]:
    """Return our triggers and our tables that are there."""
    rows = connection.execute("SELECT type, name FROM sqlite_master").fetchall()
    triggers = [str(name) for kind, name in rows if kind == "trigger" and name.startswith("rollcage_")]
    return triggers, [name for name in OUR_TABLES if ("table", name) in rows]


def _told(connection: sqlite3.Connection, look: _Look, table: Table) -> str:
    """Return what is told of a table that will be recorded otherwise; mark it where writes went unseen."""
    if table.name not in look.known:
        return f"rows of table {clean(table.name)} are recorded from now on"
    if table.name not in look.changed | look.bare:
        return ""
    unseen = table.name in look.bare or _was_written(connection, table, look.known[table.name])
    if unseen:
        connection.execute(
            "INSERT INTO rollcage_change (at, tbl, kind, key)"
            " VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), ?, 'S', '')",
            (table.name,),
        )
    doubt = "; what was written into the new ones before is not known" if unseen else ""
    return f"table {clean(table.name)} is recorded by its columns as they are now{doubt}"


def _was_written(connection: sqlite3.Connection, table: Table, known: Sequence[str]) -> bool:
    """Return whether a column that came since has anything in it but what it came with."""
    query = "SELECT name, dflt_value FROM pragma_table_xinfo(?)"
    defaults = dict(connection.execute(query, (table.name,)).fetchall())
    return any(
        connection.execute(
            f"SELECT 1 FROM {quoted(table.name)} WHERE {quoted(column)} IS NOT ({defaults[column] or 'NULL'}) LIMIT 1"
        ).fetchone()
        for column in table.columns
        if column not in known
    )


def _at(moment: datetime) -> str:
    """Return a moment as it stands in the record, which sorts as text."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"


def _history(connection: sqlite3.Connection, scope: Scope) -> list[Change]:
    """Return every change, from the oldest that ``scope`` may mean on, of every row that it may mean."""
    if scope.of:
        meant, parameters = "operation = ?", [scope.of]
    else:
        marks = ", ".join("?" * len(scope.agents))
        meant, parameters = f"number >= {int(scope.since)} AND agent IN ({marks})", list(scope.agents)
    query = (
        f"WITH meant AS (SELECT tbl, key, min(number) AS first FROM rollcage_change WHERE {meant} GROUP BY tbl, key)"
        f" SELECT {', '.join(_FIELDS)} FROM meant JOIN rollcage_change AS c"
        " ON c.tbl = meant.tbl AND c.key IN (meant.key, '') AND c.number >= meant.first"
    )
    found = {row[0]: Change(*row) for row in connection.execute(query, parameters)}
    return [found[number] for number in sorted(found)]


def _unattributed(connection: sqlite3.Connection, scope: Scope, tables: set[str]) -> int:
    query = "SELECT tbl, count(*) FROM rollcage_change WHERE agent IS NULL AND kind <> 'S' AND number >= ? GROUP BY tbl"
    return sum(count for table, count in connection.execute(query, (scope.since,)) if table in tables)


def _apply(
    connection: sqlite3.Connection, targets: Sequence[Change], tables: dict[str, Table], operation: str
) -> list[str]:
    """Swap each row for what was before; return the first conflict."""
    broken = _broken_keys(connection)
    first = connection.execute("SELECT coalesce(max(number), 0) FROM rollcage_change").fetchone()[0]
    connection.execute("UPDATE rollcage_writer SET agent = ?, operation = ?", (OURSELVES, operation))
    for change in targets:
        connection.execute("UPDATE rollcage_writer SET reverts = ?", (change.number,))
        try:
            problem = _swap(connection, tables[change.table], change)
        except sqlite3.IntegrityError as error:
            problem = f"the database refuses: {clean(str(error))}"
        if problem:
            return [f"{where(change)}: {problem}"]
    connection.execute("UPDATE rollcage_writer SET agent = NULL, operation = NULL, reverts = NULL")
    made = connection.execute("SELECT count(*) FROM rollcage_change WHERE number > ?", (first,)).fetchone()[0]
    if made != len(targets):
        return [f"a trigger of the database changed {made - len(targets):,} more recorded rows"]
    return [
        f"{clean(str(table))}: its row {row} would refer to a row of {clean(str(parent))} that is not there"
        for table, row, parent, _ in sorted(_broken_keys(connection) - broken, key=str)
    ]


def _swap(connection: sqlite3.Connection, table: Table, change: Change) -> str:
    """Swap one row, if it is as the change left it; return why not."""
    key = [parameter(value_of(value))[1] for value in json.loads(change.key)]
    at_key = " AND ".join(
        f"{quoted(column)} IS {parameter(value_of(value))[0]}"
        for column, value in zip(table.key, json.loads(change.key), strict=True)
    )
    name = quoted(table.name)
    rows = connection.execute(f"SELECT {table.image(name)} FROM {name} WHERE {at_key}", key).fetchall()
    after = _fields(change.after, table)
    if len(rows) != (after is not None) or (rows and not _same(_fields(rows[0][0], table), after)):
        return "it is not as that change left it"
    before = _fields(change.before, table)
    if before is None:
        connection.execute(f"DELETE FROM {name} WHERE {at_key}", key)
        return ""
    places = [(quoted(column), *parameter(value_of(text))) for column, text in before.items()]
    values = [value for _, _, value in places]
    if after is None:
        columns, marks = ", ".join(column for column, _, _ in places), ", ".join(mark for _, mark, _ in places)
        connection.execute(f"INSERT INTO {name} ({columns}) VALUES ({marks})", values)
    else:
        setting = ", ".join(f"{column} = {mark}" for column, mark, _ in places)
        connection.execute(f"UPDATE {name} SET {setting} WHERE {at_key}", [*values, *key])
    now = connection.execute(f"SELECT {table.image(name)} FROM {name} WHERE {at_key}", key).fetchall()
    return "" if len(now) == 1 and _same(_fields(now[0][0], table), before) else "it does not come out as it was"


def _fields(image: str | None, table: Table) -> dict[str, str] | None:
    """Return an image's values by column, those that the table has still."""
    if image is None:
        return None
    return {column: text for column, text in json.loads(image).items() if column in table.columns}


def _same(one: dict[str, str] | None, other: dict[str, str] | None) -> bool:
    """Return whether two images agree in the columns that both have."""
    if one is None or other is None:
        return one is other
    return all(one[column] == other[column] for column in one.keys() & other.keys())


def _broken_keys(connection: sqlite3.Connection) -> set[tuple[object, ...]]:
    """Return the rows that refer to rows that are not there, as ``PRAGMA foreign_key_check`` has them."""
    return set(connection.execute("PRAGMA foreign_key_check").fetchall())
