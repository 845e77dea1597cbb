"""``--auto``: one JSON object a line and nothing else, exit codes that scripts rely on, and no rollback left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollcage.console.auto import Printer, Progress, answered, run_auto, sentence
from rollcage.console.board_reader import BoardReader
from rollcage.console.context import Context
from rollcage.console.engine_host import EngineHost
from rollcage.core.board import Board
from rollcage.core.clock import SystemClock
from rollcage.core.config import Level
from rollcage.core.coordination.leader import TTL, Leader
from rollcage.core.errors import ExitCode, LeaseError
from rollcage.core.model import Event, Hold, IncidentState, RollbackState
from rollcage.core.progress import save_activity
from tests.conftest import git
from tests.loop import GOOD, Shop, eventually
from tests.test_engine import Gate


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """Yield a gate, open; it is open again in the end."""
    gate = Gate(tmp_path)
    yield gate
    gate.open()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def auto(shop: Shop, *, level: Level = Level.AUTO, as_json: bool = True) -> int:
    return run_auto(shop.open(), True, 0.0, as_json, level)


def spawn(shop: Shop, *words: str) -> subprocess.Popen[str]:
    """Start the real program on the shop."""
    command = [sys.executable, "-m", "rollcage", "-C", str(shop.path), "--config", str(shop.path.parent / "shop.yml")]
    return subprocess.Popen(
        [*command, *words],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


# -- lines


def test_every_line_is_an_object_with_its_place_and_the_outcome_is_last(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    assert auto(shop) == ExitCode.DONE
    healthy = lines(capsys)
    assert [line["event"] for line in healthy] == ["outcome"]
    assert healthy[0]["result"] == "healthy"
    shop.break_it()
    assert auto(shop, level=Level.PROPOSE) == ExitCode.WAITING
    told = lines(capsys)
    assert {"v", "seq", "at", "event"} <= set.intersection(*(set(line) for line in told))
    assert {line["v"] for line in told} == {1}
    places = [line["seq"] for line in told]
    assert places == sorted(set(places))
    assert places[0] > healthy[-1]["seq"], "it grows for ever in this state"
    outcome = told[-1]
    assert set(outcome) == {
        *("v", "seq", "at", "event", "result", "incidents", "rollbacks", "head_before", "head_after"),
        *("standby_s", "duration_s"),
    }
    assert (outcome["event"], outcome["result"], outcome["incidents"]) == ("outcome", "waiting", ["inc-1"])


def test_the_line_of_an_event_has_its_own_time_and_place_whatever_is_in_it(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    printer = Printer(shop.context, as_json=True)
    event = shop.services.store.append_event("finding", {"at": "long ago", "seq": 7, "v": 9, "event": "x", "rule": "r"})
    printer.catch_up()
    (line,) = lines(capsys)
    assert (line["v"], line["seq"], line["event"], line["rule"]) == (1, event.seq, "finding", "r")
    assert line["at"] != "long ago"


def test_nothing_comes_behind_the_outcome_though_others_write(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    printer = Printer(shop.context, as_json=True)
    store = shop.services.store
    store.append_event("agent", {"agent": "a"})
    printer.end_with("outcome", {"result": "healthy"}, "healthy")
    assert [line["event"] for line in lines(capsys)] == ["agent", "outcome"]


def test_whoever_sits_at_the_terminal_is_told_each_progress_once(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.incident(shop.finding(agent="executor"))
    progress = Progress(shop.services.store)
    progress.catch_up()
    for text in ("diagnosing", "diagnosing", "", "diagnosing", "rehearsing the options"):
        save_activity(shop.services.store, "inc-1", text)
        progress.catch_up()
    told = ["diagnosing", "diagnosing", "rehearsing the options"]
    assert capsys.readouterr().err.splitlines() == [f"rollcage: inc-1 {text}" for text in told]


def test_people_get_sentences_and_the_result_in_a_word(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.break_it()
    assert auto(shop, as_json=False) == ExitCode.DONE
    out = capsys.readouterr().out.splitlines()
    assert any("finding      " in line and "check tests fails" in line for line in out)
    assert any("decision     opt-1.1 approve by engine" in line for line in out)
    assert out[-1].startswith("recovered, ")
    assert not any("plan_hash" in line for line in out)


@pytest.mark.parametrize(
    "body",
    [
        {"agent": "a", "action": "stop", "by": "ann", "why": "[/] \x1b[31m"},
        {"rollback": "rb-1", "state": "done", "note": "x" * 5_000},
        {},
    ],
)
@pytest.mark.parametrize(
    "event",
    [
        "finding",
        "incident",
        "diagnosis",
        "option",
        "decision",
        "phase",
        "step",
        "verification",
        "agent",
        "alert",
        "lock",
        "issue",
    ],
)
def test_a_sentence_is_one_safe_line_whatever_the_event_says(event: str, body: dict[str, object]) -> None:
    said = sentence(Event(1, SystemClock().now(), event, body))
    assert len(said) <= 400
    assert said.isprintable()


# -- exit codes


def test_the_exit_code_says_what_it_came_to(shop: Shop) -> None:
    shop.mark_good()
    shop.break_it()
    assert auto(shop, level=Level.WATCH) == ExitCode.ESCALATED
    assert auto(shop, level=Level.PROPOSE) == ExitCode.WAITING
    assert auto(shop) == ExitCode.DONE
    assert (shop.path / "calc.py").read_text() == GOOD


def test_another_engine_is_named(shop: Shop) -> None:
    with shop.leading() as leader, pytest.raises(LeaseError, match=f"another engine leads .*{leader.name}"):
        auto(shop)


def test_a_service_that_is_killed_is_replaced_by_the_one_that_stands_by(shop: Shop) -> None:
    first = spawn(shop, "--auto")
    leader = Leader(shop.context.repository.common_dir, shop.context.own_leases)
    eventually(lambda: leader.holder() is not None, "the first engine")
    second = spawn(shop, "--auto")
    assert second.stderr is not None
    assert f"standing by: pid {first.pid} on" in second.stderr.readline()
    first.kill()
    killed = time.monotonic()
    eventually(lambda: f"pid {second.pid} on" in (leader.holder() or ""), "the second engine")
    assert time.monotonic() - killed < TTL
    first.communicate(timeout=60)
    second.send_signal(signal.SIGTERM)
    _, err = second.communicate(timeout=60)
    assert second.returncode == ExitCode.DONE, err


def test_who_stands_by_leaves_when_it_is_told(shop: Shop) -> None:
    with shop.leading():
        process = spawn(shop, "--auto")
        assert process.stderr is not None
        assert "standing by" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == ExitCode.INTERRUPTED


def test_interrupted_while_it_looks_it_says_so_and_leaves_nothing_behind(shop: Shop, gate: Gate) -> None:
    shop.configure(checks=[gate.check("grep -q 'a + b' calc.py")])
    shop.break_it()
    gate.shut()
    process = spawn(shop, "--auto", "--once", "--json")
    gate.await_somebody()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED, err
    assert "outcome" not in out
    assert "Traceback" not in err
    gate.open()
    assert auto(shop) == ExitCode.DONE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_service_that_is_ended_carries_its_rollback_to_the_end(
    shop: Shop, gate: Gate, number: signal.Signals
) -> None:
    shop.configure(checks=[gate.check("grep -q 'a + b' calc.py")])
    shop.mark_good()
    shop.break_it()
    assert auto(shop, level=Level.PROPOSE) == ExitCode.WAITING
    process = spawn(shop, "--auto", "--level", "propose")
    leader = Leader(shop.context.repository.common_dir, shop.context.own_leases)
    eventually(lambda: leader.holder() is not None, "the engine")
    gate.shut()
    shop.context.operator().approve("opt-1.1")
    gate.await_somebody()
    process.send_signal(number)
    eventually(lambda: shop.services.store.rollbacks()[0].state is RollbackState.RUNNING)
    gate.open()
    _, err = process.communicate(timeout=60)
    assert process.returncode == ExitCode.DONE, err
    assert shop.services.store.rollbacks()[0].state is RollbackState.DONE


def test_whether_anybody_reads_concerns_no_rollback(shop: Shop) -> None:
    """``rollcage --auto --once | head -1``"""
    shop.mark_good()
    shop.break_it()
    process = spawn(shop, "--auto", "--once", "--level", "auto")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == ExitCode.DONE
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    assert (shop.path / "calc.py").read_text() == GOOD


def test_standard_output_is_data_only(shop: Shop) -> None:
    """Messages, such as that there are no settings, go to standard error."""
    command = [sys.executable, "-m", "rollcage", "-C", str(shop.path), "--auto", "--once", "--json"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()] == ["outcome"]
    assert "rollcage.yml" in done.stderr


# -- decisions that somebody waits for


def test_who_waits_for_a_decision_becomes_the_engine_where_none_runs(shop: Shop) -> None:
    decision = shop.context.operator().stop_agent("planner")
    assert answered(shop.context, decision).text == "planner: stop done"
    assert shop.services.store.holds()["planner"].hold is Hold.STOPPED


def test_the_engine_that_runs_answers_whoever_waits(shop: Shop) -> None:
    services, context = shop.services, shop.context
    host = EngineHost(services, Leader(context.repository.common_dir, context.own_leases))
    host.start()
    try:
        assert answered(context, context.operator().stop_agent("planner")).text == "planner: stop done"
    finally:
        host.stop()


# -- the engine of a console


def leader_of(context: Context) -> Leader:
    return Leader(context.repository.common_dir, context.own_leases)


def test_a_second_console_attaches_and_takes_over_when_the_first_leaves(shop: Shop) -> None:
    first_context, second_context = shop.context, shop.open()
    first = EngineHost(first_context.services(), leader_of(first_context))
    second_leader = leader_of(second_context)
    second = EngineHost(second_context.services(), second_leader)
    first.start()
    second.start()
    try:
        assert not second_leader.leading
        first.stop()
        eventually(lambda: second_leader.leading, "the second engine")
    finally:
        first.stop()
        second.stop()
    assert second_leader.holder() is None


def test_whoever_stops_an_engine_waits_for_the_end_of_its_rollback(shop: Shop, gate: Gate) -> None:
    """The one who closes the screen and the one who handles a signal may both stop it: neither may leave too early."""
    shop.configure(checks=[gate.check("grep -q 'a + b' calc.py")])
    shop.mark_good()
    shop.break_it()
    auto(shop, level=Level.PROPOSE)
    host = EngineHost(shop.services, leader_of(shop.context))
    host.start()
    gate.shut()
    shop.context.operator().approve("opt-1.1")
    gate.await_somebody()
    leaving = [threading.Thread(target=host.stop) for _ in range(2)]
    for thread in leaving:
        thread.start()
        thread.join(0.2)
    assert all(thread.is_alive() for thread in leaving)
    gate.open()
    for thread in leaving:
        thread.join(60)
    incident = shop.services.store.incident("inc-1")
    assert incident is not None
    assert incident.state is IncidentState.RECOVERED


def test_why_no_engine_runs_is_told_and_mended_without_a_restart(shop: Shop) -> None:
    context = shop.configure(branch="later")
    host = EngineHost(context.services(), leader_of(context))
    host.start()
    try:
        eventually(lambda: context.store.recent_events(10), "the alert")
        (alert,) = context.store.recent_events(10)
        assert str(alert.body["text"]).startswith("no engine: there is no branch later here")
        shop.commit("planner", "begin", {"plan.md": "later\n"})
        git(shop.path, "branch", "later")
        eventually(lambda: leader_of(context).holder() is not None, "the engine")
    finally:
        host.stop()


def test_the_board_follows_what_happens_and_says_when_it_cannot(shop: Shop) -> None:
    context = shop.context
    reader = BoardReader(context, leader_of(context), "propose")
    boards: list[Board] = []
    reader.subscribe(boards.append)
    reader.start()
    try:
        assert reader.current().engine.state == "none"
        assert reader.current().head == shop.head()
        shop.signal("metric", "queue", value=3.0)
        eventually(lambda: boards and boards[-1].series, "the metric on the board")
        with shop.leading():
            eventually(lambda: boards[-1].engine.state == "elsewhere", "the engine on the board")
        context.store.close()
        eventually(lambda: boards[-1].warnings, "the warning")
        assert boards[-1].warnings[0].startswith("this is not up to date: ")
        assert boards[-1].series, "the last board stays"
    finally:
        reader.stop()


def test_a_still_state_gives_no_new_boards(shop: Shop) -> None:
    context = shop.context
    reader = BoardReader(context, leader_of(context), "propose")
    board = reader.current()
    assert reader._read() == board
    assert reader._read() == board


def test_settings_that_were_changed_are_said_to_be_and_not_used(shop: Shop) -> None:
    context = Context(shop.path)
    reader = BoardReader(context, leader_of(context), "propose")
    assert reader.current().warnings == ()
    (shop.path / "rollcage.yml").write_text("version: 1\n")
    again = BoardReader(context, leader_of(context), "propose")
    assert again.current().warnings == (
        "rollcage.yml was changed since it was trusted; what was trusted is in force: see rollcage trust",
    )
    context.close()
