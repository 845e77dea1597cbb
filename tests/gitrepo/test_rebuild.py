"""A deleted ``.git`` is made anew from the mirror, with the working tree as it is."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rollcage.core.errors import RefusedError
from rollcage.core.gitrepo.mirror import Mirror
from rollcage.core.gitrepo.rebuild import rebuild
from rollcage.core.gitrepo.repository import Repository
from rollcage.core.gitrepo.snapshot import take
from tests.conftest import git
from tests.gitrepo.conftest import commit, mirror_of
from tests.gitrepo.worlds import files_of, status, write

AT = datetime(2026, 11, 20, 14, 2, 10, tzinfo=UTC)
UUID = "0b4a2b53-7e2a-4f3e-9f3e-1f0c5a3b2d11"


@pytest.fixture
def mirror(repository: Path, tmp_path: Path) -> Mirror:
    return mirror_of(repository, tmp_path / "state")


def picture(top: Path) -> dict[str, object]:
    return {
        "refs": git(top, "for-each-ref"),
        "head": git(top, "symbolic-ref", "HEAD"),
        "index": git(top, "ls-files", "--stage"),
        "status": status(top),
        "remotes": git(top, "remote", "-v"),
        "files": files_of(top),
        "sound": git(top, "fsck", "--strict", "--no-dangling"),
    }


def test_branches_tags_index_remotes_hooks_and_worktrees_come_back(
    repository: Path, mirror: Mirror, tmp_path: Path
) -> None:
    commit(repository, {"a": "1", "staged": "1"})
    git(repository, "tag", "-a", "v1", "-m", "one")
    git(repository, "remote", "add", "origin", "https://example.com/shop.git")
    git(repository, "update-ref", "refs/remotes/origin/main", "HEAD~1")
    git(repository, "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main")
    other = tmp_path / "other tree"
    git(repository, "worktree", "add", "-q", "-b", "side/ways", str(other))
    commit(other, {"b": "side"})
    write(other, {"b": "edit"})  # as many bytes, in the same second
    write(repository, {"a": "dirty", "staged": "2", "new": "untracked"})
    git(repository, "add", "staged")
    hook = repository / ".git/hooks/pre-push"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0o755)
    before = {tree: picture(tree) for tree in (repository, other)}
    snapshot = take(mirror.repository, mirror, "then", AT).commit
    shutil.rmtree(repository / ".git")
    done = rebuild(mirror, snapshot, UUID)
    assert {tree: picture(tree) for tree in (repository, other)} == before
    assert hook.stat().st_mode & 0o100
    assert done.left == ()
    assert (repository / ".git/rollcage/id").read_text() == f"{UUID}\n"
    assert not (repository / ".git/objects/info/alternates").exists()
    commit(repository, {"after": "works"})
    assert sorted(path.name for path in repository.iterdir() if path.name.startswith(".")) == [".git"]


def test_commits_seen_after_the_snapshot_are_there_and_nothing_seems_staged(repository: Path, mirror: Mirror) -> None:
    snapshot = take(mirror.repository, mirror, "then", AT).commit
    newer = commit(repository, {"a": "1"})
    git(repository, "branch", "more")
    assert mirror.keep_branches()
    assert not mirror.keep_branches()
    write(repository, {"a": "dirty"})
    shutil.rmtree(repository / ".git")
    done = rebuild(mirror, snapshot, UUID)
    assert done.branches == {"main": newer, "more": newer}
    assert status(repository) == " M a"
    assert git(repository, "fsck") == ""


def test_branches_are_followed_in_name_and_never_forgotten_with_the_repository(
    repository: Path, mirror: Mirror
) -> None:
    git(repository, "branch", "a")
    mirror.keep_branches()
    git(repository, "branch", "-D", "a")
    git(repository, "branch", "a/b")
    mirror.keep_branches()
    names = ("for-each-ref", "--format=%(refname:lstrip=3)", "refs/rollcage/branches")
    assert mirror.git.text(*names).split() == ["a/b", "main"]
    shutil.rmtree(repository / ".git")
    git(repository, "init", "-q", "-b", "main")
    assert not mirror.keep_branches()
    assert mirror.git.text(*names).split() == ["a/b", "main"]


def test_a_merge_in_progress_comes_back(repository: Path, mirror: Mirror) -> None:
    git(repository, "checkout", "-q", "-b", "side")
    commit(repository, {"README": "side\n"})
    git(repository, "checkout", "-q", "main")
    commit(repository, {"README": "main\n"})
    Repository.discover(repository).git.run("merge", "-q", "side", ok=(1,))
    before = picture(repository)
    snapshot = take(mirror.repository, mirror, "then", AT).commit
    shutil.rmtree(repository / ".git")
    rebuild(mirror, snapshot, UUID)
    assert picture(repository) == before
    assert Repository.discover(repository).worktrees()[0].operation == "merge"


@pytest.mark.parametrize("form", ["bare", "sha256"])
def test_other_forms_of_repositories(form: str, tmp_path: Path) -> None:
    top = tmp_path / "shop"
    git(tmp_path, "init", "-q", "-b", "main", *(["--object-format=sha256"] if form == "sha256" else []), str(top))
    head = commit(top, {"a": "1"})
    if form == "bare":
        git(tmp_path, "clone", "-q", "--bare", str(top), "bare.git")
        top = tmp_path / "bare.git"
    mirror = mirror_of(top, tmp_path / "state")
    snapshot = take(mirror.repository, mirror, "then", AT).commit
    shutil.rmtree(mirror.repository.common_dir)
    rebuild(mirror, snapshot, UUID)
    assert git(top, "rev-parse", "HEAD") == head
    assert Repository.discover(top).is_bare == (form == "bare")
    assert git(top, "fsck") == ""


def test_a_git_directory_that_is_there_is_left_alone(repository: Path, mirror: Mirror) -> None:
    snapshot = take(mirror.repository, mirror, "then", AT).commit
    with pytest.raises(RefusedError) as refused:
        rebuild(mirror, snapshot, UUID)
    assert refused.value.code == "git_exists"
