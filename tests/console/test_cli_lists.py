"""The lists and show: tables for people, JSON lines for programs, from a real store."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rollcage.console.context import Context
from rollcage.core.coordination.embedded import EmbeddedLeases
from rollcage.core.coordination.leases import Waiting
from rollcage.core.model import Checkpoint
from rollcage.core.store.outgoing import WAITING, OutgoingPush
from tests.console.cli_support import Rollcage, runner
from tests.console.filled_state import AT, fill


@pytest.fixture
def rollcage(capsys: pytest.CaptureFixture[str], repository: Path, monkeypatch: pytest.MonkeyPatch) -> Rollcage:
    monkeypatch.chdir(repository)
    return runner(capsys)


@pytest.fixture
def context(repository: Path) -> Iterator[Context]:
    context = Context(repository)
    yield context
    context.close()


@pytest.fixture
def filled(context: Context, repository: Path) -> Context:
    fill(context, repository)
    return context


LISTS = ["agents", "locks", "incidents", "rollbacks", "snapshots", "audit", "signals", "options"]


@pytest.mark.parametrize("verb", LISTS)
def test_an_empty_list_is_empty_for_programs_and_a_sentence_for_people(rollcage: Rollcage, verb: str) -> None:
    machine, person = rollcage(verb, "--json"), rollcage(verb)
    assert (machine.code, machine.out) == (0, "")
    assert (person.code, person.out) == (0, "")
    assert person.err.startswith("rollcage: ")


@pytest.mark.parametrize(
    ("verb", "name", "id_"),
    [
        ("incidents", "incident", "inc-1"),
        ("options", "option", "opt-1.1"),
        ("rollbacks", "rollback", "rb-1"),
        ("snapshots", "snapshot", "snap-1"),
    ],
)
def test_lists_are_json_lines_for_programs_and_tables_for_people(
    rollcage: Rollcage, filled: Context, verb: str, name: str, id_: str
) -> None:
    (record,) = rollcage(verb, "--json").records
    assert (record["event"], record["id"]) == (name, id_)
    header, row = rollcage(verb).out.splitlines()
    assert header.startswith("id ")
    assert row.startswith(f"{id_} ")


def test_the_option_has_the_documented_form(rollcage: Rollcage, filled: Context) -> None:
    (record,) = rollcage("options", "inc-1", "--json").records
    assert record.keys() == {
        *("event", "id", "incident", "rank", "type", "target_commits", "affected_files", "estimated_recovery_time"),
        *("risk_level", "risk_points", "risk_factors", "side_effects", "required_validation", "plan_hash", "rehearsal"),
    }
    assert record["rehearsal"].keys() >= {"applies", "tree", "conflicts", "lost_lines", "lost_commits", "checks"}


def test_foreign_text_is_no_markup_and_no_escape(rollcage: Rollcage, filled: Context) -> None:
    assert "tests fail [/]" in rollcage("incidents").out
    for verb in ("signals", "incidents"):
        assert "\x1b" not in rollcage(verb).out


def test_signals_are_exported_as_replay_reads_them(rollcage: Rollcage, filled: Context, tmp_path: Path) -> None:
    exported = rollcage("signals", "--export")
    assert exported.records == [
        {
            "at": "2026-11-20T14:02:31.120000Z",
            "agent": "executor",
            "kind": "metric",
            "name": "memory_usage",
            "value": 3e9,
            "unit": "B",
        },
        {
            "at": "2026-11-20T14:02:31.120000Z",
            "agent": "executor",
            "kind": "error",
            "name": "error",
            "text": "é [/]",
        },
    ]
    (tmp_path / "signals.jsonl").write_text(exported.out)
    replayed = rollcage("replay", str(tmp_path / "signals.jsonl"))
    assert (replayed.code, replayed.out) == (0, "")


def test_replay_prints_findings_by_other_rules_also_outside_of_a_repository(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = {"at": "2026-11-20T14:02:31Z", "agent": "a", "kind": "metric", "name": "queue", "value": 150}
    (tmp_path / "signals.jsonl").write_text(json.dumps(line) + "\n")
    (tmp_path / "rules.yml").write_text("rules: {queue: {warning: 100}}\n")
    replay = runner(capsys)
    assert replay("replay", "signals.jsonl", "--json").records == []
    (finding,) = replay("replay", "signals.jsonl", "--rules", "rules.yml", "--json").records
    assert (finding["event"], finding["rule"], finding["severity"]) == ("finding", "queue", "warning")
    (tmp_path / "signals.jsonl").write_text("{}\n")
    damaged = replay("replay", "signals.jsonl")
    assert damaged.code == 2
    assert "line 1" in damaged.err


@pytest.mark.parametrize(
    ("id_", "says"),
    [
        ("inc-1", ["tests fail", "check_failed", "opt-1.1"]),
        ("opt-1.1", ["SINGLE_COMMIT", "loses: lose 2 lines", "--plan aaaaaaaaaaaa --confirm 'lose 2 lines'"]),
        ("rb-1", ["by ann@host", "stop_agent executor"]),
        ("snap-1", ["app.db"]),
    ],
)
def test_show_tells_all_of_one(rollcage: Rollcage, filled: Context, id_: str, says: list[str]) -> None:
    shown = rollcage("show", id_)
    assert shown.code == 0
    for text in says:
        assert text in shown.out
    (record,) = rollcage("show", id_, "--json").records
    assert record["id"] == id_


def test_show_diff_is_the_change_alone(rollcage: Rollcage, filled: Context) -> None:
    assert rollcage("show", "opt-1.1", "--diff").out == "-shop [/]\n+shop\n\n"
    shown = rollcage("show", "rb-1", "--diff")
    assert "+shop [/]" in shown.out
    assert rollcage("show", "inc-1", "--diff").code == 2


def test_health_is_the_exit_code(rollcage: Rollcage, filled: Context) -> None:
    ran = rollcage("health", "--json")
    (report,) = ran.records
    assert ran.code == 4
    assert report["overall_status"] == "CRITICAL"
    assert report.keys() >= {
        *("timestamp", "overall_status", "agent_statuses", "performance_metrics", "quality_metrics", "recommendations"),
    }
    assert rollcage("health").out.startswith("CRITICAL")


def test_health_of_a_quiet_repository_is_0(rollcage: Rollcage) -> None:
    assert rollcage("health").code == 0


def test_audit_is_verified(rollcage: Rollcage, context: Context) -> None:
    import sqlite3

    rollcage("init")
    assert rollcage("audit", "--verify").code == 0
    with sqlite3.connect(context.paths.state_db) as connection:
        connection.execute("UPDATE audit SET body = replace(body, 'rollcage.yml', 'harmless.yml')")
    connection.close()
    ran = rollcage("audit", "--verify")
    assert ran.code == 1
    assert "record 1" in ran.err
    assert rollcage("audit", "--verify", "--json").records[0]["ok"] is False


def test_locks_show_who_holds_them(rollcage: Rollcage, context: Context) -> None:
    held = context.leases.acquire("issue/42", "executor", ttl=60)
    (record,) = rollcage("locks", "--json").records
    assert (record["event"], record["name"], record["token"]) == ("lock", "issue/42", held.token)
    assert "issue/42" in rollcage("locks").out
    assert rollcage("show", "issue/42", "--json").records[0]["holder"] == "executor"


def test_locks_show_permits_and_who_waits_for_how_long_in_which_circle(
    rollcage: Rollcage, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = context.leases
    leases.acquire("gpu", "ann", permits=2, session="a")
    leases.acquire("db", "bob", session="b")
    waiter = threading.Thread(target=lambda: leases.acquire("db", "ann", wait=30, session="a"))
    waiter.start()
    while not leases.list()[0].waiters:
        assert waiter.is_alive()
    db, gpu = rollcage("locks", "--json").records
    assert ([each["holder"] for each in db["waiters"]], db["permits"], db["cycles"]) == (["ann"], 1, [])
    assert (gpu["waiters"], gpu["permits"], gpu["slots"]) == ([], 2, 1)
    out = rollcage("locks").out
    assert "ann 0 s" in out or "ann 1 s" in out
    assert "1 of 2" in out
    # Such a wait is refused before it begins; of other machines' it may be found only later.
    log = leases.wait_log()
    unseen = Waiting("gpu", "b", "bob", 99, 2, 2, 1.0)
    monkeypatch.setattr(EmbeddedLeases, "wait_log", lambda _: replace(log, waitings=(*log.waitings, unseen)))
    circle = ["ann", "db", "bob", "gpu", "ann"]
    assert [record["cycles"] for record in rollcage("locks", "--json").records] == [[circle], [circle]]
    ran = rollcage("locks")
    assert " > ".join(circle) in ran.out
    assert "1 in deadlock" in ran.err
    leases.break_("db", "ops", "the test is over", lambda *record: None)
    waiter.join(timeout=30)


def test_checkpoints_have_a_list_of_their_own_that_snapshots_point_at(rollcage: Rollcage, filled: Context) -> None:
    filled.store.save_checkpoint(Checkpoint("chk-1", AT, "a" * 40, "/nowhere", 2_000_000, ("app.db",), ("models/",)))
    (snapshot,) = rollcage("snapshots", "--json").records
    assert (snapshot["id"], snapshot["kind"]) == ("snap-1", "snapshot")
    assert "1 checkpoint of data at good commits beside: rollcage snapshots --checkpoints" in rollcage("snapshots").err
    (checkpoint,) = rollcage("snapshots", "--checkpoints", "--json").records
    assert (checkpoint["event"], checkpoint["kind"], checkpoint["sha"]) == ("checkpoint", "checkpoint", "a" * 40)
    assert "chk-1  checkpoint" in rollcage("snapshots", "--checkpoints").out
    assert "models/" in rollcage("show", "chk-1").out


def test_a_push_that_waits_is_said_by_health_and_doctor(rollcage: Rollcage, filled: Context) -> None:
    push = OutgoingPush("out-1", AT, "main", "origin", "a" * 40, "", False, (), "rb-1", WAITING, 2, AT, "no route")
    filled.store.save_outgoing(push)
    line = "the push of main waits for origin (out-1, tries so far: 2, next 14:02:31 UTC): no route"
    assert line in rollcage("health", "--json").records[0]["recommendations"]
    assert line in [found["detail"] for found in rollcage("doctor", "--json").records]


def test_lists_of_a_known_repository_need_no_git(
    rollcage: Rollcage, filled: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    for verb in ("incidents", "options", "rollbacks", "snapshots", "audit"):
        assert rollcage(verb).code == 0
    assert rollcage("show", "inc-1").code == 0


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("rollcage restore sn", ["snap-1"]),
        ("rollcage approve ", ["opt-1.1"]),
        ("rollcage show ", ["inc-1", "opt-1.1", "rb-1", "snap-1"]),
        ("rollcage undo opt", []),
    ],
)
def test_a_shell_completes_ids(
    rollcage: Rollcage, filled: Context, monkeypatch: pytest.MonkeyPatch, words: str, found: list[str]
) -> None:
    monkeypatch.setenv("_ROLLCAGE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", "2")
    assert [line.removeprefix("plain,") for line in rollcage().out.split()] == found
