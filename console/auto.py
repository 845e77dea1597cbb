"""``rollcage --auto``: the same engine without a screen, as lines for people or JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from ..core.clock import iso
from ..core.config import Level
from ..core.coordination.leader import TRY_EVERY, Leader
from ..core.decide import REASONS
from ..core.decisions import Answer, answer_to
from ..core.engine import Engine
from ..core.errors import ExitCode, LeaseError
from ..core.model import Decision, Event
from ..core.outcome import Outcome
from ..core.progress import activity
from ..core.status import health_report
from ..core.text import clean
from .diagnostics import discard_output, say

if TYPE_CHECKING:
    from ..core.store.store import Store
    from .context import Context

T = TypeVar("T")

PRINT_EVERY_S = 0.1
_NEEDS_YOU = frozenset({ExitCode.WAITING, ExitCode.ESCALATED, ExitCode.UNDONE, ExitCode.NOT_UNDONE})
QUIET_EVENTS = frozenset({"plan"})
"""Left out of the lines for people: the option says the same."""


class Printer:
    """Prints the event stream from where it stood when this was made. Whether anybody reads it concerns no engine."""

    def __init__(self, context: Context, *, as_json: bool) -> None:
        """Remember the newest event; only later ones are printed."""
        self._store = context.store
        self._json = as_json
        self._seq = self._store.last_seq()
        self._heard = True

    def catch_up(self, until: int | None = None) -> None:
        """Print what is new, up to the event at place ``until``."""
        while events := self._store.events_since(self._seq, 500):
            for event in events:
                if until is not None and event.seq > until:
                    return
                self._print(event)
                self._seq = event.seq

    def end_with(self, event: str, body: dict[str, Any], words: str) -> None:
        """Append an event of one's own, and print it last of all; people get ``words`` instead."""
        last = self._store.append_event(event, body)
        self.catch_up(last.seq if self._json else last.seq - 1)
        if not self._json:
            self._say(words)

    def _print(self, event: Event) -> None:
        if self._json:
            head = {"v": 1, "seq": event.seq, "at": iso(event.at), "event": event.event}
            self._say(json.dumps({**head, **event.body, **head}))
        elif event.event not in QUIET_EVENTS:
            self._say(f"{event.at:%H:%M:%S} {event.event:<12} {sentence(event)}")

    def _say(self, line: str) -> None:
        if not self._heard:
            return
        try:
            print(line, flush=True)
        except OSError as error:  # a rollback goes on all the same
            self._heard = False
            discard_output()
            if not isinstance(error, BrokenPipeError):  # the reader has not left, but what it reads is lost
                say(f"standard output cannot be written any more: {error.strerror}; rollcage audit has what follows")


class Progress:
    """Tells whoever sits at the terminal what is being found out, a line for each change: a search takes minutes."""

    def __init__(self, store: Store) -> None:
        """Take where the activity is written."""
        self._store = store
        self._told: dict[str, str] = {}

    def catch_up(self) -> None:
        """Tell what is new."""
        for incident in self._store.incidents(open_only=True):
            text = activity(self._store, incident.id)
            if text and text != self._told.get(incident.id):
                say(f"{incident.id} {text}")
            self._told[incident.id] = text


