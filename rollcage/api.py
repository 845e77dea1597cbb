"""The public Python API: the functions of the specification, by their names there, synchronous.

They work on the repository of the current folder with its trusted settings, as the command line does; `use` names
another. What runs in here runs in the caller's process; what would change the repository is written as a decision and
carried out by the engine that leads, in this process where none does. All raise `rollcage.core.errors.RollcageError`
with one clear line.

    from rollcage import api

    api.use("/srv/shop")
    report = api.check_system_health()
    for option in api.generate_rollback_options("inc-12"):
        if api.should_auto_execute(option):
            api.execute_rollback(option)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .console.auto import answered
from .console.context import Context
from .core.coordination.leader import Leader
from .core.detect.rules import Rule, rules
from .core.diagnose.diagnose import diagnose
from .core.engine import Engine
from .core.errors import LeaseError, UsageError
from .core.execute.verify import integrity_problems, run_checks
from .core.model import (
    CheckOutcome,
    DecisionVerdict,
    Incident,
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
from .core.policy_facts import policy_verdict
from .core.status import health_report
from .core.text import clean

__all__ = [
    "Alert",
    "DiagnosisResult",
    "IntegrityCheckResult",
    "MonitoringConfig",
    "RiskAssessment",
    "RollbackResult",
    "RootCauseAnalysis",
    "SystemHealthReport",
    "ValidationResult",
    "VerificationResult",
    "assess_rollback_risk",
    "check_system_health",
    "create_recovery_plan",
    "diagnose_problem",
    "execute_phase_rollback",
    "execute_rollback",
    "generate_alert",
    "generate_rollback_options",
    "identify_root_cause",
    "monitoring_config",
    "notify_human_operator",
    "perform_integrity_check",
    "should_auto_execute",
    "start_continuous_monitoring",
    "use",
    "validate_recovery_plan",
    "verify_rollback_success",
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


_current: list[Context] = []


def use(directory: str | Path = ".", config: str | Path | None = None) -> None:
    """Work on the repository that ``directory`` lies in from now on, with its own settings or those of ``config``."""
    while _current:
        _current.pop().close()
    _current.append(Context(Path(directory), Path(config) if config is not None else None))


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


@contextmanager
def start_continuous_monitoring() -> Iterator[Engine]:
    """Within, an engine watches and responds in threads of its own; at the end a rollback in progress is finished.

    Raises LeaseError where another engine leads this repository.
    """
    context = _context()
    leader = Leader(context.repository.common_dir, context.leases)
    if not leader.try_lead():
        raise LeaseError(f"another engine leads this repository: {leader.holder()}")
    try:
        engine = Engine(context.services(), leader)
        engine.start()
        try:
            yield engine
        finally:
            engine.stop()
            engine.join()
    finally:
        leader.resign()


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
    """Find out now what happened, with the checks; changes nothing. Raises UsageError for an unknown incident."""
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
    """Return whether the engine would carry ``option`` out by itself at the level of the settings."""
    context = _context()
    incident = _incident(option.incident)
    services = context.services()
    verdict, _ = policy_verdict(
        services, services.settings.level, incident, option, _plan(option), _diagnosis(incident)
    )
    return verdict is DecisionVerdict.APPROVE


def execute_rollback(option: RollbackOption, *, confirm: str = "") -> RollbackResult:
    """Approve ``option`` as it is, wait until it is carried out, and return what came of it.

    ``confirm`` repeats what a CRITICAL one loses, in the words of its plan. Raises RefusedError where its effect is
    another by now.
    """
    context = _context()
    decision = context.operator().approve(option.id, option.plan_hash, confirm)
    answer = answered(context, decision)
    newest = next((entry for entry in context.store.rollbacks() if entry.option == option.id), None)
    if newest is not None and newest.started < decision.at:
        newest = None
    return RollbackResult(newest is not None and newest.state is RollbackState.DONE, answer.text, newest)


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
    problems = integrity_problems(services)
    problems += [f"check {check.name} does not pass" for check in checks if check.passed is not True]
    if not result.success:
        problems.append(result.text)
    return VerificationResult(not problems, checks, tuple(problems))


def perform_integrity_check() -> IntegrityCheckResult:
    """Look whether the objects of the branch and the database are whole."""
    problems = integrity_problems(_context().services())
    return IntegrityCheckResult(not problems, tuple(problems))


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
