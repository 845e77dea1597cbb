"""From the inbox to the board: every new signal goes through the detectors once, and findings become incidents."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from ..codec import to_json
from ..model import Finding, Incident, IncidentState, Severity, SignalKind
from ..services import Services
from .detectors import build
from .incidents import assign, extend, open_incident, still_open

_SEQ = "intake:seq"


class Intake:
    """Feeds the detectors. What was fed is written with what came of it, so a crash neither loses nor doubles."""

    def __init__(self, services: Services, agents: Sequence[str]) -> None:
        """Take up the trouble of the open incidents: it is not reported again, and its end is."""
        self._services = services
        self.detectors = build(services.settings)
        self._seq = int(services.store.get_note(_SEQ) or 0)
        known = [finding for incident in services.store.incidents(open_only=True) for finding in still_open(incident)]
        self.detectors.resume(sorted(known, key=lambda finding: finding.at))
        for agent in agents:  # what listens for silence must know who runs
            for signal in services.signals.of_kind(agent, SignalKind.STATE, 1):
                self.detectors.feed(signal)
        self._settled: deque[Incident] = deque()

    def settle(self, incident: Incident) -> None:
        """Note, from any thread, that the trouble of ``incident`` was ended; should it come again, it is a new one."""
        self._settled.append(incident)

    def take_in(self) -> list[Incident]:
        """Feed what is new and let time pass; return the incidents that opened or changed."""
        services = self._services
        while self._settled:
            self.detectors.forget(still_open(self._settled.popleft()))
        findings: list[Finding] = []
        signals = services.signals.since(self._seq)
        for signal in signals:
            findings += self.detectors.feed(signal)
        findings += self.detectors.tick(services.clock.now())
        if not signals and not findings:
            return []
        seq = signals[-1].seq if signals else self._seq
        with services.store.transaction():
            changed = [incident for finding in findings if (incident := self._file(finding)) is not None]
            services.store.set_note(_SEQ, str(seq))
        self._seq = seq
        return changed

    def _file(self, finding: Finding) -> Incident | None:
        services = self._services
        body = to_json(finding)
        body.pop("signals")
        services.store.append_event("finding", body)
        now = services.clock.now()
        open_ones = services.store.incidents(open_only=True)
        known = assign(finding, open_ones, now)
        if known is None:
            return None if finding.ended else self._open(finding)
        incident = extend(known, finding)
        if incident == known:
            return None
        if not still_open(incident) and self._quiet(incident):
            incident = replace(incident, state=IncidentState.CLEARED, closed=now, note="the trouble is over")
        services.store.save_incident(incident)
        if (incident.severity, incident.state) != (known.severity, known.state):
            services.store.append_event("incident", incident_body(incident))
        return incident

    def _open(self, finding: Finding) -> Incident:
        services = self._services
        incident = open_incident(services.store.new_incident_id(), finding, services.clock.now())
        services.store.save_incident(incident)
        services.store.append_event("incident", incident_body(incident))
        services.store.append_event(
            "alert", {"severity": incident.severity.value, "text": incident.title, "incident": incident.id}
        )
        services.store.audit("engine", "incident_opened", incident.id, incident.title)
        return incident

    @staticmethod
    def _quiet(incident: Incident) -> bool:
        """Say whether nothing is being done about ``incident``, so that it may be cleared by itself."""
        warning = incident.state is IncidentState.OPEN and incident.severity is Severity.WARNING
        return warning or incident.state is IncidentState.WAITING


def incident_body(incident: Incident) -> dict[str, object]:
    """Return the event body of ``incident``: its findings without their signals."""
    body = to_json(incident)
    for finding in body["findings"]:
        finding.pop("signals")
    return body
