"""The nouns of rollcage: frozen data, handed from stage to stage and kept in the store.

Times are aware datetimes in UTC, durations seconds, sizes bytes, shares fractions 0..1. All text in here has been
cleaned (`rollcage.core.text`). A path is written as git shows it: UTF-8, C-quoted where it is no clean UTF-8.
The field names are those of the JSON that scripts read; change one and you change an interface.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

EVERYBODY = ""
"""The agent of a signal, finding or incident that belongs to no single agent."""


class SignalKind(StrEnum):
    """What an observation is."""

    METRIC = "metric"
    LOG = "log"
    STEP = "step"
    STATE = "state"
    ERROR = "error"
    TEST = "test"
    DATA = "data"
    MESSAGE = "message"
    COMMIT = "commit"
    HANDOVER = "handover"


@dataclass(frozen=True, slots=True)
class Signal:
    """One observation: who, when, what, with a number or a text."""

    at: datetime
    agent: str
    kind: SignalKind
    name: str
    value: float | None = None
    text: str | None = None
    unit: str | None = None
    attrs: Mapping[str, object] = field(default_factory=dict)
    seq: int = 0
    """Its place in the inbox; 0 until it has one."""


class Severity(StrEnum):
    """How bad a finding or incident is; CRITICAL is an emergency."""

    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that fired for one agent, with the signals that made it fire."""

    at: datetime
    rule: str
    agent: str
    severity: Severity
    summary: str
    """One line for people: ``memory_usage 7.2 GB, over 7 GB for 30 s``."""
    fingerprint: str
    """What makes two findings the same problem: the rule and its subject, without numbers: ``check:tests``."""
    since: datetime
    """When the trouble began, as far as this rule can tell."""
    value: float | None = None
    signals: tuple[Signal, ...] = ()
    """The last few that made it fire, oldest first; at most 10."""
    ended: bool = False
    """True: the rule reports that the trouble is over (the same fingerprint as when it began)."""


class IncidentState(StrEnum):
    """How far an incident is."""

    OPEN = "open"
    """Being made safe or diagnosed."""
    WAITING = "waiting"
    """Options are rehearsed; a human must decide."""
    ROLLING_BACK = "rolling_back"
    RECOVERED = "recovered"
    UNDONE = "undone"
    """A rollback failed and everything it did was undone."""
    FAILED = "failed"
    """A rollback failed and could not be undone wholly."""
    ESCALATED = "escalated"
    REJECTED = "rejected"
    CLEARED = "cleared"
    """The trouble went by itself before anything was done."""


ENDED_STATES = frozenset(
    {
        IncidentState.RECOVERED,
        IncidentState.UNDONE,
        IncidentState.FAILED,
        IncidentState.ESCALATED,
        IncidentState.REJECTED,
        IncidentState.CLEARED,
    }
)


@dataclass(frozen=True, slots=True)
class Incident:
    """Findings that belong together: the unit of "the same problem"."""

    id: str
    agent: str
    fingerprint: str
    severity: Severity
    title: str
    state: IncidentState
    opened: datetime
    since: datetime
    findings: tuple[Finding, ...]
    closed: datetime | None = None
    note: str = ""
    """Why it is in this state, for people."""


class Verdict(StrEnum):
    """What a diagnosis advises."""

    ACT = "act"
    ASK = "ask"
    CANNOT_TELL = "cannot_tell"


@dataclass(frozen=True, slots=True)
class Suspect:
    """A commit that may have done it."""

    sha: str
    agent: str | None
    probability: float
    evidence: tuple[str, ...]
    summary: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Reach:
    """How far the damage reaches."""

    files: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    handovers: tuple[str, ...] = ()
    """Unfinished hand-overs of the agents in question, a line each."""
    locks: tuple[str, ...] = ()
    """Leases that those agents hold."""


