"""``rollcage --auto``: the same engine without a screen, as lines for people or JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..core.clock import iso
from ..core.config import Level
from ..core.coordination.leader import Leader
from ..core.engine import Engine, Outcome
from ..core.errors import ExitCode, LeaseError, RollcageError
from ..core.model import Decision, Event
from ..core.respond import Answer, answer_to
from ..core.text import clean
from .diagnostics import say

if TYPE_CHECKING:
    from .context import Context

PRINT_EVERY_S = 0.1
QUIET_EVENTS = frozenset({"plan"})
"""Left out of the lines for people: the option says the same."""


class Printer:
    """Prints the event stream from where it stood when this was made."""

    def __init__(self, context: Context, *, as_json: bool) -> None:
        """Remember the newest event; only later ones are printed."""
        self._store = context.store
        self._json = as_json
        self._seq = self._store.last_seq()

    def catch_up(self) -> None:
        """Print what is new."""
        while events := self._store.events_since(self._seq, 500):
            for event in events:
                self._print(event)
            self._seq = events[-1].seq

    def tell(self, event: str, body: dict[str, Any]) -> None:
        """Append an event of one's own; printed at once in JSON, not at all for people, who get a sentence."""
        self._store.append_event(event, body)
        if self._json:
            self.catch_up()

    def _print(self, event: Event) -> None:
        if self._json:
            line = json.dumps({"v": 1, "seq": event.seq, "at": iso(event.at), "event": event.event, **event.body})
        elif event.event in QUIET_EVENTS:
            return
        else:
            line = f"{event.at:%H:%M:%S} {event.event:<12} {sentence(event)}"
        print(line, flush=True)


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
                f" (confidence {body.get('confidence'):.2f},"
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
            text += f": {body['reason']}" if body.get("reason") and body.get("verdict") != "edit" else ""
        case "phase":
            done = "snapshot " + str(body["snapshot"]) if body.get("snapshot") else ""
            text = f"{body.get('incident')} phase {body.get('phase')} {body.get('state')} {done}"
        case "step":
            text = f"{body.get('rollback')} {body.get('phase')}.{body.get('number')} {body.get('name')}"
            text += f" {body['subject']}" if body.get("subject") else ""
            text += f": {body.get('state')}" + (f" ({body['note']})" if body.get("note") else "")
        case "verification":
            text = f"{body.get('rollback')} {body.get('state')}" + (f": {body['note']}" if body.get("note") else "")
        case "alert":
            text = f"{body.get('severity')}: {body.get('text')}"
        case _:
            text = " ".join(f"{key}={value}" for key, value in body.items() if not isinstance(value, (dict, list)))
    return clean(" ".join(text.split()), limit=400)


def _passed(passed: bool | None) -> str:
    return {True: "pass", False: "fail", None: "no verdict"}[passed]


@contextmanager
def leave_on_signals(leave: threading.Event) -> Iterator[list[int]]:
    """Within, SIGINT, SIGTERM and SIGHUP only set ``leave``; yields the list of those that came."""
    came: list[int] = []

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

    Raises LeaseError where another engine leads this repository.
    """
    services = context.services()
    leader = Leader(services.repository.common_dir, context.leases)
    if not leader.try_lead():
        raise LeaseError(f"another engine leads this repository: {leader.holder()}; its state is in rollcage health")
    printer = Printer(context, as_json=as_json)
    try:
        engine = Engine(services, leader, level)
        with leave_on_signals(engine.leaving) as came:
            return _once(engine, printer, settle, as_json, came) if once else _serve(engine, printer, services, came)
    finally:
        leader.resign()


def carry_out(context: Context, decision: Decision) -> int:
    """Wait until the engine has carried out ``decision``, say what came of it, and return the exit code."""
    answer = answered(context, decision)
    say(answer.text)
    return answer.code


def answered(context: Context, decision: Decision) -> Answer:
    """Wait until the engine has carried out ``decision``; become the engine for it where none runs."""
    leader = Leader(context.repository.common_dir, context.leases)
    tick = threading.Event()
    while (answer := answer_to(context.store, decision.id)) is None:
        if leader.try_lead():
            try:
                engine = Engine(context.services(), leader)
                with leave_on_signals(threading.Event()):
                    engine.obey_once()
            finally:
                leader.resign()
            if answer_to(context.store, decision.id) is None:
                text = "an engine ended while it carried this out; what it began is finished: see rollcage rollbacks"
                return Answer(ExitCode.ERROR, text)
        else:
            context.clock.wait(tick, PRINT_EVERY_S)
    return answer


def _serve(engine: Engine, printer: Printer, services: Any, came: list[int]) -> int:
    engine.start()
    while not services.clock.wait(engine.leaving, PRINT_EVERY_S):
        printer.catch_up()
    engine.join()
    printer.catch_up()
    if engine.failure:
        say(engine.failure)
        return ExitCode.ERROR
    return ExitCode.INTERRUPTED if signal.SIGINT in came else ExitCode.DONE


def _once(engine: Engine, printer: Printer, settle: float, as_json: bool, came: list[int]) -> int:
    result: list[Outcome | BaseException] = []

    def work() -> None:
        try:
            result.append(engine.run_once(settle))
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            result.append(error)

    thread = threading.Thread(target=work, name="rollcage-once")
    thread.start()
    while thread.is_alive():
        thread.join(PRINT_EVERY_S)
        printer.catch_up()
    printer.catch_up()
    outcome = result[0]
    if isinstance(outcome, RollcageError):
        raise outcome
    if isinstance(outcome, BaseException):
        raise outcome
    if came and outcome.result in {"waiting", "healthy"}:
        return ExitCode.INTERRUPTED
    _print_outcome(printer, outcome, as_json=as_json)
    return outcome.exit_code


def _print_outcome(printer: Printer, outcome: Outcome, *, as_json: bool) -> None:
    printer.tell("outcome", dataclasses.asdict(outcome))
    if as_json:
        return
    moved = (
        ""
        if outcome.head_before == outcome.head_after
        else (f", {outcome.head_before[:12]} → {outcome.head_after[:12]}")
    )
    print(f"{outcome.result}{moved} in {outcome.duration_s:.1f} s", flush=True)
