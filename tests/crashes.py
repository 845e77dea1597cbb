"""Processes that do something of rollcage's and may be killed at it.

``python -m tests.crashes MODULE`` imports MODULE once, reads one request a line, forks a child for each, which calls
``MODULE.act(request)``, answers with its pid, and, once it has ended, with the signal that killed it and with what it
returned or raised.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import IO, Any

from rollcage.core.errors import RollcageError

LIMIT_S = 120.0


class Processes:
    """The tests' end: starts children, one after the other."""

    def __init__(self, module: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crashes", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def begin(self, **request: object) -> int:
        """Start a child with the environment of now; return its pid."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"env": dict(os.environ), **request}) + "\n")
        self._process.stdin.flush()
        return int(self._answer()["pid"])

    def end(self) -> tuple[int, str]:
        """Wait for the child; return the signal that killed it (0: none) and what it returned or raised."""
        answer = self._answer()
        return int(answer["signal"]), str(answer["result"])

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def _child(act: Callable[[Mapping[str, Any]], str], request: Mapping[str, Any], out: IO[str]) -> None:
    os.environ.clear()
    os.environ.update(request["env"])
    try:
        out.write(act(request))
    except RollcageError as error:
        out.write(f"{getattr(error, 'code', type(error).__name__)}: {error}")
    out.flush()


def _serve(act: Callable[[Mapping[str, Any]], str]) -> None:
    for line in sys.stdin:
        request = json.loads(line)
        # No pipe: what the dead leave running would hold it open.
        with tempfile.TemporaryFile("w+") as out:
            pid = os.fork()
            if pid == 0:
                try:
                    _child(act, request, out)
                finally:
                    os._exit(0)
            print(json.dumps({"pid": pid}), flush=True)
            status = _ended(pid)
            out.seek(0)
            result = out.read()
        killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        print(json.dumps({"signal": killed, "result": result}), flush=True)


def _ended(pid: int) -> int:
    """Return how the child ended; one that does not for `LIMIT_S` is ended by SIGABRT."""
    descriptor = os.pidfd_open(pid)
    try:
        if not select.select([descriptor], [], [], LIMIT_S)[0]:
            os.kill(pid, signal.SIGABRT)
        return os.waitpid(pid, 0)[1]
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    _serve(importlib.import_module(sys.argv[1]).act)
