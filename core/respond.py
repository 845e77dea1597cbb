"""Follows one incident from its opening to its outcome: make safe, diagnose, plan, decide, execute, verify."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from .codec import canonical, from_json, to_json
from .config import Level
from .decide import REASONS
from .detect.intake import incident_body
from .diagnose.diagnose import diagnose
from .errors import ExitCode, RollcageError, UsageError
from .execute.agents import pause_agent, release_agent, start_again, stop_agent
from .execute.runner import carry_out, start_rollback, try_undo_again, work_for
from .execute.safe import make_safe, stand_down
from .fleet.runs import Run
from .model import (
    ENDED_STATES,
    Decision,
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
from .plan.plan_yaml import parse_plan
from .plan.undo import find_undo, plan_undo
from .policy_facts import policy_verdict
from .services import Services
from .store.store import Store

AFTER_ROLLBACK = {
    RollbackState.DONE: IncidentState.RECOVERED,
    RollbackState.UNVERIFIED: IncidentState.ESCALATED,
    RollbackState.UNDONE: IncidentState.UNDONE,
    RollbackState.FAILED: IncidentState.FAILED,
}
DECIDABLE = frozenset(
    {IncidentState.WAITING, IncidentState.ESCALATED, IncidentState.UNDONE, IncidentState.REJECTED, IncidentState.FAILED}
)
"""In these states an operator may still approve, edit or reject an option."""
ATTEMPTS = 3
"""How often a plan is made anew because the branch moved while it was being carried out."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an operator's decision, for the one who waits for it."""

    code: ExitCode
    text: str


_ANSWERS = {
    RollbackState.DONE: (ExitCode.DONE, "done and verified"),
    RollbackState.UNVERIFIED: (ExitCode.ESCALATED, "carried out, not verified, and kept"),
    RollbackState.UNDONE: (ExitCode.UNDONE, "failed, and everything it did was undone"),
    RollbackState.FAILED: (ExitCode.NOT_UNDONE, "failed, and could not be undone wholly"),
}


def _answer(rollback: Rollback) -> Answer:
    code, words = _ANSWERS[rollback.state]
    return Answer(code, f"{rollback.id} {words}" + (f": {rollback.note}" if rollback.note else ""))


def answer_to(store: Store, decision: int) -> Answer | None:
    """Return what came of a decision, or nothing while the engine has not carried it out."""
    kept = store.get_note(_answer_key(decision))
    return None if kept is None else from_json(Answer, kept)


def _answer_key(decision: int) -> str:
    return f"decision:{decision}"


