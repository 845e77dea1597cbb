"""Operators are obeyed: exactly once, and never by something else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rollcage.core.config import Level
from rollcage.core.decisions import Answer, answer_to, save_beginning
from rollcage.core.errors import ExitCode, UsageError
from rollcage.core.execute.runner import start_rollback
from rollcage.core.fleet.runs import current_runs
from rollcage.core.fleet.start import start_agent
from rollcage.core.model import (
    DecisionVerdict,
    Hold,
    IncidentState,
)
from rollcage.core.respond import CutShort
from tests.conftest import git
from tests.fleet.conftest import nothing_left
from tests.loop import BAD, CHECK, GOOD, Shop
from tests.room import Room, agent_in_between, calc, room

__all__ = ["nothing_left", "room"]


def test_an_approval_is_carried_out_and_answered(room: Room) -> None:
    option, plan = room.best()
    before = room.shop.head()
    assert calc(room.shop) == BAD
    answer = room.answered(room.operator.approve(option.id, plan.plan_hash))
    assert answer.code is ExitCode.DONE
    assert answer.text.startswith("rb-1 done and verified")
    assert (calc(room.shop), room.state()) == (GOOD, IncidentState.RECOVERED)
    assert git(room.shop.path, "rev-parse", "main^") == before
    assert room.store.rollbacks()[0].approved_by == "ann@desk"


def test_a_second_approval_of_the_same_finds_nothing_left(room: Room) -> None:
    option, _ = room.best()
    first, second = room.operator.approve(option.id), room.operator.approve(option.id)
    assert room.answered(first).code is ExitCode.DONE
    again = answer_to(room.store, second.id)
    assert again is not None
    assert "nothing is left to decide" in again.text
    assert len(room.store.rollbacks()) == 1


def test_a_rejection_lets_the_others_go_and_keeps_the_problem_agent(shop: Shop) -> None:
    shop.mark_good()
    shop.break_it()
    shop.incident(shop.finding(agent="executor"))
    room = Room(shop, Level.PROPOSE)
    room.responder.handle("inc-1")
    room.store.set_hold("planner", Hold.STANDBY, "inc-1")
    option, _ = room.best()
    assert "the other agents work on" in room.answered(room.operator.reject(option.id, "I see to it")).text
    assert room.state() is IncidentState.REJECTED
    held = {agent: hold.hold for agent, hold in room.store.holds().items()}
    assert held == {"executor": Hold.PAUSED, "planner": Hold.NONE}


def test_unrelated_commits_meanwhile_do_not_void_an_approval(room: Room) -> None:
    option, plan = room.best()
    decision = room.operator.approve(option.id, plan.plan_hash)
    room.shop.commit("planner", "unrelated", {"notes.md": "more\n"})
    assert room.answered(decision).code is ExitCode.DONE
    assert (calc(room.shop), (room.shop.path / "notes.md").read_text()) == (GOOD, "more\n")


def test_an_approval_is_void_where_the_effect_is_another_by_now(room: Room) -> None:
    option, plan = room.best()
    decision = room.operator.approve(option.id, plan.plan_hash)
    room.shop.commit("planner", "on top", {"calc.py": '"""Sums."""\n\n' + BAD})
    head = room.shop.head()
    answer = room.answered(decision)
    assert answer.code is ExitCode.WAITING
    assert "does something else now" in answer.text
    assert (room.shop.head(), room.state(), room.store.rollbacks()) == (head, IncidentState.WAITING, [])
    again, _ = room.best()
    assert again.plan_hash != option.plan_hash, "what is shown now is what it would do now"
    assert room.store.decisions()[-1].reason == "moved"
    assert room.answered(room.operator.approve(option.id, again.plan_hash)).code is ExitCode.DONE
    assert calc(room.shop) == '"""Sums."""\n\n' + GOOD


def test_an_approval_is_void_where_the_checks_would_not_pass_any_more(room: Room) -> None:
    room.shop.configure(checks=[{**CHECK, "run": ["sh", "-c", "! test -e broken && grep -q 'a + b' calc.py"]}])
    later = Room(room.shop, Level.PROPOSE)
    incident = later.store.incident("inc-1")
    assert incident is not None
    later.store.save_incident(replace(incident, state=IncidentState.OPEN))
    later.responder.handle("inc-1")
    option, plan = later.best()
    decision = later.operator.approve(option.id, plan.plan_hash)
    room.shop.commit("planner", "break something else", {"broken": "x\n"})
    answer = later.answered(decision)
    assert answer.code is ExitCode.WAITING
    assert "tests would not pass any more" in answer.text
    assert calc(room.shop) == BAD


def test_an_edited_plan_is_rehearsed_again_and_voids_what_was_approved(room: Room) -> None:
    option, plan = room.best()
    text = room.operator.plan_yaml(option.id).replace("Take back", "Undo for now:")
    assert room.operator.edit(option.id, text) == []
    decision = room.operator.approve(option.id, plan.plan_hash)  # of what was there before the edit
    answer = room.answered(decision)
    assert answer.code is ExitCode.WAITING
    assert room.events("decision")[-1]["reason"] == "edited"
    edited, now = room.best()
    assert now.plan_hash == edited.plan_hash != plan.plan_hash
    assert now.message.startswith("Undo for now:")
    assert room.answered(room.operator.approve(option.id, now.plan_hash)).code is ExitCode.DONE
    assert git(room.shop.path, "log", "-1", "--format=%s").startswith("Undo for now:")


def test_an_edit_of_what_was_escalated_waits_for_a_human_again(room: Room) -> None:
    incident = room.store.incident("inc-1")
    assert incident is not None
    room.store.save_incident(replace(incident, state=IncidentState.ESCALATED))
    option, _ = room.best()
    text = room.operator.plan_yaml(option.id).replace("restart: true", "restart: false")
    assert room.operator.edit(option.id, text) == []
    room.obeyer.obey()
    assert room.state() is IncidentState.WAITING


def test_a_decision_that_an_engine_took_and_died_on_is_carried_out_by_the_next(room: Room) -> None:
    option, plan = room.best()
    decision = room.operator.approve(option.id, plan.plan_hash)
    assert room.store.take_decision(decision.id)  # and then the engine was killed
    assert Room(room.shop).answered(decision).code is ExitCode.DONE
    assert calc(room.shop) == GOOD
    assert len(room.store.rollbacks()) == 1


def test_a_decision_whose_rollback_was_begun_is_answered_by_it_and_not_begun_twice(room: Room) -> None:
    option, plan = room.best()
    decision = room.operator.approve(option.id, plan.plan_hash)
    assert room.store.take_decision(decision.id)
    begun = start_rollback(room.services, plan, approved_by="ann@desk")
    save_beginning(room.store, decision.id, begun.id)  # and then the engine was killed
    later = Room(room.shop)
    later.responder.take_up()
    assert later.answered(decision).text.startswith(f"{begun.id} done and verified")
    assert [rollback.id for rollback in room.store.rollbacks()] == [begun.id]


def test_leaving_in_the_middle_of_a_rehearsal_loses_no_approval(room: Room) -> None:
    option, plan = room.best()
    decision = room.operator.approve(option.id, plan.plan_hash)
    room.shop.commit("planner", "unrelated", {"notes.md": "more\n"})
    assert room.store.take_decision(decision.id)
    leaving = Room(room.shop)
    leaving.leave.set()
    with pytest.raises(CutShort):
        leaving.obeyer.obey()
    assert answer_to(room.store, decision.id) is None
    assert Room(room.shop).answered(decision).code is ExitCode.DONE


def test_who_is_to_leave_begins_nothing_new(room: Room) -> None:
    option, plan = room.best()
    decision = room.operator.approve(option.id, plan.plan_hash)
    room.leave.set()
    assert room.obeyer.obey() == 0
    assert room.store.rollbacks() == []
    assert Room(room.shop).answered(decision).code is ExitCode.DONE


def test_an_undo_and_a_redo_are_rollbacks_of_their_own(room: Room) -> None:
    option, plan = room.best()
    room.answered(room.operator.approve(option.id, plan.plan_hash))
    assert room.answered(room.operator.undo("rb-1")).text.startswith("rb-2 done and verified")
    assert calc(room.shop) == BAD
    assert room.answered(room.operator.redo("rb-1")).text.startswith("rb-3 done and verified")
    assert calc(room.shop) == GOOD
    again = room.answered(room.operator.redo("rb-1"))
    assert again.code is ExitCode.USAGE
    assert "turned round already" in again.text


def test_agents_are_held_at_once_and_let_go(room: Room) -> None:
    stop = room.operator.stop_agent("planner")
    other = room.operator.reject(room.best()[0].id)
    room.obeyer.obey_at_once()
    assert room.store.holds()["planner"].hold is Hold.STOPPED
    assert answer_to(room.store, stop.id) == Answer(ExitCode.DONE, "planner: stop done")
    assert answer_to(room.store, other.id) is None, "that is for the responder's thread"
    assert room.obeyer.is_wanted()
    assert room.answered(room.operator.resume_agent("planner")).code is ExitCode.DONE
    assert room.store.holds()["planner"].hold is Hold.NONE
    assert not room.obeyer.is_wanted()


def test_stopped_twice_by_an_operator_an_agents_supervisor_ends_too(room: Room, nothing_left: str) -> None:
    services = room.services
    settings = services.settings.agents["planner"].model_copy(update={"run": ("sleep", "600")})
    start_agent(services.paths, "planner", settings, services.repository.top)
    assert room.answered(room.operator.stop_agent("planner")).text == "planner: stop done"
    assert [run.child_pid for run in current_runs(services.paths.inbox_db)] == [None], "it waits to be let go"
    answer = room.answered(room.operator.stop_agent("planner"))
    assert answer.text == "planner: stopped before, so its supervisor was ended as well"
    assert current_runs(services.paths.inbox_db) == []
    assert room.store.holds()["planner"].hold is Hold.STOPPED


@pytest.mark.parametrize(("option", "problem"), [("stop:nobody", "no agent nobody"), ("opt-7.1", "no option opt-7.1")])
def test_what_cannot_be_done_is_answered_so(room: Room, option: str, problem: str) -> None:
    decision = room.store.add_decision("", option, "", DecisionVerdict.APPROVE, "ann@desk")
    answer = room.answered(decision)
    assert answer.code is ExitCode.USAGE
    assert problem in answer.text


def test_a_plan_that_is_not_valid_is_not_carried_out(room: Room) -> None:
    incident, (_, plan) = room.store.incident("inc-1"), room.best()
    assert incident is not None
    with pytest.raises(UsageError, match="names no branch"):
        room.responder.execute(incident, replace(plan, branch=""), "ann@desk")
    assert room.state() is IncidentState.WAITING
    assert room.store.rollbacks() == []


def test_a_damaged_option_does_not_keep_others_from_being_obeyed(room: Room, tmp_path: Path) -> None:
    bad = room.store.add_decision("inc-1", "opt-9.9", "", DecisionVerdict.APPROVE, "ann@desk")
    stop = room.operator.stop_agent("planner")
    room.obeyer.obey()
    assert [answer_to(room.store, each.id) is not None for each in (bad, stop)] == [True, True]


def test_what_an_operator_approved_waits_for_them_again(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    agent_in_between(room.shop, monkeypatch)
    option, plan = room.best()
    answer = room.answered(room.operator.approve(option.id, plan.plan_hash))
    assert answer.code is ExitCode.WAITING
    assert "rb-1 published nothing: main moved" in answer.text
    assert room.state() is IncidentState.WAITING
    assert "return a - b" in calc(room.shop)
