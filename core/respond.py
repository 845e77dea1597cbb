"""Follows one incident from its opening to its outcome: make safe, diagnose, plan, decide, execute, verify."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from .codec import to_json
from .config import Level
from .decide import REASONS
from .decisions import ENGINE, save_beginning
from .detect.incidents import still_open
from .diagnose.diagnose import CHECK_RULE, diagnose, failing_checks
from .errors import RollcageError, UsageError
from .execute.agents import hold_of, pause_agent, release_agent, start_again, stop_agent
from .execute.deadline import PHASE_DEADLINE_S, overran
from .execute.runner import came_to_nothing, carry_out, start_rollback, work_for
from .execute.safe import critical_action, make_safe, stand_down
from .execute.standby import safe_note
from .execute.work import no_window
from .fleet.runs import Run
from .model import (
    EVERYBODY,
    DecisionVerdict,
    Diagnosis,
    Hold,
    Incident,
    IncidentState,
    RecoveryPlan,
    Rollback,
    RollbackOption,
    RollbackState,
    Severity,
    Verdict,
)
from .plan.options import Wish, build_options, rehearse
from .plan.validate import validate_recovery_plan
from .policy_facts import everything_known, policy_verdict
from .progress import alert, announce, record_decision, save_activity, save_state
from .services import Services

AFTER_ROLLBACK = {
    RollbackState.DONE: IncidentState.RECOVERED,
    RollbackState.UNVERIFIED: IncidentState.ESCALATED,
    RollbackState.UNDONE: IncidentState.UNDONE,
    RollbackState.FAILED: IncidentState.FAILED,
}
ATTEMPTS = 3
"""How often a plan is made because the branch moved while it was being made."""

Pair = tuple[RollbackOption, RecoveryPlan]


class Interruption(threading.Event):
    """Set while the engine is to leave, or an operator's decision comes first: long looking ends then, no rollback."""

    def __init__(self, leave: threading.Event) -> None:
        """Take the event that says to leave."""
        super().__init__()
        self._leave = leave

    def is_set(self) -> bool:
        """Return whether to come to an end."""
        return self._leave.is_set() or super().is_set()


class Background(threading.Event):
    """Set while the engine is to leave, or the responder is at work: what is less urgent makes room for it then."""

    def __init__(self, leave: threading.Event, responder: Responder) -> None:
        """Take the event that says to leave, and who comes first."""
        super().__init__()
        self._leave, self._responder = leave, responder

    def is_set(self) -> bool:
        """Return whether to come to an end."""
        return self._leave.is_set() or self._responder.busy


class CutShort(Exception):
    """What was being found out was interrupted. Nothing of it was written; it is begun anew later, from the caches."""