class Responder:
    """Handles incidents and operators' decisions one after another, in one thread of the engine."""

    def __init__(
        self,
        services: Services,
        level: Level,
        measure: Callable[[Run], list[str]],
        settle: Callable[[Incident], None],
        stop: threading.Event,
    ) -> None:
        """Take the level, what measures an agent afresh, whom to tell of recoveries, and what asks to leave."""
        self._services = services
        self._level = level
        self._measure = measure
        self._settle = settle
        self._stop = stop
        self._carried_on: set[str] = set()

    # -- what an engine that died left behind

    def carry_on(self) -> list[Rollback]:
        """Carry every unfinished rollback to its end: resumed where the world allows it, undone otherwise."""
        ended = []
        for rollback in self._services.store.unfinished_rollbacks():
            if rollback.id not in self._carried_on:
                self._carried_on.add(rollback.id)
                text = f"{rollback.id} was interrupted and is carried on"
                body = {"severity": "warning", "text": text, "rollback": rollback.id}
                self._services.store.append_event("alert", body)
            ended.append(self._finish(rollback))
        for incident in self._services.store.incidents(open_only=True):
            if incident.state is IncidentState.ROLLING_BACK:  # decided, but its rollback was never written
                self._save(incident, IncidentState.OPEN, "the engine ended before the rollback began")
        return ended

    # -- the loop's own incidents

    def handle(self, incident_id: str) -> Incident:
        """Take an OPEN critical incident as far as the level allows; return it as it is then."""
        store = self._services.store
        incident = store.incident(incident_id)
        if incident is None:
            raise UsageError(f"there is no incident {incident_id}; rollcage incidents lists them")
        if incident.state is not IncidentState.OPEN or incident.severity is not Severity.CRITICAL:
            return incident
        if self._level is Level.WATCH:
            return self._save(incident, IncidentState.WAITING, REASONS["level_watch"])
        try:
            make_safe(self._services, incident, self._level)
        except RollcageError as failure:
            self._decided(incident, "", "", DecisionVerdict.ESCALATE, "snapshot_failed")
            return self._escalate(incident, f"not made safe: {failure}")
        for _ in range(ATTEMPTS):
            pairs = self._prepare(incident)
            diagnosis = store.diagnosis(incident_id)
            if diagnosis is None or self._stop.is_set():
                return incident
            if not pairs:
                return self._escalate(incident, diagnosis.root_cause)
            incident = self._adopt(incident, diagnosis)
            option, plan = pairs[0]
            verdict, code = policy_verdict(self._services, self._level, incident, option, plan, diagnosis)
            self._decided(incident, option.id, plan.plan_hash, verdict, code)
            if verdict is DecisionVerdict.ESCALATE or diagnosis.verdict is Verdict.CANNOT_TELL:
                return self._escalate(incident, REASONS.get(code, code) if code else diagnosis.root_cause)
            if verdict is not DecisionVerdict.APPROVE:
                return self._save(incident, IncidentState.WAITING, REASONS.get(code, code))
            ended = self._execute(incident, plan, "engine")
            if ended.state is not RollbackState.UNDONE or ended.head_after:
                break
        return store.incident(incident_id) or incident

    def _prepare(self, incident: Incident) -> list[tuple[RollbackOption, RecoveryPlan]]:
        services = self._services
        self._activity(incident, "diagnosing")
        diagnosis = diagnose(services, incident, progress=lambda text: self._activity(incident, text), stop=self._stop)
        with services.store.transaction():
            services.store.save_diagnosis(diagnosis)
            services.store.append_event("diagnosis", to_json(diagnosis))
        self._activity(incident, "rehearsing the options")
        pairs = build_options(services, incident, diagnosis, stop=self._stop)
        with services.store.transaction():
            services.store.save_options(incident.id, pairs)
            runs = sum(check.runs for option, _ in pairs for check in option.rehearsal.checks)
            services.store.save_diagnosis(replace(diagnosis, check_runs=replace(diagnosis.check_runs, rehearse=runs)))
            for option, plan in pairs:
                self._announce(option, plan)
        self._activity(incident, "")
        return pairs

    def _announce(self, option: RollbackOption, plan: RecoveryPlan) -> None:
        store = self._services.store
        store.append_event("option", to_json(option))
        body = to_json(plan)
        body.pop("diff")
        store.append_event("plan", body)

    def _adopt(self, incident: Incident, diagnosis: Diagnosis) -> Incident:
        """Give the incident to the culprit's agent; an agent that was held by a first guess works on."""
        agent = diagnosis.agents[0] if diagnosis.agents else incident.agent
        if agent == incident.agent:
            return incident
        services = self._services
        guessed = incident.agent
        with services.store.transaction():
            incident = replace(services.store.incident(incident.id) or incident, agent=agent)
            services.store.save_incident(incident)
        if self._level is Level.AUTO:
            stop_agent(services, agent, f"incident {incident.id}: {incident.title}")
        else:
            pause_agent(services, agent, Hold.PAUSED, f"incident {incident.id}: {incident.title}")
        if guessed:
            release_agent(services, guessed)
        return incident

    # -- operators

    def obey(self) -> int:
        """Carry out what operators decided since the last call; return how many decisions were taken.

        A rollback that could not go on, for the journal could not be written (a full disk), is carried on first; and
        agents that stand by for nothing any more, for the trouble went by itself, work on.
        """
        store = self._services.store
        taken = 0
        if store.unfinished_rollbacks():
            self.carry_on()
        for decision in store.decisions(untaken_only=True):
            if decision.by == "engine" or not store.take_decision(decision.id):
                continue
            taken += 1
            try:
                answer = self._obey(decision)
            except RollcageError as failure:
                answer = Answer(failure.exit_code, str(failure))
                text = f"{decision.verdict.value} {decision.option}: {failure}"
                store.append_event("alert", {"severity": "warning", "text": text, "incident": decision.incident})
            store.set_note(_answer_key(decision.id), canonical(to_json(answer)))
        stand_down(self._services)
        return taken

    def _obey(self, decision: Decision) -> Answer:
        verb, _, subject = decision.option.partition(":")
        if subject:
            return self._wish(verb, subject, decision)
        store = self._services.store
        option, plan = store.option(decision.option), store.plan(decision.option)
        incident = store.incident(option.incident) if option else None
        if option is None or plan is None or incident is None:
            raise UsageError(f"there is no option {decision.option}; rollcage options lists them")
        if incident.state not in DECIDABLE:
            raise UsageError(f"{incident.id} is {incident.state.value}: nothing is left to decide")
        if decision.verdict is DecisionVerdict.REJECT:
            self._save(incident, IncidentState.REJECTED, decision.reason or f"rejected by {decision.by}")
            stand_down(self._services)
            return Answer(ExitCode.DONE, f"{option.id} rejected; the other agents work on")
        if decision.verdict is DecisionVerdict.EDIT:
            return self._edit(incident, option, plan, decision)
        current = self._still_valid(incident, option, plan, decision.plan_hash)
        if current is None:
            return Answer(ExitCode.WAITING, f"what {option.id} does has changed since: look at it and decide again")
        return _answer(self._execute(incident, current, decision.by))

    def _wish(self, verb: str, subject: str, decision: Decision) -> Answer:
        services = self._services
        reason = decision.reason or f"by {decision.by}"
        if verb in {"undo", "redo"}:
            rollback = find_undo(services, subject, redo=verb == "redo")
            if rollback.state is RollbackState.FAILED:
                return _answer(self._finish(try_undo_again(services, rollback, decision.by)))
            plan = plan_undo(services, rollback, verb)
            return _answer(self._finish(start_rollback(services, plan, approved_by=decision.by, kind=verb, of=subject)))
        held = services.store.holds().get(subject)
        if verb == "stop":
            stop_agent(services, subject, reason, decision.by)
        elif verb == "pause":
            pause_agent(services, subject, Hold.PAUSED, reason, decision.by)
        elif verb == "resume" and held is not None and held.hold is Hold.STOPPED:
            start_again(services, subject, decision.by)
        elif verb == "resume":
            release_agent(services, subject, decision.by)
        else:
            raise UsageError(f"nobody can {verb} {subject}")
        return Answer(ExitCode.DONE, f"{subject}: {verb} done")

    def _still_valid(
        self, incident: Incident, option: RollbackOption, plan: RecoveryPlan, approved: str
    ) -> RecoveryPlan | None:
        """Return the plan to carry out, rehearsed anew where the branch moved; none where its effect is another now."""
        services = self._services
        if approved and approved != plan.plan_hash:
            self._decided(incident, option.id, plan.plan_hash, DecisionVerdict.WAIT, "moved")
            return None
        if services.repository.tip(plan.branch) == plan.head:
            return plan
        wish = Wish(plan.type, plan.targets, plan.message, _restarts(plan))
        now_option, now_plan = self._rehearse(incident, option, wish)
        if now_plan.plan_hash == plan.plan_hash and now_option.rehearsal.applies:
            return now_plan
        self._decided(incident, option.id, now_plan.plan_hash, DecisionVerdict.WAIT, "moved")
        return None

    def _edit(self, incident: Incident, option: RollbackOption, plan: RecoveryPlan, decision: Decision) -> Answer:
        edited, problems = parse_plan(decision.reason, plan)
        if edited is None:
            raise UsageError(f"the edited plan is not valid: {'; '.join(problems)}")
        wish = Wish(plan.type, edited.targets, edited.message, _restarts(edited))
        now_option, now_plan = self._rehearse(incident, option, wish)
        applies = "applies" if now_option.rehearsal.applies else "does not apply"
        return Answer(ExitCode.DONE, f"{option.id} rehearsed again: {applies}, plan {now_plan.plan_hash[:12]}")

    def _rehearse(self, incident: Incident, option: RollbackOption, wish: Wish) -> tuple[RollbackOption, RecoveryPlan]:
        store = self._services.store
        diagnosis = store.diagnosis(incident.id)
        if diagnosis is None:
            raise RollcageError(f"{incident.id} has no diagnosis")
        now_option, now_plan = rehearse(self._services, incident, diagnosis, wish, option.id, stop=self._stop)
        now_option = replace(now_option, rank=option.rank)
        pairs = [(now_option, now_plan) if o.id == option.id else (o, p) for o, p in store.options(incident.id)]
        with store.transaction():
            store.save_options(incident.id, pairs)
            self._announce(now_option, now_plan)
        return now_option, now_plan

    # -- carrying out

    def _execute(self, incident: Incident, plan: RecoveryPlan, by: str) -> Rollback:
        with self._services.store.transaction():
            self._save(incident, IncidentState.ROLLING_BACK, f"{plan.option} approved by {by}")
            rollback = start_rollback(self._services, plan, approved_by=by)
        return self._finish(rollback)

    def _finish(self, rollback: Rollback) -> Rollback:
        ended = carry_out(work_for(self._services, rollback, self._measure))
        incident = self._services.store.incident(ended.incident)
        if incident is not None and ended.kind == "rollback":
            note = ended.note or f"{ended.id} took it back; verified"
            saved = self._save(incident, AFTER_ROLLBACK[ended.state], note)
            if saved.state is IncidentState.RECOVERED:
                self._settle(saved)
        stand_down(self._services)
        return ended

    def _escalate(self, incident: Incident, why: str) -> Incident:
        self._services.store.append_event(
            "alert",
            {"severity": "critical", "text": f"{incident.id} is escalated to you: {why}", "incident": incident.id},
        )
        escalated = self._save(incident, IncidentState.ESCALATED, why)
        stand_down(self._services)
        return escalated

    def _save(self, incident: Incident, state: IncidentState, note: str) -> Incident:
        """Write the new state onto the incident as it is now: the detectors may have added findings meanwhile."""
        store = self._services.store
        closed = self._services.clock.now() if state in ENDED_STATES else None
        with store.transaction():
            current = store.incident(incident.id) or incident
            changed = replace(current, state=state, note=note, closed=closed)
            store.save_incident(changed)
            store.set_note(_activity_key(incident.id), "")
            store.append_event("incident", incident_body(changed))
            store.audit("engine", f"incident_{state.value}", incident.id, note)
        return changed

    def _decided(self, incident: Incident, option: str, plan_hash: str, verdict: DecisionVerdict, code: str) -> None:
        store = self._services.store
        with store.transaction():
            decision = store.add_decision(incident.id, option, plan_hash, verdict, "engine", code)
            store.take_decision(decision.id)
            store.append_event("decision", to_json(replace(decision, taken=True)))
            store.audit("engine", f"decision_{verdict.value}", option or incident.id, code)

    def _activity(self, incident: Incident, text: str) -> None:
        self._services.store.set_note(_activity_key(incident.id), text)


def _activity_key(incident: str) -> str:
    return f"activity:{incident}"


def _restarts(plan: RecoveryPlan) -> bool:
    return any(step.name == "restart_agent" for step in plan.steps)


def worst(states: Sequence[IncidentState]) -> str:
    """Return the result of ``--once``: the worst of the incidents' states, by the order of the exit codes."""
    order = [
        ("failed", {IncidentState.FAILED}),
        ("undone", {IncidentState.UNDONE}),
        ("escalated", {IncidentState.ESCALATED, IncidentState.REJECTED}),
        ("waiting", {IncidentState.WAITING, IncidentState.OPEN, IncidentState.ROLLING_BACK}),
        ("recovered", {IncidentState.RECOVERED}),
    ]
    return next((name for name, group in order if any(state in group for state in states)), "healthy")
