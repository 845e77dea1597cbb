"""The options of an incident, best first, each rehearsed on objects and in a scratch tree before any ref moves."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter

from ..config import dependencies
from ..errors import RefusedError
from ..gitrepo.history import changed_files, diff
from ..gitrepo.publish import plan_publication
from ..gitrepo.rehearse import Reversal, lost_lines, make_commit, rehearse_onto, rehearse_series
from ..model import (
    CheckOutcome,
    Diagnosis,
    Incident,
    OptionType,
    RecoveryPlan,
    Rehearsal,
    RollbackOption,
    Verdict,
)
from ..services import Services
from .data_way import find_data_way
from .effect import plan_hash
from .facts import Tried, gather
from .recovery import recovery_steps
from .risk import assess
from .ways_back import unknown_merge, way_back_trailer, ways_back
from .words import commit_message, loses, side_effects, why_not, with_trailer

OWN_TIME_S = 2.0
"""What a rollback takes beside the user's own check commands; measured by ``make bench``."""
MOST_SUSPECTS = 3
"""Without a confirmed culprit at most so many commits are offered, the likeliest first."""

Pair = tuple[RollbackOption, RecoveryPlan]


@dataclass(frozen=True, slots=True)
class Wish:
    """What an option shall do, before it is rehearsed: also what an operator may edit."""

    type: OptionType
    targets: tuple[str, ...]
    message: str = ""
    """Empty: it is made; see also `rollcage.core.plan.ways_back`."""
    restart: bool = True


def wishes(services: Services, incident: Incident, diagnosis: Diagnosis) -> list[Wish]:
    """Return what to rehearse: the culprits together, else the likeliest suspects one by one; and a mere restart.

    A restart is wished for only where there is somebody to start again.
    """
    agents = _agents(incident, diagnosis)
    restart = [Wish(OptionType.RESTART_ONLY, ())] if _restarted(services, agents) else []
    culprits = tuple(suspect.sha for suspect in diagnosis.culprits)
    if culprits:
        return [Wish(OptionType.SINGLE_COMMIT, culprits), *restart]
    single = [Wish(OptionType.SINGLE_COMMIT, (suspect.sha,)) for suspect in diagnosis.suspects[:MOST_SUSPECTS]]
    return [*restart, *(single if diagnosis.verdict is not Verdict.CANNOT_TELL else [])]


def build_options(
    services: Services, incident: Incident, diagnosis: Diagnosis, *, stop: threading.Event | None = None
) -> list[Pair]:
    """Rehearse every option of ``incident`` and return them ranked: id ``opt-<number of the incident>.<rank>``.

    An option that does not apply, or whose rehearsal fails the checks, is kept with the reason, and ranked behind. A
    mere restart never comes before taking a culprit back. Of a merge whose way back is not known each is offered,
    behind the one that says so: a human is to choose. Raises RefusedError ``branch_gone``, StoreError, GitError.
    """
    made: list[tuple[bool, Pair]] = []
    for wish in wishes(services, incident, diagnosis):
        made.append((False, rehearse(services, incident, diagnosis, wish, "", stop=stop)))
        if not made[-1][1][0].rehearsal.applies:
            choices = _choices(services, incident, diagnosis, wish)
            made += [(True, rehearse(services, incident, diagnosis, choice, "", stop=stop)) for choice in choices]
    made.sort(key=lambda entry: _rank(entry[1][0], is_choice=entry[0], has_culprit=bool(diagnosis.culprits)))
    number = incident.id.removeprefix("inc-")
    return [
        (replace(option, id=f"opt-{number}.{rank}", rank=rank), replace(plan, option=f"opt-{number}.{rank}"))
        for rank, (_, (option, plan)) in enumerate(made, 1)
    ]


def _rank(option: RollbackOption, *, is_choice: bool, has_culprit: bool) -> tuple[bool, bool, bool, bool, int]:
    failed = any(check.passed is not True for check in option.rehearsal.checks)
    # A restart applies always, and mends neither a commit nor a failing check.
    behind = option.type is OptionType.RESTART_ONLY and (has_culprit or failed)
    return (behind, is_choice, not option.rehearsal.applies, failed, option.risk_points)


def _choices(services: Services, incident: Incident, diagnosis: Diagnosis, wish: Wish) -> list[Wish]:
    """Return a wish for each parent of a merge whose way back is not known; the commit's message will say which."""
    unknown = unknown_merge(services, wish.targets) if wish.type is not OptionType.RESTART_ONLY else None
    if unknown is None:
        return []
    merge, candidates = unknown
    message = commit_message(incident, diagnosis, wish.targets)
    return [
        replace(wish, message=with_trailer(message, way_back_trailer(merge, parent)))
        for parent in dict.fromkeys(candidates)
    ]


