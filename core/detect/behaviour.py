"""Layer 2, the part that time alone tells: the same error over and over, a step that does not end, silence.

These depend on the clock only through `tick`; what they report carries the moment at which it became true, so that
ticking rarely or often gives the same findings.
"""

from __future__ import annotations

import re
from bisect import insort
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ..model import AgentState, Finding, Hold, Severity, Signal, SignalKind
from .episodes import Episodes
from .rules import Rule, show

_MASKS = (
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b0x[0-9a-f]+\b", re.IGNORECASE), "<id>"),
    (re.compile(r"(?<![\w<])(?:~|\.{1,2})?(?:/[\w.@%+=-]+)+/?"), "<path>"),
    (re.compile(r"\b(?=[a-f]*\d)[0-9a-f]{7,64}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\d+(?:[.,:]\d+)*"), "<n>"),
)
_MOST_TEMPLATES = 5_000
SAMPLED = frozenset({"memory_usage", "cpu", "descriptors", "processes"})
"""Metrics that rollcage measures from outside: they are no sign that an agent does anything."""


def _template(signal: Signal) -> str:
    """Return what equal errors have in common; observers put it there, agents' own reports are masked here."""
    given = signal.attrs.get("template")
    masked = str(given or signal.text or signal.name)[:300]
    if not given:
        for pattern, mark in _MASKS:
            masked = pattern.sub(mark, masked)
    return masked[:120]


@dataclass(slots=True)
class _Errors:
    times: list[datetime] = field(default_factory=list)
    last: tuple[Signal, ...] = ()


class StormDetector:
    """The same error, numbers and names masked, ``warning`` times within the rule's ``for:``; one finding a storm."""

    kinds = frozenset({SignalKind.ERROR})

    def __init__(self, rule: Rule, episodes: Episodes) -> None:
        """Take the rule ``error_storm`` and the episodes."""
        self._rule, self._episodes = rule, episodes
        self._window = timedelta(seconds=rule.for_s)
        self._count = int(rule.warning or 10)
        # The most recently fed last, so that the stale ones are found at the front.
        self._errors: dict[tuple[str, str], _Errors] = {}

    def feed(self, signal: Signal) -> list[Finding]:
        """Count one error."""
        template = _template(signal)
        key = (signal.agent, template)
        errors = self._errors.pop(key, None) or _Errors()
        self._errors[key] = errors
        if len(self._errors) > _MOST_TEMPLATES:
            del self._errors[next(iter(self._errors))]
        insort(errors.times, signal.at)
        del errors.times[: -self._count]
        errors.last = (*errors.last[-9:], signal)
        if len(errors.times) < self._count or errors.times[-1] - errors.times[0] > self._window:
            return []
        span = show((errors.times[-1] - errors.times[0]).total_seconds(), "s")
        return self._episodes.begin(
            Finding(
                at=signal.at,
                rule=self._rule.name,
                agent=signal.agent,
                severity=self._rule.severity or Severity.WARNING,
                summary=f"the same error {self._count} times in {span}: {template}",
                fingerprint=f"{self._rule.name}:{template}",
                since=errors.times[0],
                value=float(self._count),
                signals=errors.last,
            )
        )

    def tick(self, now: datetime) -> list[Finding]:
        """End the storms in which nothing came for a whole window."""
        ended: list[Finding] = []
        while self._errors:
            (agent, template), errors = next(iter(self._errors.items()))
            over = errors.times[-1] + self._window
            if now <= over:
                break
            del self._errors[agent, template]
            ended += self._episodes.end(agent, f"{self._rule.name}:{template}", over, f"no longer: {template}")
        return ended


@dataclass(slots=True)
class _Work:
    """What an agent is doing, as far as its signals tell."""

    running: bool = False
    step: str = ""
    since: datetime | None = None
    """Of the step."""
    heard: datetime | None = None
    expected: datetime | None = None
    """Until when a declared long step may take."""
    last: tuple[Signal, ...] = ()


