"""From the inbox to the board: every new signal goes through the detectors once, and findings become incidents."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from ..codec import to_json
from ..model import Finding, Incident, IncidentState, Severity, SignalKind
from ..services import Services
from .detectors import build
from .incidents import LEFT_STATES, assign, end_of, extend, open_incident, still_open

_SEQ = "intake:seq"
BATCH = 5_000
"""Signals that are fed at a time."""
NOTE_EVERY_S = 10.0
"""How far measurements that came to nothing were read is written so often: each write waits for the disk."""
_MEASURED = frozenset({SignalKind.METRIC, SignalKind.LOG, SignalKind.STEP, SignalKind.MESSAGE})
REMEMBERED = timedelta(days=1)
"""So long the trouble of an incident that was left as it is, is not reported again by an engine that starts."""


class Intake:
    """Feeds the detectors. How far it got is written with what came of it, so a crash neither loses nor doubles that.

    What a crash makes it feed again are measurements that came to nothing. Use it from one thread, but for `settle`.
    """

    def __init__(self, services: Services, agents: Sequence[str]) -> None:
        """Take up the trouble that is known: only its end is reported. ``agents`` are those that run."""
        self._services = services
        self.detectors = build(services.settings)
        self._seq = int(services.store.get_note(_SEQ) or 0)
        self._noted, self._noted_at = self._seq, services.clock.boot()
        known = [finding for incident in self._known() for finding in still_open(incident)]
        self.detectors.resume(sorted(known, key=lambda finding: finding.at))
        for agent in agents:  # what listens for silence must know who runs
            for signal in services.signals.of_kind(agent, SignalKind.STATE, 1):
                self.detectors.feed(signal)
        self._settled: deque[Incident] = deque()
        self._unwritten: list[Finding] = []
        self._must_note = False

    def _known(self) -> list[Incident]:
        """Return the open incidents, and of those left as they are the checks', and the others' of the last day."""
        store, since = self._services.store, self._services.clock.now() - REMEMBERED
        left = [
            replace(incident, findings=tuple(f for f in incident.findings if closed_lately or f.rule == "check_failed"))
            for incident in store.incidents(limit=500)
            if incident.state in LEFT_STATES
            for closed_lately in [(incident.closed or incident.opened) > since]
        ]
        return [*store.incidents(open_only=True, limit=500), *left]

    def settle(self, incident: Incident) -> None:
        """Note, from any thread, that the trouble of ``incident`` was ended; should it come again, it is a new one."""
        self._settled.append(incident)

    def take_in(self) -> list[str]:
        """Feed all that is new and let time pass; return the ids of the incidents that opened or changed.

        Raises StoreError where something cannot be read or written; nothing is lost, the next call goes on.
        """
        services = self._services
        changed: dict[str, None] = {}
        more = True
        while more:
            while self._settled:
                self.detectors.forget(still_open(self._settled.popleft()))
                self._must_note = True
            signals = services.signals.since(self._seq, BATCH)
            more = len(signals) == BATCH
            # A detector tells once: what it found is kept here until it is written.
            for signal in signals:
                self._unwritten += self.detectors.feed(signal)
                self._seq = signal.seq
                self._must_note = self._must_note or signal.kind not in _MEASURED
            self._unwritten += self.detectors.tick(services.clock.now())
            changed.update(dict.fromkeys(self._write()))
        return list(changed)

    def _write(self) -> list[str]:
        services = self._services
        lately = services.clock.boot() - self._noted_at < NOTE_EVERY_S and not self._must_note
        if not self._unwritten and (self._seq == self._noted or lately):
            return []
        with services.store.transaction():
            changed = [self._file(finding) for finding in self._unwritten]
            services.store.set_note(_SEQ, str(self._seq))
        self._unwritten.clear()
        self._must_note = False
        self._noted, self._noted_at = self._seq, services.clock.boot()
        return [incident for incident in changed if incident]

    def _file(self, finding: Finding) -> str:
        """Put a finding into the incident that it belongs to; return its id, or nothing where there is none."""
        store, now = self._services.store, self._services.clock.now()
        body = to_json(finding)
        body.pop("signals")
        store.append_event("finding", body)
        known = assign(finding, store.incidents(open_only=True, limit=500), now)
        if known is None and finding.ended:
            known = end_of(finding, store.incidents(limit=500))
        if known is None:
            return "" if finding.ended else self._open(finding)
        incident = extend(known, finding)
        if incident == known:
            return ""
        if incident.state is IncidentState.OPEN and incident.severity is Severity.WARNING and not still_open(incident):
            # A critical one is ended by whoever works at it, who also lets the agents work on.
            incident = replace(incident, state=IncidentState.CLEARED, closed=now, note="the trouble is over")
        store.save_incident(incident)
        if (incident.severity, incident.state, incident.title) != (known.severity, known.state, known.title):
            store.append_event("incident", incident_body(incident))
        if incident.severity is not known.severity:
            self._alert(incident)
        return incident.id

    def _open(self, finding: Finding) -> str:
        store = self._services.store
        incident = open_incident(store.new_incident_id(), finding, self._services.clock.now())
        store.save_incident(incident)
        store.append_event("incident", incident_body(incident))
        self._alert(incident)
        store.audit("engine", "incident_opened", incident.id, incident.title)
        return incident.id

    def _alert(self, incident: Incident) -> None:
        body = {"severity": incident.severity.value, "text": incident.title, "incident": incident.id}
        self._services.store.append_event("alert", body)


def incident_body(incident: Incident) -> dict[str, object]:
    """Return the event body of ``incident``: its findings without their signals."""
    body = to_json(incident)
    for finding in body["findings"]:
        finding.pop("signals")
    return body
