"""What the agents of a storm do, within processes that may be killed at any moment; see `tests.issues.storm`."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rollcage.core.clock import SystemClock
from rollcage.core.config import Settings
from rollcage.core.errors import LeaseError, RollcageError
from rollcage.core.issues.batch import batch_operation_atomically, recover
from rollcage.core.issues.comment import comment_on_issue
from rollcage.core.issues.create import create_issue_atomically
from rollcage.core.issues.desk import Desk, open_desk
from rollcage.core.issues.errors import (
    BatchOperationError,
    IssueUpdateError,
    OutcomeUnknownError,
    ScopeViolationError,
    TrackerError,
    TrackerLimitError,
    TrackerOfflineError,
    TrackerRefusedError,
)
from rollcage.core.issues.github import tracker  # noqa: F401 - imported once, before the children are forked
from rollcage.core.issues.scope import Scope, scope_of
from rollcage.core.issues.update import read_issue, update_issue_with_optimistic_lock
from rollcage.core.store.paths import RepositoryPaths

from .history import COUNTER, Log

REFUSED = (
    BatchOperationError,
    IssueUpdateError,
    LeaseError,
    ScopeViolationError,
    TrackerLimitError,
    TrackerOfflineError,
    TrackerRefusedError,
)
"""After these nothing of an operation may be left, but for what the error names."""


class FastClock(SystemClock):
    """The machine's clocks, ``factor`` times as fast: pauses that GitHub asks for pass, and leases lapse, in a test."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def now(self) -> datetime:
        return datetime.fromtimestamp(0, UTC) + timedelta(seconds=1.7e9 + super().boot() * self.factor)

    def boot(self) -> float:
        return super().boot() * self.factor

    def wait(self, event: threading.Event, timeout: float) -> bool:
        return super().wait(event, timeout / self.factor)


def opened(request: Mapping[str, Any], holder: str) -> Desk:
    """Open the desk that a request describes; what others left unfinished is brought to its end by that."""
    clock = FastClock(request["fast"]) if request["fast"] != 1 else SystemClock()
    settings = Settings.model_validate(request["settings"])
    return open_desk(settings, RepositoryPaths(Path(request["root"])), clock, holder=holder)


