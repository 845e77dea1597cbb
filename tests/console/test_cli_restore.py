"""restore: what a snapshot holds comes back, also after ``rm -rf .git``; asked first, refused to agents."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import git
from tests.console.cli_support import Rollcage, runner
from tests.gitrepo.worlds import status


@pytest.fixture
def rollcage(capsys: pytest.CaptureFixture[str], repository: Path, monkeypatch: pytest.MonkeyPatch) -> Rollcage:
    monkeypatch.chdir(repository)
    return runner(capsys)


def test_a_deleted_git_and_lost_files_come_back(rollcage: Rollcage, repository: Path) -> None:
    (repository / "README").write_text("mine\n")
    (repository / "draft").write_text("draft\n")
    taken = rollcage("snapshot").out.strip()
    head = git(repository, "rev-parse", "HEAD")
    shutil.rmtree(repository / ".git")
    (repository / "draft").unlink()
    asked = rollcage("restore", taken)
    assert asked.code == 2
    assert "--yes" in asked.err
    assert rollcage("restore", "snap-1", "--yes").code == 2
    done = rollcage("restore", "newest", "--yes")
    assert done.code == 0, done.err
    assert "made anew: 1 branch," in done.out
    assert "draft" in done.out
    assert git(repository, "rev-parse", "HEAD") == head
    assert status(repository) == " M README\n?? draft"
    again = rollcage("restore", taken, "--yes", "--only", "files", "--json")
    assert again.records[-1]["done"] == []
    assert again.code == 0


def test_an_agent_may_not(rollcage: Rollcage, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = rollcage("snapshot").out.strip()
    monkeypatch.setenv("ROLLCAGE_AGENT", "executor")
    refused = rollcage("restore", taken, "--yes")
    assert refused.code == 1
    assert "only an operator" in refused.err


def test_where_there_never_was_a_repository_it_says_so(
    rollcage: Rollcage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bare folder").mkdir()
    monkeypatch.chdir(tmp_path / "bare folder")
    ran = rollcage("restore", "newest", "--yes")
    assert ran.code == 2
    assert "not a git repository" in ran.err
