"""Which findings belong together: incidents, by agent and fingerprint. Pure functions over frozen nouns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from ..model import ENDED_STATES, EVERYBODY, Finding, Incident, IncidentState, Severity

LEFT_STATES = frozenset({IncidentState.ESCALATED, IncidentState.REJECTED, IncidentState.UNDONE, IncidentState.FAILED})
"""Ended states in which nobody took the trouble away: it may be there still."""

WINDOW = timedelta(minutes=10)
"""Findings of one agent that are no further apart belong together while nothing was decided yet."""
_JOINT = " + "
_MOST_FINDINGS = 100
_PHRASES = {
    "memory_usage": "memory high",
    "resource_leak": "memory climbs",
    "batch_processing_time": "batches slow",
    "error_rate": "many errors",
    "matching_accuracy": "matching worse",
    "data_consistency": "data damaged",
    "error_storm": "the same error again and again",
    "infinite_loop": "does not get on",
    "communication_failure": "silent",
    "commit_attribution": "commit of doubtful origin",
}


def assign(finding: Finding, open_incidents: Sequence[Incident], now: datetime) -> Incident | None:
    """Return the incident that ``finding`` joins, or ``None``: a new one (of an end: none knew the trouble).

    In this order: one that has the same problem already (of the same agent, or, where either belongs to everybody,
    of any), in whatever state it is open; else the newest one of the same agent that is still OPEN and whose newest
    finding is at most `WINDOW` before ``now``. Ended incidents never match.
    """
    candidates = [incident for incident in open_incidents if incident.state not in ENDED_STATES]
    candidates.sort(key=lambda incident: (incident.agent == finding.agent, newest(incident), incident.id), reverse=True)
    for incident in candidates:
        if finding.fingerprint in {each.fingerprint for each in incident.findings} and _same_agent(
            incident.agent, finding.agent
        ):
            return incident
    if finding.ended:
        return None
    for incident in candidates:
        near = now - newest(incident) <= WINDOW
        if incident.agent == finding.agent and incident.state is IncidentState.OPEN and near:
            return incident
    return None


def _same_agent(first: str, second: str) -> bool:
    return first == second or EVERYBODY in {first, second}


def newest(incident: Incident) -> datetime:
    """Return when the newest finding of ``incident`` was made."""
    return max((finding.at for finding in incident.findings), default=incident.opened)


def open_incident(incident_id: str, finding: Finding, now: datetime) -> Incident:
    """Return a new incident with its first finding."""
    empty = Incident(
        id=incident_id,
        agent=finding.agent,
        fingerprint="",
        severity=Severity.WARNING,
        title="",
        state=IncidentState.OPEN,
        opened=now,
        since=finding.since,
        findings=(),
    )
    return extend(empty, finding)


def extend(incident: Incident, finding: Finding) -> Incident:
    """Return ``incident`` with one more finding; one that it has already changes nothing.

    Severity never falls. An incident that was everybody's becomes that of the agent whom a finding names. Ends are
    kept too, so that `still_open` can tell; of more than 100 findings the first and the newest stay.
    """
    if finding in incident.findings:
        return incident
    findings = (*incident.findings, finding)
    if len(findings) > _MOST_FINDINGS:
        findings = (findings[0], *findings[-(_MOST_FINDINGS - 1) :])
    critical = Severity.CRITICAL in {incident.severity, finding.severity}
    severity = Severity.CRITICAL if critical else Severity.WARNING
    return replace(
        incident,
        agent=incident.agent or finding.agent,
        fingerprint=_fingerprint(findings, severity),
        severity=severity,
        title=title(findings),
        since=min(incident.since, finding.since),
        findings=findings,
    )


def still_open(incident: Incident) -> tuple[Finding, ...]:
    """Return the findings whose trouble is not over, oldest first; none: the incident can be cleared."""
    state: dict[str, Finding] = {}
    for finding in incident.findings:
        state.pop(finding.fingerprint, None)
        if not finding.ended:
            state[finding.fingerprint] = finding
    return tuple(state.values())


def is_unresolved(incident: Incident) -> bool:
    """Return whether there is trouble as far as is known: it is open, or it was left as it is and not seen to be over.

    Of what an operator rejected only a failing check counts: whoever rejects knows the rest, but nothing is healthy
    while a check fails.
    """
    if incident.state not in LEFT_STATES:
        return incident.state not in ENDED_STATES
    left = still_open(incident)
    if incident.state is IncidentState.REJECTED:
        return any(finding.rule == "check_failed" for finding in left)
    return bool(left)


def end_of(finding: Finding, incidents: Iterable[Incident]) -> Incident | None:
    """Return the first of ``incidents`` that was left as it is and whose trouble ``finding`` reports to be over."""
    for incident in incidents:
        lasting = {each.fingerprint for each in still_open(incident)} if incident.state in LEFT_STATES else set()
        if finding.fingerprint in lasting and _same_agent(incident.agent, finding.agent):
            return incident
    return None


def title(findings: Iterable[Finding]) -> str:
    """Return what is wrong in a few words, gravest first: ``tests fail, memory climbs``."""
    ordered = sorted(findings, key=lambda finding: finding.severity is not Severity.CRITICAL)
    return ", ".join(list(dict.fromkeys(_phrase(finding) for finding in ordered))[:4])


def _phrase(finding: Finding) -> str:
    if finding.rule == "check_failed":
        name = finding.fingerprint.removeprefix("check:")
        return f"{name} fail" if name.endswith("s") else f"{name} fails"
    if finding.rule == "trend":
        return f"{finding.fingerprint.removesuffix(':trend').replace('_', ' ')} heading for critical"
    return _PHRASES.get(finding.rule, f"{finding.rule.replace('_', ' ')} out of band")


def _fingerprint(findings: Iterable[Finding], severity: Severity) -> str:
    return _JOINT.join(sorted({finding.fingerprint for finding in findings if finding.severity is severity}))


def same_problem(first: Incident, second: Incident) -> bool:
    """Return whether two incidents are the same problem, as the limit on repeated rollbacks counts it.

    The agent is the same (or one of them is everybody's), and they share a fingerprint among the findings that make
    them as grave as they are: a warning beside a failing check, there one time and not the next, changes nothing.
    """
    shared = set(first.fingerprint.split(_JOINT)) & set(second.fingerprint.split(_JOINT))
    return bool(shared) and _same_agent(first.agent, second.agent)
