"""Processes that publish, resume or withdraw, and may be killed at it.

``python -m tests.gitrepo.crash`` reads one request a line, forks a child for each (imports are paid for once), answers
with its pid, and, once it has ended, with its wait status and what it returned or raised.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from rollcage.core.errors import RollcageError
from rollcage.core.gitrepo.mirror import Mirror
from rollcage.core.gitrepo.publication import Publication
from rollcage.core.gitrepo.publish import publish
from rollcage.core.gitrepo.publish_resume import resume, withdraw
from rollcage.core.gitrepo.repository import Repository


class CrashServer:
    """The tests' end: starts children in the given world, one after the other."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.gitrepo.crash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, act: str, here: Any, publication: Publication, journal: Path, **more: object) -> int:
        """Start ``publish``, ``resume`` or ``withdraw`` in a process of its own; return its pid."""
        request = {
            "act": act,
            "top": str(here.top),
            "mirror": str(here.mirror.path),
            "publication": publication.to_json(),
            "journal": str(journal),
            "env": dict(os.environ),
            **more,
        }
        assert self._process.stdin
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._answer()["pid"])

    def end(self) -> tuple[int, str]:
        """Wait for the child; return the signal that killed it (0: none) and what it returned or raised."""
        answer = self._answer()
        return int(answer["signal"]), str(answer["result"])

    def run(self, act: str, here: Any, publication: Publication, journal: Path, **more: object) -> tuple[int, str]:
        """Start it and wait for it."""
        self.start(act, here, publication, journal, **more)
        return self.end()

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


def read_journal(journal: Path) -> list[tuple[str, Mapping[str, object]]]:
    """Return the records that were durable when the process died."""
    lines = journal.read_text().splitlines() if journal.exists() else []
    return [(name, data) for name, data in map(json.loads, lines)]


def _act(request: Mapping[str, Any]) -> str:
    os.environ.clear()
    os.environ.update(request["env"])
    repository = Repository.discover(Path(request["top"]))
    mirror = Mirror(repository, Path(request["mirror"]))
    fields = dict(request["publication"])
    publication = Publication(**{**fields, "worktrees": tuple(fields["worktrees"])})
    journal = Path(request["journal"])
    wait = float(request.get("wait", 2.0))
    if request["act"] == "publish":
        count = 0

        def record(name: str, data: Mapping[str, object]) -> None:
            nonlocal count
            with journal.open("a") as stream:
                stream.write(json.dumps([name, data]) + "\n")
            if count == request.get("kill_at"):
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1

        publish(repository, mirror, publication, record, lock_wait=wait)
        return "done"
    records = read_journal(journal)
    if request["act"] == "withdraw":
        return json.dumps(withdraw(repository, mirror, publication, records, lock_wait=wait))
    return resume(repository, mirror, publication, records, lock_wait=wait)


def _child(request: Mapping[str, Any], out: IO[str]) -> None:
    try:
        out.write(_act(request))
    except RollcageError as error:
        out.write(f"{getattr(error, 'code', type(error).__name__)}: {error}")
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
        print(json.dumps({"pid": pid}), flush=True)
        _, status = os.waitpid(pid, 0)
        with os.fdopen(reader) as stream:  # after the wait: git left behind by a killed child does not hold the pipe
            result = stream.read()
        killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        print(json.dumps({"signal": killed, "result": result}), flush=True)


if __name__ == "__main__":
    _serve()
