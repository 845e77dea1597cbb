"""The public Python API: the functions of the specification, by their names there, synchronous.

They work on the repository of the current folder with its trusted settings, as the command line does; `use` names
another. Nobody is asked anything: settings that are not trusted are an error. What looks, diagnoses and plans runs in
the caller's process; what would change the repository is written as a decision and carried out by the engine that
leads, in this process where none does. All raise `rollcage.core.errors.RollcageError` with one clear line. For one
thread at a time.

    from rollcage import api

    api.use("/srv/shop")
    report = api.check_system_health()
    for option in api.generate_rollback_options("inc-12"):
        if api.should_auto_execute(option):
            api.execute_rollback(option)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from .console.auto import answered, leading
from .console.context import Context
from .console.who import operator_name, refuse_agents
from .core.coordination import deadlock, stages
from .core.coordination.deadlock import DeadlockBreak, DeadlockRisk, LockRequest
from .core.coordination.stages import PlannedAgent, SafePlan
from .core.data.capture_sqlite import writing_as
from .core.decide import decide
from .core.decisions import begun_by
from .core.detect.rules import Rule, rules
from .core.diagnose.diagnose import diagnose
from .core.engine import Engine
from .core.errors import UsageError
from .core.execute.verify import all_problems, run_checks
from .core.issues import scope as scopes
from .core.issues import sync
from .core.issues.batch import BatchResult, Operation
from .core.issues.create import CreateResult
from .core.issues.issue import Draft
from .core.issues.scope import Isolation, enforce_competition_isolation, validate_operation_scope
from .core.issues.sync import Queued
from .core.issues.update import UpdateResult
from .core.model import (
    CheckOutcome,
    DecisionVerdict,
    Incident,
    IncidentState,
    RecoveryPlan,
    RiskFactor,
    RiskLevel,
    Rollback,
    RollbackOption,
    RollbackState,
    Severity,
    Suspect,
    SystemHealthReport,
)
from .core.model import Diagnosis as DiagnosisResult
from .core.plan.options import build_options
from .core.plan.validate import ValidationResult, validate_recovery_plan
from .core.policy_facts import policy_facts
from .core.status import health_report
from .core.text import clean

__all__ = [
    "Alert",
    "BatchResult",
    "CreateResult",
    "DeadlockBreak",
    "DeadlockRisk",
    "DiagnosisResult",
    "IntegrityCheckResult",
    "Isolation",
    "LockRequest",
    "Monitoring",
    "MonitoringConfig",
    "Operation",
    "PlannedAgent",
    "Queued",
    "RiskAssessment",
    "RollbackResult",
    "RootCauseAnalysis",
    "SafePlan",
    "SystemHealthReport",
    "UpdateResult",
    "ValidationResult",
    "VerificationResult",
    "assess_rollback_risk",
    "batch_operation_atomically",
    "break_existing_deadlock",
    "check_system_health",
    "close",
    "create_issue_atomically",
    "create_recovery_plan",
    "detect_potential_deadlock",
    "diagnose_problem",
    "enforce_competition_isolation",
    "ensure_execution_isolation",
    "execute_phase_rollback",
    "execute_rollback",
    "generate_alert",
    "generate_rollback_options",
    "identify_root_cause",
    "monitoring_config",
    "notify_human_operator",
    "perform_integrity_check",
    "prevent_deadlock_formation",
    "set_blockers",
    "should_auto_execute",
    "start_continuous_monitoring",
    "update_issue_with_optimistic_lock",
    "use",
    "validate_operation_scope",
    "validate_recovery_plan",
    "verify_rollback_success",
    "writing_as",
]

Problem = Incident | str
"""An incident, or its id."""


@dataclass(frozen=True, slots=True)
class MonitoringConfig:
    """The bands that are watched, by metric; times in seconds, memory in bytes, shares 0..1."""

    performance_thresholds: Mapping[str, Rule]
    quality_thresholds: Mapping[str, Rule]
    resource_thresholds: Mapping[str, Rule]


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that people should know; ``seq`` is its place in the event stream."""

    severity: Severity
    details: str
    seq: int


