"""Whatever agents put into the inbox, a reader gives clean signals, and skips and counts the rest."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from rollcage.core.clock import iso
from rollcage.core.errors import StoreError
from rollcage.core.model import Signal, SignalKind
from rollcage.core.store import inbox
from rollcage.core.store.paths import RepositoryPaths
from rollcage.core.store.signals import Signals

AT = datetime(2026, 11, 20, 14, tzinfo=UTC)
ROW = (iso(AT), "executor", "metric", "memory_usage", 1.5, None, "B", "{}")
COLUMNS = ("at", "agent", "kind", "name", "value", "text", "unit", "attrs")


@pytest.fixture
def signals(paths: RepositoryPaths) -> Iterator[Signals]:
    signals = Signals(paths.inbox_db)
    yield signals
    signals.close()


def metric(value: float, agent: str = "executor") -> Signal:
    return Signal(AT, agent, SignalKind.METRIC, "memory_usage", value, unit="B", attrs={"pid": 47})


def values(signals: list[Signal]) -> list[float | None]:
    return [signal.value for signal in signals]


class TestSignals:
    """In and out."""

    def test_come_back_as_they_were_put(self, signals: Signals) -> None:
        told = [
            metric(1),
            Signal(AT, "", SignalKind.ERROR, "", text="Traceback:\n  File «x»", attrs={"a": [1, {"b": None}]}),
        ]
        assert signals.last_seq() == 0
        assert signals.put(told) == 2
        assert signals.put([]) == 0
        found = signals.since(0)
        assert [signal.seq for signal in found] == [1, 2]
        assert [(s.at, s.agent, s.kind, s.name, s.value, s.text, s.unit, s.attrs) for s in found] == [
            (s.at, s.agent, s.kind, s.name, s.value, s.text, s.unit, s.attrs) for s in told
        ]
        assert signals.last_seq() == 2

    def test_come_in_pages_and_by_agent(self, signals: Signals) -> None:
        signals.put([metric(n, "executor" if n % 2 else "planner") for n in range(10)])
        assert values(signals.since(3, limit=4)) == [3, 4, 5, 6]
        assert values(signals.recent("executor", "memory_usage", 3)) == [5, 7, 9]
        assert signals.recent("executor", "error_rate", 3) == []

    def test_go_after_their_time(self, signals: Signals) -> None:
        """By the time that they came in: what an agent says is no measure."""
        signals.put([metric(n) for n in range(12_000)])
        assert signals.prune(datetime.now(UTC) - timedelta(minutes=1)) == 0
        assert signals.prune(datetime.now(UTC) + timedelta(minutes=1)) == 12_000
        assert signals.since(0) == []
        assert signals.put([metric(1)]) == 12_001

    def test_are_read_by_name_of_the_path_too(self, signals: Signals, paths: RepositoryPaths) -> None:
        signals.put([metric(1)])
        with closing(Signals(str(paths.inbox_db))) as other:
            assert values(other.since(0)) == [1]


class TestHostileRows:
    """Agents may write here; some are confused."""

    @pytest.mark.parametrize(
        ("column", "value"),
        [
            ("at", "yesterday"),
            ("at", "0001-01-01T00:00:00+23:59"),
            ("at", b"\x00"),
            ("agent", b"\xff\xfe"),
            ("kind", "kaboom"),
            ("name", b"x"),
            ("value", "many"),
            ("value", float("inf")),
            ("value", b"1"),
            ("text", b"\xff"),
            ("unit", b"\xff"),
            ("attrs", "{"),
            ("attrs", "[]"),
            ("attrs", "[" * 60_000),
            ("attrs", '{"a":' * 30 + "1" + "}" * 30),
            ("attrs", '{"a": NaN}'),
            ("attrs", '{"a": 1e999}'),
            ("attrs", '{"a": %s}' % ("9" * 400)),
            ("attrs", '{"a": %s}' % ("9" * 5000)),
            ("attrs", json.dumps({"a": "x" * 100_000})),
            ("attrs", b"{}"),
        ],
        ids=lambda value: repr(value)[:24],
    )
    def test_are_skipped_and_counted(
        self, signals: Signals, paths: RepositoryPaths, column: str, value: object
    ) -> None:
        row = dict(zip(COLUMNS, ROW, strict=True)) | {column: value}
        signals.put([metric(1)])
        with closing(sqlite3.connect(paths.inbox_db)) as agent, agent:
            agent.execute(
                "INSERT INTO signal (received, at, agent, kind, name, value, text, unit, attrs)"
                " VALUES (0, :at, :agent, :kind, :name, :value, :text, :unit, :attrs)",
                row,
            )
        signals.put([metric(2)])
        assert values(signals.since(0)) == [1, 2]
        assert signals.damaged == 1
        assert values(signals.recent("executor", "memory_usage", 5)) == [1, 2]

    def test_at_the_end_are_counted_once(self, signals: Signals, paths: RepositoryPaths) -> None:
        signals.put([metric(1)])
        with closing(inbox.connect(str(paths.inbox_db))) as agent:
            inbox.put(agent, [(*ROW[:2], "kaboom", *ROW[3:])] * 5_001)
        assert values(signals.since(0, limit=1)) == [1]
        assert signals.since(1) == []
        assert signals.since(1) == []
        assert signals.damaged == 5_001
        signals.put([metric(2)])
        assert values(signals.since(1)) == [2]
        assert signals.damaged == 5_001

    def test_text_is_cleaned_and_cut(self, signals: Signals) -> None:
        evil = "\x1b]52;c;aGk=\x07[/]\x1b[31mred\u202e\x00\udcff"
        signals.put(
            [Signal(AT, evil, SignalKind.LOG, evil, text=evil + "x" * 1_000_000, attrs={evil: [evil, {"k": evil}]})]
        )
        (signal,) = signals.since(0)
        assert signal.agent == signal.name == "[/]red ?"
        assert signal.attrs == {"[/]red": ["[/]red", {"k": "[/]red"}]}
        assert signal.text is not None
        assert signal.text.startswith("[/]red ?xxx")
        assert len(signal.text) <= 10_000

    def test_that_are_no_unicode_are_readable(self, signals: Signals, paths: RepositoryPaths) -> None:
        with closing(sqlite3.connect(paths.inbox_db)) as agent, agent:
            agent.execute(
                "INSERT INTO signal (received, at, agent, kind, name, text, attrs)"
                " VALUES (0, ?, 'a', 'log', 'line', CAST(x'66ff6f' AS TEXT), '{}')",
                (iso(AT),),
            )
        assert signals.since(0)[0].text == "f\ufffdo"

    def test_a_dropped_table_is_one_clear_line(self, signals: Signals, paths: RepositoryPaths) -> None:
        with closing(sqlite3.connect(paths.inbox_db)) as agent, agent:
            agent.execute("DROP TABLE signal")
        with pytest.raises(StoreError, match=r"inbox\.db: no such table"):
            signals.since(0)


class TestInbox:
    """What light verbs and supervisors use."""

    def test_takes_all_rows_or_none(self, paths: RepositoryPaths) -> None:
        with closing(inbox.connect(str(paths.inbox_db))) as connection:
            assert inbox.put(connection, [ROW, ROW]) == 2
            with pytest.raises(StoreError, match=r"inbox\.db"):
                inbox.put(connection, [ROW, (None, *ROW[1:])])  # type: ignore[list-item]
            assert inbox.put(connection, [ROW]) == 3

    def test_has_a_table_of_runs(self, paths: RepositoryPaths) -> None:
        with closing(inbox.connect(str(paths.inbox_db))) as connection:
            columns = [row[1] for row in connection.execute("PRAGMA table_info(run)")]
        assert columns == [
            *("id", "agent", "argv", "cwd", "environment", "supervisor_pid", "supervisor_started", "boot_id"),
            *("child_pid", "child_started", "state", "since", "output", "exit_code", "competition", "stage", "updated"),
        ]

    def test_without_its_folder_is_one_clear_line(self) -> None:
        with pytest.raises(StoreError, match="cannot be opened"):
            inbox.connect("/nowhere/inbox.db")
