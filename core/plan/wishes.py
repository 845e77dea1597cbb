"""What an option shall do, before it is rehearsed: wished by rollcage for an incident, or by an operator who edits."""

from __future__ import annotations

from dataclasses import dataclass

from ..gitrepo.history import commits
from ..model import Diagnosis, Incident, OptionType, RecoveryPlan, Suspect, Verdict
from ..services import Services, attributed
from .line import line_since
from .ways_back import has_way_back

MOST_SUSPECTS = 3
"""Without a confirmed culprit at most so many commits are offered, the likeliest first."""
ENOUGH = 0.95
"""The candidates among which the culprit is: the likeliest suspects whose probabilities come to so much together."""
MOST_CANDIDATES = 10
"""Of more candidates the branch is not taken back as a whole: that would be throwing away work on a guess."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What an option shall do: also what an operator may edit."""

    type: OptionType
    targets: tuple[str, ...]
    message: str = ""
    """Empty: it is made; see also `rollcage.core.plan.ways_back`."""
    restart: bool = True
    parts: tuple[str, ...] = ()
    """FILE_SELECTIVE: the parts that go, as `rollcage.core.gitrepo.parts` names them; none: the fewest that help."""
    keeps: tuple[str, ...] | None = None
    """BRANCH_RESET: the commits that are made again on top; None: all that are no targets, as far as they go."""
    rewrite: bool = False
    """BRANCH_RESET: the ref itself moves back."""
    push: bool | None = None
    """Whether the branch is sent to its remote; None: as the settings say."""
    reset: tuple[str, ...] = ()
    """FULL_AGENT_RESET: the agents that start from nothing; none: those of the culprits."""


def wish_of(plan: RecoveryPlan, was: RecoveryPlan | None = None) -> Wish:
    """Return what ``plan`` does as a wish, to be rehearsed again.

    With ``was`` it is an edit of that one: what follows from what was edited is made anew, unless it was edited too.
    """
    kind_edited = was is not None and was.type is not plan.type
    keeps: tuple[str, ...] | None = plan.keeps
    if plan.type is not OptionType.BRANCH_RESET or (kind_edited and not plan.keeps):
        keeps = None
    message = plan.message
    if was is not None and plan.message == was.message and not has_way_back(plan.message):
        what = (plan.type, plan.targets, plan.parts, plan.keeps, plan.rewrite)
        message = message if what == (was.type, was.targets, was.parts, was.keeps, was.rewrite) else ""
    return Wish(
        plan.type,
        plan.targets,
        message,
        restart=any(step.name == "restart_agent" for step in plan.steps),
        parts=plan.parts,
        keeps=keeps,
        rewrite=plan.rewrite,
        push=any(step.name == "push" for step in plan.steps),
        reset=tuple(step.subject for step in plan.steps if step.name == "reset_agent"),
    )


def finest(diagnosis: Diagnosis) -> list[Wish]:
    """Return what is tried first: the culprits together, else the likeliest suspects one by one."""
    culprits = tuple(suspect.sha for suspect in diagnosis.culprits)
    if culprits:
        return [Wish(OptionType.SINGLE_COMMIT, culprits)]
    if diagnosis.verdict is Verdict.CANNOT_TELL:
        return []
    return [Wish(OptionType.SINGLE_COMMIT, (suspect.sha,)) for suspect in diagnosis.suspects[:MOST_SUSPECTS]]


def agent_reset(services: Services, diagnosis: Diagnosis, head: str) -> Wish | None:
    """Return the wish to take back all that the culprits' agents did since the last good state.

    None where that is nothing but the one culprit, or nobody's. Others' culprits go along. Raises GitError.
    """
    culprits = tuple(suspect.sha for suspect in diagnosis.culprits)
    agents = tuple(dict.fromkeys(suspect.agent for suspect in diagnosis.culprits if suspect.agent))
    line = line_since(services, head, culprits)
    if not agents or line is None or not line.goal:
        return None
    limit = services.settings.limits.lookback
    since = attributed(services, commits(services.mirror, head, since=line.goal, limit=limit, first_parent=False))
    own = [each.sha for each in since if each.sha in culprits or (len(each.parents) < 2 and each.agent in agents)]
    targets = tuple(dict.fromkeys((*own, *culprits)))
    if len(targets) < 2:
        return None
    return Wish(OptionType.FULL_AGENT_RESET, targets, reset=agents)


def branch_reset(diagnosis: Diagnosis) -> Wish | None:
    """Return the wish to bring back the last good tree: without the culprits, or all that may be the culprit.

    None where nobody is known to be among them.
    """
    if diagnosis.culprits:
        return Wish(OptionType.BRANCH_RESET, tuple(suspect.sha for suspect in diagnosis.culprits))
    found = candidates(diagnosis)
    return Wish(OptionType.BRANCH_RESET, tuple(suspect.sha for suspect in found)) if len(found) > 1 else None


def candidates(diagnosis: Diagnosis) -> tuple[Suspect, ...]:
    """Return the suspects of whom one is the culprit, though it cannot be told which; empty: they are not that few."""
    if diagnosis.verdict is not Verdict.ASK or diagnosis.last_good is None:
        return ()
    total = 0.0
    for number, suspect in enumerate(diagnosis.suspects[:MOST_CANDIDATES], 1):
        total += suspect.probability
        if total >= ENOUGH:
            return diagnosis.suspects[:number]
    return ()


def problem_agents(incident: Incident, diagnosis: Diagnosis) -> list[str]:
    """Return the agents that are stopped: whose commits the culprits are, else whose trouble it is, or proved to be."""
    culprits = [suspect.agent for suspect in diagnosis.culprits if suspect.agent]
    return list(dict.fromkeys(culprits or ([incident.agent] if incident.agent else diagnosis.agents)))
