"""Diagnosis: when it began, the last time all was well, who is suspected, and who did it, confirmed by the checks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ..checks.checks import Belief
from ..config import CheckSettings
from ..gitrepo.history import attribute, commits
from ..model import (
    CheckOutcome,
    CheckRuns,
    Commit,
    Diagnosis,
    Finding,
    Incident,
    Reach,
    Suspect,
    Verdict,
)
from ..services import Services
from .search import SearchResult, search
from .suspects import rank

CHECK_RULE = "check_failed"
CONFIRMED = 0.97
"""Probability of a culprit whose parent passes and which fails, both seen afresh, by the same failing tests."""

Progress = Callable[[str], None]


@dataclass(slots=True)
class Prober:
    """Runs the failing checks on commits and remembers what was seen; `search` asks it."""

    services: Services
    failing: Sequence[CheckSettings]
    stop: threading.Event
    tests: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By check, the tests that fail at the head: only they are followed, so that no other bug is blamed."""

    def outcome(self, sha: str, check: CheckSettings, *, fresh: bool = False) -> CheckOutcome:
        """Run one check on one commit, following the failing tests that are known; cached by tree unless ``fresh``."""
        tree = self.services.repository.tree(sha)
        only = sorted(self.tests.get(check.name, ()))
        return self.services.checks.run(sha, tree, check, fresh=fresh, stop=self.stop, only=only)

    def __call__(self, sha: str, fresh: bool = False) -> bool | None:
        """Return whether ``sha`` passes; ``None``: cannot tell (flaky, does not build)."""
        verdicts = [self.outcome(sha, check, fresh=fresh).passed for check in self.failing]
        if False in verdicts:
            return False
        return None if None in verdicts else True


def diagnose(
    services: Services,
    incident: Incident,
    *,
    progress: Progress = lambda text: None,
    stop: threading.Event | None = None,
) -> Diagnosis:
    """Find out what happened; changes nothing but caches. Long: runs the user's checks in scratch trees."""
    started = services.clock.boot()
    stop = stop or threading.Event()
    head = services.repository.tip(services.settings.branch)
    if head is None:
        return _cannot_tell(services, incident, "", ["the branch has no commit yet"], started, (), CheckRuns())
    failing = failing_checks(services, incident)
    if failing:
        return _by_checks(services, incident, head, failing, progress, stop, started)
    return _by_evidence(services, incident, head, started)


def failing_checks(services: Services, incident: Incident) -> list[CheckSettings]:
    """Return the settings of the checks whose failure is part of ``incident``."""
    names = {finding.fingerprint.removeprefix("check:") for finding in incident.findings if finding.rule == CHECK_RULE}
    return [check for check in services.settings.checks if check.name in names]


def _by_checks(
    services: Services,
    incident: Incident,
    head: str,
    failing: list[CheckSettings],
    progress: Progress,
    stop: threading.Event,
    started: float,
) -> Diagnosis:
    tree = services.repository.tree(head)
    reasons = []
    for check in failing:
        progress(f"can check {check.name} be believed?")
        belief: Belief = services.checks.believed(check, head, tree, stop=stop)
        if not belief.believed:
            reasons.append(belief.why)
    history = _history(services, head, limit=services.settings.limits.lookback + 1)
    failing_files = _failing_files(incident)
    if reasons:
        suspects = _rank(services, incident, history[: _window(services, history)], failing_files)
        return _cannot_tell(services, incident, head, reasons, started, suspects, CheckRuns())
    prober = Prober(services, failing, stop)
    prober.tests = {check.name: prober.outcome(head, check).failing for check in failing}
    good = _newest_good(services, history)
    suspects = _rank(services, incident, history[: good if good is not None else len(history)], failing_files)
    found: SearchResult = search(
        [commit.sha for commit in history],
        prober,
        last_good=history[good].sha if good is not None else None,
        priors={suspect.sha: suspect.probability for suspect in suspects},
        lookback=services.settings.limits.lookback,
        progress=progress,
        stop=stop.is_set,
    )
    runs = CheckRuns(search=found.search_runs, confirm=found.confirm_runs)
    if found.last_good is not None:
        index = next(i for i, commit in enumerate(history) if commit.sha == found.last_good)
        suspects = _rank(services, incident, history[:index], failing_files)
    if not found.confirmed or not found.culprits:
        why = list(found.reasons) or ["the culprit could not be confirmed against its parent"]
        return _cannot_tell(services, incident, head, why, started, suspects, runs, last_good=found.last_good)
    by_sha = {commit.sha: commit for commit in history}
    names = ", ".join(check.name for check in failing)
    culprits = tuple(
        _culprit(by_sha[sha], suspects, f"{names} fails there and passes on its parent, seen afresh on both")
        for sha in found.culprits
    )
    others = tuple(suspect for suspect in suspects if suspect.sha not in found.culprits)
    reach = _reach(incident, [by_sha[sha] for sha in found.culprits])
    culprit = by_sha[found.culprits[0]]
    who = f" by {culprit.agent}" if culprit.agent else ""
    opted_out = [commit.sha for commit in map(by_sha.__getitem__, found.culprits) if commit.opted_out]
    return Diagnosis(
        incident=incident.id,
        verdict=Verdict.ASK if opted_out else Verdict.ACT,
        onset=min(commit.at for commit in map(by_sha.__getitem__, found.culprits)),
        last_good=found.last_good,
        culprits=culprits,
        suspects=(*culprits, *others),
        agents=tuple(dict.fromkeys(suspect.agent for suspect in culprits if suspect.agent)),
        reach=reach,
        root_cause=f'{culprit.sha[:12]} "{culprit.summary}"{who} makes {names} fail',
        confidence=CONFIRMED,
        check_runs=runs,
        duration_s=services.clock.boot() - started,
        head=head,
        reasons=tuple(f"{sha[:12]} carries the trailer Rollcage: keep" for sha in opted_out),
    )


