"""What is remembered of Issues, durably, in ``issues.db``: intents, the versions that callers saw, and who wrote what.

The audit chain of Issues is one of its own: agents write Issues, and only operators write ``state.db``.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from ..clock import Clock, iso, parse_iso
from ..store.audit import Audit
from ..store.connections import Connections
from ..store.paths import RepositoryPaths
from .issue import Draft, Issue, version_of
from .local import open_connections
from .rows import row_of, text, texts
from .values import name_key

VERSIONS, VERSIONS_IN_ALL = 64, 20_000
"""So many versions are kept of one Issue, and of all."""
_OFTEN, _SWEEP = 8, 64
"""Every so many versions the oldest are forgotten, of one Issue and of all."""
INTENTS = 20_000
"""So many creations that are done are remembered."""

SENT, DONE, FAILED = "sent", "done", "failed"


@dataclass(frozen=True, slots=True)
class Intent:
    """A creation that somebody means to do, written down before it is sent."""

    id: str
    """The marker in the body is made of it."""
    identity: str
    draft: Draft
    holder: str
    state: str
    """sent: maybe it was; done; failed: nothing of it is open."""
    since: datetime
    number: int | None = None


Fields = Mapping[str, object]
"""Some of `rollcage.core.issues.issue.FIELDS`, each with its value."""


def fields_of(issue: Issue) -> dict[str, object]:
    """Return what rollcage writes of ``issue``."""
    return {
        "title": issue.title,
        "body": issue.body,
        "state": issue.state,
        "labels": issue.labels,
        "assignees": issue.assignees,
    }


class Records(Audit):
    """The records of one repository's Issues; each write is one durable transaction, or joins one.

    All raise StoreError.
    """

    def __init__(self, connections: Connections, clock: Clock) -> None:
        """Take the connections of `rollcage.core.issues.local.open_connections`, whose owner closes them."""
        self._connections, self.clock = connections, clock

    @classmethod
    def open(cls, paths: RepositoryPaths, clock: Clock) -> Self:
        """Open the records by themselves, without a desk; to be closed. Raises StoreError."""
        return cls(open_connections(paths), clock)

    def close(self) -> None:
        """Close what `open` opened; a later use is a StoreError."""
        self._connections.close()

    def lies_in(self, connections: Connections) -> bool:
        """Tell whether the records are written in the transactions of ``connections``."""
        return self._connections is connections

    def connected(self) -> AbstractContextManager[sqlite3.Connection]:
        """Write all within or nothing, as `transaction` does; gives the connection, for fence and journal."""
        return self._connections.transaction()

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """Give the connection to read from."""
        return self._connections.reading()

    def has_unfinished(self) -> bool:
        """Tell whether a batch, a creation or a write elsewhere was begun and not brought to its end yet."""
        with self._connections.reading() as connection:
            query = (
                "SELECT EXISTS (SELECT 1 FROM batch WHERE state IN ('running', 'undoing'))"
                " OR EXISTS (SELECT 1 FROM intent WHERE state = 'sent') OR EXISTS (SELECT 1 FROM in_flight)"
            )
            return bool(connection.execute(query).fetchone()[0])

    # Versions.

    def saw(self, issue: Issue) -> Issue:
        """Remember ``issue`` as somebody sees it, so that what they want of it can be merged; return it."""
        body = issue.written
        version = version_of(body)
        with self._connections.reading() as connection:
            if not connection.in_transaction:  # only then it saves something: a durable write of what is known
                query = "SELECT 1 FROM seen WHERE number = ? AND version = ?"
                if connection.execute(query, (issue.number, version)).fetchone() is not None:
                    return issue
        with self._connections.transaction() as connection:
            seq = connection.execute(
                "INSERT OR IGNORE INTO seen (number, version, body) VALUES (?, ?, ?)", (issue.number, version, body)
            ).lastrowid
            if seq and seq % _SWEEP == 0:
                connection.execute("DELETE FROM seen WHERE seq <= ?", (seq - VERSIONS_IN_ALL,))
            if seq and seq % _OFTEN == 0:
                connection.execute(
                    "DELETE FROM seen WHERE number = ?1 AND seq <= ("
                    "SELECT seq FROM seen WHERE number = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
                    (issue.number, VERSIONS),
                )
        return issue

    def seen(self, number: int, version: str) -> dict[str, object] | None:
        """Return the fields of the Issue as they were in ``version``; ``None``: it is not known (any more)."""
        with self._connections.reading() as connection:
            row = connection.execute(
                "SELECT body FROM seen WHERE number = ? AND version = ?", (number, version)
            ).fetchone()
        if row is None:
            return None
        with row_of(f"a version of Issue {number}"):
            title, body, state, labels, assignees = json.loads(row[0])
            return {
                "title": text(title),
                "body": text(body),
                "state": text(state),
                "labels": texts(labels),
                "assignees": texts(assignees),
            }

    def label_added(self, number: int, label: str) -> None:
        """Remember that rollcage added this label now: of contradictory ones the newest counts."""
        with self._connections.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO label_added"
                " SELECT ?, ?, COALESCE(MAX(seq), 0) + 1 FROM label_added WHERE number = ?",
                (number, name_key(label), number),
            )

    def labels_added(self, number: int) -> dict[str, int]:
        """Return the labels that rollcage added, by their keys, with a number that grows in the order of adding."""
        with self._connections.reading() as connection:
            return dict(connection.execute("SELECT key, seq FROM label_added WHERE number = ?", (number,)).fetchall())

    # Intents.

    def intend(self, intent: Intent) -> None:
        """Write an intent down, new or as it is now."""
        draft = intent.draft
        body = json.dumps([draft.title, draft.body, draft.labels, draft.assignees])
        with self._connections.transaction() as connection:
            connection.execute(
                "INSERT INTO intent VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
                " state = excluded.state, number = excluded.number",
                (intent.id, intent.identity, body, intent.holder, iso(intent.since), intent.state, intent.number),
            )

    def forget_intents(self) -> None:
        """Forget the oldest of the creations that came to an end, where there are too many."""
        with self._connections.transaction() as connection:
            connection.execute(
                "DELETE FROM intent WHERE state IN ('done', 'failed') AND since < ("
                "SELECT since FROM intent ORDER BY since DESC LIMIT 1 OFFSET ?)",
                (INTENTS,),
            )

    def intents(self, identity: str | None = None) -> list[Intent]:
        """Return the intents of ``identity``, newest first; without it those that nobody brought to an end yet."""
        with self._connections.reading() as connection:
            if identity is None:
                rows = connection.execute(f"{_INTENT} WHERE state = 'sent' ORDER BY since").fetchall()
            else:
                rows = connection.execute(f"{_INTENT} WHERE identity = ? ORDER BY since DESC", (identity,)).fetchall()
        return [_intent(row) for row in rows]

    def intent(self, name: str) -> Intent | None:
        """Return the intent with this id; ``None``: there is none (any more)."""
        with self._connections.reading() as connection:
            row = connection.execute(f"{_INTENT} WHERE id = ?", (name,)).fetchone()
        return None if row is None else _intent(row)

    # Who wrote what.

    def wrote(
        self,
        who: str,
        what: str,
        subject: str,
        *,
        before: Fields | None = None,
        after: Fields | None = None,
        token: int | None = None,
        why: str = "",
        outcome: str = "done",
    ) -> int:
        """Write a record of a write to Issues; ``before`` and ``after`` have just the fields that it changed."""
        detail = {"before": before or {}, "after": after or {}, "token": token}
        return self.audit(who, what, subject, why, outcome, detail)

    def now(self) -> str:
        """Return the time as it is recorded."""
        return iso(self.clock.now())


_INTENT = "SELECT id, identity, draft, holder, since, state, number FROM intent"


def _intent(row: tuple[Any, ...]) -> Intent:
    name, identity, draft, holder, since, state, number = row
    with row_of(f"creation {name}"):
        title, body, labels, assignees = json.loads(draft)
        wanted = Draft(text(title), text(body), texts(labels), texts(assignees))
        return Intent(text(name), text(identity), wanted, text(holder), text(state), parse_iso(since), number)