class _Watch:
    """Follows state, step and silence of each agent; the two detectors below ask it different questions."""

    def __init__(self, rule: Rule, episodes: Episodes) -> None:
        self._rule, self._episodes = rule, episodes
        self._limit = timedelta(seconds=rule.for_s)
        self._work: dict[str, _Work] = {}

    def _note(self, signal: Signal) -> tuple[_Work, bool]:
        """Take one signal into account; return the agent's work, and whether the agent itself gave a sign of life."""
        work = self._work.setdefault(signal.agent, _Work())
        if signal.kind is SignalKind.STATE:
            was = work.running
            held = signal.attrs.get("hold") not in {None, "", Hold.NONE.value}
            work.running = signal.name == AgentState.RUNNING and not held
            if not work.running:
                work.since = None
            elif not was:  # after a hold the step goes on, its time begins anew
                work.step = work.step if "hold" in signal.attrs else ""
                work.since = signal.at if work.step else None
                work.expected, work.heard = None, signal.at
            return work, work.running and not was
        if signal.kind is SignalKind.METRIC and signal.name in SAMPLED:
            return work, False
        work.heard = signal.at if work.heard is None else max(work.heard, signal.at)
        work.last = (*work.last[-4:], signal)
        if signal.kind is SignalKind.STEP:
            if work.step != signal.name or work.since is None:
                work.step, work.since = signal.name, signal.at
            work.expected = None
            expect = signal.attrs.get("expect")
            if isinstance(expect, (int, float)) and 0 < expect < 10**9:
                work.expected = signal.at + timedelta(seconds=expect)
        return work, True

    def _late(self, since: datetime, expected: datetime | None) -> datetime:
        deadline = since + self._limit
        return deadline if expected is None else max(deadline, expected)

    def _begin(self, agent: str, at: datetime, since: datetime, severity: Severity, text: str) -> list[Finding]:
        return self._episodes.begin(
            Finding(
                at=at,
                rule=self._rule.name,
                agent=agent,
                severity=self._rule.severity or severity,
                summary=text,
                fingerprint=self._rule.name,
                since=since,
                signals=self._work[agent].last,
            )
        )


class LoopDetector(_Watch):
    """The same step for longer than the rule's ``for:``, and than the agent declared, while the agent runs."""

    kinds = frozenset({SignalKind.STATE, SignalKind.STEP})

    def feed(self, signal: Signal) -> list[Finding]:
        """Note a step or state; another step, or the end of running, ends the trouble."""
        before = self._work.get(signal.agent)
        step = before.step if before else ""
        work, _ = self._note(signal)
        if work.since is None or work.step != step:
            return self._episodes.end(signal.agent, self._rule.name, signal.at, f"no longer in step {step}", (signal,))
        return []

    def tick(self, now: datetime) -> list[Finding]:
        """Report the steps that have taken too long by ``now``."""
        findings: list[Finding] = []
        for agent, work in self._work.items():
            if work.since is None or now <= (late := self._late(work.since, work.expected)):
                continue
            text = f"in step {work.step} for over {show((late - work.since).total_seconds(), 's')}"
            findings += self._begin(agent, late, work.since, Severity.CRITICAL, text)
        return findings


class SilenceDetector(_Watch):
    """No sign of life from a running agent for longer than the rule's ``for:``, and than a step that it declared."""

    kinds = frozenset(SignalKind)

    def feed(self, signal: Signal) -> list[Finding]:
        """Note a sign of life, which ends the trouble, or that the agent no longer runs."""
        if not signal.agent or signal.attrs.get("check") is True:
            return []
        work, alive = self._note(signal)
        if alive or not work.running:
            return self._episodes.end(signal.agent, self._rule.name, signal.at, "no longer silent", (signal,))
        return []

    def tick(self, now: datetime) -> list[Finding]:
        """Report the running agents that have been silent for too long by ``now``."""
        findings: list[Finding] = []
        for agent, work in self._work.items():
            if not work.running or work.heard is None or now <= (late := self._late(work.heard, work.expected)):
                continue
            text = f"silent for over {show((late - work.heard).total_seconds(), 's')}"
            findings += self._begin(agent, late, work.heard, Severity.WARNING, text)
        return findings
