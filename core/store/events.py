"""The event table: the lines of ``--auto --json``, numbered for ever."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ..clock import iso, parse_iso
from ..model import Event
from .tables import Tables, json_of


class Events(Tables):
    """What happened, in order. The newest ``seq`` tells a console whether it is up to date."""

    def append_event(self, event: str, body: Mapping[str, object]) -> Event:
        """Write an event at the end; return it. Places are in the order of writing, without a later one before it."""
        at, text = self.clock.now(), json_of(dict(body))
        with self._connections.transaction() as connection:
            seq = connection.execute(
                "INSERT INTO event (at, event, body) VALUES (?, ?, ?)", (iso(at), event, text)
            ).lastrowid
        assert seq is not None
        return Event(seq, at, event, json.loads(text))

    def events_since(self, seq: int, limit: int = 1000) -> list[Event]:
        """Return the first ``limit`` events behind place ``seq``, oldest first."""
        return self._events("SELECT seq, at, event, body FROM event WHERE seq > ? ORDER BY seq LIMIT ?", seq, limit)

    def recent_events(self, limit: int) -> list[Event]:
        """Return the newest ``limit`` events, oldest first."""
        return self._events("SELECT seq, at, event, body FROM event ORDER BY seq DESC LIMIT ?", limit)[::-1]

    def last_seq(self) -> int:
        """Return the place of the newest event, 0 where there is none."""
        with self._connections.reading() as connection:
            return int(connection.execute("SELECT COALESCE(MAX(seq), 0) FROM event").fetchone()[0])

    def _events(self, query: str, *parameters: int) -> list[Event]:
        with self._connections.reading() as connection:
            return [_event(row) for row in connection.execute(query, parameters)]


def _event(row: tuple[int, str, str, str]) -> Event:
    seq, at, event, body = row
    return Event(seq, parse_iso(at), event, json.loads(body))
