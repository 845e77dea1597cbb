"""The options of an incident, best first, each rehearsed on objects and in a scratch tree before any ref moves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache, partial

from ..errors import RefusedError
from ..gitrepo.rehearse import rehearse_onto
from ..model import Diagnosis, Incident, OptionType, RecoveryPlan, RollbackOption, RollbackState
from ..services import Services
from .data_way import find_data_way
from .ranking import BEHIND, Candidate, ranked
from .rehearsal import obstacle_in_the_way, rehearse_one, restarted, with_proof
from .selective import made_of, smaller_ways
from .smallest import MOST_RUNS
from .ways_back import unknown_merge, way_back_trailer, ways_back
from .wishes import Wish, agent_reset, branch_reset, finest, problem_agents, wish_of
from .words import commit_message, with_trailer

__all__ = ["Pair", "Wish", "build_options", "obstacle_to", "rehearse", "wish_of"]

Pair = tuple[RollbackOption, RecoveryPlan]
Attempt = Callable[..., Candidate]
"""Rehearses the wish it is given; ``ready``: its tree, where that is known."""
_DAY = timedelta(hours=24)
_LOOK_BACK = 1_000
FEW_RUNS = 6
"""Check runs spent on parts of a suspect that is not confirmed: only of the likeliest, for a human to choose from."""
_NO_COARSER = frozenset({"no_change", "unknown_commit", "not_in_history", "unknown_parent", "merge_parent"})
"""Why a culprit does not go, where taking more back would help no better: nothing of it is there, or it is unknown."""


def build_options(
    services: Services, incident: Incident, diagnosis: Diagnosis, *, stop: threading.Event | None = None
) -> list[Pair]:
    """Rehearse every option of ``incident`` and return them ranked: id ``opt-<number of the incident>.<rank>``.

    The smallest that works comes first, and coarser ones beside it to fall back on; `rollcage.core.plan.ranking` has
    the order. An option that does not apply, or whose rehearsal fails the checks, is kept with the reason, and ranked
    behind. Of a merge whose way back is not known each is offered, behind the one that says so: a human is to choose.
    Raises RefusedError ``branch_gone``, StoreError, GitError.
    """
    # How the database goes back is asked once for the same commits and agents: it may be tried out on the database.
    way = cache(partial(find_data_way, services, diagnosis))
    attempt = partial(rehearse_one, services, incident, diagnosis, name="", stop=stop, data_way=way)
    found = _fine(services, incident, diagnosis, attempt, stop)
    found += _coarse(services, diagnosis, found, attempt, stop)
    if restarted(services, problem_agents(incident, diagnosis)) and not _is_set(stop):
        found.append(attempt(Wish(OptionType.RESTART_ONLY, ())))
    order = _in_order(services, incident, diagnosis, found, stop)
    number = incident.id.removeprefix("inc-")
    return [
        (
            replace(each.option, id=f"opt-{number}.{rank}", rank=rank),
            replace(each.plan, option=f"opt-{number}.{rank}"),
        )
        for rank, each in enumerate(order, 1)
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
    """Rehearse one wish on the branch as it is now, with the checks on the exact tree that it would produce.

    Raises RefusedError ``branch_gone``, UsageError for a push that the settings forbid or that has nowhere to go.
    """
    made = rehearse_one(services, incident, diagnosis, wish, name, stop=stop)
    if diagnosis.culprits:
        made = with_proof(services, diagnosis, made, stop=stop)
    return made.option, made.plan


def _in_order(
    services: Services,
    incident: Incident,
    diagnosis: Diagnosis,
    found: Sequence[Candidate],
    stop: threading.Event | None,
) -> list[Candidate]:
    """Return what is offered, the best first. Of whatever comes first it is looked at whether it proves anything.

    That may cost check runs, and only the first may be carried out without a human.
    """
    failed = _came_back_after_a_restart(services, incident)
    while True:
        order = ranked(found, has_culprit=bool(diagnosis.culprits), restart_failed=failed)
        if not diagnosis.culprits or not order or order[0].proof is not None or _is_set(stop):
            return order
        proven = with_proof(services, diagnosis, order[0], stop=stop)
        found = [proven if each is order[0] else each for each in found]


def _fine(
    services: Services, incident: Incident, diagnosis: Diagnosis, attempt: Attempt, stop: threading.Event | None
) -> list[Candidate]:
    """Rehearse the commits themselves, and with a confirmed culprit the parts of them that are enough."""
    found: list[Candidate] = []
    for place, wish in enumerate(finest(diagnosis)):
        if _is_set(stop):
            break
        whole = attempt(wish)
        choices = [] if whole.option.rehearsal.applies else _choices(services, incident, diagnosis, wish)
        more = [attempt(each) for each in choices]
        found += [replace(whole, place=place), *(replace(each, place=place, is_choice=True) for each in more)]
        if choices or whole.is_spotless or _is_set(stop):
            continue
        if diagnosis.culprits:
            found = _with_smaller(services, whole, attempt, stop)
        elif place == 0:
            found = [replace(each, place=place) for each in _with_smaller(services, whole, attempt, stop, FEW_RUNS)]
    return found


def _with_smaller(
    services: Services,
    whole: Candidate,
    attempt: Attempt,
    stop: threading.Event | None,
    budget: int = MOST_RUNS,
) -> list[Candidate]:
    """Return ``whole`` and what takes back only parts of the same commits, each with what speaks for it and against."""
    wish = Wish(whole.option.type, whole.option.target_commits)
    ways = ways_back(services, wish.targets)
    found: list[Candidate] = []
    for place, (smaller, seen) in enumerate(
        smaller_ways(services, whole.plan.head, wish, ways, budget=budget, stop=stop)
    ):
        if smaller.type is whole.option.type:
            made = whole
        else:
            ready = made_of(services, smaller, ways, seen)
            made = attempt(smaller, ready=ready)
        option = replace(made.option, side_effects=tuple(dict.fromkeys((*made.option.side_effects, *seen.why))))
        found.append(replace(made, option=option, place=place))
    if not any(each.option.type is whole.option.type for each in found):
        found.append(replace(whole, place=len(found)))
    return found


def _coarse(
    services: Services,
    diagnosis: Diagnosis,
    finer: Sequence[Candidate],
    attempt: Attempt,
    stop: threading.Event | None,
) -> list[Candidate]:
    """Rehearse what to fall back on: the culprits' agents reset; the last good tree, where finer ways do not do."""
    head = services.repository.tip(services.settings.branch)
    if head is None or _is_set(stop) or any(each.reason in _NO_COARSER for each in finer):
        return []
    found: list[Candidate] = []
    if diagnosis.culprits and (wish := agent_reset(services, diagnosis, head)) is not None:
        found.append(attempt(wish))
    does = any(each.option.rehearsal.applies and not (each.failed or each.is_choice) for each in (*finer, *found))
    last = branch_reset(diagnosis)
    if last is not None and (not does or len(last.targets) > 1) and not _is_set(stop):
        found.append(attempt(last))
    return [replace(each, place=BEHIND) for each in found]


