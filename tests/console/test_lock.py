"""``rollcage lock`` as scripts and agents use it: real processes, killed in every place, and never an orphan.

A test that waits for something that must happen asks again until then; what must not happen is asked once, when the
process that would do it has ended.
"""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

import rollcage
from rollcage.console import light, lock, lock_processes
from rollcage.core.clock import SystemClock
from rollcage.core.coordination.embedded import EmbeddedLeases
from rollcage.core.model import Lease
from rollcage.core.store.identity import identify
from rollcage.core.store.paths import RepositoryPaths
from tests.conftest import git
from tests.console.cli_support import runner

Start = Callable[..., "subprocess.Popen[str]"]
SHELL = "/bin/sh"


MAIN = "import sys; sys.path[:0] = [{!r}]; from rollcage.__main__ import main; sys.exit(main())\n"
"""The light verbs need no packages, so Python may leave its site out, which halves what it costs."""


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RepositoryPaths:
    """Return the state of a repository, which the environment names as it does for an agent under supervision."""
    (tmp_path / "root").mkdir()
    paths = RepositoryPaths(tmp_path / "root")
    monkeypatch.setenv("ROLLCAGE_INBOX", str(paths.inbox_db))
    monkeypatch.chdir(tmp_path)
    return paths


@pytest.fixture
def known(repository: Path, monkeypatch: pytest.MonkeyPatch) -> RepositoryPaths:
    """Return the state of a repository that rollcage knows; the current folder is its own."""
    monkeypatch.chdir(repository)
    return identify(repository / ".git", lambda: git(repository, "rev-list", "--max-parents=0", "HEAD").split())


@pytest.fixture
def leases(paths: RepositoryPaths) -> Iterator[EmbeddedLeases]:
    opened = EmbeddedLeases(paths, SystemClock())
    yield opened
    opened.close()


