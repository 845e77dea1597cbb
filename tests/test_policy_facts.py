"""What the policy looks at is what is really so; what was forgotten must not read as fine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from rollcage.core.config import Level
from rollcage.core.decide import PolicyFacts
from rollcage.core.model import (
    DecisionVerdict,
    Diagnosis,
    Incident,
    IncidentState,
    OptionType,
    RecoveryPlan,
    Rollback,
    RollbackOption,
    RollbackState,
)
from rollcage.core.policy_facts import KILL_SWITCH, confirmed, policy_facts, policy_verdict
from tests.conftest import git
from tests.loop import BAD, CHECK, GOOD, Shop, Stages
from tests.room import Room, waits


class Case:
    """A fault with its incident, diagnosed and rehearsed, at level auto."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.room = Room(shop, Level.PROPOSE)
        self.option, self.plan = self.room.best()

    @property
    def incident(self) -> Incident:
        found = self.room.store.incident("inc-1")
        assert found is not None
        return found

    @property
    def diagnosis(self) -> Diagnosis:
        found = self.room.store.diagnosis("inc-1")
        assert found is not None
        return found

    def facts(self, option: RollbackOption | None = None, plan: RecoveryPlan | None = None) -> PolicyFacts:
        services = self.shop.services
        return policy_facts(services, self.incident, option or self.option, plan or self.plan, self.diagnosis)

    def verdict(self, level: Level = Level.AUTO) -> tuple[DecisionVerdict, str]:
        return policy_verdict(self.shop.services, level, self.incident, self.option, self.plan, self.diagnosis)

    def earlier(self, number: int, hours: float, by: str = "engine") -> None:
        """Record that the same problem was rolled back before."""
        ended = self.shop.services.clock.now() - timedelta(hours=hours)
        store = self.shop.services.store
        name = store.new_incident_id()
        store.save_incident(replace(self.incident, id=name, state=IncidentState.RECOVERED, opened=ended, closed=ended))
        store.save_rollback(
            Rollback(f"rb-{900 + number}", name, "", "", "rollback", RollbackState.DONE, by, ended, "", "", ended)
        )


@pytest.fixture
def case(stages: Stages) -> Iterator[Case]:
    with stages.at(waits) as shop:
        yield Case(shop)


def test_a_plain_case_may_be_carried_out_alone(case: Case) -> None:
    facts = case.facts()
    assert facts == PolicyFacts(
        kill_switch=False,
        snapshot_failed=False,
        same_problem=0,
        proposals=1,
        unattended=0,
        checks_believed=True,
        confirmed=True,
        opted_out=False,
        undone_before=False,
        culprit_age=facts.culprit_age,
        moved=False,
        overlap=False,
        obstacle="",
        needed_later=False,
    )
    assert facts.culprit_age < 60
    assert case.verdict() == (DecisionVerdict.APPROVE, "")
    assert case.verdict(Level.PROPOSE) == (DecisionVerdict.WAIT, "level_propose")


def test_the_kill_switch_is_a_file_of_the_operators(case: Case) -> None:
    (case.shop.services.paths.root / KILL_SWITCH).touch()
    assert case.facts().kill_switch
    assert case.verdict() == (DecisionVerdict.WAIT, "paused_by_kill_switch")


def test_a_branch_that_moved(case: Case) -> None:
    case.shop.commit("planner", "meanwhile", {"notes.md": "more\n"})
    assert case.facts().moved
    assert case.verdict() == (DecisionVerdict.WAIT, "moved")


def test_uncommitted_edits_and_operations_in_the_way(case: Case) -> None:
    (case.shop.path / "calc.py").write_text("def add(a, b):\n    return a * b\n")
    assert case.facts().overlap
    (case.shop.path / "calc.py").write_text(BAD)
    git(case.shop.path, "checkout", "-q", "-b", "other", "main~1")
    case.shop.path.joinpath("plan.md").write_text("otherwise\n")
    git(case.shop.path, "commit", "-q", "-a", "-m", "otherwise")
    git(case.shop.path, "checkout", "-q", "main")
    with pytest.raises(AssertionError, match="merge"):
        git(case.shop.path, "merge", "-q", "other")
    assert case.facts().obstacle == "operation_in_progress"


def test_the_same_problem_in_a_row_is_handed_to_a_human(case: Case) -> None:
    for number, hours in enumerate((1, 2, 3)):
        case.earlier(number, hours)
    assert case.facts().same_problem == 3
    assert case.verdict() == (DecisionVerdict.ESCALATE, "same_problem")


