"""Runs the loop: observe, detect, respond, in threads of its own. One engine leads a repository at a time."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import networkx

from .config import Level, dependencies
from .coordination.leader import Leader
from .detect.bands import band_of
from .detect.intake import Intake
from .detect.rules import Band, rules
from .errors import ExitCode, RollcageError
from .fleet.runs import Run, current_runs
from .fleet.start import start_agent
from .model import EVERYBODY, Commit, IncidentState, Severity
from .observe.observer import Observer
from .observe.processes import ProcessSampler
from .respond import Responder, worst
from .services import Services

EXIT_CODES = {
    "failed": ExitCode.NOT_UNDONE,
    "undone": ExitCode.UNDONE,
    "escalated": ExitCode.ESCALATED,
    "waiting": ExitCode.WAITING,
    "recovered": ExitCode.DONE,
    "healthy": ExitCode.DONE,
}
DETECT_EVERY_S = 0.1
OBSERVE_EVERY_S = 1.0
LEAD_EVERY_S = 2.0
SETTLE_EVERY_S = 0.25
PRUNE_EVERY_S = 3_600.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What ``--once`` came to; the last line of its output."""

    result: str
    incidents: tuple[str, ...]
    rollbacks: tuple[str, ...]
    head_before: str
    head_after: str
    standby_s: float
    duration_s: float

    @property
    def exit_code(self) -> ExitCode:
        """Return the exit code of the process."""
        return EXIT_CODES[self.result]


