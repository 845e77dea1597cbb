"""An incident is followed to its outcome, and operators are obeyed: exactly once, and never by something else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollcage.console.operator import StoreOperator
from rollcage.core.config import Level
from rollcage.core.decisions import Answer, answer_to, save_beginning
from rollcage.core.errors import ExitCode, UsageError
from rollcage.core.execute.journal import Journal
from rollcage.core.execute.runner import start_rollback
from rollcage.core.fleet.runs import current_runs
from rollcage.core.fleet.start import start_agent
from rollcage.core.model import (
    Decision,
    DecisionVerdict,
    Hold,
    Incident,
    IncidentState,
    RecoveryPlan,
    RollbackOption,
    RollbackState,
    Severity,
    Step,
    StepState,
    Verdict,
)
from rollcage.core.obey import Obeyer
from rollcage.core.progress import activity, save_activity
from rollcage.core.respond import CutShort, Responder
from tests.conftest import git
from tests.fleet.conftest import nothing_left
from tests.loop import BAD, CHECK, GOOD, Shop, Stages

__all__ = ["nothing_left"]


class Room:
    """A responder and who obeys, on the shop, without threads."""

    def __init__(self, shop: Shop, level: Level = Level.AUTO) -> None:
        self.shop = shop
        self.leave = threading.Event()
        self.settled: list[Incident] = []
        self.services = shop.services
        self.store = shop.services.store
        self.responder = Responder(shop.services, level, lambda run: [], self.settled.append, self.leave)
        self.obeyer = Obeyer(shop.services, self.responder)
        self.operator = StoreOperator(self.store, shop.services.clock, lambda: shop.context.leases, name="ann@desk")

    def best(self, incident: str = "inc-1") -> tuple[RollbackOption, RecoveryPlan]:
        return self.store.options(incident)[0]

    def state(self, incident: str = "inc-1") -> IncidentState:
        found = self.store.incident(incident)
        assert found is not None
        return found.state

    def answered(self, decision: Decision) -> Answer:
        self.obeyer.obey()
        answer = answer_to(self.store, decision.id)
        assert answer is not None
        return answer

    def events(self, kind: str) -> list[Any]:
        return [event.body for event in self.store.recent_events(1000) if event.event == kind]


def waits(shop: Shop) -> None:
    """Let the incident wait for a human."""
    shop.trouble()
    assert Room(shop, Level.PROPOSE).responder.handle("inc-1").state is IncidentState.WAITING


@pytest.fixture
def room(stages: Stages) -> Iterator[Room]:
    """A shop with a fault, its incident waiting for a human."""
    with stages.at(waits) as shop:
        yield Room(shop, Level.PROPOSE)


def calc(shop: Shop) -> str:
    return (shop.path / "calc.py").read_text()


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


# -- operators


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


def agent_in_between(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let somebody commit in the culprit's own file when the rollback's commit is made and not yet published."""
    written = Journal.write

    def write(journal: Journal, *steps: Step) -> Step:
        last = written(journal, *steps)
        if (last.name, last.state, journal.rollback.id) == ("commit", StepState.DONE, "rb-1"):
            shop.commit("planner", "twice", {"calc.py": f"TWO = 2\n\n\n{BAD}"})
        return last

    monkeypatch.setattr(Journal, "write", write)


def test_what_the_engine_decided_is_planned_anew(troubled: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    agent_in_between(troubled, monkeypatch)
    room = Room(troubled)
    assert room.responder.handle("inc-1").state is IncidentState.RECOVERED
    assert calc(troubled) == f"TWO = 2\n\n\n{GOOD}"
    second, first = room.store.rollbacks()
    assert (first.state, first.head_after, second.state) == (RollbackState.UNDONE, "", RollbackState.DONE)


def test_what_an_operator_approved_waits_for_them_again(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    agent_in_between(room.shop, monkeypatch)
    option, plan = room.best()
    answer = room.answered(room.operator.approve(option.id, plan.plan_hash))
    assert answer.code is ExitCode.WAITING
    assert "rb-1 published nothing: main moved" in answer.text
    assert room.state() is IncidentState.WAITING
    assert "return a - b" in calc(room.shop)
