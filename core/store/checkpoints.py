"""The checkpoints of data at good commits that were finished."""

from __future__ import annotations

from ..model import Checkpoint
from .tables import Tables, body_of


class Checkpoints(Tables):
    """Checkpoints, newest first."""

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write that ``checkpoint`` is whole, in the place of an older version of it."""
        with self._connections.transaction() as connection:
            connection.execute(
                "INSERT INTO checkpoint (id, sha, body) VALUES (?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET sha = excluded.sha, body = excluded.body",
                (checkpoint.id, checkpoint.sha, body_of(checkpoint)),
            )

    def checkpoints(self) -> list[Checkpoint]:
        """Return all of them, the one taken last first."""
        return self._nouns(Checkpoint, "SELECT body FROM checkpoint ORDER BY seq DESC")

    def checkpoint(self, checkpoint_id: str) -> Checkpoint | None:
        """Return the one with that id."""
        return self._noun(Checkpoint, "SELECT body FROM checkpoint WHERE id = ?", checkpoint_id)

    def forget_checkpoint(self, checkpoint_id: str) -> None:
        """Write that it is there no more; its files go afterwards."""
        with self._connections.transaction() as connection:
            connection.execute("DELETE FROM checkpoint WHERE id = ?", (checkpoint_id,))
