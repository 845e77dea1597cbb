"""The cause in words; and where no check can be run, what evidence alone allows to say: a commit, a restart, neither.

A leak, a loop, a storm of errors, silence, slowness or bad data has one of three causes: a commit of the agent, a state
that its process got into and that a restart clears, or something outside (a service, the data, the machine). How often
each of them is what, before anything is known, is judgement, set down here to be argued with:

| trouble | a commit | its state | outside |
|---|---|---|---|
| leak (memory climbs or is high) | 0.4 | 0.5 | 0.1 |
| loop (the same step for too long) | 0.35 | 0.5 | 0.15 |
| silence | 0.2 | 0.6 | 0.2 |
| storm of errors, high error rate | 0.4 | 0.3 | 0.3 |
| slow | 0.4 | 0.3 | 0.3 |
| bad data | 0.55 | 0.05 | 0.4 |

Then Bayes' rule with the one thing that is seen: whether a commit of the agent came in the half hour before it began.
If a commit is the cause it mostly did (`_SEEN`); else only by chance, which the pace of the agent's own commits gives
(Poisson: 1 - exp(-pace x half an hour)).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import exp

from ..model import Commit, Finding, Incident, Severity, SignalKind, Suspect, Verdict
from ..services import Services
from .suspects import SLACK

NEAR = timedelta(minutes=30)
"""A commit that is the cause shows by then, as a rule."""
MOST = 0.5
"""Evidence alone never makes anything surer than this."""
_SEEN = 0.8
_POINTS = 0.4
"""Below this share the evidence points nowhere."""
_CHANCE = (0.02, 0.9)
_LINES = 200
"""Lines of output that are looked through for names of files."""

_PRIORS: dict[str, tuple[float, float, float]] = {
    "leak": (0.4, 0.5, 0.1),
    "loop": (0.35, 0.5, 0.15),
    "silence": (0.2, 0.6, 0.2),
    "storm": (0.4, 0.3, 0.3),
    "slow": (0.4, 0.3, 0.3),
    "data": (0.55, 0.05, 0.4),
}
_KINDS = {
    "resource_leak": "leak",
    "memory_usage": "leak",
    "descriptors": "leak",
    "infinite_loop": "loop",
    "communication_failure": "silence",
    "error_storm": "storm",
    "error_rate": "storm",
    "batch_processing_time": "slow",
    "performance_cliff": "slow",
    "data_consistency": "data",
    "data_corruption_spread": "data",
    "matching_accuracy": "data",
}
_OUTSIDE = {"storm": "what it calls", "slow": "the load or the machine", "data": "the data that came in"}
_PATH = re.compile(r"[\w.@+-]*(?:/[\w.@+-]+)+|[\w@+-]+\.[A-Za-z]\w{0,7}\b")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What evidence alone allows to say. Never *act*: where no check fails, nothing proves that a commit did it."""

    verdict: Verdict
    confidence: float
    """That the cause which it names is the right one; at most `MOST`."""
    reasons: tuple[str, ...]
    root_cause: str


def root_cause(culprits: Sequence[Commit], checks: Sequence[str]) -> str:
    """Return who makes which checks fail: ``3f2a9c81d0be "tidy add" by executor makes tests fail``."""
    names = " and ".join([*([", ".join(checks[:-1])] if len(checks) > 1 else []), *checks[-1:]])
    told = [
        f'{"merge " if len(each.parents) > 1 else ""}{each.sha[:12]} "{each.summary}"'
        + (f" by {each.agent}" if each.agent else "")
        for each in culprits
    ]
    return f"{'; '.join(told)} {'makes' if len(told) == 1 else 'together make'} {names} fail"


def verdict_without_check(
    incident: Incident, suspects: Sequence[Suspect], onset: datetime | None, *, step: str = ""
) -> Judgement:
    """Judge an incident without a failing check; ``suspects`` are ranked, ``step`` is what the agent was doing then.

    *Ask* where a commit of the agent, or a restart, is likely enough to be worth asking about; *cannot tell* where
    nobody in particular is in trouble, or the evidence points elsewhere or nowhere.
    """
    finding = _gravest(incident)
    agent, kind = incident.agent or finding.agent, kind_of(finding)
    moment = onset or incident.since
    near = _near(suspects, agent, moment)
    doing = f" in step {step}" if step and step not in finding.summary else ""
    begin = f"{finding.summary}{doing}; no check fails, so no commit can be blamed for sure"
    alone = "no check fails: evidence alone ranks"
    if not agent:
        best = next((f", likeliest {_told(each)}: {each.evidence[0]}" for each in near[:1] if each.evidence), "")
        reason = "nobody in particular is in trouble"
        return Judgement(Verdict.CANNOT_TELL, _sure(near, 1.0), (reason, alone), f"{begin}; {reason}{best}")
    code, state, outside = _shares(kind, bool(near), _chance(suspects, agent, moment))
    if code >= max(state, outside) and near:
        cause = f"it began {_when(moment, near[0])} {_told(near[0])}, which is the likeliest cause"
        return Judgement(Verdict.ASK, _sure(near, code), (alone,), f"{begin}; {cause}")
    lacking = f"no commit of {agent} came in the half hour before" if not near else "commits came often anyway"
    if state >= max(outside, _POINTS):
        cause = f"a restart alone may do: {lacking}"
        return Judgement(Verdict.ASK, min(state, MOST), (alone, cause), f"{begin}; {cause}")
    elsewhere = f"it may come from outside ({_OUTSIDE.get(kind, 'what it depends on')}): {lacking}"
    return Judgement(Verdict.CANNOT_TELL, min(outside, MOST), (elsewhere, alone), f"{begin}; {elsewhere}")


