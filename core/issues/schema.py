"""The schema of ``issues.db``. A migration that was released is never changed: a new one is added behind it.

A ``key`` is a name as it is compared: labels and people differ by more than their case, as on GitHub.
"""

from __future__ import annotations

from ..coordination.fence import FENCE_SCHEMA
from .inflight import IN_FLIGHT_SCHEMA

MIGRATIONS = (
    f"""
    CREATE TABLE issue (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        title TEXT NOT NULL,
        title_key TEXT NOT NULL,
        body TEXT NOT NULL,
        state TEXT NOT NULL,
        created TEXT NOT NULL,
        updated TEXT NOT NULL
    );
    CREATE INDEX issue_state ON issue (state, number);
    CREATE INDEX issue_by_title ON issue (title_key) WHERE state = 'open';
    CREATE TABLE issue_label (
        number INTEGER NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (number, key)
    ) WITHOUT ROWID;
    CREATE INDEX issue_by_label ON issue_label (key, number);
    CREATE TABLE issue_assignee (
        number INTEGER NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (number, key)
    ) WITHOUT ROWID;
    CREATE TABLE issue_blocker (
        number INTEGER NOT NULL, blocker INTEGER NOT NULL, PRIMARY KEY (number, blocker)
    ) WITHOUT ROWID;
    CREATE TABLE comment (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        issue INTEGER NOT NULL,
        body TEXT NOT NULL,
        author TEXT NOT NULL,
        created TEXT NOT NULL,
        updated TEXT NOT NULL
    );
    CREATE INDEX comment_of_issue ON comment (issue, id);
    CREATE TABLE label (
        key TEXT PRIMARY KEY, name TEXT NOT NULL, colour TEXT NOT NULL, description TEXT NOT NULL
    ) WITHOUT ROWID;

    CREATE TABLE intent (
        id TEXT PRIMARY KEY,
        identity TEXT NOT NULL,
        draft TEXT NOT NULL,
        holder TEXT NOT NULL,
        since TEXT NOT NULL,
        state TEXT NOT NULL,
        number INTEGER
    ) WITHOUT ROWID;
    CREATE INDEX intent_of_identity ON intent (identity);
    CREATE INDEX intent_open ON intent (state) WHERE state = 'sent';
    CREATE TABLE seen (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        number INTEGER NOT NULL,
        version TEXT NOT NULL,
        body TEXT NOT NULL,
        UNIQUE (number, version)
    );
    CREATE TABLE label_added (
        number INTEGER NOT NULL, key TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (number, key)
    ) WITHOUT ROWID;
    CREATE TABLE batch (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        holder TEXT NOT NULL,
        since TEXT NOT NULL,
        state TEXT NOT NULL
    );
    CREATE INDEX batch_open ON batch (seq) WHERE state IN ('running', 'undoing');
    CREATE TABLE batch_step (
        batch TEXT NOT NULL,
        position INTEGER NOT NULL,
        operation TEXT NOT NULL,
        state TEXT NOT NULL,
        inverse TEXT,
        note TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (batch, position)
    ) WITHOUT ROWID;
    CREATE TABLE audit (seq INTEGER PRIMARY KEY, body TEXT NOT NULL, hash TEXT NOT NULL);
    CREATE TABLE audit_head (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, hash TEXT NOT NULL);
    {FENCE_SCHEMA}
    """,
    # The outbox: what waits until the tracker can be reached; `rollcage.core.issues.outbox`.
    """
    CREATE TABLE outbox (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL,
        tracker TEXT NOT NULL,
        holder TEXT NOT NULL,
        scope TEXT,
        kind TEXT NOT NULL,
        args TEXT NOT NULL,
        bases TEXT NOT NULL,
        state TEXT NOT NULL,
        key TEXT NOT NULL DEFAULT '',
        number INTEGER,
        created INTEGER,
        note TEXT NOT NULL DEFAULT '',
        ours TEXT,
        theirs TEXT
    );
    CREATE INDEX outbox_open ON outbox (seq) WHERE state IN ('waiting', 'conflict');
    CREATE TABLE last_seen (number INTEGER PRIMARY KEY, at TEXT NOT NULL, body TEXT NOT NULL)
    """,
    # What agents are told of Issues, until they have said that they saw it; `rollcage.core.issues.notify`.
    """
    CREATE TABLE notification (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        agent TEXT NOT NULL,
        issue INTEGER,
        reason TEXT NOT NULL,
        text TEXT NOT NULL,
        sender TEXT NOT NULL,
        created TEXT NOT NULL,
        state TEXT NOT NULL,
        tries INTEGER NOT NULL DEFAULT 0,
        last_sent TEXT,
        ended TEXT
    );
    CREATE INDEX notification_open ON notification (agent, issue, reason) WHERE state IN ('new', 'sent')
    """,
    # What is on its way to GitHub; `rollcage.core.issues.inflight`.
    IN_FLIGHT_SCHEMA,
)
