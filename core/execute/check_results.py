"""What the checks say after a change, held against what they said before it and in rehearsal.

Not every check that does not pass speaks against a rollback. One that fails for a reason of its own failed before and
fails on: taking the rollback back would not mend it, and two faults at once could never be rolled back one by one. A
flaky one is shown and is never a reason to move a branch, in either direction. So against the rollback speaks

- a check that the incident is about and that still fails, or that failed in rehearsal and has no verdict now;
- any other check that fails now and did not before, or by other tests than before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..model import CheckOutcome
from ..services import Services
from .work import Work

_FINGERPRINT = "check:"
"""How the fingerprint of a finding about a check begins; its name follows."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of a check before the change is made."""

    name: str
    about: bool
    """Its failure is part of the incident."""
    rehearsed: bool | None
    """On the tree that was approved."""
    before: bool | None
    """At the commit that the change was planned on."""
    failing: tuple[str, ...] = ()
    """The tests that failed there, where it says."""


def expected_of(work: Work) -> list[Expected]:
    """Return what is known of every check; runs none."""
    services, plan = work.services, work.plan
    option, incident = services.store.option(plan.option), services.store.incident(plan.incident)
    rehearsed = {outcome.name: outcome.passed for outcome in option.rehearsal.checks} if option is not None else {}
    about = {finding.fingerprint for finding in incident.findings} if incident is not None else set()
    tree = services.repository.tree(plan.head)
    found = []
    for check in services.settings.checks:
        before = services.checks.cached(tree, check)
        found.append(
            Expected(
                name=check.name,
                about=f"{_FINGERPRINT}{check.name}" in about,
                rehearsed=rehearsed.get(check.name),
                before=before.passed if before is not None else None,
                failing=before.failing if before is not None else (),
            )
        )
    return found


def run_all(services: Services, sha: str, tree: str, *, fresh: bool) -> tuple[CheckOutcome, ...]:
    """Run every check on a commit and mark it good where all passed. Nothing stops them: a rollback goes to its end."""
    outcomes = services.checks.run_all(sha, tree, fresh=fresh)
    if outcomes and all(outcome.passed for outcome in outcomes):
        services.store.mark_good(sha, tree, services.checks.checks_hash)
    return outcomes


def check_seconds(outcomes: Sequence[CheckOutcome]) -> float:
    """Return how long the user's own commands took, in seconds; those that ran side by side are added up."""
    return float(sum(outcome.duration_s for outcome in outcomes))


def against(outcomes: Sequence[CheckOutcome], expected: Sequence[Expected]) -> list[str]:
    """Return in a few words each what speaks against the change; empty: nothing."""
    known = {each.name: each for each in expected}
    judged = [_judge(outcome, known.get(outcome.name)) for outcome in outcomes]
    return [words for words, counts in judged if counts]


def reservations(outcomes: Sequence[CheckOutcome], expected: Sequence[Expected]) -> list[str]:
    """Return what does not pass and yet does not speak against the change."""
    known = {each.name: each for each in expected}
    judged = [_judge(outcome, known.get(outcome.name)) for outcome in outcomes]
    return [words for words, counts in judged if words and not counts]


def _judge(outcome: CheckOutcome, expected: Expected | None) -> tuple[str, bool]:
    """Return what to say about a check, nothing where it passes, and whether that speaks against the change."""
    name = outcome.name
    if outcome.passed:
        return "", False
    if outcome.passed is None:
        why = outcome.detail.partition("\n")[0] or "no verdict"
        unseen = expected is not None and expected.about and expected.rehearsed is False
        return f"check {name} has no verdict: {why}", unseen
    if expected is None or expected.before is not False:
        return f"check {name} fails", True
    if expected.about:
        return f"check {name} still fails", True
    others = sorted(set(outcome.failing) - set(expected.failing)) if expected.failing else []
    if others:
        return f"check {name} fails by other tests than before: {', '.join(others[:3])}", True
    return f"check {name} fails as it did before", False
