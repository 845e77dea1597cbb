"""approve, reject, edit, rollback, stop: what is recorded, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollcage.console.context import Context
from rollcage.core.coordination.leader import Leader
from rollcage.core.model import DecisionVerdict
from tests.console.cli_support import Rollcage, runner
from tests.console.filled_state import fill


@pytest.fixture
def rollcage(capsys: pytest.CaptureFixture[str], repository: Path, monkeypatch: pytest.MonkeyPatch) -> Rollcage:
    monkeypatch.chdir(repository)
    return runner(capsys)


@pytest.fixture
def filled(repository: Path) -> Iterator[Context]:
    context = Context(repository)
    fill(context, repository)
    yield context
    context.close()


@pytest.fixture
def engine(filled: Context) -> Iterator[Leader]:
    """Lead the repository, as an engine that carries nothing out."""
    leader = Leader(filled.repository.common_dir, filled.own_leases)
    assert leader.try_lead()
    yield leader
    leader.resign()


def verdicts(context: Context) -> list[DecisionVerdict]:
    return [decision.verdict for decision in context.store.decisions()]


def test_an_approval_is_recorded_for_the_engine_that_runs(rollcage: Rollcage, filled: Context, engine: Leader) -> None:
    ran = rollcage("approve", "opt-1.1", "--confirm", "lose 2 lines")
    assert ran.code == 0
    assert engine.name in ran.err
    (decision,) = filled.store.decisions()
    assert (decision.option, decision.plan_hash, decision.taken) == ("opt-1.1", "a" * 64, False)


def test_without_an_engine_it_is_recorded_and_said_to_wait(rollcage: Rollcage, filled: Context) -> None:
    ran = rollcage("reject", "opt-1.1")
    assert ran.code == 3
    assert "no engine is running" in ran.err
    assert verdicts(filled) == [DecisionVerdict.REJECT]


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["approve", "opt-9.9"], 2, "there is no option opt-9.9"),
        (["approve", "opt-1.1"], 1, "--confirm 'lose 2 lines'"),
        (["approve", "opt-1.1", "--confirm", "yes"], 1, "--confirm 'lose 2 lines'"),
        (["approve", "opt-1.1", "--confirm", "lose 2 lines", "--plan", "b" * 64], 1, "look at it again"),
        (["rollback", "opt-1.1"], 2, "needs --yes"),
        (["rollback", "opt-1.1", "--yes"], 1, "--confirm 'lose 2 lines'"),
        (["rollback", "opt-1.1", "--confirm", "yes"], 1, "--confirm 'lose 2 lines'"),
        (["undo", "rb-9"], 2, "there is no rollback rb-9"),
        (["pause", "nobody"], 2, "there is no agent 'nobody'"),
    ],
)
def test_what_may_not_be_decided_is_refused_and_not_recorded(
    rollcage: Rollcage, filled: Context, arguments: list[str], code: int, problem: str
) -> None:
    ran = rollcage(*arguments)
    assert ran.code == code
    assert problem in ran.err
    assert verdicts(filled) == []


def test_an_agent_may_not_approve(rollcage: Rollcage, filled: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLCAGE_AGENT", "executor")
    ran = rollcage("approve", "opt-1.1", "--confirm", "lose 2 lines")
    assert ran.code == 1
    assert "only an operator decides" in ran.err
    assert verdicts(filled) == []
    assert [record.outcome for record in filled.store.audit_records()] == ["refused"]


def editor(tmp_path: Path, old: str, new: str) -> str:
    """Return an $EDITOR that replaces ``old`` by ``new`` in the file."""
    program = tmp_path / "editor.py"
    replace = f"file.write_text(file.read_text().replace({old!r}, {new!r}))"
    program.write_text(f"import pathlib, sys\nfile = pathlib.Path(sys.argv[1])\n{replace}\n")
    return f"{sys.executable} {program}"


def test_an_edited_plan_is_handed_to_the_engine(
    rollcage: Rollcage, filled: Context, engine: Leader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITOR", editor(tmp_path, "Take back x", "Take x back"))
    assert rollcage("edit", "opt-1.1").code == 0
    (decision,) = filled.store.decisions()
    assert decision.verdict is DecisionVerdict.EDIT
    assert "Take x back" in decision.reason


def test_a_plan_edited_into_nonsense_is_refused_and_one_left_alone_stays(
    rollcage: Rollcage, filled: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITOR", editor(tmp_path, "targets:", "tragets:"))
    ran = rollcage("edit", "opt-1.1")
    assert ran.code == 2
    assert "tragets" in ran.err
    monkeypatch.setenv("EDITOR", "true")
    assert "nothing was changed" in rollcage("edit", "opt-1.1").err
    monkeypatch.setenv("EDITOR", "false")
    assert rollcage("edit", "opt-1.1").code == 2
    assert verdicts(filled) == []


def test_nothing_to_stop_is_no_error(rollcage: Rollcage) -> None:
    ran = rollcage("stop", "--all", "--yes")
    assert ran.code == 0
    assert "no agent runs" in ran.err


def test_an_agent_is_run_and_its_exit_code_is_ours(repository: Path) -> None:
    """In a process of its own: the agent's output goes to the real standard output."""
    command = [sys.executable, "-m", "rollcage", "run", "ann", "--stage", "planner", "--"]
    done = subprocess.run(
        [*command, "sh", "-c", "echo hi; exit 7"], cwd=repository, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (7, "hi\n")
    missing = subprocess.run([*command, "no-such-command"], cwd=repository, capture_output=True, check=False)
    assert missing.returncode == 125
