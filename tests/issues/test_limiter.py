"""The limiter never lets more through than GitHub allows, in any window, whoever asks."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import textwrap
import threading
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcage.core.errors import StoreError
from rollcage.core.issues.errors import TrackerLimitError, TrackerOfflineError
from rollcage.core.issues.github.limiter import (
    CREATE,
    QUERY,
    READ,
    WRITE,
    Cost,
    Limiter,
    Limits,
    Slot,
    Told,
    limits_file,
)
from rollcage.core.store.paths import RepositoryPaths

from ..conftest import ManualClock

FOREVER = 1e9


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "limits" / "token.db"


def most(moments: list[tuple[float, int]], window: float) -> int:
    """Return the most that any window of ``window`` seconds, half open, has of (when, how much)."""
    return max(
        (sum(amount for at, amount in moments if begin <= at < begin + window) for begin, _ in moments), default=0
    )


SMALL = Limits(requests=30, points=40, creations_per_minute=4, creations_per_hour=9)
ASKED = st.tuples(st.sampled_from([READ, WRITE, CREATE, QUERY]), st.floats(0, 400), st.floats(0, 4000))


@settings(deadline=None, max_examples=40)
@given(asked=st.lists(ASKED, max_size=60))
def test_in_no_window_is_there_more_than_the_limits(
    tmp_path_factory: pytest.TempPathFactory, asked: list[tuple[Cost, float, float]]
) -> None:
    clock = ManualClock()
    limiter = Limiter(tmp_path_factory.mktemp("limits") / "l.db", clock, SMALL)
    sent: list[tuple[float, Cost]] = []
    for cost, pause, longest in asked:
        clock.advance(pause)
        with suppress(TrackerLimitError):
            slot = limiter.reserve(cost, longest)
            assert slot.wait <= longest
            sent.append((slot.at, cost))
            limiter.settle(slot)
    limiter.close()
    assert most([(at, cost.requests) for at, cost in sent], 3600) <= SMALL.requests
    assert most([(at, cost.points) for at, cost in sent], 60) <= SMALL.points
    assert most([(at, cost.creations) for at, cost in sent], 60) <= SMALL.creations_per_minute
    assert most([(at, cost.creations) for at, cost in sent], 3600) <= SMALL.creations_per_hour


def test_githubs_own_numbers_are_used_up_to_the_last(file: Path, clock: ManualClock) -> None:
    limiter = Limiter(file, clock)
    began = clock.boot()
    at = []
    for _ in range(600):
        slot = limiter.reserve(CREATE, FOREVER)
        at.append(slot.at - began)
        limiter.settle(slot)
    assert sum(each < 60 for each in at) == 80
    assert sum(each < 3600 for each in at) == 500
    assert max(at) < 3600 + 3 * 61 + 60  # and no longer than needed
    assert at == sorted(at)


def test_what_only_some_are_short_of_holds_up_nobody_else(file: Path, clock: ManualClock) -> None:
    limiter = Limiter(file, clock)
    for _ in range(80):
        limiter.settle(limiter.reserve(CREATE))
    assert limiter.reserve(CREATE, FOREVER).wait > 50
    assert limiter.reserve(WRITE).wait == 0
    assert limiter.reserve(READ).wait == 0


def test_a_wait_beyond_patience_is_told_at_once_and_books_nothing(file: Path, clock: ManualClock) -> None:
    limiter = Limiter(file, clock)
    for _ in range(180):
        limiter.settle(limiter.reserve(WRITE))
    before = limiter.budget()
    with pytest.raises(TrackerLimitError, match=r"used up by all that share this token; next in 6\d s") as limited:
        limiter.enter(WRITE, threading.Event())
    assert 60 <= limited.value.seconds <= 62
    assert limiter.budget() == before
    assert before.points_per_minute == 900
    clock.advance(limited.value.seconds)
    assert limiter.enter(WRITE, threading.Event()).wait == 0


def test_a_turn_that_comes_soon_is_waited_for(file: Path, clock: ManualClock) -> None:
    limiter = Limiter(file, clock)
    for _ in range(180):
        limiter.settle(limiter.reserve(WRITE))
    clock.advance(50)
    began = clock.boot()
    limiter.enter(WRITE, threading.Event())
    assert 9 <= clock.boot() - began <= 12


def test_a_pause_that_comes_while_one_waits_counts_for_the_waiting_too(file: Path, clock: ManualClock) -> None:
    limiter, other = Limiter(file, clock), Limiter(file, clock)

    class Interrupted(ManualClock):
        def wait(self, event: threading.Event, timeout: float) -> bool:
            other.pause(100.0)
            return super().wait(event, timeout)

    waiting = Interrupted()
    late = Limiter(file, waiting)
    for _ in range(180):
        limiter.settle(limiter.reserve(WRITE))
    waiting.advance(50)
    clock.advance(50)
    with pytest.raises(TrackerLimitError, match="asked to wait"):
        late.enter(WRITE, threading.Event())
    clock.advance(300)
    assert limiter.budget().points_per_minute == 0  # what was booked is given back


def test_only_so_many_are_under_way_at_once_and_the_next_goes_in_its_turn(file: Path, clock: ManualClock) -> None:
    limiter = Limiter(file, clock)
    out = [limiter.enter(READ, threading.Event()) for _ in range(90)]
    with pytest.raises(TrackerLimitError, match="90 requests with this token are under way"):
        limiter.enter(READ, threading.Event(), 2.0)

    class OneComesBack(ManualClock):
        def wait(self, event: threading.Event, timeout: float) -> bool:
            limiter.settle(out.pop())
            return super().wait(event, timeout)

    waiting = OneComesBack()
    waiting.advance(clock.boot() - waiting.boot())
    assert Limiter(file, waiting).enter(READ, threading.Event()).wait > 0
    assert len(out) == 89


def test_what_the_server_says_is_left_counts_those_still_on_their_way(file: Path, clock: ManualClock) -> None:
    limiter = Limiter(file, clock)
    limiter.settle(limiter.reserve(READ), Told(remaining=3, limit=5000, seconds=600))
    out = [limiter.reserve(READ) for _ in range(3)]
    with pytest.raises(TrackerLimitError, match="5,000 requests an hour is used up") as limited:
        limiter.reserve(READ)
    assert limited.value.seconds == 600
    assert limiter.budget().remaining == 0
    limiter.settle(out[0], Told(remaining=2, limit=5000, seconds=600))
    limiter.settle(out[1], sent=False)  # never went out
    assert limiter.budget().remaining == 1
    limiter.settle(out[2])  # its answer was lost: it may have counted
    assert limiter.budget().remaining == 1
    limiter.settle(limiter.reserve(READ), Told(remaining=1, limit=5000, seconds=600), free=True)
    assert limiter.budget().remaining == 1
    clock.advance(601)
    assert limiter.budget().remaining is None
    assert limiter.reserve(READ).wait == 0


def test_answers_that_overtake_each_other_do_not_raise_what_is_left(file: Path, clock: ManualClock) -> None:
    limiter = Limiter(file, clock)
    first, second = limiter.reserve(READ), limiter.reserve(READ)
    limiter.settle(second, Told(4998, 5000, 600))
    limiter.settle(first, Told(4999, 5000, 600.9))
    assert limiter.budget().remaining == 4998
    limiter.settle(limiter.reserve(READ), Told(4999, 5000, 3600))  # a new hour
    assert limiter.budget().remaining == 4999


def test_those_told_at_once_are_one_strike_and_calm_forgives(file: Path, clock: ManualClock) -> None:
    limiter, other = Limiter(file, clock), Limiter(file, clock)
    assert (limiter.pause(None), other.pause(None)) == (60, 60)
    clock.advance(61)
    assert other.pause(None) == 120
    for expected in (240, 480, 960, 960):
        clock.advance(limiter.pause(0.0) + 1)
        assert limiter.pause(None) == expected
    clock.advance(960 + 601)
    assert limiter.pause(None) == 60


def test_a_restart_of_the_machine_forgets_nothing(file: Path, clock: ManualClock) -> None:
    limiter = Limiter(file, clock)
    for _ in range(500):
        slot = limiter.reserve(CREATE, FOREVER)
        clock.advance(slot.wait)
        limiter.settle(slot, Told(100, 5000, 3000))
    limiter.pause(500.0)
    limiter.close()

    class Rebooted(ManualClock):
        def boot_id(self) -> str:
            return "another-boot"

    after = Rebooted()
    after.moment, after.seconds = clock.moment + timedelta(seconds=100), 5.0
    again = Limiter(file, after)
    with pytest.raises(TrackerLimitError, match="asked to wait") as limited:
        again.reserve(READ)
    assert 398 <= limited.value.seconds <= 402
    after.advance(401)
    assert again.reserve(READ).wait == 0
    assert again.budget().limit == 5000
    with pytest.raises(TrackerLimitError):
        again.reserve(CREATE)


def test_a_wall_clock_that_steps_changes_nothing(file: Path, clock: ManualClock) -> None:
    limiter = Limiter(file, clock)
    for _ in range(180):
        limiter.settle(limiter.reserve(WRITE))
    clock.moment += timedelta(hours=5)
    with pytest.raises(TrackerLimitError):
        limiter.reserve(WRITE)


def test_who_closes_leaves_the_queue(file: Path, clock: ManualClock) -> None:
    limiter = Limiter(file, clock)
    for _ in range(180):
        limiter.settle(limiter.reserve(WRITE))
    clock.advance(50)
    leave = threading.Event()
    leave.set()
    with pytest.raises(TrackerOfflineError):
        limiter.enter(WRITE, leave)
    clock.advance(61)
    assert limiter.budget().points_per_minute == 0


def test_a_damaged_file_is_told_and_not_taken_for_an_unused_limit(file: Path, clock: ManualClock) -> None:
    file.parent.mkdir()
    file.write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="is damaged"):
        Limiter(file, clock)


def test_the_file_is_named_by_a_hash_and_for_its_user_only(tmp_path: Path, clock: ManualClock) -> None:
    paths = RepositoryPaths(tmp_path / "repositories" / "a")
    one = limits_file(paths, "https://api.github.com", "ghp_secret")
    assert one == limits_file(RepositoryPaths(tmp_path / "repositories" / "b"), "https://api.github.com", "ghp_secret")
    assert one != limits_file(paths, "https://github.example.com/api/v3", "ghp_secret")
    assert "secret" not in str(one)
    Limiter(one, clock).close()
    assert one.parent.stat().st_mode & 0o077 == 0


# -- processes

WORKER = """
import sys, time, threading
from pathlib import Path
from rollcage.core.clock import SystemClock
from rollcage.core.issues.github.limiter import CREATE, WRITE, Limiter, Limits

