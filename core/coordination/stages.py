"""Plans in which no deadlock can form: agents in the order of their stages, locks in one global order, bounded waits.

Two of the four conditions of a deadlock are taken away (E. G. Coffman et al., "System Deadlocks", ACM Computing Surveys
3(2), 1971): the circular wait, for agents wait for earlier ones only and take their locks in one order (Havender, IBM
Systems Journal 7(2), 1968); and the wait without end, for each stage has its time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from ..config import Settings, dependencies
from ..errors import UsageError
from ..text import clean


@dataclass(frozen=True, slots=True)
class PlannedAgent:
    """An agent that is to work, as somebody planned it."""

    agent: str
    locks: tuple[str, ...] = ()
    """What it will hold at once, in the order in which it means to take them."""
    waits_for: tuple[str, ...] = ()
    """Agents that have to be done before; those of the settings count too."""
    creates_for: tuple[str, ...] = ()
    """Agents for which it will create Issues."""
    stage: str = ""
    """Empty: that of the settings."""


@dataclass(frozen=True, slots=True)
class SafeStep:
    """An agent as it is to work."""

    agent: str
    stage: str
    """Empty: none; it waits only for those that it names."""
    after: tuple[str, ...]
    """Agents that have to be done before it begins; sorted."""
    locks: tuple[str, ...]
    """Each once, in the global order (of their UTF-8 bytes), to be taken at once (`Leases.acquire_all`)."""
    timeout: float | None
    """Seconds after which it is over; ``None``: no stage, no limit."""


@dataclass(frozen=True, slots=True)
class SafePlan:
    """A plan in which nobody can come to wait in a circle, nor for ever."""

    safe_execution_plan: tuple[SafeStep, ...]
    """In an order in which they can work one after the other."""
    deadlock_prevention_applied: bool
    """Whether anything had to be changed."""
    execution_constraints: tuple[str, ...]
    """What was changed first, then what holds; for people."""


def prevent_deadlock_formation(plan: Sequence[PlannedAgent], settings: Settings) -> SafePlan:
    """Return ``plan`` made safe: strict order of the stages, no dependency back, locks in order, a time for each.

    What an agent waits for in a later stage is left out, as is that it creates Issues for an earlier one; both are
    told. Raises UsageError for an agent that is planned twice or has a stage that is none, and where agents wait for
    each other in a circle that the order of the stages does not open.
    """
    order = {stage: place for place, stage in enumerate(settings.stages)}
    stage_of = _stages(plan, settings)
    changes: list[str] = []
    needs = _needs(plan, settings, stage_of, order, changes)
    for planned in plan:
        mine = order.get(stage_of[planned.agent])
        for other in planned.creates_for:
            its = order.get(stage_of.get(other) or _stage_of(settings, other))
            if mine is not None and its is not None and its < mine:
                changes.append(
                    f"{planned.agent} creates no Issue for {other}: {stage_of[planned.agent]} comes after its stage"
                )
        if list(planned.locks) != sorted(set(planned.locks), key=str.encode):
            changes.append(f"{planned.agent} takes its locks in the global order: {', '.join(_locks(planned))}")
    _check_circles(needs)
    before = _with_earlier_stages(plan, needs, stage_of, order)
    sorter = TopologicalSorter({name: sorted(before[name]) for name in sorted(before, key=lambda x: _place(x, plan))})
    try:
        names = list(sorter.static_order())
    except CycleError as error:
        raise UsageError(_circle(error, "with the order of the stages")) from None
    by_name = {planned.agent: planned for planned in plan}
    steps = tuple(
        SafeStep(
            agent=name,
            stage=stage_of[name],
            after=tuple(sorted(before[name])),
            locks=_locks(by_name[name]),
            timeout=settings.stages.get(stage_of[name]),
        )
        for name in names
    )
    return SafePlan(steps, bool(changes), (*changes, *_constraints(steps, settings)))


def _stage_of(settings: Settings, agent: str) -> str:
    known = settings.agents.get(agent)
    return known.stage if known is not None else ""


def _stages(plan: Sequence[PlannedAgent], settings: Settings) -> dict[str, str]:
    found: dict[str, str] = {}
    for planned in plan:
        stage = planned.stage or _stage_of(settings, planned.agent)
        if planned.agent in found:
            raise UsageError(f"agent {clean(planned.agent)} is planned twice; allowed: once")
        if stage and stage not in settings.stages:
            raise UsageError(
                f"agent {clean(planned.agent)} is planned for '{clean(stage)}', which is no stage;"
                f" allowed: {', '.join(settings.stages)}"
            )
        found[planned.agent] = stage
    return found


def _needs(
    plan: Sequence[PlannedAgent],
    settings: Settings,
    stage_of: Mapping[str, str],
    order: Mapping[str, int],
    changes: list[str],
) -> dict[str, set[str]]:
    """Return whom of the plan each agent waits for, without those of later stages."""
    by_settings = dependencies(settings)
    needs: dict[str, set[str]] = {}
    for planned in plan:
        needs[planned.agent] = set()
        mine = order.get(stage_of[planned.agent])
        for other in dict.fromkeys((*planned.waits_for, *by_settings.get(planned.agent, ()))):
            if other not in stage_of:
                continue  # it does not work in this plan
            its = order.get(stage_of[other])
            if mine is not None and its is not None and its > mine:
                changes.append(f"{planned.agent} does not wait for {other}: {stage_of[other]} comes after its stage")
            else:
                needs[planned.agent].add(other)
    return needs


def _with_earlier_stages(
    plan: Sequence[PlannedAgent], needs: Mapping[str, set[str]], stage_of: Mapping[str, str], order: Mapping[str, int]
) -> dict[str, set[str]]:
    """Return ``needs`` with all agents of the nearest earlier stage that somebody works in."""
    stages: dict[int, set[str]] = {}
    for planned in plan:
        if (place := order.get(stage_of[planned.agent])) is not None:
            stages.setdefault(place, set()).add(planned.agent)
    earlier = {place: before for before, place in zip(sorted(stages), sorted(stages)[1:], strict=False)}
    whole = {}
    for name, others in needs.items():
        place = order.get(stage_of[name], -1)
        whole[name] = others | (stages[earlier[place]] if place in earlier else set())
    return whole


def _check_circles(needs: Mapping[str, set[str]]) -> None:
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        raise UsageError(_circle(error, "")) from None


def _circle(error: CycleError, why: str) -> str:
    told = " waits for ".join(
        clean(name) for name in reversed(error.args[1])
    )  # graphlib names the one waited for first
    return f"the plan goes in a circle{f' {why}' if why else ''}: {told}; allowed: no circle"


def _place(name: str, plan: Sequence[PlannedAgent]) -> int:
    return next(place for place, planned in enumerate(plan) if planned.agent == name)


def _locks(planned: PlannedAgent) -> tuple[str, ...]:
    return tuple(sorted(set(planned.locks), key=str.encode))


def _constraints(steps: Sequence[SafeStep], settings: Settings) -> list[str]:
    used = [stage for stage in settings.stages if any(step.stage == stage for step in steps)]
    found = []
    if len(used) > 1:
        found.append(f"stages in strict order: {' before '.join(used)}")
        found.append("no agent waits for a later stage, and none creates Issues for an earlier one")
    found += [f"{stage} is over after {settings.stages[stage]:g} s" for stage in used]
    if any(len(step.locks) > 1 for step in steps):
        found.append("locks are taken at once, in the order of their UTF-8 bytes")
    return found
