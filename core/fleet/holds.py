"""What holds an agent, read from ``state.db`` by its supervisor: read-only, and light, since each agent has one.

`rollcage.core.store.facts` writes it.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from ..model import Hold
from ..text import clean


@dataclass(frozen=True, slots=True)
class Held:
    """What keeps one agent from working now."""

    hold: Hold = Hold.NONE
    reason: str = ""
    stopped: bool = False
    """It was stopped and not released since, whatever hold came after."""
    generation: int = 0
    """Grows each time that the stopped agent is released."""


class HoldReader:
    """Reads one agent's hold again and again."""

    def __init__(self, state_db: Path, agent: str) -> None:
        """Take the path of ``state.db``, which need not exist yet: then nothing holds the agent."""
        self._path, self._agent = state_db, agent
        self._connection: sqlite3.Connection | None = None

    def read(self) -> Held | None:
        """Return the hold; ``None`` where the database is there but cannot be read now."""
        try:
            if self._connection is None:
                if not self._path.exists():
                    return Held()
                address = f"{self._path.absolute().as_uri()}?mode=ro"
                self._connection = sqlite3.connect(address, uri=True, timeout=0.2, isolation_level=None)
            query = "SELECT hold, reason, stopped, generation FROM hold WHERE agent = ?"
            row = self._connection.execute(query, (self._agent,)).fetchone()
            return Held() if row is None else Held(Hold(row[0]), clean(str(row[1])), bool(row[2]), int(row[3]))
        except (sqlite3.Error, OSError, ValueError):
            self.close()
            return None

    def close(self) -> None:
        """Close the connection; `read` opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
