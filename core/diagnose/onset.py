"""When the trouble began: from the signals that were recorded, else from what the checks and commits tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from ..model import EVERYBODY, Commit, Finding, Incident, Severity, Signal, SignalKind
from ..services import Services
from .change_point import Change, find_change

CHECK_RULE = "check_failed"
SAMPLES = 3_600
"""Values of the metric that are looked at: an hour at one a second."""
LINES = 2_000
"""Errors of an agent, and results of a check, that are looked at."""
PAUSE = timedelta(minutes=15)
"""After so long without it, an error that comes again is new trouble."""
LANDED = timedelta(minutes=1)
"""A commit that the branch got later than this after it was made came from elsewhere: a merge, a push."""


@dataclass(frozen=True, slots=True)
class Onset:
    """When it began, and how that is known."""

    at: datetime | None
    why: str
    """For people: ``memory_usage of executor climbs since then``."""


def find_onset(services: Services, incident: Incident, culprits: Sequence[Commit]) -> Onset:
    """Return when the trouble of ``incident`` began.

    In this order, each from the gravest finding that is not over: the change point of its metric
    (`rollcage.core.diagnose.change_point`); for a failing check the moment at which the first of ``culprits`` (those
    that are confirmed) was on the branch, or the first failing result that is known, whichever is earlier; the first of
    the same error, masked, without a long pause since; then the finding's own word; then the culprits' commit time.
    Never later than the incident was noticed. Raises StoreError.
    """
    ways = (_of_metric, _of_check, _of_errors, _of_finding)
    findings = _gravest_first(incident)
    landed = min((_landed(services, commit) for commit in culprits), default=None)
    for finding in findings[:1]:
        for way in ways:
            onset = way(services, finding, landed)
            if onset is not None and onset.at is not None:
                return Onset(min(onset.at, finding.at), onset.why)
    if landed is not None:
        return Onset(landed, "the first culprit was committed then")
    return Onset(incident.since, "the first finding says so")


def _gravest_first(incident: Incident) -> list[Finding]:
    """Return the findings that are not over: the gravest first, of those a failing check, then the oldest."""
    lasting: dict[tuple[str, str], Finding] = {}
    for finding in incident.findings:
        key = (finding.agent, finding.fingerprint)
        first = lasting.pop(key, None)
        if not finding.ended:
            # Got graver: the newest says how bad it is, the first since when.
            lasting[key] = finding if first is None or finding.severity is not first.severity else first
    found = list(lasting.values()) or [each for each in incident.findings if not each.ended]
    return sorted(found, key=lambda each: (each.severity is not Severity.CRITICAL, each.rule != CHECK_RULE, each.since))


def _of_metric(services: Services, finding: Finding, landed: datetime | None) -> Onset | None:
    newest = next((each for each in reversed(finding.signals) if each.value is not None), None)
    if newest is None or newest.kind not in {SignalKind.METRIC, SignalKind.DATA}:
        return None
    recent = services.signals.recent(newest.agent, newest.name, SAMPLES)
    series = [each for each in recent if each.value is not None and each.at <= finding.at]
    who = f"{newest.name} of {newest.agent}" if newest.agent else newest.name
    change, falls = _newest_change(series, newest.value or 0.0)
    if change is None:
        return Onset(finding.since, f"{who} is out of band since then")
    if change.is_slope:
        return Onset(series[change.index].at, f"{who} {'falls' if falls else 'climbs'} since then")
    return Onset(series[change.index].at, f"{who} {'dropped' if falls else 'jumped'} then")


def _newest_change(series: Sequence[Signal], bad: float) -> tuple[Change | None, bool]:
    """Return the newest change towards the value ``bad``, and whether that is downwards: rules know, signals do not."""
    times = [each.at.timestamp() for each in series]
    values = [each.value or 0.0 for each in series]
    found: list[tuple[Change, bool]] = []
    for falls in (False, True):
        change = find_change(times, values, falls=falls)
        if change is not None:
            before, behind = median(values[: change.index] or [bad]), median(values[change.index :])
            if abs(bad - behind) <= abs(bad - before) or change.is_slope:
                found.append((change, falls))
    return max(found, key=lambda each: each[0].index, default=(None, False))


def _of_check(services: Services, finding: Finding, landed: datetime | None) -> Onset | None:
    if finding.rule != CHECK_RULE:
        return None
    name = finding.fingerprint.removeprefix("check:")
    noticed = finding.since
    for signal in reversed(services.signals.recent(EVERYBODY, name, LINES)):
        if signal.kind is not SignalKind.TEST or signal.attrs.get("check") is not True or signal.at > finding.at:
            continue
        if signal.text == "passed":
            break
        if signal.text == "failed":  # flaky or unknown results between two failures tell nothing
            noticed = min(noticed, signal.at)
    if landed is not None and landed <= noticed:
        return Onset(landed, f"the first commit at which {name} fails came then")
    return Onset(noticed, f"{name} was first seen to fail then")


def _of_errors(services: Services, finding: Finding, landed: datetime | None) -> Onset | None:
    newest = next((each for each in reversed(finding.signals) if each.kind is SignalKind.ERROR), None)
    template = newest and newest.attrs.get("template")
    if newest is None:
        return None
    first = newest
    for signal in reversed(services.signals.of_kind(newest.agent, SignalKind.ERROR, LINES)):
        same = signal.attrs.get("template") == template if template else signal.name == newest.name
        if not same or signal.at > newest.at:
            continue
        if first.at - signal.at > PAUSE:
            break
        first = signal
    return Onset(first.at, f"the first of these errors{' of ' + newest.agent if newest.agent else ''} came then")


def _of_finding(services: Services, finding: Finding, landed: datetime | None) -> Onset | None:
    if finding.rule == "infinite_loop":
        return Onset(finding.since, f"{finding.agent} began its step then")
    if finding.rule == "communication_failure":
        return Onset(finding.since, f"the last word of {finding.agent} came then")
    return None if landed is not None else Onset(finding.since, "the first finding says so")


def _landed(services: Services, commit: Commit) -> datetime:
    """Return when the branch got ``commit``: its own time, unless it was seen to come later, from elsewhere."""
    seen = services.signals.recent(commit.agent or EVERYBODY, commit.sha, 1)
    came = seen[0].at if seen and seen[0].kind is SignalKind.COMMIT else commit.at
    return came if came - commit.at > LANDED else commit.at
