"""The triggers that record the rows of one SQLite table, and how a value stands in the record.

A row's image is a JSON object of each column's value as an SQL literal (``quote()``, which keeps types and every bit
of a number: https://www.sqlite.org/lang_corefunc.html#quote); a text with a NUL in it, which ``quote()`` cuts off, is
``T`` and its bytes in hexadecimal. ``INSERT OR REPLACE`` removes rows without firing a delete trigger: what would
collide with the new row is noted before and recorded as gone after.
"""

# ruff: noqa: S608  every name in a statement is quoted, and every value bound or quoted

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from .capture import no_primary_key, no_such_table

TABLES = """
CREATE TABLE IF NOT EXISTS rollcage_change (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    turn INTEGER,
    agent TEXT,
    tbl TEXT NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    before TEXT,
    after TEXT,
    reverts INTEGER,
    operation TEXT
);
CREATE INDEX IF NOT EXISTS rollcage_change_of_row ON rollcage_change (tbl, key, number);
CREATE INDEX IF NOT EXISTS rollcage_change_of_agent ON rollcage_change (agent, number);
CREATE INDEX IF NOT EXISTS rollcage_change_of_operation ON rollcage_change (operation) WHERE operation IS NOT NULL;
CREATE TABLE IF NOT EXISTS rollcage_writer (
    one INTEGER PRIMARY KEY CHECK (one = 1), agent TEXT, turn INTEGER NOT NULL, reverts INTEGER, operation TEXT
);
INSERT OR IGNORE INTO rollcage_writer VALUES (1, NULL, 0, NULL, NULL);
CREATE TABLE IF NOT EXISTS rollcage_captured (tbl TEXT PRIMARY KEY, columns TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS rollcage_pending (tbl TEXT NOT NULL, key TEXT NOT NULL, before TEXT NOT NULL, sure INTEGER)
"""
"""``turn`` is the transaction: it grows with each writer that names itself."""
OUR_TABLES = ("rollcage_change", "rollcage_writer", "rollcage_captured", "rollcage_pending")
TURN = (
    "CREATE TRIGGER rollcage_turn AFTER UPDATE OF agent ON rollcage_writer WHEN NEW.agent IS NOT NULL"
    " BEGIN UPDATE rollcage_writer SET turn = turn + 1; END"
)
_PAIRS = 50
"""Columns in one ``json_object``: SQLite's functions take 127 arguments at most."""
_VALUE = re.compile(r"(?P<null>NULL)|(?P<whole>-?\d+)|(?P<blob>X'(?:[0-9A-F]{2})*')|(?P<raw>T[0-9A-F]*)", re.IGNORECASE)

Value = int | float | str | bytes | None


