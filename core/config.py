"""``rollcage.yml`` as typed settings. Durations are seconds, sizes bytes, shares fractions; the file may use units."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Level(StrEnum):
    """How much rollcage may do by itself."""

    WATCH = "watch"
    PROPOSE = "propose"
    AUTO = "auto"


class Section(BaseModel):
    """Frozen; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class CheckSettings(Section):
    """How one knows that the code works."""

    name: str
    run: tuple[str, ...]
    timeout: float = 600.0
    retries: int = 2
    junit: str | None = None
    cwd: str = "."
    env: dict[str, str] = Field(default_factory=dict)
    setup: tuple[str, ...] | None = None
    link: tuple[str, ...] = ()


class CommitSettings(Section):
    """By which trailer and author an agent's commits are known."""

    trailer: str | None = None
    author: str | None = None


class AgentSettings(Section):
    """One agent of the fleet."""

    kind: str = ""
    stage: str = ""
    competition: str = ""
    commits: CommitSettings = CommitSettings()
    run: tuple[str, ...] | None = None
    start: Literal["manual", "engine"] = "manual"
    restart: bool = True
    depends_on: tuple[str, ...] = ()
    match: str | None = None


class RuleSettings(Section):
    """A metric's bands. Between ``normal`` and ``warning`` a value is *raised*: shown, no finding."""

    metric: str | None = None
    direction: Literal["above", "below"] | None = None
    normal: float | None = None
    warning: float | None = None
    critical: float | None = None
    for_: float | None = Field(default=None, alias="for")
    unit: str | None = None
    severity: Literal["warning", "critical"] | None = None
    alert: str | None = None
    enabled: bool = True


class LimitSettings(Section):
    """Where rollcage stops acting alone."""

    same_problem: int = 3
    proposals: int = 10
    unattended: int = 4
    culprit_age: float = 86_400.0
    lookback: int = 200
    check_time: float = 1_800.0
    parallel_checks: int = 2


class DatabaseCheck(Section):
    """A query whose answer shows damage: a scalar counts ``|value - expect|``, rows count their number."""

    name: str
    sql: str
    expect: float = 0


class DatabaseSettings(Section):
    """The database that goes back in step with the code."""

    url: str
    checks: tuple[DatabaseCheck, ...] = ()
    every: float = 300.0
    down: tuple[str, ...] | None = None
    row_capture: tuple[str, ...] = ()


class RetentionSettings(Section):
    """How long things are kept."""

    snapshots: float = 30 * 86_400.0
    size: int = 10 * 10**9
    signals: float = 30 * 86_400.0


class TrackerSettings(Section):
    """Where Issues live."""

    kind: Literal["local", "github"] = "local"
    repo: str | None = None
    token_env: str = "GITHUB_TOKEN"  # noqa: S105 - the name of a variable, not a token
    base_url: str | None = None


class CoordinationSettings(Section):
    """Where leases live."""

    kind: Literal["embedded", "redis"] = "embedded"
    url: str | None = None


class OperatorSettings(Section):
    """Who may approve."""

    name: str
    user: str | None = None
    role: Literal["viewer", "approver"] = "approver"
    ssh_key: str | None = None


class ConsoleSettings(Section):
    """How the console looks and is driven."""

    theme: str | None = None
    mouse: bool | None = None
    keymap: dict[str, str] = Field(default_factory=dict)
    quiet_hours: str | None = None


class Settings(Section):
    """The whole of ``rollcage.yml``."""

    version: Literal[1] = 1
    branch: str = "main"
    level: Level = Level.PROPOSE
    on_critical: Literal["stop", "pause", "notify"] | None = None
    on_unverified: Literal["undo", "keep"] = "undo"
    push: Literal["ask", "auto", "never"] = "ask"
    state_dir: str | None = None
    checks: tuple[CheckSettings, ...] = ()
    agents: dict[str, AgentSettings] = Field(default_factory=dict)
    rules: dict[str, RuleSettings] = Field(default_factory=dict)
    stages: dict[str, float] = Field(
        default_factory=lambda: {
            "planner": 1800.0,
            "analyzer": 7200.0,
            "executor": 14400.0,
            "monitor": 28800.0,
            "retrospective": 3600.0,
        }
    )
    limits: LimitSettings = LimitSettings()
    database: DatabaseSettings | None = None
    files: tuple[str, ...] = ()
    retention: RetentionSettings = RetentionSettings()
    tracker: TrackerSettings = TrackerSettings()
    coordination: CoordinationSettings = CoordinationSettings()
    competitions: dict[str, dict[str, Any]] = Field(default_factory=dict)
    workflows: tuple[str, ...] = ()
    operators: tuple[OperatorSettings, ...] = ()
    notify: tuple[str, ...] = ()
    console: ConsoleSettings = ConsoleSettings()