@pytest.fixture
def start(paths: RepositoryPaths, tmp_path: Path) -> Iterator[Start]:
    """Start ``rollcage ARGUMENTS`` (or, with ``script``, a shell that has it as $R); all are ended with the test."""
    children: list[subprocess.Popen[str]] = []
    (tmp_path / "main.py").write_text(MAIN.format(str(Path(rollcage.__file__).parents[1])))
    program = [sys.executable, "-S", str(tmp_path / "main.py")]

    def start(*arguments: str, script: str = "", **environment: str) -> subprocess.Popen[str]:
        command = [SHELL, "-c", script] if script else [*program, *arguments]
        children.append(
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "R": " ".join(program), **environment},
                start_new_session=True,
            )
        )
        return children[-1]

    yield start
    for child in children:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
    while pid := keeper_of(paths):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def ended(child: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = child.communicate(timeout=30)
    return child.returncode, out, err


def until(holds: Callable[[], object], seconds: float = 20.0) -> float:
    """Ask until ``holds`` does; return how long that took."""
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < seconds, "it did not happen in time"
        time.sleep(0.005)
    return time.monotonic() - started


def held(leases: EmbeddedLeases, name: str = "x") -> list[Lease]:
    return [lease for lease in leases.list() if lease.name == name]


def keeper_of(paths: RepositoryPaths) -> int:
    """Return the process that has the flock of a holder other than ours; 0: there is none. Never `os.kill` that."""
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            with suppress(OSError):
                if any(map(partial(_lies_in, paths.holders), (process / "fd").iterdir())):
                    return int(process.name)
    return 0


def _lies_in(folder: Path, descriptor: Path) -> bool:
    try:
        return str(descriptor.readlink()).startswith(str(folder))
    except OSError:  # closed meanwhile
        return False


def kill_keeper(paths: RepositoryPaths) -> None:
    keeper = keeper_of(paths)
    assert keeper > 0, "there is no keeper"
    os.kill(keeper, signal.SIGKILL)


def lives(pid: int) -> bool:
    return lock_processes.started_at(pid) != ""


# Held for a process


def test_the_token_alone_is_printed_and_the_lock_lives_as_long_as_the_shell(
    start: Start, leases: EmbeddedLeases
) -> None:
    script = "T=$($R lock acquire x) && echo $T && read -r line </dev/null; $R lock acquire x; echo code $?; sleep 60"
    shell = start(script=script)
    assert shell.stdout is not None
    token = int(shell.stdout.readline())  # $(...) returned: the keeper has no end of the pipe
    assert shell.stdout.readline() == "code 75\n"
    (lease,) = held(leases)
    assert (lease.token, f"(pid {shell.pid})" in lease.holder, lease.permits) == (token, True, 1)
    assert f"process:{shell.pid}:" in lease.session
    shell.kill()
    assert until(lambda: not held(leases)) < 1.0


def test_it_is_free_at_once_when_its_process_is_killed(start: Start, leases: EmbeddedLeases) -> None:
    shell = start(script="$R lock acquire x; exec sleep 60")
    assert shell.stdout is not None
    shell.stdout.readline()
    keeper = keeper_of(leases._paths)
    took = []
    os.kill(shell.pid, signal.SIGKILL)
    took.append(until(lambda: not lives(keeper)))
    assert held(leases) == []
    assert leases.acquire("x", "next").token > 0
    assert took[0] < 0.5  # 0.1 on a machine that does nothing else


def test_a_keeper_that_is_killed_has_lost_the_lock(start: Start, leases: EmbeddedLeases) -> None:
    shell = start(script="T=$($R lock acquire x); echo $T; read -r line; $R lock renew x --token $T; echo code $?")
    assert shell.stdout is not None
    token = int(shell.stdout.readline())
    kill_keeper(leases._paths)
    until(lambda: not held(leases))
    assert leases.acquire("x", "next").token > token


def test_a_lock_for_another_process_ends_with_that(start: Start, leases: EmbeddedLeases) -> None:
    other = start(script="exec sleep 60")
    assert ended(start("lock", "acquire", "x", "--pid", str(other.pid), "--json"))[0] == 0
    (lease,) = held(leases)
    assert f"(pid {other.pid})" in lease.holder
    other.kill()
    other.wait()
    until(lambda: not held(leases))


def test_without_pidfd_its_end_is_seen_all_the_same(
    start: Start, leases: EmbeddedLeases, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = start(script="exec sleep 60")
    monkeypatch.delattr(os, "pidfd_open")
    watched = lock_processes.watch(other.pid)
    assert (watched.descriptor, watched.is_over()) == (-1, False)
    other.kill()
    until(watched.is_over)  # a zombie counts as ended
    other.wait()
    assert watched.is_over()
    with pytest.raises(ProcessLookupError):
        lock_processes.watch(other.pid)


def test_with_a_time_alone_it_lapses_unless_it_is_renewed(start: Start, leases: EmbeddedLeases) -> None:
    code, out, _ = ended(start("lock", "acquire", "x", "--ttl", "2s"))
    assert code == 0
    assert [lease.token for lease in held(leases)] == [int(out)]  # though its parent's command is over
    first = held(leases)[0].expires_in_s
    time.sleep(0.2)
    assert ended(start("lock", "renew", "x", "--token", out.strip()))[0] == 0
    assert held(leases)[0].expires_in_s > first - 0.2
    keeper = keeper_of(leases._paths)
    until(lambda: not held(leases), 6)
    until(lambda: not lives(keeper), 3)
    code, _, err = ended(start("lock", "renew", "x", "--token", out.strip()))
    assert code == 1
    assert f"token {out.strip()}" in err
    assert err.count("\n") == 1


def test_a_lock_that_is_kept_is_renewed(start: Start, leases: EmbeddedLeases) -> None:
    shell = start(script="$R lock acquire x --ttl 1 --pid $$; exec sleep 60")
    assert shell.stdout is not None
    shell.stdout.readline()
    time.sleep(1.3)
    assert len(held(leases)) == 1


def test_released_its_keeper_ends(start: Start, leases: EmbeddedLeases) -> None:
    shell = start(
        script="T=$($R lock acquire x); $R lock release x --token $T --json; $R lock acquire x; exec sleep 60"
    )
    assert shell.stdout is not None
    assert json.loads(shell.stdout.readline()) == {"event": "lock", "released": True, "name": "x", "token": 1}
    assert shell.stdout.readline() == "2\n"
    (lease,) = held(leases)
    assert lease.token == 2


# Not had, late, broken


@pytest.mark.parametrize(("where", "code"), [(">&-", 2), (">/dev/full", 1), ("| true", 1)])
def test_a_token_that_nobody_can_read_is_given_back(
    start: Start, leases: EmbeddedLeases, where: str, code: int
) -> None:
    script = f"{{ until test -e go; do sleep 0.01; done; $R lock acquire x; echo $? >code; }} {where}"
    shell = start(script=script)
    time.sleep(0.1)  # let true, which reads nothing, have ended
    Path("go").touch()
    _, _, err = ended(shell)
    assert (Path("code").read_text(), err.count("rollcage: "), err.count("\n")) == (f"{code}\n", 1, 1)
    until(lambda: not held(leases))


def test_who_waits_is_served_and_who_cannot_wait_is_told_who_has_it(start: Start, leases: EmbeddedLeases) -> None:
    mine = leases.acquire("x", "ann")
    code, out, err = ended(start("lock", "acquire", "x", "--wait", "50ms"))
    assert (code, out) == (75, "")
    assert "is held by ann with token 1" in err
    assert err.count("\n") == 1
    waiter = start("lock", "acquire", "x", "--wait", "30")
    until(lambda: held(leases)[0].waiters)
    leases.release(mine)
    code, out, _ = ended(waiter)
    assert (code, int(out) > mine.token) == (0, True)


def test_one_who_gives_up_waiting_leaves_the_queue(start: Start, leases: EmbeddedLeases) -> None:
    leases.acquire("x", "ann")
    waiter = start("lock", "acquire", "x", "--wait", "60")
    until(lambda: held(leases)[0].waiters)
    waiter.kill()
    until(lambda: not held(leases)[0].waiters)


def test_a_semaphore_has_as_many_as_its_permits(start: Start, leases: EmbeddedLeases) -> None:
    script = (
        "$R lock acquire s --permits 2 --pid $$; $R lock acquire s --permits 2 --pid $$;"
        " $R lock acquire s --permits 2; echo code $?; $R lock acquire s; echo code $?; sleep 60"
    )
    shell = start(script=script)
    assert shell.stdout is not None
    assert [shell.stdout.readline() for _ in range(4)] == ["1\n", "2\n", "code 75\n", "code 2\n"]
    assert [lease.permits for lease in held(leases, "s")] == [2, 2]


def test_a_wrong_token_is_an_error_that_says_why(start: Start, leases: EmbeddedLeases) -> None:
    mine = leases.acquire("x", "ann")
    for verb in ("renew", "release"):
        code, out, err = ended(start("lock", verb, "x", "--token", "77"))
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert "token 77" in err
    assert ended(start("lock", "release", "x", "--token", str(mine.token)))[0] == 0
    assert held(leases) == []


def test_an_operator_breaks_it_with_a_reason_that_its_holder_and_the_audit_tell(
    known: RepositoryPaths, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    leases, run = EmbeddedLeases(known, SystemClock()), runner(capsys)
    mine = leases.acquire("x", "ann")
    monkeypatch.setenv("ROLLCAGE_AGENT", "bob")
    ran = run("lock", "break", "x", "--reason", "why not")
    assert (ran.code, "only an operator decides" in ran.err, len(held(leases))) == (1, True, 1)
    monkeypatch.delenv("ROLLCAGE_AGENT")
    ran = run("lock", "break", "x", "--reason", "it hangs", "--json")
    assert ran.code == 0
    assert ran.records == [{"event": "lock", "broken": True, "name": "x", "token": mine.token, "holder": "ann"}]
    assert light.dispatch(["lock", "release", "x", "--token", str(mine.token)]) == 1
    assert "it hangs" in capsys.readouterr().err
    ran = run("lock", "break", "x", "--reason", "again")
    assert (ran.code, "nobody holds lock 'x'" in ran.err) == (1, True)
    records = run("audit", "--json").records
    assert [(record["what"], record["why"]) for record in records[-1:]] == [("break lock", "it hangs")]
    leases.close()


def test_an_agent_holds_it_under_its_name_and_in_the_session_it_is_given(start: Start, leases: EmbeddedLeases) -> None:
    shell = start(script="$R lock acquire x; exec sleep 60", ROLLCAGE_AGENT="bob", ROLLCAGE_LOCK_SESSION="one line")
    assert shell.stdout is not None
    shell.stdout.readline()
    (lease,) = held(leases)
    assert (lease.holder, lease.session) == ("bob", "one line")


# Held for a command


def test_the_command_finds_the_lock_and_its_exit_code_is_passed_on(start: Start, leases: EmbeddedLeases) -> None:
    script = 'echo "$ROLLCAGE_LOCK_NAME $ROLLCAGE_LOCK_TOKEN"; test -n "$ROLLCAGE_LOCK_SESSION" && exit 7'
    assert ended(start("lock", "run", "x", "--", SHELL, "-c", script)) == (7, "x 1\n", "")
    assert held(leases) == []  # given back before it ended
    assert ended(start("lock", "run", "x", "--", SHELL, "-c", "kill -KILL $$"))[0] == 137
    code, out, err = ended(start("lock", "run", "x", "--", "/nonesuch"))
    assert (code, out, err) == (125, "", "rollcage: '/nonesuch' could not be started: No such file or directory\n")
    leases.acquire("x", "ann")
    code, out, err = ended(start("lock", "run", "x", "--", "echo", "ran"))
    assert (code, out, "is held by ann" in err) == (75, "", True)


def running(start: Start, script: str, *options: str) -> tuple[subprocess.Popen[str], list[int]]:
    """Start a command under a lock; return it and the processes that the script told."""
    child = start("lock", "run", "x", *options, "--", SHELL, "-c", script)
    assert child.stdout is not None
    return child, [int(pid) for pid in child.stdout.readline().split()]


FAMILY = "sleep 60 & echo $$ $!; wait"
"""A command with a child of its own."""


def test_it_is_stopped_with_all_its_processes_when_the_lock_is_broken(start: Start, leases: EmbeddedLeases) -> None:
    child, family = running(start, FAMILY)
    leases.break_("x", "ops", "it hangs", lambda *record: None)
    code, _, err = ended(child)
    assert code == 143
    assert "was broken by ops: it hangs" in err
    assert err.count("\n") == 1
    until(lambda: not any(map(lives, family)))


def test_one_that_ends_well_when_it_is_stopped_is_no_success(start: Start, leases: EmbeddedLeases) -> None:
    child, _ = running(start, "trap 'exit 0' TERM; echo $$; while :; do sleep 0.05; done")
    leases.break_("x", "ops", "it hangs", lambda *record: None)
    assert ended(child)[0] == 1


def test_one_that_does_not_listen_is_killed(start: Start, leases: EmbeddedLeases) -> None:
    child, family = running(start, "trap '' TERM; echo $$; while :; do sleep 0.05; done", "--ttl", "2")
    leases.break_("x", "ops", "it hangs", lambda *record: None)
    assert ended(child)[0] == 137
    until(lambda: not any(map(lives, family)))


@pytest.mark.parametrize("killed", ["runner", "keeper"])
def test_whoever_is_killed_the_command_does_not_go_on(start: Start, leases: EmbeddedLeases, killed: str) -> None:
    child, family = running(start, FAMILY)
    if killed == "runner":
        child.kill()
    else:
        kill_keeper(leases._paths)
    until(lambda: not any(map(lives, family)))
    until(lambda: not held(leases))
    code, _, err = ended(child)
    assert code == (-9 if killed == "runner" else 143)
    assert ("the process that kept it was ended" in err) == (killed == "keeper")


def test_where_the_keeper_does_not_answer_the_command_is_over_before_the_lock_is(
    start: Start, leases: EmbeddedLeases
) -> None:
    child, _ = running(start, "trap 'exit 3' TERM; echo $$; while :; do sleep 0.05; done", "--ttl", "2")
    keeper = keeper_of(leases._paths)
    os.kill(keeper, signal.SIGSTOP)
    code, _, err = ended(child)
    assert held(leases)
    os.kill(keeper, signal.SIGKILL)
    assert code == 3
    assert "was not renewed in time: the process that keeps it does not answer" in err
    assert err.count("rollcage: ") == 1


def test_one_that_was_stopped_itself_learns_that_the_lock_was_renewed_all_the_while(
    start: Start, leases: EmbeddedLeases
) -> None:
    child, family = running(start, "echo $$; sleep 2.2", "--ttl", "2")
    os.kill(child.pid, signal.SIGSTOP)
    until(lambda: not any(map(lives, family)))
    assert held(leases)
    os.kill(child.pid, signal.SIGCONT)
    assert ended(child) == (0, "", "")


def test_signals_are_passed_on(start: Start, leases: EmbeddedLeases) -> None:
    child, _ = running(start, "trap 'echo got it; exit 9' USR1; echo $$; while :; do sleep 0.05; done")
    child.send_signal(signal.SIGUSR1)
    assert ended(child)[:2] == (9, "got it\n")
    assert held(leases) == []


def heard(terminal: int) -> bytes:
    assert select.select([terminal], [], [], 60)[0], "nothing was said for a minute"
    return os.read(terminal, 1_000)


@pytest.mark.parametrize(
    ("typed", "ends"), [(b"hi\n", (0, b"got hi")), (b"\x03", (130, b""))], ids=["a line", "Ctrl-C"]
)
def test_the_terminal_is_the_commands(start: Start, tmp_path: Path, typed: bytes, ends: tuple[int, bytes]) -> None:
    command = [SHELL, "-c", "echo ready; read line; echo got $line"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-S", "main.py", "lock", "run", "x", "--", *command])
    said = b""
    with suppress(OSError):  # the terminal is closed when its last process ends
        while b"ready" not in said:
            said += heard(terminal)
        os.write(terminal, typed)
        while part := heard(terminal):
            said += part
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == ends[0]
    assert ends[1] in said


def test_what_was_ignored_stays_ignored(start: Start, leases: EmbeddedLeases) -> None:
    shell = start(script="trap '' HUP; exec $R lock run x -- sh -c 'echo $$; read -r line < fifo; echo on'")
    os.mkfifo("fifo")
    assert shell.stdout is not None
    command = int(shell.stdout.readline())
    os.kill(shell.pid, signal.SIGHUP)
    os.kill(command, signal.SIGHUP)
    Path("fifo").write_text("go\n")
    assert ended(shell)[:2] == (0, "on\n")


# What is refused


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "what about a lock? allowed: acquire, renew, release, break, run"),
        (("take", "x"), "there is no 'lock take'"),
        (("acquire",), "lock acquire takes one NAME, 0 were given"),
        (("acquire", "x", "y"), "takes one NAME, 2 were given"),
        (("acquire", "x", "--wait"), "--wait needs a value"),
        (("acquire", "x", "--wait", "soon"), "--wait 'soon': allowed: 0 s to 366 days"),
        (("acquire", "x", "--wait", "-1"), "--wait '-1'"),
        (("acquire", "x", "--ttl", "0"), "--ttl '0': allowed: 0.1 s to 366 days"),
        (("acquire", "x", "--ttl=1e9"), "--ttl '1e9'"),
        (("acquire", "x", "--ttl", "inf"), "--ttl 'inf'"),
        (("acquire", "x", "--permits", "0"), "--permits '0': allowed: a whole number from 1"),
        (("acquire", "x", "--permits", "\uff11"), "--permits '\\uff11'"),
        (("acquire", "x", "--pid", "0"), "--pid '0'"),
        (("acquire", "x", "--pid", "2147483647"), "there is no process 2147483647"),
        (("acquire", "x", "--token", "1"), "--token does not go with lock acquire"),
        (("acquire", "x", "--bogus"), "unknown option '--bogus'"),
        (("acquire", "x", "--", "true"), "lock acquire runs no command"),
        (("acquire", ""), "'' is no name for a lock"),
        (("acquire", "a\nb"), "is no name for a lock"),
        (("acquire", "x" * 201), "is no name for a lock"),
        (("acquire", "\x1b[31mred"), "is no name for a lock"),
        (("renew", "x"), "lock renew needs --token"),
        (("release", "x", "--token", "first"), "--token 'first': allowed: a whole number"),
        (("release", "x", "--token", "9" * 40), "allowed: a whole number"),
        (("break", "x"), "lock break needs --reason"),
        (("break", "x", "--reason", " "), "lock break needs --reason"),
        (("run", "x"), "lock run needs a command"),
        (("run", "x", "true"), "put -- before the command"),
        (("run", "x", "--"), "lock run needs a command"),
        (("run", "x", "--pid", "1", "--", "true"), "--pid does not go with lock run"),
    ],
)
def test_wrong_usage_is_one_line_and_takes_nothing(
    leases: EmbeddedLeases, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    assert light.dispatch(["lock", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rollcage: ")
    assert said in err
    assert err.count("\n") == 1
    assert "\x1b" not in err
    assert leases.list() == []


def test_a_name_that_looks_like_an_option_is_behind_two_dashes(start: Start, leases: EmbeddedLeases) -> None:
    token = leases.acquire("--wait", "ann").token
    assert ended(start("lock", "release", "--token", str(token), "--", "--wait")) == (0, "", "")
    assert not held(leases, "--wait")


def test_help_is_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert light.dispatch(["lock", "run", "--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: rollcage lock acquire NAME")


# Which leases


@pytest.mark.parametrize(
    ("settings", "redis"),
    [
        (b"", False),
        (b"coordination: {kind: embedded}  # embedded | redis (url: ...)\n", False),
        (b"# redis\n  # kind: redis\n", False),
        (b"coordination: {kind: redis, url: 'redis://localhost'}\n", True),
        (b"coordination:\n  kind: redis # this machine's\n", True),
        (b"note: 'a # b', coordination: {kind: redis}\n", True),
        (b'coordination: {url: " #", kind: redis}\n', True),
        (b'coordination: {kind: "\\x72edis"}\n', True),
        ("coordination: {kind: redis}".encode("utf-16"), True),
    ],
)
def test_only_settings_that_may_name_redis_are_read_as_yaml(settings: bytes, redis: bool) -> None:
    assert lock.asks_for_redis(settings) is redis


def test_settings_that_name_redis_are_heeded(
    known: RepositoryPaths, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = b"version: 1\ncoordination: {kind: redis, url: 'redis://127.0.0.1:1/0'}\n"
    Path("rollcage.yml").write_bytes(settings)
    known.trusted.write_bytes(settings)
    assert light.dispatch(["lock", "acquire", "x"]) is None
    ran = runner(capsys)("lock", "release", "x", "--token", "1")
    assert (ran.code != 0, ran.out, ran.err.count("\n")) == (True, "", 1)  # never silently without the lock


def test_a_repository_never_seen_is_no_hindrance(repository: Path) -> None:
    command = [sys.executable, "-m", "rollcage", "lock", "run", "x", "--", "echo", "ran"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "ran\n")


def test_an_agent_in_a_clone_means_the_locks_of_its_fleet(
    start: Start, leases: EmbeddedLeases, tmp_path: Path, repository: Path
) -> None:
    git(tmp_path, "clone", "-q", str(repository), "clone")
    leases.acquire("x", "ann")
    assert ended(start("-C", str(tmp_path / "clone"), "lock", "acquire", "x", ROLLCAGE_AGENT="bob"))[0] == 75
