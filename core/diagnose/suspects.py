"""Who may have done it: commits ranked by evidence, before any check is run.

Each kind of evidence multiplies a commit's odds; the products are made probabilities together with one more
candidate of odds 1, *none of these*, so that weak evidence never adds up to certainty. The factors are judgement, set
down here to be argued with, not fitted to data:

| evidence | factor |
|---|---|
| committed at most 5 min / 30 min / 2 h / a day before the trouble / earlier | 8 / 4 / 2 / 1 / 0.5 |
| committed over a minute after it | 0.05 |
| changed a file that the failing tests or their traceback name | 10 |
| changed a file that the output of the agent in trouble names | 6 |
| else changed a file that a failing test is named after | 4 |
| changed a function or class that the failing tests or their output name | 8 |
| by an agent that is in trouble | 4 |
| by an agent that was found guilty before | 1.5 each time, at most 3 |
| size: 10 / 100 / 1,000 lines changed | 1.3 / 1.5 / 1.8 (1 + log10 of the lines / 4, to 2 at most) |
| changed nothing but tests or the settings of checks: none that the failing tests name / no check fails | 0.5 / 0.3 |
| changed nothing but documentation | 0.3 |
| changed nothing itself (an empty commit, a clean merge) | 0.3 |

What a commit says about itself is no evidence: neither a frightening message nor an innocent one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from math import log10

from ..model import Commit, Suspect
from .files import MOST_NAMES, Named, Spoken, is_check_setting, is_documentation, is_test

_BEFORE: tuple[tuple[timedelta, float], ...] = (
    (timedelta(minutes=5), 8.0),
    (timedelta(minutes=30), 4.0),
    (timedelta(hours=2), 2.0),
    (timedelta(days=1), 1.0),
)
_EARLIER, _AFTER = 0.5, 0.05
SLACK = timedelta(minutes=1)
"""Clocks differ, and trouble is noticed late: a commit may come so long after the trouble and still be its cause."""
_NAMED, _IN_OUTPUT, _TESTED, _IN_TROUBLE, _GUILTY, _GUILTY_MOST = 10.0, 6.0, 4.0, 4.0, 1.5, 3.0
_TOUCHED = 8.0
_TESTS_ONLY, _HARMLESS = 0.5, 0.3

_Weight = tuple[float, str]
"""A factor, and the evidence in words; without words it is not worth a line."""


def rank(
    commits: Sequence[Commit],
    onset: datetime | None,
    *,
    agents: Sequence[str] = (),
    failing_files: Sequence[str] = (),
    failing_tests: Sequence[str] = (),
    error_files: Sequence[str] = (),
    check: str = "",
    troubles: Mapping[str, str] | None = None,
    guilty: Mapping[str, int] | None = None,
    output: str = "",
    touched: Mapping[str, Collection[str]] | None = None,
) -> tuple[Suspect, ...]:
    """Return ``commits`` (newest first) as suspects, the likeliest first; their probabilities sum to less than 1.

    ``onset`` is when the trouble began (``None``: unknown); with ``check``, the name of a failing one, when it was seen
    to fail. ``agents`` are those in trouble, ``failing_files`` the files that the failing tests or their traceback name
    (a longer or shorter path of the same file counts), ``failing_tests`` the tests by their JUnit names, ``output``
    what they print, ``touched`` the names of the functions that a commit changed, by its sha, ``error_files`` what the
    output of the agent in trouble names, ``troubles`` what is wrong by agent (``memory climbs``), ``guilty`` how often
    an agent's commit was the confirmed culprit. Equal ones stay in the order given.
    Takes time in proportion to the commits' files.
    """
    named, erring = Named(failing_files, failing_tests), Named(error_files, ())
    spoken = Spoken("\n".join((*failing_tests[:MOST_NAMES], output)))
    weighed = []
    for commit in commits:
        weights = [
            *_named(commit, named, erring),
            *_touched((touched or {}).get(commit.sha, ()), spoken),
            *_changed(commit, named, has_check=bool(check or failing_files or failing_tests)),
            *_time(commit, onset, check),
            *_agent(commit, agents, troubles or {}, guilty or {}),
            *_size(commit),
        ]
        odds = 1.0
        for factor, _ in weights:
            odds *= factor
        weighed.append((commit, odds, tuple(words for _, words in weights if words)))
    total = 1.0 + sum(odds for _, odds, _ in weighed)
    suspects = [
        Suspect(commit.sha, commit.agent, odds / total, evidence, commit.summary, commit.at)
        for commit, odds, evidence in weighed
    ]
    return tuple(sorted(suspects, key=lambda suspect: -suspect.probability))


def _named(commit: Commit, named: Named, erring: Named) -> Iterator[_Weight]:
    for among, factor, by in ((named, _NAMED, "by the failing tests"), (erring, _IN_OUTPUT, "in the agent's output")):
        found = [file for file in commit.files if among.has(file)]
        if found:
            more = f" and {len(found) - 2} more" if len(found) > 2 else ""
            yield factor, f"changed {', '.join(found[:2])}{more}, named {by}"
            return
    if tested := next((file for file in commit.files if named.tested_by(file)), ""):
        yield _TESTED, f"changed {tested}, after which the failing {named.tested_by(tested)} is named"


def _touched(names: Collection[str], spoken: Spoken) -> Iterator[_Weight]:
    if found := spoken.of(names):
        more = f" and {len(found) - 2} more" if len(found) > 2 else ""
        yield _TOUCHED, f"changed {', '.join(found[:2])}{more}, of which the failing tests speak"


def _changed(commit: Commit, named: Named, *, has_check: bool) -> Iterator[_Weight]:
    if not commit.files:
        yield _HARMLESS, "changed no file by itself"
    elif all(map(is_documentation, commit.files)):
        yield _HARMLESS, "changed documentation only"
    elif all(is_test(file) or is_check_setting(file) for file in commit.files):
        tests, settings = any(map(is_test, commit.files)), any(map(is_check_setting, commit.files))
        what = " and ".join(["tests"] * tests + ["the settings of checks"] * settings)
        guilty = any(map(named.has, commit.files))
        factor = (1.0 if guilty else _TESTS_ONLY) if has_check else _HARMLESS
        yield factor, f"changed {what} only{': the test itself may be wrong' if guilty else ''}"


def _time(commit: Commit, onset: datetime | None, check: str) -> Iterator[_Weight]:
    if onset is None:
        return
    before = onset - commit.at
    event = f"{check} was seen to fail" if check else "the trouble began"
    if before < -SLACK:
        yield _AFTER, f"{_span(before)} after {event}, so hardly its cause"
        return
    factor = next((factor for limit, factor in _BEFORE if before <= limit), _EARLIER)
    yield factor, f"{_span(before)} before {event}" if before >= timedelta(seconds=1) else f"just as {event}"


def _agent(
    commit: Commit, agents: Sequence[str], troubles: Mapping[str, str], guilty: Mapping[str, int]
) -> Iterator[_Weight]:
    if commit.agent and commit.agent in agents:
        trouble = troubles.get(commit.agent)
        yield _IN_TROUBLE, f"by {commit.agent}, " + (f"whose {trouble}" if trouble else "which is in trouble")
    times = guilty.get(commit.agent or "", 0)
    if times:
        words = f"by {commit.agent}, found guilty {times} time{'s' if times > 1 else ''} before"
        yield min(_GUILTY**times, _GUILTY_MOST), words


def _size(commit: Commit) -> Iterator[_Weight]:
    words = f"large: {commit.lines:,} lines" if commit.lines >= 500 else ""
    yield min(2.0, 1 + log10(1 + commit.lines) / 4), words


def _span(span: timedelta) -> str:
    seconds = abs(span.total_seconds())
    unit, size = next(
        (each for each in (("days", 86_400), ("h", 3_600), ("min", 60)) if seconds >= 2 * each[1]), ("s", 1)
    )
    return f"{seconds / size:.0f} {unit}"
