"""A small shop under watch, for tests of the loop's parts together: real git, real checks, real state."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from rollcage.console.context import Context
from rollcage.core.clock import Clock
from rollcage.core.coordination.leader import Leader
from rollcage.core.detect.incidents import extend, open_incident
from rollcage.core.model import EVERYBODY, Finding, Incident, Severity, Signal, SignalKind
from rollcage.core.services import Services
from tests.conftest import copied_repository, git

GOOD = "def add(a, b):\n    return a + b\n"
BAD = "def add(a, b):\n    return a - b\n"
CHECK: dict[str, Any] = {"name": "tests", "run": ["grep", "-q", "a + b", "calc.py"], "retries": 0, "timeout": "20s"}


def eventually(condition: Callable[[], object], what: str = "it", seconds: float = 30.0) -> None:
    """Wait until ``condition`` holds; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        threading.Event().wait(0.01)


def commit(path: Path, agent: str, summary: str, files: dict[str, str]) -> str:
    """Commit ``files`` and nothing else in the repository at ``path``; return the commit."""
    for name, text in files.items():
        place = path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    git(path, "add", "--", *files)
    message = f"{summary}\n\nAgent: {agent}\n" if agent else summary
    git(path, "commit", "-q", "-m", message, "--only", "--", *files)
    return git(path, "rev-parse", "HEAD")


def lay_out(path: Path) -> None:
    """Make a repository on branch main with three good commits in ``path``."""
    path.mkdir()
    git(path, "init", "-q", "-b", "main")
    commit(path, "planner", "start", {"calc.py": GOOD, "plan.md": "plan\n"})
    commit(path, "planner", "plan on", {"plan.md": "plan\non\n"})
    commit(path, "executor", "notes", {"notes.md": "notes\n"})


class Stages:
    """Shops in which something has happened already: it happens once, and each test goes on from a copy of that.

    A shop and its state name places, so all stages stand in one place, one after the other.
    """

    def __init__(self, folder: Path, template: Path) -> None:
        """Take an empty folder and the repository that every shop begins with."""
        self._place, self._kept, self._template = folder / "place", folder / "kept", template
        self._kept.mkdir()

    @contextmanager
    def at(self, happened: Callable[[Shop], object]) -> Iterator[Shop]:
        """Within, there is a shop in which ``happened`` has happened, a function of a module; and nothing opened."""
        kept = self._kept / f"{happened.__module__}.{happened.__qualname__}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ROLLCAGE_STATE_DIR", str(self._place / "state"))
            if not kept.exists():
                self._happen(happened, kept)
            self._clear()
            shutil.copytree(kept, self._place, symlinks=True)
            shop = Shop(self._place, again=True)
            git(shop.path, "update-index", "-q", "--refresh")  # the copied files have new times
            try:
                yield shop
            finally:
                shop.close()

    def _happen(self, happened: Callable[[Shop], object], kept: Path) -> None:
        self._clear()
        self._place.mkdir()
        shop = Shop(self._place, self._template)
        try:
            happened(shop)
        finally:
            shop.close()
        self._place.rename(kept)

    def _clear(self) -> None:
        if self._place.exists():
            shutil.rmtree(self._place)


class Shop:
    """A repository on branch main with three good commits, and rollcage's state of it."""

    def __init__(self, folder: Path, template: Path | None = None, *, again: bool = False, **settings: Any) -> None:
        """Make the repository, or copy the one of `lay_out`, which is faster by far; ``again``: it is there."""
        self.path = folder / "shop"
        self._config = folder / "shop.yml"
        self._contexts: list[Context] = []
        self._settings: dict[str, Any] = {
            "version": 1,
            "checks": [CHECK],
            "agents": {"executor": {}, "planner": {}},
        }
        if template:
            copied_repository(template, self.path)
        elif again:
            self._settings = yaml.safe_load(self._config.read_text())
        else:
            lay_out(self.path)
        self.configure(**settings)

    def configure(self, **settings: Any) -> Context:
        """Change settings and open everything anew with them."""
        self._settings |= settings
        self._config.write_text(yaml.safe_dump(self._settings))
        return self.open()

    def open(self, clock: Clock | None = None) -> Context:
        """Open everything anew, as the next process would."""
        self._contexts.append(Context(self.path, self._config, clock))
        return self.context

    @property
    def context(self) -> Context:
        return self._contexts[-1]

    @property
    def services(self) -> Services:
        return self.context.services()

    def close(self) -> None:
        while self._contexts:
            self._contexts.pop().close()

    def commit(self, agent: str, summary: str, files: dict[str, str]) -> str:
        """Commit ``files`` and nothing else; return the commit."""
        return commit(self.path, agent, summary, files)

    def break_it(self, agent: str = "executor") -> str:
        """Commit the fault, then something good; return the fault."""
        bad = self.commit(agent, "tidy add", {"calc.py": BAD})
        self.commit("planner", "more plan", {"plan.md": f"plan\nafter {bad}\n"})
        return bad

    def head(self) -> str:
        return git(self.path, "rev-parse", "main")

    def mark_good(self, sha: str = "main") -> None:
        """Record that a commit passed the checks."""
        sha = git(self.path, "rev-parse", sha)
        services = self.services
        services.store.mark_good(sha, services.repository.tree(sha), services.checks.checks_hash)

    def incident(self, *findings: Finding) -> Incident:
        """Open an incident with ``findings``; without any, of the failing check ``tests``."""
        store = self.services.store
        first, *more = findings or (self.finding(),)
        incident = open_incident(store.new_incident_id(), first, self.services.clock.now())
        for finding in more:
            incident = extend(incident, finding)
        store.save_incident(incident)
        return incident

    def finding(self, fingerprint: str = "check:tests", *, agent: str = EVERYBODY, **about: Any) -> Finding:
        """Return a critical finding of now; of a check where the fingerprint is one's."""
        now = self.services.clock.now()
        rule = "check_failed" if fingerprint.startswith("check:") else fingerprint
        about = {"severity": Severity.CRITICAL, "summary": f"{fingerprint} is bad", **about}
        return Finding(at=now, rule=rule, agent=agent, fingerprint=fingerprint, since=now, **about)

    def signal(self, kind: str, name: str, *, agent: str = "executor", **about: Any) -> None:
        """Put a signal into the inbox, as an agent would."""
        now = self.services.clock.now()
        self.services.signals.put([Signal(now, agent, SignalKind(kind), name, **about)])

    def trouble(self) -> None:
        """Commit the fault upon a commit that is known to be good, and open the incident of the failing check."""
        self.mark_good()
        self.break_it()
        self.incident()

    @contextmanager
    def leading(self) -> Iterator[Leader]:
        """Within, this process leads."""
        leader = Leader(self.context.repository.common_dir, self.context.own_leases)
        assert leader.try_lead()
        try:
            yield leader
        finally:
            leader.resign()
