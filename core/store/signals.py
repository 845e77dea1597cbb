"""Signals out of the inbox, and into it. Agents write there: a row that makes no sense is skipped and counted."""

from __future__ import annotations

import json
import math
import os
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ..clock import iso, parse_iso
from ..model import Signal, SignalKind
from ..text import clean, clean_lines
from . import inbox
from .connections import Connections

if TYPE_CHECKING:
    from .store import Store

LONGEST_TEXT = 10_000
"""Characters of a signal's text, and of each text in its attributes, that are read."""
_BATCH = 5_000
_MOST_NAMES = 500
"""Names of one agent and kind that are looked at: an agent could report ever new ones."""
_DEEPEST = 16  # levels of attributes; what is stored later must not run into anybody's recursion limit
# Cut by SQLite, so that a huge value never becomes a Python object; cut JSON does not parse, and so counts as damaged.
_COLUMNS = (
    "seq, substr(at, 1, 64), substr(agent, 1, 2000), substr(kind, 1, 64), substr(name, 1, 2000), value,"
    f" substr(text, 1, {LONGEST_TEXT}), substr(unit, 1, 64), substr(attrs, 1, {inbox.LONGEST})"
)

# The names are found by leaps in the index ("loose index scan"): GROUP BY would read every signal that is kept.
_POSITIONS = """
    WITH RECURSIVE known (kind, name) AS (
        SELECT kind, (SELECT MIN(name) FROM signal WHERE agent = :agent AND signal.kind = wanted.kind)
        FROM (SELECT 'metric' AS kind UNION ALL SELECT 'data' UNION ALL SELECT 'state') AS wanted
        UNION ALL
        SELECT kind, (SELECT MIN(signal.name) FROM signal
            WHERE agent = :agent AND signal.kind = known.kind AND signal.name > known.name)
        FROM known WHERE name IS NOT NULL
        LIMIT :most
    )
    SELECT kind, name, (SELECT MAX(seq) FROM signal
        WHERE agent = :agent AND signal.kind = known.kind AND signal.name = known.name)
    FROM known WHERE name IS NOT NULL
"""


