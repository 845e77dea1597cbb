"""The tracker of this machine: Issues as rows of ``issues.db``. Each call is one durable transaction, or joins one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..clock import Clock, iso, parse_iso
from ..store.connections import Connections
from ..store.database import connect
from ..store.paths import RepositoryPaths
from .errors import TrackerRefusedError
from .identity import title_key
from .issue import BodyEdit, Budget, Comment, Draft, Issue
from .rows import row_of, text, texts
from .schema import MIGRATIONS
from .values import STATES, name_key

if TYPE_CHECKING:
    from .merge import Change

PAGE = 200
"""Issues that a listing reads at once."""
_ISSUE = """
    SELECT number, title, body, state, created, updated,
        (SELECT json_group_array(name) FROM issue_label WHERE number = issue.number),
        (SELECT json_group_array(name) FROM issue_assignee WHERE number = issue.number)
    FROM issue"""
_COMMENT = "SELECT id, issue, body, author, created, updated FROM comment"


def open_connections(paths: RepositoryPaths) -> Connections:
    """Open ``issues.db``, made and migrated where needed: what is committed survives a power cut. Raises StoreError."""
    return Connections(paths.issues_db, lambda: connect(str(paths.issues_db), MIGRATIONS, synchronous="FULL"))


class LocalTracker:
    """The Issues of one repository on this machine; see `rollcage.core.issues.tracker.Tracker` for each method.

    All that is called within ``connections.transaction()`` is written together or not at all.
    """

    kind = "local"

    def __init__(self, connections: Connections, clock: Clock, author: str = "") -> None:
        """Take the connections of `open_connections`, whose owner closes them; ``author`` signs comments."""
        self.connections = connections
        self._clock, self._author = clock, author

    def get(self, number: int) -> Issue:
        with self.connections.reading() as connection:
            return _issue(connection, number)

    def issues(
        self, *, state: str = "open", labels: tuple[str, ...] = (), since: datetime | None = None
    ) -> Iterator[Issue]:
        conditions, values = ["number < ?"], list[object]()
        if state != "all":
            conditions.append("state = ?")
            values.append(state)
        for label in labels:
            conditions.append("number IN (SELECT number FROM issue_label WHERE key = ?)")
            values.append(name_key(label))
        if since is not None:
            conditions.append("updated >= ?")
            values.append(iso(since))
        query = f"{_ISSUE} WHERE {' AND '.join(conditions)} ORDER BY number DESC LIMIT {PAGE}"
        last = 2**62
        while True:  # a page at a time: nobody's reading keeps the log of writes from being folded in
            with self.connections.reading() as connection:
                page = [_made(row) for row in connection.execute(query, (last, *values))]
            yield from page
            if len(page) < PAGE:
                return
            last = page[-1].number

    def like(self, title: str) -> list[Issue]:
        """Return the open Issues whose titles are the same for `rollcage.core.issues.identity`, lowest number first."""
        with self.connections.reading() as connection:
            query = f"{_ISSUE} WHERE title_key = ? AND state = 'open' ORDER BY number"
            return [_made(row) for row in connection.execute(query, (title_key(title),))]

    def create(self, draft: Draft) -> Issue:
        now = iso(self._clock.now())
        with self.connections.transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO issue (title, title_key, body, state, created, updated) VALUES (?, ?, ?, 'open', ?, ?)",
                (draft.title, title_key(draft.title), draft.body, now, now),
            )
            number = cursor.lastrowid or 0
            for table, names in (("issue_label", draft.labels), ("issue_assignee", draft.assignees)):
                for name in names:
                    _add_name(connection, table, number, name)
            return _issue(connection, number)

    def write(
        self, number: int, *, title: str | None = None, body: str | None = None, state: str | None = None
    ) -> Issue:
        given = {"title": title, "body": body, "state": state}
        with self.connections.transaction() as connection:
            changes = {field: value for field, value in given.items() if value is not None}
            if title is not None:
                changes["title_key"] = title_key(title)
            places = ", ".join(f"{field} = ?" for field in (*changes, "updated"))
            done = connection.execute(
                f"UPDATE issue SET {places} WHERE number = ?",  # noqa: S608 - names of ours
                (*changes.values(), iso(self._clock.now()), number),
            )
            if not done.rowcount:
                raise _missing(number)
            return _issue(connection, number)

    def change(self, current: Issue, change: Change) -> Issue:
        """Do the whole change of ``current``, which was read in the transaction that goes on; return what it is then.

        What is known need not be read again: half of the time of a safe update went there.
        """
        now, number, fields = iso(self._clock.now()), current.number, change.scalars
        with self.connections.transaction() as connection:
            values: dict[str, str] = {**fields, "updated": now}
            if change.title is not None:
                values["title_key"] = title_key(change.title)
            places = ", ".join(f"{field} = ?" for field in values)
            connection.execute(f"UPDATE issue SET {places} WHERE number = ?", (*values.values(), number))  # noqa: S608 - names of ours
            for name in change.add_labels:
                _add_name(connection, "issue_label", number, name)
            for name in change.remove_labels:
                _remove_name(connection, "issue_label", number, name)
            for name in change.add_assignees:
                _add_name(connection, "issue_assignee", number, name)
            for name in change.remove_assignees:
                _remove_name(connection, "issue_assignee", number, name)
        return Issue(
            number,
            fields.get("title", current.title),
            fields.get("body", current.body),
            fields.get("state", current.state),
            _changed(current.labels, change.add_labels, change.remove_labels),
            _changed(current.assignees, change.add_assignees, change.remove_assignees),
            current.created,
            parse_iso(now),
        )

    def add_label(self, number: int, label: str) -> None:
        self._change(number, lambda connection: _add_name(connection, "issue_label", number, label))

    def remove_label(self, number: int, label: str) -> None:
        self._change(number, lambda connection: _remove_name(connection, "issue_label", number, label))

    def add_assignee(self, number: int, name: str) -> None:
        self._change(number, lambda connection: _add_name(connection, "issue_assignee", number, name))

    def remove_assignee(self, number: int, name: str) -> None:
        self._change(number, lambda connection: _remove_name(connection, "issue_assignee", number, name))

    def booked(self, writes: int, *, creations: int = 0, looks: int = 0) -> AbstractContextManager[None]:
        """Book nothing: nobody limits it."""
        return nullcontext()

    def comment(self, number: int, body: str) -> Comment:
        now = iso(self._clock.now())
        with self.connections.transaction() as connection:
            self._touch(connection, number, now)
            cursor = connection.execute(
                "INSERT INTO comment (issue, body, author, created, updated) VALUES (?, ?, ?, ?, ?)",
                (number, body, self._author, now, now),
            )
            moment = parse_iso(now)
            return Comment(cursor.lastrowid or 0, number, body, self._author, moment, moment)

    def edit_comment(self, comment: Comment, body: str) -> Comment:
        now = iso(self._clock.now())
        with self.connections.transaction() as connection:
            self._touch(connection, comment.issue, now)
            connection.execute("UPDATE comment SET body = ?, updated = ? WHERE id = ?", (body, now, comment.id))
            row = connection.execute(f"{_COMMENT} WHERE id = ?", (comment.id,)).fetchone()
            if row is None:
                raise TrackerRefusedError(f"comment {comment.id} of Issue {comment.issue} is gone", 404)
            return _comment(row)

    def delete_comment(self, comment: Comment) -> None:
        with self.connections.transaction() as connection:
            self._touch(connection, comment.issue, iso(self._clock.now()))
            connection.execute("DELETE FROM comment WHERE id = ?", (comment.id,))

    def comments(self, number: int) -> Iterator[Comment]:
        with self.connections.reading() as connection:
            _must_exist(connection, number)
        last = 0
        while True:
            with self.connections.reading() as connection:
                rows = connection.execute(
                    f"{_COMMENT} WHERE issue = ? AND id > ? ORDER BY id LIMIT {PAGE}", (number, last)
                ).fetchall()
            yield from map(_comment, rows)
            if len(rows) < PAGE:
                return
            last = rows[-1][0]

    def body_edits(self, number: int, most: int = 20) -> tuple[BodyEdit, ...] | None:
        """Return ``None``: here nothing comes between what is read and what is written, both in one transaction."""
        return None

    def label_definitions(self) -> dict[str, tuple[str, str]]:
        with self.connections.reading() as connection:
            rows = connection.execute("SELECT name, colour, description FROM label ORDER BY key").fetchall()
        return {name: (colour, description) for name, colour, description in rows}

    def define_label(self, name: str, colour: str, description: str = "") -> None:
        with self.connections.transaction() as connection:
            connection.execute(
                "INSERT INTO label VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET"
                " colour = excluded.colour, description = excluded.description",
                (name_key(name), name, colour, description),
            )

    def blocked_by(self, number: int) -> tuple[int, ...]:
        with self.connections.reading() as connection:
            _must_exist(connection, number)
            rows = connection.execute(
                "SELECT blocker FROM issue_blocker WHERE number = ? ORDER BY blocker", (number,)
            ).fetchall()
        return tuple(row[0] for row in rows)

    def add_blocker(self, number: int, blocker: int) -> None:
        def add(connection: sqlite3.Connection) -> bool:
            _must_exist(connection, blocker)
            done = connection.execute("INSERT OR IGNORE INTO issue_blocker VALUES (?, ?)", (number, blocker))
            return bool(done.rowcount)

        self._change(number, add)

    def remove_blocker(self, number: int, blocker: int) -> None:
        def remove(connection: sqlite3.Connection) -> bool:
            done = connection.execute("DELETE FROM issue_blocker WHERE number = ? AND blocker = ?", (number, blocker))
            return bool(done.rowcount)

        self._change(number, remove)

    def budget(self) -> Budget | None:
        """Return ``None``: nobody limits it."""
        return None

    def close(self) -> None:
        """Do nothing: who opened the connections closes them."""

    def _change(self, number: int, change: Any) -> None:
        with self.connections.transaction() as connection:
            _must_exist(connection, number)
            if change(connection):
                self._touch(connection, number, iso(self._clock.now()))

    @staticmethod
    def _touch(connection: sqlite3.Connection, number: int, now: str) -> None:
        if not connection.execute("UPDATE issue SET updated = ? WHERE number = ?", (now, number)).rowcount:
            raise _missing(number)


def _issue(connection: sqlite3.Connection, number: int) -> Issue:
    row = connection.execute(f"{_ISSUE} WHERE number = ?", (number,)).fetchone()
    if row is None:
        raise _missing(number)
    return _made(row)


def _made(row: tuple[Any, ...]) -> Issue:
    number, title, body, state, created, updated, labels, assignees = row
    with row_of(f"Issue {number}"):
        if state not in STATES:
            raise ValueError(f"its state is {state!r}")
        return Issue(
            number,
            text(title),
            text(body),
            state,
            tuple(sorted(texts(json.loads(labels)))),
            tuple(sorted(texts(json.loads(assignees)))),
            parse_iso(created),
            parse_iso(updated),
        )


def _comment(row: tuple[Any, ...]) -> Comment:
    number, issue, body, author, created, updated = row
    with row_of(f"comment {number}"):
        return Comment(number, issue, text(body), text(author), parse_iso(created), parse_iso(updated))


def _add_name(connection: sqlite3.Connection, table: str, number: int, name: str) -> bool:
    done = connection.execute(f"INSERT OR IGNORE INTO {table} VALUES (?, ?, ?)", (number, name_key(name), name))  # noqa: S608 - a name of ours
    return bool(done.rowcount)


def _remove_name(connection: sqlite3.Connection, table: str, number: int, name: str) -> bool:
    done = connection.execute(f"DELETE FROM {table} WHERE number = ? AND key = ?", (number, name_key(name)))  # noqa: S608 - a name of ours
    return bool(done.rowcount)


def _changed(there: tuple[str, ...], added: tuple[str, ...], removed: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names as the tables have them then."""
    if not added and not removed:
        return there
    names = {name_key(name): name for name in (*added, *there)}  # what is there keeps its form
    for name in removed:
        names.pop(name_key(name), None)
    return tuple(sorted(names.values()))


def _must_exist(connection: sqlite3.Connection, number: int) -> None:
    if connection.execute("SELECT 1 FROM issue WHERE number = ?", (number,)).fetchone() is None:
        raise _missing(number)


def _missing(number: int) -> TrackerRefusedError:
    return TrackerRefusedError(f"there is no Issue {number}", 404)