def sentence(event: Event) -> str:
    """Return what ``event`` says, as one line for people."""
    body: dict[str, Any] = dict(event.body)
    match event.event:
        case "finding":
            over = "over: " if body.get("ended") else ""
            text = f"{over}{body.get('agent') or 'everybody'}: {body.get('summary')}"
        case "incident":
            text = f"{body.get('id')} {body.get('state')}: {body.get('title')}"
            text += f" ({body['note']})" if body.get("note") else ""
        case "diagnosis":
            runs = body.get("check_runs") or {}
            text = (
                f"{body.get('incident')} {body.get('verdict')}: {body.get('root_cause')}"
                f" (confidence {body.get('confidence') or 0.0:.2f},"
                f" check runs {runs.get('search', 0)}+{runs.get('confirm', 0)})"
            )
        case "option":
            rehearsal = body.get("rehearsal") or {}
            checks = ", ".join(f"{c['name']} {_passed(c['passed'])}" for c in rehearsal.get("checks", ()))
            applies = "applies" if rehearsal.get("applies") else "does not apply"
            text = (
                f"{body.get('id')} {body.get('type')} {' '.join(s[:12] for s in body.get('target_commits', ()))} "
                f"{body.get('risk_level')} {body.get('risk_points')}/10, {applies}{', ' + checks if checks else ''}"
            )
        case "decision":
            text = f"{body.get('option') or body.get('incident')} {body.get('verdict')} by {body.get('by')}"
            reason = str(body.get("reason") or "")
            text += f": {REASONS.get(reason, reason)}" if reason and body.get("verdict") != "edit" else ""
        case "phase":
            done = "snapshot " + str(body["snapshot"]) if body.get("snapshot") else ""
            text = f"{body.get('incident')} phase {body.get('phase')} {body.get('state')} {done}"
        case "step":
            text = f"{body.get('rollback')} {body.get('phase')}.{body.get('number')} {body.get('name')}"
            text += f" {body['subject']}" if body.get("subject") else ""
            text += f": {body.get('state')}" + (f" ({body['note']})" if body.get("note") else "")
        case "verification":
            text = f"{body.get('rollback')} {body.get('state')}" + (f": {body['note']}" if body.get("note") else "")
        case "agent":
            text = f"{body.get('agent')} {body.get('action')} by {body.get('by')}"
            text += f": {body['why']}" if body.get("why") not in {None, "", f"by {body.get('by')}"} else ""
            text += f" (not frozen: {body['not_frozen']})" if body.get("not_frozen") else ""
        case "issue" if body.get("change"):
            text = f"#{body.get('number')} {body['change']} {body.get('title') or ''}"
        case "alert":
            text = f"{body.get('severity')}: {body.get('text')}"
        case _:
            text = " ".join(f"{key}={value}" for key, value in body.items() if not isinstance(value, (dict, list)))
    return clean(" ".join(text.split()), limit=400)


def _passed(passed: bool | None) -> str:
    return {True: "pass", False: "fail", None: "no verdict"}[passed]


