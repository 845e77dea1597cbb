"""The runs of agents, as their supervisors register them in the inbox, and the processes that belong to a run.

A supervisor is known by pid, start time and boot, so that a pid that was given out again is never taken for it.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import psutil

from ..clock import SystemClock, iso, parse_iso
from ..model import AgentState
from ..store import inbox
from ..store.database import explained

KEPT = 20
"""How many ended runs of an agent stay registered."""


@dataclass(frozen=True, slots=True)
class Run:
    """An agent under a supervisor, from the supervisor's start to its end; it may start the agent's command again."""

    id: str
    agent: str
    argv: tuple[str, ...]
    cwd: str
    supervisor_pid: int
    supervisor_started: float
    """Seconds since this boot."""
    boot_id: str
    child_pid: int | None
    """The agent's own process; ``None``: not started yet, held, or ended."""
    state: AgentState
    since: datetime
    """Of the state."""
    output: str
    """The path of its output, raw; see `rollcage.core.fleet.output`."""
    exit_code: int | None = None
    """Of the agent's command, 128 + N for signal N; set once the supervisor is about to end."""
    competition: str = ""
    stage: str = ""
    seen: datetime | None = None
    """The supervisor's last heartbeat."""
    child_started: float | None = None
    """Of the agent's own process, in seconds since this boot."""


_COLUMNS = (
    "id, agent, argv, cwd, supervisor_pid, supervisor_started, boot_id, child_pid, state, since, output, exit_code,"
    " competition, stage, updated, child_started"
)


def to_row(run: Run) -> list[str | int | float | None]:
    """Return ``run`` as the inbox and a supervisor's report have it; `from_row` reads it."""
    return [
        run.id,
        run.agent,
        json.dumps(run.argv),
        run.cwd,
        run.supervisor_pid,
        run.supervisor_started,
        run.boot_id,
        run.child_pid,
        run.state.value,
        iso(run.since),
        run.output,
        run.exit_code,
        run.competition,
        run.stage,
        iso(run.seen or run.since),
        run.child_started,
    ]


def from_row(row: Sequence[object]) -> Run | None:
    """Return the run of a row, ``None`` where it makes no sense: agents can write there."""
    ids, agent, argv, cwd, pid, started, boot, child, state, since, output, code, competition, stage, seen, born = row
    try:
        return Run(
            id=str(ids),
            agent=str(agent),
            argv=tuple(str(word) for word in json.loads(str(argv))),
            cwd=str(cwd),
            supervisor_pid=int(str(pid)),
            supervisor_started=float(str(started)),
            boot_id=str(boot),
            child_pid=None if child is None else int(str(child)),
            state=AgentState(str(state)),
            since=parse_iso(str(since)),
            output=str(output),
            exit_code=None if code is None else int(str(code)),
            competition=str(competition or ""),
            stage=str(stage or ""),
            seen=parse_iso(str(seen)),
            child_started=None if born is None else float(str(born)),
        )
    except (ValueError, TypeError, RecursionError):
        return None


# The register


def register(connection: sqlite3.Connection, run: Run) -> None:
    """Write ``run`` as it is now. Raises StoreError."""
    row = to_row(run)
    with explained("the inbox"):
        connection.execute(
            f"INSERT INTO run ({_COLUMNS}) VALUES ({', '.join('?' * len(row))}) ON CONFLICT(id) DO UPDATE SET"  # noqa: S608
            " child_pid = excluded.child_pid, state = excluded.state, since = excluded.since,"
            " exit_code = excluded.exit_code, updated = excluded.updated, child_started = excluded.child_started",
            row,
        )


def forget_old(connection: sqlite3.Connection, agent: str) -> None:
    """Delete all but the newest `KEPT` runs of ``agent``. Raises StoreError."""
    with explained("the inbox"):
        connection.execute(
            "DELETE FROM run WHERE agent = ? AND rowid NOT IN"
            " (SELECT rowid FROM run WHERE agent = ? ORDER BY rowid DESC LIMIT ?)",
            (agent, agent, KEPT),
        )


