"""Swapping recorded rows of a PostgreSQL database for what was before: many in a statement, or one by one.

What is done is sent without waiting for the answers, which are looked at afterwards; all of it is in one transaction.
"""

# ruff: noqa: S608  every name in a statement is quoted, and every value bound

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..text import clean
from .capture import Change, where
from .capture_order import arrange
from .capture_postgres_triggers import Referrer, Table, quoted_name

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]
    Cursor = psycopg.Cursor[tuple[Any, ...]]


def swap_all(connection: Connection, targets: Sequence[Change], tables: Mapping[str, Table]) -> str:
    """Swap each row for what was before, as if newest first; return the first conflict, and the caller rolls back."""
    import psycopg

    try:
        with connection.transaction(), _together(connection):
            groups = arrange(targets, {name: table.shape for name, table in tables.items()})
            sent = [_send(connection, tables[group[0].table], group) for group in groups]
            connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
            return next((problem for each in sent if (problem := _problem(each))), "")
    except (_DependsError, psycopg.IntegrityError):  # another order may do what this one did not
        return _swap_patiently(connection, targets, tables)
    except (psycopg.DataError, psycopg.errors.RaiseException) as error:
        return _refused(error)


class _DependsError(Exception):
    """The database would change or remove other rows along; never leaves this module."""