@dataclass(frozen=True, slots=True)
class CheckRuns:
    """How many times checks were run, by purpose."""

    search: int = 0
    confirm: int = 0
    rehearse: int = 0


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What happened, who did it, and how sure we are."""

    incident: str
    verdict: Verdict
    onset: datetime | None
    last_good: str | None
    culprits: tuple[Suspect, ...]
    suspects: tuple[Suspect, ...]
    agents: tuple[str, ...]
    reach: Reach
    root_cause: str
    confidence: float
    check_runs: CheckRuns
    duration_s: float
    head: str = ""
    """The commit that the branch was at when this was found out."""
    reasons: tuple[str, ...] = ()
    """Why the verdict is not *act*, for people."""


class OptionType(StrEnum):
    """The ways back."""

    SINGLE_COMMIT = "SINGLE_COMMIT"
    FILE_SELECTIVE = "FILE_SELECTIVE"
    BRANCH_RESET = "BRANCH_RESET"
    FULL_AGENT_RESET = "FULL_AGENT_RESET"
    RESTART_ONLY = "RESTART_ONLY"


class RiskLevel(StrEnum):
    """0-2 LOW, 3-5 MEDIUM, 6-8 HIGH, 9-10 CRITICAL."""

    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"


@dataclass(frozen=True, slots=True)
class RiskFactor:
    """One line of the risk table: what was found, its points, and why it counts."""

    name: str
    value: str
    points: int
    why: str


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """A check on one exact tree: passed, failed, or ``None`` for neither (flaky, not run, cannot be believed)."""

    name: str
    passed: bool | None
    runs: int
    duration_s: float
    failing: tuple[str, ...] = ()
    """The failing tests by JUnit name; empty where the check writes no JUnit XML."""
    detail: str = ""
    """The last lines of its output, or why it has no verdict; cleaned, at most 2,000 characters."""
    unseen: tuple[str, ...] = ()
    """Of the tests that were to be seen, those that did not pass in each run: they failed, or were not there."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What an option would do, tried on objects and in a scratch tree before any ref moves."""

    applies: bool
    tree: str | None
    conflicts: tuple[str, ...]
    lost_lines: int
    lost_commits: tuple[str, ...]
    checks: tuple[CheckOutcome, ...]
    proven: bool = False
    """The tests that failed were seen to pass, or went with all that they came with: the fault is not only hidden."""
    other_tests: tuple[CheckOutcome, ...] = ()
    """Of the checks with other tests put onto the tree: the present ones, the last good ones; their names say which."""
    known_flaky: tuple[str, ...] = ()
    """Checks without a verdict whose failing tests are flaky at the head too, while those that failed there pass."""


@dataclass(frozen=True, slots=True)
class RollbackOption:
    """A candidate way back, rehearsed."""

    id: str
    incident: str
    rank: int
    type: OptionType
    target_commits: tuple[str, ...]
    affected_files: tuple[str, ...]
    estimated_recovery_time: float
    risk_level: RiskLevel
    risk_points: int
    risk_factors: tuple[RiskFactor, ...]
    side_effects: tuple[str, ...]
    required_validation: tuple[str, ...]
    plan_hash: str
    rehearsal: Rehearsal


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One step of a recovery plan: what it does, what shows that it worked, and how it is undone."""

    phase: int
    """1 make safe, 2 analyse and plan, 3 roll back, 4 verify and resume."""
    name: str
    """A name of `rollcage.core.execute.steps`, such as ``stop_agent``."""
    does: str
    check: str
    undo: str
    subject: str = ""
    """The agent, file or check that it is about."""


@dataclass(frozen=True, slots=True)
class RecoveryPlan:
    """An option made executable. ``plan_hash`` covers its effect only: unrelated commits do not void an approval."""

    option: str
    incident: str
    type: OptionType
    agent: str
    branch: str
    head: str
    """The commit that it was rehearsed on."""
    tree: str | None
    """The exact tree that it produces; ``None``: no code is changed."""
    targets: tuple[str, ...]
    message: str
    """The commit message."""
    steps: tuple[PlanStep, ...]
    plan_hash: str
    diff: str = ""
    """The reverse patch as text for people: cleaned, at most 100,000 characters."""
    database: str = "nothing"
    """What happens to the database, for people: ``nothing``, ``restored to …``, or ``no way back: …``."""
    loses: str = ""
    """What would be lost, in the words that a CRITICAL approval must repeat; empty: nothing."""
    parts: tuple[str, ...] = ()
    """FILE_SELECTIVE: the parts of the targets' change that go, as `rollcage.core.gitrepo.parts` names them."""
    keeps: tuple[str, ...] = ()
    """BRANCH_RESET: the commits of others that are made again on top, oldest first."""
    rewrite: bool = False
    """BRANCH_RESET: the ref moves back to the last good commit, and no new commit is made."""


class DecisionVerdict(StrEnum):
    """What was decided about an option."""

    APPROVE = "approve"
    EDIT = "edit"
    REJECT = "reject"
    ESCALATE = "escalate"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Decision:
    """Who decided what about which plan. ``taken`` turns true once the engine has acted on it."""

    id: int
    at: datetime
    incident: str
    option: str
    """The option; or another wish: ``undo:rb-7``, ``redo:rb-7``, ``stop:AGENT``, ``pause:AGENT``, ``resume:AGENT``."""
    plan_hash: str
    verdict: DecisionVerdict
    by: str
    """``engine``, or the operator as ``user@host``."""
    reason: str = ""
    """A code where the engine refused to act alone (`rollcage.core.decide`), else the operator's words."""
    taken: bool = False


class RollbackState(StrEnum):
    """How far a rollback is."""

    RUNNING = "running"
    DONE = "done"
    """Carried out and verified."""
    UNVERIFIED = "unverified"
    """Carried out, not verified, and kept: ``on_unverified: keep``, or taking it back would mend nothing."""
    UNDONE = "undone"
    FAILED = "failed"
    """It could not be undone wholly; the note says what stands where."""


