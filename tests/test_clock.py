"""One clock for wall time, durations and boots; times are written one way and read back exactly."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcage.core.clock import Clock, SystemClock, iso, parse_iso
from tests.conftest import ManualClock

EARLY, LATE = datetime(2, 1, 1), datetime(9998, 12, 31)  # noqa: DTZ001 - bounds for hypothesis, which wants them naive
offsets = st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(
    lambda by: timezone(timedelta(minutes=by // timedelta(minutes=1)))
)


@settings(deadline=None)
@given(st.datetimes(EARLY, LATE, timezones=offsets))
def test_a_time_comes_back_as_it_was_in_utc(moment: datetime) -> None:
    text = iso(moment)
    assert parse_iso(text) == moment
    assert parse_iso(text).tzinfo is UTC
    assert iso(parse_iso(text)) == text


@settings(deadline=None)
@given(st.datetimes(EARLY, LATE, timezones=offsets), st.datetimes(EARLY, LATE, timezones=offsets))
def test_texts_sort_as_their_times_do(one: datetime, other: datetime) -> None:
    assert (iso(one) < iso(other)) == (one < other)


def test_it_is_written_with_microseconds_and_a_z() -> None:
    assert iso(datetime(2026, 11, 20, 14, 2, 31, 120_000, tzinfo=UTC)) == "2026-11-20T14:02:31.120000Z"
    assert iso(datetime(2026, 11, 20, tzinfo=UTC)) == "2026-11-20T00:00:00.000000Z"


@pytest.mark.parametrize(
    "text", ["2026-11-20T14:02:31Z", "2026-11-20T14:02:31", "2026-11-20T15:02:31+01:00", "20261120T140231Z"]
)
def test_a_time_without_an_offset_counts_as_utc(text: str) -> None:
    assert parse_iso(text) == datetime(2026, 11, 20, 14, 2, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-13-01", "2026-11-20T25:00:00Z", "0001-01-01T00:00+01:00", "9999-12-31T23:59-01:00"]
)
def test_what_is_no_time_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"isoformat|must be in|outside the years"):
        parse_iso(text)


def test_the_system_clock_knows_the_time_in_utc_and_one_boot() -> None:
    clock: Clock = SystemClock()
    assert clock.now().tzinfo is UTC
    assert clock.boot_id() == SystemClock().boot_id() != ""


def test_the_boot_clock_never_goes_back() -> None:
    clock = SystemClock()
    readings = [clock.boot() for _ in range(1_000)]
    assert readings == sorted(readings)


def test_a_wait_ends_when_the_event_is_set_and_tells_so() -> None:
    clock, event = SystemClock(), threading.Event()
    assert clock.wait(event, 0.001) is False
    setter = threading.Thread(target=event.set)
    setter.start()
    assert clock.wait(event, 60) is True
    setter.join()


def test_the_manual_clock_is_a_clock_whose_waits_cost_nothing() -> None:
    clock, event = ManualClock(), threading.Event()
    as_clock: Clock = clock
    before = as_clock.now()
    assert as_clock.wait(event, 3_600) is False
    assert as_clock.now() - before == timedelta(hours=1)


def test_a_container_with_a_clock_of_its_own_has_the_same_time_since_the_boot() -> None:
    apart = ["unshare", "--time", "--boottime", "3600", "--monotonic", "3600", "--fork"]
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no time namespace can be made here")
    told = "import time; from rollcage.core.clock import SystemClock; print(time.monotonic(), SystemClock().boot())"
    before = SystemClock().boot()
    out = subprocess.run([*apart, sys.executable, "-c", told], check=True, capture_output=True, text=True).stdout
    other, boot = map(float, out.split())
    assert other > before + 3000, "it is another clock"
    assert before < boot < SystemClock().boot()
