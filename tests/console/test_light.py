"""The light verbs: what agents report arrives, what is wrong changes nothing, and nothing heavy is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rollcage
from rollcage.console import light
from rollcage.core.gitrepo.repository import Repository
from rollcage.core.model import Signal, SignalKind
from rollcage.core.store import inbox
from rollcage.core.store.identity import identify
from rollcage.core.store.signals import Signals

HEAVY = (
    "click",
    "yaml",
    "pydantic",
    "psutil",
    "git",
    "networkx",
    "textual",
    "rich",
    "dataclasses",
    "typing",
    "asyncio",
)

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an inbox that ``ROLLCAGE_INBOX`` names."""
    path = tmp_path / "inbox.db"
    inbox.connect(str(path)).close()
    monkeypatch.setenv("ROLLCAGE_INBOX", str(path))
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Return a function that runs a light verb here, and gives its exit code, output and error output."""

    def run(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        lines = tmp_path / "stdin"
        lines.write_bytes(stdin)
        before = os.dup(0)
        with lines.open("rb") as file:
            os.dup2(file.fileno(), 0)
        try:
            code = light.dispatch(arguments)
        finally:
            os.dup2(before, 0)
            os.close(before)
        assert code is not None
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def told(box: Path) -> list[Signal]:
    return Signals(box).since(0)


def process(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run ``python -m rollcage`` as a process of its own."""
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-m", "rollcage", *arguments], check=False, capture_output=True, text=True, **options
    )


# What arrives


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("metric", "memory", "5e9", "--unit", "B"), (SignalKind.METRIC, "memory", 5e9, None, "B", {})),
        (("metric", "drift", "-0.5"), (SignalKind.METRIC, "drift", -0.5, None, None, {})),
        (("step", "batch 3 of 10"), (SignalKind.STEP, "batch 3 of 10", None, None, None, {})),
        (("step", "load", "--expect", "40m"), (SignalKind.STEP, "load", None, None, None, {"expect": 2400.0})),
        (("step", "load", "--expect=1.5h"), (SignalKind.STEP, "load", None, None, None, {"expect": 5400.0})),
        (("error", "no route to db"), (SignalKind.ERROR, "error", None, "no route to db", None, {})),
        (("error", "--", "--flag is wrong"), (SignalKind.ERROR, "error", None, "--flag is wrong", None, {})),
        (("test", "test_add", "failed"), (SignalKind.TEST, "test_add", None, "failed", None, {})),
        (("data", "orphans", "3"), (SignalKind.DATA, "orphans", 3.0, None, None, {})),
        (("message", "half way"), (SignalKind.MESSAGE, "message", None, "half way", None, {})),
    ],
)
def test_each_kind_arrives(run: Run, box: Path, words: tuple[str, ...], expected: tuple[object, ...]) -> None:
    assert run("signal", "--agent", "ann", *words) == (0, "", "")
    (signal,) = told(box)
    assert (signal.kind, signal.name, signal.value, signal.text, signal.unit, signal.attrs) == expected
    assert signal.agent == "ann"
    assert abs((datetime.now(UTC) - signal.at).total_seconds()) < 60


