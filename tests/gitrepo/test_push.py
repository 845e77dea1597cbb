"""A branch is sent to the user's remote: plainly, or under a lease where history was rewritten; never by force."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollcage.core.errors import UsageError
from rollcage.core.gitrepo.mirror import Mirror
from rollcage.core.gitrepo.push import fetch_into_mirror, look_at_remote, push_branch, remote_of
from rollcage.core.gitrepo.repository import Repository
from tests.conftest import git
from tests.gitrepo.conftest import commit, mirror_of


@pytest.fixture
def remote(repository: Path, tmp_path: Path) -> Path:
    """Return a bare repository that is the remote ``origin`` and has main."""
    there = tmp_path / "there.git"
    git(tmp_path, "clone", "-q", "--bare", str(repository), str(there))
    git(repository, "remote", "add", "origin", str(there))
    return there


@pytest.fixture
def mirror(repository: Path, remote: Path, tmp_path: Path) -> Mirror:
    return mirror_of(repository, tmp_path / "state")


def of(top: Path) -> Repository:
    return Repository.discover(top)


def somebody(remote: Path, tmp_path: Path) -> str:
    """Let somebody else push a commit; return it."""
    theirs = tmp_path / "theirs"
    git(tmp_path, "clone", "-q", str(remote), str(theirs))
    made = commit(theirs, {"theirs": "theirs"})
    git(theirs, "push", "-q", "origin", "main")
    return made


def refs(top: Path) -> str:
    return git(top, "for-each-ref")


def test_the_remote_is_chosen_as_git_push_does(repository: Path, remote: Path) -> None:
    here = of(repository)
    assert remote_of(here, "main") == "origin"
    git(repository, "remote", "add", "other", str(remote))
    git(repository, "config", "branch.main.remote", "other")
    assert remote_of(here, "main") == "other"
    git(repository, "config", "remote.pushDefault", "origin")
    assert remote_of(here, "main") == "origin"
    git(repository, "config", "branch.main.pushRemote", "--upload-pack=evil")
    with pytest.raises(UsageError, match="not a name of a remote"):
        remote_of(here, "main")


def test_without_a_remote_there_is_none(repository: Path) -> None:
    assert remote_of(of(repository), "main") is None


def test_a_branch_is_sent_and_again_without_harm(repository: Path, remote: Path) -> None:
    head = commit(repository, {"a": "1"})
    for _ in range(2):
        assert push_branch(of(repository), "main", "origin").sha == head
    assert git(remote, "rev-parse", "main") == head


def test_the_branch_that_it_follows_there_is_the_one_sent_to(repository: Path, remote: Path) -> None:
    git(remote, "branch", "trunk", "main")
    git(repository, "config", "branch.main.remote", "origin")
    git(repository, "config", "branch.main.merge", "refs/heads/trunk")
    head = commit(repository, {"a": "1"})
    assert push_branch(of(repository), "main", "origin").state == "pushed"
    assert git(remote, "rev-parse", "trunk") == head
    assert git(remote, "rev-parse", "main") != head


@pytest.mark.parametrize("mirrored", [False, True])
def test_what_somebody_else_pushed_is_never_overwritten(
    repository: Path, remote: Path, tmp_path: Path, mirrored: bool
) -> None:
    theirs = somebody(remote, tmp_path)
    commit(repository, {"a": "1"})
    if mirrored:  # which git push would force
        git(repository, "config", "remote.origin.mirror", "true")
    assert push_branch(of(repository), "main", "origin").state == "rejected"
    assert git(remote, "rev-parse", "main") == theirs


def test_rewritten_history_goes_under_a_lease_on_what_we_had(repository: Path, remote: Path, tmp_path: Path) -> None:
    start, bad = git(repository, "rev-parse", "HEAD"), commit(repository, {"bad": "1"})
    push_branch(of(repository), "main", "origin")
    git(repository, "update-ref", "refs/heads/main", start)
    done = push_branch(of(repository), "main", "origin", expect=bad, rewritten=True)
    assert (done.state, git(remote, "rev-parse", "main")) == ("pushed", start)
    theirs = somebody(remote, tmp_path)
    assert push_branch(of(repository), "main", "origin", expect=bad, rewritten=True).state == "rejected"
    assert git(remote, "rev-parse", "main") == theirs


@pytest.mark.parametrize("expect", ["", "theirs"])
def test_a_lease_on_what_we_never_had_is_refused(repository: Path, remote: Path, tmp_path: Path, expect: str) -> None:
    theirs = somebody(remote, tmp_path)
    git(repository, "fetch", "-q", "origin")
    git(repository, "commit", "-q", "--amend", "-m", "rewritten")
    expected = theirs if expect else ""
    assert push_branch(of(repository), "main", "origin", expect=expected, rewritten=True).state == "refused"
    assert git(remote, "rev-parse", "main") == theirs


def test_the_users_hook_has_its_say_and_the_remotes_too(repository: Path, remote: Path) -> None:
    commit(repository, {"a": "1"})
    for place, name, words in ((repository / ".git", "pre-push", "no pushing today"), (remote, "update", "protected")):
        hook = place / "hooks" / name
        hook.write_text(f"#!/bin/sh\necho {words} >&2\nexit 1\n")
        hook.chmod(0o755)
        done = push_branch(of(repository), "main", "origin")
        assert done.state == "refused"
        assert words in done.words
        hook.unlink()
    assert push_branch(of(repository), "main", "origin").state == "pushed"


def test_a_remote_that_is_away_is_told_apart_and_secrets_are_masked(repository: Path) -> None:
    here = of(repository)
    git(repository, "remote", "add", "origin", "http://ann:s3cret@127.0.0.1:1/shop.git")
    done = push_branch(here, "main", "origin")
    assert done.state == "unreachable"
    assert "s3cret" not in done.words
    assert look_at_remote(here, "main", "origin").state == "unreachable"


def test_a_remote_that_runs_a_command_is_refused(repository: Path, tmp_path: Path) -> None:
    git(repository, "remote", "add", "origin", f"ext::touch {tmp_path}/ran")
    assert push_branch(of(repository), "main", "origin").state == "refused"
    assert not (tmp_path / "ran").exists()


def test_a_push_that_takes_too_long_is_stopped(repository: Path, remote: Path) -> None:
    commit(repository, {"a": "1"})
    hook = repository / ".git/hooks/pre-push"
    hook.write_text("#!/bin/sh\nsleep 60\n")
    hook.chmod(0o755)
    assert push_branch(of(repository), "main", "origin", timeout=0.3).state == "unreachable"


def test_what_the_remote_has_is_fetched_into_the_mirror_alone(
    repository: Path, remote: Path, mirror: Mirror, tmp_path: Path
) -> None:
    theirs = somebody(remote, tmp_path)
    before = refs(repository)
    assert fetch_into_mirror(of(repository), mirror, "main", "origin").sha == theirs
    assert refs(repository) == before
    assert not (repository / ".git/FETCH_HEAD").exists()
    assert mirror.git.text("cat-file", "-t", theirs) == "commit"
    absent = of(repository).git.run("cat-file", "-e", theirs, ok=range(256))
    assert absent.status != 0
    assert mirror.git.text("rev-list", "--count", theirs) == "2"