def _culprit(commit: Commit, suspects: Sequence[Suspect], proof: str) -> Suspect:
    evidence = next((suspect.evidence for suspect in suspects if suspect.sha == commit.sha), ())
    return Suspect(commit.sha, commit.agent, CONFIRMED, (proof, *evidence), commit.summary, commit.at)


def _by_evidence(services: Services, incident: Incident, head: str, started: float) -> Diagnosis:
    """Without a check to run, evidence alone ranks; nobody acts on it alone, but a restart may be enough."""
    history = _history(services, head, limit=services.settings.limits.lookback)
    suspects = _rank(services, incident, history[: _window(services, history)], ())
    own = [suspect for suspect in suspects if suspect.agent == incident.agent and incident.agent]
    best = max((suspect.probability for suspect in own), default=0.0)
    finding = incident.findings[0]
    return Diagnosis(
        incident=incident.id,
        verdict=Verdict.ASK if incident.agent else Verdict.CANNOT_TELL,
        onset=incident.since,
        last_good=None,
        culprits=(),
        suspects=suspects,
        agents=(incident.agent,) if incident.agent else (),
        reach=_reach(incident, []),
        root_cause=f"{finding.summary}; no check fails, so no commit can be blamed for sure",
        confidence=min(best, 0.5),
        check_runs=CheckRuns(),
        duration_s=services.clock.boot() - started,
        head=head,
        reasons=("no check fails: evidence alone ranks",),
    )


def _cannot_tell(
    services: Services,
    incident: Incident,
    head: str,
    reasons: Sequence[str],
    started: float,
    suspects: tuple[Suspect, ...],
    runs: CheckRuns,
    last_good: str | None = None,
) -> Diagnosis:
    return Diagnosis(
        incident=incident.id,
        verdict=Verdict.CANNOT_TELL,
        onset=incident.since,
        last_good=last_good,
        culprits=(),
        suspects=suspects,
        agents=(incident.agent,) if incident.agent else (),
        reach=_reach(incident, []),
        root_cause=f"cannot tell: {reasons[0]}",
        confidence=0.0,
        check_runs=runs,
        duration_s=services.clock.boot() - started,
        head=head,
        reasons=tuple(reasons),
    )


def _history(services: Services, head: str, limit: int) -> list[Commit]:
    return attribute(commits(services.mirror, head, limit=limit), services.settings.agents)


def _newest_good(services: Services, history: Sequence[Commit]) -> int | None:
    """Return the index of the newest commit in ``history`` that is marked good for the checks as they are now."""
    good = set(services.store.good_commits(services.checks.checks_hash))
    return next((index for index, commit in enumerate(history) if commit.sha in good), None)


def _window(services: Services, history: Sequence[Commit]) -> int:
    """Return how many of the newest commits are suspects: those since the last good one, at least one, at most 20."""
    good = _newest_good(services, history)
    return max(good if good is not None else min(len(history), 20), 1)


def _rank(
    services: Services, incident: Incident, history: Sequence[Commit], failing_files: Sequence[str]
) -> tuple[Suspect, ...]:
    agents = [incident.agent] if incident.agent else []
    troubles = {finding.agent: finding.summary for finding in incident.findings if finding.rule != CHECK_RULE}
    return rank(history, incident.since, agents=agents, failing_files=failing_files, troubles=troubles)


def _failing_files(incident: Incident) -> tuple[str, ...]:
    """Return the files that the failing checks' output names, as far as the signals carry them."""
    files: list[str] = []
    for finding in incident.findings:
        for signal in finding.signals:
            named = signal.attrs.get("files")
            if isinstance(named, (list, tuple)):
                files += [str(name) for name in named]
    return tuple(dict.fromkeys(files))


def _reach(incident: Incident, culprits: Sequence[Commit]) -> Reach:
    agents = [commit.agent for commit in culprits if commit.agent]
    tables = [name for finding in incident.findings for name in _tables(finding)]
    return Reach(
        files=tuple(dict.fromkeys(path for commit in culprits for path in commit.files)),
        agents=tuple(dict.fromkeys(agents or ([incident.agent] if incident.agent else []))),
        tables=tuple(dict.fromkeys(tables)),
    )


def _tables(finding: Finding) -> list[str]:
    """Return the database checks that found errors: the nearest to a table's name that is known."""
    if finding.rule != "data_consistency":
        return []
    return [name for signal in finding.signals for name, count in signal.attrs.items() if count]
