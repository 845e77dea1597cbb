"""Nouns in full, as lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..core.progress import in_words
from .output import moment

if TYPE_CHECKING:
    from ..core.model import CheckOutcome, Diagnosis, Incident, RecoveryPlan, Rollback, RollbackOption, Suspect
    from ..core.store.store import Store


SUSPECTS = 5
"""How many of those that are no culprits are shown."""
MOST = 20
"""So many parts or commits of an option are named."""


def fields(body: Mapping[str, object]) -> Iterator[str]:
    """Yield a line for each key."""
    for key, value in body.items():
        shown = ", ".join(str(item) for item in value) if isinstance(value, list) else value
        yield f"{key}: {'' if shown is None else shown}"


def incident_lines(store: Store, incident: Incident) -> Iterator[str]:
    """Yield an incident with its findings, diagnosis, options and decisions."""
    yield f"{incident.id}  {incident.severity}  {incident.state}  {incident.title}"
    yield f"agent: {incident.agent or 'nobody in particular'}"
    yield f"since: {moment(incident.since)}   opened: {moment(incident.opened)}   closed: {moment(incident.closed)}"
    if incident.note:
        yield f"note: {incident.note}"
    for finding in incident.findings:
        yield f"finding: {moment(finding.at)}  {finding.severity}  {finding.rule}  {finding.agent}  {finding.summary}"
        for signal in finding.signals:
            output = signal.attrs.get("output")
            yield from (f"  | {line}" for line in (output if isinstance(output, (list, tuple)) else ()))
    diagnosis = store.diagnosis(incident.id)
    if diagnosis is not None:
        yield from diagnosis_lines(diagnosis)
    for option, plan in store.options(incident.id):
        yield (
            f"option {option.rank}: {option.id}  {option.type}  {option.risk_level} {option.risk_points}/10  "
            f"{'applies' if option.rehearsal.applies else 'does not apply'}  plan {plan.plan_hash[:12]}"
        )
    for decision in map(in_words, store.decisions(incident=incident.id)):
        subject = f"{moment(decision.at)}  {decision.option}"
        yield f"decision: {subject}  {decision.verdict} by {decision.by}  {decision.reason}"


def diagnosis_lines(diagnosis: Diagnosis) -> Iterator[str]:
    """Yield a diagnosis with its evidence."""
    yield f"diagnosis: {diagnosis.verdict}, confidence {diagnosis.confidence:.2f}: {diagnosis.root_cause}"
    for reason in diagnosis.reasons:
        yield f"  because: {reason}"
    if diagnosis.onset:
        yield f"  onset: {moment(diagnosis.onset)}"
    if diagnosis.last_good:
        yield f"  last good: {diagnosis.last_good[:12]}"
    for suspect in diagnosis.culprits:
        yield from _suspect_lines("culprit", suspect)
    culprits = {suspect.sha for suspect in diagnosis.culprits}
    others = [suspect for suspect in diagnosis.suspects if suspect.sha not in culprits]
    for suspect in others[:SUSPECTS]:
        yield from _suspect_lines("suspect", suspect)
    if len(others) > SUSPECTS:
        yield f"  and {len(others) - SUSPECTS} likelier to be innocent; --json lists all"
    reach = diagnosis.reach
    for name, values in (
        ("files", reach.files),
        ("agents", reach.agents),
        ("tables", reach.tables),
        ("unfinished hand-overs", reach.handovers),
        ("locks", reach.locks),
    ):
        if values:
            yield f"  reaches {name}: {', '.join(values)}"
    runs = diagnosis.check_runs
    yield f"  check runs: search {runs.search}, confirm {runs.confirm}, rehearse {runs.rehearse}"
    yield f"  took: {diagnosis.duration_s:.1f} s"


def _suspect_lines(word: str, suspect: Suspect) -> Iterator[str]:
    who = suspect.agent or "no agent"
    yield f"  {word}: {suspect.sha[:12]}  {suspect.probability:.2f}  {who}  {suspect.summary}"
    for evidence in suspect.evidence:
        yield f"    {evidence}"


def option_lines(
    option: RollbackOption, plan: RecoveryPlan, beside: Sequence[tuple[RollbackOption, RecoveryPlan]] = ()
) -> Iterator[str]:
    """Yield what an option does, what it would cost, and how it is approved; ``beside``: all of its incident."""
    from ..core.board import OptionView
    from ..widgets.effects import option_facts

    risk = f"risk {option.risk_level} {option.risk_points}/10"
    yield f"{option.id}  {option.type}  {risk}  about {option.estimated_recovery_time:.0f} s"
    yield f"takes back: {', '.join(sha[:12] for sha in option.target_commits) or 'no commit'}"
    yield f"files: {', '.join(option.affected_files) or 'none'}"
    rehearsal = option.rehearsal
    yield f"rehearsal: {'applies' if rehearsal.applies else 'refused'}"
    for check in rehearsal.checks:
        yield f"  check {check.name}: {_outcome(check)}"
    label = ""
    for fact in option_facts(OptionView(option, plan), [OptionView(*pair) for pair in beside], most=MOST):
        label = fact.label or label
        yield f"{label}: {fact.text}"
    yield f"lost lines: {rehearsal.lost_lines}"
    for factor in option.risk_factors:
        yield f"  {factor.points:+d}  {factor.name}: {factor.value}  ({factor.why})"
    for number, step in enumerate(plan.steps, 1):
        yield f"  {step.phase}.{number}  {step.does}; seen by: {step.check}; undone by: {step.undo}"
    if not rehearsal.applies:
        return
    confirm = f" --confirm '{plan.loses}'" if option.risk_level == "CRITICAL" else ""
    yield f"approve: rollcage approve {option.id} --plan {plan.plan_hash[:12]}{confirm}"


def _outcome(check: CheckOutcome) -> str:
    verdict = {True: "passed", False: "failed", None: "no verdict"}[check.passed]
    return f"{verdict} ({check.runs} run{'' if check.runs == 1 else 's'}, {check.duration_s:.1f} s)"


def rollback_lines(store: Store, rollback: Rollback) -> Iterator[str]:
    """Yield a rollback with its journaled steps."""
    what = f"{rollback.kind} {rollback.of or rollback.option}"
    from ..widgets.remarks import remarks

    yield f"{rollback.id}  {what}  {rollback.state}  by {rollback.approved_by}"
    yield f"incident: {rollback.incident}   plan: {rollback.plan_hash[:12]}   snapshot: {rollback.snapshot}"
    yield f"started: {moment(rollback.started)}   ended: {moment(rollback.ended)}"
    yield f"branch: {rollback.head_before[:12]} → {rollback.head_after[:12] or 'unmoved'}"
    yield f"others stood by: {rollback.standby_s:.1f} s"
    if rollback.note:
        yield f"note: {rollback.note}"
    for step in store.steps(rollback.id):
        took = f"{(step.ended - step.started).total_seconds():.1f} s" if step.started and step.ended else ""
        yield f"  {step.phase}.{step.number}  {step.state:<8} {step.name} {step.subject}  {took}".rstrip()
        for remark in remarks(step):
            yield f"       {remark}"