def _choices(services: Services, incident: Incident, diagnosis: Diagnosis, wish: Wish) -> list[Wish]:
    """Return a wish for each parent of a merge whose way back is not known; the commit's message will say which."""
    unknown = unknown_merge(services, wish.targets)
    if unknown is None:
        return []
    merge, candidates = unknown
    message = commit_message(incident, diagnosis, wish)
    return [
        replace(wish, message=with_trailer(message, way_back_trailer(merge, parent)))
        for parent in dict.fromkeys(candidates)
    ]


def _came_back_after_a_restart(services: Services, incident: Incident) -> bool:
    """Return whether the same agent was only restarted for the same trouble within the last day: it did not last."""
    store, now = services.store, services.clock.now()
    for earlier in store.rollbacks(_LOOK_BACK):
        if now - earlier.started > _DAY:
            break
        its, plan = store.incident(earlier.incident), store.plan(earlier.option)
        same = its is not None and (its.agent, its.fingerprint) == (incident.agent, incident.fingerprint)
        if same and plan is not None and plan.type is OptionType.RESTART_ONLY and earlier.state is RollbackState.DONE:
            return True
    return False


def obstacle_to(services: Services, plan: RecoveryPlan) -> RefusedError | None:
    """Return what keeps ``plan`` from being carried out now: an edit or an operation in a working tree, for one."""
    head = services.repository.tip(plan.branch)
    if plan.tree is None or head is None:
        return None
    # Its change on the branch as it is: the tree alone would take back what was committed since.
    tree = plan.tree if head == plan.head else rehearse_onto(services.mirror, plan.tree, head, plan.head).tree
    if tree is None:
        return None
    return obstacle_in_the_way(services, head, tree)


def _is_set(stop: threading.Event | None) -> bool:
    return stop is not None and stop.is_set()
