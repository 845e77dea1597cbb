"""What was acknowledged is there after the process was killed, and after the disk was full."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rollcage.core.errors import StoreError
from rollcage.core.store.paths import RepositoryPaths
from rollcage.core.store.store import Store
from tests.store import nouns

OPEN = """
import sys
from pathlib import Path
from rollcage.core.clock import SystemClock
from rollcage.core.store.paths import RepositoryPaths
from rollcage.core.store.store import Store
from tests.store import nouns
store = Store.open(RepositoryPaths(Path(sys.argv[1])), SystemClock())
"""
WRITE_FOR_EVER = """
number = len(store.steps("rb-1"))
while True:
    number += 1
    store.audit("me", "step", str(number))
    store.save_step(nouns.step(number))
    print(number, flush=True)
"""
FILL_THE_DISK = """
import resource
from rollcage.core.errors import StoreError
for number in range(1, 11):
    store.save_step(nouns.step(number))
size = RepositoryPaths(Path(sys.argv[1])).state_db.with_name("state.db-wal").stat().st_size
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20_000, limits[1]))
number = 10
try:
    while True:
        store.save_step(nouns.step(number + 1))
        number += 1
except StoreError as error:
    print(error)
assert len(store.steps("rb-1")) == number
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
store.save_step(nouns.step(number + 1))
print(number + 1)
"""


def child(code: str, paths: RepositoryPaths) -> subprocess.Popen[str]:
    top = Path(__file__).parent.parent.parent
    return subprocess.Popen(
        [sys.executable, "-c", OPEN + code, str(paths.root)], stdout=subprocess.PIPE, text=True, cwd=top
    )


def test_everything_acknowledged_survives_a_kill(store: Store, paths: RepositoryPaths) -> None:
    for count in (1, 7, 40):
        with child(WRITE_FOR_EVER, paths) as process:
            assert process.stdout is not None
            acknowledged = [int(process.stdout.readline()) for _ in range(count)]
            process.send_signal(signal.SIGKILL)
            acknowledged += [int(line) for line in process.stdout if line.endswith("\n")]
        steps = store.steps("rb-1")
        assert steps == [nouns.step(number) for number in range(1, len(steps) + 1)]
        assert len(steps) - acknowledged[-1] in {0, 1}
        report = store.verify_audit()
        assert report.ok
        assert report.records >= len(steps)


def test_a_full_quota_is_one_clear_line_and_loses_nothing(store: Store, paths: RepositoryPaths) -> None:
    """The store goes on as soon as there is room, within the same process."""
    with child(FILL_THE_DISK, paths) as process:
        output, _ = process.communicate(timeout=60)
    message, last = output.splitlines()
    assert process.returncode == 0
    assert message.startswith(str(paths.state_db))
    assert "was not written, nothing earlier was lost" in message
    assert [step.number for step in store.steps("rb-1")] == list(range(1, int(last) + 1))


def test_a_full_disk_is_one_clear_line_and_loses_nothing(store: Store) -> None:
    with store._connections.reading() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages + 3}")

        def fill() -> None:
            for _ in range(1000):
                store.append_event("step", {"text": "x" * 1000})

        with pytest.raises(StoreError, match=r"the disk is full; .*nothing earlier was lost; make room") as caught:
            fill()
        assert "\n" not in str(caught.value)
        written = store.last_seq()
        assert written > 0
        connection.execute("PRAGMA max_page_count=1000000")
    assert store.append_event("step", {}).seq == written + 1
    assert [event.seq for event in store.events_since(0)] == list(range(1, written + 2))


def test_a_disk_that_fills_within_a_transaction_takes_all_of_it_back(store: Store) -> None:
    store.append_event("phase", {})
    with store._connections.reading() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages + 2}")

        def fill() -> None:
            with store.transaction():
                store.save_rollback(nouns.rollback(1))
                for _ in range(1000):
                    store.append_event("step", {"text": "x" * 1000})

        with pytest.raises(StoreError, match="the disk is full"):
            fill()
        assert store.rollbacks() == []
        assert store.last_seq() == 1
        connection.execute("PRAGMA max_page_count=1000000")
    store.save_rollback(nouns.rollback(1))
    assert store.rollbacks() == [nouns.rollback(1)]
