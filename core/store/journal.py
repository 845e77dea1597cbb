"""The journal: rollbacks, their steps, and the snapshots that they go back to.

A step is on the disk when `save_step` returns (``synchronous=FULL``), so whatever the next line does to the world is
known after a crash. Within an outer `Store.transaction` it is on the disk when that ends.
"""

from __future__ import annotations

from ..model import Rollback, RollbackState, Snapshot, Step
from .tables import Tables, body_of


class Journal(Tables):
    """Rollbacks, steps, snapshots."""

    def new_rollback_id(self) -> str:
        """Return the next of ``rb-1``, ``rb-2``, ...; none is given twice."""
        return self._next_id("rb")

    def save_rollback(self, rollback: Rollback) -> None:
        """Write ``rollback``, in the place of an older version of it."""
        with self._connections.transaction() as connection:
            connection.execute(
                "INSERT INTO rollback (id, state, body) VALUES (?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET state = excluded.state, body = excluded.body",
                (rollback.id, rollback.state, body_of(rollback)),
            )

    def rollback(self, rollback_id: str) -> Rollback | None:
        """Return the rollback with that id."""
        return self._noun(Rollback, "SELECT body FROM rollback WHERE id = ?", rollback_id)

    def rollbacks(self, limit: int = 100) -> list[Rollback]:
        """Return the newest ``limit`` rollbacks, newest first."""
        return self._nouns(Rollback, "SELECT body FROM rollback ORDER BY seq DESC LIMIT ?", limit)

    def unfinished_rollbacks(self) -> list[Rollback]:
        """Return the rollbacks that are still running, oldest first: after a crash these are to be reconciled."""
        query = "SELECT body FROM rollback WHERE state = ? ORDER BY seq"
        return self._nouns(Rollback, query, RollbackState.RUNNING)

    def save_step(self, step: Step) -> None:
        """Write a step, in the place of an older version of it; it is on the disk when this returns."""
        with self._connections.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO step (rollback, number, body) VALUES (?, ?, ?)",
                (step.rollback, step.number, body_of(step)),
            )

    def steps(self, rollback_id: str) -> list[Step]:
        """Return the steps of that rollback, by number."""
        return self._nouns(Step, "SELECT body FROM step WHERE rollback = ? ORDER BY number", rollback_id)

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Write what was kept, in the place of an older version of it."""
        with self._connections.transaction() as connection:
            connection.execute(
                "INSERT INTO snapshot (id, body) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body",
                (snapshot.id, body_of(snapshot)),
            )

    def forget_snapshot(self, snapshot_id: str) -> None:
        """Remove the record of a snapshot; nobody goes back to it any more. None of that name: nothing happens."""
        with self._connections.transaction() as connection:
            connection.execute("DELETE FROM snapshot WHERE id = ?", (snapshot_id,))

    def snapshots(self) -> list[Snapshot]:
        """Return all snapshots, newest first."""
        return self._nouns(Snapshot, "SELECT body FROM snapshot ORDER BY seq DESC")

    def snapshot(self, snapshot_id: str) -> Snapshot | None:
        """Return the snapshot with that id."""
        return self._noun(Snapshot, "SELECT body FROM snapshot WHERE id = ?", snapshot_id)
