"""``rollcage.yml`` as typed settings. Durations are seconds, sizes bytes, shares fractions; the file may use units.

A field's description is its documentation: `rollcage.core.settings_template` writes it into the file that
``rollcage init`` makes. Reading a file, with its line numbers, is `rollcage.core.settings_file`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from . import units


class Level(StrEnum):
    """How much rollcage may do by itself."""

    WATCH = "watch"
    PROPOSE = "propose"
    AUTO = "auto"


def split_command(value: object) -> object:
    """Split a command as a shell splits words; what only a shell understands is an error, not an argument."""
    words = value
    if isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError as error:
            raise ValueError(f"has {str(error).lower()}; allowed: words as in a shell, or a list of words") from None
        # shlex without its operators gives "a&&b" as one word, as "a; b" gives "a;": both are a shell's business.
        if operators := _OPERATOR.findall(_QUOTED.sub("", value)):
            raise ValueError(
                f"has '{operators[0]}', which needs a shell and there is none; "
                'allowed: one command, or ["sh", "-c", "..."] as a list'
            )
        if words and _ASSIGNMENT.match(words[0]):
            raise ValueError(f"begins with '{words[0]}'; allowed: one command, its variables under env:")
    if isinstance(words, (list, tuple)) and (not words or words[0] == ""):
        raise ValueError("names no command; allowed: a command and its arguments")
    return words


_QUOTED = re.compile(r"\\.|'[^']*'|\"(?:\\.|[^\"\\])*\"", re.DOTALL)
_OPERATOR = re.compile(r"&&|\|\||[|&;<>]|\$\(|`")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=", re.ASCII)


def _inside(path: str) -> str:
    """Refuse a path that leaves the repository, by its letters alone: links in it are followed where it is used."""
    parts = PurePosixPath(path).parts
    if not path or path.startswith(("/", "~")) or ".." in parts or "\\" in path or "\0" in path:
        raise ValueError("leaves the repository; allowed: a path below its top, without '..', such as data/models")
    if parts[:1] == (".git",):
        raise ValueError("lies in git's own folder; allowed: a path below the top of the repository")
    return path


def _below(path: str) -> str:
    if not PurePosixPath(_inside(path)).parts:
        raise ValueError("is the whole repository; allowed: a path below its top, such as data/models")
    return path


NAME = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9_.][A-Za-z0-9_.-]{0,63}")
"""What agents, competitions and checks may be called: harmless as a folder, an argument and a label."""


def _name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ValueError("is no name; allowed: 1 to 64 letters, digits, '.', '_' and '-', not beginning with '-'")
    return name


def _name_or_none(name: str) -> str:
    return _name(name) if name else name


def _title(name: str) -> str:
    if not name.strip() or not name.isprintable() or len(name) > 100:
        raise ValueError("is no name; allowed: 1 to 100 printable characters")
    return name


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("is no name of a variable; allowed: letters, digits and '_', the first no digit")
    return name


def _branch(name: str) -> str:
    """Refuse what git could never take as a branch (git-check-ref-format), or would take as an option."""
    if not name or name.startswith(("-", "/")) or name.endswith(("/", ".", ".lock")) or _NO_REF.search(name):
        raise ValueError("is no branch; allowed: the name of a branch, such as main")
    return name


_NO_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|//|@\{")


def _database_url(url: str) -> str:
    if not re.match(r"sqlite:///[^/]|sqlite:////[^/]|postgres(ql)?://", url):
        raise ValueError("is no database; allowed: sqlite:///FILE below the top, sqlite:////FILE, postgresql://...")
    return url


def _server(url: str) -> str:
    """Refuse an address that would send the token in the open, or has one in it."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises where it is no number
    except ValueError:
        raise ValueError("is no address; allowed: one such as https://github.example.com/api/v3") from None
    loopback = parts.hostname in {"localhost", "::1"} or re.fullmatch(r"127(\.\d{1,3}){3}", parts.hostname or "")
    if parts.username is not None or parts.password is not None:
        raise ValueError("has a name or password in it; allowed: an address such as https://github.example.com/api/v3")
    if not parts.hostname or parts.query or parts.fragment or not url.isascii() or " " in url:
        raise ValueError("is no address; allowed: one such as https://github.example.com/api/v3")
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback):
        raise ValueError("would send the token in the open; allowed: https://..., and http:// to this machine only")
    return url.rstrip("/")


