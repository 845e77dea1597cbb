"""Incidents, and what was found out, proposed and decided about them."""

from __future__ import annotations

from collections.abc import Sequence

from ..clock import iso, parse_iso
from ..codec import from_json
from ..model import (
    ENDED_STATES,
    Decision,
    DecisionVerdict,
    Diagnosis,
    Incident,
    RecoveryPlan,
    RollbackOption,
)
from .tables import Tables, body_of


class Incidents(Tables):
    """Incidents, diagnoses, options with their plans, decisions."""

    def new_incident_id(self) -> str:
        """Return the next of ``inc-1``, ``inc-2``, ...; none is given twice."""
        return self._next_id("inc")

    def save_incident(self, incident: Incident) -> None:
        """Write ``incident``, in the place of an older version of it."""
        with self._connections.transaction() as connection:
            connection.execute(
                "INSERT INTO incident (id, open, body) VALUES (?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET open = excluded.open, body = excluded.body",
                (incident.id, incident.state not in ENDED_STATES, body_of(incident)),
            )

    def incident(self, incident_id: str) -> Incident | None:
        """Return the incident with that id."""
        return self._noun(Incident, "SELECT body FROM incident WHERE id = ?", incident_id)

    def incidents(self, *, open_only: bool = False, limit: int = 100) -> list[Incident]:
        """Return the newest ``limit`` incidents, newest first; ``open_only``: those that have not ended."""
        where = "WHERE open" if open_only else ""
        query = f"SELECT body FROM incident {where} ORDER BY seq DESC LIMIT ?"  # noqa: S608 - constants
        return self._nouns(Incident, query, limit)

    def save_diagnosis(self, diagnosis: Diagnosis) -> None:
        """Write a diagnosis; earlier ones of its incident stay."""
        with self._connections.transaction() as connection:
            connection.execute(
                "INSERT INTO diagnosis (incident, body) VALUES (?, ?)", (diagnosis.incident, body_of(diagnosis))
            )

    def diagnosis(self, incident_id: str) -> Diagnosis | None:
        """Return the newest diagnosis of that incident."""
        query = "SELECT body FROM diagnosis WHERE incident = ? ORDER BY seq DESC LIMIT 1"
        return self._noun(Diagnosis, query, incident_id)

    def save_options(self, incident_id: str, pairs: Sequence[tuple[RollbackOption, RecoveryPlan]]) -> None:
        """Write the options of that incident with their plans, in the place of those that nobody approved or rejected.

        An option with an id that is there already is replaced; decisions keep the plan hash that they are about.
        """
        with self._connections.transaction() as connection:
            connection.execute(
                "DELETE FROM option WHERE incident = ? AND NOT EXISTS"
                " (SELECT 1 FROM decision WHERE decision.option = option.id AND verdict IN (?, ?))",
                (incident_id, DecisionVerdict.APPROVE, DecisionVerdict.REJECT),
            )
            connection.executemany(
                "INSERT OR REPLACE INTO option (id, incident, rank, body, plan) VALUES (?, ?, ?, ?, ?)",
                [(option.id, incident_id, option.rank, body_of(option), body_of(plan)) for option, plan in pairs],
            )

    def option(self, option_id: str) -> RollbackOption | None:
        """Return the option with that id."""
        return self._noun(RollbackOption, "SELECT body FROM option WHERE id = ?", option_id)

    def plan(self, option_id: str) -> RecoveryPlan | None:
        """Return the plan of the option with that id."""
        return self._noun(RecoveryPlan, "SELECT plan FROM option WHERE id = ?", option_id)

    def options(self, incident_id: str) -> list[tuple[RollbackOption, RecoveryPlan]]:
        """Return the options of that incident with their plans, best first."""
        with self._connections.reading() as connection:
            rows = connection.execute(
                "SELECT body, plan FROM option WHERE incident = ? ORDER BY rank, id", (incident_id,)
            ).fetchall()
        return [(from_json(RollbackOption, option), from_json(RecoveryPlan, plan)) for option, plan in rows]

    def add_decision(
        self, incident: str, option: str, plan_hash: str, verdict: DecisionVerdict, by: str, reason: str = ""
    ) -> Decision:
        """Write what was decided, now; return it, not taken yet."""
        at = self.clock.now()
        with self._connections.transaction() as connection:
            number = connection.execute(
                "INSERT INTO decision (at, incident, option, plan_hash, verdict, by, reason)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (iso(at), incident, option, plan_hash, verdict, by, reason),
            ).lastrowid
        assert number is not None
        return Decision(number, at, incident, option, plan_hash, verdict, by, reason)

    def decisions(self, *, incident: str | None = None, untaken_only: bool = False) -> list[Decision]:
        """Return the decisions, oldest first: of one incident, or only those that no engine has acted on."""
        query = (
            "SELECT id, at, incident, option, plan_hash, verdict, by, reason, taken FROM decision"
            " WHERE (? IS NULL OR incident = ?) AND (NOT ? OR NOT taken) ORDER BY id"
        )
        with self._connections.reading() as connection:
            rows = connection.execute(query, (incident, incident, untaken_only)).fetchall()
        return [_decision(*row) for row in rows]

    def take_decision(self, decision_id: int) -> bool:
        """Mark a decision as acted on; true for the one caller, of all threads and processes, that was first."""
        with self._connections.transaction() as connection:
            done = connection.execute("UPDATE decision SET taken = 1 WHERE id = ? AND NOT taken", (decision_id,))
            return done.rowcount == 1


def _decision(
    number: int, at: str, incident: str, option: str, plan_hash: str, verdict: str, by: str, reason: str, taken: int
) -> Decision:
    return Decision(
        number, parse_iso(at), incident, option, plan_hash, DecisionVerdict(verdict), by, reason, bool(taken)
    )
