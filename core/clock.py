"""The one clock. Wall time in UTC is for display and records; the boot clock measures durations and leases."""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """What the engine asks for the time; tests inject one that they move by hand."""

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""
        ...

    def boot(self) -> float:
        """Return seconds on a clock that never steps and counts sleep, comparable only within one ``boot_id``."""
        ...

    def boot_id(self) -> str:
        """Return the name of this boot of this machine."""
        ...

    def wait(self, event: threading.Event, timeout: float) -> bool:
        """Wait until ``event`` is set, at most ``timeout`` seconds; return whether it is set."""
        ...


@cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:  # macOS: the boot time is as good a name
        import psutil

        return f"boot-{psutil.boot_time():.0f}"


_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@cache
def _ahead() -> float:
    """Return the seconds by which this process's boot clock is ahead of the machine's: time_namespaces(7).

    A container may have a clock of its own, and share the state with others: a lease must end for all at once.
    """
    offsets = Path("/proc/self/timens_offsets")  # of the namespace that children get, which is nearly always one's own
    try:
        if os.readlink("/proc/self/ns/time") == os.readlink("/proc/self/ns/time_for_children"):  # noqa: PTH115 - cheap
            for clock, seconds, nanoseconds in map(str.split, offsets.read_text(encoding="ascii").splitlines()):
                if clock in {"boottime", "7"}:
                    return int(seconds) + int(nanoseconds) / 1e9
    except (OSError, ValueError):  # no Linux, an old one, or no /proc
        return 0.0
    return 0.0


class SystemClock:
    """The machine's own clocks."""

    def __init__(self) -> None:
        """Find out how this process sees them."""
        self._ahead = _ahead()

    def now(self) -> datetime:
        """See `Clock.now`."""
        return datetime.now(UTC)

    def boot(self) -> float:
        """See `Clock.boot`: CLOCK_BOOTTIME, or CLOCK_MONOTONIC where that does not exist; as outside a container."""
        return time.clock_gettime(_BOOT_CLOCK) - self._ahead

    def boot_id(self) -> str:
        """See `Clock.boot_id`."""
        return _boot_id()

    def wait(self, event: threading.Event, timeout: float) -> bool:
        """See `Clock.wait`."""
        return event.wait(timeout)


def iso(moment: datetime) -> str:
    """Return ``moment`` as ISO 8601 in UTC with microseconds: ``2026-11-20T14:02:31.120000Z``."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_iso(text: str) -> datetime:
    """Read ISO 8601; a time without an offset counts as UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text} lies outside the years 1 to 9999 in UTC") from error
