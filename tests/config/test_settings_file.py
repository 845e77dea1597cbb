"""rollcage.yml: what is right loads, and what is wrong says where, what, and what is allowed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rollcage.core.config import Settings, dependencies
from rollcage.core.errors import ExitCode, SettingsError
from rollcage.core.settings_file import MAX_BYTES, parse, read_bytes

SAMPLE = """\
version: 1
branch: main                      # the branch that the agents work on
level: propose                    # watch | propose | auto
on_critical: null                 # stop | pause | notify; null: stop in auto, pause in propose
on_unverified: undo               # undo | keep
push: ask                         # ask | auto | never
checks:                           # how one knows that the code works; each runs in a scratch tree of its own
  - name: tests
    run: "pytest -q"              # split as a shell splits words, no shell; or a list
    timeout: 10m
    retries: 2                    # to tell flaky from broken
    junit: null                   # path of a JUnit XML report that it writes
    cwd: .
    env: {PYTHONPATH: src}        # added to an environment scrubbed of tokens and GIT_*
    setup: null                   # a command run first in the scratch tree
    link: []                      # paths of the checkout linked into it: .venv, node_modules
agents:
  executor: {kind: batch_performance_optimizer, stage: executor, competition: titanic, commits: {trailer: executor, author: "executor@bots.example"},
             run: ["python", "agents/executor.py"], start: manual, restart: true, depends_on: [analyzer], match: null}   # start: manual | engine
