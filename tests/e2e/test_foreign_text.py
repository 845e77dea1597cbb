"""What agents print, commit and report reaches people as text: no sequence of theirs is obeyed by a terminal."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.conftest import git
from tests.e2e.conftest import PYTHON_CHECK, QUICK_CHECK, SETTINGS, Shop
from tests.e2e.pseudo_terminal import terminal

EVIL = (
    "EVIL\x1b[31mred\x1b[0m \x1b]52;c;ZXZpbA==\x07clip \x1b]0;title\x07 \x9b31mc1 \x9d52;c;eA==\x9c \x1bP1$r\x1b\\ "
    "[/] [bold] [@click=app.quit]x[/] {0} %s \u202eback\u202c \u200b\x08end"
)
"""Colours, the clipboard, the title, eight-bit controls, markup that crashes or makes links, and characters that turn
or hide text."""
FORBIDDEN = ("\x1b", "\x9b", "\x9d", "\x9c", "\x07", "\x08", "\u202e", "\u200b")

AGENT = f"""
import os, subprocess, sys, time
evil, odd_name = {EVIL!r}, "evil\\x1b]0;title\\x07.md"
if os.path.exists("../done"):
    time.sleep(600)  # started again after the rollback
open("../done", "w").close()
text = open("calc.py").read().replace("return a + b", "return a - b")
open("calc.py", "w").write(f"{{text}}# {{evil}}\\nprint(open(__file__).read())\\n")  # the check's output
open(odd_name, "w").write(evil)
subprocess.run(["git", "add", "--", "calc.py", odd_name], check=True)
message = evil + "\\n\\nAgent: executor"
subprocess.run(["git", "commit", "-q", "--author", evil + " <e@x>", "-m", message], check=True)
for kind in ("message", "error"):
    subprocess.run([sys.executable, "-m", "rollcage", "signal", kind, evil], check=True)
print("ERROR \\0" + evil, flush=True)
print("Traceback (most recent call last): " + evil, file=sys.stderr, flush=True)
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def evil(shop: Shop) -> Iterator[Shop]:
    """A shop where people decide, with an agent that did its worst, and works on."""
    shop.trust(SETTINGS.replace("level: auto", "level: propose").replace(QUICK_CHECK, PYTHON_CHECK))
    words = [sys.executable, "-m", "rollcage", "run", "executor", "--", sys.executable, "-c", AGENT]
    with subprocess.Popen(words, cwd=shop.path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as agent:
        assert agent.stdout is not None
        try:
            assert any(line == b"ready\n" for line in agent.stdout)
            yield shop
        finally:
            agent.terminate()
            agent.stdout.read()


def harmless(text: str) -> str:
    """Return ``text``, of which nothing would be obeyed by a terminal, or hidden."""
    assert not [mark for mark in FORBIDDEN if mark in text], ascii(text)
    return text


def harmless_json(text: str) -> str:
    """Return ``text``, which would not bring such characters back once it is read as JSON, either."""
    assert not [mark for mark in FORBIDDEN if f"\\u{ord(mark):04x}" in text], text
    return harmless(text)


def test_no_output_of_the_command_line_carries_a_sequence_of_an_agent(evil: Shop) -> None:
    ran = evil.here("--auto", "--once")
    assert ran.code == 3
    assert "rollcage options inc-1" in harmless(ran.err)
    assert "EVIL" in harmless(ran.out)
    for words in ("show inc-1", "show opt-1.1 --diff", "signals"):
        assert "EVIL" in harmless(evil.here(*words.split()).out)
    for words in ("diagnose inc-1 --json", "show inc-1 --json", "show opt-1.1 --json", "signals --export"):
        assert "EVIL" in harmless_json(evil.here(*words.split()).out)
    for words in ("incidents", "options", "show opt-1.1", "agents", "show executor", "audit", "health", "doctor"):
        harmless(evil.here(*words.split()).out)
        harmless_json(evil.here(*words.split(), "--json").out)
    harmless_json(evil.here("--auto", "--once", "--json", "--level", "auto").out)
    assert "EVIL" in harmless(evil.here("show", "rb-1", "--diff").out)
    message = git(evil.path, "log", "-1", "--format=%B", "main")
    assert "EVIL" in harmless(message)
    assert "Take back" in message


def test_the_console_shows_it_and_sends_nothing_of_it_to_the_terminal(evil: Shop) -> None:
    with terminal([sys.executable, "-m", "rollcage"], evil.path, width=160, height=50) as screen:
        screen.wait("Options 2")
        for key, expected in [("d", "EVIL"), ("q", "Events"), ("h", "EVIL"), ("q", "Events"), ("\r", "executor")]:
            since = screen.type(key)
            screen.wait(expected, since=since)
        screen.type("q")
        screen.type("q")
        assert screen.end() == 0
        assert screen.is_restored()
        sent = screen.sent.decode(errors="replace")
    assert "EVIL" in sent
    assert "[@click=app.quit]x" in sent
    for sequence in ("\x1b[31mred", "\x1b]52;", "\x1b]0;title", "\x1bP1$r", "\x9b", "\x9d", "\u202e", "\u200b", "\x08"):
        assert sequence not in sent