def kind_of(finding: Finding) -> str:
    """Return which of the troubles of the table above it is; a metric of the user's own counts as slow."""
    return _KINDS.get(finding.rule) or _KINDS.get(finding.fingerprint.removesuffix(":trend"), "slow")


def step_at(services: Services, agent: str, moment: datetime | None) -> str:
    """Return the step that ``agent`` was in at that time; empty: it told none. Raises StoreError."""
    steps = services.signals.of_kind(agent, SignalKind.STEP, _LINES) if agent else []
    before = [signal.name for signal in steps if moment is None or signal.at <= moment]
    return before[-1] if before else ""


def error_files(services: Services, incident: Incident, onset: datetime | None) -> tuple[str, ...]:
    """Return the files that the output of the agent in trouble names since shortly before it began.

    For `rollcage.core.diagnose.suspects.rank`, which compares them with what commits changed. Raises StoreError.
    """
    if not incident.agent:
        return ()
    since = (onset or incident.since) - SLACK
    lines = [
        signal
        for kind in (SignalKind.ERROR, SignalKind.LOG)
        for signal in services.signals.of_kind(incident.agent, kind, _LINES)
        if signal.at >= since
    ]
    texts = [signal.text for signal in lines if signal.text]
    texts += [str(value) for signal in lines for value in signal.attrs.values() if isinstance(value, str)]
    return tuple(dict.fromkeys(path for text in texts for path in _PATH.findall(text)))


def _gravest(incident: Incident) -> Finding:
    """Return the first of the gravest findings, one that is not over if there is one."""
    over = {each.fingerprint for each in incident.findings if each.ended}
    lasting = [each for each in incident.findings if each.fingerprint not in over] or list(incident.findings)
    return next((each for each in lasting if each.severity is Severity.CRITICAL), lasting[0])


def _near(suspects: Sequence[Suspect], agent: str, onset: datetime) -> list[Suspect]:
    """Return the agent's commits (everybody's without one) of the half hour before ``onset``, the likeliest first."""
    return [each for each in suspects if (not agent or each.agent == agent) and each.at and _is_near(onset - each.at)]


def _is_near(before: timedelta) -> bool:
    return -SLACK <= before <= NEAR


def _chance(suspects: Sequence[Suspect], agent: str, onset: datetime) -> float:
    """Return how likely half an hour has a commit of ``agent`` by chance, by those that lie further back."""
    times = [each.at for each in suspects if each.at is not None and onset - each.at > NEAR]
    own = [each for each in suspects if each.agent == agent and each.at is not None and onset - each.at > NEAR]
    span = (onset - NEAR - min(times)) if times else timedelta(0)
    pace = len(own) / max(span / NEAR, 1.0)
    return min(max(1 - exp(-pace), _CHANCE[0]), _CHANCE[1])


def _shares(kind: str, near: bool, chance: float) -> Iterator[float]:
    """Yield how likely a commit, the process' state, and something outside are, given whether a commit is near."""
    code, state, outside = _PRIORS[kind]
    weights = (
        code * (_SEEN if near else 1 - _SEEN),
        *(each * (chance if near else 1 - chance) for each in (state, outside)),
    )
    total = sum(weights)
    return (weight / total for weight in weights)


def _sure(near: Sequence[Suspect], share: float) -> float:
    """Return how sure the first of ``near`` is the cause, if with that share one of them is."""
    whole = sum(each.probability for each in near)
    return min(share * near[0].probability / whole, MOST) if whole else 0.0


def _told(suspect: Suspect) -> str:
    who = f" by {suspect.agent}" if suspect.agent else ""
    return f'{suspect.sha[:12]} "{suspect.summary}"{who}'


def _when(onset: datetime, suspect: Suspect) -> str:
    seconds = (onset - suspect.at).total_seconds() if suspect.at else 0.0
    return "with" if seconds < 1 else f"{seconds:.0f} s after" if seconds < 120 else f"{seconds / 60:.0f} min after"
