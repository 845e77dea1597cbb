"""Episodes: from the finding that trouble began to the one that it is over, one of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from ..model import AgentState, Finding, Severity, Signal


class Episodes:
    """The trouble that is going on, shared by all detectors, by agent and fingerprint."""

    def __init__(self) -> None:
        """Begin with none."""
        self._open: dict[tuple[str, str], Finding] = {}

    def __iter__(self) -> Iterator[Finding]:
        """Go through the finding of each episode, the gravest where it got worse."""
        return iter(self._open.values())

    def get(self, agent: str, fingerprint: str) -> Finding | None:
        """Return the finding of an episode that is going on."""
        return self._open.get((agent, fingerprint))

    def begin(self, finding: Finding) -> list[Finding]:
        """Report ``finding`` unless its episode is going on already, at least as grave."""
        key = (finding.agent, finding.fingerprint)
        known = self._open.get(key)
        if known is not None and not (finding.severity is Severity.CRITICAL and known.severity is Severity.WARNING):
            return []
        if known is not None:
            finding = replace(finding, since=min(finding.since, known.since))
        self._open[key] = finding
        return [finding]

    def end(
        self, agent: str, fingerprint: str, at: datetime, summary: str, signals: tuple[Signal, ...] = ()
    ) -> list[Finding]:
        """Report that an episode is over, if it was going on."""
        known = self._open.pop((agent, fingerprint), None)
        if known is None:
            return []
        return [replace(known, at=max(at, known.at), summary=summary, signals=signals, ended=True)]

    def resume(self, finding: Finding) -> None:
        """Take up an episode that was reported before a restart, so that its end is reported too."""
        key = (finding.agent, finding.fingerprint)
        if finding.ended:
            self._open.pop(key, None)
        else:
            self._open[key] = finding


def began_anew(signal: Signal) -> bool:
    """Return whether a state signal says that its agent was started, not that something holds it or no longer does."""
    return signal.name == AgentState.STARTING and "hold" not in signal.attrs