def act(request: Mapping[str, Any]) -> None:
    """Let the agents of a process work; where ``agents`` is empty, only bring to its end what was left unfinished."""
    os.environ.update(request["environment"])
    desk = opened(request, "storm")
    settings = Settings.model_validate(request["settings"])
    try:
        if not request["agents"]:
            _recover_all(desk)
        threads = [
            threading.Thread(target=_Agent(desk, scope_of(settings, name, "shop"), request, name).work, daemon=True)
            for name in request["agents"]
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        desk.close()


def _recover_all(desk: Desk) -> None:
    """Recover until nothing is left to do: the server may be down for a while."""
    for _ in range(20):
        if recover(desk) == 0:
            return
        desk.clock.wait(threading.Event(), 20.0)


class _Agent:
    """One agent: does so many operations, drawn by its own seed, and tells what became of each."""

    def __init__(self, desk: Desk, scope: Scope, request: Mapping[str, Any], name: str) -> None:
        self.desk, self.request, self.name = replace(desk, holder=name, scope=scope), request, name
        self.random = random.Random(f"{request['seed']} {request['round']} {name}")
        self.log = Log(Path(request["history"]) / f"{name}.{request['round']:04}.jsonl")
        self.count = 0

    def work(self) -> None:
        kinds: dict[str, Callable[[], None]] = {
            "line": self.line,
            "label": self.label,
            "count": self.counter,
            "create": self.create,
            "batch": self.batch,
            "failing": self.failing_batch,
            "stray": self.stray,
            "comment": self.comment,
            "naive": self.naive,
        }
        names, weights = zip(*self.request["mix"].items(), strict=True)
        for _ in range(self.request["operations"]):
            kinds[self.random.choices(names, weights)[0]]()

    # One operation each.

    def line(self) -> None:
        """Append a line to a body that others append to: what was there when it was read must stay."""
        number, text = self._issue(), f"line {self._next()}"

        def do() -> Mapping[str, object]:
            seen = read_issue(self.desk, number)
            update_issue_with_optimistic_lock(self.desk, number, {"body": _appended(seen.body, text)}, seen)
            return {}

        self._tell("line", do, issue=number, text=text)

    def label(self) -> None:
        """Add or take away a label that only this agent writes, among those of others."""
        number, name, on = self._issue(), f"mark:{self.name}-{self.random.randrange(2)}", self.random.random() < 0.7

        def do() -> Mapping[str, object]:
            if self.random.random() < 0.5:
                updates: dict[str, object] = {"add_labels" if on else "remove_labels": [name]}
                update_issue_with_optimistic_lock(self.desk, number, updates)
            else:
                seen = read_issue(self.desk, number)
                wanted = {*seen.labels, name} if on else {*seen.labels} - {name}
                update_issue_with_optimistic_lock(self.desk, number, {"labels": sorted(wanted)}, seen.version)
            return {}

        self._tell("label", do, issue=number, name=name, on=on)

    def counter(self) -> None:
        """Count up in a title: of two that read the same number only one may succeed."""
        number = self.request["counter"]
        try:
            seen = read_issue(self.desk, number)
        except TrackerError:
            return
        found = COUNTER.search(seen.title)
        assert found, seen.title
        value = int(found[1]) + 1
        title = f"counter {value} by {self.name}"  # of two who write the same value neither would lose anything

        def do() -> Mapping[str, object]:
            update_issue_with_optimistic_lock(self.desk, number, {"title": title}, seen)
            return {}

        self._tell("count", do, issue=number, to=value)

    def create(self) -> None:
        """Create an Issue that others may be creating too."""
        title = f"task {self.random.randrange(self.request['titles'])} of round {self.request['round']}"

        def do() -> Mapping[str, object]:
            done = create_issue_atomically(self.desk, title, f"by {self.name}", ["comp:shop", "agent:all"], [])
            return {"number": done.issue.number, "created": done.created}

        self._tell("create", do, title=title)

    def batch(self) -> None:
        """Change several Issues and create one: all of it, or nothing."""
        self._batch([])

    def failing_batch(self) -> None:
        """Do the same with an operation behind it that must fail: its Issue has never been as it says."""
        self._batch([{"op": "update", "args": {"set": {"title": "never"}, "expect": "0" * 64}}])

    def _batch(self, behind: Sequence[dict[str, Any]]) -> None:
        numbers, name = self.random.sample(self.request["issues"], 3), self._next()
        labels = [(number, f"b:{name}") for number in numbers[:2]]
        lines, comments = [(numbers[2], f"batch {name}.")], [(numbers[0], f"comment {name}.")]
        titles = [f"made by batch {name}"] if self.random.random() < self.request["creating"] else []
        operations: list[dict[str, Any]] = [
            *({"op": "label", "args": {"number": number, "add": [label]}} for number, label in labels),
            *({"op": "create", "args": {"title": title, "labels": ["comp:shop"]}} for title in titles),
            *({"op": "comment", "args": {"number": number, "body": text}} for number, text in comments),
        ]
        self.random.shuffle(operations)

        def do() -> Mapping[str, object]:
            seen = read_issue(self.desk, numbers[2])
            changes = {"set": {"body": _appended(seen.body, lines[0][1])}, "expect": seen.version}
            last = [{"args": {**each["args"], "number": numbers[1]}, "op": each["op"]} for each in behind]
            given = [*operations, {"op": "update", "args": {"number": numbers[2], **changes}}, *last]
            batch_operation_atomically(self.desk, [{"id": str(place), **each} for place, each in enumerate(given)])
            return {}

        self._tell("batch", do, labels=labels, lines=lines, titles=titles, comments=comments)

    def comment(self) -> None:
        """Append a comment, once."""
        number, text = self._issue(), f"said {self._next()}."

        def do() -> Mapping[str, object]:
            comment_on_issue(self.desk, number, text)
            return {}

        self._tell("comment", do, issue=number, text=text)

    def naive(self) -> None:
        """Append a line as if nobody else were there: what a storm must find out."""
        number, text = self._issue(), f"line {self._next()}"

        def do() -> Mapping[str, object]:
            seen = self.desk.tracker.get(number)
            self.desk.tracker.write(number, body=_appended(seen.body, text))
            return {}

        self._tell("line", do, issue=number, text=text)

    def stray(self) -> None:
        """Write where this agent must not: refused, and nothing there."""
        own, foreign = self._issue(), self.request["foreign"]
        title = f"[other] {self.name}: task {self._next()}"
        ways: list[Callable[[], object]] = [
            lambda: update_issue_with_optimistic_lock(self.desk, foreign, {"add_labels": ["stray"]}),
            lambda: update_issue_with_optimistic_lock(self.desk, foreign, {"body": "stray"}),
            lambda: update_issue_with_optimistic_lock(self.desk, foreign, {"state": "closed"}),
            lambda: update_issue_with_optimistic_lock(self.desk, own, {"add_labels": ["comp:other"]}),
            lambda: update_issue_with_optimistic_lock(self.desk, own, {"remove_labels": ["comp:shop"]}),
            lambda: update_issue_with_optimistic_lock(self.desk, own, {"labels": ["stray"]}),
            lambda: update_issue_with_optimistic_lock(self.desk, own, {"title": "[other] b: task"}),
            lambda: create_issue_atomically(self.desk, title, "stray"),
            lambda: create_issue_atomically(self.desk, "stray", "", ["comp:other"]),
            lambda: create_issue_atomically(self.desk, "stray", "", ["comp:shop", "comp:other"]),
        ]
        way = self.random.choice(ways)
        self._tell("stray", lambda: {"did": str(way())}, way=ways.index(way))

    # Parts.

    def _tell(self, kind: str, do: Callable[[], Mapping[str, object]], **told: object) -> None:
        name = self._next()
        self.log.write(name, "begin", kind=kind, agent=self.name, at=time.monotonic(), **told)
        try:
            result = do()
        except REFUSED as error:
            # What could not be undone is told: then it may be there.
            standing = getattr(error, "left", ()) or "stands" in str(error)
            self.log.write(name, "unknown" if standing else "no", why=f"{type(error).__name__}: {error}"[:300])
            if isinstance(error, TrackerLimitError):
                self.desk.clock.wait(threading.Event(), error.seconds)
        except OutcomeUnknownError as error:
            self.log.write(name, "unknown", why=f"{type(error).__name__}: {error}"[:300])
        except RollcageError as error:
            self.log.write(name, "bad", why=f"{type(error).__name__}: {error}"[:500])
        except Exception as error:
            self.log.write(name, "bad", why=f"DEFECT {error!r}"[:500])
            raise
        else:
            self.log.write(name, "ack", **result)

    def _issue(self) -> int:
        return int(self.random.choice(self.request["issues"]))

    def _next(self) -> str:
        self.count += 1
        return f"{self.name}.{self.request['round']}.{self.count}"


def _appended(body: str, line: str) -> str:
    return f"{body}\n{line}" if body else line
