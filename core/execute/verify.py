"""Steps that look whether all is well: the checks on the new commit, then the whole system."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import RollcageError
from ..model import CheckOutcome, OptionType, Step
from ..services import Services
from .code import branch_tip
from .work import StepKind, Work, never_done, nothing_to_prepare, nothing_to_undo


class NotVerifiedError(RollcageError):
    """The rollback was carried out but the system is not seen to be healthy."""


def run_checks(services: Services, sha: str, work: Work | None = None) -> tuple[CheckOutcome, ...]:
    """Run every check on the commit ``sha``, afresh, and mark the commit good where all passed."""
    tree = services.repository.tree(sha)
    outcomes = services.checks.run_all(sha, tree, fresh=True, stop=work.stop if work else None)
    if outcomes and all(outcome.passed for outcome in outcomes):
        services.store.mark_good(sha, tree, services.checks.checks_hash)
    return outcomes


def _do_checks(work: Work, step: Step) -> Mapping[str, object]:
    sha = branch_tip(work)
    outcomes = run_checks(work.services, sha, work)
    failed = [outcome for outcome in outcomes if outcome.passed is not True]
    if failed:
        names = ", ".join(f"{outcome.name} ({_words(outcome)})" for outcome in failed)
        raise NotVerifiedError(f"after the rollback not every check passes: {names}")
    return {"checks": [outcome.name for outcome in outcomes], "duration_s": sum(o.duration_s for o in outcomes)}


def _words(outcome: CheckOutcome) -> str:
    return "fails" if outcome.passed is False else outcome.detail.splitlines()[0] if outcome.detail else "no verdict"


def _do_verify(work: Work, step: Step) -> Mapping[str, object]:
    """Ask the world: is the branch where it should be, is every worktree followed, is the database whole?"""
    problems = integrity_problems(work.services)
    published = work.data_of("publish")
    if work.plan.type is not OptionType.RESTART_ONLY and published:
        head_after = work.journal.rollback.head_after
        if not _contains(work, head_after):
            problems.append(f"{work.plan.branch} no longer contains {head_after[:12]}")
    if problems:
        raise NotVerifiedError("; ".join(problems))
    return {"database": "whole" if work.services.database else "none"}


def _contains(work: Work, sha: str) -> bool:
    git = work.services.repository.git
    return git.run("merge-base", "--is-ancestor", sha, branch_tip(work), ok=(0, 1)).status == 0


def integrity_problems(services: Services) -> list[str]:
    """Return what is broken in the repository's objects at the tip and in the database; empty: nothing."""
    problems = []
    tip = services.repository.tip(services.settings.branch)
    if tip is not None:
        listed = services.repository.git.run("rev-list", "--objects", "--missing=print", "-1", tip, ok=(0, 128))
        missing = [line for line in listed.out.splitlines() if line.startswith(b"?")]
        if listed.status != 0 or missing:
            problems.append(f"{len(missing) or 'some'} objects of {services.settings.branch} are missing or damaged")
    if services.database is not None:
        problems += [f"database: {problem}" for problem in services.database.integrity()]
    return problems


def _do_metrics(work: Work, step: Step) -> Mapping[str, object]:
    """Measure the restarted agent afresh: it answers, and what is measured of it is in band."""
    run = work.runs().get(step.subject)
    if run is None and work.data_of("restart_agent").get("supervised") is False:
        return {"supervised": False}
    if run is None or run.child_pid is None:
        raise NotVerifiedError(f"agent {step.subject} does not run after its restart")
    problems = work.measure(run)
    if problems:
        raise NotVerifiedError(f"agent {step.subject} after its restart: {'; '.join(problems)}")
    return {"pid": run.child_pid}


CHECKS = StepKind(nothing_to_prepare, _do_checks, never_done, nothing_to_undo)
VERIFY = StepKind(nothing_to_prepare, _do_verify, never_done, nothing_to_undo)
METRICS = StepKind(nothing_to_prepare, _do_metrics, never_done, nothing_to_undo)