def test_who_has_to_find_the_root_cause_by_hand_is_told_all_that_is_known(case: Case) -> None:
    for number, hours in enumerate((3, 2, 1)):
        case.earlier(number, hours)
    case.shop.incident()
    room = Room(case.shop, Level.AUTO)
    incident = room.responder.handle("inc-5")
    assert incident.state is IncidentState.ESCALATED
    (alert,) = [body for body in room.events("alert") if body.get("incident") == "inc-5"]
    assert [each["rollback"] for each in alert["tried"]] == ["rb-902", "rb-901", "rb-900"]
    assert alert["diagnosis"]["culprits"] == list(case.plan.targets)
    assert alert["snapshots"] == [room.store.snapshots()[0].id]
    assert "needs work by hand" in alert["text"]
    assert "tried before: rb-902 (unknown) done: it was verified, and the trouble came back" in alert["text"]


def test_only_what_was_confirmed_may_go_without_a_human(case: Case) -> None:
    known, other = case.diagnosis.culprits[0], "f" * 40
    more = replace(case.diagnosis, culprits=(known, replace(known, sha=other)))
    for kind, targets, diagnosed, may in (
        (OptionType.SINGLE_COMMIT, (known.sha,), case.diagnosis, True),
        (OptionType.SINGLE_COMMIT, (known.sha,), more, False),
        (OptionType.FILE_SELECTIVE, (known.sha, other), more, True),
        (OptionType.SINGLE_COMMIT, (known.sha, other), case.diagnosis, False),
        (OptionType.FULL_AGENT_RESET, (known.sha, other), case.diagnosis, True),
        (OptionType.FULL_AGENT_RESET, (other,), case.diagnosis, False),
        (OptionType.BRANCH_RESET, (known.sha, other), more, True),
        (OptionType.SINGLE_COMMIT, (known.sha,), replace(more, culprits=()), False),
    ):
        option = replace(case.option, type=kind, target_commits=targets)
        assert confirmed(option, diagnosed) is may, (kind, targets)


def test_a_day_of_health_ends_the_row(case: Case) -> None:
    for number, hours in enumerate((60, 59, 2)):
        case.earlier(number, hours)
    assert case.facts().same_problem == 1


def test_an_operator_ends_the_row(case: Case) -> None:
    case.earlier(1, 3)
    case.earlier(2, 2, by="ann@desk")
    case.earlier(3, 1)
    assert case.facts().same_problem == 1
    newest = case.room.store.incidents()[0]
    case.room.store.add_decision(newest.id, "opt-4.1", "", DecisionVerdict.REJECT, "ann@desk")
    assert case.facts().same_problem == 0


def test_rollbacks_without_a_human_are_counted_for_a_day(case: Case) -> None:
    case.earlier(1, 30)
    case.earlier(2, 2)
    case.earlier(3, 1, by="ann@desk")
    assert case.facts().unattended == 1


def test_what_an_operator_brought_back_once_is_not_taken_back_alone(case: Case) -> None:
    room = case.room
    assert room.answered(room.operator.approve(case.option.id)).text.startswith("rb-1 done")
    assert room.answered(room.operator.undo("rb-1")).text.startswith("rb-2 done")
    assert (case.shop.path / "calc.py").read_text() == BAD
    case.shop.incident()
    again = Room(case.shop, Level.AUTO)
    incident = again.responder.handle("inc-2")
    assert incident.state is IncidentState.WAITING
    assert incident.note == "an operator brought this change back once, so a human decides"
    assert again.best("inc-2")[1].targets == (case.shop.head(),), "the undo is what brought the fault now"


def test_an_old_culprit_is_left_to_a_human(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2020-01-01T00:00:00Z")
    shop.mark_good()
    shop.commit("executor", "tidy add", {"calc.py": BAD})
    monkeypatch.delenv("GIT_COMMITTER_DATE")
    shop.commit("planner", "today", {"plan.md": "today\n"})
    shop.incident()
    incident = Room(shop).responder.handle("inc-1")
    assert incident.note == "the culprit is much older than the branch's newest commit"


def test_a_check_that_is_not_believed_keeps_one_from_acting_alone(shop: Shop) -> None:
    shop.configure(checks=[CHECK, {**CHECK, "name": "lint", "run": ["sh", "-c", "! grep -q 'a - b' calc.py"]}])
    shop.mark_good()
    shop.break_it()
    shop.incident(shop.finding(), shop.finding("check:lint"))
    incident = Room(shop).responder.handle("inc-1")
    assert incident.state is IncidentState.WAITING
    assert incident.note == "the checks cannot be believed: see its canary in rollcage doctor"
    assert (shop.path / "calc.py").read_text() == BAD != GOOD
