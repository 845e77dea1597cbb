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

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..errors import StoreError
from ..text import clean
from .capture import OURSELVES, Change, Scope, TakenBack, no_primary_key, no_such_table, plan, shown, where

if TYPE_CHECKING:
    import psycopg

    from .postgres import PostgresDatabase

    Connection = psycopg.Connection[tuple[Any, ...]]

_FORMATS = {
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "iso_8601",
    "bytea_output": "hex",
    "extra_float_digits": "1",
}
_COLUMNS = "c.number, c.agent, c.tbl, c.kind, c.key, c.before::text, c.after::text, c.reverts, c.operation"
_TABLE = """
CREATE TABLE IF NOT EXISTS {schema}.rollcage_change (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    turn text NOT NULL DEFAULT pg_current_xact_id()::text,
    agent text,
    tbl text NOT NULL,
    kind text NOT NULL,
    key text NOT NULL,
    before json,
    after json,
    reverts bigint,
    operation text
);
CREATE INDEX IF NOT EXISTS rollcage_change_of_row ON {schema}.rollcage_change (tbl, key, number);
CREATE INDEX IF NOT EXISTS rollcage_change_of_agent ON {schema}.rollcage_change (agent, number);
CREATE INDEX IF NOT EXISTS rollcage_change_of_operation ON {schema}.rollcage_change (operation)
    WHERE operation IS NOT NULL;
"""
"""``turn`` is the transaction."""
_FUNCTION = """
CREATE OR REPLACE FUNCTION {schema}.rollcage_capture() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp {formats} AS $rollcage$
DECLARE
    who text := coalesce(nullif(current_setting('rollcage.agent', true), ''),
        (regexp_match(current_setting('application_name', true), '^rollcage:(.+)$'))[1]);
    back bigint := nullif(current_setting('rollcage.reverts', true), '')::bigint;
    doing text := nullif(current_setting('rollcage.operation', true), '');
    was json; now json; old_key text; new_key text;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        FOR was IN EXECUTE format('SELECT row_to_json(t) FROM %I.%I t', TG_TABLE_SCHEMA, TG_TABLE_NAME) LOOP
            SELECT json_agg(was -> name ORDER BY place)::text INTO old_key
                FROM unnest(TG_ARGV[1:]) WITH ORDINALITY k (name, place);
            INSERT INTO {schema}.rollcage_change (agent, tbl, kind, key, before, reverts, operation)
                VALUES (who, TG_ARGV[0], 'D', old_key, was, back, doing);
        END LOOP;
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        was := row_to_json(OLD);
        SELECT json_agg(was -> name ORDER BY place)::text INTO old_key
            FROM unnest(TG_ARGV[1:]) WITH ORDINALITY k (name, place);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        now := row_to_json(NEW);
        SELECT json_agg(now -> name ORDER BY place)::text INTO new_key
            FROM unnest(TG_ARGV[1:]) WITH ORDINALITY k (name, place);
    END IF;
    IF old_key = new_key THEN
        IF was::text <> now::text THEN
            INSERT INTO {schema}.rollcage_change (agent, tbl, kind, key, before, after, reverts, operation)
                VALUES (who, TG_ARGV[0], 'U', new_key, was, now, back, doing);
        END IF;
        RETURN NULL;
    END IF;
    IF was IS NOT NULL THEN
        INSERT INTO {schema}.rollcage_change (agent, tbl, kind, key, before, reverts, operation)
            VALUES (who, TG_ARGV[0], 'D', old_key, was, back, doing);
    END IF;
    IF now IS NOT NULL THEN
        INSERT INTO {schema}.rollcage_change (agent, tbl, kind, key, after, reverts, operation)
            VALUES (who, TG_ARGV[0], 'I', new_key, now, back, doing);
    END IF;
    RETURN NULL;
END $rollcage$;
"""


