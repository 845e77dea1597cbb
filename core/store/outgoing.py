"""What is to be sent to a remote once it can be reached: branches, in the order in which they were queued."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from .tables import Tables, body_of

WAITING = "waiting"
"""The one state in which it is tried again; the others are ends: sent, conflict, refused, dropped."""


@dataclass(frozen=True, slots=True)
class OutgoingPush:
    """A branch that is to be pushed."""

    id: str
    """``out-1``, ``out-2``, ...; none is given twice."""
    at: datetime
    branch: str
    remote: str
    sha: str
    """The commit that has to get there; what came on the branch since goes along."""
    expect: str
    """Where history was rewritten: what the remote must still have."""
    rewritten: bool
    had: tuple[str, ...]
    """Commits that the branch had been at when this was queued."""
    why: str
    """The rollback that it belongs to."""
    state: str
    tries: int
    next_try: datetime
    words: str = ""
    """What came of the last try; one clean line."""


class Outgoing(Tables):
    """The queue of pushes."""

    def new_outgoing_id(self) -> str:
        """Return the next of ``out-1``, ``out-2``, ..."""
        return self._next_id("out")

    def save_outgoing(self, push: OutgoingPush) -> None:
        """Write ``push``, in the place of an older version of it; it is on the disk when this returns."""
        with self._connections.transaction() as connection:
            connection.execute(
                "INSERT INTO outgoing (id, open, body) VALUES (?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET open = excluded.open, body = excluded.body",
                (push.id, push.state == WAITING, body_of(push)),
            )

    def outgoing(self, *, open_only: bool = True) -> Sequence[OutgoingPush]:
        """Return what is queued, oldest first; with ``open_only=False`` also what was sent or given up."""
        where = "WHERE open" if open_only else ""
        return self._nouns(OutgoingPush, f"SELECT body FROM outgoing {where} ORDER BY seq")  # noqa: S608 - constants
