"""The policy: may rollcage carry this out alone, or must a human decide? Pure, and in a fixed order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .config import Level, LimitSettings
from .model import (
    DecisionVerdict,
    Diagnosis,
    OptionType,
    RecoveryPlan,
    Rehearsal,
    RiskLevel,
    RollbackOption,
    Verdict,
)

REASONS: Mapping[str, str] = {
    "paused_by_kill_switch": "the kill switch is on: nothing is done without a human",
    "level_watch": "level watch: rollcage only looks",
    "same_problem": "the same problem was rolled back too often in a row: its root cause needs work by hand",
    "snapshot_failed": "the emergency snapshot could not be taken, so there would be no way back",
    "level_propose": "level propose: a human decides",
    "checks_not_believed": "the checks cannot be believed: see its canary in rollcage doctor",
    "cannot_tell": "it cannot be told what did it, so nothing is taken back",
    "opt_out": "the commit asks to be kept (Rollcage: keep), so a human decides",
    "undone_before": "an operator brought this change back once, so a human decides",
    "verdict_ask": "the evidence is not enough to act alone",
    "not_confirmed": "it does not take back just what was confirmed, each culprit against its parent",
    "history_rewritten": "it moves the branch back instead of forward, which only a human may decide",
    "does_not_apply": "it does not apply cleanly to the branch",
    "no_check_passed": "no check passed on the result in rehearsal",
    "not_proven": "the tests that failed were not seen to pass without it, so the fault may only be hidden",
    "no_way_back": "the data has no way back to before the damage",
    "moved": "the branch or the plan's effect changed since it was rehearsed",
    "edited": "it was edited since it was looked at",
    "overlap": "uncommitted edits of somebody stand in the way",
    "operation_in_progress": "somebody is amid a rebase, merge or the like of the branch",
    "index_locked": "another git process holds the index of a working tree of the branch",
    "not_writable": "files of a working tree of the branch cannot be written",
    "needed_later": "a later change needs what would go",
    "culprit_age": "the culprit is much older than the branch's newest commit",
    "too_many_proposals": "there were too many proposals in the last 24 h",
    "too_many_unattended": "there were too many rollbacks without a human in the last 24 h",
    "risk_high": "the risk is too high to act alone",
}
"""Why the engine does not act alone, by the code in the audit log, as one sentence for people."""

_ALONE = frozenset({RiskLevel.LOW, RiskLevel.MEDIUM})


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFacts:
    """What else the policy looks at. All of it must be given: what was forgotten must not read as fine."""

    kill_switch: bool
    snapshot_failed: bool
    same_problem: int
    """How often the same problem was rolled back in a row before."""
    proposals: int
    """Incidents for which options were proposed in the last 24 h, this one included."""
    unattended: int
    """Rollbacks that the engine approved itself in the last 24 h."""
    checks_believed: bool
    """The canary of every check that has a say; True where none has."""
    confirmed: bool
    """Each culprit failed and its parent passed, both afresh; it takes back all of them, and nothing that is more."""
    opted_out: bool
    undone_before: bool
    """The change came back by an undo of rollcage's own."""
    culprit_age: float
    """Seconds from the oldest target to the branch's newest commit."""
    moved: bool
    overlap: bool
    """An uncommitted edit of somebody conflicts with the rehearsed tree."""
    obstacle: str
    """Why the branch could not be moved now, where that is not an overlap: a code of `REASONS`; empty: it could."""
    needed_later: bool
    """A later change needs what would go: taking it back conflicts with it, or breaks its checks."""


def decide(
    level: Level,
    option: RollbackOption,
    plan: RecoveryPlan,
    diagnosis: Diagnosis,
    facts: PolicyFacts,
    limits: LimitSettings,
) -> tuple[DecisionVerdict, str]:
    """Return *approve* with an empty code, or *wait* or *escalate* with the first reason of `refusals`."""
    code = next(refusals(level, option, plan, diagnosis, facts, limits), "")
    if not code:
        return DecisionVerdict.APPROVE, ""
    return (DecisionVerdict.ESCALATE if code == "same_problem" else DecisionVerdict.WAIT), code


def refusals(
    level: Level,
    option: RollbackOption,
    plan: RecoveryPlan,
    diagnosis: Diagnosis,
    facts: PolicyFacts,
    limits: LimitSettings,
) -> Iterator[str]:
    """Yield the code of every reason not to act alone, in the order of `REASONS`: the most fundamental first.

    Those that are about code do not concern a restart.
    """
    code = option.type is not OptionType.RESTART_ONLY
    checks = option.rehearsal.checks
    reasons = {
        "paused_by_kill_switch": facts.kill_switch,
        "level_watch": level is Level.WATCH,
        "same_problem": facts.same_problem >= limits.same_problem,
        "snapshot_failed": facts.snapshot_failed,
        "level_propose": level is not Level.AUTO,
        "checks_not_believed": code and not facts.checks_believed,
        "cannot_tell": diagnosis.verdict is Verdict.CANNOT_TELL,
        "opt_out": code and facts.opted_out,
        "undone_before": code and facts.undone_before,
        "verdict_ask": diagnosis.verdict is not Verdict.ACT,
        "not_confirmed": code and not facts.confirmed,
        "history_rewritten": plan.rewrite,
        "does_not_apply": not option.rehearsal.applies,
        "no_check_passed": any(check.passed is False for check in checks)
        or (code and not _all_passed(option.rehearsal)),
        "not_proven": code and (not option.rehearsal.proven or _hides(option)),
        "no_way_back": code and plan.database.startswith("no way back"),
        "moved": facts.moved or plan.plan_hash != option.plan_hash,
        "edited": False,  # only an operator's approval can be overtaken by an edit
        "overlap": code and facts.overlap,
        "operation_in_progress": code and facts.obstacle == "operation_in_progress",
        "index_locked": code and facts.obstacle == "index_locked",
        "not_writable": code and facts.obstacle == "not_writable",
        "needed_later": code and facts.needed_later,
        "culprit_age": code and facts.culprit_age > limits.culprit_age,
        "too_many_proposals": facts.proposals > limits.proposals,
        "too_many_unattended": facts.unattended >= limits.unattended,
        "risk_high": option.risk_level not in _ALONE,
    }
    return (name for name in REASONS if reasons[name])


def _hides(option: RollbackOption) -> bool:
    """Return whether it takes back parts, and a test that failed is not there any more: whatever was said of it."""
    parts = option.type is OptionType.FILE_SELECTIVE
    return parts and any(check.unseen for check in option.rehearsal.checks)


def _all_passed(rehearsal: Rehearsal) -> bool:
    """Return whether every check passed, but for tests that are as flaky without the change."""
    known = {*(rehearsal.known_flaky if rehearsal.proven else ())}
    return bool(rehearsal.checks) and all(
        check.passed is True or (check.passed is None and check.name in known) for check in rehearsal.checks
    )
