"""One process that has everything imported and forks a child for each request, many at a time; any may be killed.

``python -m tests.issues.nursery MODULE`` reads a request a line, forks, calls ``MODULE.act(request)`` in the child, and
tells the pid and, once it has ended, by which signal, or with what error. It and its children end with their parent.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import traceback
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

PR_SET_PDEATHSIG = 1


class Child:
    """One running ``act``."""

    def __init__(self, pid: int, told: queue.SimpleQueue[Mapping[str, Any]]) -> None:
        self.pid, self._told = pid, told

    def kill(self) -> None:
        """Kill it, if it still runs."""
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def end(self, timeout: float) -> tuple[int, str]:
        """Wait until it has ended; return the signal that killed it (0: none) and what it raised (empty: nothing)."""
        told = self._told.get(timeout=timeout)
        return int(told["signal"]), str(told["error"])


class Nursery:
    """The tests' end."""

    def __init__(self, module: str) -> None:
        words = [sys.executable, "-m", "tests.issues.nursery", module]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._lock, self._count = threading.Lock(), 0
        self._told: defaultdict[int, queue.SimpleQueue[Mapping[str, Any]]] = defaultdict(queue.SimpleQueue)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def begin(self, **request: object) -> Child:
        """Start a child."""
        assert self._process.stdin
        with self._lock:
            self._count += 1
            told = self._told[self._count]
            self._process.stdin.write(json.dumps({"id": self._count, **request}) + "\n")
            self._process.stdin.flush()
        return Child(int(told.get(timeout=60)["pid"]), told)

    def close(self) -> None:
        """End it and its children."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(30)
        self._reader.join()
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            told = json.loads(line)
            self._told[told["id"]].put(told)


def _child(act: Callable[[Mapping[str, Any]], None], request: Mapping[str, Any], errors: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        act(request)
    except BaseException:
        os.write(errors, traceback.format_exc()[-3_000:].encode())


def _serve(act: Callable[[Mapping[str, Any]], None]) -> None:
    running: dict[int, tuple[int, int, int]] = {}  # its pidfd: id, pid, where its error comes from
    pending = b""
    while True:
        ready, _, _ = select.select([0, *running], [], [])
        for descriptor in ready:
            if descriptor in running:
                number, pid, errors = running.pop(descriptor)
                status = os.waitpid(pid, 0)[1]
                os.close(descriptor)
                text = os.read(errors, 4_000).decode(errors="replace")
                os.close(errors)
                killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
                print(json.dumps({"id": number, "signal": killed, "error": text}), flush=True)
                continue
            read = os.read(0, 65_536)
            if not read:
                for _, pid, _ in running.values():
                    os.kill(pid, signal.SIGKILL)
                return
            *lines, pending = (pending + read).split(b"\n")
            for line in lines:
                request = json.loads(line)
                errors, writing = os.pipe()
                pid = os.fork()
                if pid == 0:
                    try:
                        _child(act, request, writing)
                    finally:
                        os._exit(0)
                os.close(writing)
                running[os.pidfd_open(pid)] = (request["id"], pid, errors)
                print(json.dumps({"id": request["id"], "pid": pid}), flush=True)


if __name__ == "__main__":
    _serve(importlib.import_module(sys.argv[1]).act)
