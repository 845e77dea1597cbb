"""A small agent for the sandbox of ``rollcage demo``: takes tasks, edits code, tests it, commits, and reports.

It is copied into the sandbox's repository and runs there by itself; standard library only. One of its tasks, of the
executor, is the fault: the change is committed untested, breaks the tests, and its cache of results is never emptied.
Usage: ``agent.py NAME``, in the checkout. Progress is kept outside it, so that a restarted agent goes on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

FAULTY_TASK = 3
"""The number of the executor's task that is the fault."""
CACHE_STEP = 8 * 1024 * 1024
CACHE_FIRST, CACHE_MOST = 160 * 1024 * 1024, 320 * 1024 * 1024
BETWEEN_TASKS_S = 1.5

RUN_TESTS = (
    "import sys, unittest; "
    "result = unittest.main(None, argv=['tests', 'discover', '-q'], exit=False).result; "
    "sys.exit(not (result.wasSuccessful() and result.testsRun))"
)


def report(*words: str) -> None:
    """Tell rollcage something; an agent works on where that fails."""
    subprocess.run([sys.executable, "-m", "rollcage", "signal", *words], check=False, stdin=subprocess.DEVNULL)


def tests_pass() -> bool:
    """Run the shop's tests on the checkout."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", RUN_TESTS], check=False, stdin=subprocess.DEVNULL, capture_output=True
    )
    return done.returncode == 0


def commit(name: str, summary: str, *paths: str) -> bool:
    """Commit ``paths`` as the agent ``name``; other agents commit too, so it is tried a few times."""
    author = f"{name} <{name}@agents.example>"
    message = f"{summary}\n\nAgent: {name}\n"
    for _ in range(20):
        subprocess.run(["git", "add", "--", *paths], check=False, capture_output=True)
        words = ["git", "commit", "-q", f"--author={author}", "-m", message, "--only", "--", *paths]
        done = subprocess.run(words, check=False, capture_output=True, text=True)
        if done.returncode == 0:
            return True
        threading.Event().wait(0.1)  # somebody else holds the index
    print(f"cannot commit: {done.stderr.strip()}", flush=True)
    return False


def append(path: str, text: str) -> None:
    """Add ``text`` to the end of a file of the checkout."""
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(text)


def planner(number: int) -> tuple[str, str]:
    """Write the next line of the plan."""
    append("docs/plan.md", f"{number}. Release step {number}: review, merge, tag.\n")
    return f"plan step {number}", "docs/plan.md"


def analyzer(number: int) -> tuple[str, str]:
    """Add a report function."""
    append(
        "shop/reports.py",
        f'\n\ndef report_{number}(rows):\n    """Return the sum of column {number}."""\n'
        f"    return sum(row[{number}] for row in rows if len(row) > {number})\n",
    )
    return f"add report {number}", "shop/reports.py"


def monitor(number: int) -> tuple[str, str]:
    """Add a limit that is watched."""
    append("shop/limits.py", f"LIMIT_{number} = {number * 10}\n")
    return f"watch limit {number}", "shop/limits.py"


def executor(number: int) -> tuple[str, str]:
    """Add a price rule; task FAULTY_TASK "tidies" an old one instead, wrongly."""
    if number == FAULTY_TASK:
        calc = Path("shop/calc.py")
        calc.write_text(calc.read_text(encoding="utf-8").replace("return a + b", "return a - b"), encoding="utf-8")
        return "tidy add", "shop/calc.py"
    append(
        "shop/prices.py",
        f'\n\ndef discount_{number}(price):\n    """Return the price less {number} %."""\n'
        f"    return price * (100 - {number}) / 100\n",
    )
    return f"add discount {number}", "shop/prices.py"


TASKS: dict[str, Callable[[int], tuple[str, str]]] = {
    "planner": planner,
    "analyzer": analyzer,
    "executor": executor,
    "monitor": monitor,
}


def grow(cache: list[bytearray], most: int) -> None:
    """Keep every result for ever, up to ``most`` bytes."""
    while len(cache) * CACHE_STEP < most:
        cache.append(bytearray(os.urandom(1) * CACHE_STEP))
        report("step", f"result-{len(cache)}")


def main(name: str) -> None:
    """Work on one task after another until stopped."""
    progress = Path(os.environ["DEMO_PROGRESS"]) / f"{name}.json"
    done = json.loads(progress.read_text()) if progress.exists() else 0
    cache: list[bytearray] = []
    faulty = False
    idle = threading.Event()
    Path(f"drafts/{name}.md").write_text(f"# {name}: thoughts that are not committed yet\n", encoding="utf-8")
    while True:
        number = done + 1
        report("step", f"task-{number}")
        print(f"task {number}", flush=True)
        faulty = faulty or (name == "executor" and number == FAULTY_TASK)
        summary, path = TASKS[name](number)
        if faulty:
            grow(cache, CACHE_FIRST)
        while not faulty and not tests_pass():
            print(f"task {number}: the tests fail; {path} stays uncommitted for now", flush=True)
            idle.wait(BETWEEN_TASKS_S)
        if commit(name, summary, path):
            done = number
            progress.write_text(json.dumps(done), encoding="utf-8")
        if faulty:
            grow(cache, CACHE_MOST)
        idle.wait(BETWEEN_TASKS_S)


if __name__ == "__main__":
    main(sys.argv[1])
