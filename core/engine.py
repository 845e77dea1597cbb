"""Runs the loop: observe, detect, respond, in threads of its own. One engine leads a repository at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

from .clock import iso
from .codec import canonical, from_json, to_json
from .config import Level, dependencies
from .coordination.leader import Leader
from .detect.bands import band_of
from .detect.incidents import is_unresolved
from .detect.intake import Intake
from .detect.rules import Band, rules
from .errors import LeaseError, RollcageError, UsageError
from .execute.baseline import Level as BaseLevel
from .execute.checkpoints import keep_data
from .execute.deadlocks import Untangler
from .execute.false_alarms import count_false_alarms
from .execute.retention import prune
from .execute.sending import flush
from .execute.standby import standing_by
from .fleet.runs import Run, current_runs
from .fleet.start import start_agent
from .issues.courier import Courier
from .issues.desk import Desk, open_desk
from .issues.label_keeper import LabelKeeper
from .issues.records import Records
from .issues.sender import Sender
from .model import EVERYBODY, Commit, IncidentState, RollbackState, Signal
from .obey import Obeyer
from .observe.observer import Observer
from .observe.processes import ProcessSampler
from .outcome import Outcome, result_of
from .progress import alert, save_level, save_warnings
from .respond import Background, CutShort, Responder, pending
from .rounds import Rounds
from .services import Services

if TYPE_CHECKING:
    from .issues.github.watch import IssueWatch

DETECT_EVERY_S = 0.1
OBSERVE_EVERY_S = 1.0
LEAD_EVERY_S = 2.0
SETTLE_EVERY_S = 0.25
HISTORY_EVERY_S = 10.0
KEEP_EVERY_S = 3_600.0
PUSH_EVERY_S = 5.0
KEEP_DATA_EVERY_S = 30.0
LEARN_EVERY_S = 60.0
UNTANGLE_EVERY_S = 1.0
NOTIFY_EVERY_S = 2.0
SEND_EVERY_S = 5.0
LABELS_EVERY_S = 5.0
ISSUES_EVERY_S = 1.0
LEAVE_S = 10.0
"""So long the threads that only look may take to end; who leads no longer does not wait for one that hangs."""
HISTORY = 1_000
"""Incidents and rollbacks before this run that ``--once`` compares with."""
_LEFT_STANDING = "engine:left_standing"


class Engine:
    """Watches one repository and carries out what is decided. Needs the leadership before anything else.

    Each kind of work has a thread of its own. A RollcageError is told once and the work tried again; anything else is
    a defect and ends the engine, with its traceback in the state.
    """

    def __init__(self, services: Services, leader: Leader, level: Level | None = None) -> None:
        """Take the services and a leader that leads already; ``level`` overrules the settings."""
        self._services = services
        self._leader = leader
        self.level = level or services.settings.level
        self._leave = threading.Event()
        self._observer = Observer(services, self._prime_suspect, may_run_in_checkout=self.level is not Level.WATCH)
        self._intake = Intake(services, [run.agent for run in current_runs(services.paths.inbox_db)])
        self._responder = Responder(services, self.level, self._measure, self._intake.settle, self._leave, self._window)
        self._obeyer = Obeyer(services, self._responder)
        self._untangler = Untangler(services, self.level)
        top = services.repository.top if self.level is not Level.WATCH else None
        self._courier = Courier(services.settings, services.paths, services.store, services.clock, top)
        self._sender = Sender(self._desk, services.paths, services.store, services.clock)
        self._labels = LabelKeeper(self._desk, services.paths, services.store, services.clock)
        self._rounds = Rounds(services.store, services.clock, self._leave)
        self._issues: IssueWatch | None = None
        self._threads: dict[str, threading.Thread] = {}
        self._first_round = True
        self._queued_before: datetime | None = services.clock.now()
        """Pushes that an earlier engine queued are tried at once, the first time."""

    @property
    def leaving(self) -> threading.Event:
        """Return the event that is set once the engine is asked to end, or ends by itself."""
        return self._leave

    @property
    def failure(self) -> str:
        """Return why the engine ended by itself, as one line; empty: it did not."""
        return self._rounds.failure

    # -- once

    def run_once(self, settle: float = 0.0) -> Outcome:
        """Run all checks and samplers once, follow each incident to its outcome or to waiting, and return.

        Longer ``for:`` windows are waited for up to ``settle`` seconds. At level watch nothing is changed, not even
        what an engine left half done. Once `leaving` is set it comes to an end, after a rollback in progress. Raises
        RollcageError where looking fails, UsageError where there is no such branch, LeaseError where the leadership was
        lost. Where nothing is found but a check says nothing, it is escalated, and an alert says why.
        """
        services, store = self._services, self._services.store
        self._require_branch()
        started = services.clock.boot()
        states = {incident.id: incident.state for incident in store.incidents(limit=HISTORY)}
        rollbacks = {each.id for each in store.rollbacks(HISTORY) if each.state is not RollbackState.RUNNING}
        head = self._tip()
        with self._heartbeat():
            self._keep_history()
            if self.level is not Level.WATCH:
                self._take_up()
                self._responder.look_again()
            self._untangle()
            self._look(settle)
            self._observer.run_checks(self._leave, again=True)
            self._intake.take_in()
            self._untangle()
            try:
                self._keep_data()
            except RollcageError as problem:  # what is wrong now is still to be followed
                self._rounds.tell("keep data", str(problem))
            self._follow()
            self._push()
            doubt = None if self._leave.is_set() else self._observer.doubt
        if self.failure:
            raise LeaseError(self.failure)
        now = store.incidents(limit=HISTORY)
        touched = [each for each in now if each.id not in states or states[each.id] is not each.state]
        before = [each for each in now if each not in touched and is_unresolved(each)]
        result = result_of(touched, before, self.level)
        if result == "healthy" and doubt is not None:  # nobody knows how all is, so a human has to look
            alert(store, "critical", str(doubt))
            result = "escalated"
        carried = [each for each in reversed(store.rollbacks(HISTORY)) if each.id not in rollbacks]
        return Outcome(
            result=result,
            incidents=tuple(each.id for each in sorted((*touched, *before), key=lambda each: each.opened)),
            rollbacks=tuple(each.id for each in carried),
            head_before=head,
            head_after=self._tip(),
            standby_s=max((each.standby_s for each in carried), default=0.0),
            duration_s=services.clock.boot() - started,
        )

    def obey_once(self) -> None:
        """Put right what an engine left half done, carry out what operators decided, and return. Raises RollcageError.

        Once `leaving` is set it comes to an end, after a rollback in progress; what is left is done by the next engine.
        """
        with self._heartbeat():
            self._take_up()

    def _take_up(self) -> None:
        self._responder.take_up()
        try:
            self._obeyer.obey()
        except CutShort:  # it is to leave
            return

    @contextmanager
    def _heartbeat(self) -> Iterator[None]:
        """Keep the leadership within; afterwards the engine has ended."""
        save_level(self._services.store, self.level.value)
        heart = self._rounds.thread("leader", self._keep_leading, LEAD_EVERY_S)
        heart.start()
        try:
            yield
        finally:
            self._leave.set()
            heart.join()
            self._observer.close()
            self._untangler.close()
            self._courier.close()
            self._sender.close()
            self._tell_who_stands_by()

    def _untangle(self) -> None:
        """End, or show, a deadlock that was there the last time, too; where leases cannot be read, that is told."""
        try:
            self._untangler.look()
        except RollcageError as problem:
            self._rounds.tell("untangle", str(problem))

    def _look(self, settle: float) -> None:
        clock = self._services.clock
        deadline = clock.boot() + settle
        self._observer.look_at_data()
        while True:
            self._observer.look()
            self._intake.take_in()
            left = deadline - clock.boot()
            if left <= 0 or self._leave.is_set() or pending(self._services.store.incidents(open_only=True)):
                return
            clock.wait(self._leave, min(SETTLE_EVERY_S, left))

    def _follow(self) -> None:
        """Handle every incident that waits for it, also those that open meanwhile, each once."""
        handled: set[str] = set()
        while not self._leave.is_set():
            self._responder.clear_what_is_over()
            waiting = [
                incident
                for incident in pending(self._services.store.incidents(open_only=True))
                if incident.id not in handled
            ]
            if not waiting:
                return
            handled.add(waiting[0].id)
            try:
                self._responder.handle(waiting[0].id)
            except CutShort:
                return
            self._intake.take_in()

    # -- continuously

    def start(self) -> None:
        """Start the threads and return; `stop` ends them. What an engine that died left behind is carried on first.

        Raises UsageError where there is no such branch, RollcageError.
        """
        self._require_branch()
        save_level(self._services.store, self.level.value)
        work: list[tuple[str, Callable[[], object], float]] = [
            ("leader", self._keep_leading, LEAD_EVERY_S),
            ("detect", self._intake.take_in, DETECT_EVERY_S),
            ("observe", self._observer.look, OBSERVE_EVERY_S),
            ("data", self._observer.look_at_data, OBSERVE_EVERY_S),
            ("checks", self._check, OBSERVE_EVERY_S),
            ("history", self._keep_history, HISTORY_EVERY_S),
            ("keep", self._keep, KEEP_EVERY_S),
            ("keep data", self._keep_data, KEEP_DATA_EVERY_S),
            ("push", self._push, PUSH_EVERY_S),
            ("learn", self._learn, LEARN_EVERY_S),
            ("untangle", self._untangler.look, UNTANGLE_EVERY_S),
            ("notify", self._courier.look, NOTIFY_EVERY_S),
            *(self._writing() if self.level is not Level.WATCH else []),
            ("guard", self._guard, DETECT_EVERY_S),
            ("respond", self._respond, DETECT_EVERY_S),
        ]
        if self._services.settings.tracker.kind == "github":
            from .issues.github.watch import IssueWatch  # PyGithub costs most of a second: only where it is needed

            services = self._services
            place = (services.settings.tracker, services.paths, services.store, services.clock)
            self._issues = IssueWatch(*place, self._leave)
            work.append(("issues", self._issues.look, ISSUES_EVERY_S))
        self._threads = {name: self._rounds.thread(name, round_, every) for name, round_, every in work}
        for thread in self._threads.values():
            thread.start()

    def stop(self) -> None:
        """Ask the threads to end. A rollback in progress is carried to its end first."""
        self._leave.set()

    def join(self, timeout: float | None = None) -> bool:
        """Wait, at most ``timeout`` seconds, for a rollback in progress and the threads; return whether all have ended.

        Once the rollback has ended, the threads that only look are given a few seconds: one may hang for ever.
        """
        clock = self._services.clock
        deadline = clock.boot() + timeout if timeout is not None else float("inf")
        respond = self._threads.get("respond")
        if respond is not None:
            respond.join(timeout)
        if respond is None or not respond.is_alive():
            deadline = min(deadline, clock.boot() + LEAVE_S)
        for thread in self._threads.values():
            thread.join(max(deadline - clock.boot(), 0.0))
        ended = not any(thread.is_alive() for thread in self._threads.values())
        if ended:
            self._observer.close()
            self._untangler.close()
            self._courier.close()
            self._sender.close()
            if self._issues is not None:
                self._issues.close()
        if respond is not None and not respond.is_alive():
            self._tell_who_stands_by()
        return ended

    # -- the rounds of the threads

    def _writing(self) -> list[tuple[str, Callable[[], object], float]]:
        """Return the rounds that write to Issues."""
        return [("send", self._sender.look, SEND_EVERY_S), ("labels", self._labels.look, LABELS_EVERY_S)]

    def _desk(self) -> Desk:
        services = self._services
        return open_desk(services.settings, services.paths, services.clock, holder="engine")

    def _keep_leading(self) -> None:
        if not self._leader.heartbeat():
            self._rounds.end("the leadership was lost: another engine may lead this repository now")
        self._rounds.tell_who_hangs(("detect", "observe", "guard"))

    def _guard(self) -> None:
        """Do at once what must not wait for a diagnosis: hold agents; cut it short where an operator has decided."""
        self._obeyer.obey_at_once()
        if self._obeyer.is_wanted():
            self._responder.interruption.set()
        self._responder.make_others_safe()

    def _respond(self) -> None:
        if self._first_round:
            self._responder.take_up()
            self._start_agents()
            self._responder.look_again()
            self._first_round = False
        self._responder.interruption.clear()
        try:
            self._responder.carry_on()
            self._obeyer.obey()
            self._responder.clear_what_is_over()
            for incident in pending(self._services.store.incidents(open_only=True)):
                self._responder.handle(incident.id)
        except CutShort:
            return

    def _check(self) -> None:
        """Run the checks where something was committed, and tell what is wrong with the checks themselves.

        They make room, for scratch trees are few, while an incident is handled, which runs the checks it needs itself.
        """
        background = Background(self._leave, self._responder)
        if background.is_set():
            return
        self._observer.run_checks(background)
        doubt = self._observer.doubt
        save_warnings(self._services.store, [*([str(doubt)] if doubt is not None else []), *self._observer.flaky])
        if doubt is not None:
            raise doubt

    def _push(self) -> None:
        """Send what could not be sent before and is due."""
        if self.level is not Level.WATCH:
            before, self._queued_before = self._queued_before, None
            flush(self._services, queued_before=before)

    def _keep_data(self) -> None:
        """Record the rows that the settings name, and take a checkpoint of data where the branch is good."""
        if self.level is not Level.WATCH:
            keep_data(self._services)

    def _keep(self) -> None:
        """Let go of signals, snapshots, checkpoints and recorded changes that are old."""
        services = self._services
        services.signals.prune(services.clock.now() - timedelta(seconds=services.settings.retention.signals))
        prune(services, services.clock.now())
        if services.paths.issues_db.exists():
            with closing(Records.open(services.paths, services.clock)) as records:
                records.forget_intents()

    # -- parts

    def _tip(self) -> str:
        return self._services.repository.tip(self._services.settings.branch) or ""

    def _require_branch(self) -> None:
        """Refuse to watch a branch that is not there, unless it is only not born yet: nothing would ever be found."""
        branch = self._services.settings.branch
        if not self._tip() and self._services.repository.root_commits():
            raise UsageError(f"there is no branch {branch} here; name the agents' branch as branch: in rollcage.yml")

    def _keep_history(self) -> None:
        """Keep all branches as they are in the mirror: even ``rm -rf .git`` loses nothing that was committed before."""
        self._services.mirror.keep_branches()
        if self.level is not Level.WATCH:
            count_false_alarms(self._services)

    def _tell_who_stands_by(self) -> None:
        """Say, before nobody leads any more, which agents stand by for a decision that nobody would hear of."""
        store = self._services.store
        if self.level is Level.WATCH or self.failure:
            return
        try:
            waiting = [each.id for each in store.incidents(open_only=True) if each.state is IncidentState.WAITING]
            agents = [held.agent for held in standing_by(self._services)]
            text = (
                f"no engine runs any more while {', '.join(waiting)} waits for a decision, until which "
                f"{', '.join(agents)} stand by: rollcage approve or reject an option, or rollcage resume AGENT"
            )
            if waiting and agents and store.get_note(_LEFT_STANDING) != text:
                alert(store, "warning", text)
                store.set_note(_LEFT_STANDING, text)
        except RollcageError:  # nothing can be written: whoever started the engine has been told why
            return

    def _start_agents(self) -> None:
        """Start the agents whose settings say ``start: engine`` and that do not run, dependencies first."""
        services = self._services
        if self.level is Level.WATCH:
            return
        running = {run.agent for run in current_runs(services.paths.inbox_db)}
        for name in _start_order(services):
            settings = services.settings.agents[name]
            if settings.start != "engine" or settings.run is None or name in running:
                continue
            try:
                start_agent(services.paths, name, settings, services.repository.top)
                services.store.append_event("agent", {"agent": name, "action": "start", "by": "engine"})
            except RollcageError as problem:  # one that cannot be started keeps nobody else from it
                alert(services.store, "warning", str(problem))

    def _measure(self, run: Run) -> list[str]:
        """Measure an agent afresh; return what is in its critical band, or far worse than it used to be in good times.

        Of what its incident was about a warning is too much. What it reports itself counts as soon as it has begun.
        """
        services = self._services
        now = services.clock.now()
        signals = {signal.name: signal for signal in ProcessSampler().sample([run], now)}
        services.signals.put(list(signals.values()))
        reported = services.signals.newest(run.agent)
        signals = {**{name: each for name, each in reported.items() if each.at >= run.since}, **signals}
        known, about = rules(services.settings), set(self._about(run.agent))
        problems = []
        for signal in signals.values():
            band = band_of(known, signal)
            if band is Band.CRITICAL or (band is Band.WARNING and signal.name in about):
                problems.append(f"{signal.name} is still {band.value}")
            elif band is not Band.NORMAL and self._is_worse(signal):
                problems.append(f"{signal.name} is far worse than in good times")
        return problems

    def _about(self, agent: str) -> dict[str, float]:
        """Return the metrics that the incidents being rolled back for ``agent`` are about, with their ``for:``."""
        open_ones = self._services.store.incidents(open_only=True)
        handled = [each for each in open_ones if each.state is IncidentState.ROLLING_BACK and each.agent == agent]
        fired = {finding.rule for incident in handled for finding in incident.findings}
        return {rule.metric: rule.for_s for rule in rules(self._services.settings).metrics if rule.name in fired}

    def _window(self, incident: str) -> float:
        """Return how long the metrics that ``incident`` is about must be in band after it, in seconds."""
        found = self._services.store.incident(incident)
        return max(self._about(found.agent).values(), default=0.0) if found is not None else 0.0

    def _is_worse(self, signal: Signal) -> bool:
        kept = self._services.store.get_note(_baseline_key(signal.agent, signal.name))
        judging = [rule for rule in rules(self._services.settings).metrics if rule.metric == signal.name]
        if kept is None or signal.value is None or not judging:
            return False
        return from_json(BaseLevel, kept).is_worse(signal.value, below=judging[0].below)

    def _learn(self) -> None:
        """Remember how the agents' metrics are while all is well, to compare with after a rollback."""
        services, store = self._services, self._services.store
        if self.level is Level.WATCH or any(is_unresolved(each) for each in store.incidents(open_only=True)):
            return
        metrics = {rule.metric for rule in rules(services.settings).metrics}
        for run in current_runs(services.paths.inbox_db):
            for name, signal in services.signals.newest(run.agent).items():
                if name not in metrics or signal.value is None or signal.at < run.since:
                    continue
                key = _baseline_key(run.agent, name)
                kept = store.get_note(key)
                before = from_json(BaseLevel, kept) if kept is not None else BaseLevel()
                after = before.learned(signal.value, iso(signal.at))
                if after != before:
                    store.set_note(key, canonical(to_json(after)))

    def _prime_suspect(self, since: Sequence[Commit]) -> str:
        """Name the agent that broke a check where that is plain before any diagnosis; else everybody stands by.

        It is plain where only one agent committed since the last good commit, or only one of those is in trouble.
        """
        agents = {commit.agent for commit in since}
        if len(agents) > 1:
            agents &= {incident.agent for incident in self._services.store.incidents(open_only=True)}
        return (agents.pop() or EVERYBODY) if len(agents) == 1 else EVERYBODY


def _baseline_key(agent: str, metric: str) -> str:
    return f"baseline:{agent}:{metric}"


def _start_order(services: Services) -> list[str]:
    """Return the agents of the settings, which have no circles, each behind those that it waits for."""
    needed = dependencies(services.settings)
    return list(TopologicalSorter({name: sorted(needed[name]) for name in sorted(needed)}).static_order())
