"""The options of an incident, best first, each rehearsed on objects and in a scratch tree before any ref moves."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..errors import RefusedError
from ..gitrepo.history import attribute, branch_parent, changed_files, commits, diff, parents
from ..gitrepo.publish import plan_publication
from ..gitrepo.rehearse import Reversal, lost_lines, make_commit, rehearse_series
from ..model import (
    CheckOutcome,
    Commit,
    Diagnosis,
    Incident,
    OptionType,
    RecoveryPlan,
    Rehearsal,
    RiskLevel,
    RollbackOption,
    Suspect,
    Verdict,
)
from ..services import Services
from .effect import plan_hash
from .recovery import recovery_steps
from .risk import RiskFacts, assess

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
    restart: bool = True


def wishes(diagnosis: Diagnosis) -> list[Wish]:
    """Return what to rehearse for ``diagnosis``: its culprits together, else the likeliest suspects one by one."""
    culprits = tuple(suspect.sha for suspect in diagnosis.culprits)
    if culprits:
        return [Wish(OptionType.SINGLE_COMMIT, culprits), Wish(OptionType.RESTART_ONLY, ())]
    single = [Wish(OptionType.SINGLE_COMMIT, (suspect.sha,)) for suspect in diagnosis.suspects[:MOST_SUSPECTS]]
    return [Wish(OptionType.RESTART_ONLY, ()), *(single if diagnosis.verdict is not Verdict.CANNOT_TELL else [])]


def build_options(
    services: Services, incident: Incident, diagnosis: Diagnosis, *, stop: threading.Event | None = None
) -> list[Pair]:
    """Rehearse every option of ``incident`` and return them ranked: id ``opt-<number of the incident>.<rank>``.

    An option that does not apply, or whose rehearsal fails the checks, is kept, shown, and ranked behind.
    Raises RefusedError ``branch_gone`` where the branch does not exist.
    """
    made = [
        rehearse(services, incident, diagnosis, wish, f"{index}", stop=stop)
        for index, wish in enumerate(wishes(diagnosis), 1)
    ]
    made.sort(key=_rank)
    number = incident.id.removeprefix("inc-")
    ranked = []
    for rank, (option, plan) in enumerate(made, 1):
        name = f"opt-{number}.{rank}"
        ranked.append((replace(option, id=name, rank=rank), replace(plan, option=name)))
    return ranked


def _rank(pair: Pair) -> tuple[bool, bool, bool, int]:
    option = pair[0]
    failed = any(check.passed is not True for check in option.rehearsal.checks)
    useless = failed and option.type is OptionType.RESTART_ONLY  # it applies always, and mends no failing check
    return (useless, not option.rehearsal.applies, failed, option.risk_points)


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
    head = services.repository.tip(services.settings.branch)
    if head is None:
        raise RefusedError("branch_gone", f"branch {services.settings.branch} does not exist any more")
    reversal = _reverse(services, head, wish)
    files: tuple[str, ...] = ()
    checks: tuple[CheckOutcome, ...] = ()
    patch = ""
    lost = 0
    if wish.type is not OptionType.RESTART_ONLY and reversal.tree is not None:
        head_tree = services.repository.tree(head)
        files = tuple(changed_files(services.mirror, head_tree, reversal.tree))
        patch = diff(services.mirror, head_tree, reversal.tree)
        lost = lost_lines(
            services.mirror, head, reversal.tree, wish.targets, parents=_ways_back(services, wish.targets)
        )
        checks = _check(services, reversal.tree, head, stop)
    elif wish.type is OptionType.RESTART_ONLY:  # what fails before a restart fails behind it; known by the tree
        checks = services.checks.run_all(head, services.repository.tree(head), stop=stop)
    agents = _agents(incident, diagnosis)
    message = wish.message or _message(services, incident, diagnosis, wish)
    restart = wish.restart and all(_may_restart(services, agent) for agent in agents)
    has_checks = any(check.passed is not True for check in checks) or wish.type is not OptionType.RESTART_ONLY
    has_checks = has_checks and bool(services.settings.checks)
    steps = tuple(recovery_steps(wish.type, agents, has_checks=has_checks, restart=restart))
    database = "nothing" if services.database is None else "no way back: no checkpoint of the last good state"
    if services.database is not None and not diagnosis.reach.tables:
        database = "nothing"
    hashed = plan_hash(
        services,
        wish.type,
        head=head,
        tree=reversal.tree,
        targets=wish.targets,
        message=message,
        steps=steps,
        database=database,
    )
    facts = _facts(services, diagnosis, wish, reversal, head=head, files=files, checks=checks, lost=lost, patch=patch)
    points, level, factors = assess(facts)
    option = RollbackOption(
        id=name,
        incident=incident.id,
        rank=0,
        type=wish.type,
        target_commits=wish.targets,
        affected_files=files,
        estimated_recovery_time=OWN_TIME_S + 2 * sum(check.duration_s for check in checks),
        risk_level=level,
        risk_points=points,
        risk_factors=factors,
        side_effects=_side_effects(services, agents, wish),
        required_validation=tuple(check.name for check in services.settings.checks),
        plan_hash=hashed,
        rehearsal=Rehearsal(
            applies=reversal.tree is not None,
            tree=reversal.tree,
            conflicts=reversal.conflicts,
            lost_lines=lost,
            lost_commits=(),
            checks=checks,
        ),
    )
    plan = RecoveryPlan(
        option=name,
        incident=incident.id,
        type=wish.type,
        agent=agents[0] if agents else "",
        branch=services.settings.branch,
        head=head,
        tree=reversal.tree if wish.type is not OptionType.RESTART_ONLY else None,
        targets=wish.targets,
        message=message,
        steps=steps,
        plan_hash=hashed,
        diff=patch,
        database=database,
        loses=f"lose {lost} lines" if level is RiskLevel.CRITICAL and lost else _loses(level),
    )
    return option, plan


def _loses(level: RiskLevel) -> str:
    return "change the branch" if level is RiskLevel.CRITICAL else ""


def _reverse(services: Services, head: str, wish: Wish) -> Reversal:
    if wish.type is OptionType.RESTART_ONLY:
        return Reversal((), services.repository.tree(head), (), "")
    return rehearse_series(services.mirror, head, wish.targets, parents=_ways_back(services, wish.targets))


def _ways_back(services: Services, targets: Sequence[str]) -> dict[str, str]:
    """Return for each merge in ``targets`` the parent that the branch pointed to before, where that is known."""
    merges = [sha for sha in targets if len(parents(services.mirror, sha)) > 1]
    ways = {sha: branch_parent(services.repository, services.settings.branch, sha) for sha in merges}
    return {sha: parent for sha, parent in ways.items() if parent is not None}


def _check(services: Services, tree: str, head: str, stop: threading.Event | None) -> tuple[CheckOutcome, ...]:
    """Run the checks on the rehearsed tree; as a commit, since checks may ask git what they run on."""
    sha = make_commit(services.mirror, tree, [head], "rehearsal", services.clock.now())
    return services.checks.run_all(sha, tree, stop=stop)


def _agents(incident: Incident, diagnosis: Diagnosis) -> list[str]:
    culprits = [suspect.agent for suspect in diagnosis.culprits if suspect.agent]
    return list(dict.fromkeys(culprits or ([incident.agent] if incident.agent else [])))


def _may_restart(services: Services, agent: str) -> bool:
    settings = services.settings.agents.get(agent)
    return settings is None or settings.restart


def _message(services: Services, incident: Incident, diagnosis: Diagnosis, wish: Wish) -> str:
    if wish.type is OptionType.RESTART_ONLY:
        return ""
    known: dict[str, Suspect] = {suspect.sha: suspect for suspect in (*diagnosis.suspects, *diagnosis.culprits)}
    names = [f'{sha[:12]} "{known[sha].summary}"' if sha in known else sha[:12] for sha in wish.targets]
    first = f"Take back {', '.join(names)}"
    body = [f"Incident {incident.id}: {incident.title}", diagnosis.root_cause]
    trailers = [f"Rollcage-Incident: {incident.id}", *(f"Rollcage-Takes-Back: {sha}" for sha in wish.targets)]
    return "\n\n".join([first, "\n".join(line for line in body if line), "\n".join(trailers)]) + "\n"


def _side_effects(services: Services, agents: Sequence[str], wish: Wish) -> tuple[str, ...]:
    effects = [f"{agent} is {'restarted' if wish.restart else 'stopped'}" for agent in agents]
    effects.append("the other agents stand by until it is done")
    if wish.type is not OptionType.RESTART_ONLY:
        effects.append(f"a new commit on {services.settings.branch}")
    return tuple(effects)


def _facts(
    services: Services,
    diagnosis: Diagnosis,
    wish: Wish,
    reversal: Reversal,
    *,
    head: str,
    files: tuple[str, ...],
    checks: tuple[CheckOutcome, ...],
    lost: int,
    patch: str,
) -> RiskFacts:
    restart_only = wish.type is OptionType.RESTART_ONLY
    culprit_agents = {suspect.agent for suspect in diagnosis.culprits}
    later = [] if restart_only or not wish.targets else _later(services, head, wish.targets, files)
    overlap = False
    if not restart_only and reversal.tree is not None:
        overlap = _overlaps(services, head, reversal.tree)
    return RiskFacts(
        lines_changed=sum(1 for line in patch.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")),
        lost_lines=lost,
        lost_commits=0,
        dependents=len(later),
        others_files=len({path for commit in later if commit.agent not in culprit_agents for path in commit.files}),
        database="none" if services.database is None else "no_way_back" if diagnosis.reach.tables else "same",
        history_rewritten=False,
        pushed=_pushed(services, wish.targets),
        dirty_overlap=overlap,
        dirty_same_file=False,
        checks_passed=None if restart_only or not checks else all(check.passed is True for check in checks),
        confidence=diagnosis.confidence,
        agents_stopped=len(culprit_agents) or 1,
        commits_taken_back=len(wish.targets),
    )


def _later(services: Services, head: str, targets: Sequence[str], files: Sequence[str]) -> list[Commit]:
    """Return the commits after the oldest target that touch a file which would change."""
    since = commits(services.mirror, head, since=targets[-1], limit=services.settings.limits.lookback)
    touching = [commit for commit in since if commit.sha not in targets and set(commit.files) & set(files)]
    return attribute(touching, services.settings.agents)


def _overlaps(services: Services, head: str, tree: str) -> bool:
    """Say whether an uncommitted edit would stand in the way of publishing ``tree``."""
    sha = make_commit(services.mirror, tree, [head], "rehearsal", services.clock.now())
    try:
        plan_publication(services.repository, services.mirror, services.settings.branch, head, sha)
    except RefusedError as refusal:
        return refusal.code == "overlap"
    return False


def _pushed(services: Services, targets: Sequence[str]) -> bool | None:
    if not targets:
        return None
    git = services.repository.git
    return bool(git.text("for-each-ref", "--contains", targets[-1], "--count=1", "refs/remotes"))
