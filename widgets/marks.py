"""What each state looks like: a glyph and a word; the style only repeats them."""

from __future__ import annotations

from typing import NamedTuple

from ..core.model import (
    AgentState,
    AgentStatus,
    Health,
    Hold,
    Incident,
    IncidentState,
    RiskLevel,
    RollbackState,
    Severity,
    StepState,
)
from .spans import Span


class Mark(NamedTuple):
    """A glyph, a word, and the meaning that gives their style."""

    glyph: str
    word: str
    style: str

    @property
    def span(self) -> Span:
        """Glyph and word together."""
        return Span(f"{self.glyph} {self.word}", self.style)

    @property
    def dot(self) -> Span:
        """The glyph alone."""
        return Span(self.glyph, self.style)


HEALTH = {
    Health.HEALTHY: Mark("●", "ok", "ok"),
    Health.WARNING: Mark("▲", "WARNING", "warning"),
    Health.CRITICAL: Mark("✖", "CRITICAL", "critical"),
}
_HOLD = {
    Hold.WAITING: Mark("◐", "waiting", "info"),
    Hold.STANDBY: Mark("◌", "standby", "info"),
    Hold.PAUSED: Mark("‖", "paused", "warning"),
    Hold.STOPPED: Mark("■", "stopped", "warning"),
}
_AGENT = {
    AgentState.IDLE: Mark("○", "idle", "muted"),
    AgentState.STARTING: Mark("◔", "starting", "info"),
    AgentState.RUNNING: Mark("▶", "running", "ok"),
    AgentState.COMPLETED: Mark("✓", "completed", "ok"),
    AgentState.ERROR: Mark("✖", "error", "critical"),
    AgentState.TIMEOUT: Mark("✖", "timeout", "critical"),
}
STEP = {
    StepState.PENDING: Mark("·", "to do", "muted"),
    StepState.DOING: Mark("●", "doing", "info"),
    StepState.DONE: Mark("✓", "done", "ok"),
    StepState.FAILED: Mark("✖", "failed", "critical"),
    StepState.UNDONE: Mark("↶", "undone", "warning"),
}
ROLLBACK = {
    RollbackState.RUNNING: Mark("●", "running", "info"),
    RollbackState.DONE: Mark("✓", "done, verified", "ok"),
    RollbackState.UNVERIFIED: Mark("▲", "done, not verified", "warning"),
    RollbackState.UNDONE: Mark("↶", "undone", "warning"),
    RollbackState.FAILED: Mark("✖", "failed", "critical"),
}
_INCIDENT = {
    IncidentState.WAITING: Mark("?", "needs you", "warning"),
    IncidentState.ROLLING_BACK: Mark("↶", "rollback", "info"),
    IncidentState.RECOVERED: Mark("✓", "recovered", "ok"),
    IncidentState.UNDONE: Mark("↶", "undone", "warning"),
    IncidentState.FAILED: Mark("✖", "failed", "critical"),
    IncidentState.ESCALATED: Mark("▲", "escalated", "warning"),
    IncidentState.REJECTED: Mark("○", "rejected", "muted"),
    IncidentState.CLEARED: Mark("✓", "cleared", "ok"),
}
RISK = {
    RiskLevel.LOW: "ok",
    RiskLevel.MEDIUM: "info",
    RiskLevel.HIGH: "warning",
    RiskLevel.CRITICAL: "critical",
}
BAND = {
    "normal": Mark("●", "normal", "ok"),
    "raised": Mark("◐", "raised", "info"),
    "warning": Mark("▲", "WARNING", "warning"),
    "critical": Mark("✖", "CRITICAL", "critical"),
}
PASSED = {
    True: Mark("✓", "passed", "ok"),
    False: Mark("✖", "failed", "critical"),
    None: Mark("?", "no verdict", "warning"),
}


def agent_mark(status: AgentStatus) -> Mark:
    """Return what an agent does now: what holds it where something does, else its state."""
    return _HOLD.get(status.hold) or _AGENT[status.state]


def state_mark(state: AgentState) -> Mark:
    """Return how a state of the lifecycle looks, whatever holds the agent."""
    return _AGENT[state]


def severity_mark(severity: Severity) -> Mark:
    """Return how bad it is."""
    return HEALTH[Health.CRITICAL if severity is Severity.CRITICAL else Health.WARNING]


def incident_mark(incident: Incident) -> Mark:
    """Return how far an incident is; one that is being worked on shows how bad it is."""
    if incident.state is IncidentState.OPEN:
        severity = severity_mark(incident.severity)
        return Mark(severity.glyph, "open", severity.style)
    return _INCIDENT[incident.state]
