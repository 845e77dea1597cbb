"""The console without a screen: the state of things once, then a line for each event. For dumb terminals and pipes."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, TextIO

from ..core.board import Board
from ..core.clock import Clock
from ..core.model import RiskLevel
from ..widgets import figures
from ..widgets.effects import option_facts
from ..widgets.events import words
from ..widgets.marks import HEALTH, agent_mark, incident_mark
from ..widgets.options import checks_text, subject
from ..widgets.spans import fit, safe
from ..widgets.status import status_line
from ..widgets.view import View, is_open
from .source import Latest

if TYPE_CHECKING:
    from .source import BoardSource

CELLS = 160
WAIT_S = 0.5


def picture_lines(view: View) -> Iterator[str]:
    """Yield the state of things: fleet, open incidents, and the options that wait, with the command that approves."""
    board = view.board
    yield state_of(view)
    for warning in board.warnings:
        yield f"warning: {warning}"
    for status in board.agents:
        mark, health = agent_mark(status), HEALTH[status.health]
        yield (
            f"agent {fit(status.name, 16)} {fit(mark.word, 10)} {fit(health.word, 8)} "
            f"{figures.size(status.memory):>8}  err {figures.percent(status.error_rate)} %  "
            f"seen {figures.since(status.seen, view.now)} ago"
        )
    for item in board.incidents:
        if not is_open(item):
            continue
        incident = item.incident
        yield f"incident {incident.id} {incident_mark(incident).word}: {incident.agent} {incident.title}"
        if item.diagnosis is not None:
            yield f"  cause: {item.diagnosis.root_cause} (confidence {item.diagnosis.confidence:.2f})"
        for choice in item.options:
            option = choice.option
            yield (
                f"  option {option.id} {option.type.value} {subject(choice)} risk {option.risk_level.value} "
                f"{option.risk_points}/10, {checks_text(option.rehearsal)[0]}"
            )
            label = ""
            for fact in option_facts(choice, item.options):
                label = fact.label or label
                if fact.style != "muted":
                    yield f"    {label}: {fact.text}"
            if option.rehearsal.applies:
                words = f" --confirm '{choice.plan.loses}'" if option.risk_level is RiskLevel.CRITICAL else ""
                approve = f"rollcage approve {option.id} --plan {option.plan_hash}{words}"
                yield f"    rollcage show {option.id} --diff; {approve}"


def state_of(view: View) -> str:
    """Return the status line as text."""
    parts = "".join(span.text for span in status_line(view, CELLS))
    return " ".join(parts.split())


def event_lines(before: Board | None, after: Board) -> Iterator[str]:
    """Yield a line for each event that ``after`` has and ``before`` had not."""
    known = before.seq if before is not None else after.seq
    for event in after.events:
        if event.seq > known:
            yield f"{figures.clock(event.at)} {event.event:<12} {words(event)}"


def run_plain(
    source: BoardSource,
    *,
    clock: Clock,
    on_leave: Callable[[], object] = lambda: None,
    why: str = "",
    out: TextIO | None = None,
    stop: threading.Event | None = None,
) -> int:
    """Print lines until a signal, ``stop``, or a reader that is gone; then call ``on_leave``. Return the exit code."""
    out = out or sys.stdout
    stop = stop or threading.Event()
    arrived = threading.Event()
    latest = Latest(arrived.set)
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        stop.set()
        arrived.set()

    old = {}
    if threading.current_thread() is threading.main_thread():
        old = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        source.subscribe(latest.put)
        board = source.current()
        said = ""
        try:
            if why:
                _print(out, f"({why}: plain lines; Ctrl+C leaves)")
            for text in picture_lines(View(board, clock.now())):
                _print(out, text)
            said = _still(View(board, clock.now()))
            while not stop.is_set():
                arrived.wait(WAIT_S)
                arrived.clear()
                newest = latest.take()
                if newest is None:
                    continue
                for text in event_lines(board, newest):
                    _print(out, text)
                board = newest
                now = _still(View(board, clock.now()))
                if now != said:
                    _print(out, now)
                    said = now
        except BrokenPipeError:
            # Nobody reads any more; what Python still holds must not be flushed into the closed pipe at the end.
            with contextlib.suppress(OSError, ValueError):
                out.close()
    finally:
        try:
            on_leave()
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)
    return 128 + asked[0] if asked else 0


def _still(view: View) -> str:
    """Return the status without the clock, which alone is no news."""
    return state_of(view).rpartition(" UTC")[0].rpartition(" ")[0]


def _print(out: TextIO, text: str) -> None:
    print(safe(text), file=out, flush=True)
