"""What agents print becomes signals: clean, bounded, each line once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rollcage.core.clock import SystemClock
from rollcage.core.fleet.output import OutputLog, older
from rollcage.core.fleet.runs import Run, is_alive
from rollcage.core.model import AgentState, Signal, SignalKind
from rollcage.core.observe.output import BEHIND, CHUNK, ERRORS, LINES, OutputWatcher
from tests.fleet.conftest import eventually, output

NOW = datetime(2026, 11, 20, 14, tzinfo=UTC)


@pytest.fixture
def watcher() -> Iterator[OutputWatcher]:
    watcher = OutputWatcher()
    yield watcher
    watcher.close()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[OutputLog]:
    (tmp_path / "ann").mkdir()
    log = OutputLog(tmp_path / "ann" / "output.log")
    yield log
    log.close()


@pytest.fixture
def run(tmp_path: Path, watcher: OutputWatcher, log: OutputLog) -> Run:
    """Return a run that began after the watcher did."""
    return Run(
        id="ann-1",
        agent="ann",
        argv=("x",),
        cwd="/",
        supervisor_pid=1,
        supervisor_started=SystemClock().boot() + 1,
        boot_id="boot",
        child_pid=2,
        state=AgentState.RUNNING,
        since=NOW,
        output=str(tmp_path / "ann" / "output.log"),
    )


def texts(signals: list[Signal], kind: SignalKind = SignalKind.LOG) -> list[str | None]:
    return [signal.text for signal in signals if signal.kind is kind]


def test_each_line_is_told_once_and_whole(watcher: OutputWatcher, log: OutputLog, run: Run) -> None:
    log.write(b"one\ntwo\nthr")
    signals = watcher.read([run], NOW)
    assert texts(signals) == ["one", "two"]
    assert {(s.at, s.agent, s.name) for s in signals} == {(NOW, "ann", "output")}
    assert watcher.read([run], NOW) == []
    log.write(b"ee\n")
    assert texts(watcher.read([run], NOW)) == ["three"]


def test_errors_are_told_apart_with_their_template(watcher: OutputWatcher, log: OutputLog, run: Run) -> None:
    log.write(b"fine\nValueError: row 17 in /a/b\n")
    signals = watcher.read([run], NOW)
    assert texts(signals) == ["fine"]
    (error,) = [signal for signal in signals if signal.kind is SignalKind.ERROR]
    assert (error.text, error.attrs) == ("ValueError: row 17 in /a/b", {"template": "ValueError: row <n> in <path>"})


def test_hostile_text_is_cleaned_and_secrets_are_masked(watcher: OutputWatcher, log: OutputLog, run: Run) -> None:
    log.write(b"\x1b[31mred\x1b[0m [/] \x1b]52;c;eA==\x07 \x9b2J \xff\n")
    log.write(b"fatal: https://ann:hunter2@example.com/x ghp_0123456789abcdefghij\n")
    signals = watcher.read([run], NOW)
    assert texts(signals) == ["red [/] �2J �"]
    assert "\\x1b" not in repr(signals)
    assert "hunter2" not in repr(signals)
    assert "ghp_0" not in repr(signals)


def test_of_a_progress_bar_the_last_state_counts(watcher: OutputWatcher, log: OutputLog, run: Run) -> None:
    log.write(b"10 %\r50 %\r100 %\r\n")
    assert texts(watcher.read([run], NOW)) == ["100 %"]


def test_a_flood_is_bounded_and_says_so(watcher: OutputWatcher, log: OutputLog, run: Run) -> None:
    log.write(b"".join(b"line %d\n" % number for number in range(500)))
    log.write(b"".join(b"ValueError: %d\n" % number for number in range(500)))
    signals = watcher.read([run], NOW)
    assert texts(signals) == [f"line {number}" for number in range(500 - LINES, 500)]
    errors = [signal for signal in signals if signal.kind is SignalKind.ERROR]
    assert [error.text for error in errors] == [f"ValueError: {number}" for number in range(ERRORS)]
    assert errors[-1].attrs["more"] == 500 - ERRORS


def test_who_is_too_far_behind_passes_over_the_middle(watcher: OutputWatcher, log: OutputLog, run: Run) -> None:
    log.write((b"x" * 99 + b"\n") * ((BEHIND + 200) // 100))
    log.write(b"last\n")
    signals = watcher.read([run], NOW)
    assert texts(signals)[-1] == "last"
    assert watcher.read([run], NOW) == []


def test_a_line_without_end_is_cut(watcher: OutputWatcher, log: OutputLog, run: Run) -> None:
    log.write(b"x" * (3 * CHUNK))
    told = [text for _ in range(3) for text in texts(watcher.read([run], NOW))]
    assert told
    assert all(text is not None and len(text) <= 500 for text in told)


def test_what_was_printed_before_the_watcher_began_is_no_news(watcher: OutputWatcher, log: OutputLog, run: Run) -> None:
    log.write(b"old\n")
    earlier = replace(run, supervisor_started=run.supervisor_started - 100)
    assert watcher.read([earlier], NOW) == []
    log.write(b"new\n")
    assert texts(watcher.read([earlier], NOW)) == ["new"]


def test_it_goes_on_through_rotations_and_runs(watcher: OutputWatcher, tmp_path: Path, run: Run) -> None:
    path = Path(run.output)
    first = OutputLog(path, limit=10)
    watcher.read([run], NOW)
    first.write(b"aaaaaaaa\n")
    first.write(b"bbbbbbbb\n")
    first.close()
    assert older(path).exists()
    second = OutputLog(path, limit=10)
    second.write(b"cccccccc\n")
    second.close()
    told = [text for _ in range(3) for text in texts(watcher.read([replace(run, id="ann-2")], NOW))]
    assert told == ["aaaaaaaa", "bbbbbbbb", "cccccccc"]


def test_the_last_words_of_an_agent_are_heard(
    watcher: OutputWatcher, start: Callable[..., Run], script: Callable[..., tuple[str, ...]]
) -> None:
    run = start(script("sys.stdin.read(); print('hello'); sys.exit('error: last words')"))
    signals = watcher.read([run], NOW)
    eventually(lambda: "last words" in output(run) and not is_alive(run))
    signals += watcher.read([], NOW)
    assert texts(signals) == ["hello"]
    assert texts(signals, SignalKind.ERROR) == ["error: last words"]


@pytest.mark.parametrize("path", ["/etc/passwd", "relative/ann/output.log", "/tmp/bob/output.log", ""])
def test_a_registered_path_that_no_supervisor_would_write_is_not_read(
    watcher: OutputWatcher, run: Run, path: str
) -> None:
    assert watcher.read([replace(run, output=path, supervisor_started=1e12)], NOW) == []


def test_a_fifo_does_not_hang_it(watcher: OutputWatcher, run: Run, tmp_path: Path) -> None:
    (tmp_path / "x" / "ann").mkdir(parents=True)
    os.mkfifo(tmp_path / "x" / "ann" / "output.log")
    watcher.read([replace(run, output=str(tmp_path / "x" / "ann" / "output.log"))], NOW)
