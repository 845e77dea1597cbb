"""Steps that hold, stop and start agents. The hold is written before the processes are touched: supervisors read it."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from ..errors import RollcageError
from ..fleet.control import pause_tree, resume_tree, stop_tree
from ..fleet.mailbox import post
from ..fleet.runs import Run, current_runs, latest_runs
from ..fleet.start import start_agent
from ..model import AgentState, Hold, Step
from ..services import Services
from .work import StepKind, Work, never_done, nothing_to_prepare, nothing_to_undo

STOP_GRACE_S = 5.0
"""How long an agent may take over SIGTERM before SIGKILL."""
START_WAIT_S = 10.0
"""How long a restarted agent may take until its process runs."""


def live_runs(services: Services) -> dict[str, Run]:
    """Return the live runs by agent."""
    return {run.agent: run for run in current_runs(services.paths.inbox_db)}


def stop_agent(services: Services, agent: str, reason: str) -> Mapping[str, object]:
    """Stop the whole process tree of ``agent`` and hold it so; it stays stopped until it is released."""
    services.store.set_hold(agent, Hold.STOPPED, reason)
    run = live_runs(services).get(agent)
    if run is None:
        return {"running": False}
    result = stop_tree(run, grace=STOP_GRACE_S)
    services.store.audit("engine", "stop_agent", agent, reason)
    return {"running": True, "terminated": result.terminated, "killed": result.killed}


def pause_agent(services: Services, agent: str, hold: Hold, reason: str) -> str:
    """Freeze the process tree of ``agent`` under ``hold``; return why it could not be frozen, or nothing."""
    if services.store.holds().get(agent) is None or services.store.holds()[agent].hold is not Hold.STOPPED:
        services.store.set_hold(agent, hold, reason)
    run = live_runs(services).get(agent)
    if run is None:
        return ""
    result = pause_tree(run)
    return "" if result.paused else result.why


def release_agent(services: Services, agent: str) -> None:
    """Let a paused or waiting agent work on; a stopped one is started again by its supervisor."""
    run = live_runs(services).get(agent)
    services.store.set_hold(agent, Hold.NONE)
    if run is not None:
        resume_tree(run)


def stand_by(services: Services, problem_agent: str, reason: str) -> dict[str, str]:
    """Tell all other live agents to stand by and freeze them; return by agent why one could not be frozen."""
    text = f"EMERGENCY_STOP - {problem_agent or 'fleet'} critical error detected"
    told = {}
    for agent in sorted(live_runs(services)):
        hold = services.store.holds().get(agent)
        if agent == problem_agent or (hold is not None and hold.hold is not Hold.NONE):
            continue
        post(services.paths, agent, text, "rollcage", services.clock.now())
        told[agent] = pause_agent(services, agent, Hold.STANDBY, reason)
    return told


def resume_standby(services: Services) -> list[str]:
    """Let every agent that stands by work on; return their names."""
    names = [agent for agent, hold in services.store.holds().items() if hold.hold is Hold.STANDBY]
    for agent in names:
        release_agent(services, agent)
        post(services.paths, agent, "RESUME - work on", "rollcage", services.clock.now())
    return names


def standby_seconds(services: Services) -> float:
    """Return how long the agent that stands by longest has done so, in seconds; 0 where none does."""
    since = [hold.since for hold in services.store.holds().values() if hold.hold is Hold.STANDBY]
    return max((services.clock.now() - min(since)).total_seconds(), 0.0) if since else 0.0


def start_again(services: Services, agent: str) -> Run | None:
    """Start ``agent``: by its waiting supervisor, else by a new one from the settings; return its run.

    An agent that nobody started under supervision is not started either: it is only released, and there is no run.
    Raises RollcageError where it does not run within START_WAIT_S.
    """
    run = live_runs(services).get(agent)
    services.store.set_hold(agent, Hold.NONE)
    if run is not None:
        resume_tree(run)
    elif not _belongs_to_engine(services, agent):
        return None
    else:
        start_agent(services.paths, agent, services.settings.agents[agent], services.repository.top)
    tick = threading.Event()
    deadline = services.clock.boot() + START_WAIT_S
    while True:
        run = live_runs(services).get(agent)
        if run is not None and run.child_pid is not None and run.state is AgentState.RUNNING:
            return run
        if services.clock.boot() > deadline:
            raise RollcageError(f"agent {agent} does not run {START_WAIT_S:.0f} s after its start; see its output")
        services.clock.wait(tick, 0.05)


def _belongs_to_engine(services: Services, agent: str) -> bool:
    """Say whether the engine may start ``agent`` anew: it starts it anyhow, or its supervisor died under it."""
    settings = services.settings.agents.get(agent)
    if settings is None or settings.run is None:
        return False
    died = any(run.agent == agent and run.exit_code is None for run in latest_runs(services.paths.inbox_db))
    return settings.start == "engine" or died


def _do_stop(work: Work, step: Step) -> Mapping[str, object]:
    return stop_agent(work.services, step.subject, f"rollback {work.journal.rollback.id}")


def _do_stand_by(work: Work, step: Step) -> Mapping[str, object]:
    told = stand_by(work.services, work.plan.agent, f"rollback {work.journal.rollback.id}")
    return {"told": told}


def _undo_stand_by(work: Work, step: Step) -> None:
    resume_standby(work.services)


def _do_restart(work: Work, step: Step) -> Mapping[str, object]:
    run = start_again(work.services, step.subject)
    return {"pid": run.child_pid} if run else {"supervised": False}


def _undo_restart(work: Work, step: Step) -> None:
    stop_agent(work.services, step.subject, f"rollback {work.journal.rollback.id} was undone")


def _do_resume(work: Work, step: Step) -> Mapping[str, object]:
    waited = standby_seconds(work.services)
    return {"resumed": resume_standby(work.services), "standby_s": waited}


STOP_AGENT = StepKind(nothing_to_prepare, _do_stop, never_done, nothing_to_undo)
STAND_BY = StepKind(nothing_to_prepare, _do_stand_by, never_done, _undo_stand_by)
RESTART_AGENT = StepKind(nothing_to_prepare, _do_restart, never_done, _undo_restart)
RESUME_OTHERS = StepKind(nothing_to_prepare, _do_resume, never_done, nothing_to_undo)
