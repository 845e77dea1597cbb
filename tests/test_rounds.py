"""One thread that fails or hangs neither passes unnoticed nor takes the others along."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollcage.core.clock import SystemClock
from rollcage.core.errors import GitError
from rollcage.core.rounds import STUCK_S, Rounds
from rollcage.core.store.store import Store
from tests.conftest import ManualClock
from tests.loop import Shop, eventually


def alerts(store: Store) -> list[str]:
    return [str(event.body["text"]) for event in store.recent_events(100) if event.event == "alert"]


def fail() -> None:
    raise IndexError("a defect")


@pytest.fixture
def leave() -> Iterator[threading.Event]:
    """Yield what ends the threads of a test."""
    event = threading.Event()
    yield event
    event.set()


def test_what_a_person_can_mend_is_told_once_and_tried_again(shop: Shop, leave: threading.Event) -> None:
    store = shop.services.store
    rounds = Rounds(store, ManualClock(), leave)
    tries: list[int] = []

    def work() -> None:
        tries.append(1)
        if len(tries) < 4:
            raise GitError("the repository is gone")
        leave.set()

    thread = rounds.thread("observe", work, 1.0)
    thread.start()
    thread.join(30)
    assert len(tries) == 4
    assert alerts(store) == ["observe: the repository is gone"]
    assert rounds.failure == ""


def test_it_is_told_again_when_it_comes_again(shop: Shop, leave: threading.Event) -> None:
    store = shop.services.store
    rounds = Rounds(store, ManualClock(), leave)
    problems = iter(["gone", "gone", "", "gone", ""])

    def work() -> None:
        problem = next(problems, None)
        if problem is None:
            leave.set()
        elif problem:
            raise GitError(problem)

    thread = rounds.thread("observe", work, 1.0)
    thread.start()
    thread.join(30)
    assert alerts(store) == ["observe: gone", "observe: gone"]


def test_a_defect_ends_all_threads_and_is_written_down(shop: Shop, leave: threading.Event) -> None:
    store = shop.services.store
    rounds = Rounds(store, SystemClock(), leave)
    other = rounds.thread("other", lambda: None, 0.01)
    broken = rounds.thread("detect", fail, 0.01)
    other.start()
    broken.start()
    broken.join(30)
    other.join(30)
    assert not other.is_alive()
    assert rounds.failure.startswith("a defect of rollcage in detect: IndexError(")
    assert "Traceback" in (store.get_note("crash") or "")
    assert alerts(store) == [f"the engine has ended: {rounds.failure}"]


def test_a_defect_ends_the_threads_also_where_nothing_can_be_written(shop: Shop, leave: threading.Event) -> None:
    rounds = Rounds(shop.services.store, SystemClock(), leave)
    shop.services.store.close()
    broken = rounds.thread("detect", fail, 0.01)
    broken.start()
    broken.join(30)
    assert leave.is_set()
    assert "IndexError" in rounds.failure


def test_what_cannot_be_told_is_told_later(shop: Shop, leave: threading.Event, tmp_path: Path) -> None:
    store = shop.services.store
    rounds = Rounds(store, ManualClock(), leave)
    store.close()
    rounds.tell("observe", "no room")
    shop.open()
    rounds._store = shop.services.store
    rounds.tell("observe", "no room")
    rounds.tell("observe", "no room")
    assert alerts(shop.services.store) == ["observe: no room"]


def test_a_thread_that_hangs_is_told_and_keeps_nobody_from_working(shop: Shop, leave: threading.Event) -> None:
    store = shop.services.store
    clock = ManualClock()
    rounds = Rounds(store, clock, leave)
    begun, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        go_on.wait(30)

    thread = rounds.thread("observe", hang, 1.0)
    thread.start()
    assert begun.wait(30)
    rounds.tell_who_hangs(("observe", "detect"))
    assert alerts(store) == []
    clock.advance(STUCK_S + 1)
    rounds.tell_who_hangs(("observe", "detect"))
    rounds.tell_who_hangs(("observe", "detect"))
    assert alerts(store) == ["observe hangs: it has not come back for over 60 s"]
    leave.set()
    go_on.set()
    eventually(lambda: not thread.is_alive())
