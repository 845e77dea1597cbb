"""What the verbs cost that agents call thousands of times, against a Python that does nothing."""

from __future__ import annotations

import sqlite3
import sys
import venv
from contextlib import chdir
from functools import partial
from pathlib import Path

import rollcage
from rollcage.core.store.identity import identify
from tests.conftest import git

from .measure import Row, interleaved, process_time

RUNS = 40
AIM = 4.0
SIGNAL = ("signal", "metric", "x", "1", "--agent", "a")
LOCK = ("lock", "acquire", "s", "--permits", "1000", "--ttl", "0.1")
"""Two processes, of which the second stays behind to keep the lock, and ends by itself."""
WHEEL_MAIN = "import sys; sys.path.insert(0, {!r}); from rollcage.__main__ import main; sys.exit(main())"


def measure(place: Path) -> list[Row]:
    """Measure the light verbs as they are installed here, and again as a wheel would have them.

    The second is the stricter: an editable install lets every Python of its environment, the floor too, import a
    finder with half the standard library. So it has an environment of its own, with nothing in it.
    """
    top = place / "shop"
    top.mkdir()
    git(top, "init", "-q", "-b", "main")
    git(top, "commit", "-q", "--allow-empty", "-m", "start")
    paths = identify(top / ".git", lambda: [git(top, "rev-parse", "HEAD")])
    script = Path(sys.executable).with_name("rollcage")
    installed = [sys.executable, *((str(script),) if script.exists() else ("-m", "rollcage"))]
    venv.create(place / "venv", symlinks=True)
    python = str(place / "venv" / "bin" / "python")
    wheel = [python, "-c", WHEEL_MAIN.format(str(Path(rollcage.__file__).parent.parent))]
    ways = {
        "rollcage --version": [*installed, "--version"],
        "rollcage signal": [*installed, *SIGNAL],
        "rollcage lock": [*installed, *LOCK],
        "python -c pass": [sys.executable, "-c", "pass"],
        "rollcage --version, from a wheel": [*wheel, "--version"],
        "rollcage signal, from a wheel": [*wheel, *SIGNAL],
        "rollcage lock, from a wheel": [*wheel, *LOCK],
        "python -c pass, bare": [python, "-c", "pass"],
    }
    with chdir(top):
        found = interleaved(RUNS, *(partial(process_time, argv) for argv in ways.values()), warm_up=3)
    times = dict(zip(ways, found, strict=True))
    with sqlite3.connect(paths.inbox_db) as connection:
        written = connection.execute("select count(*) from signal").fetchone()[0]
    connection.close()
    if written != 2 * (RUNS + 3):
        raise RuntimeError(f"{written} signals were written, not {2 * (RUNS + 3)}")
    floors = {
        name: "python -c pass, bare" if "wheel" in name else "python -c pass" for name in ways if "rollcage" in name
    }
    return [Row(name, times[name], under, times[under], AIM) for name, under in floors.items()]
