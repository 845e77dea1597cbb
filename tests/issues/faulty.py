"""A tracker in memory that behaves as badly as one behind a network may: the tests' edge of the network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

from rollcage.core.issues.errors import OutcomeUnknownError, TrackerOfflineError, TrackerRefusedError
from rollcage.core.issues.issue import BodyEdit, Budget, Comment, Draft, Issue, sorted_names
from tests.conftest import ManualClock

T = TypeVar("T")

LOST_BEFORE, LOST_AFTER, OFFLINE, REFUSED = "lost before", "lost after", "offline", "refused"
"""What a call can end in: not done and no answer; done and no answer; not sent; not allowed."""


@dataclass
class FaultyTracker:
    """The truth is in ``there``; ``faults`` says what happens at the next calls of a method, ``foreign`` what others
    do just before or after one."""

    clock: ManualClock
    there: dict[int, Issue] = field(default_factory=dict)
    said: dict[int, list[Comment]] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    """By method: the outcomes of its next calls; an empty one is a success."""
    before: dict[str, list[Callable[[], object]]] = field(default_factory=dict)
    """By method: what happens just before its next calls."""
    after: dict[str, list[Callable[[], object]]] = field(default_factory=dict)
    lag: int = 0
    """So many listings do not show an Issue that is new, or show one as it was."""
    calls: list[str] = field(default_factory=list)
    keeps_history: bool = True
    untakable: frozenset[str] = frozenset()
    """Labels and people that it drops in silence."""

    kind = "faulty"

    def __post_init__(self) -> None:
        self._edits: dict[int, list[BodyEdit]] = {}
        self._shown: list[dict[int, Issue]] = []
        self._blockers: dict[int, set[int]] = {}
        self._labels: dict[str, tuple[str, str]] = {}
        self._guard = threading.RLock()
        self._comment = 0
        self._who = "us"

    # What others do: no faults, at once.

    def foreign(self, number: int, **changes: object) -> None:
        """Change an Issue as somebody who does not use rollcage: whole fields."""
        with self._guard:
            self._who = "them"
            try:
                self._set(number, **changes)
            finally:
                self._who = "us"

    def _set(self, number: int, **changes: object) -> Issue:
        issue = self._get(number)
        if "labels" in changes:
            changes["labels"] = sorted_names(changes["labels"])  # type: ignore[arg-type]
        new = replace(issue, updated=self.clock.now().replace(microsecond=0), **changes)  # type: ignore[arg-type]
        if new.body != issue.body:
            self._edits.setdefault(number, [BodyEdit(issue.created, "us", issue.body)]).insert(
                0, BodyEdit(self.clock.now(), self._who, new.body)
            )
        self.there[number] = new
        return new

    def _get(self, number: int) -> Issue:
        if number not in self.there:
            raise TrackerRefusedError(f"there is no Issue {number}", 404)
        return self.there[number]

    def _call(self, method: str, act: Callable[[], T]) -> T:
        if self.before.get(method):
            self.before[method].pop(0)()
        with self._guard:
            self.calls.append(method)
            fault = (self.faults.get(method) or [""]).pop(0)
            if fault == OFFLINE:
                raise TrackerOfflineError("the tracker cannot be reached")
            if fault == REFUSED:
                raise TrackerRefusedError("not allowed", 403)
            if fault == LOST_BEFORE:
                raise OutcomeUnknownError("the answer was lost")
            result = act()
        if self.after.get(method):
            self.after[method].pop(0)()
        if fault == LOST_AFTER:
            raise OutcomeUnknownError("the answer was lost")
        return result

    def _write_call(self, method: str, number: int, act: Callable[[], object]) -> Issue:
        """Write; the answer tells what is there when it is made, others' writes just after ours included."""
        self._call(method, act)
        return self._get(number)

    def get(self, number: int) -> Issue:
        return self._call("get", lambda: self._get(number))

    def issues(
        self, *, state: str = "open", labels: tuple[str, ...] = (), since: datetime | None = None
    ) -> Iterator[Issue]:
        def listed() -> list[Issue]:
            self._shown.append(dict(self.there))
            old = self._shown[max(0, len(self._shown) - 1 - self.lag)] if len(self._shown) > self.lag else {}
            return [
                issue
                for _, issue in sorted(old.items(), reverse=True)
                if state in {"all", issue.state}
                and {label.casefold() for label in labels} <= {label.casefold() for label in issue.labels}
                and (since is None or issue.updated >= since)
            ]

        yield from self._call("issues", listed)

    def create(self, draft: Draft) -> Issue:
        def create() -> Issue:
            number = max(self.there, default=0) + 1
            now = self.clock.now().replace(microsecond=0)
            labels = sorted_names(set(draft.labels) - self.untakable)
            people = sorted_names(set(draft.assignees) - self.untakable)
            self.there[number] = Issue(number, draft.title.strip(), draft.body, "open", labels, people, now, now)
            return self.there[number]

        return self._call("create", create)

    def write(
        self, number: int, *, title: str | None = None, body: str | None = None, state: str | None = None
    ) -> Issue:
        given = {"title": title, "body": body, "state": state}
        changes = {name: value for name, value in given.items() if value is not None}
        return self._write_call("write", number, lambda: self._set(number, **changes))

    def add_label(self, number: int, label: str) -> tuple[str, ...]:
        return self._named("add_label", number, "labels", label, there=True).labels

    def remove_label(self, number: int, label: str) -> tuple[str, ...]:
        return self._named("remove_label", number, "labels", label, there=False).labels

    def add_assignee(self, number: int, name: str) -> Issue:
        return self._named("add_assignee", number, "assignees", name, there=True)

    def remove_assignee(self, number: int, name: str) -> Issue:
        return self._named("remove_assignee", number, "assignees", name, there=False)

    def _named(self, method: str, number: int, kind: str, name: str, *, there: bool) -> Issue:
        return self._write_call(method, number, lambda: self._names(number, kind, name, there=there))

    def _names(self, number: int, kind: str, name: str, *, there: bool) -> None:
        names = set(getattr(self._get(number), kind))
        if there and name not in self.untakable:
            names.add(name)
        elif not there:
            names.discard(name)
        self._set(number, **{kind: sorted_names(names)})

    def booked(self, writes: int, *, creations: int = 0, looks: int = 0) -> AbstractContextManager[None]:
        return nullcontext()

    def comment(self, number: int, body: str) -> Comment:
        def comment() -> Comment:
            self._get(number)
            self._comment += 1
            now = self.clock.now()
            made = Comment(self._comment, number, body, "us", now, now)
            self.said.setdefault(number, []).append(made)
            return made

        return self._call("comment", comment)

    def edit_comment(self, comment: Comment, body: str) -> Comment:
        new = replace(comment, body=body)

        def edit() -> Comment:
            self.said[comment.issue] = [new if old.id == comment.id else old for old in self.said[comment.issue]]
            return new

        return self._call("edit_comment", edit)

    def delete_comment(self, comment: Comment) -> None:
        def delete() -> None:
            kept = [old for old in self.said.get(comment.issue, []) if old.id != comment.id]
            self.said[comment.issue] = kept

        self._call("delete_comment", delete)

    def comments(self, number: int) -> Iterator[Comment]:
        yield from self._call("comments", lambda: list(self.said.get(number, [])))

    def body_edits(self, number: int, most: int = 20) -> tuple[BodyEdit, ...] | None:
        def edits() -> tuple[BodyEdit, ...] | None:
            return tuple(self._edits.get(number, ())[:most]) if self.keeps_history else None

        return self._call("body_edits", edits)

    def label_definitions(self) -> dict[str, tuple[str, str]]:
        return self._call("label_definitions", lambda: dict(self._labels))

    def define_label(self, name: str, colour: str, description: str = "") -> None:
        self._call("define_label", lambda: self._labels.update({name: (colour, description)}))

    def blocked_by(self, number: int) -> tuple[int, ...]:
        return self._call("blocked_by", lambda: tuple(sorted(self._blockers.get(number, ()))))

    def add_blocker(self, number: int, blocker: int) -> None:
        self._call("add_blocker", lambda: self._blockers.setdefault(number, set()).add(blocker))

    def remove_blocker(self, number: int, blocker: int) -> None:
        self._call("remove_blocker", lambda: self._blockers.setdefault(number, set()).discard(blocker))

    def budget(self) -> Budget | None:
        return None

    def close(self) -> None:
        """Nothing is open."""