@dataclass(frozen=True, slots=True)
class _Table:
    """A captured table as it is now."""

    name: str
    """As the settings name it; so it stands in the record."""
    oid: int
    quoted: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    """Those that can be written."""
    is_recorded: bool
    was_recorded: bool
    """It was once, as the record shows."""

    @property
    def at_key(self) -> str:
        """Return the condition for the row ``t`` with the key of the image ``%(image)s``."""
        columns = ", ".join(_quoted(column) for column in self.key)
        return f"({columns}) = (SELECT {columns} FROM json_populate_record(NULL::{self.quoted}, %(image)s::json))"

    def triggers(self, schema: str) -> list[str]:
        """Return the statements that record it."""
        arguments = ", ".join(_literal(text) for text in (self.name, *self.key))
        what = f"EXECUTE FUNCTION {schema}.rollcage_capture({arguments})"
        return [
            f"DROP TRIGGER IF EXISTS rollcage_row ON {self.quoted}",
            f"DROP TRIGGER IF EXISTS rollcage_truncate ON {self.quoted}",
            f"CREATE TRIGGER rollcage_row AFTER INSERT OR UPDATE OR DELETE ON {self.quoted} FOR EACH ROW {what}",
            f"CREATE TRIGGER rollcage_truncate BEFORE TRUNCATE ON {self.quoted} FOR EACH STATEMENT {what}",
        ]


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
            tables = [_read(connection, schema, name) for name in self.tables]
            others = _others(connection, tables)
            if _has_function(connection, schema) and all(table.is_recorded for table in tables) and not others:
                return []
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(hashtext('rollcage_capture'))")
                function = _function(schema)
                for statement in (_TABLE.format(schema=schema), function):
                    connection.execute(statement.encode())
                mark = f"COMMENT ON FUNCTION {schema}.rollcage_capture() IS {_literal(_digest(function))}"
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
                names = _others(connection, ())
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
            return _has_function(connection, schema) and all(
                _read(connection, schema, name).is_recorded for name in self.tables
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

    def _ask(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        with self._database.connected() as connection:
            schema = _schema(connection)
            if not _is_there(connection, schema):
                raise StoreError(f"{self._database.named} is not recorded yet; rollcage records it at its start")
            return connection.execute(query.format(change=f"{schema}.rollcage_change").encode(), parameters).fetchall()

    def take_back(self, scope: Scope, operation: str, *, trial: bool = False) -> TakenBack:
        """See `RowCapture.take_back`. Nobody else writes the recorded tables meanwhile; reading goes on."""
        taken = TakenBack()
        with self._database.connected() as connection:
            schema = _schema(connection)
            for name, value in _FORMATS.items():
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
        tables = {name: _read(connection, schema, name) for name in self.tables}
        for table in tables.values():
            connection.execute(f"LOCK TABLE {table.quoted} IN SHARE ROW EXCLUSIVE MODE".encode())
        if not _has_function(connection, schema) or not all(table.is_recorded for table in tables.values()):
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


def _function(schema: str) -> str:
    formats = " ".join(f"SET {name} = {_literal(value)}" for name, value in _FORMATS.items() if name != "datestyle")
    return _FUNCTION.replace("{schema}", schema).replace("{formats}", f"{formats} SET datestyle = 'ISO', 'YMD'")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _is_there(connection: Connection, schema: str) -> bool:
    row = connection.execute("SELECT to_regclass(%s)", (f"{schema}.rollcage_change",)).fetchone()
    return row is not None and row[0] is not None


def _has_function(connection: Connection, schema: str) -> bool:
    """Return whether the table and the function of this version are there."""
    query = "SELECT obj_description(to_regprocedure(%s), 'pg_proc')"
    row = connection.execute(query, (f"{schema}.rollcage_capture()",)).fetchone()
    return row is not None and row[0] == _digest(_function(schema)) and _is_there(connection, schema)


def _read(connection: Connection, schema: str, name: str) -> _Table:
    """Return what the table ``name`` looks like now. Raises RefusedError."""
    found = connection.execute(
        "SELECT c.oid, c.oid::regclass::text FROM pg_class c WHERE c.relkind IN ('r', 'p')"
        " AND ((c.relname = %s AND pg_table_is_visible(c.oid)) OR c.oid = to_regclass(%s)) LIMIT 1",
        (name, name if "." in name else None),
    ).fetchone()
    if found is None:
        raise no_such_table(name)
    oid, quoted = int(found[0]), str(found[1])
    columns = connection.execute(
        "SELECT attname, attgenerated = '', attnum FROM pg_attribute"
        " WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        (oid,),
    ).fetchall()
    names = {number: str(column) for column, _, number in columns}
    row = connection.execute(
        "SELECT conkey FROM pg_constraint WHERE conrelid = %s AND contype = 'p'", (oid,)
    ).fetchone()
    if row is None:
        raise no_primary_key(name)
    key = tuple(names[number] for number in row[0])
    arguments = b"".join(text.encode() + b"\0" for text in (name, *key))
    recorded = connection.execute(
        "SELECT count(*) FROM pg_trigger WHERE tgrelid = %s AND tgname IN ('rollcage_row', 'rollcage_truncate')"
        " AND tgfoid = to_regprocedure(%s) AND tgargs = %s AND tgenabled = 'O'",
        (oid, f"{schema}.rollcage_capture()", arguments),
    ).fetchone()
    was = None
    if _is_there(connection, schema):
        query = f"SELECT 1 FROM {schema}.rollcage_change WHERE tbl = %s LIMIT 1"
        was = connection.execute(query.encode(), (name,)).fetchone()
    writable = tuple(str(column) for column, is_plain, _ in columns if is_plain)
    return _Table(name, oid, quoted, key, writable, recorded == (2,), was is not None)


def _others(connection: Connection, tables: Sequence[_Table]) -> list[str]:
    """Return the tables that have our triggers and are none of ``tables``."""
    query = """SELECT DISTINCT t.tgrelid::regclass::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        WHERE t.tgname = 'rollcage_row' AND NOT c.relispartition AND NOT t.tgrelid = ANY (%s::oid[])"""
    return [str(name) for (name,) in connection.execute(query, ([table.oid for table in tables],))]


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
    connection: Connection, schema: str, targets: Sequence[Change], tables: dict[str, _Table], operation: str
) -> list[str]:
    """Swap each row for what was before; return the first conflict."""
    import psycopg

    says = "SELECT set_config('rollcage.agent', %s, true), set_config('rollcage.operation', %s, true)"
    connection.execute(says, (OURSELVES, operation))
    connection.execute("SET CONSTRAINTS ALL DEFERRED")
    count = f"SELECT count(*) FROM {schema}.rollcage_change WHERE operation = %s"
    (first,) = connection.execute(count.encode(), (operation,)).fetchone() or (0,)
    try:
        with connection.transaction():
            problem = _swap_all(connection, targets, tables)
    except psycopg.errors.ForeignKeyViolation:
        problem = _swap_patiently(connection, targets, tables)
    except (psycopg.IntegrityError, psycopg.DataError, psycopg.errors.RaiseException) as error:
        problem = _refused(error)
    if problem:
        return [problem]
    (made,) = connection.execute(count.encode(), (operation,)).fetchone() or (0,)
    connection.execute(says, ("", ""))
    connection.execute("SELECT set_config('rollcage.reverts', '', true)")
    if made - first != len(targets):
        return [f"a trigger of the database changed {made - first - len(targets):,} more recorded rows"]
    return []


def _swap_all(connection: Connection, targets: Sequence[Change], tables: dict[str, _Table]) -> str:
    """Swap every row, newest first; return the first conflict. Raises what psycopg raises."""
    for change in targets:
        connection.execute("SELECT set_config('rollcage.reverts', %s, true)", (str(change.number),))
        problem = _swap(connection, tables[change.table], change)
        if problem:
            return f"{where(change)}: {problem}"
    connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    return ""


def _swap_patiently(connection: Connection, targets: Sequence[Change], tables: dict[str, _Table]) -> str:
    """Do as `_swap_all`, but put off what refers to a row that is not back yet, until nothing moves any more.

    ``TRUNCATE ... CASCADE`` empties the table that is referred to first. The changes of one row stay in their order.
    """
    import psycopg

    left, refused = list(targets), ""
    while left:
        put_off: list[Change] = []
        rows: set[tuple[str, str]] = set()
        for change in left:
            if (change.table, change.key) in rows:
                put_off.append(change)
                continue
            try:
                with connection.transaction():
                    problem = _swap_all(connection, [change], tables)
            except psycopg.errors.ForeignKeyViolation as error:
                refused = f"{where(change)}: {_refused(error)}"
                rows.add((change.table, change.key))
                put_off.append(change)
            except (psycopg.IntegrityError, psycopg.DataError, psycopg.errors.RaiseException) as error:
                return f"{where(change)}: {_refused(error)}"
            else:
                if problem:
                    return problem
        if len(put_off) == len(left):
            return refused
        left = put_off
    return ""


def _refused(error: Exception) -> str:
    return f"the database refuses: {clean(str(error))}"


def _swap(connection: Connection, table: _Table, change: Change) -> str:
    """Swap one row, if it is as the change left it; return why not."""
    image = change.after or change.before
    found = f"SELECT row_to_json(t)::text FROM {table.quoted} t WHERE {table.at_key} FOR UPDATE".encode()
    rows = connection.execute(found, {"image": image}).fetchall()
    if len(rows) != (change.after is not None) or (rows and not _same(rows[0][0], change.after, table)):
        return "it is not as that change left it"
    dependents = _dependents(connection, table, change)
    if dependents:
        return f"rows of {clean(dependents)} depend on it"
    if change.before is None:
        connection.execute(f"DELETE FROM {table.quoted} t WHERE {table.at_key}".encode(), {"image": image})
        return ""
    kept = json.loads(change.before)
    columns = [column for column in table.columns if column in kept]
    if change.after is not None:
        columns = [column for column in columns if column not in table.key]
    names = ", ".join(_quoted(column) for column in columns)
    values = f"SELECT {names} FROM json_populate_record(NULL::{table.quoted}, %(before)s::json)"
    if change.after is None:
        statement = f"INSERT INTO {table.quoted} ({names}) OVERRIDING SYSTEM VALUE {values}"
    else:
        statement = f"UPDATE {table.quoted} t SET ({names}) = ({values}) WHERE {table.at_key}"
    connection.execute(statement.encode(), {"image": image, "before": change.before})
    now = connection.execute(found, {"image": image}).fetchall()
    return "" if len(now) == 1 and _same(now[0][0], change.before, table) else "it does not come out as it was"


def _dependents(connection: Connection, table: _Table, change: Change) -> str:
    """Return a table whose rows the database would change or remove along with this one."""
    if change.after is None:
        return ""
    action = "confdeltype" if change.before is None else "confupdtype"
    query = f"""
        SELECT k.conrelid::regclass::text,
            (SELECT array_agg(a.attname ORDER BY u.place) FROM unnest(k.conkey) WITH ORDINALITY u (number, place)
                JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number),
            (SELECT array_agg(a.attname ORDER BY u.place) FROM unnest(k.confkey) WITH ORDINALITY u (number, place)
                JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.number)
        FROM pg_constraint k WHERE k.contype = 'f' AND k.confrelid = %s AND k.{action} IN ('c', 'n', 'd')"""
    after, before = json.loads(change.after), json.loads(change.before) if change.before else {}
    for name, theirs, ours in connection.execute(query.encode(), (table.oid,)).fetchall():
        if change.before is not None and all(after.get(column) == before.get(column) for column in ours):
            continue
        match = " AND ".join(f"c.{_quoted(one)} = p.{_quoted(other)}" for one, other in zip(theirs, ours, strict=True))
        look = f"SELECT 1 FROM {name} c, json_populate_record(NULL::{table.quoted}, %s::json) p WHERE {match} LIMIT 1"
        if connection.execute(look.encode(), (change.after,)).fetchone():
            return str(name)
    return ""


def _same(one: str, other: str | None, table: _Table) -> bool:
    """Return whether two images agree in the columns that both have and the table has still."""
    if other is None:
        return False
    first, second = (json.loads(text, parse_float=_exact, parse_int=_exact) for text in (one, other))
    columns = first.keys() & second.keys() & set(table.columns)
    return all(first[column] == second[column] for column in columns)


def _exact(text: str) -> tuple[str]:
    """Keep a number as it is written: as a float it would be another."""
    return (text,)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    from psycopg import sql

    return sql.Literal(text).as_string(None)
