"""Diagnosis: when it began, the last time all was well, who is suspected, and who did it, confirmed by the checks."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ..config import CheckSettings
from ..gitrepo.history import commits
from ..gitrepo.touched import touched_names
from ..model import CheckRuns, Commit, Diagnosis, Finding, Incident, Suspect, Verdict
from ..services import Services, attributed
from ..units import Dimension, write
from .causes import error_files, root_cause, step_at, verdict_without_check
from .confidence import Proof, confidence
from .culprits import Culprit, Findings, Ground, find_culprits
from .onset import CHECK_RULE, find_onset
from .past import Past
from .probe import Prober, TimeLimit
from .reach import find_reach
from .search import Terrain
from .suspects import rank
from .writers import Writer, find_writer

__all__ = ["CHECK_RULE", "diagnose", "failing_checks"]

MOST_CANDIDATES = 5_000
"""Commits since the last good one that are searched."""
WINDOW = 20
"""Commits that are suspects where no good one is known and no check tells."""
NEWEST = 50
"""Commits that are suspects where no check fails: that the checks pass clears none of them of a leak."""
BY_ROWS = 0.9
"""How sure it is who damaged data where taking back one writer's rows mends them, and nobody else's do."""
EARLIER = 100
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
    onset = find_onset(services, incident, ()).at
    case = _Case(services, incident, limit, services.clock.boot(), onset)
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
    onset: datetime | None
    """When it began, as far as signals tell."""

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
            onset=self.onset or self.incident.since,
            last_good=last_good,
            culprits=(),
            suspects=suspects,
            agents=agents,
            reach=find_reach(self.services, self.incident, (), agents, head=head),
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

    def rank(
        self, history: Sequence[Commit], check: str = "", tests: Sequence[str] = (), output: str = ""
    ) -> tuple[Suspect, ...]:
        """Return ``history`` ranked by all evidence there is; ``check`` fails, if one does, by ``tests``."""
        store, incident = self.services.store, self.incident
        others = store.incidents(open_only=True)
        found = [finding for each in (*others, incident) for finding in _lasting(each) if finding.rule != CHECK_RULE]
        troubles = {finding.agent: finding.summary for finding in found if finding.agent}
        past = [store.diagnosis(each.id) for each in store.incidents(limit=EARLIER) if each.id != incident.id]
        guilty = Counter(one.agent for earlier in past if earlier for one in earlier.culprits if one.agent)
        return rank(
            history,
            self.onset or incident.since,
            check=check,
            failing_tests=tests,
            agents=[*troubles, *([incident.agent] if incident.agent else [])],
            failing_files=_failing_files(incident),
            error_files=error_files(self.services, incident, self.onset),
            troubles=troubles,
            guilty=guilty,
            output=output,
            touched=touched_names(self.services.mirror, history) if tests or output else {},
        )


def _by_checks(case: _Case, head: str, failing: Sequence[CheckSettings], progress: Progress) -> Diagnosis:
    services = case.services
    believed, doubts = _believed(case, head, failing, progress)
    past = Past.read(services, head)
    if not believed:
        until = past.way.index(past.good) if past.good in past.way else min(len(past.way), WINDOW)
        return case.cannot_tell(head, doubts, case.rank(case.history(head)[: max(until, 1)]))
    field = _Field(case, head, believed)
    prober = Prober(services, case.limit)
    try:
        prober.know_trees(past.trees)
        ground = Ground(
            head=head,
            way=past.way,
            last_good=past.good,
            terrain=field.terrain,
            lookback=services.settings.limits.lookback,
            graph=past.graph,
            ways_back=past.ways_back,
        )
        found = find_culprits(ground, believed, prober, progress=progress, stop=case.limit.is_set)
    finally:
        prober.close()
    confirm, rehearse = found.confirm_runs, found.rehearse_runs
    runs = CheckRuns(search=prober.runs - confirm - rehearse, confirm=confirm, rehearse=rehearse)
    suspects = field.suspects or case.rank(case.history(head))
    if found.culprits:
        return _confirmed(case, head, field, suspects, found, runs, prober.flakiness())
    unsure = found.open
    if unsure is not None and len(unsure.candidates) > unsure.contradicted and not case.limit.is_set():
        return _narrowed(case, head, suspects, found, runs, prober.flakiness())
    return case.cannot_tell(head, [*found.reasons, *doubts], suspects, runs, found.last_good)


class _Field:
    """The candidates behind one good commit after the other, ranked; each list is read and ranked once."""

    def __init__(self, case: _Case, head: str, checks: Sequence[CheckSettings]) -> None:
        self._case, self._head, self._check = case, head, checks[0].name
        tree = case.services.repository.tree(head)
        outcomes = [case.services.checks.cached(tree, check) for check in checks]
        self._tests = [name for outcome in outcomes if outcome for name in outcome.failing]
        self._output = "\n".join(outcome.detail for outcome in outcomes if outcome)
        self._read: dict[str, tuple[list[Commit], tuple[Suspect, ...]]] = {}
        self.suspects: tuple[Suspect, ...] = ()
        """All candidates, as the evidence ranks them; empty: it never came so far."""
        self.commits: dict[str, Commit] = {}

    def terrain(self, good: str) -> Terrain:
        """Return what lies between the head and ``good``."""
        if good not in self._read:
            mirror = self._case.services.mirror
            listed = commits(mirror, self._head, since=good, limit=MOST_CANDIDATES, first_parent=False)
            found = attributed(self._case.services, listed)
            self._read[good] = (found, self._case.rank(found, self._check, self._tests, self._output))
            self.commits |= {commit.sha: commit for commit in found}
        found, ranked = self._read[good]
        if len(ranked) > len(self.suspects):
            self.suspects = ranked
        return Terrain(
            parents={commit.sha: commit.parents for commit in found},
            priors={suspect.sha: suspect.probability for suspect in ranked},
        )


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
    field: _Field,
    suspects: Sequence[Suspect],
    found: Findings,
    runs: CheckRuns,
    flakiness: tuple[int, int],
) -> Diagnosis:
    services, (mixed, judged) = case.services, flakiness
    newest_first = {sha: at for at, sha in enumerate(field.commits)}
    confirmed = sorted(found.culprits, key=lambda culprit: newest_first[culprit.sha])
    guilty = [_whose_merge(services, field.commits[culprit.sha]) for culprit in confirmed]
    proofs = [Proof(culprit.posterior, culprit.repeats, culprit.same_tests) for culprit in confirmed]
    evidence = {suspect.sha: suspect.evidence for suspect in suspects}
    culprits = tuple(
        Suspect(
            sha=each.sha,
            agent=each.agent,
            probability=confidence([proof], mixed=mixed, runs=judged),
            evidence=(_proof(culprit, each), *found.notes, *evidence.get(each.sha, ())),
            summary=each.summary,
            at=each.at,
        )
        for each, culprit, proof in zip(guilty, confirmed, proofs, strict=True)
    )
    reasons = [f"{commit.sha[:12]} carries the trailer Rollcage: keep" for commit in guilty if commit.opted_out]
    reasons += [culprit.doubt for culprit in confirmed if culprit.doubt]
    reasons += found.reasons
    agents = tuple(dict.fromkeys(commit.agent for commit in guilty if commit.agent))
    named = {culprit.sha for culprit in culprits}
    checks = list(dict.fromkeys(name for culprit in confirmed for name in culprit.checks))
    base = case.diagnosis(
        Verdict.ASK if reasons else Verdict.ACT,
        root_cause(guilty, checks),
        head=head,
        suspects=(*culprits, *(suspect for suspect in suspects if suspect.sha not in named)),
        runs=runs,
        last_good=found.last_good,
        reasons=reasons,
        confidence=confidence(proofs, mixed=mixed, runs=judged),
    )
    return replace(
        base,
        culprits=culprits,
        onset=find_onset(services, case.incident, guilty).at,
        agents=agents,
        reach=find_reach(services, case.incident, guilty, agents or base.agents, head=head),
    )


def _proof(culprit: Culprit, commit: Commit) -> str:
    names = ", ".join(culprit.checks)
    verb = "fails" if len(culprit.checks) == 1 else "fail"
    parent = "parent" if len(commit.parents) == 1 else "parents"
    taken = ", ".join(sha[:12] for sha in culprit.without)
    return f"{names} {verb} there and not on its {parent}, seen afresh on both" + (
        f", with {taken} taken back" if taken else ""
    )


def _narrowed(
    case: _Case,
    head: str,
    suspects: Sequence[Suspect],
    found: Findings,
    runs: CheckRuns,
    flakiness: tuple[int, int],
) -> Diagnosis:
    """One of some commits did it, but those between cannot be tested: a human may know more."""
    assert found.open is not None
    left = [suspect for suspect in suspects if suspect.sha in found.open.candidates]
    posterior = found.open.probabilities
    whole = sum(posterior.get(suspect.sha, 0.0) for suspect in left) or 1.0
    mixed, judged = flakiness
    proofs = [Proof(posterior.get(suspect.sha, 0.0) / whole) for suspect in left]
    sure = [confidence([proof], mixed=mixed, runs=judged) for proof in proofs]
    left = [replace(suspect, probability=each) for suspect, each in zip(left, sure, strict=True)]
    left.sort(key=lambda suspect: -suspect.probability)
    many = f"one of {len(left)} commits, likeliest " if len(left) > 1 else ""
    return case.diagnosis(
        Verdict.ASK,
        f'{many}{left[0].sha[:12]} "{left[0].summary}": {found.reasons[0]}',
        head=head,
        suspects=tuple(left),
        runs=runs,
        last_good=found.last_good,
        reasons=found.reasons,
        confidence=left[0].probability,
    )


def _by_evidence(case: _Case, head: str) -> Diagnosis:
    """Without a check to run, evidence alone ranks; nobody acts on it alone, but a restart may be enough."""
    services, incident = case.services, case.incident
    listed = commits(services.mirror, head, limit=NEWEST, first_parent=False)
    suspects = case.rank(attributed(services, listed))
    writer = find_writer(services, incident) if not incident.agent else None
    if writer is not None:
        return _by_writer(case, head, suspects, writer)
    step = step_at(services, incident.agent, case.onset)
    judged = verdict_without_check(incident, suspects, case.onset, step=step)
    return case.diagnosis(
        judged.verdict,
        judged.root_cause,
        head=head,
        suspects=suspects,
        reasons=judged.reasons,
        confidence=judged.confidence,
    )


def _by_writer(case: _Case, head: str, suspects: tuple[Suspect, ...], writer: Writer) -> Diagnosis:
    """The data are damaged by rows that one agent wrote: whether a commit made it do so no check can tell."""
    reasons = ("taking its rows back was seen to mend the data", "no check fails, so no commit can be blamed for sure")
    found = case.diagnosis(
        Verdict.ASK,
        f"{writer.rows:,} changes by {writer.agent} since {writer.since:%H:%M:%S} UTC damaged the data",
        head=head,
        suspects=suspects,
        reasons=reasons,
        confidence=BY_ROWS,
    )
    agents = (writer.agent,)
    reach = find_reach(case.services, case.incident, (), agents, head=head)
    return replace(found, agents=agents, reach=reach, onset=writer.since)


def _whose_merge(services: Services, commit: Commit) -> Commit:
    """Return a merge that says of nobody to be his as that of the one agent whose commits it brought, if it is one."""
    if commit.agent or len(commit.parents) < 2:
        return commit
    brought = commits(services.mirror, commit.sha, since=commit.parents[0], limit=200, first_parent=False)
    agents = {each.agent for each in attributed(services, brought) if each.sha != commit.sha}
    return replace(commit, agent=agents.pop()) if len(agents) == 1 else commit


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


def _once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
