"""Diagnosis: when it began, the last time all was well, who is suspected, and who did it, confirmed by the checks."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from ..config import CheckSettings
from ..gitrepo.history import commits
from ..model import CheckRuns, Commit, Diagnosis, Finding, Incident, Reach, Suspect, Verdict
from ..services import Services, attributed
from ..units import Dimension, write
from .probe import Prober, TimeLimit
from .search import SearchResult, search
from .suspects import rank

CHECK_RULE = "check_failed"
CONFIRMED = 0.97
"""Probability of a culprit whose parent passes and which fails, both seen afresh, by the same failing tests."""
WINDOW = 20
"""Commits that are suspects where no good one is known and no check tells."""
PAST = 100
"""Earlier incidents whose culprits count as evidence."""

Progress = Callable[[str], None]


def diagnose(
    services: Services,
    incident: Incident,
    *,
    progress: Progress = lambda text: None,
    stop: threading.Event | None = None,
) -> Diagnosis:
    """Find out what happened; changes nothing but caches. Long: runs the user's checks in scratch trees.

    It ends within ``limits.check_time``, but for a check that takes some seconds to be killed, and early once ``stop``
    is set: then it cannot tell. Raises GitError, StoreError.
    """
    limit = TimeLimit(services.clock, services.settings.limits.check_time, stop or threading.Event())
    case = _Case(services, incident, limit, services.clock.boot())
    head = services.repository.tip(services.settings.branch)
    if head is None:
        return case.cannot_tell("", ["the branch has no commit yet"])
    failing = failing_checks(services, incident)
    return _by_checks(case, head, failing, progress) if failing else _by_evidence(case, head)


def failing_checks(services: Services, incident: Incident) -> list[CheckSettings]:
    """Return the settings of the checks whose failure is part of ``incident`` and not seen to be over."""
    names = {finding.fingerprint.removeprefix("check:") for finding in _lasting(incident) if finding.rule == CHECK_RULE}
    return [check for check in services.settings.checks if check.name in names]


@dataclass(frozen=True, slots=True)
class _Case:
    """What every part of one diagnosis needs."""

    services: Services
    incident: Incident
    limit: TimeLimit
    started: float

    def cannot_tell(
        self,
        head: str,
        reasons: Sequence[str],
        suspects: tuple[Suspect, ...] = (),
        runs: CheckRuns | None = None,
        last_good: str | None = None,
    ) -> Diagnosis:
        """Return the verdict that nothing is to be taken back, and why."""
        if self.limit.is_over:
            given = write(self.services.settings.limits.check_time, Dimension.DURATION)
            reasons = [f"the time for checks is up (limits.check_time: {given})", *reasons]
        return self.diagnosis(
            Verdict.CANNOT_TELL,
            f"cannot tell: {reasons[0]}",
            head=head,
            suspects=suspects,
            runs=runs,
            last_good=last_good,
            reasons=reasons,
        )

    def diagnosis(
        self,
        verdict: Verdict,
        root_cause: str,
        *,
        head: str,
        suspects: tuple[Suspect, ...] = (),
        runs: CheckRuns | None = None,
        last_good: str | None = None,
        reasons: Sequence[str] = (),
        confidence: float = 0.0,
    ) -> Diagnosis:
        """Return a diagnosis without a confirmed culprit: it stays with the agent in trouble."""
        agents = (self.incident.agent,) if self.incident.agent else ()
        return Diagnosis(
            incident=self.incident.id,
            verdict=verdict,
            onset=self.incident.since,
            last_good=last_good,
            culprits=(),
            suspects=suspects,
            agents=agents,
            reach=Reach(agents=agents, tables=_tables(self.incident)),
            root_cause=root_cause,
            confidence=confidence,
            check_runs=runs or CheckRuns(),
            duration_s=self.services.clock.boot() - self.started,
            head=head,
            reasons=tuple(reasons),
        )

    def history(self, head: str) -> list[Commit]:
        """Return what is searched: first parents, newest first, and one more, which tells that there is more."""
        found = commits(self.services.mirror, head, limit=self.services.settings.limits.lookback + 2)
        return attributed(self.services, found)

    def rank(self, history: Sequence[Commit]) -> tuple[Suspect, ...]:
        """Return ``history`` ranked by all evidence there is."""
        store, incident = self.services.store, self.incident
        others = store.incidents(open_only=True)
        found = [finding for each in (*others, incident) for finding in _lasting(each) if finding.rule != CHECK_RULE]
        troubles = {finding.agent: finding.summary for finding in found if finding.agent}
        past = [store.diagnosis(each.id) for each in store.incidents(limit=PAST) if each.id != incident.id]
        guilty = Counter(one.agent for earlier in past if earlier for one in earlier.culprits if one.agent)
        return rank(
            history,
            incident.since,
            agents=[*troubles, *([incident.agent] if incident.agent else [])],
            failing_files=_failing_files(incident),
            troubles=troubles,
            guilty=guilty,
        )


def _by_checks(case: _Case, head: str, failing: Sequence[CheckSettings], progress: Progress) -> Diagnosis:
    services = case.services
    history = case.history(head)
    good = _newest_good(services, history)
    window = good if good is not None else min(len(history), WINDOW)
    believed, doubts = _believed(case, head, failing, progress)
    if not believed:
        return case.cannot_tell(head, doubts, case.rank(history[: max(window, 1)]))
    prober = Prober(services, believed, case.limit)
    prober.follow(head)
    suspects = case.rank(history[: good if good is not None else len(history)])
    found = search(
        [commit.sha for commit in history],
        prober,
        last_good=history[good].sha if good is not None else None,
        priors={suspect.sha: suspect.probability for suspect in suspects},
        lookback=services.settings.limits.lookback,
        progress=progress,
        stop=case.limit.is_set,
    )
    runs = CheckRuns(search=prober.search_runs, confirm=prober.confirm_runs)
    if found.last_good is not None:
        suspects = case.rank(history[: [commit.sha for commit in history].index(found.last_good)])
    if found.confirmed:
        by_sha = {commit.sha: commit for commit in history}
        return _confirmed(case, head, [by_sha[sha] for sha in found.culprits], suspects, believed, found, runs)
    if len(found.candidates) > 1 and not case.limit.is_set():
        return _narrowed(case, head, suspects, found, runs)
    return case.cannot_tell(head, [*found.reasons, *doubts], suspects, runs, found.last_good)


def _believed(
    case: _Case, head: str, failing: Sequence[CheckSettings], progress: Progress
) -> tuple[list[CheckSettings], list[str]]:
    """Return the checks that may be believed, and of each other one why not."""
    believed, doubts = [], []
    tree = case.services.repository.tree(head)
    for check in failing:
        progress(f"can check {check.name} be believed?")
        belief = case.services.checks.believed(check, head, tree, stop=case.limit)
        if belief.believed:
            believed.append(check)
        else:
            doubts.append(belief.why)
    return believed, doubts


def _confirmed(
    case: _Case,
    head: str,
    guilty: Sequence[Commit],
    suspects: Sequence[Suspect],
    checks: Sequence[CheckSettings],
    found: SearchResult,
    runs: CheckRuns,
) -> Diagnosis:
    guilty = [_whose_merge(case.services, commit) for commit in guilty]
    names = ", ".join(check.name for check in checks)
    proof = f"{names} {'fails' if len(checks) == 1 else 'fail'} there and not on its parent, seen afresh on both"
    evidence = {suspect.sha: suspect.evidence for suspect in suspects}
    culprits = tuple(
        Suspect(each.sha, each.agent, CONFIRMED, (proof, *evidence.get(each.sha, ())), each.summary, each.at)
        for each in guilty
    )
    first = guilty[0]
    opted_out = [commit.sha for commit in guilty if commit.opted_out]
    agents = tuple(dict.fromkeys(commit.agent for commit in guilty if commit.agent))
    who = f" by {first.agent}" if first.agent else ""
    what = "merge " if len(first.parents) > 1 else ""
    base = case.diagnosis(
        Verdict.ASK if opted_out else Verdict.ACT,
        f'{what}{first.sha[:12]} "{first.summary}"{who} makes {names} fail',
        head=head,
        suspects=(*culprits, *(suspect for suspect in suspects if suspect.sha not in found.culprits)),
        runs=runs,
        last_good=found.last_good,
        reasons=[f"{sha[:12]} carries the trailer Rollcage: keep" for sha in opted_out],
        confidence=CONFIRMED,
    )
    return replace(
        base,
        culprits=culprits,
        onset=min(commit.at for commit in guilty),
        agents=agents,
        reach=Reach(
            files=tuple(dict.fromkeys(path for commit in guilty for path in commit.files)),
            agents=agents or base.agents,
            tables=base.reach.tables,
        ),
    )


def _narrowed(case: _Case, head: str, suspects: Sequence[Suspect], found: SearchResult, runs: CheckRuns) -> Diagnosis:
    """One of some commits did it, but those between cannot be tested: a human may know more."""
    left = [suspect for suspect in suspects if suspect.sha in found.candidates]
    whole = sum(suspect.probability for suspect in left) or 1.0
    left = [replace(suspect, probability=CONFIRMED * suspect.probability / whole) for suspect in left]
    return case.diagnosis(
        Verdict.ASK,
        f'one of {len(left)} commits, likeliest {left[0].sha[:12]} "{left[0].summary}": {found.reasons[0]}',
        head=head,
        suspects=tuple(left),
        runs=runs,
        last_good=found.last_good,
        reasons=found.reasons,
        confidence=left[0].probability,
    )


def _by_evidence(case: _Case, head: str) -> Diagnosis:
    """Without a check to run, evidence alone ranks; nobody acts on it alone, but a restart may be enough."""
    incident, history = case.incident, case.history(head)
    good = _newest_good(case.services, history)
    suspects = case.rank(history[: max(good if good is not None else min(len(history), WINDOW), 1)])
    own = [suspect.probability for suspect in suspects if incident.agent and suspect.agent == incident.agent]
    gravest = next((f for f in incident.findings if f.severity is incident.severity), incident.findings[0])
    return case.diagnosis(
        Verdict.ASK if incident.agent else Verdict.CANNOT_TELL,
        f"{gravest.summary}; no check fails, so no commit can be blamed for sure",
        head=head,
        suspects=suspects,
        reasons=("no check fails: evidence alone ranks",),
        confidence=min(max(own, default=0.0), 0.5),
    )


def _whose_merge(services: Services, commit: Commit) -> Commit:
    """Return a merge that says of nobody to be his as that of the one agent whose commits it brought, if it is one."""
    if commit.agent or len(commit.parents) < 2:
        return commit
    brought = commits(services.mirror, commit.sha, since=commit.parents[0], limit=200, first_parent=False)
    agents = {each.agent for each in attributed(services, brought) if each.sha != commit.sha}
    return replace(commit, agent=agents.pop()) if len(agents) == 1 else commit


def _newest_good(services: Services, history: Sequence[Commit]) -> int | None:
    """Return the index of the newest commit in ``history`` that is marked good for the checks as they are now."""
    good = set(services.store.good_commits(services.checks.checks_hash))
    return next((index for index, commit in enumerate(history) if commit.sha in good), None)


def _lasting(incident: Incident) -> list[Finding]:
    """Return the findings that were not reported to be over, oldest first."""
    lasting: dict[tuple[str, str], Finding] = {}
    for finding in incident.findings:
        key = (finding.agent, finding.fingerprint)
        lasting.pop(key, None)
        if not finding.ended:
            lasting[key] = finding
    return list(lasting.values())


def _failing_files(incident: Incident) -> tuple[str, ...]:
    """Return the files that the failing checks' output names, as far as the signals carry them."""
    named = [signal.attrs.get("files") for finding in incident.findings for signal in finding.signals]
    return _once(str(name) for names in named if isinstance(names, (list, tuple)) for name in names)


def _tables(incident: Incident) -> tuple[str, ...]:
    """Return the database checks that found errors: the nearest to a table's name that is known."""
    found = [finding for finding in incident.findings if finding.rule == "data_consistency"]
    return _once(
        name for finding in found for signal in finding.signals for name, count in signal.attrs.items() if count
    )


def _once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
