"""The board is what the state says, at one moment; reading it again costs little and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest

from rollcage.core.board import Board, EngineView
from rollcage.core.config import Level
from rollcage.core.coordination.embedded import EmbeddedLeases
from rollcage.core.coordination.redis_leases import RedisLeases
from rollcage.core.model import (
    EVERYBODY,
    DecisionVerdict,
    Health,
    Hold,
    IncidentState,
    Severity,
    Signal,
    SignalKind,
)
from rollcage.core.picture import EVENTS, LOCKS_AGAIN_S, SPARK, Picture
from rollcage.core.progress import save_activity, save_level, save_warnings
from tests.conftest import ManualClock
from tests.coordination.redis_server import redis_server
from tests.loop import Shop, Stages
from tests.room import Room


class Wall:
    """A picture, read again and again."""

    def __init__(self, shop: Shop) -> None:
        self.context = shop.context
        self.picture = Picture(shop.context.view, shop.context.leases, shop.context.clock)

    def read(self) -> Board:
        return self.picture.read(name="shop", path="/shop", head="abc", engine=EngineView("here", "pid 1 on host"))

    def fresh(self) -> Board:
        """Read the board as a console that was just opened does."""
        picture = Picture(self.context.view, self.context.leases, self.context.clock)
        return picture.read(name="shop", path="/shop", head="abc", engine=EngineView("here", "pid 1 on host"))


def set_state(shop: Shop, name: str, state: IncidentState) -> None:
    incident = shop.services.store.incident(name)
    assert incident is not None
    shop.services.store.save_incident(replace(incident, state=state))


def waits(shop: Shop) -> None:
    """Let an incident of an agent wait for a human."""
    shop.mark_good()
    shop.break_it()
    shop.incident(shop.finding(agent="executor"))
    assert Room(shop, Level.PROPOSE).responder.handle("inc-1").state is IncidentState.WAITING


@pytest.fixture
def waiting(stages: Stages) -> Iterator[Shop]:
    with stages.at(waits) as shop:
        yield shop


@pytest.fixture
def wall(waiting: Shop) -> Wall:
    """Return the picture of a shop whose fault waits for a human."""
    return Wall(waiting)


def test_a_board_has_all_that_is_known_of_an_incident(wall: Wall) -> None:
    board = wall.read()
    (view,) = board.incidents
    assert view.diagnosis is not None
    assert [each.option.id for each in view.options] == [f"opt-1.{n}" for n in range(1, len(view.options) + 1)]
    assert [decision.reason for decision in view.decisions] == ["level propose: a human decides"]
    assert (board.health, board.needs_you, board.branch) == (Health.CRITICAL, 1, "main")
    assert [(status.name, status.health) for status in board.agents] == [
        ("executor", Health.CRITICAL),
        ("planner", Health.HEALTHY),
    ]
    assert board.seq == board.events[-1].seq == wall.context.store.last_seq()
    assert len(board.snapshots) == 1


def test_two_reads_without_a_change_are_equal_and_share_what_they_show(wall: Wall) -> None:
    first, second = wall.read(), wall.read()
    assert first == second
    assert first == wall.fresh()


def test_whatever_changes_is_seen_and_is_the_same_as_in_a_new_console(waiting: Shop, wall: Wall) -> None:
    shop = waiting
    """Each change in turn: what is kept from the read before must never hide one."""
    store, before = wall.context.store, wall.read()
    diagnosis = store.diagnosis("inc-1")
    assert diagnosis is not None
    room = Room(shop, Level.PROPOSE)
    changes: list[Callable[[], object]] = [
        lambda: save_activity(store, "inc-1", "searching: 3 of about 5 check runs"),
        lambda: store.add_decision("inc-1", "opt-1.1", "", DecisionVerdict.WAIT, "ann@desk"),
        lambda: store.take_decision(store.decisions()[-1].id),
        lambda: store.save_diagnosis(replace(diagnosis, confidence=0.5)),
        lambda: shop.signal("metric", "queue", value=3.0),
        lambda: shop.signal("state", "running", attrs={"from": "starting"}),
        lambda: room.answered(room.operator.reject("opt-1.1")),
        lambda: room.answered(room.operator.approve("opt-1.1")),
        lambda: room.answered(room.operator.undo("rb-1")),
        lambda: store.set_hold("planner", Hold.PAUSED, "why not"),
        lambda: save_warnings(store, ["check tests is flaky"]),
        lambda: save_level(store, "auto"),
        lambda: shop.incident(shop.finding("load", agent="planner", severity=Severity.WARNING)),
    ]
    for number, change in enumerate(changes):
        change()
        board = wall.read()
        assert board != before, f"change {number} is not seen"
        assert board == wall.fresh(), f"after change {number}"
        before = board


def test_trouble_comes_first_and_ended_incidents_by_age(shop: Shop) -> None:
    for number in range(4):
        shop.incident(shop.finding(f"load-{number}", agent="executor"))
    for name, state in (("inc-1", IncidentState.ESCALATED), ("inc-4", IncidentState.RECOVERED)):
        set_state(shop, name, state)
    board = Wall(shop).read()
    assert [view.incident.id for view in board.incidents] == ["inc-3", "inc-2", "inc-1", "inc-4"]
    assert board.needs_you == 1, "what was escalated waits for a human, what is open does not yet"


def test_what_nobody_mended_is_not_called_healthy(shop: Shop) -> None:
    shop.incident()
    set_state(shop, "inc-1", IncidentState.REJECTED)
    board = Wall(shop).read()
    assert (board.health, board.needs_you) == (Health.CRITICAL, 0)


def test_the_time_of_a_lease_that_runs_is_no_change_and_a_renewal_is(shop: Shop) -> None:
    clock = ManualClock()
    context = shop.open(clock)
    leases = EmbeddedLeases(context.paths, clock)
    held = leases.acquire("issue/42", "executor", ttl=60)
    clock.advance(1)
    wall = Wall(shop)
    first = wall.read()
    clock.advance(20)
    second = wall.read()
    assert second == first
    assert second.leases is first.leases, "widgets count down from when they got it"
    leases.renew(held)
    third = wall.read()
    assert third != second
    assert third.leases[0].expires_in_s == 60
    leases.release(held)
    assert wall.read().leases == ()
    leases.close()


def test_a_lost_redis_hides_nothing_but_the_locks(shop: Shop) -> None:
    clock = ManualClock()
    context = shop.open(clock)
    with redis_server() as server, closing(RedisLeases(context.paths, clock, server.url)) as leases:
        picture = Picture(context.view, leases, clock)

        def read() -> Board:
            return picture.read(name="shop", path="/shop", head="abc", engine=EngineView("here", "pid 1 on host"))

        leases.acquire("issue/42", "executor", ttl=60)
        assert [lease.name for lease in read().leases] == ["issue/42"]
        server.kill()
        context.store.append_event("alert", {"severity": "warning", "text": "something new"})
        board = read()
        assert board.events[-1].body["text"] == "something new"
        assert [lease.name for lease in board.leases] == ["issue/42"], "as it was"
        assert board.warnings[0].startswith("locks are not up to date: Redis server ")
        assert read() == board
        server.start()
        assert read() == board, "it is not asked again and again: each time may take seconds"
        clock.advance(LOCKS_AGAIN_S)
        back = read()
        assert (back.leases, back.warnings) == ((), ())


def test_metrics_have_their_course_their_band_and_their_owner(shop: Shop) -> None:
    shop.configure(rules={"queue": {"normal": 10, "warning": 30, "critical": 90}})
    wall = Wall(shop)
    for number in range(SPARK + 8):
        shop.signal("metric", "queue", value=float(number))
    shop.signal("data", "data_consistency", agent=EVERYBODY, value=0.0)
    series = {(each.agent, each.metric): each for each in wall.read().series}
    assert set(series) == {("executor", "queue"), ("", "data_consistency")}
    queue = series["executor", "queue"]
    assert (queue.values, queue.band) == (tuple(float(n) for n in range(8, SPARK + 8)), "warning")
    shop.signal("metric", "queue", value=99.0)
    queue = next(each for each in wall.read().series if each.metric == "queue")
    assert (queue.values[-2:], queue.band) == ((39.0, 99.0), "critical")


def test_what_was_measured_of_processes_that_are_gone_is_not_shown(shop: Shop) -> None:
    shop.signal("metric", "memory_usage", value=9e9, unit="B")
    board = Wall(shop).read()
    assert board.series == ()
    assert board.agents[0].memory is None


def test_a_damaged_or_hostile_inbox_does_no_harm(shop: Shop) -> None:
    shop.signal("metric", "a\x1b[31m[/]", value=1.0)
    shop.signal("metric", "none", text="no number")
    shop.signal("metric", "queue", value=2.0)
    assert [each.metric for each in Wall(shop).read().series] == ["queue"]


def test_only_the_newest_events_are_kept_also_after_a_flood(shop: Shop) -> None:
    wall = Wall(shop)
    wall.read()
    store = wall.context.store
    with store.transaction():
        for number in range(EVENTS + 100):
            store.append_event("step", {"number": number})
    board = wall.read()
    assert len(board.events) == EVENTS
    assert board.events[-1].body["number"] == EVENTS + 99
    assert board == wall.fresh()


def test_reading_needs_no_look_at_old_signals(shop: Shop) -> None:
    """Kept are weeks of samples; the newest are found through the index, whatever there is behind them."""
    now = shop.services.clock.now()
    old = [Signal(now - timedelta(days=1), "executor", SignalKind.METRIC, f"m{n % 7}", 1.0) for n in range(5_000)]
    shop.services.signals.put(old)
    signals = shop.services.signals
    assert len(signals.newest("executor")) == 7
    ticks: list[int] = []
    with signals._connections.reading() as connection:
        connection.set_progress_handler(lambda: ticks.append(1), 100)  # at every 100 of SQLite's own instructions
        signals.positions("executor")
        connection.set_progress_handler(None, 0)
    assert len(ticks) < 50, "it reads through all of them"
