"""``rollcage demo``: the main job on a sandbox with real agents, a real repository, database and fault."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.config import Level
from ..core.errors import ExitCode, RollcageError
from ..core.fleet.control import stop_tree
from ..core.fleet.runs import current_runs
from ..core.fleet.start import start_agent
from ..core.model import Hold
from ..core.trust import trust, written_content
from .auto import run_auto
from .context import Context
from .demo_sandbox import AGENTS, Sandbox, make_sandbox

FAULT_WAIT_S = 90.0
"""How long the faulty agent may take until it commits its fault."""
SETTLE_S = 2.5
"""How long is looked at the agents' memory before the checks run, so that a rule with a ``for:`` can fire as well."""


def run_demo(auto: bool, keep: bool) -> int:
    """Make the sandbox, let the agents work, and run the console, or without a terminal ``--auto --once``.

    Return the exit code: 0 where the fleet recovered, or the console was left. Nothing outside the sandbox's folder
    is touched, and with it goes everything unless ``keep``.
    """
    folder = Path(tempfile.mkdtemp(prefix="rollcage-demo-"))
    try:
        sandbox = make_sandbox(folder)
        os.environ["ROLLCAGE_STATE_DIR"] = str(sandbox.state)
        os.environ["DEMO_PROGRESS"] = str(sandbox.progress)
        context = Context(sandbox.repository)
        try:
            trust(context.paths, context.store, written_content(context.repository.top), "rollcage demo")
            with _fleet(context, sandbox):
                if auto or not (sys.stdin.isatty() and sys.stdout.isatty()):
                    return _headless(context, sandbox)
                from .run_console import run_console

                return run_console(context, read_only=False, plain=False)
        finally:
            context.close()
    finally:
        if keep:
            print(f"kept: {folder}; its state: ROLLCAGE_STATE_DIR={folder / 'state'}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _headless(context: Context, sandbox: Sandbox) -> int:
    """Find all well, let the agents work until the fault is in, then recover. Ends with what came of it."""
    print(f"sandbox {sandbox.repository}: {len(AGENTS)} agents at work", flush=True)
    code = run_auto(context, once=True, settle=0.0, as_json=False, level=Level.AUTO)
    if code != ExitCode.DONE:
        return code
    fault = _await_fault(context)
    print(f'executor committed {fault[:12]} "tidy add"', flush=True)
    return run_auto(context, once=True, settle=SETTLE_S, as_json=False, level=Level.AUTO)


def _await_fault(context: Context) -> str:
    git, clock = context.repository.git, context.clock
    deadline = clock.boot() + FAULT_WAIT_S
    tick = threading.Event()
    while clock.boot() < deadline:
        found = git.text("log", "--format=%H", "--grep=^tidy add$", "main")
        if found:
            return found.splitlines()[0]
        clock.wait(tick, 0.1)
    raise RollcageError(f"the demo's executor did not get to its fault within {FAULT_WAIT_S:.0f} s; see its output")


@contextmanager
def _fleet(context: Context, sandbox: Sandbox) -> Iterator[None]:
    """Within, the sandbox's agents run; afterwards no process of them is left."""
    try:
        for name in AGENTS:
            start_agent(context.paths, name, context.settings.agents[name], sandbox.repository)
        yield
    finally:
        for name in AGENTS:
            context.store.set_hold(name, Hold.NONE, "the demo ends")
        for run in current_runs(str(context.paths.inbox_db)):
            os.kill(run.supervisor_pid, signal.SIGTERM)
            stop_tree(run)