def test_the_agent_is_the_one_of_the_environment_unless_named(
    run: Run, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLCAGE_AGENT", "bob")
    run("signal", "message", "one")
    run("signal", "message", "two", "--agent=carol")
    run("signal", "-", stdin=b'{"kind":"message","text":"three"}\n{"kind":"message","text":"four","agent":"dora"}\n')
    assert [signal.agent for signal in told(box)] == ["bob", "carol", "bob", "dora"]


def test_the_repository_is_that_of_the_folder_or_of_minus_c(run: Run, repository: Path) -> None:
    found = Repository.discover(repository)
    paths = identify(found.common_dir, found.root_commits)
    assert run("-C", str(repository), "signal", "message", "before", "--agent", "ann")[0] == 0
    assert run("signal", "-C", str(repository), "message", "behind", "--agent", "ann")[0] == 0
    done = process("signal", "message", "within", "--agent", "ann", cwd=repository)
    assert (done.returncode, done.stderr) == (0, "")
    assert [signal.text for signal in told(paths.inbox_db)] == ["before", "behind", "within"]


def test_json_lines_arrive_as_they_are(run: Run, box: Path) -> None:
    line = {
        "at": "2026-11-20T15:02:31+01:00",
        "agent": "ann",
        "kind": "handover",
        "name": "to bob",
        "value": 3,
        "text": "done",
        "unit": "rows",
        "attrs": {"a": [1, None]},
    }
    assert run("signal", "-", stdin=f"\n{json.dumps(line)}\n\n{json.dumps(line)}".encode())[0] == 0
    first, second = told(box)
    assert first.at == datetime(2026, 11, 20, 14, 2, 31, tzinfo=UTC)
    assert (first.kind, first.name, first.value, first.text) == (SignalKind.HANDOVER, "to bob", 3.0, "done")
    assert (first.unit, first.attrs) == ("rows", {"a": [1, None]})
    assert (second.text, second.seq) == ("done", 2)


def test_a_long_text_is_cut_and_bytes_that_are_no_text_are_replaced(run: Run, box: Path) -> None:
    assert run("signal", "message", "x" * 20_000, "--agent", "ann")[0] == 0
    assert run("signal", "message", "a\udcffb", "--agent", "ann")[0] == 0
    first, second = told(box)
    assert first.text is not None
    assert len(first.text) == light.TEXT_LIMIT
    assert second.text == "a?b"


def test_lines_are_written_as_they_come(box: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "rollcage", "signal", "-", "--agent", "ann"], stdin=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        for number in range(3):
            child.stdin.write(b'{"kind":"step","name":"%d"}\n' % number)
            child.stdin.flush()
            signals = Signals(box)
            while len(signals.since(0)) <= number:
                assert child.poll() is None
        child.stdin.close()
        assert child.wait(timeout=30) == 0


# What is refused


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "which kind of signal?"),
        (("nonsense", "x"), "unknown kind 'nonsense'; allowed: metric, step, error, test, data, message, -"),
        (("metric", "m"), "metric takes NAME VALUE"),
        (("metric", "m", "fast"), "metric 'm': 'fast' is not a number"),
        (("metric", "m", "nan"), "'nan' is not a number"),
        (("metric", "m", "-inf"), "unknown option '-inf'"),
        (("metric", "m", "1e999"), "the value must be a finite number"),
        (("metric", "m", "1_000"), "'1_000' is not a number"),
        (("metric", "", "1"), "name '' must be 1 to 200 printable characters"),
        (("metric", "a\nb", "1"), "must be 1 to 200 printable characters"),
        (("metric", "x" * 201, "1"), "must be 1 to 200 printable characters"),
        (("metric", "m", "1", "--expect", "4m"), "--expect does not belong here"),
        (("step", "s", "--expect", "soon"), "--expect 'soon' is no duration; write 90s, 40m, 2h or 1d"),
        (("step", "s", "--expect"), "--expect needs a value"),
        (("error", ""), "error needs a text that is not empty"),
        (("error", "two", "words"), "error takes one TEXT, in quotes"),
        (("error", "--flag"), "unknown option '--flag'"),
        (("test", "t", "perhaps"), "test takes NAME passed|failed"),
        (("state", "running"), "unknown kind 'state'"),
        (("message", "x", "--agent", ""), "which agent? give --agent NAME, or set ROLLCAGE_AGENT"),
        (("message", "x", "--agent", "a/b"), "'a/b' cannot be an agent's name"),
        (("message", "x", "--agent", "-x"), "'-x' cannot be an agent's name"),
        (("message", "x", "--agent", ".."), "'..' cannot be an agent's name"),
        (("-", "x"), "unknown kind '-'"),
    ],
)
def test_wrong_usage_is_one_line_and_writes_nothing(run: Run, box: Path, words: tuple[str, ...], said: str) -> None:
    code, out, err = run("signal", "--agent", "ann", *words)
    assert (code, out) == (2, "")
    assert err.startswith("rollcage: ")
    assert said in err
    assert err.count("\n") == 1
    assert told(box) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"nonsense", "no JSON: Expecting value"),
        (b"\xff", "no JSON: "),
        (b"[" * 50_000, "no JSON: "),
        (b'["message"]', "must be a JSON object"),
        (b'{"kind":"metric","name":"m","value":NaN}', "NaN is not a finite number"),
        (b'{"kind":"metric","name":"m","value":1e999}', "'m': the value must be a finite number"),
        (b'{"kind":"metric","name":"m","value":1' + b"0" * 400 + b"}", "must be a finite number"),
        (b'{"kind":"metric","name":"m","value":true}', "value True is not a number"),
        (b'{"kind":"metric","name":"m","value":"1"}', "value '1' is not a number"),
        (b'{"kind":"metric","name":"m"}', "metric 'm' needs a number as value"),
        (b'{"kind":"metric","value":1}', "name None must be"),
        (b'{"kind":"metric","name":"m","vaule":1}', "unknown key 'vaule'; allowed: at, agent, kind"),
        (b'{"kind":["metric"],"name":"m"}', "kind ['metric'] is unknown; allowed: metric, log"),
        (b'{"kind":"test","name":"t","text":"so so"}', "test 't' must be passed or failed"),
        (b'{"kind":"message","text":7}', "text 7 is not a text"),
        (b'{"kind":"message","text":"x","at":"noon"}', "at 'noon' is no time in ISO 8601"),
        (b'{"kind":"message","text":"x","at":"0001-01-01T00:00:00+14:00"}', "is no time in ISO 8601"),
        (b'{"kind":"message","text":"x","attrs":[]}', "attrs must be an object"),
        (b'{"kind":"message","text":"x","attrs":{"a":"' + b"x" * 9_000 + b'"}}', "attrs are longer than 8192"),
        (b'{"kind":"message","text":"x","agent":"a b"}', "'a b' cannot be an agent's name"),
        (b'{"kind":"message","text":"x","agent":7}', "which agent?"),
        (b'{"kind":"message","text":"' + b"x" * 70_000 + b'"}', "longer than 65536 bytes"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_written(run: Run, box: Path, line: bytes, said: str) -> None:
    good = b'{"kind":"message","text":"good"}\n'
    code, out, err = run("signal", "-", "--agent", "ann", stdin=good + line + b"\n" + good)
    assert (code, out) == (2, "")
    assert err.startswith("rollcage: line 2: ")
    assert said in err
    assert err.endswith("; nothing was written\n")
    assert err.count("\n") == 1
    assert "\x1b" not in err
    assert told(box) == []


def test_whole_batches_before_a_bad_line_stay_and_that_is_said(run: Run, box: Path) -> None:
    good = b'{"kind":"message","text":"good"}\n'
    code, _, err = run("signal", "-", "--agent", "ann", stdin=good * 2_500 + b"bad\n")
    assert (code, err.partition(": no JSON")[0]) == (2, "rollcage: line 2501")
    assert err.endswith("; lines 1 to 2000 were written, nothing after them\n")
    assert Signals(box).last_seq() == 2_000


@given(st.sets(st.sampled_from(["at", "agent", "name", "value", "text", "unit", "attrs"])))
@settings(max_examples=30)
def test_null_is_as_good_as_left_out_or_refused(keys: set[str]) -> None:
    body: dict[str, object] = {"kind": "step", "name": "s", **dict.fromkeys(keys)}
    if keys & {"agent", "name", "attrs"}:
        with pytest.raises(light.Problem):
            light._row(body, "ann", "now")
    else:
        assert light._row(body, "ann", "now") == ("now", "ann", "step", "s", None, None, None, "{}")


def test_outside_of_a_repository_it_says_so(run: Run, tmp_path: Path) -> None:
    code, _, err = run("-C", str(tmp_path), "signal", "message", "x", "--agent", "ann")
    assert code == 2
    assert "no git repository at or above" in err


def test_a_repository_that_rollcage_does_not_know_is_an_error(run: Run, repository: Path) -> None:
    code, _, err = run("-C", str(repository), "signal", "message", "x", "--agent", "ann")
    assert code == 2
    assert "rollcage does not know the repository" in err


def test_an_inbox_that_cannot_be_written_is_an_error(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inbox.db").write_text("this is no database, and longer than a header would be" * 20)
    monkeypatch.setenv("ROLLCAGE_INBOX", str(tmp_path / "inbox.db"))
    code, _, err = run("signal", "message", "x", "--agent", "ann")
    assert code == 1
    assert "is damaged" in err
    assert err.count("\n") == 1


# What it costs


def test_help_and_version_are_on_standard_output(run: Run) -> None:
    assert run("--version") == (0, f"rollcage {rollcage.__version__}\n", "")
    assert run("-C", "/nowhere", "--version")[0] == 0
    code, out, err = run("signal", "--help")
    assert (code, err) == (0, "")
    assert out.startswith("usage: rollcage signal KIND")


@pytest.mark.parametrize("arguments", [(), ("health",), ("--help",), ("-C", "x", "run"), ("-C",), ("--json", "signal")])
def test_other_verbs_are_left_to_the_command_line(arguments: tuple[str, ...]) -> None:
    assert light.dispatch(arguments) is None


@pytest.mark.parametrize(
    "arguments",
    [["--version"], ["signal", "--help"], ["signal", "metric", "m", "1"], ["signal", "-"], ["signal", "wrong"]],
)
def test_nothing_heavy_is_imported(box: Path, arguments: list[str]) -> None:
    program = f"""
import sys
sys.path.insert(0, {str(Path(rollcage.__file__).parents[1])!r})
sys.argv[1:] = {arguments!r}
from rollcage.__main__ import main
main()
print(*sys.modules, file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        input='{"at":"2026-11-20T14:00:00Z","kind":"message","text":"x"}\n',
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "ROLLCAGE_AGENT": "ann"},
    )
    loaded = set(done.stderr.splitlines()[-1].split())
    assert "rollcage.console.light" in loaded
    assert {name.partition(".")[0] for name in loaded}.isdisjoint(HEAVY)
    assert {name for name in loaded if name.startswith("rollcage")} <= {
        *("rollcage", "rollcage.__main__", "rollcage.console", "rollcage.console.light", "rollcage.core"),
        *("rollcage.core.errors", "rollcage.core.fleet", "rollcage.core.fleet.names", "rollcage.core.store"),
        *("rollcage.core.store.database", "rollcage.core.store.inbox", "rollcage.core.store.locate"),
    }


def test_it_runs_as_a_module_and_passes_the_exit_code_on(box: Path) -> None:
    assert process("--version").stdout == f"rollcage {rollcage.__version__}\n"
    assert process("signal", "message", "x").returncode == 2
    assert process("signal", "message", "x", "--agent", "ann").returncode == 0
    assert [signal.text for signal in told(box)] == ["x"]
