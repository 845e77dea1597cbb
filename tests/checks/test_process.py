"""A command of the user runs within limits, and nothing of it is left afterwards."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from rollcage.core.checks.process import OUTPUT_LIMIT, CommandResult, run_command

PYTHON = sys.executable

DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execve(sys.executable, [sys.executable, "-c", '''
import os, sys, time
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(600)''', sys.argv[1]], {})
    os._exit(0)
while not os.path.exists(sys.argv[1]) or not open(sys.argv[1]).read():
    time.sleep(0.01)
if sys.argv[2:]:
    time.sleep(600)
"""
"""A program that forks twice, takes a new session, clears its environment and keeps the output open."""


def run(*argv: str, cwd: Path = Path("/"), timeout: float = 20, memory: int | None = None) -> CommandResult:
    return run_command(argv, cwd, {}, timeout=timeout, memory=memory)


def shell(script: str, timeout: float = 20, stop: threading.Event | None = None) -> CommandResult:
    return run_command(["sh", "-c", script], Path("/"), {}, timeout=timeout, stop=stop)


def until(holds: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.02)
    return True


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_says_how_a_command_ended_and_what_it_printed_on_both_streams() -> None:
    done = shell("echo out; echo err >&2; exit 3")
    assert (done.status, done.timed_out, done.started, done.output) == (3, False, True, "out\nerr")
    assert shell("kill -SEGV $$").status == -signal.SIGSEGV
    assert done.duration_s > 0


def test_has_no_input_no_terminal_and_no_signal_ignored_or_blocked() -> None:
    # Called from a thread that blocks signals, as an engine's may.
    results: list[CommandResult] = []

    def blocked() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM})
        results.append(shell("cat; tty; grep -E '^Sig(Blk|Ign)' /proc/self/status"))

    thread = threading.Thread(target=blocked)
    thread.start()
    thread.join()
    words = results[0].output.split()
    assert words[:5] == ["not", "a", "tty", "SigBlk:", "0" * 16]
    ignored = {number for number in range(1, 65) if int(words[6], 16) >> (number - 1) & 1}
    assert not ignored & signal.valid_signals()  # the C library keeps two for itself that nobody can set


@pytest.mark.parametrize("argv", [("no-such-command-here",), ("./nothing",), ("/",), ("sh", "-c", "a\0b")])
def test_a_command_that_cannot_be_started_says_why(argv: tuple[str, ...], tmp_path: Path) -> None:
    done = run(*argv, cwd=tmp_path)
    assert (done.started, done.status, done.timed_out) == (False, None, False)
    assert done.problem
    assert "\n" not in done.problem


def test_a_folder_that_is_not_there_is_a_command_that_cannot_be_started(tmp_path: Path) -> None:
    done = run("true", cwd=tmp_path / "nowhere")
    assert not done.started
    assert "nowhere" in done.problem


def test_a_hanging_command_is_killed_with_a_daemon_that_hid(tmp_path: Path) -> None:
    done = run(PYTHON, "-c", DAEMON, str(tmp_path / "pid"), "hang", timeout=1.5)
    assert (done.status, done.timed_out) == (None, True)
    assert gone(int((tmp_path / "pid").read_text()))
    assert done.duration_s < 8


def test_a_daemon_does_not_outlive_a_command_that_ends_by_itself(tmp_path: Path) -> None:
    done = run(PYTHON, "-c", DAEMON, str(tmp_path / "pid"))
    assert (done.status, done.timed_out) == (0, False)
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_fork_bomb_is_put_out(tmp_path: Path) -> None:
    marker = f"31{tmp_path.stat().st_ino}"  # seconds to sleep, and a number that no other process has
    spawner = f"while :; do (setsid sleep {marker} &); sleep 0.005; done"
    done = shell(" ".join([f"({spawner}) &"] * 8) + " wait", timeout=1)
    assert done.timed_out
    assert not [p.pid for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", marker]]


def test_of_endless_output_the_end_is_kept() -> None:
    done = shell("yes 0123456789abcde | head -c 100000000; echo; echo the end")
    assert done.output.endswith("\nthe end")
    assert OUTPUT_LIMIT // 2 < len(done.output) <= OUTPUT_LIMIT
    assert set(done.output.split("\n")[:-2]) == {"0123456789abcde"}, "it begins with a whole line"


def test_output_is_clean_and_holds_no_secret() -> None:
    token = "ghp_" + "a1B2" * 9
    done = shell(rf"printf '\033]52;c;aGk=\007\033[31mred\033[0m \302\233m \377\n[/]{token}\n'")
    assert done.output == "red  \ufffd\n[/]***"


def test_the_environment_keeps_no_secret_and_gets_what_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = {
        "GITHUB_TOKEN": "x", "AWS_SECRET_ACCESS_KEY": "x", "PGPASSWORD": "x", "MY_CREDENTIALS": "x", "api_key": "x",
        "SSH_AUTH_SOCK": "x", "GIT_DIR": "x", "ROLLCAGE_STATE_DIR": "x", "DATABASE_URL": "postgres://a:b@host/c",
    }  # fmt: skip
    kept = {"LANG": "C.UTF-8", "MY_SETTING": "1"}
    for name, value in (secret | kept).items():
        monkeypatch.setenv(name, value)
    done = run_command(["env"], Path("/"), {"PYTHONPATH": "src", "GIT_DIR": "mine"}, timeout=20)
    seen = dict(line.partition("=")[::2] for line in done.output.splitlines())
    assert {name: seen.get(name) for name in kept} == kept
    assert {"PATH", "HOME"} <= seen.keys()
    assert (seen["PYTHONPATH"], seen["GIT_DIR"]) == ("src", "mine")
    assert not (secret.keys() - {"GIT_DIR"}) & seen.keys()


def test_what_kills_its_watcher_is_found_all_the_same(tmp_path: Path) -> None:
    script = f"setsid sh -c 'echo $$ > {tmp_path}/pid; exec sleep 600' & sleep 0.3; kill -9 $PPID; sleep 600"
    done = shell(script)
    assert (done.started, done.status, done.timed_out) == (True, None, False)
    assert gone(int((tmp_path / "pid").read_text()))


def test_the_stop_event_ends_it(tmp_path: Path) -> None:
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    done = shell(f"echo $$ > {tmp_path}/pid; echo begun; exec sleep 600", stop=stop)
    assert (done.status, done.timed_out, done.output) == (None, False, "begun")
    assert gone(int((tmp_path / "pid").read_text()))


def test_no_process_of_it_gets_more_memory_than_it_may() -> None:
    done = run(PYTHON, "-c", "bytearray(10**9)", memory=400_000_000)
    assert done.status == 1
    assert "MemoryError" in done.output


def test_it_dies_with_a_caller_that_is_killed(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\nfrom rollcage.core.checks.process import run_command\n"
        f"script = 'setsid sh -c \"echo $$ > {tmp_path}/pid; exec sleep 600\"'\n"
        "run_command(['sh', '-c', script], Path('/'), {}, timeout=600)"
    )
    pid = tmp_path / "pid"
    with subprocess.Popen([PYTHON, "-c", code]) as caller:
        assert until(lambda: pid.exists() and pid.read_text() != "")
        caller.kill()
    assert until(lambda: gone(int(pid.read_text())))
