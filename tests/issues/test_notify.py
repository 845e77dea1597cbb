"""What an agent is told of its Issues arrives, or a human hears that it did not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rollcage.core.config import Settings
from rollcage.core.errors import StoreError, UsageError
from rollcage.core.fleet import mailbox
from rollcage.core.fleet.runs import latest_runs
from rollcage.core.issues.courier import AGAIN_S, Courier
from rollcage.core.issues.create import create_issue_atomically
from rollcage.core.issues.desk import Desk, open_desk
from rollcage.core.issues.notify import confirmed, find, notify_agent, pending, post_new
from rollcage.core.issues.update import update_issue_with_optimistic_lock
from rollcage.core.model import Hold, Signal, SignalKind
from rollcage.core.store.paths import RepositoryPaths
from rollcage.core.store.signals import Signals
from rollcage.core.store.store import Store
from tests.conftest import ManualClock
from tests.fleet.conftest import eventually, nothing_left

__all__ = ["nothing_left"]

FLEET = Settings.model_validate(
    {
        "agents": {
            "executor": {},
            "monitor": {"run": [sys.executable, "-S", "-c", "import time; time.sleep(60)"], "start": "engine"},
            "broken": {"run": ["/nowhere/there"], "start": "engine"},
        }
    }
)


class Office:
    """A desk of the planner, the engine's courier, and what agents say."""

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.paths, self.clock = RepositoryPaths(folder), clock
        self.store = Store.open(self.paths, clock)
        self.desk: Desk = open_desk(FLEET, self.paths, clock, holder="planner")
        self.courier = Courier(FLEET, self.paths, self.store, clock, folder)
        self.signals = Signals(self.store)

    def create(self, agent: str, title: str = "fit") -> int:
        return create_issue_atomically(self.desk, title, labels=[f"agent:{agent}"]).issue.number

    def update(self, number: int, **updates: object) -> None:
        update_issue_with_optimistic_lock(self.desk, number, updates)

    def told(self, agent: str) -> list[str]:
        return [f"{message.id} {message.text}" for message in mailbox.read(self.paths, agent)]

    def say(self, agent: str, text: str) -> None:
        self.signals.put([Signal(self.clock.now(), agent, SignalKind.MESSAGE, "message", text=text)])

    def alerts(self) -> list[str]:
        return [str(each.body["text"]) for each in self.store.recent_events(50) if each.event == "alert"]

    def close(self) -> None:
        self.courier.close()
        self.signals.close()
        self.desk.close()
        self.store.close()


@pytest.fixture
def office(tmp_path: Path, clock: ManualClock) -> Iterator[Office]:
    with closing(Office(tmp_path, clock)) as made:
        yield made


def test_an_agent_is_told_what_is_its_own_and_confirms_it(office: Office) -> None:
    number = office.create("executor", "fit \u202ea model")
    office.courier.look()
    (line,) = office.told("executor")
    assert line == (
        f'n-1 Issue {number} is yours now (by planner): fit a model (confirm: rollcage signal message "seen n-1")'
    )
    assert [told.id for told in pending(office.desk.records)] == ["n-1"]
    office.say("planner", "seen n-1")
    office.say("executor", "I have seen n-1, I think")
    office.courier.look()
    assert len(pending(office.desk.records)) == 1, "another's word, or another word, is no confirmation"
    office.say("executor", "seen n-1")
    office.courier.look()
    assert pending(office.desk.records) == []
    assert office.desk.records.audit_records()[-1].outcome == "seen"
    office.clock.advance(10 * AGAIN_S)
    office.courier.look()
    assert len(office.told("executor")) == 1
    assert office.alerts() == []


def test_changes_are_told_once_until_they_were_seen(office: Office) -> None:
    number = office.create("executor")
    office.update(number, body="more")
    office.update(number, body="still more")
    office.update(number, labels=["agent:executor", "status:blocked"])
    office.courier.look()
    assert [told.reason for told in pending(office.desk.records)] == ["assigned", "changed"]
    office.say("executor", "seen n-1, n-2")
    office.courier.look()
    office.update(number, remove_labels=["status:blocked"])
    office.update(number, state="closed")
    assert [told.reason for told in pending(office.desk.records)] == ["unblocked", "closed"]


def test_nobody_is_told_of_its_own_work_or_of_what_is_no_longer_its_own(office: Office) -> None:
    mine = office.create("planner")
    office.update(mine, labels=["agent:executor"])
    office.update(mine, labels=["bug"])
    office.update(mine, body="x")
    assert [(told.agent, told.reason) for told in pending(office.desk.records)] == [("executor", "assigned")]


