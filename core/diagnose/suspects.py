"""Who may have done it: commits ranked by evidence, before any check is run.

Each kind of evidence multiplies a commit's odds; the products are made probabilities together with one more
candidate of odds 1, *none of these*, so that weak evidence never adds up to certainty. The factors are judgement, set
down here to be argued with, not fitted to data:

| evidence | factor |
|---|---|
| committed at most 5 min / 30 min / 2 h / a day before the trouble / earlier | 8 / 4 / 2 / 1 / 0.5 |
| committed over a minute after it | 0.05 |
| changed a file that the failing tests or their traceback name | 10 |
| by an agent that is in trouble | 4 |
| by an agent that was found guilty before | 1.5 each time, at most 3 |
| size: 10 / 100 / 1,000 lines changed | 1.3 / 1.5 / 1.8 (1 + log10 of the lines / 4, to 2 at most) |
| changed nothing but documentation | 0.3 |
| changed nothing itself (an empty commit, a clean merge) | 0.3 |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from math import log10

from ..model import Commit, Suspect

_BEFORE: tuple[tuple[timedelta, float], ...] = (
    (timedelta(minutes=5), 8.0),
    (timedelta(minutes=30), 4.0),
    (timedelta(hours=2), 2.0),
    (timedelta(days=1), 1.0),
)
_EARLIER, _AFTER = 0.5, 0.05
_SLACK = timedelta(minutes=1)
_NAMED, _IN_TROUBLE, _GUILTY, _GUILTY_MOST, _HARMLESS = 10.0, 4.0, 1.5, 3.0, 0.3
_DOCUMENTATION = (".md", ".rst", ".txt", ".adoc")


def rank(
    commits: Sequence[Commit],
    onset: datetime | None,
    *,
    agents: Sequence[str] = (),
    failing_files: Sequence[str] = (),
    troubles: Mapping[str, str] | None = None,
    guilty: Mapping[str, int] | None = None,
) -> tuple[Suspect, ...]:
    """Return ``commits`` (newest first) as suspects, the likeliest first; their probabilities sum to less than 1.

    ``onset`` is when the trouble began (``None``: unknown), ``agents`` those in trouble, ``failing_files`` the files
    that the failing tests or their traceback name (a longer or shorter path of the same file counts), ``troubles``
    what is wrong by agent (``memory climbs``), ``guilty`` how often an agent's commit was the confirmed culprit.
    Equal ones stay in the order given.
    """
    weighed = [
        (commit, *_weigh(commit, onset, agents, failing_files, troubles or {}, guilty or {})) for commit in commits
    ]
    total = 1.0 + sum(odds for _, odds, _ in weighed)
    suspects = [
        Suspect(commit.sha, commit.agent, odds / total, tuple(evidence), commit.summary, commit.at)
        for commit, odds, evidence in weighed
    ]
    return tuple(sorted(suspects, key=lambda suspect: -suspect.probability))


def _weigh(
    commit: Commit,
    onset: datetime | None,
    agents: Sequence[str],
    failing_files: Sequence[str],
    troubles: Mapping[str, str],
    guilty: Mapping[str, int],
) -> tuple[float, list[str]]:
    odds, evidence = 1.0, []
    named = [file for file in commit.files if any(_same_file(file, other) for other in failing_files)]
    if named:
        odds *= _NAMED
        more = f" and {len(named) - 2} more" if len(named) > 2 else ""
        evidence.append(f"changed {', '.join(named[:2])}{more}, named by the failing tests")
    if onset is not None:
        odds *= _time(onset - commit.at)
        evidence.append(_when(onset - commit.at))
    if commit.agent and commit.agent in agents:
        odds *= _IN_TROUBLE
        trouble = troubles.get(commit.agent)
        evidence.append(f"by {commit.agent}, " + (f"whose {trouble}" if trouble else "which is in trouble"))
    times = guilty.get(commit.agent or "", 0)
    if times:
        odds *= min(_GUILTY**times, _GUILTY_MOST)
        evidence.append(f"by {commit.agent}, found guilty {times} time{'s' if times > 1 else ''} before")
    if not commit.files:
        odds *= _HARMLESS
        evidence.append("changed no file by itself")
    elif all(file.lower().endswith(_DOCUMENTATION) for file in commit.files):
        odds *= _HARMLESS
        evidence.append("changed documentation only")
    odds *= min(2.0, 1 + log10(1 + commit.lines) / 4)
    if commit.lines >= 500:
        evidence.append(f"large: {commit.lines:,} lines")
    return odds, evidence


def _time(before: timedelta) -> float:
    if before < -_SLACK:
        return _AFTER
    return next((factor for limit, factor in _BEFORE if before <= limit), _EARLIER)


def _when(before: timedelta) -> str:
    seconds = abs(before.total_seconds())
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        if seconds >= 2 * size or unit == "s":
            return (
                f"{seconds / size:.0f} {unit} {'after' if before.total_seconds() < 0 else 'before'} the trouble began"
            )
    raise AssertionError("unreachable")


def _same_file(first: str, second: str) -> bool:
    """Return whether two paths name one file as far as both tell: ``/scratch/7/calc.py`` and ``calc.py`` do."""
    return first == second or first.endswith("/" + second) or second.endswith("/" + first)