def _repository(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+", name) or {".", ".."} & set(name.split("/")):
        raise ValueError("is no repository; allowed: owner/name")
    return name


def _target(value: object) -> object:
    """Read ``env: NAME`` as the text ``env:NAME``, so that no address with a password need stand in the file."""
    if isinstance(value, Mapping):
        if list(value) != ["env"] or not isinstance(value["env"], str):
            raise ValueError("is no address; allowed: an Apprise URL, or env: NAME")
        return "env:" + _variable(value["env"])
    return value


Seconds = Annotated[float, BeforeValidator(units.duration), Field(ge=0)]
Deadline = Annotated[float, BeforeValidator(units.duration), Field(gt=0)]
Bytes = Annotated[int, BeforeValidator(units.size), Field(ge=0)]
Quantity = Annotated[float, BeforeValidator(lambda value: units.parse(value)[0])]
Count = Annotated[int, Field(ge=0)]
Command = Annotated[tuple[str, ...], BeforeValidator(split_command)]
Inside = Annotated[str, AfterValidator(_inside)]
Below = Annotated[str, AfterValidator(_below)]
Name = Annotated[str, AfterValidator(_name)]
Title = Annotated[str, AfterValidator(_title)]
Variable = Annotated[str, AfterValidator(_variable)]


class Section(BaseModel):
    """Frozen; an unknown key is an error; a key without a value has its default."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _empty_means_default(cls, value: Any) -> Any:
        if value is None:
            return {}
        if isinstance(value, Mapping):
            return {key: item for key, item in value.items() if item is not None}
        return value


class CheckSettings(Section):
    """How one knows that the code works."""

    name: Title = Field(description="how it is shown; each check has a name of its own")
    run: Command = Field(description="split as a shell splits words, no shell; or a list of words")
    timeout: Deadline = Field(default=600.0, description="it is killed with all its children after this time")
    retries: Count = Field(
        default=2, le=20, description="how often a failure is tried again, to tell flaky from broken"
    )
    junit: Below | None = Field(default=None, description="path of a JUnit XML report that it writes")
    cwd: Inside = Field(default=".", description="the folder that it runs in")
    env: dict[Variable, str] = Field(
        default_factory=dict, description="added to an environment scrubbed of tokens and GIT_*"
    )
    setup: Command | None = Field(default=None, description="a command run first in the scratch tree")
    link: tuple[Below, ...] = Field(
        default=(), description="paths of the checkout linked into the scratch tree: .venv, node_modules"
    )


class CommitSettings(Section):
    """By which trailer and author an agent's commits are known."""

    trailer: str | None = Field(default=None, description="the value of the trailer 'Agent:'")
    author: str | None = Field(default=None, description="the author's name or e-mail address")


class AgentSettings(Section):
    """One agent of the fleet."""

    kind: str = Field(
        default="", description="what it does; tells how long its tasks take, such as data_quality_guardian"
    )
    stage: str = Field(default="", description="one of the stages below")
    competition: Annotated[str, AfterValidator(_name_or_none)] = Field(
        default="", description="the workspace that it belongs to"
    )
    commits: CommitSettings = Field(default=CommitSettings(), description="how its commits are known")
    run: Command | None = Field(default=None, description="its command; without one it is started by 'rollcage run'")
    start: Literal["manual", "engine"] = Field(default="manual", description="who starts it: manual | engine")
    restart: bool = Field(default=True, description="whether it is started again after a rollback")
    depends_on: tuple[str, ...] = Field(default=(), description="agents, or whole stages, that must be done first")
    match: str | None = Field(default=None, description="how to know its processes when it is started elsewhere")


class RuleSettings(Section):
    """A metric's bands. Between ``normal`` and ``warning`` a value is *raised*: shown, no finding."""

    metric: str | None = Field(default=None, description="the metric that it watches; default: of the rule's own name")
    direction: Literal["above", "below"] | None = Field(default=None, description="which side is bad: above | below")
    normal: Quantity | None = Field(default=None, description="up to here all is well")
    warning: Quantity | None = Field(default=None, description="beyond it: a warning")
    critical: Quantity | None = Field(default=None, description="beyond it: an emergency")
    for_: Seconds | None = Field(default=None, alias="for", description="how long it must last")
    unit: str | None = Field(default=None, description="shown behind the number")
    severity: Literal["warning", "critical"] | None = Field(default=None, description="of every finding of this rule")
    alert: str | None = Field(default=None, description="the words of its alert")
    enabled: bool = Field(default=True, description="false: the rule is off")

    @model_validator(mode="before")
    @classmethod
    def _one_dimension(cls, value: Any) -> Any:
        """Refuse ``warning: 90m`` beside ``critical: 2 GB``."""
        if isinstance(value, Mapping):
            found: dict[units.Dimension, str] = {}
            for band in ("normal", "warning", "critical"):
                try:
                    dimension = units.parse(value.get(band))[1]
                except ValueError:  # reported at the band itself
                    continue
                if dimension is not None:
                    found.setdefault(dimension, f"{band}: {value[band]}")
            if len(found) > 1:
                raise ValueError(f"mixes units ({', '.join(found.values())}); allowed: one kind of unit in all bands")
        return value

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        bands = [band for band in (self.normal, self.warning, self.critical) if band is not None]
        rising, falling = bands == sorted(bands), bands == sorted(bands, reverse=True)
        if not {"above": rising, "below": falling, None: rising or falling}[self.direction]:
            raise ValueError(
                "has its bands out of order; allowed: normal <= warning <= critical with direction: above, "
                "normal >= warning >= critical with direction: below"
            )
        return self


class LimitSettings(Section):
    """Where rollcage stops acting alone."""

    same_problem: Count = Field(default=3, description="rollbacks of the same problem in a row, then it is escalated")
    proposals: Count = Field(default=10, description="proposals in 24 h, then it acts alone no more")
    unattended: Count = Field(default=4, description="rollbacks without a human in 24 h")
    culprit_age: Seconds = Field(default=86_400.0, description="an older culprit is left to a human")
    lookback: int = Field(default=200, ge=1, description="commits to look back for a good one")
    check_time: Deadline = Field(default=1_800.0, description="the checks' running time for one diagnosis")
    parallel_checks: int = Field(default=2, ge=1, le=64, description="checks that run at the same time")


class DatabaseCheck(Section):
    """A query whose answer shows damage: a scalar counts ``|value - expect|``, rows count their number."""

    name: Title = Field(description="how it is shown; each check has a name of its own")
    sql: str = Field(min_length=1, description="one query; it sees the database read-only")
    expect: float = Field(default=0, description="the scalar that means that all is well")


class DatabaseSettings(Section):
    """The database that goes back in step with the code."""

    url: Annotated[str, AfterValidator(_database_url)] = Field(
        description="sqlite:///FILE below the top, sqlite:////FILE, postgresql://HOST/NAME, its password in ~/.pgpass"
    )
    checks: tuple[DatabaseCheck, ...] = Field(default=(), description="summed up they are the metric data_consistency")
    every: Deadline = Field(default=300.0, description="how often the checks run")
    down: Command | None = Field(
        default=None,
        description="a command that takes a migration back, run in the tree that has it with DATABASE_URL",
    )
    row_capture: tuple[str, ...] = Field(
        default=(),
        description="tables whose changed rows are recorded, by agent: PGAPPNAME=rollcage:NAME, or rollcage_writer",
    )


class RetentionSettings(Section):
    """How long things are kept."""

    snapshots: Seconds = Field(default=30 * 86_400.0, description="snapshots older than this go")
    size: Bytes = Field(default=10 * 10**9, description="and the oldest go when all of them are larger than this")
    signals: Seconds = Field(default=30 * 86_400.0, description="signals older than this go")


class TrackerSettings(Section):
    """Where Issues live."""

    kind: Literal["local", "github"] = Field(default="local", description="local | github")
    repo: Annotated[str, AfterValidator(_repository)] | None = Field(
        default=None, description="owner/name; github needs it"
    )
    token_env: Variable = Field(default="GITHUB_TOKEN", description="the variable that holds the token")
    base_url: Annotated[str, AfterValidator(_server)] | None = Field(
        default=None, description="of an Enterprise server: https://HOST/api/v3; default: github.com"
    )

    @model_validator(mode="after")
    def _github_needs_repo(self) -> Self:
        if self.kind == "github" and self.repo is None:
            raise ValueError("of kind github names no repo; allowed: repo: owner/name")
        return self


class CoordinationSettings(Section):
    """Where leases live."""

    kind: Literal["embedded", "redis"] = Field(default="embedded", description="embedded | redis")
    url: str | None = Field(default=None, description="of the Redis server; redis needs it")

    @model_validator(mode="after")
    def _redis_needs_url(self) -> Self:
        if self.kind == "redis" and self.url is None:
            raise ValueError("of kind redis names no url; allowed: url: redis://HOST:PORT/0")
        return self


class CompetitionSettings(Section):
    """One workspace: its folder, its Issues, and its phases."""

    directory: Below | None = Field(default=None, description="its folder; default: competitions/NAME")
    venv: Below | None = Field(default=None, description="its virtual environment; default: .venv in its folder")
    label: Title | None = Field(default=None, description="the label of its Issues; default: comp:NAME")
    phases: tuple[Name, ...] = Field(
        default=("setup", "run", "review", "closed"), min_length=1, description="in their order"
    )


class OperatorSettings(Section):
    """Who may approve."""

    name: Title = Field(description="how decisions name them")
    user: str | None = Field(default=None, description="the system's user name")
    role: Literal["viewer", "approver"] = Field(default="approver", description="viewer | approver")
    ssh_key: str | None = Field(default=None, description="a public key; HIGH and CRITICAL then need a signature")


class ConsoleSettings(Section):
    """How the console looks and is driven."""

    theme: str | None = Field(default=None, description="default: by the terminal")
    mouse: bool | None = Field(default=None, description="default: on, over SSH off")
    keymap: dict[str, str] = Field(default_factory=dict, description="action: key")
    quiet_hours: str | None = Field(default=None, description="no bell and no notification then, such as 22:00-07:00")


class Settings(Section):
    """The whole of ``rollcage.yml``."""

    version: Annotated[Literal[1], BeforeValidator(lambda value: 1 if value == "1" else value)] = Field(
        default=1, description="of this format"
    )
    branch: Annotated[str, AfterValidator(_branch)] = Field(
        default="main", description="the branch that the agents work on"
    )
    level: Level = Field(default=Level.PROPOSE, description="how much rollcage does by itself: watch | propose | auto")
    on_critical: Literal["stop", "pause", "notify"] | None = Field(
        default=None,
        description="what the problem agent gets at once: stop | pause | notify; null: stop in auto, pause in propose",
    )
    on_unverified: Literal["undo", "keep"] = Field(
        default="undo", description="after a rollback that did not help: undo | keep"
    )
    push: Literal["ask", "auto", "never"] = Field(
        default="ask", description="whether a rollback is pushed to the remote: ask | auto | never"
    )
    state_dir: str | None = Field(default=None, description="default: $XDG_STATE_HOME/rollcage")
    checks: tuple[CheckSettings, ...] = Field(
        default=(), description="how one knows that the code works; each runs in a scratch tree of its own"
    )
    agents: dict[Name, AgentSettings] = Field(default_factory=dict, description="the fleet, by name")
    rules: dict[str, RuleSettings] = Field(
        default_factory=dict, description="changes to the built-in rules, by name; new ones beside them"
    )
    stages: dict[str, Deadline] = Field(
        default_factory=lambda: {
            "planner": 1800.0,
            "analyzer": 7200.0,
            "executor": 14400.0,
            "monitor": 28800.0,
            "retrospective": 3600.0,
        },
        description="in the order of the work, with the time that each may take",
    )
    limits: LimitSettings = Field(default=LimitSettings(), description="where rollcage stops acting alone")
    database: DatabaseSettings | None = Field(
        default=None, description="checked, snapshotted, and restored in step with the code"
    )
    files: tuple[Below, ...] = Field(default=(), description="trees outside git to snapshot and restore")
    retention: RetentionSettings = Field(default=RetentionSettings(), description="how long things are kept")
    tracker: TrackerSettings = Field(default=TrackerSettings(), description="where Issues live")
    coordination: CoordinationSettings = Field(default=CoordinationSettings(), description="where leases live")
    competitions: dict[Name, CompetitionSettings] = Field(
        default_factory=dict, description="workspaces, by name: directory, venv, label, phases"
    )
    workflows: tuple[str, ...] = Field(default=(), description="files")
    operators: tuple[OperatorSettings, ...] = Field(default=(), description="who may approve")
    notify: tuple[Annotated[str, BeforeValidator(_target)], ...] = Field(
        default=(), description="Apprise URLs, or env: NAME of a variable that holds one"
    )
    console: ConsoleSettings = Field(default=ConsoleSettings(), description="how the console looks and is driven")


def dependencies(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Return the agents that each agent waits for; a stage in ``depends_on`` stands for all agents of that stage."""
    return {
        name: tuple(
            dict.fromkeys(
                other
                for wanted in agent.depends_on
                for other, its in settings.agents.items()
                if other == wanted or (wanted not in settings.agents and its.stage == wanted)
            )
        )
        for name, agent in settings.agents.items()
    }


def competition_settings(settings: Settings, name: str) -> CompetitionSettings:
    """Return the settings of competition ``name`` with its folder, virtual environment and label, also by default.

    An agent may name a competition that has no settings of its own.
    """
    given = settings.competitions.get(name, CompetitionSettings())
    directory = given.directory or f"competitions/{name}"
    return given.model_copy(
        update={
            "directory": directory,
            "venv": given.venv or f"{directory}/.venv",
            "label": given.label or f"comp:{name}",
        }
    )
