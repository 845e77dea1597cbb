"""What the policy looks at, gathered from the state; `rollcage.core.decide` judges it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from .config import Level
from .decide import PolicyFacts, decide
from .decisions import ENGINE
from .detect.incidents import same_problem
from .diagnose.diagnose import failing_checks
from .errors import RefusedError
from .execute.runner import came_to_nothing
from .gitrepo.history import commits
from .gitrepo.publish import plan_publication
from .gitrepo.rehearse import make_commit
from .model import (
    Commit,
    DecisionVerdict,
    Diagnosis,
    Incident,
    OptionType,
    RecoveryPlan,
    Rollback,
    RollbackOption,
)
from .services import Services

DAY = timedelta(hours=24)
KILL_SWITCH = "kill_switch"
"""A file of this name in the repository's state directory: nothing is done without a human while it is there."""


def policy_verdict(
    services: Services,
    level: Level,
    incident: Incident,
    option: RollbackOption,
    plan: RecoveryPlan,
    diagnosis: Diagnosis,
) -> tuple[DecisionVerdict, str]:
    """Return what the policy says to ``option`` now: approve, wait or escalate, with the reason code."""
    facts = policy_facts(services, incident, option, plan, diagnosis)
    return decide(level, option, plan, diagnosis, facts, services.settings.limits)


def policy_facts(
    services: Services, incident: Incident, option: RollbackOption, plan: RecoveryPlan, diagnosis: Diagnosis
) -> PolicyFacts:
    """Gather all that `PolicyFacts` names. Costs a look at the state and at a few commits; runs no check."""
    now = services.clock.now()
    tip = services.repository.tip(plan.branch) or plan.head
    targets = _commits(services, plan.targets)
    lost = _commits(services, option.rehearsal.lost_commits)
    recent = [incident for incident in services.store.incidents(limit=1000) if now - incident.opened <= DAY]
    dependents = any(factor.name == "dependents" for factor in option.risk_factors)
    broken = not option.rehearsal.applies or any(check.passed is False for check in option.rehearsal.checks)
    obstacle = _obstacle(services, plan)
    rollbacks = services.store.rollbacks(1000)
    return PolicyFacts(
        kill_switch=(services.paths.root / KILL_SWITCH).exists(),
        snapshot_failed=services.store.get_note(f"safe:{incident.id}") is None,
        same_problem=len(_row(services, incident, rollbacks)),
        proposals=sum(bool(services.store.options(found.id)) for found in recent),
        unattended=sum(_unattended(rollback) and now - rollback.started <= DAY for rollback in rollbacks),
        checks_believed=_believed(services, incident, tip),
        confirmed=confirmed(option, diagnosis),
        opted_out=any(commit.opted_out for commit in (*targets, *lost)),
        undone_before=any(each.kind == "undo" and each.head_after in plan.targets for each in rollbacks),
        culprit_age=_age(services, tip, targets),
        moved=tip != plan.head,
        overlap=obstacle == "overlap" or any(factor.name == "dirty_overlap" for factor in option.risk_factors),
        obstacle=obstacle,
        needed_later=dependents and broken,
    )


def everything_known(
    services: Services, incident: Incident, diagnosis: Diagnosis | None
) -> tuple[str, Mapping[str, object]]:
    """Return, for who has to find the root cause by hand, what was found out and tried: in words, and as JSON values.

    That is the diagnosis, each earlier rollback of the same problem with the option that it was and why it failed or
    did not last, and the snapshots to go back to.
    """
    store = services.store
    tried: list[dict[str, str | list[str]]] = []
    for rollback in _row(services, incident, store.rollbacks(1000)):
        option = store.option(rollback.option)
        tried.append(
            {
                "rollback": rollback.id,
                "incident": rollback.incident,
                "option": rollback.option,
                "type": option.type.value if option is not None else "unknown",
                "target_commits": list(option.target_commits) if option is not None else [],
                "state": rollback.state.value,
                "why": rollback.note or "it was verified, and the trouble came back",
                "snapshot": rollback.snapshot,
            }
        )
    safe = store.get_note(f"safe:{incident.id}") or ""
    snapshots = [name for name in dict.fromkeys([safe, *(str(each["snapshot"]) for each in tried)]) if name]
    body: dict[str, object] = {"tried": tried, "snapshots": snapshots}
    words = [f"tried before: {each['rollback']} ({each['type']}) {each['state']}: {each['why']}" for each in tried]
    if diagnosis is not None:
        body["diagnosis"] = {
            "root_cause": diagnosis.root_cause,
            "confidence": diagnosis.confidence,
            "culprits": [suspect.sha for suspect in diagnosis.culprits],
            "suspects": [suspect.sha for suspect in diagnosis.suspects[:5]],
            "last_good": diagnosis.last_good,
        }
        words.insert(0, diagnosis.root_cause)
    words += [f"snapshots: {', '.join(snapshots)}"] if snapshots else []
    return "; ".join(word for word in words if word), body


def confirmed(option: RollbackOption, diagnosis: Diagnosis) -> bool:
    """Say whether what goes is what was confirmed: culprits only, or, of one agent or the branch, all of them too."""
    culprits, targets = {suspect.sha for suspect in diagnosis.culprits}, set(option.target_commits)
    if option.type in {OptionType.FULL_AGENT_RESET, OptionType.BRANCH_RESET}:
        return bool(culprits) and culprits <= targets
    return bool(culprits) and culprits == targets


def _commits(services: Services, shas: Sequence[str]) -> list[Commit]:
    return [found for sha in shas for found in commits(services.mirror, sha, limit=1)]


def _unattended(rollback: Rollback) -> bool:
    return rollback.kind == "rollback" and rollback.approved_by == ENGINE


def _row(services: Services, incident: Incident, rollbacks: Sequence[Rollback]) -> list[Rollback]:
    """Return the engine's own rollbacks of the same problem in a row, the newest first.

    An operator's say, or 24 h between two, ends the row. One that published nothing because the branch had moved is
    none: nothing was tried.
    """
    newest = {each.incident: each for each in reversed(rollbacks) if each.kind == "rollback"}
    found: list[Rollback] = []
    later = services.clock.now()
    for earlier in services.store.incidents(limit=1000):
        if earlier.id == incident.id or not same_problem(earlier, incident):
            continue
        if any(decision.by != ENGINE for decision in services.store.decisions(incident=earlier.id)):
            break
        rollback = newest.get(earlier.id)
        if rollback is None or came_to_nothing(services, rollback):
            continue
        if not _unattended(rollback) or later - (rollback.ended or rollback.started) > DAY:
            break
        found.append(rollback)
        later = rollback.started
    return found


def _believed(services: Services, incident: Incident, tip: str) -> bool:
    tree = services.repository.tree(tip)
    return all(services.checks.believed(check, tip, tree).believed for check in failing_checks(services, incident))


def _obstacle(services: Services, plan: RecoveryPlan) -> str:
    """Return the code of the refusal if the plan's tree were to be published now; empty: nothing is in the way."""
    if plan.tree is None or services.repository.tip(plan.branch) != plan.head:
        return ""
    sha = make_commit(services.mirror, plan.tree, [plan.head], "rehearsal", services.clock.now())
    try:
        plan_publication(services.repository, services.mirror, plan.branch, plan.head, sha)
    except RefusedError as refusal:
        return refusal.code
    return ""


def _age(services: Services, tip: str, targets: Sequence[Commit]) -> float:
    newest = commits(services.mirror, tip, limit=1)
    if not targets or not newest:
        return 0.0
    return max((newest[0].at - min(commit.at for commit in targets)).total_seconds(), 0.0)
