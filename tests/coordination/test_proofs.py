"""The promises of a lock, held against the histories of real processes at random work, with faults."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollcage.core.coordination.leases import DeadlockError
from rollcage.core.coordination.redis_leases import RedisLeases
from rollcage.core.coordination.redis_scripts import RELEASE
from rollcage.core.errors import LeaseError
from tests.coordination import circles, deadlock_trials
from tests.coordination.campaign import LOCKS, Ended, entangled, run
from tests.coordination.guarded import Guarded
from tests.coordination.history import History, Recorded, now, read
from tests.coordination.keepers import KEEPERS, Keeper, Redis, keeper_of
from tests.coordination.workload import Plan

FIRST = 20_261_120
"""Of the seeds; one that fails is named, and `python -m tests.torture_locks --seed` runs it again."""


@pytest.fixture(params=KEEPERS)
def keeper(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Keeper]:
    """Give each kind of keeper in turn."""
    folder = tmp_path / "locks"
    folder.mkdir()
    keeper = keeper_of(request.param, folder)
    yield keeper
    keeper.close()


def judged(ended: Ended, keeper: Keeper, seed: int) -> None:
    wrong = ended.faults(keeper.slack)
    told = "\n".join(wrong[:10])
    assert not wrong, f"seed {seed}, befallen by {ended.befell}, {len(wrong)} faults:\n{told}"
    granted = sum(one.call == "acquire" and one.answer == "ok" for one in ended.history.operations)
    assert granted >= 30, f"seed {seed}: only {granted} leases were had; that proves nothing"
    assert ended.writes


class TestRandomWork:
    """Intervals do not overlap, tokens grow, no old token writes, and one lock could have answered so."""

    def test_with_all_that_may_befall_it(self, keeper: Keeper, tmp_path: Path) -> None:
        befalls = ["kill", "pause", *keeper.faults()]
        ended = run(keeper, tmp_path, FIRST, seconds=2, befalls=befalls)
        judged(ended, keeper, FIRST)

    def test_undisturbed_and_without_waiting(self, keeper: Keeper, tmp_path: Path) -> None:
        """Who does not wait is only refused what somebody has: the strictest history."""
        seed = FIRST + 1
        plan = Plan(
            keeper.kind, keeper.place, str(tmp_path), "", seed, 2, 0.8, LOCKS, 0.08, waits=False, together=False
        )
        judged(run(keeper, tmp_path, seed, processes=2, plan=plan), keeper, seed)


def test_a_holder_that_was_paused_writes_too_late(keeper: Keeper, tmp_path: Path) -> None:
    """Its token is refused, and its release is an error to it."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from rollcage.core.clock import SystemClock\n"
        "from rollcage.core.coordination.leases import LostLeaseError\n"
        "from tests.coordination.guarded import Guarded\n"
        "from tests.coordination.keepers import open_locks\n"
        "locks, guarded = open_locks(sys.argv[1], sys.argv[2], SystemClock()), Guarded(Path(sys.argv[3]))\n"
        "held = locks.acquire('issue/1', 'slow', 0.15)\n"
        "print(guarded.write('issue/1', held.token, 'slow'), flush=True)\n"
        "sys.stdin.readline()\n"
        "print(guarded.write('issue/1', held.token, 'slow'), flush=True)\n"
        "try:\n"
        "    locks.release(held)\n"
        "    print('released')\n"
        "except LostLeaseError as lost:\n"
        "    print('lost')\n"
    )
    file = tmp_path / "guarded.db"
    guarded = Guarded(file)
    command = [sys.executable, "-c", code, keeper.kind, keeper.place, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as slow:
        try:
            assert slow.stdout is not None
            assert slow.stdout.readline() == "True\n"
            slow.send_signal(signal.SIGSTOP)
            locks = keeper.leases()
            held = locks.acquire("issue/1", "quick", 30, 20)
            assert guarded.write("issue/1", held.token, "quick")
            slow.send_signal(signal.SIGCONT)
            said, _ = slow.communicate("write\n", timeout=30)
            assert said.split() == ["False", "lost"]
            assert guarded.write("issue/1", held.token, "quick")
            locks.release(held)
            locks.close()
        finally:
            slow.kill()
    assert [write.process for write in guarded.writes()] == ["slow", "quick", "quick"]
    guarded.close()


class TestDeadlocks:
    """Every circle is broken in bound, and nobody is refused without one."""

    def test_in_random_trials(self, keeper: Keeper) -> None:
        seeds = range(FIRST, FIRST + 150)
        counts = deadlock_trials.trials(keeper.leases, seeds)
        assert not counts.bad, "\n".join(counts.bad[:5])
        assert counts.trials == len(seeds)
        assert counts.unanswered <= 2
        assert counts.circles > 10

    def test_of_processes(self, keeper: Keeper, tmp_path: Path) -> None:
        """Nobody waits without end, whoever is killed; who is refused was in a circle."""
        seed = FIRST + 2
        ended = run(keeper, tmp_path, seed, processes=2, befalls=["kill"], plan=entangled(keeper, tmp_path, seed, 1.5))
        wrong = ended.faults(keeper.slack)
        assert not wrong, f"seed {seed}: " + "\n".join(wrong[:5])
        assert len(circles.refusals(ended.history)) >= 5


def _in_vain(locks: Recorded, names: list[str], who: str) -> None:
    with pytest.raises(LeaseError, match="an end to it"):
        locks.acquire_all(names, who, 20, 20, session=who)


class TestFound:
    """What the random work found, each as a story of its own."""

    def test_all_that_was_taken_together_is_told(self, keeper: Keeper) -> None:
        """The first is renewed while the second is waited for; once, that lost the second from the answer."""
        other, leases = keeper.leases(), keeper.leases()
        other.acquire("issue/2", "other", 0.8)
        held = leases.acquire_all(["issue/1", "issue/2"], "agent", 1.2, 20)
        assert [one.name for one in held] == ["issue/1", "issue/2"]
        for opened in (other, leases):
            opened.close()

    def test_who_still_holds_what_it_forgot_is_refused_for_a_circle_that_was(
        self, keeper: Keeper, tmp_path: Path
    ) -> None:
        """Once the judge did not see the lock that the other had while it waited for a second, in vain."""
        leases = keeper.leases()
        locks = Recorded(leases, tmp_path / "p.jsonl", "p")
        locks.acquire("issue/2", "p/1", 20, session="p/1")
        both = threading.Thread(target=_in_vain, args=(locks, ["issue/1", "issue/2"], "p/0"))
        both.start()
        deadline = now() + 30
        while not (waitings := leases.wait_log().waitings):
            assert now() < deadline
            threading.Event().wait(0.005)
        for _ in range(3):
            with pytest.raises(DeadlockError):
                locks.acquire("issue/1", "p/1", 20, 20, session="p/1")
        assert leases.refuse(waitings[0], "an end to it")
        both.join()
        leases.close()
        history = History(read([tmp_path / "p.jsonl"]))
        assert [one.circle for one in circles.refusals(history)] == [("p/1", "issue/1", "p/0", "issue/2")] * 3
        assert not circles.faults(history)

    def test_a_release_that_is_sent_again_is_found_though_others_came_and_went(self, tmp_path: Path) -> None:
        """Else its holder would be told that its lease was lost, which it was not."""
        keeper = Redis(tmp_path)
        leases = keeper.leases()
        assert isinstance(leases, RedisLeases)
        held = leases.acquire("a", "agent")
        leases.release(held)
        leases.release(leases.acquire("a", "other"))
        answer = leases.server.run(RELEASE, f"rollcage:{{{leases.namespace}}}", held.name, held.token, 1)
        assert answer == ["held"]
        leases.close()
        keeper.close()
