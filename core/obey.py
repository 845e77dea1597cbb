"""Operators' decisions, carried out: each exactly once, and none lost, whatever dies in between.

A decision is taken (by one engine), acted on, and answered. Where an engine dies in between, the next one looks: a
rollback that the decision began is its answer; where it began none, it is carried out as if it had just been made.
"""

from __future__ import annotations

from .decisions import (
    DECIDABLE,
    ENGINE,
    Answer,
    answer_by,
    begun_by,
    save_answer,
    save_beginning,
    unsettled,
)
from .errors import ExitCode, RollcageError, UsageError
from .execute.agents import dismiss_agent, pause_agent, release_agent, start_again, stop_agent
from .execute.journal import JournalError
from .execute.runner import came_to_nothing, start_rollback, try_undo_again
from .execute.safe import stand_down
from .fleet.runs import latest_runs
from .model import (
    Decision,
    DecisionVerdict,
    Hold,
    Incident,
    IncidentState,
    RecoveryPlan,
    Rollback,
    RollbackOption,
    RollbackState,
)
from .plan.options import obstacle_to, wish_of
from .plan.plan_yaml import parse_plan
from .plan.undo import find_undo, plan_undo
from .progress import alert, record_decision, save_state
from .respond import Responder
from .services import Services
from .store.facts import AgentHold

_AGENTS = frozenset({"stop", "pause", "resume"})


