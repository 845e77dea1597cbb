"""An incident is followed to its outcome: exactly once, and never to something else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rollcage.core.config import Level
from rollcage.core.execute.runner import start_rollback
from rollcage.core.model import (
    Hold,
    IncidentState,
    RollbackState,
    Severity,
    Verdict,
)
from rollcage.core.progress import activity, save_activity
from rollcage.core.respond import CutShort
from tests.conftest import git
from tests.loop import BAD, CHECK, GOOD, Shop
from tests.room import Room, agent_in_between, calc, room

__all__ = ["room"]


# -- alone


def test_at_level_auto_the_fault_is_taken_back_and_verified(troubled: Shop) -> None:
    shop, bad = troubled, git(troubled.path, "rev-parse", "main^")
    room = Room(shop)
    incident = room.responder.handle("inc-1")
    assert incident.state is IncidentState.RECOVERED
    assert (calc(shop), incident.agent) == (GOOD, "executor")
    (rollback,) = room.store.rollbacks()
    assert (rollback.state, rollback.approved_by) == (RollbackState.DONE, "engine")
    assert room.settled == [incident]
    option, _ = room.best()
    assert option.target_commits == (bad,)
    (diagnosis,) = room.events("diagnosis")
    assert diagnosis["check_runs"]["rehearse"] == 1, "what was known before costs nothing"
    assert [body["verdict"] for body in room.events("decision")] == ["approve"]
    assert activity(room.store, "inc-1") == ""
    assert room.store.verify_audit().ok


def test_a_warning_is_only_shown(shop: Shop) -> None:
    incident = shop.incident(shop.finding("load", agent="executor", severity=Severity.WARNING))
    assert Room(shop).responder.handle(incident.id) == incident


def test_at_level_watch_nothing_happens_but_a_note(shop: Shop) -> None:
    shop.break_it()
    shop.incident(shop.finding(agent="executor"))
    room = Room(shop, Level.WATCH)
    before = shop.head()
    incident = room.responder.handle("inc-1")
    assert room.responder.handle("inc-1") == incident
    assert (incident.state, incident.note) == (IncidentState.OPEN, "level watch: rollcage only looks")
    assert (shop.head(), room.store.holds(), room.store.snapshots(), room.store.decisions()) == (before, {}, [], [])
    assert room.store.diagnosis("inc-1") is None


def test_what_cannot_be_told_is_escalated_and_nothing_taken_back(shop: Shop) -> None:
    shop.configure(checks=[{**CHECK, "run": ["sh", "-c", "! grep -q 'a - b' calc.py"]}])
    shop.break_it()
    shop.incident(shop.finding(agent="executor"))
    room = Room(shop)
    before = shop.head()
    incident = room.responder.handle("inc-1")
    assert incident.state is IncidentState.ESCALATED
    assert "even with every source emptied" in incident.note
    assert shop.head() == before
    assert room.store.holds()["executor"].hold is Hold.STOPPED, "the problem agent stays"
    assert "is escalated to you" in room.events("alert")[-1]["text"]


def test_without_a_snapshot_nothing_is_done(shop: Shop) -> None:
    shop.break_it()
    shop.incident()
    room = Room(shop)
    room.services.paths.snapshots.rmdir()
    room.services.paths.snapshots.write_text("in the way")
    incident = room.responder.handle("inc-1")
    assert incident.state is IncidentState.ESCALATED
    assert incident.note.startswith("not made safe: ")
    assert [decision.reason for decision in room.store.decisions()] == ["snapshot_failed"]
    assert room.store.rollbacks() == []


def test_a_fault_mended_by_hand_meanwhile_is_no_incident_any_more(shop: Shop) -> None:
    shop.mark_good()
    shop.break_it()
    shop.incident(shop.finding(agent="executor"))
    shop.commit("planner", "mend it", {"calc.py": GOOD})
    room = Room(shop)
    room.services.checks.run_all(shop.head(), room.services.repository.tree(shop.head()))
    incident = room.responder.handle("inc-1")
    assert (incident.state, incident.note) == (IncidentState.CLEARED, "the trouble is over")
    assert room.store.holds()["executor"].hold is Hold.NONE, "it was stopped for nothing"
    assert room.settled == [incident]


def test_a_first_guess_stands_by_once_the_culprit_is_known(shop: Shop) -> None:
    shop.mark_good()
    shop.break_it("executor")
    shop.incident(shop.finding(agent="planner"))
    room = Room(shop, Level.PROPOSE)
    assert room.responder.handle("inc-1").agent == "executor"
    held = {agent: hold.hold for agent, hold in room.store.holds().items()}
    assert held == {"executor": Hold.PAUSED, "planner": Hold.STANDBY}


def test_the_setting_says_what_the_problem_agent_gets(shop: Shop) -> None:
    shop.configure(on_critical="notify")
    shop.mark_good()
    shop.break_it("executor")
    shop.incident(shop.finding(agent="planner"))
    room = Room(shop, Level.PROPOSE)
    assert room.responder.handle("inc-1").agent == "executor"
    assert room.store.holds() == {}


def test_an_agent_in_trouble_of_its_own_is_not_let_go_for_the_culprit(shop: Shop) -> None:
    shop.mark_good()
    shop.break_it("executor")
    shop.incident(shop.finding(agent="planner"), shop.finding("memory_usage", agent="planner"))
    room = Room(shop, Level.PROPOSE)
    assert room.responder.handle("inc-1").agent == "planner"
    assert room.store.holds()["planner"].hold is Hold.PAUSED


# -- interrupted


def test_an_interrupted_diagnosis_leaves_nothing_half_done(shop: Shop) -> None:
    shop.break_it()
    shop.incident()
    room = Room(shop)
    room.responder.interruption.set()
    with pytest.raises(CutShort):
        room.responder.handle("inc-1")
    assert (room.state(), room.store.diagnosis("inc-1"), room.events("diagnosis")) == (IncidentState.OPEN, None, [])
    room.responder.interruption.clear()
    assert room.responder.handle("inc-1").state is IncidentState.RECOVERED


def test_leaving_cuts_a_diagnosis_short_too(shop: Shop) -> None:
    shop.break_it()
    shop.incident()
    room = Room(shop)
    room.leave.set()
    assert room.responder.interruption.is_set()
    with pytest.raises(CutShort):
        room.responder.handle("inc-1")


def test_an_incident_whose_rollback_ended_just_before_a_crash_gets_its_state(room: Room) -> None:
    incident, (_, plan) = room.store.incident("inc-1"), room.best()
    assert incident is not None
    room.responder.execute(incident, plan, "ann@desk")
    room.store.save_incident(replace(incident, state=IncidentState.ROLLING_BACK))
    save_activity(room.store, "inc-1", "diagnosing")
    Room(room.shop).responder.take_up()
    assert room.state() is IncidentState.RECOVERED
    assert activity(room.store, "inc-1") == ""


def test_a_rollback_that_was_only_begun_is_carried_on(room: Room) -> None:
    incident, (_, plan) = room.store.incident("inc-1"), room.best()
    assert incident is not None
    room.store.save_incident(replace(incident, state=IncidentState.ROLLING_BACK))
    start_rollback(room.services, plan, approved_by="ann@desk")
    (ended,) = Room(room.shop).responder.take_up()
    assert ended.state is RollbackState.DONE
    assert room.state() is IncidentState.RECOVERED
    assert calc(room.shop) == GOOD


# -- what is over


def test_what_waits_for_a_human_is_let_go_when_it_is_over(shop: Shop) -> None:
    shop.mark_good()
    shop.break_it()
    shop.incident(shop.finding(agent="executor"))
    room = Room(shop, Level.PROPOSE)
    incident = room.responder.handle("inc-1")
    assert room.store.holds()["executor"].hold is Hold.PAUSED
    room.responder.clear_what_is_over()
    assert room.state() is IncidentState.WAITING
    over = shop.finding(agent="executor", ended=True)
    room.store.save_incident(replace(incident, findings=(*incident.findings, over)))
    room.responder.clear_what_is_over()
    assert room.state() is IncidentState.CLEARED
    assert room.store.holds()["executor"].hold is Hold.NONE


def test_that_a_held_agent_does_no_harm_is_no_cure(shop: Shop) -> None:
    shop.incident(shop.finding("infinite_loop", agent="executor"))
    room = Room(shop, Level.PROPOSE)
    incident = room.responder.handle("inc-1")
    assert incident.state is IncidentState.WAITING
    over = shop.finding("infinite_loop", agent="executor", ended=True)
    room.store.save_incident(replace(incident, findings=(*incident.findings, over)))
    room.responder.clear_what_is_over()
    assert room.state() is IncidentState.WAITING
    room.store.set_hold("executor", Hold.NONE)
    room.responder.clear_what_is_over()
    assert room.state() is IncidentState.CLEARED


def test_at_level_auto_what_waited_for_the_level_only_is_looked_at_again(room: Room) -> None:
    Room(room.shop, Level.PROPOSE).responder.look_again()
    assert room.state() is IncidentState.WAITING
    auto = Room(room.shop, Level.AUTO)
    auto.responder.look_again()
    assert room.state() is IncidentState.OPEN
    assert auto.responder.handle("inc-1").state is IncidentState.RECOVERED


def test_at_ask_in_auto_a_human_decides(shop: Shop) -> None:
    shop.mark_good()
    shop.commit("executor", "tidy add", {"calc.py": BAD})
    git(shop.path, "commit", "-q", "--amend", "-m", "tidy add\n\nAgent: executor\nRollcage: keep\n")
    shop.incident()
    room = Room(shop)
    incident = room.responder.handle("inc-1")
    assert incident.state is IncidentState.WAITING
    diagnosis = room.store.diagnosis("inc-1")
    assert diagnosis is not None
    assert diagnosis.verdict is Verdict.ASK
    assert incident.note == "the commit asks to be kept (Rollcage: keep), so a human decides"


# -- the branch moves in the very moment


def test_what_the_engine_decided_is_planned_anew(troubled: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    agent_in_between(troubled, monkeypatch)
    room = Room(troubled)
    assert room.responder.handle("inc-1").state is IncidentState.RECOVERED
    assert calc(troubled) == f"TWO = 2\n\n\n{GOOD}"
    second, first = room.store.rollbacks()
    assert (first.state, first.head_after, second.state) == (RollbackState.UNDONE, "", RollbackState.DONE)
