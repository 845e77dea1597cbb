"""Interleaved measurements and the table that shows them.

The machine is never quiet and no two are alike, so a bare number says little. What is measured and its floor take
turns (A B A B), so that both see the same weather; the median says what one gets, the minimum what the code costs.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. Times in seconds, oldest first; another ``unit`` says what is counted instead."""

    what: str
    ours: Sequence[float]
    floor_name: str = ""
    floor: Sequence[float] = ()
    """Paired with ``ours``, run by run; empty: the aim is absolute."""
    aim: float | None = None
    """Of the ratio of the medians where there is a floor, else of our median; None: only for comparison."""
    unit: str = "s"
    note: str = ""
    least: bool = False
    """The aim is the least that it should be, not the most."""


def interleaved(runs: int, *ways: Callable[[], T], warm_up: int = 1) -> list[list[T]]:
    """Call each of ``ways`` in turn, ``runs`` times; return what each of them measured, in the order of the runs."""
    for _ in range(warm_up):
        for way in ways:
            way()
    found: list[list[T]] = [[] for _ in ways]
    for _ in range(runs):
        for way, values in zip(ways, found, strict=True):
            values.append(way())
    return found


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that ``work`` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def process_time(argv: Sequence[str]) -> float:
    """Return the seconds from starting a process to its end; its output is dropped. Raises RuntimeError if it fails.

    By posix_spawn, since `subprocess` would add the same few milliseconds to both sides and so flatter the ratio.
    """
    nowhere = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1)]
    started = time.perf_counter()
    child = os.posix_spawn(argv[0], list(argv), os.environ, file_actions=nowhere)
    _, status = os.waitpid(child, 0)
    took = time.perf_counter() - started
    if status:
        raise RuntimeError(f"{argv} ended with {os.waitstatus_to_exitcode(status)}")
    return took


@contextmanager
def environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    """Within, the process and its children have these variables; None: they have it not."""
    before = dict(os.environ)
    tempfile.tempdir = None  # it is looked up once only, and TMPDIR may change
    try:
        for name, value in changes.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        tempfile.tempdir = None


HEADINGS = ("what", "median", "min", "floor", "median", "min", "ratio", "of min", "aim", "")


def show(title: str, rows: Sequence[Row]) -> None:
    """Print the rows of one section as a table."""
    table = [list(HEADINGS), *map(_cells, rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEADINGS))]
    print(f"\n{title}")
    for line in table:
        cells = [
            cell.ljust(width) if column in {0, 3, 9} else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  " + "  ".join(cells).rstrip())
    for row in rows:
        if row.note:
            print(f"  {row.what}: {row.note}")
    sys.stdout.flush()


def _cells(row: Row) -> list[str]:
    ours, best = statistics.median(row.ours), min(row.ours)
    cells = [row.what, _amount(ours, row.unit), _amount(best, row.unit), row.floor_name]
    if row.floor:
        floor, least = statistics.median(row.floor), min(row.floor)
        judged = ours / floor
        cells += [_amount(floor, row.unit), _amount(least, row.unit), f"{judged:.2f}", f"{best / least:.2f}"]
    else:
        judged = ours
        cells += ["", "", "", ""]
    if row.aim is None:
        return [*cells, "", ""]
    aim = f"{row.aim:g}" if row.floor else _amount(row.aim, row.unit)
    reached = judged >= row.aim if row.least else judged <= row.aim
    return [*cells, f"{'>=' if row.least else '<='} {aim}", "reached" if reached else "MISSED"]


def _amount(value: float, unit: str) -> str:
    if unit != "s":
        return f"{value:,.0f} {unit}"
    return f"{value * 1_000:.1f} ms" if value < 1 else f"{value:.2f} s"
