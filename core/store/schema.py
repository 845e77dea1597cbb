"""The schema of ``state.db``. Nouns are JSON bodies (`rollcage.core.codec`) beside the columns that are searched.

``seq`` is the order of first writing. A migration that was released is never changed: a new one is added behind it.
"""

from __future__ import annotations

MIGRATIONS = (
    """
    CREATE TABLE event (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL,
        event TEXT NOT NULL,
        body TEXT NOT NULL
    );
    CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE incident (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        open INTEGER NOT NULL,
        body TEXT NOT NULL
    );
    CREATE INDEX incident_open ON incident (seq) WHERE open;
    CREATE TABLE diagnosis (seq INTEGER PRIMARY KEY AUTOINCREMENT, incident TEXT NOT NULL, body TEXT NOT NULL);
    CREATE INDEX diagnosis_of_incident ON diagnosis (incident, seq);
    CREATE TABLE option (
        id TEXT PRIMARY KEY,
        incident TEXT NOT NULL,
        rank INTEGER NOT NULL,
        body TEXT NOT NULL,
        plan TEXT NOT NULL
    );
    CREATE INDEX option_of_incident ON option (incident, rank);
    CREATE TABLE decision (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL,
        incident TEXT NOT NULL,
        option TEXT NOT NULL,
        plan_hash TEXT NOT NULL,
        verdict TEXT NOT NULL,
        by TEXT NOT NULL,
        reason TEXT NOT NULL,
        taken INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX decision_of_incident ON decision (incident);
    CREATE INDEX decision_of_option ON decision (option);
    CREATE INDEX decision_untaken ON decision (id) WHERE NOT taken;
    CREATE TABLE rollback (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL,
        body TEXT NOT NULL
    );
    CREATE TABLE step (
        rollback TEXT NOT NULL,
        number INTEGER NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (rollback, number)
    );
    CREATE TABLE snapshot (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL);
    CREATE TABLE hold (
        agent TEXT PRIMARY KEY,
        hold TEXT NOT NULL,
        since TEXT NOT NULL,
        reason TEXT NOT NULL,
        stopped INTEGER NOT NULL,
        generation INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE good (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        sha TEXT NOT NULL,
        tree TEXT NOT NULL,
        checks_hash TEXT NOT NULL,
        at TEXT NOT NULL,
        UNIQUE (checks_hash, sha)
    );
    CREATE TABLE check_outcome (
        tree TEXT NOT NULL,
        definition TEXT NOT NULL,
        at TEXT NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (tree, definition)
    );
    CREATE TABLE note (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE audit (seq INTEGER PRIMARY KEY, body TEXT NOT NULL, hash TEXT NOT NULL);
    CREATE TABLE audit_head (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, hash TEXT NOT NULL)
    """,
    """
    CREATE TABLE checkpoint (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        sha TEXT NOT NULL,
        body TEXT NOT NULL
    );
    CREATE INDEX checkpoint_of_commit ON checkpoint (sha);
    CREATE TABLE outgoing (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        open INTEGER NOT NULL,
        body TEXT NOT NULL
    );
    CREATE INDEX outgoing_open ON outgoing (seq) WHERE open
    """,
)