class Fast(SystemClock):  # all processes see the same clock, which runs 120 times as fast
    def boot(self): return super().boot() * 120
    def wait(self, event, timeout): return event.wait(timeout / 120)

clock = Fast()
limiter = Limiter(Path(sys.argv[1]), clock, Limits(points=200, creations_per_minute=10))
leave = threading.Event()
print("ready", flush=True); sys.stdin.readline()
end = clock.boot() + 240
while True:
    cost = CREATE if sys.argv[2] == "create" else WRITE
    slot = limiter.enter(cost, leave, 1e9)
    if clock.boot() > end: break
    print(slot.at, cost.points, cost.creations, flush=True)
    clock.wait(leave, 0.5)  # so long a request takes
    limiter.settle(slot)
"""


def test_processes_together_keep_the_limits_and_each_gets_its_share(file: Path) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WORKER), str(file), kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for kind in ("write", "write", "create", "create")
    ]
    for worker in workers:
        assert worker.stdout
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin
        worker.stdin.write("go\n")
        worker.stdin.flush()
    told = [worker.communicate(timeout=60)[0].splitlines() for worker in workers]
    assert all(worker.returncode == 0 for worker in workers)
    sent = [[tuple(map(float, line.split())) for line in lines] for lines in told]
    everything = [row for rows in sent for row in rows]
    assert most([(row[0], int(row[1])) for row in everything], 60) <= 200
    assert most([(row[0], int(row[2])) for row in everything], 60) <= 10
    for one, other in (sent[:2], sent[2:]):
        assert min(len(one), len(other)) > 0.6 * max(len(one), len(other)) > 0


def test_a_killed_process_takes_nothing_of_the_count_with_it(file: Path, clock: ManualClock) -> None:
    script = (
        "import os, sys; from pathlib import Path; from rollcage.core.clock import SystemClock\n"
        "from rollcage.core.issues.github.limiter import WRITE, Limiter\n"
        "limiter = Limiter(Path(sys.argv[1]), SystemClock())\n"
        "for _ in range(180): limiter.reserve(WRITE)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(file)], check=False).returncode == -9
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT SUM(points) FROM spent WHERE width = 1").fetchone() == (900,)


def test_a_slot_of_a_process_that_died_is_forgotten_in_time(file: Path, clock: ManualClock) -> None:
    limiter = Limiter(file, clock)
    limiter.settle(limiter.reserve(READ), Told(1, 5000, 3000))
    lost: Slot = limiter.reserve(READ)
    assert lost.wait == 0
    with pytest.raises(TrackerLimitError):
        limiter.reserve(READ)
    clock.advance(91)
    assert limiter.reserve(READ).wait == 0