class StepState(StrEnum):
    """How far a journaled step is. DOING is written before it is done: after a crash the world must be asked."""

    PENDING = "pending"
    DOING = "doing"
    DONE = "done"
    FAILED = "failed"
    UNDONE = "undone"


@dataclass(frozen=True, slots=True)
class Step:
    """A journaled step of a rollback."""

    rollback: str
    number: int
    """From 1, in the order of execution."""
    phase: int
    name: str
    subject: str
    state: StepState
    started: datetime | None = None
    ended: datetime | None = None
    data: Mapping[str, object] = field(default_factory=dict)
    """What it needs to be recognised as done, resumed and undone; written before it acts."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Rollback:
    """A plan being carried out, or carried out. Its steps are in the journal."""

    id: str
    incident: str
    option: str
    plan_hash: str
    kind: str
    """``rollback``, ``undo`` or ``redo``."""
    state: RollbackState
    approved_by: str
    started: datetime
    head_before: str
    head_after: str = ""
    ended: datetime | None = None
    of: str = ""
    """The rollback that an undo or redo turns round."""
    snapshot: str = ""
    """The fresh snapshot, to which undo goes back."""
    standby_s: float = 0.0
    note: str = ""


class AgentState(StrEnum):
    """The lifecycle of an agent; `rollcage.core.fleet.lifecycle` has the transitions."""

    IDLE = "idle"
    STARTING = "starting"
    RUNNING = "running"
    COMPLETED = "completed"
    ERROR = "error"
    TIMEOUT = "timeout"


class Hold(StrEnum):
    """What keeps an agent from working, beside its state."""

    NONE = "none"
    WAITING = "waiting"
    STANDBY = "standby"
    PAUSED = "paused"
    STOPPED = "stopped"


class Health(StrEnum):
    """How an agent or the whole is."""

    HEALTHY = "HEALTHY"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """An agent as it is now: what settings say, what its supervisor reports, what was measured."""

    name: str
    state: AgentState
    hold: Hold
    health: Health
    stage: str = ""
    kind: str = ""
    competition: str = ""
    since: datetime | None = None
    """Of the state."""
    seen: datetime | None = None
    """Of the newest signal."""
    pid: int | None = None
    """Of the agent's own process, below its supervisor."""
    cpu: float | None = None
    """Share of one core, over the whole process tree."""
    memory: float | None = None
    """RSS of the whole process tree, bytes."""
    descriptors: int | None = None
    error_rate: float | None = None
    depends_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SystemHealthReport:
    """The answer of ``rollcage health``."""

    timestamp: datetime
    overall_status: Health
    agent_statuses: tuple[AgentStatus, ...]
    performance_metrics: Mapping[str, float]
    quality_metrics: Mapping[str, float]
    recommendations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A complete state that was kept: ``rollcage snapshots`` lists them."""

    id: str
    """``snap-20261120T140210Z``; ``-2`` and so on behind it within one second."""
    at: datetime
    why: str
    head: str
    path: str
    """Its folder: manifest, checksums, database."""
    size: int
    worktrees: tuple[str, ...]
    databases: tuple[str, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Database and file trees as they were at a good commit: the way back of data."""

    id: str
    """``chk-20261120T140210Z``; ``-2`` and so on behind it within one second."""
    at: datetime
    sha: str
    """The good commit."""
    path: str
    """Its folder: manifest, and references to contents that checkpoints share."""
    size: int
    """Bytes that it alone needs."""
    databases: tuple[str, ...]
    files: tuple[str, ...]
    """The configured trees that it holds."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit as history shows it; ``agent`` by the rules of CLI.md, ``None`` where it is nobody's."""

    sha: str
    parents: tuple[str, ...]
    author: str
    """``Name <email>``."""
    at: datetime
    """Committer time."""
    summary: str
    agent: str | None = None
    files: tuple[str, ...] = ()
    lines: int = 0
    """Added plus deleted."""
    opted_out: bool = False
    """It carries the trailer ``Rollcage: keep``."""
    trailers: tuple[tuple[str, str], ...] = ()
    """Those that say whose it is and whether it stays, as (key, value): Agent, Co-Authored-By, Rollcage."""


@dataclass(frozen=True, slots=True)
class Event:
    """A line of ``--auto --json``; ``body`` leaves out v, seq, at and event."""

    seq: int
    at: datetime
    event: str
    body: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Waiter:
    """Who waits for a lock."""

    holder: str
    since: datetime
    session: str = ""
    """The line of work that waits; empty: not known."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A lock that somebody holds, for now; of a semaphore there are several of one name."""

    name: str
    holder: str
    token: int
    expires_in_s: float
    since: datetime
    waiters: tuple[Waiter, ...] = ()
    """For the name, in turn."""
    session: str = ""
    permits: int = 1
    """That the name has."""
    slots: int = 1
    """That this one takes of them."""
