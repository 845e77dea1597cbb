"""``rollcage run`` looks on at an agent under its supervisor, and can leave it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rollcage.core.clock import SystemClock
from rollcage.core.fleet import runs
from rollcage.core.fleet.runs import Run, latest_runs
from rollcage.core.model import AgentState, Hold
from rollcage.core.store.paths import RepositoryPaths
from rollcage.core.store.store import Store

from .conftest import eventually, latest, output

Script = Callable[..., tuple[str, ...]]
Attach = Callable[..., subprocess.Popen[bytes]]

FRONT = """
import sys
from pathlib import Path
from types import SimpleNamespace
from rollcage.core.errors import RollcageError
from rollcage.core.fleet.attach import run_attached
from rollcage.core.store.paths import RepositoryPaths
paths, argv = RepositoryPaths(Path(sys.argv[1])), sys.argv[2:]
settings = SimpleNamespace(stage="", competition="")  # AgentSettings, without the time that pydantic takes
try:
    sys.exit(run_attached(paths, "ann", settings, argv, Path.cwd(), stage="monitor"))
except RollcageError as error:
    print("rollcage:", error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


@pytest.fixture
def attach(paths: RepositoryPaths, tmp_path: Path) -> Attach:
    """Return a function that starts the front in a process of its own."""

    def begin(argv: tuple[str, ...], **options: object) -> subprocess.Popen[bytes]:
        kinds: dict[str, object] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
            [sys.executable, "-c", FRONT, str(paths.root), *argv], cwd=tmp_path, **(kinds | options)
        )

    return begin


def answer(front: subprocess.Popen[bytes], stdin: bytes = b"") -> tuple[int, bytes, bytes]:
    out, err = front.communicate(stdin, timeout=60)
    return front.returncode, out, err


def started(paths: RepositoryPaths) -> Run:
    eventually(lambda: any(run.child_pid for run in latest_runs(paths.inbox_db)), "the start")
    return latest(paths)


def test_output_comes_through_byte_by_byte_with_the_exit_code(attach: Attach, script: Script) -> None:
    raw = "os.write(1, bytes(range(256))); os.write(2, b'\\x1b[31mred'); sys.exit(7)"
    assert answer(attach(script(raw))) == (7, bytes(range(256)) + b"\x1b[31mred", b"")


def test_much_output_comes_through_whole_across_a_rotation(attach: Attach, script: Script) -> None:
    code, out, err = answer(attach(script("for n in range(12): os.write(1, b'%07d\\n' % n * 2**17)")))
    assert (code, err) == (0, b"")
    assert out == b"".join(b"%07d\n" % n * 2**17 for n in range(12))


def test_standard_input_reaches_the_agent(attach: Attach, script: Script) -> None:
    code, out, _ = answer(attach(script("print(sys.stdin.read().upper())")), b"do it")
    assert (code, out) == (0, b"DO IT\n")


def test_a_signal_gives_128_and_its_number(attach: Attach, script: Script) -> None:
    assert answer(attach(script("os.kill(os.getpid(), 9)")))[0] == 137


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (("no-such-command", "x"), b"cannot start no-such-command: No such file or directory"),
        (("/",), b"cannot start /: Permission denied"),
    ],
)
def test_a_command_that_cannot_be_started_gives_125(attach: Attach, argv: tuple[str, ...], why: bytes) -> None:
    assert answer(attach(argv)) == (125, b"", b"rollcage: agent ann: " + why + b"\n")


def test_a_second_one_of_the_same_name_is_refused(attach: Attach, script: Script, paths: RepositoryPaths) -> None:
    first = attach(script("time.sleep(60)"))
    run = started(paths)
    assert (run.stage, run.state) == ("monitor", AgentState.RUNNING)
    code, out, err = answer(attach(script("print('never')")))
    assert (code, out) == (1, b"")
    assert b"agent ann runs already under supervisor" in err
    first.send_signal(signal.SIGTERM)
    assert answer(first)[0] == 143


def test_an_interrupt_reaches_the_agent_and_a_second_one_ends_it(
    attach: Attach, script: Script, paths: RepositoryPaths
) -> None:
    front = attach(
        script("signal.signal(signal.SIGINT, lambda *_: print('interrupted')); print('ready')\nwhile 1: time.sleep(1)")
    )
    run = started(paths)
    eventually(lambda: "ready" in output(run))
    front.send_signal(signal.SIGINT)
    eventually(lambda: "interrupted" in output(run))
    front.send_signal(signal.SIGINT)
    assert answer(front) == (143, b"ready\ninterrupted\n", b"")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGHUP, 129), (signal.SIGKILL, -9)])
def test_when_the_terminal_goes_away_the_agent_stays(
    attach: Attach, script: Script, paths: RepositoryPaths, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    go = tmp_path / "go"
    front = attach(script("while not os.path.exists(sys.argv[1]): time.sleep(0.01)\nprint('alone'); sys.exit(3)", go))
    run = started(paths)
    front.send_signal(number)
    assert answer(front)[0] == code
    assert len(runs.tree(run)) == 1
    go.touch()
    eventually(lambda: latest(paths).exit_code == 3)
    assert output(run) == "alone\n"


def test_who_stops_reading_still_gets_the_exit_code(attach: Attach, script: Script, tmp_path: Path) -> None:
    go = tmp_path / "go"
    front = attach(
        script(
            "print('x')\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.01)\nprint('y'); sys.exit(3)",
            go,
        )
    )
    assert front.stdout is not None
    assert front.stdout.read(2) == b"x\n"
    front.stdout.close()
    go.touch()
    assert front.wait(timeout=30) == 3
    assert front.stdin is not None
    assert front.stderr is not None
    front.stdin.close()
    front.stderr.close()


def test_a_held_agent_waits_and_says_so(attach: Attach, script: Script, paths: RepositoryPaths) -> None:
    store = Store.open(paths, SystemClock())
    store.set_hold("ann", Hold.STOPPED, "tests fail")
    front = attach(script("print('begun')"))
    assert front.stderr is not None
    line = front.stderr.readline()
    assert line == b"rollcage: agent ann is stopped (tests fail), so it waits; rollcage resume ann starts it\n"
    store.set_hold("ann", Hold.NONE)
    assert answer(front) == (0, b"begun\n", b"")
    store.close()


def test_a_supervisor_that_was_killed_is_reported(attach: Attach, script: Script, paths: RepositoryPaths) -> None:
    front = attach(script("time.sleep(60)"))
    os.kill(started(paths).supervisor_pid, signal.SIGKILL)
    code, _, err = answer(front)
    assert (code, err) == (1, b"rollcage: the supervisor of agent ann died; its exit code is not known\n")
