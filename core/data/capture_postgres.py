"""Row capture of a PostgreSQL database: installing its triggers, and taking changes back.

Who writes is the session's setting ``rollcage.agent``, or ``rollcage:AGENT`` as its ``application_name``: an agent
whose programs run with ``PGAPPNAME=rollcage:AGENT`` in their environment is known without a change to them. What is
written without a name is recorded without one, and is never taken back.

Rows stand in the record as ``row_to_json`` gives them, under fixed settings of time zone and formats, so that they are
equal where the rows are. The trigger writes with the rights of who installed it. Not seen: what is written while
triggers are off (``session_replication_role``), and ``TRUNCATE`` of a single partition.
"""

# ruff: noqa: S608  every name in a statement is quoted, and every value bound or quoted

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..errors import StoreError
from ..text import clean
from .capture import OURSELVES, Change, Scope, TakenBack, plan, shown
from .capture_postgres_swap import array_of, swap_all
from .capture_postgres_triggers import (
    FORMATS,
    TABLE,
    Table,
    digest_of_text,
    function_of,
    has_function,
    is_there,
    literal,
    others_recorded,
    read_table,
)

if TYPE_CHECKING:
    import psycopg

    from .postgres import PostgresDatabase

    Connection = psycopg.Connection[tuple[Any, ...]]

_COLUMNS = "c.number, c.agent, c.tbl, c.kind, c.key, c.before::text, c.after::text, c.reverts, c.operation"


_SEQUENCE = "pg_get_serial_sequence(%s, 'number')::regclass"


class _ConflictError(Exception):
    """Ends the transaction; never leaves this module."""


