"""``rollcage demo``: the main job on a sandbox with real agents, a real repository, database and fault."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..core.config import Level
from ..core.errors import ExitCode, RollcageError
from ..core.fleet.control import stop_tree
from ..core.fleet.runs import current_runs
from ..core.fleet.start import start_agent
from ..core.trust import trust, written_content
from .auto import run_auto
from .context import Context
from .demo_sandbox import AGENTS, make_sandbox
from .diagnostics import say

FAULT_WAIT_S = 90.0
"""How long the faulty agent may take until it commits its fault."""
END_WAIT_S = 10.0
"""How long the supervisors may take to end."""
SETTLE_S = 2.5
"""How long is looked at the agents' memory before the checks run, so that a rule with a ``for:`` can fire as well."""


def run_demo(auto: bool, keep: bool) -> int:
    """Make the sandbox, let the agents work, and run the console, or without a terminal ``--auto --once``.

    Return the exit code: 0 where the fleet recovered, or the console was left. Nothing outside the sandbox's folder
    is touched, and with it goes everything unless ``keep``, also where a signal ends the demo.
    """
    folder = Path(tempfile.mkdtemp(prefix="rollcage-demo-"))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    context: Context | None = None

    def clean_up() -> None:
        if context is not None:
            end_fleet(context)
            context.close()
        if keep:
            print(f"kept: {folder}; its state: ROLLCAGE_STATE_DIR={folder / 'state'}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)

    cleaning = _Once(clean_up)
    say("the sandbox is being made: a repository, a database, and agents that start")
    try:
        context = open_sandbox(folder)
        start_fleet(context)
        if auto or not (sys.stdin.isatty() and sys.stdout.isatty()):
            return _headless(context)
        from .run_console import run_console

        return run_console(context, read_only=False, plain=False, after=cleaning)
    finally:
        cleaning()


class _Once:
    """Does something once, whoever asks for it, also from another thread while the console is left by a signal."""

    def __init__(self, what: Callable[[], None]) -> None:
        self._what, self._lock, self._done = what, threading.Lock(), False

    def __call__(self) -> None:
        with self._lock:
            if not self._done:
                self._done = True
                self._what()


def _leave(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def open_sandbox(folder: Path) -> Context:
    """Make the sandbox below ``folder``, trust its settings, and return what verbs need to work on it."""
    sandbox = make_sandbox(folder)
    os.environ["ROLLCAGE_STATE_DIR"] = str(sandbox.state)
    os.environ["DEMO_PROGRESS"] = str(sandbox.progress)
    context = Context(sandbox.repository)
    trust(context.paths, context.store, written_content(context.repository.top), "rollcage demo")
    return context


def _headless(context: Context) -> int:
    """Find all well, let the agents work until the fault is in, then recover. Ends with what came of it."""
    print(f"sandbox {context.repository.top}: {len(AGENTS)} agents at work", flush=True)
    code = run_auto(context, once=True, settle=0.0, as_json=False, level=Level.AUTO)
    if code != ExitCode.DONE:
        return code
    fault = await_fault(context)
    print(f'executor committed {fault[:12]} "tidy add"', flush=True)
    return run_auto(context, once=True, settle=SETTLE_S, as_json=False, level=Level.AUTO)


def await_fault(context: Context) -> str:
    """Wait until the executor has committed its fault, and return it. Raises RollcageError after FAULT_WAIT_S."""
    git, clock = context.repository.git, context.clock
    deadline = clock.boot() + FAULT_WAIT_S
    tick = threading.Event()
    while clock.boot() < deadline:
        found = git.text("log", "--format=%H", "--grep=^tidy add$", "main")
        if found:
            return found.splitlines()[0]
        clock.wait(tick, 0.1)
    raise RollcageError(f"the demo's executor did not get to its fault within {FAULT_WAIT_S:.0f} s; see its output")


def start_fleet(context: Context) -> None:
    """Start the sandbox's agents."""
    for name in AGENTS:
        start_agent(context.paths, name, context.settings.agents[name], context.repository.top)


def end_fleet(context: Context) -> None:
    """Stop the sandbox's agents; no process of them is left."""
    for run in current_runs(context.paths.inbox_db):
        with suppress(ProcessLookupError):
            os.kill(run.supervisor_pid, signal.SIGTERM)
        stop_tree(run)
    tick, clock = threading.Event(), context.clock
    deadline = clock.boot() + END_WAIT_S
    while current_runs(context.paths.inbox_db) and clock.boot() < deadline:
        clock.wait(tick, 0.05)
