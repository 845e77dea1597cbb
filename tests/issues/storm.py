"""A storm: processes full of agents work on the same Issues and are killed at random; then the Issues are counted."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rollcage.core.clock import SystemClock
from rollcage.core.issues.issue import Draft
from rollcage.core.issues.local import LocalTracker, open_connections
from rollcage.core.issues.records import Records
from rollcage.core.store.paths import RepositoryPaths

from . import history
from .conftest import GitHub
from .fault_proxy import Fault, FaultProxy
from .history import Done, Truth, overwritten, verdict
from .nursery import Nursery

MIX = {"line": 4, "label": 4, "count": 2, "create": 3, "batch": 4, "failing": 1, "stray": 2, "comment": 1}
SETTINGS: dict[str, Any] = {"competitions": {"shop": {}, "other": {}}}
END_S = 120.0


@dataclass(frozen=True)
class Arena:
    """Where a storm takes place."""

    folder: Path
    settings: Mapping[str, Any]
    make: Callable[[str, list[str]], int]
    """Makes an Issue with a title and labels, by nobody's rules; returns its number."""
    truth: Callable[[], list[Truth]]
    """All Issues as they really are."""
    environment: Mapping[str, str] = field(default_factory=dict)
    fast: float = 1.0
    """How much faster its clock goes."""

    @property
    def root(self) -> Path:
        """The state directory of its repository."""
        return self.folder / "state" / "repositories" / "storm"

    @property
    def request(self) -> dict[str, Any]:
        """What every child is told."""
        self.root.mkdir(parents=True, exist_ok=True)
        (self.folder / "history").mkdir(exist_ok=True)
        return {
            "root": str(self.root),
            "history": str(self.folder / "history"),
            "settings": dict(self.settings),
            "environment": dict(self.environment),
            "fast": self.fast,
        }


def local_arena(folder: Path) -> Arena:
    """Return an arena whose Issues lie on this machine."""
    paths = RepositoryPaths(folder / "state" / "repositories" / "storm")

    def with_tracker(work: Callable[[LocalTracker], Any]) -> Any:
        paths.root.mkdir(parents=True, exist_ok=True)
        connections = open_connections(paths)
        try:
            return work(LocalTracker(connections, SystemClock(), "test"))
        finally:
            connections.close()

    def make(title: str, labels: list[str]) -> int:
        return int(with_tracker(lambda tracker: tracker.create(Draft(title, "", tuple(labels))).number))

    def truth() -> list[Truth]:
        def read(tracker: LocalTracker) -> list[Truth]:
            return [
                Truth(
                    each.number,
                    each.title,
                    each.body,
                    each.state,
                    frozenset(each.labels),
                    tuple(comment.body for comment in tracker.comments(each.number)),
                )
                for each in tracker.issues(state="all")
            ]

        found: list[Truth] = with_tracker(read)
        return found

    return Arena(folder, dict(SETTINGS), make, truth)


def github_arena(folder: Path, github: GitHub, fast: float = 20.0) -> Arena:
    """Return an arena on a test's GitHub; its pauses and leases pass ``fast`` times as fast."""

    def make(title: str, labels: list[str]) -> int:
        return int(github.direct("POST", "/issues", {"title": title, "labels": labels}, "bot")["number"])

    def truth() -> list[Truth]:
        return [
            Truth(
                each["number"],
                each["title"],
                each["body"] or "",
                each["state"],
                frozenset(label["name"] for label in each["labels"]),
                tuple(github.comments(each["number"])) if each["comments"] else (),
            )
            for each in github.issues()
        ]

    settings = {**SETTINGS, "tracker": {"kind": "github", "repo": github.repository, "base_url": github.url}}
    return Arena(folder, settings, make, truth, {"GITHUB_TOKEN": github.token}, fast)


