"""All observers of one repository: each tick puts what is new into the inbox as signals."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime

from ..fleet.runs import current_runs
from ..gitrepo.history import attribute, commits
from ..model import EVERYBODY, CheckOutcome, Commit, Signal, SignalKind
from ..services import Services
from .commits import CommitWatcher
from .data import database_signals
from .output import OutputWatcher
from .processes import ProcessSampler

Prime = Callable[[Sequence[Commit]], str]
"""Names the agent that broke a check, from the commits since the last good one; EVERYBODY where that is not plain."""


class Observer:
    """Looks at processes, output, history and the database; and, apart because they take long, runs the checks."""

    def __init__(self, services: Services, prime_suspect: Prime) -> None:
        """Take the services, and who names a first suspect before there is a diagnosis."""
        self._services = services
        self._prime = prime_suspect
        self._processes = ProcessSampler()
        self._output = OutputWatcher()
        self._commits = CommitWatcher(services)
        self._database_due = services.clock.boot()
        self._checked = ""

    def look(self) -> int:
        """Look at everything that is quick; return how many signals were put."""
        services = self._services
        now = services.clock.now()
        runs = current_runs(services.paths.inbox_db)
        signals = [*self._processes.sample(runs, now), *self._output.read(runs, now), *self._commits.look(now)]
        if services.database is not None and services.clock.boot() >= self._database_due and services.settings.database:
            self._database_due = services.clock.boot() + services.settings.database.every
            signals += database_signals(services.database, services.settings.database, now)
        if signals:
            services.signals.put(signals)
        return len(signals)

    def run_checks(self, stop: threading.Event | None = None, *, again: bool = False) -> tuple[CheckOutcome, ...]:
        """Run the checks on the tip of the branch, unless that was done; mark it good where all pass.

        Results are known by tree and definition, so a tip whose tree was seen before costs nothing.
        """
        services = self._services
        tip = services.repository.tip(services.settings.branch)
        if tip is None or not services.settings.checks or (tip == self._checked and not again):
            return ()
        tree = services.repository.tree(tip)
        outcomes = services.checks.run_all(tip, tree, stop=stop)
        if stop is not None and stop.is_set():
            return ()
        now = services.clock.now()
        suspect, files = EVERYBODY, tuple[str, ...]()
        if all(outcome.passed for outcome in outcomes):
            services.store.mark_good(tip, tree, services.checks.checks_hash)
        else:
            since = self._since_good(tip)
            suspect = self._prime(since)
            text = "\n".join(outcome.detail for outcome in outcomes if outcome.passed is False)
            files = tuple(name for name in dict.fromkeys(f for c in since for f in c.files) if name in text)
        services.signals.put([_signal(outcome, tip, suspect, files, now) for outcome in outcomes])
        self._checked = tip
        return outcomes

    def _since_good(self, tip: str) -> list[Commit]:
        services = self._services
        newest = commits(services.mirror, tip, limit=services.settings.limits.lookback)
        good = set(services.store.good_commits(services.checks.checks_hash))
        index = next((index for index, commit in enumerate(newest) if commit.sha in good), None)
        return attribute(newest[: 20 if index is None else index], services.settings.agents)


def _signal(outcome: CheckOutcome, sha: str, suspect: str, files: tuple[str, ...], now: datetime) -> Signal:
    flaky = outcome.passed is None and outcome.detail.startswith("flaky")
    words = {True: "passed", False: "failed", None: "flaky" if flaky else "unknown"}
    return Signal(
        at=now,
        agent=EVERYBODY,
        kind=SignalKind.TEST,
        name=outcome.name,
        text=words[outcome.passed],
        attrs={
            "check": True,
            "sha": sha,
            "failing": list(outcome.failing),
            "suspect_agent": suspect if outcome.passed is False else EVERYBODY,
            "files": list(files),
        },
    )
