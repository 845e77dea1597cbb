"""Each new commit is told once, also across engines, and a rewritten history is told as such."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rollcage.core.clock import SystemClock
from rollcage.core.config import AgentSettings, CommitSettings, Settings
from rollcage.core.gitrepo.repository import Repository
from rollcage.core.observe.commits import CommitWatcher
from rollcage.core.services import Services, open_services
from rollcage.core.store.identity import identify
from rollcage.core.store.store import Store
from tests.conftest import git

NOW = datetime(2026, 11, 20, 14, tzinfo=UTC)


@pytest.fixture
def services(repository: Path) -> Iterator[Services]:
    found = Repository.discover(repository)
    paths = identify(found.common_dir, found.root_commits)
    store = Store.open(paths, SystemClock())
    settings = Settings(agents={"bob": AgentSettings(commits=CommitSettings(author="bob@bots.example"))})
    yield open_services(found, paths, store, settings, "", SystemClock())
    store.close()


def commit(repository: Path, summary: str, *options: str) -> str:
    (repository / f"{summary}.txt").write_text(summary)
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", summary, *options)
    return git(repository, "rev-parse", "HEAD")


def test_what_was_there_before_is_no_news_and_each_new_commit_is_told_once(
    services: Services, repository: Path
) -> None:
    watcher = CommitWatcher(services)
    assert watcher.look(NOW) == []
    start = git(repository, "rev-parse", "HEAD")
    one = commit(repository, "one", "--author", "Bob <bob@bots.example>")
    two = commit(repository, "two", "-m", "Agent: carol")
    first, second = watcher.look(NOW)
    assert (first.at, first.agent, first.name, first.text) == (NOW, "bob", one, "one")
    assert first.attrs["parents"] == [start]
    assert first.attrs["files"] == ["one.txt"]
    assert first.attrs["branch"] == "main"
    assert "rewritten" not in first.attrs
    assert (second.agent, second.name) == ("carol", two)
    assert watcher.look(NOW) == []


def test_the_next_engine_goes_on_where_this_one_was(services: Services, repository: Path) -> None:
    watcher = CommitWatcher(services)
    watcher.look(NOW)
    watcher.look(NOW)
    sha = commit(repository, "while nobody looked")
    assert [signal.name for signal in CommitWatcher(services).look(NOW)] == [sha]


def test_an_engine_that_died_before_it_could_tell_loses_nothing(services: Services, repository: Path) -> None:
    watcher = CommitWatcher(services)
    watcher.look(NOW)
    watcher.look(NOW)
    sha = commit(repository, "one")
    watcher.look(NOW)
    assert [signal.name for signal in CommitWatcher(services).look(NOW)] == [sha]


def test_an_amended_commit_and_a_reset_are_rewritten_history(services: Services, repository: Path) -> None:
    watcher = CommitWatcher(services)
    start = git(repository, "rev-parse", "HEAD")
    before = commit(repository, "one")
    watcher.look(NOW)
    after = commit(repository, "better", "--amend")
    (told,) = watcher.look(NOW)
    assert (told.name, told.attrs["rewritten"], told.attrs["was"]) == (after, True, before)
    git(repository, "reset", "-q", "--hard", start)
    (told,) = watcher.look(NOW)
    assert (told.name, told.text, told.attrs["rewritten"]) == (start, "start", True)


def test_an_old_head_that_is_gone_is_rewritten_history(services: Services, repository: Path) -> None:
    services.store.set_note("observe:head:main", "1" * 40)
    (told,) = CommitWatcher(services).look(NOW)
    assert (told.text, told.attrs["rewritten"]) == ("start", True)


def test_commits_that_a_merge_brings_are_told(services: Services, repository: Path) -> None:
    watcher = CommitWatcher(services)
    watcher.look(NOW)
    git(repository, "checkout", "-q", "-b", "side")
    side = commit(repository, "side")
    git(repository, "checkout", "-q", "main")
    main = commit(repository, "main")
    git(repository, "merge", "-q", "--no-ff", "-m", "merge", "side")
    merge = git(repository, "rev-parse", "HEAD")
    told = [signal.name for signal in watcher.look(NOW)]
    assert set(told) == {side, main, merge}
    assert told[-1] == merge


def test_a_branch_that_is_not_there_is_no_error(services: Services, repository: Path) -> None:
    git(repository, "branch", "-m", "main", "other")
    assert CommitWatcher(services).look(NOW) == []