def _swap_patiently(connection: Connection, targets: Sequence[Change], tables: Mapping[str, Table]) -> str:
    """Swap one row at a time, newest first, but put off what refers to a row that is not back yet, while any moves.

    The changes of one row stay in their order.
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
                with connection.transaction(), _together(connection):
                    sent = _send(connection, tables[change.table], [change])
                    connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
                    problem = _problem(sent)
            except _DependsError as error:
                return str(error)
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


@contextlib.contextmanager
def _together(connection: Connection) -> Iterator[None]:
    """Send without waiting for each answer, where libpq can (14 and newer)."""
    import psycopg

    with connection.pipeline() if psycopg.Pipeline.is_supported() else contextlib.nullcontext():
        yield


@dataclass(frozen=True, slots=True)
class _Sent:
    """What was asked about a group of changes of one table and kind, and done to it; answers may be on their way."""

    table: Table
    changes: Sequence[Change]
    found: Cursor
    came_out: Cursor | None
    dependents: Sequence[tuple[str, Cursor]]


def _send(connection: Connection, table: Table, changes: Sequence[Change]) -> _Sent:
    """Ask how the rows are and what depends on them, swap them, and ask how they came out."""
    first = changes[0]
    images = array_of([change.after or change.before for change in changes])
    found = _ask(connection, table, images)
    dependents = _dependents(connection, table, changes) if first.after is not None else []
    record = f"json_populate_record(NULL::{_sql(table.quoted)}, i.{{}})"
    if first.before is None:
        statement = f"""DELETE FROM {_sql(table.quoted)} t
            USING json_array_elements(%(images)s::json) i (image), LATERAL {record.format("image")} o
            WHERE {_at_key(table)}"""
        connection.execute(statement.encode(), {"images": images})
        return _Sent(table, changes, found, None, dependents)
    kept = json.loads(first.before)
    columns = [_sql(quoted_name(column)) for column in table.columns if column in kept]
    befores = array_of([change.before for change in changes])
    if first.after is None:
        statement = f"""INSERT INTO {_sql(table.quoted)} ({", ".join(columns)}) OVERRIDING SYSTEM VALUE
            SELECT {", ".join(f"n.{column}" for column in columns)}
            FROM json_array_elements(%(befores)s::json) WITH ORDINALITY i (before, place),
            LATERAL {record.format("before")} n ORDER BY i.place"""
        connection.execute(statement.encode(), {"befores": befores})
    else:
        key = {_sql(quoted_name(column)) for column in table.key}
        setting = ", ".join(f"{column} = n.{column}" for column in columns if column not in key)
        if setting:
            statement = f"""UPDATE {_sql(table.quoted)} t SET {setting}
                FROM ROWS FROM (json_array_elements(%(images)s::json), json_array_elements(%(befores)s::json))
                i (image, before), LATERAL {record.format("image")} o, LATERAL {record.format("before")} n
                WHERE {_at_key(table)}"""
            connection.execute(statement.encode(), {"images": images, "befores": befores})
    return _Sent(table, changes, found, _ask(connection, table, befores), dependents)


def _ask(connection: Connection, table: Table, images: str) -> Cursor:
    """Ask for the rows with the keys of ``images``, each with its place among them."""
    query = f"""SELECT i.place, row_to_json(t)::text
        FROM json_array_elements(%s::json) WITH ORDINALITY i (image, place),
        LATERAL json_populate_record(NULL::{_sql(table.quoted)}, i.image) o, {_sql(table.quoted)} t
        WHERE {_at_key(table)}"""
    return connection.execute(query.encode(), (images,))


def _dependents(connection: Connection, table: Table, changes: Sequence[Change]) -> list[tuple[str, Cursor]]:
    """Ask for rows that the database would change or remove along with these."""
    asked = []
    for referrer in table.referrers:
        meant = [(place, change.after) for place, change in enumerate(changes) if _goes_along(change, referrer)]
        if not meant:
            continue
        match = " AND ".join(
            f"c.{_sql(quoted_name(one))} = o.{_sql(quoted_name(other))}"
            for one, other in zip(referrer.columns, referrer.refers_to, strict=True)
        )
        query = f"""SELECT (%s::int[])[i.place] FROM json_array_elements(%s::json) WITH ORDINALITY i (image, place),
            LATERAL json_populate_record(NULL::{_sql(table.quoted)}, i.image) o
            WHERE EXISTS (SELECT FROM {_sql(referrer.table)} c WHERE {match}) ORDER BY 1 LIMIT 1"""
        places, images = [place for place, _ in meant], array_of([image for _, image in meant])
        asked.append((referrer.table, connection.execute(query.encode(), (places, images))))
    return asked


def array_of(images: Sequence[str | None]) -> str:
    """Return one JSON text of all of them, each as it stands; much cheaper to send than an array of texts."""
    return f"[{','.join(image or 'null' for image in images)}]"


def _goes_along(change: Change, referrer: Referrer) -> bool:
    """Return whether what refers to this row is changed or removed with it."""
    if change.before is None or change.after is None:
        return referrer.on_delete
    if not referrer.on_update:
        return False
    after, before = json.loads(change.after), json.loads(change.before)
    return any(after.get(column) != before.get(column) for column in referrer.refers_to)


def _problem(sent: _Sent) -> str:
    """Return why it must not be. Raises _DependsError, and what the database said."""
    found: dict[int, str] = dict(sent.found.fetchall())
    for place, change in enumerate(sent.changes, 1):
        if not _same(found.get(place), change.after, sent.table):
            return f"{where(change)}: it is not as that change left it"
    for table, cursor in sent.dependents:
        if row := cursor.fetchone():
            raise _DependsError(f"{where(sent.changes[row[0]])}: rows of {clean(table)} depend on it")
    came_out: dict[int, str] = dict(sent.came_out.fetchall()) if sent.came_out is not None else {}
    for place, change in enumerate(sent.changes, 1):
        if not _same(came_out.get(place), change.before, sent.table):
            return f"{where(change)}: it does not come out as it was"
    return ""


def _same(one: str | None, other: str | None, table: Table) -> bool:
    """Return whether two images agree in the columns that both have and the table has still; or neither is there."""
    if one is None or other is None or one == other:
        return one == other
    first, second = (json.loads(text, parse_float=_exact, parse_int=_exact) for text in (one, other))
    columns = first.keys() & second.keys() & set(table.columns)
    return all(first[column] == second[column] for column in columns)


def _exact(text: str) -> tuple[str]:
    """Keep a number as it is written: as a float it would be another."""
    return (text,)


def _refused(error: Exception) -> str:
    return f"the database refuses: {clean(str(error))}"


def _at_key(table: Table) -> str:
    """Return the condition for the row ``t`` with the key of the record ``o``."""
    return " AND ".join(f"t.{name} = o.{name}" for name in (_sql(quoted_name(column)) for column in table.key))


def _sql(name: str) -> str:
    """Return a quoted name as it is written in a statement with parameters."""
    return name.replace("%", "%%")
