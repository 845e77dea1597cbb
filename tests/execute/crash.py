"""Processes that carry a rollback on and may be killed at it, or run out of disk.

``python -m tests.execute.crash`` reads one request a line, forks a child for each (imports are paid for once), and
answers, when it has ended, with the signal that killed it and with what came of the rollback.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from rollcage.core.errors import RollcageError
from rollcage.core.execute.journal import Journal
from rollcage.core.store.store import Store
from tests.execute.scene import Scene, carry_on, made_safe

JOURNAL_WRITES = ("take_over", "begin", "add", "finish", "write", "save")
STORE_WRITES = ("set_hold", "set_note", "append_event", "save_snapshot", "audit")


class CrashServer:
    """The tests' end."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.execute.crash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, scene: Scene, **request: object) -> tuple[int, str]:
        """Carry the rollback of ``scene`` on in a process of its own; return its signal (0: none), and what came of it.

        ``act``: ``make_safe`` makes its incident safe instead, and counts the writes of the store.
        ``die_at`` names the journal's write, from 0, at which it dies, and ``when``: before or after it is durable.
        ``limit``: no file may be larger than so many bytes, as on a full disk. ``list_writes``: return the writes.
        """
        assert self._process.stdin
        assert self._process.stdout
        asked = {"place": str(scene.place), "env": dict(os.environ), **request}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return int(answer["signal"]), str(answer["result"])

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class _Writes:
    """Counts the journal's writes, those within another not, and dies at one of them."""

    def __init__(self, die_at: int | None, when: str) -> None:
        self._die_at, self._when = die_at, when
        self._depth = 0
        self.names: list[str] = []

    def watch(self, kind: type, names: Sequence[str]) -> None:
        for name in names:
            setattr(kind, name, self._watched(name, getattr(kind, name)))

    def _watched(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **named: Any) -> Any:
            if self._depth:
                return method(*args, **named)
            mine = len(self.names) == self._die_at
            first = args[1] if len(args) > 1 else ""
            subject = first if isinstance(first, str) else getattr(first, "name", "")
            self.names.append(f"{name} {subject}".strip())
            if mine and self._when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            self._depth += 1
            try:
                result = method(*args, **named)
            finally:
                self._depth -= 1
            if mine:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return watched


def _act(request: Mapping[str, Any]) -> str:
    os.environ.clear()
    os.environ.update(request["env"])
    writes = _Writes(request.get("die_at"), request.get("when", "after"))
    if request.get("act") == "make_safe":
        writes.watch(Store, STORE_WRITES)
        safe = made_safe(Scene(Path(request["place"])))
        return "\n".join(writes.names) if request.get("list_writes") else safe
    writes.watch(Journal, JOURNAL_WRITES)
    limit = request.get("limit")
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    record = carry_on(Scene(Path(request["place"])), **request.get("settings", {}))
    return "\n".join(writes.names) if request.get("list_writes") else record.state.value


def _child(request: Mapping[str, Any], out: IO[str]) -> None:
    try:
        out.write(_act(request))
    except RollcageError as error:
        out.write(f"{type(error).__name__}: {error}")
    out.flush()


def _serve() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            try:
                with os.fdopen(writer, "w") as out:
                    _child(request, out)
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as said:
            result = said.read()
        _, wait_status = os.waitpid(pid, 0)
        ended = {"signal": os.WTERMSIG(wait_status) if os.WIFSIGNALED(wait_status) else 0, "result": result}
        print(json.dumps(ended), flush=True)


if __name__ == "__main__":
    _serve()