def rehearse(
    services: Services,
    incident: Incident,
    diagnosis: Diagnosis,
    wish: Wish,
    name: str,
    *,
    stop: threading.Event | None = None,
) -> Pair:
    """Rehearse one wish on the branch as it is now, with the checks on the exact tree that it would produce."""
    branch = services.settings.branch
    head = services.repository.tip(branch)
    if head is None:
        raise RefusedError("branch_gone", f"branch {branch} does not exist any more")
    restart_only = wish.type is OptionType.RESTART_ONLY
    agents = _agents(incident, diagnosis)
    restarted = _restarted(services, agents) if wish.restart else []
    message = "" if restart_only else wish.message or commit_message(incident, diagnosis, wish.targets)
    ways = ways_back(services, wish.targets, message)
    reversal = _reverse(services, head, wish, ways)
    conflicts = () if restart_only else why_not(reversal, branch)
    tree = reversal.tree if not conflicts else None
    patch, obstacle = "", None
    tried = Tried(wish.type, head, tree, wish.targets, ways=ways, conflicts=reversal.reason == "conflict")
    if restart_only:  # what fails before a restart fails behind it; known by the tree
        outcomes = services.checks.run_all(head, services.repository.tree(head), stop=stop)
        tried = replace(tried, checks=outcomes)
    elif tree is not None:
        commit = make_commit(services.mirror, tree, [head], "rehearsal", services.clock.now())
        obstacle = _obstacle(services, head, commit)
        patch = diff(services.mirror, head, tree)
        tried = replace(
            tried,
            targets=reversal.targets,
            files=tuple(changed_files(services.mirror, head, tree)),
            lost_lines=lost_lines(services.mirror, head, tree, wish.targets, parents=ways),
            checks=services.checks.run_all(commit, tree, stop=stop),
            overlaps=obstacle is not None and obstacle.code == "overlap",
        )
    data = find_data_way(services, diagnosis, wish.targets, agents)
    facts = gather(services, diagnosis, tried, agents, data.effect)
    points, level, factors = assess(facts.risk)
    has_checks = _has_checks(services, tried)
    steps = tuple(
        recovery_steps(
            wish.type, agents, has_checks=has_checks, restart=wish.restart, order=restarted, database=data.subject
        )
    )
    hashed = plan_hash(
        services,
        wish.type,
        head=head,
        tree=tried.tree,
        targets=wish.targets,
        message=message,
        steps=steps,
        database=data.words,
    )
    option = RollbackOption(
        id=name,
        incident=incident.id,
        rank=0,
        type=wish.type,
        target_commits=wish.targets,
        affected_files=tried.files,
        estimated_recovery_time=OWN_TIME_S + _wall_time(services, tried.checks),
        risk_level=level,
        risk_points=points,
        risk_factors=factors,
        side_effects=side_effects(wish.type, agents, restarted, branch, facts, str(obstacle) if obstacle else ""),
        required_validation=tuple(check.name for check in services.settings.checks),
        plan_hash=hashed,
        rehearsal=Rehearsal(
            applies=tried.tree is not None,
            tree=tried.tree,
            conflicts=conflicts,
            lost_lines=tried.lost_lines,
            lost_commits=facts.lost_commits,
            checks=tried.checks,
        ),
    )
    plan = RecoveryPlan(
        option=name,
        incident=incident.id,
        type=wish.type,
        agent=agents[0] if agents else "",
        branch=branch,
        head=head,
        tree=None if restart_only else tried.tree,
        targets=wish.targets,
        message=message,
        steps=steps,
        plan_hash=hashed,
        diff=patch,
        database=data.words,
        loses=loses(level, tried.lost_lines, len(facts.lost_commits)),
    )
    return option, plan


def _reverse(services: Services, head: str, wish: Wish, ways: dict[str, str]) -> Reversal:
    if wish.type is OptionType.RESTART_ONLY:
        return Reversal((), services.repository.tree(head), (), "")
    return rehearse_series(services.mirror, head, wish.targets, parents=ways)


def obstacle_to(services: Services, plan: RecoveryPlan) -> RefusedError | None:
    """Return what keeps ``plan`` from being carried out now: an edit or an operation in a working tree, for one."""
    head = services.repository.tip(plan.branch)
    if plan.tree is None or head is None:
        return None
    # Its change on the branch as it is: the tree alone would take back what was committed since.
    tree = plan.tree if head == plan.head else rehearse_onto(services.mirror, plan.tree, head, plan.head).tree
    if tree is None:
        return None
    return _obstacle(services, head, make_commit(services.mirror, tree, [head], "rehearsal", services.clock.now()))


def _obstacle(services: Services, head: str, commit: str) -> RefusedError | None:
    """Return what would keep the branch from moving to ``commit`` as things are now."""
    try:
        plan_publication(services.repository, services.mirror, services.settings.branch, head, commit)
    except RefusedError as refusal:
        return refusal
    return None


def _has_checks(services: Services, tried: Tried) -> bool:
    if tried.type is OptionType.RESTART_ONLY:  # where all pass there is nothing for a restart to change
        return any(check.passed is not True for check in tried.checks)
    return bool(services.settings.checks)


def _wall_time(services: Services, checks: Sequence[CheckOutcome]) -> float:
    """Return how long the checks take, in seconds, run side by side as the settings allow."""
    times = [check.duration_s for check in checks]
    return max(*times, sum(times) / services.settings.limits.parallel_checks) if times else 0.0


def _agents(incident: Incident, diagnosis: Diagnosis) -> list[str]:
    """Return the problem agents: whose commits the culprits are, else whose trouble it is."""
    culprits = [suspect.agent for suspect in diagnosis.culprits if suspect.agent]
    return list(dict.fromkeys(culprits or ([incident.agent] if incident.agent else [])))


def _restarted(services: Services, agents: Sequence[str]) -> list[str]:
    """Return those of ``agents`` that may be started again, each behind those that it depends on."""
    settings = services.settings.agents
    wanted = [agent for agent in agents if agent not in settings or settings[agent].restart]
    needed = dependencies(services.settings)
    try:
        order = list(TopologicalSorter({name: sorted(needed[name]) for name in sorted(needed)}).static_order())
    except CycleError:  # doctor tells; any order is as good then
        order = []
    return sorted(wanted, key=lambda agent: order.index(agent) if agent in order else len(order))