class Responder:
    """Handles one incident after another, in one thread; `make_others_safe` may be called from another."""

    def __init__(
        self,
        services: Services,
        level: Level,
        measure: Callable[[Run], list[str]],
        settle: Callable[[Incident], None],
        leave: threading.Event,
        window: Callable[[str], float] = no_window,
    ) -> None:
        """Take the level, what measures an agent afresh, whom to tell of recoveries, what says to leave, and
        how long metrics must be in band after an incident.

        ``interruption`` cuts short what is being found out about incidents; nothing cuts a rollback short.
        """
        self._services = services
        self._level = level
        self._measure = measure
        self._settle = settle
        self._window = window
        self._leave = leave
        self.interruption = Interruption(leave)
        self._safety = threading.Lock()
        self._at_work = ""
        self._tasks = 0
        self._carried_on: set[str] = set()
        self._not_safe: set[str] = set()

    @property
    def leaving(self) -> bool:
        """Whether nothing new is to be begun any more."""
        return self._leave.is_set()

    @property
    def busy(self) -> bool:
        """Whether an incident is being handled or a decision carried out just now."""
        return self._tasks > 0

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count what is done within as work that comes first. For the responder's own thread."""
        self._tasks += 1
        try:
            yield
        finally:
            self._tasks -= 1

    # -- what was left behind, by an engine that died or by a full disk

    def carry_on(self) -> list[Rollback]:
        """Carry every unfinished rollback to its end: resumed where the world allows it, undone otherwise."""
        store = self._services.store
        ended = []
        for rollback in store.unfinished_rollbacks():
            if rollback.id not in self._carried_on:
                self._carried_on.add(rollback.id)
                text = f"{rollback.id} was interrupted and is carried on"
                alert(store, "warning", text, rollback=rollback.id, incident=rollback.incident)
            with self.working():
                ended.append(self.finish(rollback))
        return ended

    def take_up(self) -> list[Rollback]:
        """Put right what an engine that ended left half done; return the rollbacks that were carried to their end."""
        store = self._services.store
        ended = self.carry_on()
        newest = {rollback.incident: rollback for rollback in reversed(store.rollbacks(1000)) if not rollback.of}
        for incident in store.incidents(open_only=True):
            save_activity(store, incident.id, "")
            if incident.state is IncidentState.ROLLING_BACK and incident.id in newest:
                self._conclude(newest[incident.id], incident)  # its rollback had ended, and that was not written here
        stand_down(self._services)
        return ended

    def look_again(self) -> None:
        """Reopen what waits for a human only because the engine before might not act alone, where this one may."""
        store = self._services.store
        for incident in store.incidents(open_only=True):
            own = [each for each in store.decisions(incident=incident.id) if each.by == ENGINE]
            waits = incident.state is IncidentState.WAITING and own and own[-1].reason == "level_propose"
            if waits and self._level is Level.AUTO:
                save_state(self._services, incident, IncidentState.OPEN, "looked at again, for the level is auto now")

    # -- making safe

    def make_safe(self, incident: Incident) -> None:
        """Hold the problem agent, let the others stand by, keep a snapshot. Raises RollcageError; idempotent."""
        with self._safety:
            make_safe(self._services, incident, self._level)

    def make_others_safe(self) -> None:
        """Make critical incidents safe that have to wait because another one is being diagnosed: minutes count.

        Not while a rollback moves things. What fails is told, and tried again when their turn has come.
        """
        store = self._services.store
        if not self._at_work or self._level is Level.WATCH or store.unfinished_rollbacks():
            return
        for incident in pending(store.incidents(open_only=True)):
            tried = incident.id in self._not_safe or store.get_note(safe_note(incident.id)) is not None
            if incident.id == self._at_work or tried:
                continue
            self._not_safe.add(incident.id)
            self.make_safe(incident)

    # -- incidents

    def handle(self, incident_id: str) -> Incident:
        """Take an OPEN critical incident as far as the level allows; return it as it is then.

        Raises CutShort, and StoreError where nothing can be written: call again, then.
        """
        incident = self._services.store.incident(incident_id)
        if incident is None:
            raise UsageError(f"there is no incident {incident_id}; rollcage incidents lists them")
        if incident not in pending([incident]):
            return incident
        if self._level is Level.WATCH:
            return self._only_look(incident)
        self._at_work = incident_id
        try:
            with self.working():
                return self._handle(incident)
        finally:
            self._at_work = ""

    def clear_what_is_over(self) -> None:
        """End the incidents whose trouble went by itself while nothing was done or while they waited for a human."""
        for incident in self._services.store.incidents(open_only=True):
            waits = incident.state in {IncidentState.OPEN, IncidentState.WAITING}
            if (
                waits
                and incident.severity is Severity.CRITICAL
                and not still_open(incident)
                and self._is_over(incident)
            ):
                self._clear(incident)

    def _handle(self, incident: Incident) -> Incident:
        services = self._services
        try:
            self.make_safe(incident)
        except RollcageError as failure:
            record_decision(services, incident, "", "", DecisionVerdict.ESCALATE, "snapshot_failed")
            return self._escalate(incident, f"not made safe: {failure}")
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self._in_time(incident):
                    diagnosis, pairs = self._prepare(incident)
                incident = services.store.incident(incident.id) or incident
                if self._is_over(incident):
                    return self._clear(incident)
                incident = self._adopt(incident, diagnosis)
                if not pairs:
                    return self._escalate(incident, diagnosis.root_cause)
                option, plan = pairs[0]
                if option.rehearsal.applies:
                    _require_valid(plan)
                verdict, code = policy_verdict(services, self._level, incident, option, plan, diagnosis)
            except RollcageError as failure:
                return self._escalate(incident, f"it cannot be found out what to do: {failure}")
            if code != "moved" or attempt == ATTEMPTS:
                incident = self._decided(incident, diagnosis, option, plan, verdict, code)
                if incident.state is not IncidentState.OPEN:  # else the branch moved in the very moment
                    break
        return incident

    def _decided(
        self,
        incident: Incident,
        diagnosis: Diagnosis,
        option: RollbackOption,
        plan: RecoveryPlan,
        verdict: DecisionVerdict,
        code: str,
    ) -> Incident:
        """Do what the policy says about the best option. Raises CutShort."""
        services = self._services
        _go_on(self._leave)
        record_decision(services, incident, option.id, plan.plan_hash, verdict, code)
        if diagnosis.verdict is Verdict.CANNOT_TELL:
            return self._escalate(incident, diagnosis.root_cause)
        if verdict is DecisionVerdict.ESCALATE:
            known, body = everything_known(services, incident, diagnosis)
            return self._escalate(incident, f"{REASONS.get(code, code)}; {known}", body)
        if verdict is not DecisionVerdict.APPROVE:
            return save_state(services, incident, IncidentState.WAITING, REASONS.get(code, code))
        self.execute(incident, plan, ENGINE)
        return services.store.incident(incident.id) or incident

    @contextmanager
    def _in_time(self, incident: Incident) -> Iterator[None]:
        """Tell if analysing and planning took too long, what the user's own checks took left out."""
        clock, checks = self._services.clock, self._services.checks
        begun, checked, limit = clock.boot(), checks.seconds, PHASE_DEADLINE_S[2]
        yield
        took = clock.boot() - begun - (checks.seconds - checked)
        if took > limit:
            overran(self._services, f"phase 2 of {incident.id}", took, limit, incident=incident.id)

    def _prepare(self, incident: Incident) -> tuple[Diagnosis, list[Pair]]:
        """Diagnose and rehearse; write both. Raises CutShort."""
        store = self._services.store
        counted = replace(self._services, checks=self._services.checks.counted_anew())
        save_activity(store, incident.id, "diagnosing")
        diagnosis = diagnose(
            self._services,
            incident,
            progress=lambda text: save_activity(store, incident.id, text),
            stop=self.interruption,
        )
        _go_on(self.interruption)
        store.save_diagnosis(diagnosis)
        save_activity(store, incident.id, "rehearsing the options")
        try:
            pairs = build_options(counted, incident, diagnosis, stop=self.interruption)
            _go_on(self.interruption)
        except RollcageError:
            store.append_event("diagnosis", to_json(diagnosis))
            raise
        runs = diagnosis.check_runs
        diagnosis = replace(diagnosis, check_runs=replace(runs, rehearse=runs.rehearse + counted.checks.runs))
        with store.transaction():
            store.save_diagnosis(diagnosis)
            store.append_event("diagnosis", to_json(diagnosis))
            store.save_options(incident.id, pairs)
            for option, plan in pairs:
                announce(store, option, plan)
            save_activity(store, incident.id, "")
        return diagnosis, pairs

    def _is_over(self, incident: Incident) -> bool:
        """Say whether nothing of the trouble is left. What a held agent does not do any more proves nothing."""
        services = self._services
        lasting = still_open(incident)
        if any(finding.rule != CHECK_RULE for finding in lasting):
            return False
        others = any(f.rule != CHECK_RULE and f.agent == incident.agent != EVERYBODY for f in incident.findings)
        if others and hold_of(services, incident.agent) is not Hold.NONE:
            return False
        tip = services.repository.tip(services.settings.branch)
        if not lasting or tip is None:
            return not lasting
        tree = services.repository.tree(tip)
        known = [services.checks.cached(tree, check) for check in failing_checks(services, incident)]
        return all(outcome is not None and outcome.passed for outcome in known)

    def _clear(self, incident: Incident) -> Incident:
        """End an incident whose trouble is over; the agent that it held works on, and so do the others."""
        services = self._services
        held = services.store.holds().get(incident.agent)
        ours = held is not None and held.reason.startswith(f"incident {incident.id}:")
        if held is not None and ours and self._level is not Level.WATCH:
            try:
                if held.hold is Hold.STOPPED:
                    start_again(services, incident.agent)
                elif held.hold is not Hold.NONE:
                    release_agent(services, incident.agent)
            except RollcageError as failure:
                alert(services.store, "critical", f"after {incident.id}: {failure}", incident=incident.id)
        cleared = save_state(services, incident, IncidentState.CLEARED, "the trouble is over")
        self._settle(cleared)
        if self._level is not Level.WATCH:
            stand_down(services)
        return cleared

    def _only_look(self, incident: Incident) -> Incident:
        note = REASONS["level_watch"]
        return incident if incident.note == note else save_state(self._services, incident, IncidentState.OPEN, note)

    def _adopt(self, incident: Incident, diagnosis: Diagnosis) -> Incident:
        """Give the incident to the culprit's agent; one that was held by a first guess stands by with the others."""
        services, guessed = self._services, incident.agent
        agent = diagnosis.agents[0] if diagnosis.agents else EVERYBODY
        own = {finding.agent for finding in incident.findings if finding.rule != CHECK_RULE}
        if not diagnosis.culprits or agent == guessed or guessed in own - {EVERYBODY}:
            return incident
        reason = f"incident {incident.id}: {incident.title}"
        with services.store.transaction():
            incident = replace(services.store.incident(incident.id) or incident, agent=agent)
            services.store.save_incident(incident)
        action = critical_action(services.settings, self._level)
        if agent and action == "stop":
            stop_agent(services, agent, reason)
        elif agent and action == "pause":
            pause_agent(services, agent, Hold.PAUSED, reason)
        held = services.store.holds().get(guessed)
        if guessed and held is not None and held.reason == reason:
            services.store.set_hold(guessed, Hold.STANDBY, reason)
        return incident

    def _escalate(self, incident: Incident, why: str, known: Mapping[str, object] | None = None) -> Incident:
        text = f"{incident.id} is escalated to you: {why}"
        about = {"severity": "critical", "text": text, "incident": incident.id}
        with self._services.store.transaction():
            self._services.store.append_event("alert", {**about, **(known or {})})
            escalated = save_state(self._services, incident, IncidentState.ESCALATED, why)
        stand_down(self._services)
        return escalated

    # -- carrying out

    def execute(self, incident: Incident, plan: RecoveryPlan, by: str, decision: int | None = None) -> Rollback:
        """Carry ``plan`` out to its end; ``decision`` is the operator's that asked for it.

        Raises UsageError for a plan that is not valid, JournalError where it cannot go on now: see `carry_on`.
        """
        _require_valid(plan)
        store = self._services.store
        with store.transaction():
            save_state(self._services, incident, IncidentState.ROLLING_BACK, f"{plan.option} approved by {by}")
            rollback = start_rollback(self._services, plan, approved_by=by)
            if decision is not None:
                save_beginning(store, decision, rollback.id)
        return self.finish(rollback)

    def finish(self, rollback: Rollback) -> Rollback:
        """Carry ``rollback`` to its end and write what it means for its incident. Raises JournalError."""
        ended = carry_out(work_for(self._services, rollback, self._measure, self._window))
        incident = self._services.store.incident(ended.incident)
        if incident is not None and ended.kind == "rollback":
            self._conclude(ended, incident)
        stand_down(self._services)
        return ended

    def _conclude(self, ended: Rollback, incident: Incident) -> None:
        note = ended.note or f"{ended.id} took it back; verified"
        state = AFTER_ROLLBACK[ended.state]
        if came_to_nothing(self._services, ended):
            # Nothing was published, and the trouble lasts: what was decided is void, and is to be decided anew.
            state = IncidentState.OPEN if ended.approved_by == ENGINE else IncidentState.WAITING
        saved = save_state(self._services, incident, state, note)
        if saved.state is IncidentState.RECOVERED:
            self._settle(saved)

    def rehearse_again(self, incident: Incident, option: RollbackOption, wish: Wish) -> Pair:
        """Rehearse ``wish`` on the branch as it is now, in the place of ``option``. Raises CutShort, RollcageError."""
        store = self._services.store
        diagnosis = store.diagnosis(incident.id)
        if diagnosis is None:
            raise RollcageError(f"{incident.id} has no diagnosis; run rollcage diagnose {incident.id}")
        again, plan = rehearse(self._services, incident, diagnosis, wish, option.id, stop=self._leave)
        _go_on(self._leave)
        again = replace(again, rank=option.rank)
        pairs = [(again, plan) if known.id == option.id else (known, its) for known, its in store.options(incident.id)]
        with store.transaction():
            store.save_options(incident.id, pairs)
            announce(store, again, plan)
        return again, plan


def _go_on(stop: threading.Event) -> None:
    if stop.is_set():
        raise CutShort


def _require_valid(plan: RecoveryPlan) -> None:
    problems = validate_recovery_plan(plan).problems
    if problems:
        raise UsageError(f"the plan of {plan.option} cannot be carried out: {'; '.join(problems)}")


def pending(incidents: Sequence[Incident]) -> list[Incident]:
    """Return those that wait for the responder: critical and OPEN, the oldest first."""
    found = [each for each in incidents if each.state is IncidentState.OPEN and each.severity is Severity.CRITICAL]
    return sorted(found, key=lambda incident: incident.opened)
