"""The engine ends deadlocks that nobody saw form, or says how to; who was timed out keeps its work and goes on."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from rollcage.core.config import Level
from rollcage.core.coordination.embedded import EmbeddedLeases
from rollcage.core.coordination.leases import DeadlockError
from rollcage.core.engine import Engine
from rollcage.core.execute.deadlocks import Untangler
from rollcage.core.fleet.mailbox import read
from rollcage.core.fleet.runs import latest_runs
from rollcage.core.fleet.start import start_agent
from rollcage.core.model import AgentState
from tests.coordination.test_deadlock import let_circles_form
from tests.fleet.conftest import eventually, nothing_left
from tests.loop import Shop

__all__ = ["nothing_left"]

RUNS_ONCE_INTO_IT = (
    "import sys, pathlib, time; p = pathlib.Path(sys.argv[1]); first = not p.exists(); p.touch()\n"
    "while not (first and pathlib.Path(sys.argv[1] + '.stop').exists()): time.sleep(0.02)\nsys.exit(1)\n"
)


class Knot:
    """executor and planner, each waiting for what the other holds."""

    def __init__(self, shop: Shop) -> None:
        self.leases = [EmbeddedLeases(shop.services.paths, shop.services.clock) for _ in range(2)]
        self.ended: dict[str, str] = {}
        names = ("executor", "planner")
        for name, leases in zip(names, self.leases, strict=True):
            leases.acquire(f"of-{name}", name, session=name)
        self.threads = [
            threading.Thread(target=self._wait, args=(name, f"of-{other}", leases))
            for name, other, leases in zip(names, reversed(names), self.leases, strict=True)
        ]
        for count, thread in enumerate(self.threads, start=1):
            thread.start()
            eventually(lambda count=count: len(self.leases[0].wait_log().waitings) == count)  # type: ignore[misc]

    def _wait(self, name: str, lock: str, leases: EmbeddedLeases) -> None:
        try:
            leases.acquire(lock, name, wait=30, session=name)
            self.ended[name] = "had"
        except DeadlockError as error:
            self.ended[name] = str(error)

    def close(self) -> None:
        for waiting in self.leases[0].wait_log().waitings:
            self.leases[0].refuse(waiting, "over")
        for thread in self.threads:
            thread.join(10)
        for leases in self.leases:
            leases.close()


@pytest.fixture
def knot(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Knot]:
    let_circles_form(monkeypatch)
    with closing(Knot(shop)) as made:
        yield made


def events(shop: Shop, kind: str) -> list[dict[str, object]]:
    return [dict(event.body) for event in shop.services.store.recent_events(100) if event.event == kind]


def test_at_level_auto_it_is_ended_at_the_second_look(shop: Shop, knot: Knot) -> None:
    with closing(Untangler(shop.services, Level.AUTO)) as untangler:
        assert untangler.look() is None
        done = untangler.look()
        assert done is not None
        assert done.forced_timeout_agent == "executor"
        eventually(lambda: len(knot.ended) == 2)
        assert knot.ended["planner"] == "had"
        assert "timed out by engine" in knot.ended["executor"]
        assert untangler.look() is None
    (event,) = events(shop, "lock")
    assert (event["state"], event["agent"]) == ("deadlock_broken", "executor")
    assert event["cycle"] == ["executor", "of-planner", "planner", "of-executor", "executor"]
    audit = [record.what for record in shop.services.store.audit_records()]
    assert audit[-2:] == ["break deadlock", "break lock"]
    (message,) = read(shop.services.paths, "executor")
    assert message.text.startswith("DEADLOCK executor → of-planner → planner → of-executor → executor: your wait")
    assert "Take again, in this order: of-executor, of-planner; planner goes first" in message.text


@pytest.mark.parametrize("level", [Level.PROPOSE, Level.WATCH])
def test_at_other_levels_it_is_shown_once_and_nothing_is_done(shop: Shop, knot: Knot, level: Level) -> None:
    with closing(Untangler(shop.services, level)) as untangler:
        for _ in range(4):
            assert untangler.look() is None
    assert len(events(shop, "lock")) == 1
    (alert,) = events(shop, "alert")
    assert "rollcage lock break of-executor --reason deadlock" in str(alert["text"])
    assert not knot.ended
    assert len(knot.leases[0].wait_log().waitings) == 2


def test_two_engines_end_it_once(shop: Shop, knot: Knot) -> None:
    with ExitStack() as stack:
        both = [stack.enter_context(closing(Untangler(shop.services, Level.AUTO))) for _ in range(2)]
        for untangler in both:
            untangler.look()
        assert [untangler.look() is not None for untangler in both] == [True, False]
    assert len(events(shop, "lock")) == 1
    eventually(lambda: len(knot.ended) == 2)


@pytest.mark.usefixtures("nothing_left")
def test_an_agent_that_ends_for_it_is_started_again_with_what_it_did_kept(
    shop: Shop, knot: Knot, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    command = [sys.executable, "-S", "-c", RUNS_ONCE_INTO_IT, str(trace)]
    shop.configure(agents={"executor": {"run": command, "start": "engine"}, "planner": {}})
    services = shop.services
    settings = services.settings.agents["executor"]
    first = start_agent(services.paths, "executor", settings, services.repository.top)
    eventually(trace.exists)
    with closing(Untangler(services, Level.AUTO)) as untangler:
        untangler.look()
        assert untangler.look() is not None
        untangler.look()
        assert latest_runs(services.paths.inbox_db)[0].id == first.id
        trace.with_name("trace.stop").touch()
        eventually(lambda: untangler.look() or latest_runs(services.paths.inbox_db)[0].id != first.id)
        (again,) = latest_runs(services.paths.inbox_db)
        assert again.id != first.id
        assert again.state is AgentState.RUNNING
        untangler.look()
        assert latest_runs(services.paths.inbox_db)[0].id == again.id


def test_the_engine_looks_by_itself(shop: Shop, knot: Knot) -> None:
    with shop.leading() as leader:
        engine = Engine(shop.services, leader, Level.AUTO)
        engine.start()
        try:
            eventually(lambda: len(knot.ended) == 2, "the end of the deadlock", seconds=30)
        finally:
            engine.stop()
            engine.join()
    assert knot.ended["planner"] == "had"
    assert not engine.failure
