"""All observers of one repository: each look puts what is new into the inbox as signals."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from datetime import datetime

from ..errors import RollcageError, UsageError
from ..fleet.runs import Run, current_runs
from ..gitrepo.history import commits
from ..model import EVERYBODY, CheckOutcome, Commit, Hold, Signal, SignalKind
from ..services import Services, attributed
from .commits import CommitWatcher
from .data import database_signals
from .origin import origins
from .output import OutputWatcher
from .processes import ProcessSampler

OUTPUT_LINES, OUTPUT_WIDTH = 15, 300
"""How much of a failing check's output goes with its finding: its last lines, and how much of each."""
Prime = Callable[[Sequence[Commit]], str]
"""Names the agent that broke a check, from the commits since the last good one; EVERYBODY where that is not plain."""

WINDOW = 20
"""Commits that may have broken a check where no good one is known."""
AGAIN_S = 60.0
"""After so long a check that could not be run is tried again, though nothing was committed."""
GONE = ("memory_usage", "cpu", "descriptors", "processes")
"""What an agent without any process uses none of."""


class Observer:
    """Looks at processes, output and history; and, apart because they take long, at the database and the checks.

    Each of the three looks has one thread of its own.
    """

    def __init__(self, services: Services, prime_suspect: Prime, *, may_run_in_checkout: bool = True) -> None:
        """Take who names a first suspect before there is a diagnosis, and whether checks may be tried in the checkout.

        Only so is seen whether a check that passes can be believed; what it leaves there stays.
        """
        self._services = services
        self._prime = prime_suspect
        self._in_checkout = may_run_in_checkout
        self._processes = ProcessSampler()
        self._output = OutputWatcher(services.clock)
        self._commits = CommitWatcher(services)
        self._had_branch = False
        self._database_due = services.clock.boot()
        self._checked, self._check_due = "", 0.0
        self.doubt: RollcageError | None = None
        """Why the checks' last answer says nothing about the branch: one cannot be run, or cannot be believed."""
        self.flaky: tuple[str, ...] = ()
        """Which checks were flaky at the last answer, one line each."""

    def look(self) -> int:
        """Look at processes, output and history; return how many signals were put.

        What one of them cannot see does not keep the others from it; it is raised in the end, as a RollcageError.
        """
        services = self._services
        now = services.clock.now()
        runs = current_runs(services.paths.inbox_db)
        looks: list[Callable[[], list[Signal]]] = [
            lambda: self._processes.sample(runs, now),
            lambda: self._gone(runs, now),
            lambda: self._output.read(runs, now),
            lambda: self._history(runs, now),
        ]
        signals: list[Signal] = []
        problem: RollcageError | None = None
        for each in looks:
            try:
                signals += each()
            except RollcageError as error:
                problem = problem or error
        if signals:
            services.signals.put(signals)
        if problem is not None:
            raise problem
        return len(signals)

    def _gone(self, runs: Sequence[Run], now: datetime) -> list[Signal]:
        """Return that an agent in trouble uses nothing, where it has ended: else its trouble would never be over.

        One that is held was stopped for its trouble; that is no cure.
        """
        store = self._services.store
        findings = [finding for incident in store.incidents(open_only=True) for finding in incident.findings]
        troubled = {finding.agent for finding in findings if finding.rule in {*GONE, "resource_leak"}}
        working = {run.agent for run in runs if run.child_pid is not None}
        held = {agent for agent, held in store.holds().items() if held.hold is not Hold.NONE}
        return [
            Signal(now, agent, SignalKind.METRIC, name, 0.0, unit="B" if name == "memory_usage" else None)
            for agent in sorted(troubled - working - held - {EVERYBODY})
            for name in GONE
        ]

    def _history(self, runs: Sequence[Run], now: datetime) -> list[Signal]:
        services = self._services
        branch = services.settings.branch
        if services.repository.tip(branch) is not None:
            self._had_branch = True
        elif self._had_branch:
            raise RollcageError(
                f"branch {branch} is gone, or the whole repository: nothing is watched until it is back; "
                f"its history is kept in {services.paths.mirror}"
            )
        agents = services.settings.agents
        return self._commits.look(now, lambda: origins(services.repository, runs, agents, branch))

    def look_at_data(self) -> int:
        """Run the checks of the database where it is time; return how many signals were put."""
        services, settings = self._services, self._services.settings.database
        if services.database is None or settings is None or services.clock.boot() < self._database_due:
            return 0
        self._database_due = services.clock.boot() + settings.every
        signals = database_signals(services.database, settings, services.clock.now())
        if signals:
            services.signals.put(signals)
        return len(signals)

    def run_checks(self, stop: threading.Event | None = None, *, again: bool = False) -> tuple[CheckOutcome, ...]:
        """Run the checks on the tip of the branch, unless that was done; mark it good where all pass and are believed.

        Results are known by tree and definition, so a tip whose tree was seen before costs nothing. What says nothing
        about the branch is in `doubt`, and is tried again after a minute.
        """
        services = self._services
        tip = services.repository.tip(services.settings.branch)
        if tip is None or not services.settings.checks:
            return ()
        if tip == self._checked and not again and services.clock.boot() < self._check_due:
            return ()
        tree = services.repository.tree(tip)
        outcomes = services.checks.run_all(tip, tree, stop=stop)
        if stop is not None and stop.is_set():
            return ()
        suspect, files = EVERYBODY, tuple[str, ...]()
        if not all(outcome.passed for outcome in outcomes):
            since = self._since_good(tip)
            suspect = self._prime(since)
            text = "\n".join(outcome.detail for outcome in outcomes if outcome.passed is False)
            files = tuple(name for name in dict.fromkeys(f for c in since for f in c.files) if _names(text, name))
        now = services.clock.now()
        services.signals.put([_signal(outcome, tip, suspect, files, now) for outcome in outcomes])
        self.doubt = self._doubt(outcomes, tip, tree, stop)
        self.flaky = tuple(f"check {each.name} is {_why(each)} at {tip[:12]}" for each in outcomes if _is_flaky(each))
        stopped = stop is not None and stop.is_set()
        if all(outcome.passed for outcome in outcomes) and self.doubt is None and not stopped:
            services.store.mark_good(tip, tree, services.checks.checks_hash)
        self._checked = tip
        self._check_due = services.clock.boot() + AGAIN_S if self.doubt is not None else float("inf")
        if stopped:  # it may be that a canary was not tried to its end
            self._check_due = 0.0
        return outcomes

    def close(self) -> None:
        """Close the files that are followed."""
        self._output.close()

    def _doubt(
        self, outcomes: Sequence[CheckOutcome], tip: str, tree: str, stop: threading.Event | None
    ) -> RollcageError | None:
        """Return the first reason to doubt the ``outcomes``; a failure is looked into by the diagnosis."""
        for check, outcome in zip(self._services.settings.checks, outcomes, strict=True):
            if outcome.passed is None and _why(outcome).startswith("cannot be started"):
                return UsageError(f"check {check.name} {_why(outcome)}; mend it in rollcage.yml")
            if outcome.passed is None and not _is_flaky(outcome):
                return RollcageError(f"check {check.name} has no verdict: {_why(outcome)}; see rollcage doctor")
            if outcome.passed and self._in_checkout:
                belief = self._services.checks.believed(check, tip, tree, stop=stop)
                if not belief.believed and belief.final:
                    return UsageError(f"cannot tell whether all is well: {belief.why}")
        return None

    def _since_good(self, tip: str) -> list[Commit]:
        services = self._services
        newest = commits(services.mirror, tip, limit=services.settings.limits.lookback)
        good = set(services.store.good_commits(services.checks.checks_hash))
        index = next((index for index, commit in enumerate(newest) if commit.sha in good), None)
        return attributed(services, newest[: WINDOW if index is None else index])


def _names(text: str, path: str) -> bool:
    """Return whether ``text`` has ``path`` as a whole: ``calc.py`` is not named by ``subcalc.py``."""
    return path in text and re.search(rf"(?<![\w.@+-]){re.escape(path)}(?!\w)", text) is not None


def _why(outcome: CheckOutcome) -> str:
    return outcome.detail.partition("\n")[0]


def _is_flaky(outcome: CheckOutcome) -> bool:
    return outcome.passed is None and outcome.detail.startswith("flaky")


def _signal(outcome: CheckOutcome, sha: str, suspect: str, files: tuple[str, ...], now: datetime) -> Signal:
    words = {True: "passed", False: "failed", None: "flaky" if _is_flaky(outcome) else "unknown"}
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
            "output": _end_of(outcome.detail) if outcome.passed is False else [],
        },
    )


def _end_of(detail: str) -> list[str]:
    """Return the last lines that a check printed: they say what is wrong where no report names a failing test."""
    return [line[:OUTPUT_WIDTH] for line in detail.splitlines() if line.strip()][-OUTPUT_LINES:]
