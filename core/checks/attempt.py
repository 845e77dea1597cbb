"""One run of a check in a folder, and what several runs of it together say: passed, failed, or flaky."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from itertools import chain
from pathlib import Path
from threading import Event

import psutil

from ..config import CheckSettings
from ..model import CheckOutcome
from ..text import clean
from ..units import Dimension, write
from .junit import Report, read_report
from .process import CommandResult, run_command
from .workspace import UnpreparedError, link_paths, report_paths, working_folder

DETAIL_LIMIT = 2_000
"""Characters of a reason and the output behind it that an outcome keeps."""
UNSEEN = "passes, but none of the tests followed was run"
"""How the detail of such an outcome begins; a test that is not there yet does not fail, which is no proof of health."""
SKIP_STATUS = 125
"""The exit status that says that this commit cannot be judged, as ``git bisect run`` has it."""
_NOT_LOADED = "unittest.loader._FailedTest."
"""How unittest names a file that cannot be loaded, before the file's own name; pytest gives that alone."""
_HANGS = 2
"""Runs of a check that hangs: each costs its whole time-out, so it is not tried as often as a quick failure."""


class Ending(Enum):
    """How one run ended."""

    PASSED = auto()
    FAILED = auto()
    HUNG = auto()
    """Killed when its time was over; counts as a failure."""
    SKIPPED = auto()
    """The tree cannot be judged by it; another run would say the same."""
    UNABLE = auto()
    """It could not be started or set up; that may be otherwise in a minute."""
    STOPPED = auto()


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run."""

    ending: Ending
    duration_s: float = 0.0
    why: str = ""
    """One clean line; empty where the output says it."""
    output: str = ""
    failing: tuple[str, ...] = ()
    unseen: frozenset[str] = frozenset()
    """Of the tests that were to be seen, those that its report does not name as passing."""


def set_up(check: CheckSettings, checkout: Path, folder: Path, stop: Event | None = None) -> Attempt | None:
    """Make ``folder`` ready by ``link:`` and ``setup:``; return why it is not, or ``None``."""
    try:
        link_paths(check, checkout, folder)
        cwd = working_folder(check, folder)
    except UnpreparedError as error:
        return Attempt(Ending.UNABLE, why=f"cannot be started: {error}")
    if check.setup is None:
        return None
    done = _run(check, check.setup, cwd, {}, stop)
    if done.status == 0:
        return None
    if _was_stopped(done, stop):
        return Attempt(Ending.STOPPED, done.duration_s, "stopped")
    return Attempt(Ending.UNABLE, done.duration_s, f"setup failed: {_how(check, check.setup, done)}", done.output)


def attempt(
    check: CheckSettings,
    folder: Path,
    *,
    stop: Event | None = None,
    only: Sequence[str] = (),
    see: Collection[str] = (),
    env: Mapping[str, str] | None = None,
) -> Attempt:
    """Run ``check`` once in a ``folder`` that is ready for it; never raises for what the check does.

    ``only`` names failing tests to follow, where there is a report: other failures then do not count, so that a search
    for one fault does not drift to another. ``see`` names tests of which it is to be told whether they passed, where
    there is a report. ``env`` lies beneath the check's own.
    """
    made = _attempt(check, folder, stop, only, env or {})
    if not see or check.junit is None or made.ending not in {Ending.PASSED, Ending.FAILED, Ending.HUNG}:
        return made
    return replace(made, unseen=_not_passing(see, _read(report_paths(check, folder)).passing))


def _attempt(
    check: CheckSettings, folder: Path, stop: Event | None, only: Sequence[str], env: Mapping[str, str]
) -> Attempt:
    try:
        cwd = working_folder(check, folder)
        reports = report_paths(check, folder)
        for path in reports:  # what is there afterwards was written by this run
            path.unlink(missing_ok=True)
    except (UnpreparedError, OSError) as error:
        return Attempt(Ending.UNABLE, why=f"cannot be started: {clean(str(error))}")
    done = _run(check, check.run, cwd, env, stop)
    how, output, duration = _how(check, check.run, done), done.output, done.duration_s
    if not done.started:
        return Attempt(Ending.UNABLE, duration, f"cannot be started: {how}")
    if done.timed_out:
        return Attempt(Ending.SKIPPED if only and reports else Ending.HUNG, duration, how, output)
    if _was_stopped(done, stop):
        return Attempt(Ending.STOPPED, duration, "stopped", output)
    if done.status is None:
        return Attempt(Ending.UNABLE, duration, "cannot be judged: it ended the process that watches it", output)
    if done.status == 0:
        return Attempt(Ending.PASSED, duration, _unseen(only, reports), output)
    if done.status == SKIP_STATUS:
        return Attempt(Ending.SKIPPED, duration, f"{how}: it cannot judge this tree", output)
    report = _read(reports)
    if only and reports:
        return _followed(only, report, duration, output)
    why = "; ".join(part for part in (how if done.status < 0 or not output else "", report.problem) if part)
    return Attempt(Ending.FAILED, duration, why, output, report.failing)


def judge(check: CheckSettings, run: Callable[[], Attempt], retries: int) -> tuple[CheckOutcome, Ending]:
    """Run a check until it passes or has failed ``1 + retries`` times; return the outcome, and how its last run ended.

    Mixed outcomes are flakiness, and so are failures by other tests each time: no verdict.
    """
    runs: list[Attempt] = []
    while True:
        runs.append(run())
        last = runs[-1].ending
        hangs = sum(made.ending is Ending.HUNG for made in runs)
        if last not in {Ending.FAILED, Ending.HUNG} or len(runs) > retries or hangs >= _HANGS:
            break
    passed, failing, why = _verdict(runs)
    duration = sum(made.duration_s for made in runs)
    telling = next((made for made in reversed(runs) if made.ending is not Ending.PASSED), runs[-1])
    unseen = tuple(sorted(frozenset[str]().union(*(made.unseen for made in runs))))
    return CheckOutcome(check.name, passed, len(runs), duration, failing, _detail(why, telling.output), unseen), last


def _verdict(runs: Sequence[Attempt]) -> tuple[bool | None, tuple[str, ...], str]:
    """Return passed, the failing tests, and why in one line."""
    *earlier, last = runs
    named = [made.failing for made in runs if made.failing]
    if last.ending is Ending.PASSED:
        if not earlier:
            return True, (), last.why
        ever = tuple(dict.fromkeys(chain.from_iterable(named)))
        return None, ever, f"flaky: failed {len(earlier)} of {len(runs)} runs"
    if last.ending not in {Ending.FAILED, Ending.HUNG}:
        return None, (), last.why
    common = set(named[0]).intersection(*named) if named else set()
    always = tuple(name for name in named[0] if name in common) if named else ()
    if named and not always:
        return None, named[-1], f"flaky: fails by other tests each time: {', '.join(n[0] for n in named)}"
    return False, always, last.why


def _unseen(only: Sequence[str], reports: Sequence[Path]) -> str:
    """Return what is to be said of a run that passed, where none of the tests followed was in it."""
    if not only or not reports:
        return ""
    return UNSEEN if _not_passing(only, _read(reports).passing) == frozenset(only) else ""


def _not_passing(names: Collection[str], passing: frozenset[str]) -> frozenset[str]:
    """Return those of ``names`` that did not pass. A file that could not be loaded passes by each test in it."""
    missing = frozenset(names) - passing
    loaded = {name[:at] for name in passing for at, letter in enumerate(name) if letter == "."}
    return frozenset(name for name in missing if name.removeprefix(_NOT_LOADED) not in loaded)


def _followed(only: Sequence[str], report: Report, duration: float, output: str) -> Attempt:
    hit = tuple(name for name in report.failing if name in only)
    if hit:
        return Attempt(Ending.FAILED, duration, "", output, hit)
    if not _not_passing(only, report.passing):
        others = clean(", ".join(report.failing), limit=200)
        return Attempt(Ending.PASSED, duration, f"the tests followed pass; others fail: {others}", output)
    why = "fails otherwise than by the tests followed" + (f"; {report.problem}" if report.problem else "")
    return Attempt(Ending.SKIPPED, duration, why, output)


def _run(
    check: CheckSettings, command: Sequence[str], cwd: Path, env: Mapping[str, str], stop: Event | None
) -> CommandResult:
    # No process may have more than most of the machine: a leak in a check ends the check, not the fleet.
    memory = psutil.virtual_memory().total * 3 // 4
    return run_command(command, cwd, {**env, **check.env}, timeout=check.timeout, stop=stop, memory=memory)


def _was_stopped(done: CommandResult, stop: Event | None) -> bool:
    return done.started and not done.timed_out and done.status is None and stop is not None and stop.is_set()


def _how(check: CheckSettings, command: Sequence[str], done: CommandResult) -> str:
    """Return in one line how a command ended."""
    if not done.started:
        where = "it must be on PATH, or a path in the tree; link: brings .venv there"
        return f"{clean(command[0])}: {done.problem}; {where}"
    if done.timed_out:
        return f"timed out after {_spoken(check.timeout)}"
    if done.status is None:
        return "it was ended from outside"
    if done.status < 0:
        return f"killed by {_signal_name(-done.status)}"
    return f"exit status {done.status}"


def _spoken(seconds: float) -> str:
    """Return a duration as people say it: ``10 min``, ``90 s``."""
    text = write(seconds, Dimension.DURATION)
    number = text.rstrip("smhdw")
    unit = text.removeprefix(number) or "s"
    return f"{number} {'min' if unit == 'm' else unit}"


def _signal_name(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def _read(paths: Sequence[Path]) -> Report:
    reports = [read_report(path) for path in paths]
    return next((report for report in reports if not report.problem), reports[0] if reports else Report())


def _detail(why: str, output: str) -> str:
    """Return the reason and below it as much of the output's end as there is room for, from the start of a line."""
    why = clean(why)
    room = DETAIL_LIMIT - len(why) - 1
    if len(output) > room:
        output = output[-room:]
        output = output.partition("\n")[2] or output
    return "\n".join(part for part in (why, output) if part)
