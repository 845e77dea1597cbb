"""The recovery plan: phases and steps in order, each with what it does, its check and its undo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..model import OptionType, PlanStep

_TEXTS: dict[str, tuple[int, str, str, str]] = {
    "stop_agent": (1, "stop {} and all its processes", "no process of it is left", "none: it stays stopped"),
    "stand_by": (1, "tell the other agents to stand by", "their processes are frozen", "they work on"),
    "still_valid": (
        2,
        "look whether the branch moved since; if so, bring the change onto it",
        "the change applies to the branch as it is",
        "none needed",
    ),
    "snapshot": (3, "keep git, database and files as they are now", "the snapshot is whole", "none needed"),
    "commit": (3, "make the commit that takes the change back", "its tree is the rehearsed one", "none needed"),
    "publish": (
        3,
        "move the branch forward to it; every worktree follows",
        "branch and worktrees are at it, uncommitted edits untouched",
        "a further commit brings the old content back",
    ),
    "reset_agent": (
        3,
        "take {}'s leases, queue items and hand-overs back, and its own branch and worktree",
        "it holds and offers nothing, and its worktree is at the branch",
        "they are given back",
    ),
    "database": (
        3,
        "bring the database back: {}",
        "it is whole, and as it was kept",
        "it is brought back to the fresh snapshot",
    ),
    "checks": (3, "run every check on the branch as it is then", "all pass", "none needed"),
    "verify": (4, "look at the repository, the branch and the database", "all whole", "none needed"),
    "restart_agent": (4, "start {} again", "its process runs", "it is stopped"),
    "metrics": (4, "measure {} afresh", "in band", "none needed"),
    "push": (
        4,
        "send the branch to {}",
        "the remote has it, or it waits to be sent",
        "none needed: an undo is sent too",
    ),
    "resume_others": (4, "let the other agents work on", "their processes run", "none needed"),
}


def step(name: str, subject: str = "") -> PlanStep:
    """Return the plan step ``name`` about ``subject``."""
    phase, does, check, undo = _TEXTS[name]
    return PlanStep(phase, name, does.format(subject or "the agent"), check, undo, subject)


def recovery_steps(
    kind: OptionType,
    agents: Sequence[str],
    *,
    has_checks: bool,
    restart: bool = True,
    order: Sequence[str] | None = None,
    database: str = "",
    reset: Sequence[str] = (),
    push: str = "",
    goal: str = "",
) -> list[PlanStep]:
    """Return the steps that carry out an option of ``kind`` for the problem ``agents``, in order.

    ``order`` names those that are started again, in that order; by default all. ``database`` is how it goes back in
    step (`rollcage.core.plan.data_way`), ``reset`` the agents that start from nothing, ``push`` the remote that the
    branch is sent to; empty: not at all. ``goal`` is the commit that the branch itself goes back to, where history is
    rewritten.
    """
    steps = [step("stop_agent", agent) for agent in agents]
    steps.append(step("stand_by"))
    if kind is not OptionType.RESTART_ONLY:
        steps.append(step("still_valid"))
    steps.append(step("snapshot"))
    if kind is not OptionType.RESTART_ONLY:
        steps += _rewriting(goal) if goal else [step("commit"), step("publish")]
    steps += [step("reset_agent", agent) for agent in reset]
    if database:
        steps.append(step("database", database))
    if has_checks:
        steps.append(step("checks"))
    steps.append(step("verify"))
    if restart:
        for agent in agents if order is None else order:
            steps += [step("restart_agent", agent), step("metrics", agent)]
    return [*steps, step("resume_others"), *([step("push", push)] if push else [])]


def _rewriting(goal: str, way: str = "back") -> list[PlanStep]:
    """Return the steps that move the branch to ``goal``, which is there; the subject of the first says where."""
    commit, publish = step("commit", goal), step("publish")
    return [
        replace(commit, does=f"keep the branch as it is, and find {goal[:12]}", check="it is the rehearsed one"),
        replace(
            publish,
            does=f"move the branch {way} to {goal[:12]}; every worktree follows",
            undo="the branch goes back to where it was",
        ),
    ]


def undo_steps(
    *, code: bool = True, database: str = "", reset: Sequence[str] = (), push: str = "", goal: str = ""
) -> list[PlanStep]:
    """Return the steps that turn a rollback round: the agents stand by while the branch moves.

    What the rollback did beside is turned round as well: the ``database``, the agents ``reset``, the ``push``; one
    that changed no ``code`` did nothing else. ``goal`` is the commit that the branch goes forward to, where it went
    back itself and nobody committed since; empty: a new commit is made.
    """
    steps = [step(name) for name in (("stand_by", "still_valid", "snapshot") if code else ("stand_by", "snapshot"))]
    if code:
        steps += _rewriting(goal, "forward again") if goal else [step("commit"), step("publish")]
    given = "give {} back what was taken from it: locks, messages, hand-overs and its own branches"
    steps += [replace(step("reset_agent", agent), does=given.format(agent)) for agent in reset]
    if database:
        steps.append(step("database", database))
    steps += [step("verify"), step("resume_others")]
    return [*steps, *([step("push", push)] if push else [])]