@contextmanager
def leave_on_signals(leave: threading.Event) -> Iterator[list[int]]:
    """Within, SIGINT, SIGTERM and SIGHUP only set ``leave``; yields the list of those that came.

    Python lets the main thread alone handle signals; in another one nothing is changed.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return

    def handler(number: int, frame: object) -> None:
        came.append(number)
        leave.set()

    kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(kind, handler) for kind in kinds]
    try:
        yield came
    finally:
        for kind, old in zip(kinds, before, strict=True):
            signal.signal(kind, old)


def run_auto(context: Context, once: bool, settle: float, as_json: bool, level: Level | None) -> int:
    """Run the engine until it is told to leave, or once; return the exit code.

    Where another engine leads this repository, it stands by and takes over when that one ends; with ``once`` it raises
    LeaseError instead. Raises what `Engine` raises.
    """
    services = context.services()
    leader = Leader(context.repository.common_dir, context.own_leases)
    if not once and (left := _stand_by(context, leader)) is not None:
        return left
    with leading(context, leader):
        printer = Printer(context, as_json=as_json)
        engine = Engine(services, leader, level)
        with leave_on_signals(engine.leaving) as came:
            if not once:
                return _serve(engine, printer, context, came)
            progress = _nothing if as_json or not context.interactive else Progress(context.store).catch_up
            code = _once(engine, printer, settle, came, progress)
        if not as_json and code in _NEEDS_YOU:
            for advice in health_report(context.view, context.clock.now()).recommendations:
                say(advice)
        return code


@contextmanager
def leading(context: Context, leader: Leader | None = None) -> Iterator[Leader]:
    """Lead the repository within, as ``leader`` where one is given. Raises LeaseError where another engine leads it."""
    leader = leader or Leader(context.repository.common_dir, context.own_leases)
    if not leader.try_lead():
        raise LeaseError(
            f"another engine leads this repository: {leader.holder()}; rollcage opens a console on it, "
            "rollcage health says how all is"
        )
    try:
        yield leader
    finally:
        leader.resign()


def _stand_by(context: Context, leader: Leader) -> ExitCode | None:
    """Wait until ``leader`` leads; return ``None``, or the exit code where this process was told to leave before."""
    leave, told = threading.Event(), ""
    with leave_on_signals(leave) as came:
        while not leader.try_lead():
            holder = leader.holder() or "another engine"
            if holder != told:
                say(f"standing by: {holder} leads this repository; this engine takes over when that one ends")
                told = holder
            if context.clock.wait(leave, TRY_EVERY):
                return ExitCode.INTERRUPTED if signal.SIGINT in came else ExitCode.DONE
    return None


def carry_out(context: Context, decision: Decision) -> int:
    """Wait until the engine has carried out ``decision``, say what came of it, and return the exit code."""
    answer = answered(context, decision)
    say(answer.text)
    return answer.code


def answered(context: Context, decision: Decision) -> Answer:
    """Wait until the engine has carried out ``decision``; become the engine for it where none runs.

    Ctrl-C leaves the decision to the engine that runs or starts next; a rollback in progress here is ended first.
    """
    leader = Leader(context.repository.common_dir, context.own_leases)
    tick = threading.Event()
    while (answer := answer_to(context.store, decision.id)) is None:
        if not leader.try_lead():
            context.clock.wait(tick, PRINT_EVERY_S)
            continue
        try:
            engine = Engine(context.services(), leader)
            with leave_on_signals(engine.leaving) as came:
                _in_thread(engine.obey_once, lambda: None)
        finally:
            leader.resign()
        if came and answer_to(context.store, decision.id) is None:
            return Answer(ExitCode.INTERRUPTED, "interrupted; the engine that starts next carries it out")
    return answer


def _serve(engine: Engine, printer: Printer, context: Context, came: list[int]) -> int:
    engine.start()
    settings, top = context.settings, context.repository.top
    say(f"watching {settings.branch} of {top} at level {engine.level.value}; Ctrl+C leaves, agents work on")
    try:
        while not context.clock.wait(engine.leaving, PRINT_EVERY_S):
            printer.catch_up()
    finally:
        engine.stop()
        _in_thread(engine.join, printer.catch_up)
    printer.catch_up()
    if engine.failure:
        say(engine.failure)
        return ExitCode.ERROR
    return ExitCode.INTERRUPTED if signal.SIGINT in came else ExitCode.DONE


def _nothing() -> None:
    """Tell no progress: nobody watches."""


def _once(
    engine: Engine, printer: Printer, settle: float, came: list[int], progress: Callable[[], None] = _nothing
) -> int:
    def meanwhile() -> None:
        printer.catch_up()
        progress()

    try:
        outcome = _in_thread(lambda: engine.run_once(settle), meanwhile)
    finally:
        printer.catch_up()
    if came and outcome.result in {"waiting", "healthy"}:  # it did not come to see the whole
        return ExitCode.INTERRUPTED
    moved = "" if outcome.head_before == outcome.head_after else _moved(outcome)
    printer.end_with("outcome", dataclasses.asdict(outcome), f"{outcome.result}{moved} in {outcome.duration_s:.1f} s")
    return outcome.exit_code


def _moved(outcome: Outcome) -> str:
    return f", {outcome.head_before[:12]} → {outcome.head_after[:12]}"


def _in_thread(work: Callable[[], T], meanwhile: Callable[[], object]) -> T:
    """Do ``work`` in a thread of its own to its end, and ``meanwhile`` again and again in this one, for signals."""
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            failed.append(error)

    thread = threading.Thread(target=run, name="rollcage-once")
    thread.start()
    try:
        while thread.is_alive():
            thread.join(PRINT_EVERY_S)
            meanwhile()
    finally:
        thread.join()  # whatever happens here, the engine is not left behind
    if failed:
        raise failed[0]
    return done[0]
