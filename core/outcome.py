"""What one run of ``--auto --once`` came to, and the exit code that says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .config import Level
from .detect.incidents import is_unresolved
from .errors import ExitCode
from .model import ENDED_STATES, Incident, IncidentState, Severity

EXIT_CODES = {
    "failed": ExitCode.NOT_UNDONE,
    "undone": ExitCode.UNDONE,
    "escalated": ExitCode.ESCALATED,
    "waiting": ExitCode.WAITING,
    "recovered": ExitCode.DONE,
    "healthy": ExitCode.DONE,
}
"""The results, the worst first, with the exit code of the process."""

_WORDS = {
    IncidentState.FAILED: "failed",
    IncidentState.UNDONE: "undone",
    IncidentState.ESCALATED: "escalated",
    IncidentState.REJECTED: "escalated",
    IncidentState.OPEN: "waiting",
    IncidentState.WAITING: "waiting",
    IncidentState.ROLLING_BACK: "waiting",
    IncidentState.RECOVERED: "recovered",
    IncidentState.CLEARED: "healthy",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What ``--once`` came to; the last line of its output."""

    result: str
    incidents: tuple[str, ...]
    rollbacks: tuple[str, ...]
    head_before: str
    head_after: str
    standby_s: float
    duration_s: float

    @property
    def exit_code(self) -> ExitCode:
        """Return the exit code of the process."""
        return EXIT_CODES[self.result]


def result_of(touched: Sequence[Incident], before: Sequence[Incident], level: Level) -> str:
    """Return the worst of what a run did (``touched``), and of what earlier ones left unresolved (``before``).

    Trouble that was left as it is was handed to a human then, and still is. So is, at level watch, all of it. A warning
    is not followed; it only says that not all is well.
    """
    words = [_word(incident, level) for incident in touched if incident.severity is Severity.CRITICAL]
    words += [
        "escalated" if incident.state in ENDED_STATES else _word(incident, level)
        for incident in before
        if incident.severity is Severity.CRITICAL
    ]
    warned = any(each.severity is Severity.WARNING and is_unresolved(each) for each in (*touched, *before))
    found = next((word for word in EXIT_CODES if word in words), "healthy")
    return "waiting" if found == "healthy" and warned else found


def _word(incident: Incident, level: Level) -> str:
    only_seen = incident.state is IncidentState.OPEN and level is Level.WATCH
    return "escalated" if only_seen else _WORDS[incident.state]
