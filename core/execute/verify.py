"""Steps that look whether all is well: the checks on the new commit, then the whole system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Event

from ..codec import from_json, to_json
from ..errors import RollcageError
from ..gitrepo.publish import state_of
from ..model import CheckOutcome, Step
from ..services import Services
from .agents import ended_well, settled_run
from .check_results import Expected, against, check_seconds, expected_of, reservations, run_all
from .deadline import PHASE_DEADLINE_S
from .integrity import MISSING_DATABASE, all_problems, data_errors, integrity_problems, silent_agents
from .publishing import begun, is_published
from .work import NotVerifiedError, StepKind, Work

MEASURE_EVERY_S = 1.0
_DATA_RULES = frozenset({"data_consistency", "data_corruption_spread"})

__all__ = ["CHECKS", "METRICS", "VERIFY", "all_problems", "integrity_problems", "run_checks"]


def run_checks(services: Services, sha: str) -> tuple[CheckOutcome, ...]:
    """Run every check on the commit ``sha``, afresh, and mark the commit good where all passed."""
    return run_all(services, sha, services.repository.tree(sha), fresh=True)


def _prepare_checks(work: Work, step: Step) -> Mapping[str, object]:
    """What is known before, while it is: a fresh run of the same tree takes its place in the cache."""
    return {"expected": [to_json(each) for each in expected_of(work)]}


def _do_checks(work: Work, step: Step) -> Mapping[str, object]:
    """Run all checks afresh on the commit that was published; where none was, on the branch as it is."""
    outcomes = run_checks(work.services, work.journal.rollback.head_after or work.tip())
    kept = step.data.get("expected")
    expected = [from_json(Expected, dict(each)) for each in kept] if isinstance(kept, list) else expected_of(work)
    problems = against(outcomes, expected)
    if problems:
        raise NotVerifiedError(f"after the rollback {'; '.join(problems)}")
    return {
        "passed": [outcome.name for outcome in outcomes if outcome.passed],
        "reservations": reservations(outcomes, expected),
        "checks_s": check_seconds(outcomes),
    }


def _do_verify(work: Work, step: Step) -> Mapping[str, object]:
    """Ask the world: are the branch and its worktrees where they should be, the database whole, do agents answer?"""
    problems = [*_code_problems(work), *_data_problems(work), *_fleet_problems(work)]
    if problems:
        raise NotVerifiedError("; ".join(problems))
    before = work.data_of("snapshot").get("problems")
    known = {str(problem) for problem in before} if isinstance(before, list) else set()
    try:
        now = integrity_problems(work.services)
    except RollcageError as unseen:
        raise NotVerifiedError(f"the database cannot be looked at: {unseen}", spare=True) from unseen
    new = [problem for problem in now if problem not in known]
    if new:
        raise NotVerifiedError("; ".join(new))
    old = [problem for problem in now if problem != MISSING_DATABASE]  # it may not be made yet: then nothing is amiss
    if old:
        raise NotVerifiedError(f"broken before the rollback already, and still: {'; '.join(old)}", spare=True)
    return {"database": "whole" if work.services.database and not now else "none"}


def _code_problems(work: Work) -> list[str]:
    step = next((each for each in work.journal.steps() if each.name == "publish"), None)
    found = begun(step) if step is not None else None
    if found is None:
        return []
    branch, publication = work.plan.branch, found.publication
    if not is_published(work, publication):
        return [f"{branch} is no longer at {publication.new[:12]} nor beyond"]
    if state_of(work.services.repository, publication) == "moved":
        return [f"a working tree of {branch} has not followed to {publication.new[:12]}"]
    return []


def _data_problems(work: Work) -> list[str]:
    """Return the checks of the database that find more than before, or anything where the rollback was to mend that.

    Where a rollback is turned round, what it mended comes back: then what there was before that one counts as well.
    """
    rollback, store = work.journal.rollback, work.services.store
    known = _errors_before([*(store.steps(rollback.of) if rollback.kind == "undo" else ()), *work.journal.steps()])
    incident = work.services.store.incident(work.plan.incident)
    about = incident is not None and any(finding.rule in _DATA_RULES for finding in incident.findings)
    mends = about and rollback.kind == "rollback" and any(s.name == "database" for s in work.plan.steps)
    return [
        f"database check {name} finds {count:g} errors, {known.get(name, 0.0):g} before"
        for name, count in data_errors(work.services).items()
        if count > (0.0 if mends else known.get(name, 0.0))
    ]


def _errors_before(steps: Sequence[Step]) -> dict[str, float]:
    """Return for each check of the database the most errors that it found when one of ``steps`` took its snapshot."""
    known: dict[str, float] = {}
    for found in (step.data.get("data_errors") for step in steps if step.name == "snapshot"):
        for name, count in found.items() if isinstance(found, Mapping) else ():
            known[str(name)] = max(known.get(str(name), 0.0), float(count))
    return known


def _fleet_problems(work: Work) -> list[str]:
    """Return the agents that do not answer and did before."""
    before = work.data_of("snapshot").get("silent")
    known = {str(agent) for agent in before} if isinstance(before, list) else set()
    return [f"agent {agent} does not answer any more" for agent in silent_agents(work.services) if agent not in known]


def _do_metrics(work: Work, step: Step) -> Mapping[str, object]:
    """Measure the restarted agent afresh: it has not failed at once, and what is measured of it is in band.

    Where the incident was about a metric it must stay so for the ``for:`` of its rule; out of band for as long, or
    never long enough in band within the phase, is not verified. Everything else is measured once.
    """
    if work.data_of("restart_agent").get("supervised") is False:
        return {"supervised": False}
    run = settled_run(work.services, step.subject)
    if run is None:
        ended = ended_well(work.services, step.subject)
        if ended:
            return {"ended": ended}
        raise NotVerifiedError(f"agent {step.subject} does not run any more after its restart; see its output")
    window = work.window(work.plan.incident)
    begun = good_since = work.services.clock.boot()
    tick = Event()
    while True:
        problems, now = work.measure(run), work.services.clock.boot()
        if not problems and now - good_since >= window:
            return {"pid": run.child_pid, "window_s": window}
        if problems:
            if now - begun >= min(window, PHASE_DEADLINE_S[4]):
                raise NotVerifiedError(f"agent {step.subject} after its restart: {'; '.join(problems)}")
            good_since = now
        elif now - begun >= PHASE_DEADLINE_S[4]:
            raise NotVerifiedError(f"agent {step.subject} after its restart: its metrics never stayed in band")
        work.services.clock.wait(tick, min(MEASURE_EVERY_S, window))
        run = settled_run(work.services, step.subject)
        if run is None:
            ended = ended_well(work.services, step.subject)
            if ended:
                return {"ended": ended}
            raise NotVerifiedError(f"agent {step.subject} does not run any more after its restart; see its output")


CHECKS = StepKind(_do_checks, _prepare_checks)
VERIFY = StepKind(_do_verify)
METRICS = StepKind(_do_metrics)
