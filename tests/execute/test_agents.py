"""Agents are held before anything else, stay held until somebody says so, and start again; all with real processes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
import pytest

from rollcage.core.config import Level
from rollcage.core.errors import RollcageError
from rollcage.core.execute import safe, verify
from rollcage.core.execute.agents import hold_of, pause_agent, release_agent, start_again, stop_agent
from rollcage.core.execute.runner import carry_out, work_for
from rollcage.core.execute.safe import make_safe
from rollcage.core.execute.standby import resume_standby, stand_by
from rollcage.core.fleet.mailbox import read
from rollcage.core.fleet.runs import Run, current_runs, latest_runs
from rollcage.core.fleet.start import start_agent
from rollcage.core.model import Hold, Incident, Rollback, RollbackState
from rollcage.core.services import Services
from tests.execute.scene import Scene
from tests.fleet.conftest import eventually, nothing_left

__all__ = ["nothing_left"]

WORKS = "import time\nwhile True: time.sleep(0.05)"
ONCE = "import sys, pathlib; p = pathlib.Path(sys.argv[1]); new = not p.exists(); p.touch()\n"
"""Works on the first time, and does something else when it is started again."""


@dataclass
class Fleet:
    """Agents of a scene, as processes."""

    services: Services

    def start(self, name: str, text: str = WORKS, *arguments: str) -> Run:
        command = [sys.executable, "-S", "-u", "-c", text, *arguments]
        settings = self.services.settings.agents[name].model_copy(update={"run": tuple(command)})
        return start_agent(self.services.paths, name, settings, self.services.repository.top)

    def run(self, name: str) -> Run | None:
        return next((run for run in current_runs(self.services.paths.inbox_db) if run.agent == name), None)

    def is_frozen(self, name: str) -> bool:
        run = self.run(name)
        assert run is not None
        assert run.child_pid is not None
        return psutil.Process(run.child_pid).status() == psutil.STATUS_STOPPED

    def works(self, name: str) -> bool:
        run = self.run(name)
        return run is not None and run.child_pid is not None and not self.is_frozen(name)

    def is_stopped(self, name: str) -> bool:
        run = self.run(name)
        return run is not None and run.child_pid is None

    def told(self, name: str) -> list[str]:
        return [message.text for message in read(self.services.paths, name)]

    def events(self, name: str) -> list[str]:
        events = self.services.store.recent_events(1000)
        return [str(event.body["action"]) for event in events if event.event == "agent" and event.body["agent"] == name]

    def alerts(self) -> list[str]:
        return [str(e.body["text"]) for e in self.services.store.recent_events(1000) if e.event == "alert"]


@pytest.fixture
def fleet(begun: Scene) -> Iterator[Fleet]:
    services = begun.services()
    yield Fleet(services)
    services.store.close()


def incident(fleet: Fleet) -> Incident:
    found = fleet.services.store.incident("inc-1")
    assert found is not None
    return found


def carried_out(fleet: Fleet) -> Rollback:
    record = fleet.services.store.rollback("rb-1")
    assert record is not None
    return carry_out(work_for(fleet.services, record, lambda run: []))


def test_in_auto_the_problem_agent_is_stopped_and_the_others_are_told_and_frozen(fleet: Fleet) -> None:
    fleet.start("executor")
    fleet.start("planner")
    snapshot = make_safe(fleet.services, incident(fleet), Level.AUTO)
    assert fleet.is_stopped("executor")
    assert fleet.is_frozen("planner")
    assert hold_of(fleet.services, "executor") is Hold.STOPPED
    assert hold_of(fleet.services, "planner") is Hold.STANDBY
    assert fleet.told("planner") == ["EMERGENCY_STOP - executor critical error detected"]
    assert fleet.services.store.snapshot(snapshot) is not None
    assert (fleet.events("executor"), fleet.events("planner")) == (["stop"], ["standby"])
    assert make_safe(fleet.services, incident(fleet), Level.AUTO) == snapshot
    assert (fleet.events("executor"), fleet.events("planner")) == (["stop"], ["standby"])


def test_a_whole_rollback_stops_what_was_paused_and_starts_it_again(fleet: Fleet) -> None:
    first = fleet.start("executor")
    fleet.start("planner")
    make_safe(fleet.services, incident(fleet), Level.PROPOSE)
    assert fleet.is_frozen("executor")
    assert hold_of(fleet.services, "executor") is Hold.PAUSED
    ended = carried_out(fleet)
    assert ended.state is RollbackState.DONE
    again = fleet.run("executor")
    assert again is not None
    assert again.child_pid != first.child_pid
    assert fleet.works("executor")
    assert fleet.works("planner")
    assert fleet.told("planner")[-1] == "RESUME - work on"
    assert {held.hold for held in fleet.services.store.holds().values()} == {Hold.NONE}
    assert ended.standby_s > 0
    assert fleet.events("executor") == ["pause", "stop", "start"]
    assert fleet.events("planner") == ["standby", "resume"]


def test_after_an_undone_rollback_the_problem_agent_stays_stopped_and_the_others_work(
    fleet: Fleet, begun: Scene
) -> None:
    fleet.start("executor")
    fleet.start("planner")
    begun.flag.touch()
    ended = carried_out(fleet)
    assert ended.state is RollbackState.UNDONE
    assert fleet.is_stopped("executor")
    assert hold_of(fleet.services, "executor") is Hold.STOPPED
    assert fleet.works("planner")
    assert ended.standby_s > 0


def test_an_agent_that_is_still_critical_after_its_restart_is_stopped_again_and_all_is_undone(fleet: Fleet) -> None:
    fleet.start("executor")
    record = fleet.services.store.rollback("rb-1")
    assert record is not None
    ended = carry_out(work_for(fleet.services, record, lambda run: ["memory_usage is still critical"]))
    assert ended.state is RollbackState.UNDONE
    assert ended.note == "agent executor after its restart: memory_usage is still critical"
    assert fleet.is_stopped("executor")


@pytest.mark.parametrize(("bad", "state"), [(3, RollbackState.DONE), (10_000, RollbackState.UNDONE)])
def test_what_the_incident_was_about_must_stay_in_band_for_its_window(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, bad: int, state: RollbackState
) -> None:
    monkeypatch.setattr(verify, "MEASURE_EVERY_S", 0.01)
    fleet.start("executor")
    record = fleet.services.store.rollback("rb-1")
    assert record is not None
    seen: list[Run] = []

    def measure(run: Run) -> list[str]:
        seen.append(run)
        return ["memory_usage is still warning"] if len(seen) <= bad else []

    ended = carry_out(work_for(fleet.services, record, measure, lambda incident: 1.0))
    assert ended.state is state, ended.note
    assert len(seen) > 1
    if state is RollbackState.UNDONE:
        assert ended.note == "agent executor after its restart: memory_usage is still warning"


def test_where_the_problem_agent_cannot_be_stopped_all_agents_are(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.start("planner")
    monkeypatch.setattr(safe, "stop_agent", lambda *_: {"left": 1})  # as of one in an uninterruptible wait
    make_safe(fleet.services, incident(fleet), Level.AUTO)
    assert fleet.is_stopped("planner")
    assert fleet.alerts() == ["agent executor could not be stopped, so all agents were: planner"]
    assert resume_standby(fleet.services, but="inc-1") == ["planner"]
    eventually(lambda: fleet.works("planner"))


def test_an_agent_that_has_nothing_to_do_any_more_is_no_failure(fleet: Fleet, begun: Scene) -> None:
    fleet.start("executor", ONCE + f"if new:\n exec({WORKS!r})", str(begun.place / "ran"))
    eventually((begun.place / "ran").exists)
    ended = carried_out(fleet)
    assert ended.state is RollbackState.DONE, ended.note
    assert hold_of(fleet.services, "executor") is Hold.NONE


def test_an_agent_that_fails_as_soon_as_it_is_started_is_not_verified(fleet: Fleet, begun: Scene) -> None:
    fleet.start("executor", ONCE + f"if new:\n exec({WORKS!r})\nsys.exit(3)", str(begun.place / "ran"))
    eventually((begun.place / "ran").exists)
    ended = carried_out(fleet)
    assert ended.state is RollbackState.UNDONE
    assert "agent executor" in ended.note
    assert hold_of(fleet.services, "executor") is Hold.STOPPED


def test_what_a_dead_process_held_only_halfway_is_held_wholly(fleet: Fleet) -> None:
    fleet.start("planner")
    fleet.services.store.set_hold("planner", Hold.STANDBY, "written, and then it died")
    assert stand_by(fleet.services, "executor", "again") == {"planner": ""}
    assert fleet.is_frozen("planner")
    assert fleet.told("planner") == []
    assert resume_standby(fleet.services) == ["planner"]
    assert fleet.works("planner")


def test_an_agent_that_cannot_be_frozen_is_told_and_keeps_nobody_else_from_it(fleet: Fleet, begun: Scene) -> None:
    git_at_work = begun.place / "git-at-work"
    git_at_work.symlink_to("/bin/sleep")
    fleet.start("planner", f"import subprocess; subprocess.run([{str(git_at_work)!r}, '60'])")
    fleet.start("executor")
    eventually(lambda: _has_child(fleet.run("planner"), "git-at-work"))
    why = stand_by(fleet.services, "", "reason")
    assert "is at work" in why["planner"]
    assert why["executor"] == ""
    assert fleet.is_frozen("executor")
    assert hold_of(fleet.services, "planner") is Hold.STANDBY
    assert any("agent planner could not be frozen and works on" in text for text in fleet.alerts())


def _has_child(run: Run | None, name: str) -> bool:
    assert run is not None
    children = psutil.Process(run.supervisor_pid).children(recursive=True)
    return any(child.name() == name for child in children)


def test_an_agent_that_an_operator_paused_neither_stands_by_nor_is_resumed_with_the_others(fleet: Fleet) -> None:
    fleet.start("planner")
    assert pause_agent(fleet.services, "planner", Hold.PAUSED, "by ann", "ann") == ""
    assert stand_by(fleet.services, "executor", "reason") == {}
    assert resume_standby(fleet.services) == []
    assert fleet.is_frozen("planner")
    release_agent(fleet.services, "planner", "ann")
    assert fleet.works("planner")


def test_an_agent_that_was_started_by_nobody_is_only_released(fleet: Fleet) -> None:
    stop_agent(fleet.services, "executor", "reason")
    started = start_again(fleet.services, "executor")
    assert not started.supervised
    assert hold_of(fleet.services, "executor") is Hold.NONE


def test_an_agent_whose_supervisor_died_is_started_anew_from_the_settings(begun: Scene) -> None:
    command = [sys.executable, "-S", "-c", WORKS]
    services = begun.services(agents={"executor": {"run": command}})
    fleet = Fleet(services)
    run = fleet.start("executor")
    psutil.Process(run.supervisor_pid).kill()
    eventually(lambda: fleet.run("executor") is None)
    stop_agent(services, "executor", "reason")
    assert start_again(services, "executor").pid
    newest = next(each for each in latest_runs(services.paths.inbox_db) if each.agent == "executor")
    assert newest.id != run.id
    services.store.close()


def test_an_agent_that_cannot_be_started_says_so(begun: Scene) -> None:
    services = begun.services(agents={"executor": {"run": ["/nowhere/agent"], "start": "engine"}})
    with pytest.raises(RollcageError, match="executor"):
        start_again(services, "executor")
    services.store.close()
