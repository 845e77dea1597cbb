"""Small facts: holds on agents, commits known to be good, results of checks, notes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from ..clock import parse_iso
from ..model import CheckOutcome, Hold
from .tables import Tables, body_of, one

FALSE_ALARMS = "false_alarms"
"""The note that they are kept in; `rollcage.core.execute.false_alarms` counts them."""


@dataclass(frozen=True, slots=True)
class AgentHold:
    """What keeps an agent from working."""

    agent: str
    hold: Hold
    since: datetime
    reason: str
    generation: int
    """Grows each time that the agent, having been stopped, may work again: its supervisor then starts it once more."""


class Facts(Tables):
    """Holds, good commits, the cache of check results, notes."""

    def set_hold(self, agent: str, hold: Hold, reason: str = "") -> None:
        """Set the hold of ``agent``, now. ``since`` stays where the hold is the same as before."""
        with self._connections.transaction() as connection:
            row = connection.execute(
                "SELECT hold, since, stopped, generation FROM hold WHERE agent = ?", (agent,)
            ).fetchone()
            before, since, stopped, generation = row or (Hold.NONE, self._now(), False, 0)
            if hold != before:
                since = self._now()
            # ``stopped`` remembers a stop through other holds: from stopped by standby to none is a start, too.
            if hold is Hold.NONE and stopped:
                generation += 1
            stopped = hold is Hold.STOPPED or (bool(stopped) and hold is not Hold.NONE)
            connection.execute(
                "INSERT OR REPLACE INTO hold (agent, hold, since, reason, stopped, generation)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (agent, hold, since, reason, stopped, generation),
            )

    def holds(self) -> dict[str, AgentHold]:
        """Return the holds by agent, also those that are `Hold.NONE` by now; an agent never held is not among them."""
        with self._connections.reading() as connection:
            return {
                agent: AgentHold(agent, Hold(hold), parse_iso(since), reason, generation)
                for agent, hold, since, reason, generation in connection.execute(
                    "SELECT agent, hold, since, reason, generation FROM hold ORDER BY agent"
                )
            }

    def mark_good(self, sha: str, tree: str, checks_hash: str) -> None:
        """Record that the commit ``sha`` with that tree passed the checks with that hash; it is then the newest."""
        with self._connections.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO good (sha, tree, checks_hash, at) VALUES (?, ?, ?, ?)",
                (sha, tree, checks_hash, self._now()),
            )

    def is_good(self, sha: str, checks_hash: str) -> bool:
        """Tell whether that commit passed those checks."""
        with self._connections.reading() as connection:
            return one(connection, "SELECT 1 FROM good WHERE checks_hash = ? AND sha = ?", checks_hash, sha) is not None

    def good_commits(self, checks_hash: str, limit: int = 1000) -> list[str]:
        """Return the commits that passed those checks, the one marked last first."""
        with self._connections.reading() as connection:
            query = "SELECT sha FROM good WHERE checks_hash = ? ORDER BY seq DESC LIMIT ?"
            return [str(sha) for (sha,) in connection.execute(query, (checks_hash, limit))]

    def save_check(self, tree: str, definition: str, outcome: CheckOutcome) -> None:
        """Record the result of the check with that definition (its hash) on that tree."""
        with self._connections.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO check_outcome (tree, definition, at, body) VALUES (?, ?, ?, ?)",
                (tree, definition, self._now(), body_of(outcome)),
            )

    def check(self, tree: str, definition: str) -> CheckOutcome | None:
        """Return the result recorded for that check on that tree."""
        query = "SELECT body FROM check_outcome WHERE tree = ? AND definition = ?"
        return self._noun(CheckOutcome, query, tree, definition)

    def false_alarms(self) -> dict[str, str]:
        """Return the rollbacks that took back what landed again unmodified, with the commit in which it did."""
        return {str(name): str(where) for name, where in json.loads(self.get_note(FALSE_ALARMS) or "{}").items()}

    def get_note(self, key: str) -> str | None:
        """Return the note ``key``."""
        with self._connections.reading() as connection:
            value = one(connection, "SELECT value FROM note WHERE key = ?", key)
        return None if value is None else str(value)

    def set_note(self, key: str, value: str) -> None:
        """Write the note ``key``."""
        with self._connections.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO note (key, value) VALUES (?, ?)", (key, value))