def test_who_is_not_blocked_any_more_is_told(office: Office) -> None:
    first, other, blocked = office.create("planner", "a"), office.create("planner", "b"), office.create("executor", "c")
    for blocker in (first, other):
        office.desk.tracker.add_blocker(blocked, blocker)
    office.update(blocked, add_labels=["status:blocked"])
    office.courier.look()
    office.say("executor", "seen n-1 n-2")
    office.courier.look()
    office.update(first, state="closed")
    assert pending(office.desk.records) == []
    office.update(other, state="closed")
    (told,) = pending(office.desk.records)
    assert told.text == f"Issue {blocked} is not blocked any more (by planner): c"


def test_what_is_not_confirmed_is_told_again_then_a_human_is_told(office: Office) -> None:
    office.create("executer")
    for tries in (1, 2, 3):
        office.courier.look()
        office.courier.look()
        assert len(office.told("executer")) == tries
        assert office.alerts() == []
        office.clock.advance(AGAIN_S + 1)
    office.courier.look()
    (alert,) = office.alerts()
    assert "executer has not confirmed n-1 after 3 times" in alert
    assert alert.endswith("no agent of that name is in rollcage.yml")
    assert find(office.desk.records, 1).state == "escalated"  # type: ignore[union-attr]
    office.courier.look()
    assert len(office.alerts()) == 1
    assert office.desk.records.verify_audit().ok


@pytest.mark.usefixtures("nothing_left")
def test_an_agent_that_the_engine_starts_is_started_when_it_is_told(office: Office) -> None:
    office.store.set_hold("monitor", Hold.PAUSED, "by ann")
    office.create("monitor")
    office.create("executor")
    office.courier.look()
    assert latest_runs(office.paths.inbox_db) == [], "what is held is not started"
    office.store.set_hold("monitor", Hold.NONE)
    office.courier.look()
    eventually(lambda: [run.agent for run in latest_runs(office.paths.inbox_db)] == ["monitor"])
    office.create("monitor", "another")
    office.courier.look()
    assert len([e for e in office.store.recent_events(50) if e.event == "agent"]) == 1


@pytest.mark.usefixtures("nothing_left")
def test_a_start_that_fails_is_told_a_human(office: Office) -> None:
    office.create("broken")
    office.courier.look()
    office.courier.look()
    (alert,) = office.alerts()
    assert "agent broken is to work on what n-1 says, and does not start" in alert
    assert pending(office.desk.records)


def test_at_level_watch_nobody_is_started(office: Office) -> None:
    office.create("monitor")
    with closing(Courier(FLEET, office.paths, office.store, office.clock, None)) as courier:
        courier.look()
    assert office.told("monitor")
    assert latest_runs(office.paths.inbox_db) == []


def test_two_who_send_at_once_send_it_once_and_what_was_not_sent_is_sent_later(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.create("executor")
    assert len(post_new(office.paths, office.desk.records)) == 1
    assert post_new(office.paths, office.desk.records) == []

    def full(*_: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("rollcage.core.issues.notify.post", full)
        with pytest.raises(StoreError):
            notify_agent(office.paths, office.desk.records, "executor", "look at the logs", sender="ann")
    assert len(office.told("executor")) == 1
    office.clock.advance(AGAIN_S + 1)
    office.courier.look()
    assert [line.split(" (")[0] for line in office.told("executor")[1:]] == [
        "n-1 Issue 1 is yours now",
        "n-2 look at the logs",
    ]


def test_only_agents_are_told() -> None:
    assert confirmed("seen n-1") == {1}
    assert confirmed("  seen n-1,n-22  n-3\n") == {1, 22, 3}
    for text in ("seen", "seen 1", "unseen n-1", "seen n-1 but not n-2", "SEEN n-1"):
        assert confirmed(text) == set()


def test_a_name_that_no_agent_has_is_an_error(office: Office) -> None:
    with pytest.raises(UsageError, match="cannot be an agent's name"):
        notify_agent(office.paths, office.desk.records, "../x", "hello", sender="ann")
    office.create("../x")
    assert pending(office.desk.records) == []


def test_what_others_made_of_an_issue_is_told_too(office: Office) -> None:
    number = office.create("executor")
    office.courier.look()
    office.say("executor", "seen n-1")
    mine = office.desk.tracker.get(number)
    seen = {"number": number, "title": "fit", "state": "open", "labels": ["agent:executor", "bug"]}
    for change, version in (("changed", mine.version), ("changed", "another"), ("gone", "x")):
        office.store.append_event("issue", {**seen, "change": change, "version": version})
    office.courier.look()
    (told,) = pending(office.desk.records)
    assert (told.agent, told.reason, told.text) == ("executor", "changed", "Issue 1 was changed by others: fit")
    office.say("executor", "seen n-2")
    with closing(Courier(FLEET, office.paths, office.store, office.clock, None)) as another:
        another.look()
        another.look()
    assert pending(office.desk.records) == []
