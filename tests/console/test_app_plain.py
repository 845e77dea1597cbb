"""Without a screen: the state of things once, then a line for each event."""

from __future__ import annotations

import io
import threading

from rollcage.console.plain import picture_lines, run_plain
from rollcage.widgets.view import View
from tests import boards
from tests.conftest import ManualClock
from tests.console.stage import HandSource


def test_the_state_is_told_with_the_command_that_approves() -> None:
    text = "\n".join(picture_lines(View(boards.waiting(), boards.NOW)))
    assert "✖ CRITICAL 1" in text
    assert "agent executor" in text
    assert "incident inc-12 needs you: executor tests fail, memory climbs" in text
    assert "cause: a41be07 turned the sum in add() into a difference (confidence 0.97)" in text
    assert f"rollcage approve opt-12.1 --plan 7c1f1{'e' * 59}" in text


def test_what_an_option_does_is_told_and_a_refused_one_is_not_offered() -> None:
    text = "\n".join(picture_lines(View(boards.several(), boards.NOW)))
    assert "    goes: 6 parts: a41be07:src/part1.py#1" in text
    assert f"rollcage approve opt-12.3 --plan 7c1f4{'e' * 59} --confirm 'rewrite history and lose 2 commits'" in text
    assert "    refused: calc.py: line 41 was changed since" in text
    assert "    instead: opt-12.1 FILE_SELECTIVE (risk LOW), opt-12.2 FULL_AGENT_RESET (risk HIGH)" in text
    assert "rollcage approve opt-12.5" not in text


def test_new_events_and_changes_of_state_are_lines_and_nothing_else_is() -> None:
    source, out, stop, left = HandSource(boards.healthy()), io.StringIO(), threading.Event(), threading.Event()
    clock = ManualClock()
    clock.moment = boards.NOW
    codes: list[int] = []

    def run() -> None:
        codes.append(run_plain(source, clock=clock, out=out, stop=stop, on_leave=left.set, why="TERM is dumb"))

    thread = threading.Thread(target=run)
    thread.start()
    while not source.callbacks or "agent retrospective" not in out.getvalue():
        stop.wait(0.005)
    start = out.getvalue()
    source.give(boards.waiting())
    while "1 needs you" not in out.getvalue():
        stop.wait(0.005)
    source.give(boards.waiting())
    stop.set()
    thread.join()
    assert left.is_set()
    assert codes == [0]
    assert start.startswith("(TERM is dumb: plain lines; Ctrl+C leaves)\nrollcage shop@main 3f2a91c")
    news = out.getvalue().removeprefix(start).splitlines()
    assert news[0] == "14:00:14 finding      executor tests fail: test_add"
    assert news[-1].startswith("rollcage shop@main 3f2a91c ✖ CRITICAL 1 1 needs you")
    assert len(news) == 7


def test_hostile_text_prints_no_escape() -> None:
    lines = "".join(picture_lines(View(boards.hostile("\x1b]0;x\x07\x9b31m[/]"), boards.NOW)))
    out = io.StringIO()
    from rollcage.console.plain import _print

    _print(out, lines)
    assert not {"\x1b", "\x07", "\x9b"} & set(out.getvalue())
