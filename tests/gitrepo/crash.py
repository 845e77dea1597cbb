"""Publishing, resuming and withdrawing in processes that may be killed at it; `tests.crashes` runs them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rollcage.core.gitrepo.mirror import Mirror
from rollcage.core.gitrepo.publication import Publication
from rollcage.core.gitrepo.publish import publish
from rollcage.core.gitrepo.publish_resume import resume, withdraw
from rollcage.core.gitrepo.repository import Repository
from tests.crashes import Processes


class CrashServer(Processes):
    """Starts them in the given world."""

    def __init__(self) -> None:
        super().__init__(__name__)

    def start(self, act: str, here: Any, publication: Publication, journal: Path, **more: object) -> int:
        """Start ``publish``, ``resume`` or ``withdraw`` in a process of its own; return its pid."""
        return self.begin(
            act=act,
            top=str(here.top),
            mirror=str(here.mirror.path),
            publication=publication.to_json(),
            journal=str(journal),
            **more,
        )

    def run(self, act: str, here: Any, publication: Publication, journal: Path, **more: object) -> tuple[int, str]:
        """Start it and wait for it."""
        self.start(act, here, publication, journal, **more)
        return self.end()


def read_journal(journal: Path) -> list[tuple[str, Mapping[str, object]]]:
    """Return the records that were durable when the process died."""
    lines = journal.read_text().splitlines() if journal.exists() else []
    return [(name, data) for name, data in map(json.loads, lines)]


def act(request: Mapping[str, Any]) -> str:
    """Do what is asked for; the child's end."""
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
