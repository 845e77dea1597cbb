"""The database's checks become one number, unless nobody can tell."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from rollcage.core.config import DatabaseCheck, DatabaseSettings
from rollcage.core.data.database import CheckError, open_database
from rollcage.core.model import EVERYBODY, SignalKind
from rollcage.core.observe.data import database_signals

NOW = datetime(2026, 11, 20, 14, tzinfo=UTC)
CHECKS = (
    DatabaseCheck(name="orphans", sql="select * from item where owner is null"),
    DatabaseCheck(name="total", sql="select count(*) from item", expect=3),
)


def make(path: Path, rows: int, orphans: int) -> None:
    connection = sqlite3.connect(path)
    connection.execute("create table item (owner text)")
    connection.executemany("insert into item values (?)", [(None if n < orphans else "ann",) for n in range(rows)])
    connection.commit()
    connection.close()


def test_errors_are_summed_and_named(tmp_path: Path) -> None:
    make(tmp_path / "app.db", rows=5, orphans=4)
    settings = DatabaseSettings(url="sqlite:///app.db", checks=CHECKS)
    (signal,) = database_signals(open_database(settings, tmp_path), settings, NOW)
    assert (signal.at, signal.agent, signal.kind, signal.name) == (NOW, EVERYBODY, SignalKind.DATA, "data_consistency")
    assert (signal.value, signal.attrs) == (6, {"orphans": 4, "total": 2})


def test_all_well_is_zero(tmp_path: Path) -> None:
    make(tmp_path / "app.db", rows=3, orphans=0)
    settings = DatabaseSettings(url="sqlite:///app.db", checks=CHECKS)
    (signal,) = database_signals(open_database(settings, tmp_path), settings, NOW)
    assert signal.value == 0


def test_no_answer_is_neither_good_nor_bad(tmp_path: Path) -> None:
    settings = DatabaseSettings(url="sqlite:///missing.db", checks=CHECKS)
    signals = database_signals(open_database(settings, tmp_path), settings, NOW)
    assert [(signal.kind, signal.name) for signal in signals] == [(SignalKind.LOG, "database")] * 2
    assert all("gave no answer" in (signal.text or "") for signal in signals)


def test_errors_that_were_found_count_even_if_another_check_gives_no_answer() -> None:
    class HalfAnswered:
        """A database of which one check takes too long."""

        def check_errors(self) -> list[CheckError]:
            return [CheckError("orphans", 4), CheckError("total", None, "took over 10 s")]

    log, data = database_signals(HalfAnswered(), DatabaseSettings(url="sqlite:///app.db", checks=CHECKS), NOW)
    assert (log.kind, log.text) == (SignalKind.LOG, "check total gave no answer: took over 10 s")
    assert (data.value, data.attrs) == (4, {"orphans": 4})


def test_without_checks_nothing_is_told(tmp_path: Path) -> None:
    settings = DatabaseSettings(url="sqlite:///app.db")
    assert database_signals(open_database(settings, tmp_path), settings, NOW) == []