def latest_runs(inbox_path: Path | str) -> list[Run]:
    """Return the newest run of each agent, alive or not, by agent; damaged rows are left out. Raises StoreError."""
    if not Path(inbox_path).exists():
        return []
    connection = inbox.connect(str(inbox_path))
    try:
        return read_latest(connection)
    finally:
        connection.close()


def read_latest(connection: sqlite3.Connection, agent: str | None = None) -> list[Run]:
    """Like `latest_runs`, of one agent or of all, on an open connection."""
    with explained("the inbox"):
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM run WHERE rowid IN (SELECT MAX(rowid) FROM run GROUP BY agent)"  # noqa: S608
            " AND agent = COALESCE(?, agent) ORDER BY agent",
            (agent,),
        ).fetchall()
    return [run for run in map(from_row, rows) if run is not None]


def current_runs(inbox_path: Path | str) -> list[Run]:
    """Return the runs whose supervisor is alive, by agent. Raises StoreError.

    A process of the agent that has ended is left out, even if the supervisor did not get to say so yet.
    """
    return [_without_ended(run) for run in latest_runs(inbox_path) if is_alive(run)]


def _without_ended(run: Run) -> Run:
    if run.child_pid is None or _is(run.child_pid, run.child_started):
        return run
    return replace(run, child_pid=None, child_started=None)


# Their processes


def process_started(pid: int) -> float | None:
    """Return when process ``pid`` started, in seconds since the boot; ``None``: there is none, or it is a zombie.

    Unlike psutil's ``create_time`` this does not move when the wall clock is set.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self/stat").exists() else _started_elsewhere(pid)
    except OSError:
        return None
    # proc(5): after the name come state (field 3) and, as field 22, the start time in clock ticks.
    return None if fields[0] in {b"Z", b"X"} else int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _started_elsewhere(pid: int) -> float | None:
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time() - psutil.boot_time()
    except psutil.Error:
        return None


def is_alive(run: Run) -> bool:
    """Return whether the supervisor of ``run`` lives: the same pid, started at the same time, in this boot."""
    if run.boot_id != SystemClock().boot_id():
        return False
    return _is(run.supervisor_pid, run.supervisor_started)


def _is(pid: int, started: float | None) -> bool:
    """Return whether the process ``pid`` lives and is the one that started then."""
    now = process_started(pid)
    return now is not None and started is not None and abs(now - started) < 0.02


def tree(run: Run) -> list[psutil.Process]:
    """Return all processes of ``run`` below its supervisor, zombies included.

    As the supervisor is a subreaper, no descendant leaves it. Where the supervisor was killed, the processes that
    carry the run's id in their environment are returned instead (on Linux, of the same user).
    """
    if run.boot_id != SystemClock().boot_id():
        return []
    try:
        supervisor = psutil.Process(run.supervisor_pid)
        if is_alive(run):
            return supervisor.children(recursive=True)
    except psutil.NoSuchProcess:
        pass
    return strays(run.id)


def strays(run_id: str) -> list[psutil.Process]:
    """Return the processes whose environment names the run ``run_id``, but for this one."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get("ROLLCAGE_RUN") == run_id:
                found.append(process)
        except (psutil.Error, OSError):
            continue  # gone, or another user's
    return found


def trees(runs: Iterable[Run]) -> dict[str, list[psutil.Process]]:
    """Return the processes below each living supervisor, by run id, from one pass over the process table."""
    children = defaultdict[int, list[psutil.Process]](list)
    for process in psutil.process_iter(["ppid"]):
        children[process.info["ppid"]].append(process)
    found: dict[str, list[psutil.Process]] = {}
    for run in runs:
        if is_alive(run):
            below, seen = list(children[run.supervisor_pid]), {run.supervisor_pid}
            members = found.setdefault(run.id, [])
            while below:
                process = below.pop()
                if process.pid not in seen:
                    seen.add(process.pid)
                    members.append(process)
                    below += children[process.pid]
    return found