class Obeyer:
    """Carries out decisions. `obey` is for the responder's thread, `obey_at_once` for any."""

    def __init__(self, services: Services, responder: Responder) -> None:
        """Take up what an engine that ended took and did not answer."""
        self._services, self._responder = services, responder
        self._left = {decision.id: decision for decision in unsettled(services.store)}

    def obey(self) -> int:
        """Carry out what was decided and is not carried out yet; return how many decisions were taken.

        Raises CutShort, and StoreError where nothing can be written: call again, then.
        """
        store = self._services.store
        for decision in list(self._left.values()):
            with self._responder.working():
                self._carry_out(decision)
        taken = 0
        for decision in store.decisions(untaken_only=True):
            if self._responder.leaving:  # the engine that comes next obeys
                break
            with self._responder.working():
                taken += self._take(decision)
        return taken

    def obey_at_once(self) -> None:
        """Stop, pause and resume agents as operators decided: that waits for no diagnosis and no rollback."""
        for decision in self._services.store.decisions(untaken_only=True):
            if _verb(decision) in _AGENTS:
                self._take(decision)

    def is_wanted(self) -> bool:
        """Say whether a decision waits that only the responder's thread carries out."""
        waiting = self._services.store.decisions(untaken_only=True)
        return any(decision.by != ENGINE and _verb(decision) not in _AGENTS for decision in waiting)

    def _take(self, decision: Decision) -> bool:
        if decision.by == ENGINE or not self._services.store.take_decision(decision.id):
            return False
        try:
            self._carry_out(decision)
        except BaseException:
            self._left[decision.id] = decision
            raise
        return True

    def _carry_out(self, decision: Decision) -> None:
        """Carry out a decision that was taken, and answer it."""
        store = self._services.store
        begun = begun_by(store, decision.id)
        if begun is not None and begun.state is RollbackState.RUNNING:
            return  # the responder carries it on first
        try:
            answer = self._answer_by(begun) if begun is not None else self._obey(decision)
        except JournalError:
            raise
        except RollcageError as failure:
            answer = Answer(failure.exit_code, str(failure))
            text = f"{decision.verdict.value} {decision.option}: {failure}"
            alert(store, "warning", text, incident=decision.incident)
        save_answer(store, decision.id, answer)
        self._left.pop(decision.id, None)

    def _answer_by(self, ended: Rollback) -> Answer:
        """Return what to answer: who was overtaken by the branch is asked once more, for the incident waits again."""
        if came_to_nothing(self._services, ended):
            return Answer(ExitCode.WAITING, f"{ended.id} published nothing: {ended.note}")
        return answer_by(ended)

    def _obey(self, decision: Decision) -> Answer:
        verb = _verb(decision)
        subject = decision.option.partition(":")[2]
        if verb in {"undo", "redo"}:
            return self._turn_round(verb, subject, decision)
        if verb:
            return self._hold(verb, subject, decision)
        store = self._services.store
        option, plan = store.option(decision.option), store.plan(decision.option)
        incident = store.incident(option.incident) if option else None
        if option is None or plan is None or incident is None:
            raise UsageError(f"there is no option {decision.option}; rollcage options lists them")
        if incident.state not in DECIDABLE:
            raise UsageError(f"{incident.id} is {incident.state.value}: nothing is left to decide")
        later = self._later_word(incident, decision)
        if decision.verdict is DecisionVerdict.APPROVE and later is not None:
            what = f"{later.verdict.value} of {later.option} by {later.by}"
            return Answer(ExitCode.WAITING, f"the approval of {option.id} is void: the {what} came after it")
        match decision.verdict:
            case DecisionVerdict.REJECT:
                why = decision.reason or f"rejected by {decision.by}"
                save_state(self._services, incident, IncidentState.REJECTED, why)
                stand_down(self._services)
                return Answer(ExitCode.DONE, f"{option.id} rejected; the other agents work on")
            case DecisionVerdict.EDIT:
                return self._edit(incident, option, plan, decision)
            case DecisionVerdict.APPROVE:
                return self._approve(incident, option, plan, decision)
            case _:
                raise UsageError(f"nobody can {decision.verdict.value} {option.id}")

    def _later_word(self, incident: Incident, decision: Decision) -> Decision | None:
        """Return what a person decided after ``decision`` against it: a rejection, or an edit of its option."""
        waiting = self._services.store.decisions(incident=incident.id, untaken_only=True)
        later = (each for each in waiting if each.id > decision.id and each.by != ENGINE)
        return next((each for each in later if _against(each, decision.option)), None)

    # -- options

    def _approve(self, incident: Incident, option: RollbackOption, plan: RecoveryPlan, decision: Decision) -> Answer:
        """Carry the plan out if what it does is what was approved; rehearsed again where the branch moved since."""
        refusal, code = "", "moved"
        if decision.plan_hash and decision.plan_hash != plan.plan_hash:
            refusal = f"what {option.id} does has changed since: look at it and decide again"
            code = "edited" if self._was_edited(option) else code
        elif self._services.repository.tip(plan.branch) != plan.head:
            again, now = self._responder.rehearse_again(incident, option, wish_of(plan))
            before = {check.name for check in option.rehearsal.checks if check.passed}
            worse = [check.name for check in again.rehearsal.checks if check.name in before and not check.passed]
            if now.plan_hash != plan.plan_hash or not again.rehearsal.applies:
                refusal = f"{plan.branch} moved and {option.id} does something else now: look at it and decide again"
            elif worse:
                refusal = f"{plan.branch} moved and with {option.id} {', '.join(worse)} would not pass any more"
            plan = now
        obstacle = None if refusal else obstacle_to(self._services, plan)
        if obstacle is not None:  # seen before an agent is stopped for nothing
            return Answer(ExitCode.WAITING, f"{option.id} was not begun: {obstacle}")
        if not refusal:
            return self._answer_by(self._responder.execute(incident, plan, decision.by, decision.id))
        record_decision(self._services, incident, option.id, plan.plan_hash, DecisionVerdict.WAIT, code)
        if incident.state is not IncidentState.WAITING:
            save_state(self._services, incident, IncidentState.WAITING, refusal)
        return Answer(ExitCode.WAITING, refusal)

    def _was_edited(self, option: RollbackOption) -> bool:
        known = self._services.store.decisions(incident=option.incident)
        return any(each.verdict is DecisionVerdict.EDIT and each.option == option.id for each in known)

    def _edit(self, incident: Incident, option: RollbackOption, plan: RecoveryPlan, decision: Decision) -> Answer:
        """Rehearse what was edited; whatever was approved before is void by its new hash."""
        edited, problems = parse_plan(decision.reason, plan)
        if edited is None:
            raise UsageError(f"the edited plan is not valid: {'; '.join(problems)}")
        again, now = self._responder.rehearse_again(incident, option, wish_of(edited, was=plan))
        if incident.state is not IncidentState.WAITING:
            save_state(self._services, incident, IncidentState.WAITING, f"{option.id} was edited by {decision.by}")
        applies = "applies" if again.rehearsal.applies else "does not apply"
        return Answer(ExitCode.DONE, f"{option.id} rehearsed again: {applies}, plan {now.plan_hash[:12]}")

    # -- other wishes

    def _turn_round(self, verb: str, subject: str, decision: Decision) -> Answer:
        services, store = self._services, self._services.store
        rollback = find_undo(services, subject, redo=verb == "redo")
        if rollback.state is RollbackState.FAILED:
            with store.transaction():
                begun = try_undo_again(services, rollback, decision.by)
                save_beginning(store, decision.id, begun.id)
        else:
            plan = plan_undo(services, rollback, verb)
            with store.transaction():
                begun = start_rollback(services, plan, approved_by=decision.by, kind=verb, of=subject)
                save_beginning(store, decision.id, begun.id)
        return self._answer_by(self._responder.finish(begun))

    def _hold(self, verb: str, agent: str, decision: Decision) -> Answer:
        services, by = self._services, decision.by
        held = services.store.holds().get(agent)
        runs = {run.agent for run in latest_runs(services.paths.inbox_db)}
        if agent not in {*services.settings.agents, *runs} and held is None:
            raise UsageError(f"there is no agent {agent}; rollcage agents lists them")
        reason = decision.reason or f"by {by}"
        if verb == "stop":
            again = held is not None and held.hold is Hold.STOPPED and self._was_stopped(agent, held, decision)
            stop_agent(services, agent, reason, by)
            if again and dismiss_agent(services, agent, by):
                return Answer(ExitCode.DONE, f"{agent}: stopped before, so its supervisor was ended as well")
        elif verb == "pause":
            pause_agent(services, agent, Hold.PAUSED, reason, by)
        elif held is not None and held.hold is Hold.STOPPED:
            start_again(services, agent, by)
        else:
            release_agent(services, agent, by)
        return Answer(ExitCode.DONE, f"{agent}: {verb} done")

    def _was_stopped(self, agent: str, held: AgentHold, decision: Decision) -> bool:
        """Say whether it was an operator who stopped ``agent`` last: whoever stops it a second time means it."""
        mine = [f"{verb}:{agent}" for verb in _AGENTS]
        known = self._services.store.decisions()
        earlier = [each for each in known if each.id < decision.id and each.by != ENGINE and each.option in mine]
        by_engine = held.reason.startswith(("incident ", "rollback "))
        return bool(earlier) and earlier[-1].option == decision.option and not by_engine


def _against(decision: Decision, option: str) -> bool:
    edited = decision.verdict is DecisionVerdict.EDIT and decision.option == option
    return edited or decision.verdict is DecisionVerdict.REJECT


def _verb(decision: Decision) -> str:
    """Return what is wished beside options: ``undo``, ``redo``, ``stop``, ``pause``, ``resume``; else nothing."""
    verb, colon, _ = decision.option.partition(":")
    return verb if colon else ""
