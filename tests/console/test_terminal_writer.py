"""The writer never makes its callers wait, writes in order, and says when it has caught up or nobody is there."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest

from rollcage.console.line_writer import OCTETS, PIECES, LineWriter
from rollcage.console.source import Latest
from tests import boards


@pytest.fixture
def pipe() -> Iterator[list[int]]:
    ends = list(os.pipe())
    yield ends
    for end in ends:
        if end >= 0:
            os.close(end)


def wait_for(event: threading.Event) -> None:
    assert event.wait(30)


def read_until(descriptor: int, length: int) -> bytes:
    found = b""
    while len(found) < length:
        found += os.read(descriptor, 65_536)
    return found


def test_pieces_go_out_whole_and_in_order(pipe: list[int]) -> None:
    writer = LineWriter(pipe[1], caught_up=lambda: None, gone=lambda: None)
    texts = [f"{number}é\ud800 " for number in range(500)]
    for text in texts:
        writer.write(text)
    expected = "".join(texts).encode("utf-8", errors="replace")
    assert read_until(pipe[0], len(expected)) == expected
    assert writer.close(5)


def test_a_line_that_takes_nothing_keeps_nobody_waiting_and_is_known_as_behind(pipe: list[int]) -> None:
    caught_up = threading.Event()
    writer = LineWriter(pipe[1], caught_up=caught_up.set, gone=lambda: None)
    assert not writer.behind()
    for _ in range(PIECES + 10):
        writer.write("x" * (OCTETS // 16))
    assert writer.behind()
    assert not writer.close(0.05)  # leaving does not wait for it either
    writer.write("nothing is taken any more")


def test_it_says_when_it_has_caught_up(pipe: list[int]) -> None:
    caught_up = threading.Event()
    writer = LineWriter(pipe[1], caught_up=caught_up.set, gone=lambda: None)
    total = 0
    while not writer.behind():
        writer.write("y" * 9_000)
        total += 9_000
    assert not caught_up.is_set()
    read_until(pipe[0], total)
    wait_for(caught_up)
    assert not writer.behind()
    assert writer.close(5)


def test_silence_drops_what_waits(pipe: list[int]) -> None:
    writer = LineWriter(pipe[1], caught_up=lambda: None, gone=lambda: None)
    writer.write("a" * 500_000)
    writer.write("b")
    writer.silence()
    os.set_blocking(pipe[0], False)
    found = b""
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        try:
            found += os.read(pipe[0], 65_536)
        except BlockingIOError:
            threading.Event().wait(0.01)
    assert b"b" not in found
    assert len(found) < 500_000


def test_a_terminal_that_is_gone_is_said_once(pipe: list[int]) -> None:
    gone: list[str] = []
    seen = threading.Event()

    def note() -> None:
        gone.append("gone")
        seen.set()

    os.close(pipe[0])
    pipe[0] = -1
    writer = LineWriter(pipe[1], caught_up=lambda: None, gone=note)
    writer.write("x")
    wait_for(seen)
    writer.write("y")
    assert gone == ["gone"]
    writer.close(1)


def test_a_terminal_that_was_made_not_to_block_is_waited_for(pipe: list[int]) -> None:
    os.set_blocking(pipe[1], False)
    writer = LineWriter(pipe[1], caught_up=lambda: None, gone=lambda: None)
    writer.write("z" * 300_000)
    assert read_until(pipe[0], 300_000) == b"z" * 300_000
    assert writer.close(5)


def test_the_letter_box_keeps_the_newest_board_and_wakes_once() -> None:
    woken: list[int] = []
    box = Latest(lambda: woken.append(1))
    assert box.take() is None
    for board in (boards.empty(), boards.healthy(), boards.waiting()):
        box.put(board)
    assert len(woken) == 1
    assert box.take() == boards.waiting()
    assert box.take() is None
    box.put(boards.empty())
    assert len(woken) == 2
