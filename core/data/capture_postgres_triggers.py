"""The table, the function and the triggers that record the rows of a PostgreSQL database, and what is there of them."""

# ruff: noqa: S608  every name in a statement is quoted

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .capture import no_primary_key, no_such_table
from .capture_order import Shape

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

FORMATS = {
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "iso_8601",
    "bytea_output": "hex",
    "extra_float_digits": "1",
}
TABLE = """
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
FUNCTION = """
CREATE OR REPLACE FUNCTION {schema}.rollcage_capture() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp {formats} AS $rollcage$
DECLARE
    who text := coalesce(nullif(current_setting('rollcage.agent', true), ''),
        (regexp_match(current_setting('application_name', true), '^rollcage:(.+)$'))[1]);
    doing text := nullif(current_setting('rollcage.operation', true), '');
    was json; now json; old_key text; new_key text;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        FOR was IN EXECUTE format('SELECT row_to_json(t) FROM %I.%I t', TG_TABLE_SCHEMA, TG_TABLE_NAME) LOOP
            SELECT json_agg(was -> name ORDER BY place)::text INTO old_key
                FROM unnest(TG_ARGV[1:]) WITH ORDINALITY k (name, place);
            INSERT INTO {schema}.rollcage_change (agent, tbl, kind, key, before, operation)
                VALUES (who, TG_ARGV[0], 'D', old_key, was, doing);
        END LOOP;
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        was := row_to_json(OLD);
        IF TG_NARGS = 2 THEN  -- much quicker, and the same text
            old_key := '[' || (was -> TG_ARGV[1])::text || ']';
        ELSE
            SELECT json_agg(was -> name ORDER BY place)::text INTO old_key
                FROM unnest(TG_ARGV[1:]) WITH ORDINALITY k (name, place);
        END IF;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        now := row_to_json(NEW);
        IF TG_NARGS = 2 THEN  -- much quicker, and the same text
            new_key := '[' || (now -> TG_ARGV[1])::text || ']';
        ELSE
            SELECT json_agg(now -> name ORDER BY place)::text INTO new_key
                FROM unnest(TG_ARGV[1:]) WITH ORDINALITY k (name, place);
        END IF;
    END IF;
    IF old_key = new_key THEN
        IF was::text <> now::text THEN
            INSERT INTO {schema}.rollcage_change (agent, tbl, kind, key, before, after, operation)
                VALUES (who, TG_ARGV[0], 'U', new_key, was, now, doing);
        END IF;
        RETURN NULL;
    END IF;
    IF was IS NOT NULL THEN
        INSERT INTO {schema}.rollcage_change (agent, tbl, kind, key, before, operation)
            VALUES (who, TG_ARGV[0], 'D', old_key, was, doing);
    END IF;
    IF now IS NOT NULL THEN
        INSERT INTO {schema}.rollcage_change (agent, tbl, kind, key, after, operation)
            VALUES (who, TG_ARGV[0], 'I', new_key, now, doing);
    END IF;
    RETURN NULL;
