"""What is wrong with a recovery plan, before anybody approves it or the engine begins. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..model import OptionType, RecoveryPlan

_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_HASH = re.compile(r"[0-9a-f]{64}")
_NEEDED = {"reset_agent": "whom", "database": "how", "push": "where to", "stop_agent": "whom", "restart_agent": "whom"}
"""The steps that mean nothing without a subject."""


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """Whether a plan can be carried out, and every reason why not."""

    valid: bool
    problems: tuple[str, ...]


def validate_recovery_plan(plan: RecoveryPlan) -> ValidationResult:
    """Return what is wrong with ``plan``: in itself, not against the world, which rehearsal and execution look at.

    The steps must be in the order of the phases, each with its check and its undo; before anything changes the agents
    stand by and a fresh snapshot is taken; what was changed is verified; whoever was held works on at the end.
    """
    problems = [*_steps(plan), *(_restart_only(plan) if plan.type is OptionType.RESTART_ONLY else _code(plan))]
    if not _HASH.fullmatch(plan.plan_hash):
        problems.append("it has no plan hash, so that nobody can approve it")
    return ValidationResult(not problems, tuple(problems))


def _steps(plan: RecoveryPlan) -> list[str]:
    problems = []
    if not plan.steps:
        return ["it has no steps"]
    for number, each in enumerate(plan.steps, 1):
        missing = [key for key in ("name", "does", "check", "undo") if not getattr(each, key)]
        if missing:
            problems.append(f"step {number} {each.name} does not say: {', '.join(missing)}")
        if each.phase not in {1, 2, 3, 4}:
            problems.append(f"step {number} {each.name} is in phase {each.phase}; there are 1 to 4")
    phases = [each.phase for each in plan.steps]
    if phases != sorted(phases):
        problems.append("its steps are not in the order of the phases")
    problems += _order(plan, "snapshot", "publish", "restart_agent", why="undo needs a fresh snapshot to go back to")
    problems += _order(plan, "stand_by", "publish", why="agents that work on would write meanwhile")
    problems += _order(plan, "commit", "publish", why="the branch moves to that commit")
    problems += _order(plan, "publish", "checks", "verify", "restart_agent", why="they look at what was published")
    problems += _order(plan, "publish", "reset_agent", why="it starts again from what was published")
    problems += _order(plan, "publish", "database", why="data follows the code that fits it")
    problems += _order(plan, "database", "checks", "verify", why="they look at the data that was brought back")
    problems += _order(plan, "reset_agent", "restart_agent", why="it starts again from nothing")
    problems += _order(plan, "verify", "push", why="only what was seen to work is sent")
    problems += _order(plan, "restart_agent", "metrics", why="a stopped agent has none")
    problems += _order(plan, "verify", "resume_others", why="nobody works on before all is well")
    names = [each.name for each in plan.steps]
    problems += [f"step {name} is missing" for name in ("snapshot", "verify") if name not in names]
    problems += [
        f"step {each.name} does not say {what}"
        for each in plan.steps
        for name, what in _NEEDED.items()
        if each.name == name and not each.subject
    ]
    if "push" in names and names[-1] != "push":
        problems.append("step push is not the last one: nothing waits for a remote")
    problems += [f"step {name} is there twice" for name in ("database", "push") if names.count(name) > 1]
    if "stand_by" in names and "resume_others" not in names:
        problems.append("step resume_others is missing: the others would stand by for ever")
    return problems


def _order(plan: RecoveryPlan, first: str, *later: str, why: str) -> list[str]:
    """Return a problem for each of ``later`` that begins before ``first`` does; one that is missing is none."""
    places = {name: [at for at, each in enumerate(plan.steps) if each.name == name] for name in (first, *later)}
    return [
        f"step {name} comes before {first}: {why}"
        for name in later
        if places[first] and places[name] and places[name][0] < places[first][0]
    ]


def _code(plan: RecoveryPlan) -> list[str]:
    problems = []
    names = [each.name for each in plan.steps]
    if names.count("publish") != 1 or names.count("commit") != 1:
        problems.append("it must make one commit and publish it once")
    if plan.tree is None:
        problems.append("it was not rehearsed, or does not apply: there is no tree to publish")
    if not _ID.fullmatch(plan.head):
        problems.append("it does not say on which commit it was rehearsed")
    if not plan.branch:
        problems.append("it names no branch")
    if not plan.targets:
        problems.append("it takes nothing back")
    problems += [f"target {target[:12]} is no full commit id" for target in plan.targets if not _ID.fullmatch(target)]
    if len(set(plan.targets)) != len(plan.targets):
        problems.append("it takes the same commit back twice")
    if not plan.message.strip():
        problems.append("its commit has no message")
    return [*problems, *_of_its_type(plan)]


def _of_its_type(plan: RecoveryPlan) -> list[str]:
    """Return what is wrong with what only some types have."""
    problems = []
    if plan.type is OptionType.FILE_SELECTIVE:
        if not plan.parts:
            problems.append("it names no parts that go; a whole commit is SINGLE_COMMIT")
    elif plan.parts:
        problems.append(f"it names parts, which {plan.type} does not have")
    if plan.type is not OptionType.BRANCH_RESET and (plan.keeps or plan.rewrite):
        problems.append(f"it makes commits again or rewrites history, which {plan.type} does not")
    names = {each.name for each in plan.steps}
    if plan.type is OptionType.FULL_AGENT_RESET and "reset_agent" not in names:
        problems.append("it resets no agent")
    if plan.type is not OptionType.FULL_AGENT_RESET and {"reset_agent", "stop_agent"} <= names:  # else it is an undo
        problems.append(f"it resets an agent, which {plan.type} does not")
    if plan.rewrite and plan.keeps:
        problems.append("it rewrites history and makes commits again: it can do one of them")
    if plan.rewrite and not plan.loses:
        problems.append("it rewrites history and does not say what is lost")
    problems += [f"it makes {sha[:12]} again and takes it back" for sha in plan.keeps if sha in plan.targets]
    problems += [f"kept commit {sha[:12]} is no full commit id" for sha in plan.keeps if not _ID.fullmatch(sha)]
    goals = [each.subject for each in plan.steps if each.name == "commit"]
    turns_round = plan.type is OptionType.SINGLE_COMMIT and "stop_agent" not in names  # an undo of a rewrite
    if plan.rewrite != any(goals) and not turns_round:
        problems.append("it must say to which commit the branch goes back, and only where history is rewritten")
    return problems


def _restart_only(plan: RecoveryPlan) -> list[str]:
    problems = []
    names = {each.name for each in plan.steps}
    if {"commit", "publish"} & names or plan.tree is not None or plan.targets:
        problems.append("it only restarts, so it must not change code")
    if not names & {"restart_agent", "database"}:
        problems.append("it restarts nobody")
    return problems
