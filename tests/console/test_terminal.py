"""In a real pseudo-terminal: it is given back as it was found, whatever happens, and nothing hangs on it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.console.pty_terminal import DEADLINE_S, TOP, Terminal

CLOSED = b"\x1b[?1049l"
COLOUR = re.compile(rb"\x1b\[[0-9;:]*\b(?:3[0-7]|4[0-7]|9[0-7]|10[0-7]|38|48)\b[0-9;:]*m")


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "trace"


def given_back(terminal: Terminal) -> bool:
    """Return whether screen, cursor and settings are as they were found."""
    closed = CLOSED in terminal.output and terminal.output.rfind(b"\x1b[?25h") > terminal.output.rfind(b"\x1b[?25l")
    return closed and terminal.attributes == terminal.before


def test_it_paints_once_keeps_still_resizes_and_leaves_as_it_came(trace: Path) -> None:
    with Terminal(trace, "waiting") as terminal:
        terminal.until_output("Fleet", "needs you", "quit")
        terminal.until_still()
        assert COLOUR.search(terminal.output)
        assert b"\x1b[?1000h" in terminal.output
        assert terminal.attributes != terminal.before
        assert terminal.read(1.5) == b""  # a still screen sends nothing, ages and clock included
        terminal.send("\x1b[B")
        terminal.until(lambda: terminal.read(0.1), "the cursor")
        terminal.until_still()
        before = len(terminal.output)
        terminal.resize(80, 24)
        terminal.until(lambda: b"FILE_SELECTIVE" in terminal.output[before:], "the new size")
        terminal.until_still()
        terminal.send("q")
        assert terminal.until_ended() == 0
        assert given_back(terminal)
        assert "leaving MainThread\nleft\nreturned 0" in terminal.traced


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_closes_the_screen_first_then_carries_on_then_leaves(trace: Path, number: int) -> None:
    with Terminal(trace, "waiting", environment={"LEAVE_S": "0.3"}) as terminal:
        terminal.until_output("Fleet")
        terminal.signal(number)
        terminal.until_trace("leaving terminal-guard")
        terminal.until(lambda: given_back(terminal), "the terminal")
        closed_at = terminal.output.rfind(CLOSED)
        assert terminal.until_ended() == 128 + number
        assert terminal.traced.endswith("left\n")
        assert b"\x1b[?1049h" not in terminal.output[closed_at:]
        assert b"Fleet" not in terminal.output[closed_at:]  # nothing is drawn on the shell's screen


@pytest.mark.parametrize("ignored", ["", "1"], ids=["SIGHUP", "SIGHUP ignored"])
def test_a_terminal_that_goes_away_does_not_keep_it(trace: Path, ignored: str) -> None:
    with Terminal(trace, "waiting", environment={"IGNORE_HANGUP": ignored, "FLOOD": "1"}) as terminal:
        terminal.until_output("Fleet")
        terminal.hang_up()
        assert terminal.until_ended(reading=False) == 128 + signal.SIGHUP
        assert terminal.traced.endswith("left\n")


def stalled(terminal: Terminal) -> None:
    """Let the console draw against a line that takes nothing, until it can take no more."""
    terminal.until_output("Fleet")
    terminal.until_full()


def test_a_stalled_line_keeps_neither_q_nor_the_process(trace: Path) -> None:
    with Terminal(trace, "waiting", environment={"FLOOD": "1"}) as terminal:
        stalled(terminal)
        terminal.send("q")
        assert terminal.until_ended(reading=False) == 0
        assert terminal.attributes == terminal.before


def test_nor_a_signal(trace: Path) -> None:
    with Terminal(trace, "waiting", environment={"FLOOD": "1"}) as terminal:
        stalled(terminal)
        terminal.signal(signal.SIGTERM)
        assert terminal.until_ended(reading=False) == 128 + signal.SIGTERM
        assert terminal.attributes == terminal.before


def test_a_line_that_comes_back_shows_the_whole_screen_again(trace: Path) -> None:
    with Terminal(trace, "waiting", environment={"FLOOD": "1"}) as terminal:
        stalled(terminal)
        terminal.output = b""
        terminal.until_output("Fleet", "Lifecycle", "stop all")
        terminal.send("q")
        assert terminal.until_ended() == 0
        assert given_back(terminal)


def test_after_a_stop_and_fg_the_screen_is_painted_again(trace: Path) -> None:
    with Terminal(trace, "waiting") as terminal:
        terminal.until_output("Fleet", "quit")
        terminal.until_still()
        for number in (signal.SIGTSTP, signal.SIGSTOP):
            terminal.signal(number)
            _, status = os.waitpid(terminal.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            if number == signal.SIGTSTP:
                terminal.read(0.1)
                assert terminal.attributes == terminal.before  # the shell has its terminal
            terminal.output = b""
            terminal.signal(signal.SIGCONT)
            terminal.until_output("\x1b[?1049h", "Fleet", "Lifecycle", "quit")
            terminal.until_still()
        terminal.send("q")  # one reader only: the key arrives
        assert terminal.until_ended() == 0
        assert given_back(terminal)


def test_over_ssh_the_mouse_stays_the_terminals_and_no_color_sends_none(trace: Path) -> None:
    environment = {"SSH_CONNECTION": "1 2 3 4", "NO_COLOR": "1"}
    with Terminal(trace, "waiting", environment=environment) as terminal:
        terminal.until_output("Fleet", "quit")
        terminal.until_still()
        assert b"\x1b[?1000h" not in terminal.output
        assert not COLOUR.search(terminal.output)
        assert b"\x1b[1m" in terminal.output or b";1m" in terminal.output or b"\x1b[1;" in terminal.output
        terminal.send("q")
        assert terminal.until_ended() == 0


def test_the_editor_gets_the_terminal_and_gives_it_back(trace: Path, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    # It finds the terminal as the shell's, and Ctrl+C in it reaches the whole group, the console too.
    editor.write_text(
        '#!/bin/sh\ntrap "" INT\nkill -INT 0\nstty -a | grep -q " icanon" && echo "targets: [x]" > "$1"\n'
    )
    editor.chmod(0o755)
    with Terminal(trace, "waiting", environment={"EDITOR": str(editor), "VISUAL": ""}) as terminal:
        terminal.until_output("Fleet", "quit")
        terminal.until_still()
        terminal.output = b""
        terminal.send("E")
        terminal.until_trace("edit opt-12.1 targets: [x]")
        terminal.until_output("\x1b[?1049h", "Fleet", "quit")
        terminal.until_still()
        terminal.send("q")
        assert terminal.until_ended() == 0
        assert given_back(terminal)


def test_hostile_text_brings_no_escape_of_its_own(trace: Path) -> None:
    with Terminal(trace, "hostile") as terminal:
        terminal.until_output("Fleet", "quit")
        terminal.until_still()
        terminal.send("i")
        terminal.until_still()
        assert b"]52;" not in terminal.output
        assert b"\x1b[31mEVIL" not in terminal.output
        assert b"\xc2\x9b" not in terminal.output  # CSI as one C1 character, in UTF-8
        titles = re.findall(rb"\x1b\]2;([^\x07]*)\x07", terminal.output)
        assert all(b"\x1b" not in title for title in titles)
        terminal.send("qq")
        assert terminal.until_ended() == 0


def test_a_dumb_terminal_gets_lines_without_a_single_escape(trace: Path) -> None:
    with Terminal(trace, "waiting", environment={"TERM": "dumb"}) as terminal:
        terminal.until_output("(TERM is dumb: plain lines", "option opt-12.4")
        assert b"\x1b" not in terminal.output
        terminal.send("\x03")  # Ctrl+C, which the terminal turns into SIGINT
        assert terminal.until_ended() == 128 + signal.SIGINT
        assert terminal.attributes == terminal.before
        assert terminal.traced.endswith("left\nreturned 130\n")


def test_output_that_goes_into_a_pipe_is_lines_and_a_reader_that_leaves_ends_it(trace: Path) -> None:
    environment = {**os.environ, "TRACE": str(trace), "TERM": "xterm-256color", "FLOOD": "1", "NEWS": "1"}
    command = [sys.executable, "-m", "tests.console.pty_console", "waiting"]
    with subprocess.Popen(command, env=environment, cwd=TOP, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"(there is no terminal: plain lines; Ctrl+C leaves)\n"
        assert b"CRITICAL 1" in child.stdout.readline()
        child.stdout.close()
        assert child.wait(DEADLINE_S) == 0
    assert trace.read_text().endswith("left\nreturned 0\n")