@dataclass(frozen=True, slots=True)
class RootCauseAnalysis:
    """Who did it and why one thinks so."""

    incident: str
    root_cause: str
    culprits: tuple[Suspect, ...]
    confidence: float


@dataclass(frozen=True, slots=True)
class RiskAssessment:
    """The risk of an option: points from 0 to 10, and where they come from."""

    points: int
    level: RiskLevel
    factors: tuple[RiskFactor, ...]


@dataclass(frozen=True, slots=True)
class RollbackResult:
    """What came of a decision to roll back; no ``rollback``: it was refused, ``text`` says why."""

    success: bool
    text: str
    rollback: Rollback | None


@dataclass(frozen=True, slots=True)
class VerificationResult:
    """Whether all is well after a rollback, seen afresh."""

    verified: bool
    checks: tuple[CheckOutcome, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IntegrityCheckResult:
    """Whether repository and database are whole."""

    whole: bool
    problems: tuple[str, ...]


class _Quiet(Context):
    """A program calls: there is nobody to be asked, whatever the streams are."""

    @property
    def interactive(self) -> bool:
        """See `Context.interactive`."""
        return False


_current: list[Context] = []


def use(directory: str | Path = ".", config: str | Path | None = None) -> None:
    """Work on the repository that ``directory`` lies in from now on, with its own settings or those of ``config``.

    ``directory`` is taken as it is now: it stays where it is when the current folder changes. What was used before is
    closed.
    """
    close()
    place = Path(directory).absolute()
    _current.append(_Quiet(place, Path(config).absolute() if config is not None else None))


def close() -> None:
    """Close what is open. The next call works on the repository of the current folder again."""
    while _current:
        _current.pop().close()


def _context() -> Context:
    if not _current:
        use()
    return _current[0]


def monitoring_config() -> MonitoringConfig:
    """Return the bands of all metrics: the defaults, changed and added to by ``rules:`` of the settings."""
    known = {rule.name: rule for rule in rules(_context().settings).metrics}
    performance = _only(known, "batch_processing_time", "error_rate")
    quality = _only(known, "matching_accuracy", "data_consistency")
    rest = {name: rule for name, rule in known.items() if name not in performance and name not in quality}
    return MonitoringConfig(performance, quality, rest)


def _only(known: Mapping[str, Rule], *names: str) -> dict[str, Rule]:
    return {name: known[name] for name in names if name in known}


class Monitoring:
    """An engine that watches and responds in threads of its own, until `stop` or the end of a ``with`` block."""

    def __init__(self, engine: Engine, leadership: ExitStack) -> None:
        """Take an engine that runs, and what gives the leadership back."""
        self._engine, self._leadership = engine, leadership

    @property
    def running(self) -> bool:
        """Whether it watches: not any more once it was stopped, has lost the leadership, or failed."""
        return not self._engine.leaving.is_set()

    @property
    def failure(self) -> str:
        """Why it ended by itself, as one line; empty: it did not."""
        return self._engine.failure

    def stop(self) -> None:
        """End it, after a rollback in progress. May be called twice."""
        self._engine.stop()
        self._engine.join()
        self._leadership.close()

    def __enter__(self) -> Monitoring:
        """Return itself: it runs already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `stop`."""
        self.stop()


def start_continuous_monitoring() -> Monitoring:
    """Start an engine in this process, at the level of the settings; it goes on until its `Monitoring.stop`.

    Raises LeaseError where another engine leads this repository, UsageError where the branch does not exist.
    """
    context = _context()
    services = context.services()
    with ExitStack() as stack:
        engine = Engine(services, stack.enter_context(leading(context)))
        engine.start()
        return Monitoring(engine, stack.pop_all())


def check_system_health() -> SystemHealthReport:
    """Return how all is now."""
    context = _context()
    return health_report(context.view, context.clock.now())


def generate_alert(severity: Severity | str, details: str) -> Alert:
    """Put an alert into the event stream, where every console and ``--auto`` shows it. Raises ValueError."""
    severity = Severity(severity)
    text = clean(details)
    event = _context().store.append_event("alert", {"severity": severity.value, "text": text})
    return Alert(severity, text, event.seq)


def notify_human_operator(alert: Alert) -> None:
    """Hand an alert to the operator for good: it is also written to the audit log."""
    _context().store.audit("api", "notify", f"event {alert.seq}", alert.details)


def diagnose_problem(symptoms: Problem) -> DiagnosisResult:
    """Find out now what happened, with the checks, and keep what was found out; nothing else is changed.

    Raises UsageError for an unknown incident.
    """
    context = _context()
    incident = _incident(symptoms)
    diagnosis = diagnose(context.services(), incident)
    context.store.save_diagnosis(diagnosis)
    return diagnosis


def identify_root_cause(problem: Problem) -> RootCauseAnalysis:
    """Return the root cause that the newest diagnosis found; diagnoses where there is none yet."""
    found = _diagnosis(_incident(problem))
    return RootCauseAnalysis(found.incident, found.root_cause, found.culprits, found.confidence)


def generate_rollback_options(problem: Problem) -> list[RollbackOption]:
    """Return the options of an incident, best first, each rehearsed; those that are known, else made now."""
    context = _context()
    incident = _incident(problem)
    known = context.store.options(incident.id)
    if not known:
        known = build_options(context.services(), incident, _diagnosis(incident))
        context.store.save_options(incident.id, known)
    return [option for option, _ in known]


def assess_rollback_risk(option: RollbackOption) -> RiskAssessment:
    """Return the risk of ``option`` by the published table of factors."""
    return RiskAssessment(option.risk_points, option.risk_level, option.risk_factors)


def create_recovery_plan(problem: Problem) -> RecoveryPlan:
    """Return the plan of the best option. Raises UsageError where there is no option."""
    options = generate_rollback_options(problem)
    if not options:
        raise UsageError(f"{_incident(problem).id} has no option")
    return _plan(options[0])


def should_auto_execute(option: RollbackOption) -> bool:
    """Return whether the engine would carry ``option`` out by itself, at the level of the settings and as all is now.

    It makes an incident safe first; for one that is still open, that counts as done.
    """
    services = _context().services()
    incident, plan = _incident(option.incident), _plan(option)
    diagnosis = _diagnosis(incident)
    facts = policy_facts(services, incident, option, plan, diagnosis)
    if incident.state is IncidentState.OPEN:
        facts = replace(facts, snapshot_failed=False)
    verdict, _ = decide(services.settings.level, option, plan, diagnosis, facts, services.settings.limits)
    return verdict is DecisionVerdict.APPROVE


def execute_rollback(option: RollbackOption, *, confirm: str = "") -> RollbackResult:
    """Approve ``option`` as it is, wait until it is carried out, and return what came of it.

    ``confirm`` repeats what a CRITICAL one loses, in the words of its plan. Raises RefusedError where its effect is
    another by now.
    """
    context = _context()
    decision = context.operator().approve(option.id, option.plan_hash, confirm)
    answer = answered(context, decision)
    rollback = begun_by(context.store, decision.id)
    return RollbackResult(rollback is not None and rollback.state is RollbackState.DONE, answer.text, rollback)


def execute_phase_rollback(phases: RecoveryPlan, *, confirm: str = "") -> RollbackResult:
    """Carry out a recovery plan phase by phase: as `execute_rollback`, bound to exactly this plan.

    Raises UsageError where the plan is not valid or no longer the one of its option.
    """
    problems = validate_recovery_plan(phases).problems
    if problems:
        raise UsageError(f"the plan is not valid: {'; '.join(problems)}")
    option = _context().store.option(phases.option)
    if option is None or option.plan_hash != phases.plan_hash:
        raise UsageError(f"the plan {phases.plan_hash[:12]} is no longer that of {phases.option}")
    return execute_rollback(option, confirm=confirm)


def verify_rollback_success(result: RollbackResult) -> VerificationResult:
    """Look afresh whether all is well: every check on the branch's tip, repository and database."""
    context = _context()
    services = context.services()
    tip = services.repository.tip(services.settings.branch)
    checks = run_checks(services, tip) if tip is not None else ()
    problems = all_problems(services)
    problems += [f"check {check.name} does not pass" for check in checks if check.passed is not True]
    if not result.success:
        problems.append(result.text)
    return VerificationResult(not problems, checks, tuple(problems))


def perform_integrity_check() -> IntegrityCheckResult:
    """Look whether the objects of the branch and the database are whole."""
    problems = all_problems(_context().services())
    return IntegrityCheckResult(not problems, tuple(problems))


def detect_potential_deadlock(requests: Sequence[LockRequest]) -> DeadlockRisk:
    """Say what could come of ``requests`` for locks on top of who holds and waits now, before anything is granted."""
    return deadlock.detect_potential_deadlock(_context().leases, requests)


def prevent_deadlock_formation(plan: Sequence[PlannedAgent]) -> SafePlan:
    """Return ``plan`` in the order of the stages, with its locks in one order and a time for each agent.

    Raises UsageError where it cannot be made safe.
    """
    return stages.prevent_deadlock_formation(plan, _context().settings)


def break_existing_deadlock(agents: Sequence[str]) -> DeadlockBreak:
    """Time out who waits longest in a deadlock that one of ``agents`` is in (none named: in any), and free its locks.

    Raises RefusedError where an agent asks for it: only the engine and operators do it.
    """
    context = _context()
    refuse_agents(context.store, "break a deadlock")
    return deadlock.break_existing_deadlock(context.leases, agents, by=operator_name(), record=context.store.audit)


def ensure_execution_isolation(agent: str, competition: str) -> Isolation:
    """Return where ``agent`` works for ``competition``, whose folder is made. Raises as the one of `core.issues`."""
    context = _context()
    return scopes.ensure_execution_isolation(context.settings, agent, competition, context.top)


def create_issue_atomically(
    title: str, body: str = "", labels: Iterable[str] = (), assignees: Iterable[str] = ()
) -> CreateResult | Queued:
    """Create an Issue, unless an open one of the same title, competition and agent is there.

    Where the tracker cannot be reached it is queued, durably. Raises as `rollcage.core.issues.create` says.
    """
    return sync.create(_context().desk, Draft(title, body, tuple(labels), tuple(assignees)))


def update_issue_with_optimistic_lock(
    number: int | str, updates: Mapping[str, object], expected: str | None = None
) -> UpdateResult | Queued:
    """Write just the fields that ``updates`` names, merged with what others changed since the version ``expected``.

    ``number`` may be the operation of a creation that was queued. Where the tracker cannot be reached it is queued,
    durably. Raises as `rollcage.core.issues.update` says: ConcurrencyConflictError has both versions.
    """
    return sync.update(_context().desk, number, updates, expected)


def batch_operation_atomically(operations: Sequence[Operation | Mapping[str, object]]) -> BatchResult | Queued:
    """Do all ``operations``, each after those that it names, or nothing; mappings have the keys id, op, args, after.

    Where the tracker cannot be reached the batch is queued whole, durably. Raises as `rollcage.core.issues.batch` says.
    """
    return sync.batch(_context().desk, operations)


def set_blockers(number: int, add: Iterable[int] = (), remove: Iterable[int] = ()) -> tuple[int, ...]:
    """Let an Issue wait for those of ``add``, no longer for those of ``remove``; return all that it waits for then.

    Raises as `rollcage.core.issues.blockers` says: UsageError where that would close a circle.
    """
    from .core.issues import blockers

    return blockers.set_blockers(_context().desk, number, add, remove)


def _incident(problem: Problem) -> Incident:
    if isinstance(problem, Incident):
        return problem
    incident = _context().store.incident(problem)
    if incident is None:
        raise UsageError(f"there is no incident {clean(problem)}; rollcage incidents lists them")
    return incident


def _diagnosis(incident: Incident) -> DiagnosisResult:
    return _context().store.diagnosis(incident.id) or diagnose_problem(incident)


def _plan(option: RollbackOption) -> RecoveryPlan:
    plan = _context().store.plan(option.id)
    if plan is None:
        raise UsageError(f"there is no plan for {option.id}")
    return plan
