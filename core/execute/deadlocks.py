"""The engine's look at who waits for whom: deadlocks that no keeper of leases saw form are ended, or shown.

Who is about to close a circle is refused by the keeper itself, at once. What is left are circles that formed across
hosts, or with tools that keep leases for others. So a circle counts once it is seen in two looks.
"""

from __future__ import annotations

from contextlib import closing

from ..config import Level
from ..coordination.deadlock import (
    DeadlockBreak,
    RestartStep,
    break_existing_deadlock,
    find_deadlock,
    told_circle,
)
from ..coordination.leases import Leases, Waiting
from ..coordination.opening import open_leases
from ..decisions import ENGINE
from ..errors import RollcageError
from ..fleet.mailbox import post
from ..fleet.names import name_problem
from ..fleet.runs import current_runs, is_alive, latest_runs
from ..model import AgentState, Hold
from ..services import Services
from .agents import hold_of, start_again

RESTART_WITHIN_S = 60.0
"""An agent that was timed out and ends in error within so many seconds is started again: it ended for that."""
_FAILED = frozenset({AgentState.ERROR, AgentState.TIMEOUT})


class Untangler:
    """Looks for deadlocks again and again; for one thread. At level auto it ends them, else it proposes how to."""

    def __init__(self, services: Services, level: Level) -> None:
        """Take the services; the leases are opened at the first look."""
        self._services, self._level = services, level
        self._leases: Leases | None = None
        self._seen: tuple[tuple[str, int], ...] = ()
        self._told: tuple[tuple[str, int], ...] = ()
        self._watched: dict[str, tuple[str, float]] = {}
        """Agents that were timed out: the run it was, and until when its end is taken to be for that."""

    def look(self) -> DeadlockBreak | None:
        """Look once; return what became of a deadlock that was ended. Raises StoreError, UsageError."""
        self._start_those_that_ended()
        if self._leases is None:
            settings = self._services.settings.coordination
            self._leases = open_leases(settings, self._services.paths, self._services.clock)
        found = find_deadlock(self._leases.wait_log())
        if found is None:
            self._seen = self._told = ()
            return None
        victim, circle = found
        key = tuple((waiting.session, waiting.seq) for waiting in circle)
        if key != self._seen:
            self._seen = key  # whoever closed it may be refused just now
            return None
        if self._level is not Level.AUTO:
            if key != self._told:
                self._propose(told_circle(circle))
                self._told = key
            return None
        return self._end(self._leases, victim, told_circle(circle))

    def close(self) -> None:
        """Close the leases. May be called twice."""
        if self._leases is not None:
            with closing(self._leases):
                self._leases = None

    def _propose(self, circle: tuple[str, ...]) -> None:
        store = self._services.store
        held = circle[-2]
        told = " → ".join(circle)
        text = (
            f"deadlock: {told}; {circle[0]} waits longest: end its wait, or rollcage lock break"
            f" {held} --reason deadlock, which {circle[0]} holds"
        )
        with store.transaction():
            store.append_event("lock", {"state": "deadlock", "agent": circle[0], "cycle": list(circle), "by": ENGINE})
            store.append_event("alert", {"severity": "warning", "text": text})
            store.audit(ENGINE, "deadlock seen", f"{circle[0]} waits for {circle[1]}", told, outcome="proposed")

    def _end(self, leases: Leases, victim: Waiting, circle: tuple[str, ...]) -> DeadlockBreak | None:
        store = self._services.store
        done = break_existing_deadlock(leases, [victim.holder], by=ENGINE, record=store.audit)
        self._seen = ()
        if not done.deadlock_broken:  # somebody else was quicker, or it came to its end
            return None
        with store.transaction():
            body = {"agent": done.forced_timeout_agent, "actions": list(done.recovery_actions), "cycle": list(circle)}
            store.append_event("lock", {"state": "deadlock_broken", **body, "by": ENGINE})
            told = f"ended deadlock {' → '.join(circle)}: {'; '.join(done.recovery_actions)}"
            store.append_event("alert", {"severity": "warning", "text": told})
        for step in done.restart_plan:
            if step.action == "restart":
                self._tell_and_watch(victim.holder, step, circle)
        return done

    def _tell_and_watch(self, agent: str, step: RestartStep, circle: tuple[str, ...]) -> None:
        """Tell the agent what to do now; it keeps all it has done, and is started again if it ends for this."""
        services = self._services
        if name_problem(agent):
            return  # a person, who was told by the error
        run = next((run for run in current_runs(services.paths.inbox_db) if run.agent == agent), None)
        if run is None and agent not in services.settings.agents:
            return
        text = (
            f"DEADLOCK {' → '.join(circle)}: your wait for {circle[1]} was ended and your locks were taken. Your work"
            f" is kept. Take again, in this order: {', '.join(step.locks)}"
            + (f"; {' and '.join(step.after)} goes first" if step.after else "")
        )
        post(services.paths, agent, text, ENGINE, services.clock.now())
        if run is not None:
            self._watched[agent] = (run.id, services.clock.boot() + RESTART_WITHIN_S)

    def _start_those_that_ended(self) -> None:
        services = self._services
        for agent, (run, until) in list(self._watched.items()):
            newest = next((each for each in latest_runs(services.paths.inbox_db) if each.agent == agent), None)
            if services.clock.boot() > until or newest is None or newest.id != run:
                del self._watched[agent]
                continue
            settings = services.settings.agents.get(agent)
            if newest.state not in _FAILED or is_alive(newest) or settings is None or not settings.restart:
                continue  # a supervisor that is about to end would be taken for one that starts it again
            del self._watched[agent]
            if hold_of(services, agent) is not Hold.NONE:
                continue
            try:
                start_again(services, agent)
            except RollcageError as problem:
                text = f"agent {agent} ended after a deadlock and could not be started again: {problem}"
                services.store.append_event("alert", {"severity": "critical", "text": text})
