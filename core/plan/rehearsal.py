"""One option, rehearsed: the tree, the checks on it, the facts, the risk, the steps, the hash."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from graphlib import CycleError, TopologicalSorter

from ..config import dependencies
from ..errors import RefusedError, UsageError
from ..gitrepo.history import changed_files, diff
from ..gitrepo.publish import plan_publication
from ..gitrepo.push import remote_of
from ..gitrepo.rehearse import make_commit
from ..model import CheckOutcome, Diagnosis, Incident, OptionType, RecoveryPlan, Rehearsal, RollbackOption
from ..services import Services
from .data_way import DataWay, find_data_way
from .effect import plan_hash
from .facts import Tried, gather
from .made import Made
from .proof import Proof, followed, prove
from .ranking import Candidate
from .recovery import recovery_steps
from .risk import assess
from .selective import needed_later
from .times import estimated_seconds
from .trees import trees
from .wishes import Wish, agent_reset, problem_agents
from .words import Push, commit_message, loses, side_effects

_FINE = frozenset({OptionType.SINGLE_COMMIT, OptionType.FILE_SELECTIVE})
"""Types of which it can be said what of the targets goes and what stays."""

Checked = tuple[Made, tuple[CheckOutcome, ...]]
FindDataWay = Callable[[tuple[str, ...], tuple[str, ...]], DataWay]
"""How the database goes back with these targets, when these agents are in trouble."""


def rehearse_one(
    services: Services,
    incident: Incident,
    diagnosis: Diagnosis,
    wish: Wish,
    name: str,
    *,
    ready: Made | None = None,
    stop: threading.Event | None = None,
    data_way: FindDataWay | None = None,
) -> Candidate:
    """Rehearse one wish on the branch as it is now, with the checks on the exact tree that it would produce.

    ``ready`` is that tree where it is known; ``data_way`` is asked instead of `find_data_way`, with the targets and the
    agents. Raises RefusedError ``branch_gone``, UsageError for a push that cannot
    be, GitError, StoreError.
    """
    branch = services.settings.branch
    head = services.repository.tip(branch)
    if head is None:
        raise RefusedError("branch_gone", f"branch {branch} does not exist any more")
    kind, restart_only = wish.type, wish.type is OptionType.RESTART_ONLY
    if kind is OptionType.FULL_AGENT_RESET and not wish.reset:
        wish = _whole_agents(services, incident, diagnosis, wish, head)
    push = _push(services, wish, head)
    agents = problem_agents(incident, diagnosis)
    agents += [agent for agent in wish.reset if agent not in agents]
    order = restarted(services, agents) if wish.restart else []
    message = "" if restart_only else wish.message or commit_message(incident, diagnosis, wish)

    see = followed(services, (head, diagnosis.head or head), stop)

    def outcomes_of(made: Made) -> tuple[CheckOutcome, ...]:
        return _outcomes(services, head, made, see, stop)

    def holds(made: Made) -> bool:
        return _holds(outcomes_of(made))

    candidates = [ready] if ready else trees(services, head, wish, diagnosis, message, holds, stop=stop)
    made, outcomes = _first_that_holds(candidates, outcomes_of, stop)
    if not restart_only and not wish.message and (made.keeps, made.parts, made.goal) != ((), (), ""):
        message = commit_message(incident, diagnosis, wish, made)
    tried = Tried(
        kind, head, made.tree, made.targets, lost_lines=made.lost_lines, checks=outcomes, ways=made.ways,
        conflicts=made.reason == "conflict", lost_commits=made.lost_commits, goal=made.goal, rewrite=wish.rewrite,
    )  # fmt: skip
    patch, obstacle = "", None
    if not restart_only and made.tree is not None:
        obstacle = obstacle_in_the_way(services, head, made.tree)
        patch = diff(services.mirror, head, made.tree)
        tried = replace(
            tried,
            files=tuple(changed_files(services.mirror, head, made.tree)),
            overlaps=obstacle is not None and obstacle.code == "overlap",
            needed=needed_later(services, head, made.targets, made.parts, made.ways or {}) if kind in _FINE else (),
        )
    data = (data_way or partial(find_data_way, services, diagnosis))(tuple(wish.targets), tuple(agents))
    facts = gather(services, diagnosis, tried, agents, data.effect)
    points, level, factors = assess(facts.risk)
    steps = tuple(
        recovery_steps(
            kind, agents, has_checks=_has_checks(services, kind, outcomes), restart=wish.restart, order=order,
            database=data.subject, reset=wish.reset, push=push.remote if push.wanted else "",
            goal=made.goal if wish.rewrite else "",
        )
    )  # fmt: skip
    option = RollbackOption(
        id=name,
        incident=incident.id,
        rank=0,
        type=kind,
        target_commits=wish.targets,
        affected_files=tried.files,
        estimated_recovery_time=estimated_seconds(services, steps, outcomes),
        risk_level=level,
        risk_points=points,
        risk_factors=factors,
        side_effects=side_effects(
            wish, agents, order, branch, made=made, facts=facts, push=push, data=data.words, obstacle=obstacle
        ),
        required_validation=tuple(check.name for check in services.settings.checks),
        plan_hash="",
        rehearsal=Rehearsal(
            applies=tried.tree is not None,
            tree=tried.tree,
            conflicts=made.conflicts if tried.tree is None else (),
            lost_lines=tried.lost_lines,
            lost_commits=facts.lost_commits,
            checks=outcomes,
        ),
    )
    plan = RecoveryPlan(
        option=name,
        incident=incident.id,
        type=kind,
        agent=agents[0] if agents else "",
        branch=branch,
        head=head,
        tree=None if restart_only else tried.tree,
        targets=wish.targets,
        message=message,
        steps=steps,
        plan_hash="",
        diff=patch,
        database=data.words,
        loses=loses(level, tried.lost_lines, len(facts.lost_commits), rewritten=wish.rewrite),
        parts=made.parts,
        keeps=made.keeps,
        rewrite=wish.rewrite,
    )
    hashed = plan_hash(services, plan)
    return Candidate(
        replace(option, plan_hash=hashed),
        replace(plan, plan_hash=hashed),
        lines=facts.risk.lines_changed,
        overlaps=tried.overlaps,
        reason=made.reason,
        needed=facts.needed,
        tests=facts.tests,
        risk=facts.risk,
    )


def with_proof(
    services: Services, diagnosis: Diagnosis, each: Candidate, *, stop: threading.Event | None = None
) -> Candidate:
    """Return ``each`` with what its rehearsal proves, which it also says. Runs checks where it concerns tests.

    Raises GitError, StoreError.
    """
    option = each.option
    if option.type is OptionType.RESTART_ONLY:
        return replace(each, proof=Proof(True))
    proof = prove(services, diagnosis, each.plan, option.rehearsal, option.affected_files, each.tests, stop=stop)
    rehearsal = replace(option.rehearsal, proven=proof.holds, other_tests=proof.others, known_flaky=proof.known_flaky)
    effects = tuple(dict.fromkeys((*option.side_effects, *proof.words)))
    option = replace(option, rehearsal=rehearsal, side_effects=effects)
    if proof.holds and proof.known_flaky and each.risk is not None and not each.risk.loses:
        points, level, factors = assess(replace(each.risk, checks_passed="flaky"))
        option = replace(option, risk_points=points, risk_level=level, risk_factors=factors)
    return replace(each, option=option, proof=proof)


def _whole_agents(services: Services, incident: Incident, diagnosis: Diagnosis, wish: Wish, head: str) -> Wish:
    """Return ``wish`` with the agents that it resets, and all that they did, where it names none yet."""
    found = agent_reset(services, diagnosis, head)
    agents = tuple(problem_agents(incident, diagnosis))
    if not agents:
        raise UsageError("there is no agent to reset: the commits are nobody's of the fleet")
    targets = tuple(dict.fromkeys((*(found.targets if found else ()), *wish.targets)))
    return replace(wish, reset=agents, targets=targets)


def _first_that_holds(
    candidates: Iterable[Made],
    outcomes_of: Callable[[Made], tuple[CheckOutcome, ...]],
    stop: threading.Event | None,
) -> Checked:
    """Return the first tree that fails no check, with their outcomes; else the first, which loses least.

    One that is flaky there, or has no verdict, is no reason to lose more.
    """
    first: Checked | None = None
    for made in candidates:
        outcomes = outcomes_of(made)
        if made.tree is not None and _holds(outcomes):
            return made, outcomes
        if first is None or (first[0].tree is None and made.tree is not None):
            first = made, outcomes
        if stop is not None and stop.is_set():
            break
    assert first is not None
    return first


def _holds(outcomes: Sequence[CheckOutcome]) -> bool:
    return all(check.passed is not False for check in outcomes)


def _outcomes(
    services: Services,
    head: str,
    made: Made,
    see: Mapping[str, Collection[str]],
    stop: threading.Event | None,
) -> tuple[CheckOutcome, ...]:
    """Return what every check says of the tree, and of the tests to be seen there; nothing where there is none."""
    if made.tree is None:
        return ()
    if made.tree == services.repository.tree(head):  # what fails before a restart fails behind it
        return services.checks.run_all(head, made.tree, stop=stop)
    commit = make_commit(services.mirror, made.tree, [head], "rehearsal", services.clock.now())
    return services.checks.run_all(commit, made.tree, stop=stop, see=see)


def _push(services: Services, wish: Wish, head: str) -> Push:
    """Return where the branch is sent to, and whether the plan has a step for it."""
    setting, branch = services.settings.push, services.settings.branch
    if wish.type is OptionType.RESTART_ONLY:
        return Push("", setting)
    remote = remote_of(services.repository, branch) or ""
    if wish.push is None:
        return Push(remote, setting, setting == "auto" and bool(remote) and _has_some_of_it(services, remote, head))
    if wish.push and setting == "never":
        raise UsageError("the plan cannot push: rollcage.yml says push: never; allowed there: ask | auto")
    if wish.push and not remote:
        raise UsageError(f"the plan cannot push: {branch} has no remote; git branch --set-upstream-to names one")
    return Push(remote, setting, wish.push)


def _has_some_of_it(services: Services, remote: str, head: str) -> bool:
    """Return whether ``remote`` was seen to have the branch, or an earlier state of it."""
    git, branch = services.repository.git, services.settings.branch
    seen = git.run("rev-parse", "--verify", "--quiet", f"refs/remotes/{remote}/{branch}^{{commit}}", ok=(0, 1, 128))
    theirs = seen.out.decode().strip()
    return bool(theirs) and git.run("merge-base", "--is-ancestor", theirs, head, ok=(0, 1, 128)).status == 0


def obstacle_in_the_way(services: Services, head: str, tree: str) -> RefusedError | None:
    """Return what would keep the branch from getting ``tree`` as things are now."""
    commit = make_commit(services.mirror, tree, [head], "rehearsal", services.clock.now())
    try:
        plan_publication(services.repository, services.mirror, services.settings.branch, head, commit)
    except RefusedError as refusal:
        return refusal
    return None


def _has_checks(services: Services, kind: OptionType, outcomes: Sequence[CheckOutcome]) -> bool:
    if kind is OptionType.RESTART_ONLY:  # where all pass there is nothing for a restart to change
        return any(check.passed is not True for check in outcomes)
    return bool(services.settings.checks)


def restarted(services: Services, agents: Sequence[str]) -> list[str]:
    """Return those of ``agents`` that may be started again, each behind those that it depends on."""
    settings = services.settings.agents
    wanted = [agent for agent in agents if agent not in settings or settings[agent].restart]
    needed = dependencies(services.settings)
    try:
        order = list(TopologicalSorter({name: sorted(needed[name]) for name in sorted(needed)}).static_order())
    except CycleError:  # doctor tells; any order is as good then
        order = []
    return sorted(wanted, key=lambda agent: order.index(agent) if agent in order else len(order))