@dataclass(frozen=True, slots=True)
class Table:
    """What is needed to know of a table; generated columns left out."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    """Its primary key."""
    is_rowid: bool
    """The key is one column INTEGER: before an insert its value may not be known."""
    unique: tuple[tuple[tuple[str, str], ...], ...]
    """The columns and collations of each further unique index over whole columns and all rows."""

    @property
    def at_key(self) -> str:
        """Return the condition for a row by its key, one parameter for each of its columns."""
        return " AND ".join(f"{quoted(column)} IS ?" for column in self.key)

    def image(self, row: str) -> str:
        """Return the expression of the image of ``row``: NEW, OLD or the name of the table."""
        parts = [
            "json_object("
            + ", ".join(
                f"{literal(column)}, {_encoded(row, column)}" for column in self.columns[start : start + _PAIRS]
            )
            + ")"
            for start in range(0, len(self.columns), _PAIRS)
        ]
        image = parts[0]
        for part in parts[1:]:
            image = f"json_patch({image}, {part})"
        return image

    def key_of(self, row: str) -> str:
        """Return the expression of the key of ``row``."""
        return f"json_array({', '.join(_encoded(row, column) for column in self.key)})"

    def triggers(self) -> dict[str, str]:
        """Return the triggers that record it, by name."""
        old, new = self.key_of("OLD"), self.key_of("NEW")
        before, after = self.image("OLD"), self.image("NEW")
        collides = " OR ".join([self._meets(self._key_pairs), *(f"({self._meets(index)})" for index in self.unique)])
        # Where the key is not given yet, SQLite shows -1 for it; then only what another index says is sure.
        sure = f"({' OR '.join(self._meets(index) for index in self.unique) or '0'})" if self.is_rowid else "1"
        table, forget = quoted(self.name), f"DELETE FROM rollcage_pending WHERE tbl = {literal(self.name)};"
        note = (
            f"{forget} INSERT INTO rollcage_pending SELECT {literal(self.name)}, {self.key_of(table)},"
            f" {self.image(table)}, {sure} FROM {table} WHERE ({collides})"
        )
        replaced = (
            self._record(
                "D", "p.key", "p.before", "NULL", f"p.tbl = {literal(self.name)} AND (p.sure OR p.key = {new})", "p"
            )
            + forget
        )
        bodies = {
            "BEFORE INSERT": f"{note};",
            "AFTER INSERT": replaced + self._record("I", new, "NULL", after),
            "BEFORE UPDATE": f"{note} AND {self.key_of(table)} <> {old};",
            "AFTER UPDATE": replaced
            + self._record("U", new, before, after, f"{old} = {new} AND {before} <> {after}")
            + self._record("D", old, before, "NULL", f"{old} <> {new}")
            + self._record("I", new, "NULL", after, f"{old} <> {new}"),
            "AFTER DELETE": f"DELETE FROM rollcage_pending WHERE tbl = {literal(self.name)} AND key = {old};"
            + self._record("D", old, before, "NULL"),
        }
        found = {}
        for moment, body in bodies.items():
            name = f"rollcage_{moment.replace(' ', '_').lower()}_{self.name}"
            found[name] = f"CREATE TRIGGER {quoted(name)} {moment} ON {table} BEGIN {body} END"
        return found

    @property
    def _key_pairs(self) -> tuple[tuple[str, str], ...]:
        return tuple((column, "") for column in self.key)

    def _meets(self, index: Sequence[tuple[str, str]]) -> str:
        return " AND ".join(
            f"{quoted(self.name)}.{quoted(column)} = NEW.{quoted(column)}{f' COLLATE {quoted(rule)}' if rule else ''}"
            for column, rule in index
        )

    def _record(self, kind: str, key: str, before: str, after: str, where: str = "1", source: str = "") -> str:
        rows = f"rollcage_pending AS {source}" if source else "(SELECT 1)"
        return (
            "INSERT INTO rollcage_change (at, turn, agent, tbl, kind, key, before, after, reverts, operation)"
            " SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), CASE WHEN w.agent IS NOT NULL THEN w.turn END, w.agent,"
            f" {literal(self.name)}, '{kind}', {key}, {before}, {after}, w.reverts, w.operation"
            f" FROM {rows} LEFT JOIN rollcage_writer AS w ON w.one = 1 WHERE {where};"
        )


def read_table(connection: sqlite3.Connection, name: str) -> Table:
    """Return what ``name`` looks like now. Raises RefusedError where it is not there or has no primary key."""
    found = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name = ? COLLATE NOCASE", (name,)
    ).fetchone()
    if found is None:
        raise no_such_table(name)
    name = str(found[0])
    rows = connection.execute("SELECT name, type, pk, hidden FROM pragma_table_xinfo(?)", (name,)).fetchall()
    columns = tuple(str(column) for column, _, _, hidden in rows if not hidden)
    key = tuple(str(column) for column, _, number, _ in sorted(rows, key=lambda row: row[2]) if number)
    if not key:
        raise no_primary_key(name)
    kinds = {column: kind for column, kind, _, _ in rows}
    unique = []
    indexes = connection.execute('SELECT name, "unique", origin, partial FROM pragma_index_list(?)', (name,)).fetchall()
    for index, is_unique, origin, partial in indexes:
        parts = connection.execute("SELECT name, coll FROM pragma_index_xinfo(?) WHERE key", (index,)).fetchall()
        if is_unique and origin != "pk" and not partial and all(column is not None for column, _ in parts):
            unique.append(tuple((str(column), str(rule)) for column, rule in parts))
    is_rowid = len(key) == 1 and str(kinds[key[0]]).upper() == "INTEGER"
    return Table(name, columns, key, is_rowid, tuple(sorted(unique)))


def value_of(text: str) -> Value:
    """Return the value that stands as ``text`` in an image: no UTF-8 as surrogates. Raises ValueError."""
    if text.startswith("'") and text.endswith("'") and len(text) > 1:
        return text[1:-1].replace("''", "'")
    found = _VALUE.fullmatch(text)
    if found is None:
        return float(text.replace("Inf", "inf"))
    if found["null"]:
        return None
    if found["whole"]:
        return int(text)
    if found["blob"]:
        return bytes.fromhex(text[2:-1])
    return bytes.fromhex(text[1:]).decode("utf-8", "surrogateescape")


def parameter(value: Value) -> tuple[str, Value]:
    """Return how a value is written in a statement, and what is bound there."""
    if isinstance(value, str):
        return "CAST(? AS TEXT)", value.encode("utf-8", "surrogateescape")
    return "?", value


def quoted(name: str) -> str:
    """Return ``name`` as an identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return ``text`` as a text literal."""
    return "'" + text.replace("'", "''") + "'"


def _encoded(row: str, column: str) -> str:
    value = f"{row}.{quoted(column)}"
    is_cut = f"typeof({value}) = 'text' AND instr({value}, char(0))"
    return f"CASE WHEN {is_cut} THEN 'T' || hex({value}) ELSE quote({value}) END"
