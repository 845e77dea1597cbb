"""Where Issues live: a small protocol, kept by this machine (`local`) or by GitHub (`github`).

A tracker does single things, as directly as it can, and never twice: it retries reads only. Everything that makes a
write safe (leases, versions, verification, audit) stands above it, the same for both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from .issue import BodyEdit, Budget, Comment, Draft, Issue


class Tracker(Protocol):
    """The Issues of one repository. Safe between threads.

    Each method raises TrackerOfflineError, TrackerLimitError or TrackerRefusedError (404: no such Issue); those that
    write also OutcomeUnknownError. The local one raises StoreError where its file cannot be read or written.
    """

    kind: str
    """``local`` or ``github``."""

    def get(self, number: int) -> Issue:
        """Return the Issue as it is now, never from a cache that the tracker did not just confirm."""
        ...

    def issues(
        self, *, state: str = "open", labels: tuple[str, ...] = (), since: datetime | None = None
    ) -> Iterator[Issue]:
        """Yield the Issues in ``state`` (open, closed, all) that have all of ``labels``, changed at or after ``since``.

        Newest number first; no pull requests. May lag behind writes: that one is missing proves nothing.
        """
        ...

    def create(self, draft: Draft) -> Issue:
        """Create an Issue: one request, never repeated."""
        ...

    def write(
        self, number: int, *, title: str | None = None, body: str | None = None, state: str | None = None
    ) -> Issue:
        """Replace just the fields that are given; return the Issue as the tracker has it then."""
        ...

    def add_label(self, number: int, label: str) -> tuple[str, ...] | None:
        """Add one label, atomically; no change where it is there.

        Return all labels as the tracker has them then; ``None``: it does not tell.
        """
        ...

    def remove_label(self, number: int, label: str) -> tuple[str, ...] | None:
        """Remove one label, atomically; no change where it is not there. Return as `add_label` does."""
        ...

    def add_assignee(self, number: int, name: str) -> Issue | None:
        """Assign one person, atomically; no change where it is assigned.

        Return the Issue as the tracker has it then; ``None``: it does not tell.
        """
        ...

    def remove_assignee(self, number: int, name: str) -> Issue | None:
        """Take one assignment back, atomically; no change where it is not there. Return as `add_assignee` does."""
        ...

    def booked(self, writes: int, *, creations: int = 0, looks: int = 0) -> AbstractContextManager[None]:
        """Book so many requests, so that those within need not wait for limits: writes to what is there, creations
        (Issues, comments), looks at the history of a body.

        Raises TrackerLimitError or TrackerOfflineError at its beginning: then nothing was sent.
        """
        ...

    def comment(self, number: int, body: str) -> Comment:
        """Append a comment: one request, never repeated."""
        ...

    def edit_comment(self, comment: Comment, body: str) -> Comment:
        """Replace the text of a comment."""
        ...

    def delete_comment(self, comment: Comment) -> None:
        """Delete a comment; no change where it is gone."""
        ...

    def comments(self, number: int) -> Iterator[Comment]:
        """Yield the comments of an Issue, oldest first."""
        ...

    def body_edits(self, number: int, most: int = 20) -> tuple[BodyEdit, ...] | None:
        """Return who changed the body, newest first, at most ``most`` (1 to 100); ``None``: this one cannot tell."""
        ...

    def label_definitions(self) -> dict[str, tuple[str, str]]:
        """Return the labels that exist: name to (colour as six hexadecimal digits, description)."""
        ...

    def define_label(self, name: str, colour: str, description: str = "") -> None:
        """Create a label, or give it this colour and description where it exists."""
        ...

    def blocked_by(self, number: int) -> tuple[int, ...]:
        """Return the numbers of the Issues that block this one, sorted."""
        ...

    def add_blocker(self, number: int, blocker: int) -> None:
        """Say that ``blocker`` blocks ``number``; no change where it does."""
        ...

    def remove_blocker(self, number: int, blocker: int) -> None:
        """Say that it no longer does; no change where it does not."""
        ...

    def budget(self) -> Budget | None:
        """Return what is left of its limits, without asking it; ``None``: it has none."""
        ...

    def close(self) -> None:
        """Close connections; what was written stays."""
        ...
