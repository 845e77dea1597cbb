"""Holding, releasing and starting agents. Each act is an event and a record in the audit log.

A hold is written before processes are touched, for supervisors read it; and taken away after they were let go, so that
whoever dies in between leaves an agent that is known to be held, never a frozen one that nobody knows of.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import RollcageError
from ..fleet.control import end_supervisor, pause_tree, resume_tree, stop_tree
from ..fleet.runs import Run, current_runs, is_alive, latest_runs
from ..fleet.start import start_agent
from ..model import AgentState, Hold
from ..services import Services

STOP_GRACE_S = 5.0
"""How long an agent may take over SIGTERM before SIGKILL."""
START_WAIT_S = 10.0
"""How long a restarted agent may take until its process runs."""
SETTLE_S = 0.3
"""So long a restarted agent is watched: one that cannot work mostly ends within the time."""
_ENDED = frozenset({AgentState.COMPLETED, AgentState.ERROR, AgentState.TIMEOUT})


@dataclass(frozen=True, slots=True)
class Started:
    """What came of starting an agent."""

    pid: int | None = None
    """Of its process; None: it has none."""
    supervised: bool = True
    """False: nobody started it under supervision, so nobody starts it again; it was only released."""
    ended: str = ""
    """It has done its work and ended already: how."""


def live_runs(services: Services) -> dict[str, Run]:
    """Return the live runs by agent."""
    return {run.agent: run for run in current_runs(services.paths.inbox_db)}


def hold_of(services: Services, agent: str) -> Hold:
    """Return what keeps ``agent`` from working."""
    held = services.store.holds().get(agent)
    return held.hold if held is not None else Hold.NONE


def stop_agent(services: Services, agent: str, reason: str, by: str = "engine") -> Mapping[str, object]:
    """Stop the whole process tree of ``agent`` and hold it so; it stays stopped until it is released.

    Says in ``left`` how many processes could not be ended; an alert says it too.
    """
    before = hold_of(services, agent)
    services.store.set_hold(agent, Hold.STOPPED, reason)
    run = live_runs(services).get(agent)
    result = stop_tree(run, grace=STOP_GRACE_S) if run is not None else None
    done: dict[str, object] = {"running": run is not None}
    if result is not None:
        done |= {"terminated": result.terminated, "killed": result.killed, "left": result.left}
    if before is not Hold.STOPPED or (result is not None and result.terminated + result.killed + result.left):
        _tell(services, agent, "stop", by, reason, **done)
    if result is not None and result.left:
        _alert(services, f"{result.left} processes of agent {agent} could not be ended: look at them")
    return done


def pause_agent(services: Services, agent: str, hold: Hold, reason: str, by: str = "engine") -> str:
    """Freeze the process tree of ``agent`` under ``hold``; return why it could not be frozen, or nothing.

    A stopped agent stays stopped. An alert says that it could not.
    """
    before = hold_of(services, agent)
    if before is not Hold.STOPPED:
        services.store.set_hold(agent, hold, reason)
    run = live_runs(services).get(agent)
    result = pause_tree(run) if run is not None else None
    why = result.why if result is not None and not result.paused else ""
    if before not in {hold, Hold.STOPPED} or why:
        action = "standby" if hold is Hold.STANDBY else "pause"
        _tell(services, agent, action, by, reason, running=run is not None, not_frozen=why)
    if why:
        _alert(services, f"agent {agent} could not be frozen and works on: {why}")
    return why


def dismiss_agent(services: Services, agent: str, by: str) -> bool:
    """End the supervisor of a stopped ``agent``, which would wait for its release for ever; say whether there was one.

    It stays held. Where it is to work again later, it is started anew, as it was the first time.
    """
    run = live_runs(services).get(agent)
    if run is None or hold_of(services, agent) is not Hold.STOPPED or run.child_pid is not None:
        return False
    ended = end_supervisor(run)
    _tell(services, agent, "dismiss", by, "it was stopped twice", ended=ended)
    return ended


def release_agent(services: Services, agent: str, by: str = "engine") -> None:
    """Let a paused or waiting agent work on; a stopped one is started again by its supervisor."""
    run = live_runs(services).get(agent)
    if run is not None:
        resume_tree(run)
    services.store.set_hold(agent, Hold.NONE)
    _tell(services, agent, "resume", by, "", running=run is not None)


def start_again(services: Services, agent: str, by: str = "engine") -> Started:
    """Release ``agent`` and have it started: by its waiting supervisor, else by a new one from the settings.

    Returns once its process runs, or has ended well already. Raises RollcageError where it fails at once, or does not
    run within START_WAIT_S.
    """
    before = _newest(services, agent)
    run = live_runs(services).get(agent)
    if run is not None:
        resume_tree(run)
    services.store.set_hold(agent, Hold.NONE)
    if run is None and not _belongs_to_engine(services, agent):
        _tell(services, agent, "resume", by, "", running=False)
        return Started(supervised=False)
    _tell(services, agent, "start", by, "")
    if run is None:
        start_agent(services.paths, agent, services.settings.agents[agent], services.repository.top)
    tick = threading.Event()
    deadline = services.clock.boot() + START_WAIT_S
    while True:
        run = live_runs(services).get(agent)
        if run is not None and run.child_pid is not None and run.state is AgentState.RUNNING:
            return Started(pid=run.child_pid)
        now = _newest(services, agent)
        if (
            now is not None
            and now.state in _ENDED
            and (before is None or (now.id, now.since) != (before.id, before.since))
        ):
            if now.state is AgentState.COMPLETED:
                return Started(ended=now.state.value)
            raise RollcageError(f"agent {agent} failed as soon as it was started again; see its output")
        if services.clock.boot() > deadline:
            raise RollcageError(f"agent {agent} does not run {START_WAIT_S:.0f} s after its start; see its output")
        services.clock.wait(tick, 0.05)


def settled_run(services: Services, agent: str) -> Run | None:
    """Return the run of ``agent`` once its process has lived for SETTLE_S; none as soon as it has none."""
    tick = threading.Event()
    deadline = services.clock.boot() + SETTLE_S
    while True:
        run = live_runs(services).get(agent)
        if run is None or run.child_pid is None:
            return None
        if services.clock.boot() >= deadline:
            return run
        services.clock.wait(tick, 0.05)


def ended_well(services: Services, agent: str) -> str:
    """Return how the newest run of ``agent`` ended, if it ended by itself and without a fault; else nothing.

    Its process is gone; waits until its supervisor has said how.
    """
    tick = threading.Event()
    deadline = services.clock.boot() + START_WAIT_S
    while True:
        run = _newest(services, agent)
        if run is None or run.state in _ENDED or not is_alive(run) or services.clock.boot() > deadline:
            return run.state.value if run is not None and run.state is AgentState.COMPLETED else ""
        services.clock.wait(tick, 0.05)


def _newest(services: Services, agent: str) -> Run | None:
    return next((run for run in latest_runs(services.paths.inbox_db) if run.agent == agent), None)


def _belongs_to_engine(services: Services, agent: str) -> bool:
    """Say whether the engine may start ``agent`` anew: it starts it anyhow, or its supervisor died under it."""
    settings = services.settings.agents.get(agent)
    if settings is None or settings.run is None:
        return False
    newest = _newest(services, agent)
    return settings.start == "engine" or (newest is not None and newest.exit_code is None)


def _tell(services: Services, agent: str, action: str, by: str, why: str, **more: object) -> None:
    with services.store.transaction():
        services.store.append_event("agent", {"agent": agent, "action": action, "by": by, "why": why, **more})
        services.store.audit(by, f"{action}_agent", agent, why, detail=more)


def _alert(services: Services, text: str) -> None:
    services.store.append_event("alert", {"severity": "critical", "text": text})