class Signals:
    """The signals of one repository; safe between threads and processes."""

    damaged: int
    """How many rows this reader skipped since it was opened."""

    def __init__(self, source: Store | str | os.PathLike[str]) -> None:
        """Take a store, or the path of an inbox, which is made where it is missing. Raises StoreError."""
        path = Path(source) if isinstance(source, (str, os.PathLike)) else source.paths.inbox_db
        self._connections = Connections(path, lambda: _connect(path))
        self.damaged = 0
        self._skipped = (0, 0)

    def put(self, signals: Sequence[Signal]) -> int:
        """Write ``signals`` in one transaction; return the place of the last, 0 where there was none."""
        with self._connections.reading() as connection:
            return inbox.put(
                connection,
                [
                    (iso(s.at), s.agent, s.kind.value, s.name, s.value, s.text, s.unit, json.dumps(dict(s.attrs)))
                    for s in signals
                ],
            )

    def since(self, seq: int, limit: int = 5000) -> list[Signal]:
        """Return the first ``limit`` readable signals behind place ``seq``, in order, their text cleaned."""
        found: list[Signal] = []
        first, last = self._skipped
        position = last if first <= seq < last else seq
        with self._connections.reading() as connection:
            while len(found) < limit:
                rows = connection.execute(
                    f"SELECT {_COLUMNS} FROM signal WHERE seq > ? ORDER BY seq LIMIT ?",  # noqa: S608 - constants
                    (position, min(limit - len(found), _BATCH)),
                ).fetchall()
                if not rows:
                    break
                position = rows[-1][0]
                found += self._readable(rows)
        if not found:
            # A caller whose newest signal is ``seq`` asks from there again: do not read and count the damage twice.
            self._skipped = (seq, position)
        return found

    def last_seq(self) -> int:
        """Return the place of the newest signal, 0 where there is none."""
        with self._connections.reading() as connection:
            return int(connection.execute("SELECT COALESCE(MAX(seq), 0) FROM signal").fetchone()[0])

    def recent(self, agent: str, name: str, limit: int) -> list[Signal]:
        """Return the newest ``limit`` signals of that agent and name, oldest first, without the damaged among them."""
        with self._connections.reading() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM signal WHERE agent = ? AND name = ? ORDER BY seq DESC LIMIT ?",  # noqa: S608
                (agent, name, limit),
            ).fetchall()
        return [signal for signal in map(_read, reversed(rows)) if signal is not None]

    def said(self, agent: str, beginning: str, after: int, limit: int = 1_000) -> list[tuple[int, str]]:
        """Return the messages of ``agent`` behind place ``after`` that begin so, in order: place and cleaned text."""
        with self._connections.reading() as connection:
            rows = connection.execute(
                f"SELECT seq, substr(text, 1, {LONGEST_TEXT}) FROM signal"  # noqa: S608 - a constant
                " WHERE agent = ? AND kind = 'message' AND seq > ? AND substr(text, 1, ?) = ? ORDER BY seq LIMIT ?",
                (agent, after, len(beginning), beginning, limit),
            ).fetchall()
        return [(seq, clean_lines(str(text or ""))) for seq, text in rows]

    def positions(self, agent: str) -> dict[tuple[SignalKind, str], int]:
        """Return the place of the newest metric, data or state signal of ``agent``, by kind and name. Cheap."""
        with self._connections.reading() as connection:
            rows = connection.execute(_POSITIONS, {"agent": agent, "most": _MOST_NAMES}).fetchall()
        return {(SignalKind(kind), clean(str(name))): seq for kind, name, seq in rows}

    def newest(self, agent: str) -> dict[str, Signal]:
        """Return the newest metric or data signal of each name of ``agent``, by name; damaged ones are left out."""
        places = [seq for (kind, _), seq in self.positions(agent).items() if kind is not SignalKind.STATE]
        return {signal.name: signal for signal in self.at(sorted(places))}

    def at(self, places: Sequence[int]) -> list[Signal]:
        """Return the signals at these places, in their order, without those that are damaged or gone."""
        with self._connections.reading() as connection:
            query = f"SELECT {_COLUMNS} FROM signal WHERE seq = ?"  # noqa: S608 - constants
            rows = [connection.execute(query, (seq,)).fetchone() for seq in places]
        return [signal for row in rows if row is not None and (signal := _read(row)) is not None]

    def values(self, agent: str, name: str, limit: int) -> tuple[float, ...]:
        """Return the newest ``limit`` finite numbers of that agent and name, oldest first."""
        with self._connections.reading() as connection:
            rows = connection.execute(
                "SELECT value FROM signal WHERE agent = ? AND name = ? AND typeof(value) IN ('real', 'integer')"
                " ORDER BY seq DESC LIMIT ?",
                (agent, name, limit),
            ).fetchall()
        return tuple(float(value) for (value,) in reversed(rows) if math.isfinite(value))

    def of_kind(self, agent: str, kind: SignalKind, limit: int) -> list[Signal]:
        """Return the newest ``limit`` signals of that agent and kind, oldest first, without the damaged among them."""
        with self._connections.reading() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM signal WHERE agent = ? AND kind = ? ORDER BY seq DESC LIMIT ?",  # noqa: S608
                (agent, kind.value, limit),
            ).fetchall()
        return [signal for signal in map(_read, reversed(rows)) if signal is not None]

    def prune(self, before: datetime) -> int:
        """Delete the signals that came in before that time; return how many. In steps, so that writers get between."""
        deleted = 0
        while True:
            with self._connections.transaction() as connection:
                gone = connection.execute(
                    "DELETE FROM signal WHERE seq IN (SELECT seq FROM signal WHERE received < ? LIMIT ?)",
                    (before.timestamp(), _BATCH),
                ).rowcount
            deleted += gone
            if gone < _BATCH:
                return deleted

    def close(self) -> None:
        """Close the connections; a later use is a StoreError."""
        self._connections.close()

    def _readable(self, rows: Sequence[tuple[object, ...]]) -> list[Signal]:
        signals = [signal for signal in map(_read, rows) if signal is not None]
        self.damaged += len(rows) - len(signals)
        return signals


def _connect(path: Path) -> sqlite3.Connection:
    connection = inbox.connect(str(path))
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return connection


def _read(row: tuple[object, ...]) -> Signal | None:
    """Return the signal of a row of `_COLUMNS`; ``None`` where it is damaged."""
    seq, at, agent, kind, name, value, text, unit, attrs = row
    try:
        told = json.loads(_text(attrs))
        if not isinstance(seq, int) or not isinstance(told, dict):
            return None
        return Signal(
            at=parse_iso(_text(at)),
            agent=clean(_text(agent)),
            kind=SignalKind(_text(kind)),
            name=clean(_text(name)),
            value=None if value is None else _number(value),
            text=None if text is None else clean_lines(_text(text), limit=LONGEST_TEXT),
            unit=None if unit is None else clean(_text(unit), limit=32),
            attrs={clean(key): _cleaned(item) for key, item in told.items()},
            seq=seq,
        )
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"not a text: {type(value).__name__}")
    return value


def _number(value: object) -> float:
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError("not a finite number")
    return float(value)


def _cleaned(value: object, depth: int = 0) -> object:
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    if isinstance(value, str):
        return clean_lines(value, limit=LONGEST_TEXT)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        _number(value)  # an integer too great for a float is damage, too
        return value
    if isinstance(value, dict):
        return {clean(str(key)): _cleaned(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_cleaned(item, depth + 1) for item in value]
    return value
