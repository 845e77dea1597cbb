"""Starting an agent of ``rollcage.yml`` in the background."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RollcageError, StoreError
from ..model import AgentState
from . import runs
from .launch import Link, Report, launch, order
from .runs import Run

if TYPE_CHECKING:
    from ..config import AgentSettings
    from ..store.paths import RepositoryPaths

START_TIME = 10.0
"""Seconds to wait for the agent's command to be started, once its supervisor is up."""

# An engine that was started by a git hook must not hand on which repository, index and objects that was about.
_OF_A_HOOK = ("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX")


class NotStartedError(RollcageError):
    """The agent's command cannot be started."""


def start_agent(
    paths: RepositoryPaths, name: str, settings: AgentSettings, top: Path, *, timeout: float | None = None
) -> Run:
    """Start the ``run:`` command of agent ``name`` in folder ``top`` under a detached supervisor; return its run.

    It is registered and started then, or waits because something holds it (``child_pid`` is ``None``). ``timeout`` is
    how many seconds it may run. Raises UsageError (no command, bad name), RefusedError ``already_running``,
    NotStartedError (with the reason), StoreError (no supervisor came up).
    """
    what = order(
        paths.root,
        name,
        settings.run or (),
        top,
        stage=settings.stage,
        competition=settings.competition,
        timeout=timeout,
    )
    environment = {key: value for key, value in os.environ.items() if key not in _OF_A_HOOK}
    report, link = launch(what, environment)
    try:
        return _await_start(registered_run(report), link)
    finally:
        link.close()


def registered_run(report: Report) -> Run:
    """Return the run of a supervisor's ``registered`` report. Raises StoreError where it makes no sense."""
    row = report.get("registered")
    run = runs.from_row(row) if isinstance(row, list) else None
    if run is None:
        raise StoreError("a supervisor gave an answer that makes no sense; is it of another version of rollcage?")
    return run


def _await_start(run: Run, link: Link) -> Run:
    deadline = time.monotonic() + START_TIME
    while not link.ended and (left := deadline - time.monotonic()) > 0:
        report = link.read(left) or {}
        if "problem" in report:
            raise NotStartedError(f"agent {run.agent}: {report['problem']}")
        if "waiting" in report:
            return run
        if isinstance(pid := report.get("started"), int):
            born = runs.process_started(pid)
            return replace(run, child_pid=pid, child_started=born, state=AgentState.RUNNING)
    return run
