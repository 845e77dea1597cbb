"""An Issue as rollcage sees it, and its version: a hash of the fields that rollcage writes.

GitHub has no compare-and-swap on Issues, and its ``updated_at`` has whole seconds and moves with every comment: neither
can tell whether what one read is still there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

FIELDS = ("title", "body", "state", "labels", "assignees")
"""What rollcage writes, in the order in which it is told."""


@dataclass(frozen=True, slots=True)
class Issue:
    """An Issue at one moment. All text is as its tracker has it: clean it (`core.text`) where it is shown."""

    number: int
    title: str
    body: str
    state: str
    """``open`` or ``closed``."""
    labels: tuple[str, ...]
    """Each once, sorted."""
    assignees: tuple[str, ...]
    """Each once, sorted."""
    created: datetime
    updated: datetime
    """As the tracker says; on GitHub in whole seconds, and moved by comments."""

    @property
    def written(self) -> str:
        """The fields that rollcage writes, in canonical JSON."""
        fields = [self.title, self.body, self.state, sorted(self.labels), sorted(self.assignees)]
        return json.dumps(fields, separators=(",", ":"))

    @property
    def version(self) -> str:
        """SHA-256 over `written`; hexadecimal."""
        return version_of(self.written)


@dataclass(frozen=True, slots=True)
class Draft:
    """An Issue that is to be created."""

    title: str
    body: str = ""
    labels: tuple[str, ...] = ()
    assignees: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment on an Issue."""

    id: int
    issue: int
    body: str
    author: str
    created: datetime
    updated: datetime


@dataclass(frozen=True, slots=True)
class BodyEdit:
    """A change of an Issue's body by somebody, as the tracker's history tells it; ``body`` is what it became."""

    at: datetime
    editor: str
    body: str | None
    """``None``: the history does not tell it (deleted)."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What of a tracker's limits is left, for all processes that share a token. ``None``: not known."""

    remaining: int | None
    """Requests until ``resets``."""
    limit: int | None
    resets: datetime | None
    points_per_minute: int = 0
    """Used in the last minute, of 900: a read is 1, a write 5."""
    creations_per_minute: int = 0
    """Of 80: Issues and comments."""
    creations_per_hour: int = 0
    """Of 500."""
    paused_until: datetime | None = None
    """The server asked all to wait."""


def version_of(written: str) -> str:
    """Return the version of an Issue by what its `Issue.written` is."""
    return hashlib.sha256(written.encode()).hexdigest()


def sorted_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return ``names``, each once, sorted: as labels and assignees are kept."""
    return tuple(sorted(set(names)))