class Engine:
    """Watches one repository and carries out what is decided. Needs the leadership before anything else."""

    def __init__(self, services: Services, leader: Leader, level: Level | None = None) -> None:
        """Take the services and a leader that leads already; ``level`` overrules the settings."""
        self._services = services
        self._leader = leader
        self.level = level or services.settings.level
        self._leave = threading.Event()
        self._observer = Observer(services, self._prime_suspect)
        self._intake = Intake(services, [run.agent for run in current_runs(services.paths.inbox_db)])
        self._responder = Responder(services, self.level, self._measure, self._intake.settle, self._leave)
        self._threads: list[threading.Thread] = []
        self._told: dict[str, str] = {}
        self.failure = ""
        """Why the engine ended by itself: the last line of an unexpected error; empty: it did not."""

    # -- once

    def run_once(self, settle: float = 0.0, stop: threading.Event | None = None) -> Outcome:
        """Run all checks and samplers once, follow each incident to its outcome or to waiting, and return.

        Longer ``for:`` windows are waited for up to ``settle`` seconds. Raises RollcageError where looking fails.
        """
        services, stop = self._services, stop or self._leave
        started = services.clock.boot()
        first_seq = services.store.last_seq()
        head_before = services.repository.tip(services.settings.branch) or ""
        heartbeat = self._thread("leader", self._keep_leading, LEAD_EVERY_S)
        heartbeat.start()
        try:
            self._keep_history()
            ended = self._responder.carry_on()
            self._responder.obey()
            seen = {incident.id for incident in services.store.incidents(open_only=True)}
            while True:
                seen |= self._look_once()
                if stop.is_set() or services.clock.boot() - started >= settle or self._urgent():
                    break
                services.clock.wait(stop, min(SETTLE_EVERY_S, settle))
            self._observer.run_checks(stop, again=True)
            seen |= self._look_once()
            for incident in services.store.incidents(open_only=True):
                if incident.severity is Severity.CRITICAL and not stop.is_set():
                    self._responder.handle(incident.id)
        finally:
            self._leave.set()
            heartbeat.join()
        events = services.store.events_since(first_seq, 100_000)
        rollbacks = dict.fromkeys(str(event.body["rollback"]) for event in events if event.body.get("rollback"))
        seen |= {rollback.incident for rollback in ended if rollback.incident}
        incidents = [found for name in sorted(seen) if (found := services.store.incident(name)) is not None]
        return Outcome(
            result=worst([i.state for i in incidents if i.severity is Severity.CRITICAL]),
            incidents=tuple(incident.id for incident in incidents),
            rollbacks=tuple(rollbacks),
            head_before=head_before,
            head_after=services.repository.tip(services.settings.branch) or "",
            standby_s=max((r.standby_s for name in rollbacks if (r := services.store.rollback(name))), default=0.0),
            duration_s=services.clock.boot() - started,
        )

    def _look_once(self) -> set[str]:
        self._observer.look()
        return {incident.id for incident in self._intake.take_in()}

    def _urgent(self) -> bool:
        return any(
            incident.severity is Severity.CRITICAL for incident in self._services.store.incidents(open_only=True)
        )

    def obey_once(self) -> None:
        """Carry on what an engine left behind, carry out what operators decided, and return."""
        heartbeat = self._thread("leader", self._keep_leading, LEAD_EVERY_S)
        heartbeat.start()
        try:
            self._responder.carry_on()
            self._responder.obey()
        finally:
            self._leave.set()
            heartbeat.join()

    # -- continuously

    def start(self) -> None:
        """Start the threads and return; `stop` ends them. What an engine that died left behind is carried on first."""
        self._keep_history()
        self._start_agents()
        self._threads = [
            self._thread("leader", self._keep_leading, LEAD_EVERY_S),
            self._thread("observe", self._observer.look, OBSERVE_EVERY_S),
            self._thread("checks", lambda: self._observer.run_checks(self._leave), OBSERVE_EVERY_S),
            self._thread("detect", self._intake.take_in, DETECT_EVERY_S),
            self._thread("prune", self._prune, PRUNE_EVERY_S),
            self._thread("respond", self._respond, DETECT_EVERY_S, first=self._responder.carry_on),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask the threads to end. A rollback in progress is carried to its end first."""
        self._leave.set()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the threads; return whether all have ended."""
        for thread in self._threads:
            thread.join(timeout)
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def leaving(self) -> threading.Event:
        """Return the event that is set once the engine is asked to end, or ends by itself."""
        return self._leave

    def _thread(
        self, name: str, work: Callable[[], object], every: float, first: Callable[[], object] | None = None
    ) -> threading.Thread:
        def loop() -> None:
            try:
                if first is not None:
                    self._guarded(name, first)
                while not self._leave.is_set():
                    self._guarded(name, work)
                    self._services.clock.wait(self._leave, every)
            except Exception as error:  # noqa: BLE001 - a defect in one thread must end the engine loudly
                self.failure = f"{name}: {error!r}"
                self._services.store.set_note("crash", traceback.format_exc())
                self._leave.set()

        return threading.Thread(target=loop, name=f"rollcage-{name}", daemon=True)

    def _guarded(self, name: str, work: Callable[[], object]) -> None:
        """Run one round; what a person can mend is told once and tried again, anything else is a defect."""
        try:
            work()
            self._told.pop(name, None)
        except RollcageError as problem:
            if self._told.get(name) != str(problem):
                self._told[name] = str(problem)
                self._services.store.append_event("alert", {"severity": "warning", "text": f"{name}: {problem}"})

    def _keep_leading(self) -> None:
        if not self._leader.heartbeat():
            self.failure = "another engine leads now"
            self._leave.set()

    def _respond(self) -> None:
        self._responder.obey()
        for incident in self._services.store.incidents(open_only=True):
            if self._leave.is_set():
                return
            if incident.state is IncidentState.OPEN and incident.severity is Severity.CRITICAL:
                self._responder.handle(incident.id)

    def _keep_history(self) -> None:
        """Keep the branch as it is in the mirror: even ``rm -rf .git`` loses nothing that was committed before."""
        services = self._services
        tip = services.repository.tip(services.settings.branch)
        if tip is not None:
            services.mirror.keep(tip, "engine start")

    def _prune(self) -> None:
        services = self._services
        services.signals.prune(services.clock.now() - timedelta(seconds=services.settings.retention.signals))

    def _start_agents(self) -> None:
        """Start the agents whose settings say ``start: engine`` and that do not run, dependencies first."""
        services = self._services
        running = {run.agent for run in current_runs(services.paths.inbox_db)}
        for name in _start_order(services):
            settings = services.settings.agents[name]
            if settings.start == "engine" and settings.run is not None and name not in running:
                start_agent(services.paths, name, settings, services.repository.top)
                services.store.append_event("agent", {"agent": name, "action": "start", "by": "engine"})

    def _measure(self, run: Run) -> list[str]:
        """Measure an agent afresh; return what is in its critical band."""
        services = self._services
        signals = ProcessSampler().sample([run], services.clock.now())
        services.signals.put(signals)
        known = rules(services.settings)
        return [f"{signal.name} is still critical" for signal in signals if band_of(known, signal) is Band.CRITICAL]

    def _prime_suspect(self, since: Sequence[Commit]) -> str:
        """Name the agent that broke a check where that is plain before any diagnosis; else everybody stands by.

        It is plain where only one agent committed since the last good commit, or only one of those is in trouble.
        """
        agents = {commit.agent for commit in since}
        if len(agents) > 1:
            agents &= {incident.agent for incident in self._services.store.incidents(open_only=True)}
        return (agents.pop() or EVERYBODY) if len(agents) == 1 else EVERYBODY


def _start_order(services: Services) -> list[str]:
    """Return the agents of the settings, each behind those that it depends on; otherwise by name."""
    needed = dependencies(services.settings)
    graph: networkx.DiGraph[str] = networkx.DiGraph()
    graph.add_nodes_from(needed)
    graph.add_edges_from((other, name) for name, others in needed.items() for other in others)
    return list(networkx.lexicographical_topological_sort(graph))
