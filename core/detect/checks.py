"""What checks and history tell: a check that fails, and a commit whose trailer contradicts where it was made."""

from __future__ import annotations

from datetime import datetime, timedelta

from ..model import EVERYBODY, Finding, Severity, Signal, SignalKind
from ..text import clean
from .episodes import Episodes
from .rules import Rule

_NAMED = 3
"""How many failing tests a summary names."""
_SAID = 120
"""How much of a check's last line it repeats where none are named."""


class CheckDetector:
    """A failed check is an emergency, a flaky one or one without a verdict is no finding, a passed one ends it."""

    kinds = frozenset({SignalKind.TEST})

    def __init__(self, rule: Rule, episodes: Episodes) -> None:
        """Take the rule ``check_failed`` and the episodes."""
        self._rule, self._episodes = rule, episodes

    def feed(self, signal: Signal) -> list[Finding]:
        """Judge the result of one of rollcage's own checks; tests that agents report are none."""
        if signal.attrs.get("check") is not True:
            return []
        fingerprint = f"check:{signal.name}"
        known = next((finding for finding in self._episodes if finding.fingerprint == fingerprint), None)
        if signal.text == "passed" and known is not None:
            return self._episodes.end(known.agent, fingerprint, signal.at, f"check {signal.name} passes", (signal,))
        if signal.text != "failed" or known is not None:
            return []
        return self._episodes.begin(
            Finding(
                at=signal.at,
                rule=self._rule.name,
                agent=str(signal.attrs.get("suspect_agent") or EVERYBODY),
                severity=self._rule.severity or Severity.CRITICAL,
                summary=f"check {signal.name} fails{_tests(signal.attrs.get('failing')) or _last_line(signal)}",
                fingerprint=fingerprint,
                since=signal.at,
                signals=(signal,),
            )
        )

    def tick(self, now: datetime) -> list[Finding]:
        """Return nothing: only results tell."""
        return []


def _tests(failing: object) -> str:
    names = [clean(str(name), limit=80) for name in failing] if isinstance(failing, (list, tuple)) else []
    if not names:
        return ""
    more = len(names) - _NAMED
    return f": {', '.join(names[:_NAMED])}" + (f" and {more} more" if more > 0 else "")


def _last_line(signal: Signal) -> str:
    """Return what the check said last, which is what went wrong in most tools' output."""
    output = signal.attrs.get("output")
    lines = [clean(str(line), limit=_SAID) for line in output] if isinstance(output, (list, tuple)) else []
    return f": {lines[-1]}" if lines and lines[-1] else ""


class AttributionDetector:
    """Reports every commit whose trailer contradicts where it was made; over when none came for the rule's ``for:``."""

    kinds = frozenset({SignalKind.COMMIT})

    def __init__(self, rule: Rule, episodes: Episodes) -> None:
        """Take the rule ``commit_attribution`` and the episodes."""
        self._rule, self._episodes = rule, episodes

    def feed(self, signal: Signal) -> list[Finding]:
        """Report the commit if it carries ``attrs["mismatch"]``, the text that says what contradicts what."""
        mismatch = signal.attrs.get("mismatch")
        if not mismatch:
            return []
        finding = Finding(
            at=signal.at,
            rule=self._rule.name,
            agent=signal.agent,
            severity=self._rule.severity or Severity.WARNING,
            summary=f"commit {signal.name[:12]}: {clean(str(mismatch))}",
            fingerprint=self._rule.name,
            since=signal.at,
            signals=(signal,),
        )
        self._episodes.resume(finding)
        return [finding]

    def tick(self, now: datetime) -> list[Finding]:
        """End what is long past, so that it does not stay on the board for ever."""
        ended: list[Finding] = []
        for finding in [each for each in self._episodes if each.fingerprint == self._rule.name]:
            over = finding.at + timedelta(seconds=self._rule.for_s)
            if now > over:
                ended += self._episodes.end(finding.agent, self._rule.name, over, "no further contradiction")
        return ended