class PostgresCapture:
    """See `rollcage.core.data.capture.RowCapture`. Every call has a connection of its own."""

    def __init__(self, database: PostgresDatabase, tables: Sequence[str]) -> None:
        """Take the database and the tables."""
        self._database, self.tables = database, tuple(tables)

    def install(self) -> list[str]:
        """See `RowCapture.install`; in the first schema of the search path."""
        with self._database.connected() as connection:
            schema = _schema(connection)
            tables = [read_table(connection, schema, name) for name in self.tables]
            others = others_recorded(connection, tables)
            if has_function(connection, schema) and all(table.is_recorded for table in tables) and not others:
                return []
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(hashtext('rollcage_capture'))")
                function = function_of(schema)
                for statement in (TABLE.format(schema=schema), function):
                    connection.execute(statement.encode())
                mark = f"COMMENT ON FUNCTION {schema}.rollcage_capture() IS {literal(digest_of_text(function))}"
                connection.execute(mark.encode())
                said = []
                for table in tables:
                    if table.is_recorded:
                        continue
                    for statement in table.triggers(schema):
                        connection.execute(statement.encode())
                    said.append(f"rows of table {clean(table.name)} are recorded from now on")
                    if table.was_recorded:
                        query = f"INSERT INTO {schema}.rollcage_change (tbl, kind, key) VALUES (%s, 'S', '')"
                        connection.execute(query.encode(), (table.name,))
                        said[-1] += "; what was written while they were not is not known"
                for name in others:
                    for trigger in ("rollcage_row", "rollcage_truncate"):
                        connection.execute(f"DROP TRIGGER IF EXISTS {trigger} ON {name}".encode())
                    said.append(f"rows of table {clean(name)} are not recorded any more")
                return said

    def remove(self) -> list[str]:
        """See `RowCapture.remove`."""
        with self._database.connected() as connection:
            schema = _schema(connection)
            with connection.transaction():
                names = others_recorded(connection, ())
                for statement in (
                    f"DROP FUNCTION IF EXISTS {schema}.rollcage_capture() CASCADE",
                    f"DROP TABLE IF EXISTS {schema}.rollcage_change",
                ):
                    connection.execute(statement.encode())
            return [
                *(f"triggers of {clean(name)}" for name in names),
                "function rollcage_capture",
                "table rollcage_change",
            ]

    def is_installed(self) -> bool:
        """See `RowCapture.is_installed`."""
        with self._database.connected() as connection:
            schema = _schema(connection)
            return has_function(connection, schema) and all(
                read_table(connection, schema, name).is_recorded for name in self.tables
            )

    def first_since(self, moment: datetime) -> int:
        """See `RowCapture.first_since`."""
        query = (
            "SELECT coalesce((SELECT min(number) FROM {change} WHERE at >= %s),"
            " (SELECT coalesce(max(number), 0) + 1 FROM {change}))"
        )
        return int(self._ask(query, moment)[0][0])

    def writers(self, since: int) -> dict[str | None, int]:
        """See `RowCapture.writers`."""
        query = (
            "SELECT agent, count(*) FROM {change} WHERE number >= %s AND reverts IS NULL AND kind <> 'S' GROUP BY agent"
        )
        return {row[0]: int(row[1]) for row in self._ask(query, since)}

    def has_done(self, operation: str) -> bool:
        """See `RowCapture.has_done`."""
        return bool(self._ask("SELECT 1 FROM {change} WHERE operation = %s LIMIT 1", operation))

    def highest(self) -> int:
        """See `RowCapture.highest`."""
        with self._database.connected() as connection:
            schema = _schema(connection)
            return _highest(connection, schema) if is_there(connection, schema) else 0

    def continue_above(self, number: int) -> None:
        """See `RowCapture.continue_above`. Nobody writes meanwhile: a number taken by two would fail their writes."""
        if self.highest() >= number:
            return
        with self._database.connected() as connection:
            schema = _schema(connection)
            with connection.transaction():
                if not is_there(connection, schema):
                    return
                connection.execute(f"LOCK TABLE {schema}.rollcage_change IN SHARE ROW EXCLUSIVE MODE".encode())
                if _highest(connection, schema) < number:
                    connection.execute(
                        f"SELECT setval({_SEQUENCE}, %s)".encode(), (f"{schema}.rollcage_change", number)
                    )

    def forget(self, before: datetime, *, most: int) -> int:
        """See `RowCapture.forget`."""
        with self._database.connected() as connection:
            schema = _schema(connection)
            if not is_there(connection, schema):
                return 0
            change = f"{schema}.rollcage_change"
            query = f"""DELETE FROM {change} WHERE number IN (
                SELECT number FROM {change}
                WHERE number < ALL (SELECT number FROM {change} WHERE at >= %s ORDER BY number LIMIT 1)
                ORDER BY number LIMIT %s)"""
            return connection.execute(query.encode(), (before, most)).rowcount

    def _ask(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        with self._database.connected() as connection:
            schema = _schema(connection)
            if not is_there(connection, schema):
                raise StoreError(f"{self._database.named} is not recorded yet; rollcage records it at its start")
            return connection.execute(query.format(change=f"{schema}.rollcage_change").encode(), parameters).fetchall()

    def take_back(self, scope: Scope, operation: str, *, trial: bool = False) -> TakenBack:
        """See `RowCapture.take_back`. Nobody else writes the recorded tables meanwhile; reading goes on."""
        taken = TakenBack()
        with self._database.connected() as connection:
            schema = _schema(connection)
            for name, value in FORMATS.items():
                connection.execute("SELECT set_config(%s, %s, false)", (name, value))
            try:
                with connection.transaction(force_rollback=trial):
                    taken = self._take_back(connection, schema, scope, operation, trial=trial)
                    if taken.conflicts:
                        raise _ConflictError
            except _ConflictError:
                pass
        return taken

    def _take_back(
        self, connection: Connection, schema: str, scope: Scope, operation: str, *, trial: bool
    ) -> TakenBack:
        tables = {name: read_table(connection, schema, name) for name in self.tables}
        for table in tables.values():
            connection.execute(f"LOCK TABLE {table.quoted} IN SHARE ROW EXCLUSIVE MODE".encode())
        if not has_function(connection, schema) or not all(table.is_recorded for table in tables.values()):
            raise StoreError(
                f"{self._database.named} is not recorded as its tables are now; rollcage records it at its start"
            )
        targets, conflicts = plan(_history(connection, schema, scope), scope)
        lost = {change.table for change in targets} - set(tables)
        conflicts += [f"table {clean(name)} is not recorded any more" for name in sorted(lost)]
        query = f"""SELECT count(*) FROM {schema}.rollcage_change
            WHERE agent IS NULL AND kind <> 'S' AND number >= %s AND tbl = ANY (%s)"""
        meant = sorted({change.table for change in targets})
        (unknown,) = connection.execute(query.encode(), (scope.since, meant)).fetchone() or (0,)
        if not conflicts:
            conflicts = _apply(connection, schema, targets, tables, operation)
        if conflicts:
            return TakenBack(conflicts=shown(conflicts), unattributed=int(unknown))
        checks = tuple(self._database.ask(connection)) if trial else ()
        return TakenBack(len(targets), tuple(meant), (), int(unknown), checks)


def _schema(connection: Connection) -> str:
    row = connection.execute("SELECT quote_ident(current_schema())").fetchone()
    if row is None or row[0] is None:
        raise StoreError("the database user has no schema on its search path for rollcage_change: give it one")
    return str(row[0])


def _highest(connection: Connection, schema: str) -> int:
    """Return the last number that was given out, also to a transaction that was rolled back."""
    query = f"SELECT coalesce(pg_sequence_last_value({_SEQUENCE}), 0)"
    (number,) = connection.execute(query.encode(), (f"{schema}.rollcage_change",)).fetchone() or (0,)
    return int(number)


def _history(connection: Connection, schema: str, scope: Scope) -> list[Change]:
    """Return every change, from the oldest that ``scope`` may mean on, of every row that it may mean."""
    meant, parameters = "operation = %s", [scope.of]
    if not scope.of:
        meant, parameters = "number >= %s AND agent = ANY (%s)", [scope.since, list(scope.agents)]  # type: ignore[list-item]
    query = f"""
        WITH meant AS (
            SELECT tbl, key, min(number) AS first FROM {schema}.rollcage_change WHERE {meant} GROUP BY tbl, key
        )
        SELECT DISTINCT ON (c.number) {_COLUMNS} FROM meant JOIN {schema}.rollcage_change AS c
        ON c.tbl = meant.tbl AND c.key IN (meant.key, '') AND c.number >= meant.first ORDER BY c.number"""
    return [Change(*row) for row in connection.execute(query.encode(), parameters)]


def _apply(
    connection: Connection, schema: str, targets: Sequence[Change], tables: dict[str, Table], operation: str
) -> list[str]:
    """Swap each row for what was before; return the first conflict."""
    says = "SELECT set_config('rollcage.agent', %s, true), set_config('rollcage.operation', %s, true)"
    newest = f"SELECT coalesce(max(number), 0) FROM {schema}.rollcage_change"
    (mark,) = connection.execute(newest.encode()).fetchone() or (0,)
    connection.execute(says, (OURSELVES, operation))
    connection.execute("SET CONSTRAINTS ALL DEFERRED")
    problem = swap_all(connection, targets, tables)
    if problem:
        return [problem]
    connection.execute(says, ("", ""))
    count = f"SELECT count(*) FROM {schema}.rollcage_change WHERE operation = %s AND number > %s"
    (made,) = connection.execute(count.encode(), (operation, mark)).fetchone() or (0,)
    told = sum(
        _tell_what_was_reverted(connection, schema, targets, table, (operation, mark)) for table in tables.values()
    )
    if made != len(targets) or told != len(targets):
        return [f"a trigger of the database changed {max(made - len(targets), 1):,} more recorded rows"]
    return []


def _tell_what_was_reverted(
    connection: Connection, schema: str, targets: Sequence[Change], table: Table, ours: tuple[str, int]
) -> int:
    """Write down which change each one made by us took back: of one row they came in the order of ``targets``."""
    meant = [change for change in targets if change.table == table.name]
    query = f"""
        UPDATE {schema}.rollcage_change c SET reverts = taken.number
        FROM (
            SELECT i.number, k.key, row_number() OVER (PARTITION BY k.key ORDER BY i.place) AS turn
            FROM ROWS FROM (unnest(%s::bigint[]), json_array_elements(%s::json))
            WITH ORDINALITY i (number, image, place), LATERAL (
                SELECT json_agg(i.image -> n.name ORDER BY n.place)::text AS key
                FROM unnest(%s::text[]) WITH ORDINALITY n (name, place)) k
        ) taken, (
            SELECT number, key, row_number() OVER (PARTITION BY key ORDER BY number) AS turn
            FROM {schema}.rollcage_change WHERE operation = %s AND number > %s AND tbl = %s
        ) made
        WHERE made.key = taken.key AND made.turn = taken.turn AND c.number = made.number"""
    images = array_of([change.after or change.before for change in meant])
    numbers = [change.number for change in meant]
    return connection.execute(query.encode(), (numbers, images, list(table.key), *ours, table.name)).rowcount