rules: {}                         # the defaults of the spec, changed by name; new ones beside them
stages: {planner: 1800, analyzer: 7200, executor: 14400, monitor: 28800, retrospective: 3600}
limits: {same_problem: 3, proposals: 10, unattended: 4, culprit_age: 24h, lookback: 200, check_time: 30m, parallel_checks: 2}
database: {url: "sqlite:///app.db", checks: [{name: orphans, sql: "select count(*) from ...", expect: 0}], every: 5m, down: null, row_capture: []}
files: ["config/", "models/"]     # trees outside git to snapshot and restore
retention: {snapshots: 30d, size: 10GB, signals: 30d}
tracker: {kind: local}            # local | github (repo: owner/name, token_env: GITHUB_TOKEN, base_url: null)
coordination: {kind: embedded}    # embedded | redis (url: ...)
competitions: {}                  # name: {directory, venv, label, phases}
workflows: []                     # files
operators: []                     # who may approve: {name, user, role: viewer|approver, ssh_key}
notify: []                        # Apprise URLs, or env: names of variables that hold them
console: {theme: null, mouse: null, keymap: {}, quiet_hours: null}
"""  # noqa: E501 - as it stands in the documentation


def load(text: str) -> Settings:
    return parse(text.encode())


def problems(text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(text)
    assert caught.value.exit_code is ExitCode.USAGE
    return str(caught.value).splitlines()


def test_the_sample_of_the_documentation_loads() -> None:
    settings = load(SAMPLE)
    assert settings.checks[0].run == ("pytest", "-q")
    assert settings.checks[0].timeout == 600
    assert settings.checks[0].env == {"PYTHONPATH": "src"}
    assert settings.agents["executor"].run == ("python", "agents/executor.py")
    assert settings.limits == Settings().limits
    assert settings.retention == Settings().retention
    assert settings.stages == Settings().stages
    assert settings.database is not None
    assert settings.database.every == 300


@pytest.mark.parametrize(
    "text", ["", "# only a comment\n", "---\n", "checks:\nagents:\nlimits:\n  proposals:\n", "\ufeffversion: 1"]
)
def test_what_is_left_empty_has_its_default(text: str) -> None:
    assert load(text) == Settings()


def test_text_is_text_and_switches_are_switches_whatever_yaml_1_1_thinks() -> None:
    settings = load(
        "branch: on\n"
        "agents:\n  no: {restart: off}\n  yes: {restart: 'true', kind: 012}\n"
        "checks: [{name: 1.10, run: 'x', env: {DEBUG: yes, PORT: 8080, AT: 22:30}}]\n"
    )
    assert settings.branch == "on"
    assert not settings.agents["no"].restart
    assert settings.agents["yes"].restart
    assert settings.agents["yes"].kind == "012"
    assert settings.checks[0].name == "1.10"
    assert settings.checks[0].env == {"DEBUG": "yes", "PORT": "8080", "AT": "22:30"}


@pytest.mark.parametrize(
    ("text", "line", "key", "problem", "allowed"),
    [
        ("level: auto\nbrnch: x", 2, "brnch", "no setting; did you mean 'branch'", "version, branch"),
        ("checks:\n- name: a\n  run: b\n  timeot: 3", 4, "checks[0].timeot", "did you mean 'timeout'", "retries"),
        ("level: sometimes", 1, "level", "'sometimes'", "watch, propose, auto"),
        ("on_critical: no", 1, "on_critical", "'no'", "stop, pause, notify"),
        ("branch: [a]", 1, "branch", "a list", "text"),
        ("branch: a b", 1, "branch", "no branch", "main"),
        ("branch: -x", 1, "branch", "no branch", "main"),
        ("checks: yes", 1, "checks", "'yes'", "a list"),
        ("agents: [a]", 1, "agents", "a list", "a mapping"),
        ("limits: 3", 1, "limits", "'3'", "a mapping"),
        ("version: 2", 1, "version", "'2'", "1"),
        ("checks:\n- name: a", 2, "checks[0].run", "is missing", "words"),
        ("checks:\n- run: a", 2, "checks[0].name", "is missing", "name of its own"),
        ("checks:\n- name: ''\n  run: a", 2, "checks[0].name", "no name", "printable"),
        ("checks:\n- name: a\n  run: ''", 3, "checks[0].run", "no command", "a command"),
        ("checks:\n- name: a\n  run: []", 3, "checks[0].run", "no command", "a command"),
        ("checks:\n- name: a\n  run: 'x && y'", 3, "checks[0].run", "'&&'", "sh"),
        ("checks:\n- name: a\n  run: 'A=1 x'", 3, "checks[0].run", "'A=1'", "env:"),
        ('checks:\n- name: a\n  run: "x \'y"', 3, "checks[0].run", "no closing quotation", "words"),
        ("checks:\n- name: a\n  run: [x, [y]]", 3, "checks[0].run[1]", "a list", "text"),
        ("checks:\n- name: a\n  run: x\n  timeout: 10 parsec", 4, "checks[0].timeout", "'parsec'", "90m"),
        ("checks:\n- name: a\n  run: x\n  timeout: 5 GB", 4, "checks[0].timeout", "'GB'", "seconds"),
        ("checks:\n- name: a\n  run: x\n  timeout: 0", 4, "checks[0].timeout", "'0'", "more than 0"),
        ("checks:\n- name: a\n  run: x\n  retries: many", 4, "checks[0].retries", "'many'", "a whole number"),
        ("checks:\n- name: a\n  run: x\n  retries: -1", 4, "checks[0].retries", "'-1'", "0 or more"),
        ("checks:\n- name: a\n  run: x\n  link: .venv", 4, "checks[0].link", "'.venv'", "a list"),
        ("checks:\n- name: a\n  run: x\n  link: [../b]", 4, "checks[0].link[0]", "leaves the repository", "below"),
        ("checks:\n- name: a\n  run: x\n  link: [.]", 4, "checks[0].link[0]", "whole repository", "below"),
        ("checks:\n- name: a\n  run: x\n  cwd: /etc", 4, "checks[0].cwd", "leaves the repository", "below"),
        ("checks:\n- name: a\n  run: x\n  junit: ~/x", 4, "checks[0].junit", "leaves the repository", "below"),
        ("checks:\n- name: a\n  run: x\n  env: {1A: b}", 4, "checks[0].env.1A", "no name of a variable", "letters"),
        ("checks:\n- name: a\n  run: x\n- name: a\n  run: y", 4, "checks[1].name", "earlier", "of its own"),
        ("files: [config/]\nfiles: [models/]", 2, "files", "given twice", ""),
        ("files:\n- config/\n- a/../../b", 3, "files[1]", "leaves the repository", "below"),
        ("files: [.git/hooks]", 1, "files[0]", "git's own", "below"),
        ("agents:\n  a b: {}", 2, "agents.a b", "no name", "letters, digits"),
        ("agents:\n  -x: {}", 2, "agents.-x", "no name", "letters, digits"),
        ("agents:\n  '..': {}", 2, "agents...", "no name", "letters, digits"),
        ("agents:\n  a: {restart: maybe}", 2, "agents.a.restart", "'maybe'", "true or false"),
        ("agents:\n  a: {stage: execter}", 2, "agents.a.stage", "did you mean 'executor'", "planner"),
        ("agents:\n  a: {depends_on: [b]}", 2, "agents.a.depends_on[0]", "'b' is no agent", "planner"),
        ("agents:\n  a: {depends_on: [a]}", 2, "agents.a.depends_on", "a waits for a", "no circle"),
        ("agents:\n  a: {stage: planner, depends_on: [planner]}", 2, "agents.a.depends_on", "circle", "no circle"),
        ("rules:\n  x: {warning: 3, critical: 2, direction: above}", 2, "rules.x", "out of order", "normal <= warning"),
        ("rules:\n  x: {normal: 1, warning: 3, critical: 2}", 2, "rules.x", "out of order", "normal <= warning"),
        ("rules:\n  x: {warning: 3 s, critical: 2 GB}", 2, "rules.x", "mixes units", "one kind"),
        ("rules:\n  x: {for: soon}", 2, "rules.x.for", "no quantity", "90m"),
        ("rules:\n  x: {for_: 3}", 2, "rules.x.for_", "did you mean 'for'", "metric"),
        ("limits: {lookback: 0}", 1, "limits.lookback", "'0'", "1 or more"),
        ("retention: {size: 5 m}", 1, "retention.size", "'m'", "bytes"),
        ("database: {every: 5m}", 1, "database.url", "is missing", "sqlite:///"),
        ("database: {url: app.db}", 1, "database.url", "no database", "sqlite:///"),
        (
            "database: {url: 'sqlite:///a', checks: [{name: x, sql: ''}]}",
            1,
            "database.checks[0].sql",
            "''",
            "not empty",
        ),
        ("tracker: {kind: github}", 1, "tracker", "no repo", "owner/name"),
        ("tracker: {kind: github, repo: shop}", 1, "tracker.repo", "'shop'", "owner/name"),
        ("tracker: {kind: github, repo: ../shop}", 1, "tracker.repo", "no repository", "owner/name"),
        ("tracker: {base_url: 'http://github.example.com'}", 1, "tracker.base_url", "in the open", "https://"),
        ("tracker: {base_url: 'https://ann:pw@example.com'}", 1, "tracker.base_url", "password in it", "https://"),
        ("tracker: {base_url: 'https://example.com:x'}", 1, "tracker.base_url", "no address", "https://"),
        ("tracker: {base_url: github.example.com}", 1, "tracker.base_url", "no address", "https://"),
        ("coordination: {kind: redis}", 1, "coordination", "no url", "redis://"),
        (
            "agents:\n  a: {competition: titanc}\ncompetitions: {titanic: {}}",
            2,
            "agents.a.competition",
            "titanic",
            "titanic",
        ),
        (
            "competitions:\n  a: {label: Ice}\n  b: {label: ice}",
            3,
            "competitions.b.label",
            "as competition a",
            "its own",
        ),
        ("competitions:\n  a: {label: 'comp:B'}\n  b: {}", 3, "competitions.b", "as competition a", "its own"),
        ("competitions:\n  a: {directory: x}\n  b: {directory: x/y}", 3, "competitions.b.directory", "in x/y", "own"),
        (f"competitions:\n  {'a' * 46}: {{}}", 2, f"competitions.{'a' * 46}", "51 characters", "50"),
        ("notify: [{env: 1x}]", 1, "notify[0]", "no name of a variable", "letters"),
        ("notify: [{url: x}]", 1, "notify[0]", "no address", "env: NAME"),
        ("- a", 1, "", "no mapping", "branch: main"),
        ("just words", 1, "", "no mapping", "branch: main"),
        ("level: auto\n\tbranch: x", 2, "", "not valid YAML", "spaces"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_what_is_allowed(
    text: str, line: int, key: str, problem: str, allowed: str
) -> None:
    (message,) = problems(text)
    place = f"rollcage.yml:{line}: {key}: " if key else f"rollcage.yml:{line}: "
    assert message.startswith(place)
    assert problem in message
    assert allowed in message.removeprefix(place)


def test_all_mistakes_are_found_in_the_order_of_their_lines() -> None:
    text = "level: off\nlimits:\n  lookback: many\n  proposals: few\nlevel: auto\nunknown: 1\nagents: {a: 1}\n"
    assert [message.split(": ")[0] for message in problems(text)] == [
        f"rollcage.yml:{line}" for line in (3, 4, 5, 6, 7)
    ]


@pytest.mark.parametrize(
    "text",
    [
        "state_dir: /tmp",
        "workflows: [a.yml]",
        "operators: [{name: ann}]",
        "notify: [env: NAME]",
        "agents: {a: {match: x}}",
    ],
)
def test_what_this_version_cannot_do_is_an_error_and_not_ignored(text: str) -> None:
    (message,) = problems(text)
    assert "not supported in this version yet; allowed: " in message


def test_an_address_may_be_named_by_a_variable() -> None:
    assert Settings.model_validate({"notify": [{"env": "CHAT_URL"}, "json://x"]}).notify == ("env:CHAT_URL", "json://x")


def test_no_password_and_no_escape_sequence_reaches_the_message() -> None:
    (message,) = problems('database: {url: "mysql://u:hunter2@h/x"}')
    assert "hunter2" not in message
    (message,) = problems('level: "\\e[31mred"')
    assert "\x1b" not in message


def test_a_stage_in_depends_on_stands_for_its_agents() -> None:
    settings = load("agents:\n  p: {stage: planner}\n  q: {stage: planner}\n  e: {depends_on: [planner, p]}\n")
    assert dependencies(settings) == {"p": (), "q": (), "e": ("p", "q")}


def test_another_rooms_complaint_gets_its_line() -> None:
    def review(settings: Settings) -> None:
        raise SettingsError("rollcage.yml", None, "rules.x.warning", "is odd")

    with pytest.raises(SettingsError, match=r"^own\.yml:3: rules\.x\.warning: is odd$"):
        parse(b"rules:\n  x:\n    warning: 3\n", "own.yml", review)
    with pytest.raises(SettingsError, match=r"^own\.yml:2: rules\.x\.warning: is odd$"):
        parse(b"rules:\n  x: {}\n", "own.yml", review)


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"a: 1\nbranch: \xff\xfe", r"^x\.yml:2: is not UTF-8"), ("branch: a".encode("utf-16"), "UTF-8")],
)
def test_what_is_not_utf_8_is_refused(content: bytes, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        parse(content, "x.yml")


def test_only_a_regular_file_of_a_sane_size_is_read(tmp_path: Path) -> None:
    large, pipe = tmp_path / "large", tmp_path / "pipe"
    large.write_bytes(b"#" * (MAX_BYTES * 10))
    with pytest.raises(SettingsError, match=r"10,000,000 bytes large; allowed: 1,000,000"):
        read_bytes(large, "large")
    os.mkfifo(pipe)
    with pytest.raises(SettingsError, match="no regular file"):
        read_bytes(pipe, "pipe")
    with pytest.raises(SettingsError, match=r"no regular file|cannot be read"):
        read_bytes(tmp_path, "folder")
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "missing", "missing")