def storm_faults(proxy: FaultProxy, share: float) -> None:
    """Let that share of all requests go wrong, in all the ways that come and go."""
    after = {"method": "POST|PATCH|PUT|DELETE", "times": None}
    for fault in (Fault.BAD_GATEWAY_AFTER, Fault.RESET_AFTER, Fault.TRUNCATED, Fault.BAD_GATEWAY_BEFORE):
        proxy.fail(fault, chance=share / 2, **after)
    for fault in (Fault.RESET_BEFORE, Fault.HTML, Fault.BAD_GATEWAY_BEFORE):
        proxy.fail(fault, times=None, chance=share / 3)
    proxy.fail(Fault.SLOW, times=None, chance=share, seconds=0.2)
    proxy.fail(Fault.SECONDARY_LIMIT, times=None, chance=share / 40, seconds=2)
    proxy.fail(Fault.SECONDARY_LIMIT, times=None, chance=share / 80, status=429)
    proxy.fail(Fault.STALE, method="GET", path="/issues$", times=None, chance=0.5, seconds=0.3)


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a storm."""

    operations: Mapping[str, int]
    """By kind and phase: ``batch ack``."""
    killed: int
    wrong: tuple[str, ...]
    seconds: float

    def __str__(self) -> str:
        counts = ", ".join(f"{name} {count}" for name, count in sorted(self.operations.items()))
        return f"{sum(self.operations.values())} operations ({counts}), {self.killed} killed, {len(self.wrong)} wrong"


def storm(
    arena: Arena,
    *,
    rounds: int,
    operations: int,
    seed: int,
    processes: int = 8,
    agents: int = 5,
    killing: float = 0.5,
    issues: int = 12,
    mix: Mapping[str, int] = MIX,
    titles: int = 3,
    creating: float = 0.3,
    during: Callable[[threading.Event], None] | None = None,
    check: Callable[[Sequence[Done], Sequence[Truth]], list[str]] = verdict,
) -> Told:
    """Let ``processes`` of ``agents`` each work for ``rounds`` of ``operations``; kill that share of them at random.

    ``during`` runs beside it until its event is set; ``check`` tells in the end what is wrong.
    """
    begun, over = time.monotonic(), threading.Event()
    request = {**arena.request, **_laid_out(arena, issues), "mix": dict(mix), "operations": operations}
    request |= {"seed": seed, "titles": titles, "creating": creating}
    nursery = Nursery("tests.issues.storm_acts")
    try:
        errors: list[str] = []
        lasted = _Lasted()

        def lead(number: int) -> int:
            chance, killed = random.Random(f"{seed} {number}"), 0
            names = [f"a{number}-{each}" for each in range(agents)]
            for turn in range(rounds):
                killed += _one(nursery, {**request, "agents": names, "round": turn}, chance, killing, lasted, errors)
            return killed

        with ThreadPoolExecutor(processes + 1) as pool:
            beside = pool.submit(during, over) if during else None
            killed = sum(pool.map(lead, range(processes)))
            over.set()
            if beside:
                beside.result()
        errors += _recovered(nursery, request)
    finally:
        nursery.close()
    done = history.read(Path(request["history"]))
    wrong = [*errors, *check(done, arena.truth()), *_unfinished(arena)]
    return Told(Counter(f"{each.kind} {each.phase}" for each in done), killed, tuple(wrong), time.monotonic() - begun)


@dataclass
class Mallory:
    """Somebody who knows no rollcage: reads a body, dawdles, appends, writes it whole; puts labels on and off."""

    arena: Arena
    github: GitHub
    numbers: Sequence[int]
    seed: int = 0
    pause: float = 0.02
    """Seconds between reading and writing, and between two writes, at most."""
    written: int = 0
    labels: set[tuple[int, str]] = field(default_factory=set)
    """Those that are on now; only Mallory writes them."""

    def write(self, over: threading.Event) -> None:
        """Write until ``over`` is set."""
        chance = random.Random(self.seed)
        while not over.wait(chance.uniform(0, self.pause)):
            number = chance.choice(self.numbers)
            body = self.github.direct("GET", f"/issues/{number}")["body"] or ""
            over.wait(chance.uniform(0, self.pause))
            line = f"mallory's line {self.seed}.{self.written}"
            self.github.direct("PATCH", f"/issues/{number}", {"body": f"{body}\n{line}" if body else line})
            self.written += 1
            self._label(chance.choice(self.numbers), f"mallory:{chance.randrange(3)}")

    def _label(self, number: int, name: str) -> None:
        if (number, name) in self.labels:
            self.github.direct("DELETE", f"/issues/{number}/labels/{name}")
            self.labels.remove((number, name))
        else:
            self.github.direct("POST", f"/issues/{number}/labels", {"labels": [name]})
            self.labels.add((number, name))

    def lost(self) -> list[str]:
        """Return what rollcage wrote over without telling anybody."""
        told = conflicts(self.arena)
        versions = {each: self.github.proxy.manners.bodies(self.github.repository, each) for each in self.numbers}
        lines = [f"Issue {number}: {what}" for number, each in versions.items() for what in overwritten(each, told)]
        there = {
            (each["number"], label["name"])
            for each in self.github.issues()
            for label in each["labels"]
            if label["name"].startswith("mallory:")
        }
        return [*lines, *(f"label {name} of Issue {number} is wrong" for number, name in there ^ self.labels)]


def conflicts(arena: Arena) -> list[str]:
    """Return what the audit says of conflicts that humans were told of."""
    connections = open_connections(RepositoryPaths(arena.root))
    try:
        with connections.reading() as connection:
            rows = connection.execute("SELECT body FROM audit WHERE body LIKE '%persistent_conflict%'").fetchall()
        return [row[0] for row in rows]
    finally:
        connections.close()


class _Lasted:
    """How long a process that nobody kills takes, about: what the moments of killing are drawn from."""

    def __init__(self) -> None:
        self.seconds = 0.5

    def was(self, seconds: float) -> None:
        self.seconds += (seconds - self.seconds) / 4


def _one(
    nursery: Nursery,
    request: Mapping[str, Any],
    chance: random.Random,
    killing: float,
    lasted: _Lasted,
    errors: list[str],
) -> int:
    """Run one process, killed or not; return whether it was."""
    begun, child = time.monotonic(), nursery.begin(**request)
    killer = None
    if chance.random() < killing:
        killer = threading.Timer(chance.uniform(0, lasted.seconds), child.kill)
        killer.start()
    signal, error = child.end(END_S)
    if killer:
        killer.cancel()
    elif not signal:
        lasted.was(time.monotonic() - begun)
    if error:
        errors.append(f"a process ended by {error[-600:]}")
    return signal != 0


def _recovered(nursery: Nursery, request: Mapping[str, Any]) -> list[str]:
    """Bring to its end what the dead left."""
    signal, error = nursery.begin(**{**request, "agents": [], "round": -1}).end(END_S)
    return [f"recovery ended by {error or signal}"] if error or signal else []


def _laid_out(arena: Arena, issues: int) -> dict[str, Any]:
    """Make the Issues that the agents work on, one that counts, and one of another competition."""
    arena.root.mkdir(parents=True, exist_ok=True)
    return {
        "issues": [arena.make(f"work {number}", ["comp:shop"]) for number in range(issues)],
        "counter": arena.make("counter 0", ["comp:shop"]),
        "foreign": arena.make("of others", ["comp:other"]),
    }


def _unfinished(arena: Arena) -> Iterator[str]:
    """Tell what nobody brought to an end, and whether the audit's chain is broken."""
    connections = open_connections(RepositoryPaths(arena.root))
    try:
        with connections.reading() as connection:
            for query in (
                "SELECT 'batch ' || id || ' is ' || state FROM batch WHERE state IN ('running', 'undoing')",
                "SELECT 'intent ' || id || ' is ' || state FROM intent WHERE state IN ('planned', 'sent')",
            ):
                yield from (f"after recovery {row[0]}" for row in connection.execute(query))
        if problem := Records(connections, SystemClock()).verify_audit().problem:
            yield f"audit: {problem}"
    finally:
        connections.close()
