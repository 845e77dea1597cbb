"""What an operator can do from a console or the command line: write a decision, which the leading engine obeys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..core.clock import Clock
from ..core.codec import to_json
from ..core.coordination.leases import Leases, LostLeaseError
from ..core.decisions import DECIDABLE
from ..core.errors import RefusedError, UsageError
from ..core.model import Decision, DecisionVerdict, RecoveryPlan, RiskLevel, RollbackOption
from ..core.plan.plan_yaml import parse_plan, plan_yaml
from ..core.store.store import Store
from ..core.text import clean
from .who import operator_name, refuse_agents

if TYPE_CHECKING:
    from ..core.coordination.deadlock import DeadlockBreak


class StoreOperator:
    """Writes decisions into the store. Every method checks first and raises one clear line where it may not."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        leases: Callable[[], Leases],
        *,
        name: str = "",
        read_only: bool = False,
    ) -> None:
        """Take the store, what opens the locks when they are first asked for, and the name that decisions carry."""
        self._store, self._clock, self._leases = store, clock, leases
        self.name = name or operator_name()
        self._read_only = read_only

    def approve(self, option_id: str, plan_hash: str = "", confirm: str = "") -> Decision:
        """Approve an option, bound to the effect of its plan as it is now, or to ``plan_hash``.

        Raises UsageError where there is no such option or nothing is left to decide, RefusedError where the plan's
        effect is another by now, or a CRITICAL one is not confirmed by the words that ``show`` prints.
        """
        option, plan = self._option(option_id)
        if plan_hash and not plan.plan_hash.startswith(plan_hash):
            raise RefusedError(
                "moved", f"the plan of {option_id} is now {plan.plan_hash[:12]}, not {plan_hash[:12]}: look at it again"
            )
        if not option.rehearsal.applies:
            raise RefusedError("does_not_apply", f"{option_id} does not apply: {'; '.join(option.rehearsal.conflicts)}")
        if option.risk_level is RiskLevel.CRITICAL and confirm != plan.loses:
            raise RefusedError("confirm", f"{option_id} is CRITICAL: confirm it with --confirm '{plan.loses}'")
        return self._decide(option, plan.plan_hash, DecisionVerdict.APPROVE, "")

    def reject(self, option_id: str, reason: str = "") -> Decision:
        """Reject an option and with it the incident's rollback; the other agents work on. Raises UsageError."""
        option, plan = self._option(option_id)
        return self._decide(option, plan.plan_hash, DecisionVerdict.REJECT, clean(reason))

    def plan_yaml(self, option_id: str) -> str:
        """Return the plan as YAML with comments, to be edited. Raises UsageError where there is no such option."""
        _, plan = self._option(option_id)
        return plan_yaml(plan)

    def edit(self, option_id: str, text: str) -> list[str]:
        """Hand an edited plan to the engine, which rehearses it again; return what is wrong with it, else nothing."""
        option, plan = self._option(option_id)
        edited, problems = parse_plan(text, plan)
        if edited is None or problems:
            return problems
        self._decide(option, plan.plan_hash, DecisionVerdict.EDIT, text)
        return []

    def undo(self, rollback_id: str) -> Decision:
        """Ask for a rollback to be turned round. Raises UsageError where there is no such rollback."""
        return self._turn("undo", rollback_id)

    def redo(self, rollback_id: str) -> Decision:
        """Ask for an undone rollback to be done again. Raises UsageError where there is no such rollback."""
        return self._turn("redo", rollback_id)

    def stop_agent(self, name: str) -> Decision:
        """Ask for an agent's whole process tree to be stopped; it stays stopped until it is resumed."""
        return self._wish("stop", name)

    def pause_agent(self, name: str) -> Decision:
        """Ask for an agent to be frozen."""
        return self._wish("pause", name)

    def resume_agent(self, name: str) -> Decision:
        """Ask for a held agent to work on; a stopped one is started again."""
        return self._wish("resume", name)

    def stop_all(self, names: list[str]) -> list[Decision]:
        """Ask for all named agents to be stopped."""
        return [self.stop_agent(name) for name in names]

    def break_lock(self, name: str, token: int, reason: str = "") -> None:
        """Take the lock from the holder that has ``token``, at once: no engine is needed. Raises LostLeaseError."""
        self._guard(f"break lock {clean(name)}")
        why = clean(reason)
        lease = self._leases().break_(name, self.name, why, self._store.audit, token)
        body = {"name": lease.name, "state": "broken", "holder": lease.holder, "token": lease.token}
        self._store.append_event("lock", {**body, "by": self.name, "reason": why})

    def break_deadlock(self, circle: Sequence[str]) -> DeadlockBreak:
        """End a circle of waiters (holder, lock, holder, ...): who waits longest is timed out and loses its locks.

        Raises LostLeaseError where they wait for each other no more.
        """
        self._guard("break a deadlock")
        from ..core.coordination.deadlock import break_existing_deadlock

        done = break_existing_deadlock(self._leases(), circle[::2], by=self.name, record=self._store.audit)
        if not done.deadlock_broken:
            raise LostLeaseError(f"{' → '.join(circle)}: they wait for each other no more")
        body = {"state": "deadlock_broken", "agent": done.forced_timeout_agent, "actions": list(done.recovery_actions)}
        self._store.append_event("lock", {**body, "cycle": list(circle), "by": self.name})
        return done

    def _option(self, option_id: str) -> tuple[RollbackOption, RecoveryPlan]:
        option, plan = self._store.option(option_id), self._store.plan(option_id)
        if option is None or plan is None:
            raise UsageError(f"there is no option {clean(option_id)}; rollcage options lists them")
        incident = self._store.incident(option.incident)
        if incident is None or incident.state not in DECIDABLE:
            state = incident.state.value if incident else "gone"
            raise UsageError(f"{option.incident} is {state}: nothing is left to decide")
        return option, plan

    def _turn(self, verb: str, rollback_id: str) -> Decision:
        if self._store.rollback(rollback_id) is None:
            raise UsageError(f"there is no rollback {clean(rollback_id)}; rollcage rollbacks lists them")
        return self._wish(verb, rollback_id)

    def _wish(self, verb: str, subject: str) -> Decision:
        self._guard(f"{verb} {subject}")
        return self._write("", f"{verb}:{subject}", "", DecisionVerdict.APPROVE, "")

    def _decide(self, option: RollbackOption, plan_hash: str, verdict: DecisionVerdict, reason: str) -> Decision:
        self._guard(f"{verdict.value} {option.id}")
        return self._write(option.incident, option.id, plan_hash, verdict, reason)

    def _write(self, incident: str, subject: str, plan_hash: str, verdict: DecisionVerdict, reason: str) -> Decision:
        store = self._store
        with store.transaction():
            decision = store.add_decision(incident, subject, plan_hash, verdict, self.name, reason)
            store.append_event("decision", to_json(decision))
            store.audit(self.name, f"decision_{verdict.value}", subject, clean(reason))
        return decision

    def _guard(self, what: str) -> None:
        """Refuse a viewer, and a process that is supervised as an agent; the latter is recorded."""
        if self._read_only:
            raise RefusedError("read_only", f"this console is read-only: it may not {what}")
        refuse_agents(self._store, what)