END $rollcage$;
"""


@dataclass(frozen=True, slots=True)
class Referrer:
    """A foreign key whose rows the database would change or remove along with the row that they refer to."""

    table: str
    columns: tuple[str, ...]
    refers_to: tuple[str, ...]
    on_delete: bool
    on_update: bool


@dataclass(frozen=True, slots=True)
class Table:
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
    referrers: tuple[Referrer, ...] = ()
    shape: Shape = field(default_factory=Shape)
    """What orders its changes; tables go by their oid there."""

    def triggers(self, schema: str) -> list[str]:
        """Return the statements that record it."""
        arguments = ", ".join(literal(text) for text in (self.name, *self.key))
        what = f"EXECUTE FUNCTION {schema}.rollcage_capture({arguments})"
        return [
            f"DROP TRIGGER IF EXISTS rollcage_row ON {self.quoted}",
            f"DROP TRIGGER IF EXISTS rollcage_truncate ON {self.quoted}",
            f"CREATE TRIGGER rollcage_row AFTER INSERT OR UPDATE OR DELETE ON {self.quoted} FOR EACH ROW {what}",
            f"CREATE TRIGGER rollcage_truncate BEFORE TRUNCATE ON {self.quoted} FOR EACH STATEMENT {what}",
        ]


def function_of(schema: str) -> str:
    formats = " ".join(f"SET {name} = {literal(value)}" for name, value in FORMATS.items() if name != "datestyle")
    return FUNCTION.replace("{schema}", schema).replace("{formats}", f"{formats} SET datestyle = 'ISO', 'YMD'")


def digest_of_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def is_there(connection: Connection, schema: str) -> bool:
    row = connection.execute("SELECT to_regclass(%s)", (f"{schema}.rollcage_change",)).fetchone()
    return row is not None and row[0] is not None


def has_function(connection: Connection, schema: str) -> bool:
    """Return whether the table and the function of this version are there."""
    query = "SELECT obj_description(to_regprocedure(%s), 'pg_proc')"
    row = connection.execute(query, (f"{schema}.rollcage_capture()",)).fetchone()
    return row is not None and row[0] == digest_of_text(function_of(schema)) and is_there(connection, schema)


def read_table(connection: Connection, schema: str, name: str) -> Table:
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
    if is_there(connection, schema):
        query = f"SELECT 1 FROM {schema}.rollcage_change WHERE tbl = %s LIMIT 1"
        was = connection.execute(query.encode(), (name,)).fetchone()
    writable = tuple(str(column) for column, is_plain, _ in columns if is_plain)
    return Table(
        name,
        oid,
        quoted,
        key,
        writable,
        recorded == (2,),
        was is not None,
        _referrers(connection, oid),
        _shape(connection, oid),
    )


def others_recorded(connection: Connection, tables: Sequence[Table]) -> list[str]:
    """Return the tables that have our triggers and are none of ``tables``."""
    query = """SELECT DISTINCT t.tgrelid::regclass::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        WHERE t.tgname = 'rollcage_row' AND NOT c.relispartition AND NOT t.tgrelid = ANY (%s::oid[])"""
    return [str(name) for (name,) in connection.execute(query, ([table.oid for table in tables],))]


def _referrers(connection: Connection, oid: int) -> tuple[Referrer, ...]:
    query = """
        SELECT k.conrelid::regclass::text,
            (SELECT array_agg(a.attname::text ORDER BY u.place) FROM unnest(k.conkey) WITH ORDINALITY u (number, place)
                JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number),
            (SELECT array_agg(a.attname::text ORDER BY u.place) FROM unnest(k.confkey) WITH ORDINALITY u (number, place)
                JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.number),
            k.confdeltype IN ('c', 'n', 'd'), k.confupdtype IN ('c', 'n', 'd')
        FROM pg_constraint k WHERE k.contype = 'f' AND k.confrelid = %s"""
    return tuple(
        Referrer(str(name), tuple(theirs), tuple(ours), on_delete, on_update)
        for name, theirs, ours, on_delete, on_update in connection.execute(query, (oid,)).fetchall()
        if on_delete or on_update
    )


def _shape(connection: Connection, oid: int) -> Shape:
    unique = """
        SELECT array_agg(a.attname::text ORDER BY a.attname::text) FROM pg_index i
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1])
        WHERE i.indrelid = %s AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL GROUP BY i.indexrelid"""
    refers = """
        SELECT k.confrelid::text, array_agg(a.attname::text ORDER BY b.attname::text),
            array_agg(b.attname::text ORDER BY b.attname::text)
        FROM pg_constraint k, unnest(k.conkey, k.confkey) u (here, there), pg_attribute a, pg_attribute b
        WHERE k.contype = 'f' AND k.conrelid = %s AND a.attrelid = k.conrelid AND a.attnum = u.here
        AND b.attrelid = k.confrelid AND b.attnum = u.there GROUP BY k.oid"""
    return Shape(
        str(oid),
        tuple(tuple(columns) for (columns,) in connection.execute(unique, (oid,)).fetchall()),
        tuple(
            (table, tuple(ours), tuple(theirs)) for table, ours, theirs in connection.execute(refers, (oid,)).fetchall()
        ),
    )


def quoted_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    from psycopg import sql

    return sql.Literal(text).as_string(None)
