"""The user's repository is read as it is: where it lies, what is checked out, what somebody is in the middle of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rollcage.core.errors import GitError, UsageError
from rollcage.core.gitrepo.repository import Repository
from tests.conftest import git
from tests.gitrepo.conftest import commit

ODD = ["with space", "ünïcödé", 'a"quote', "new\nline", "-f"]


def conflicting(top: Path) -> None:
    """Give the repository branches main and other that conflict in the file README."""
    git(top, "branch", "other")
    commit(top, {"README": "ours\n"}, "ours")
    git(top, "checkout", "-q", "other")
    commit(top, {"README": "theirs\n"}, "theirs")
    git(top, "checkout", "-q", "main")


def fails(top: Path, *arguments: str) -> None:
    with pytest.raises(AssertionError):
        git(top, *arguments)


@pytest.mark.parametrize("name", ODD)
def test_found_from_any_folder_whatever_its_name(name: str, tmp_path: Path, repository: Path) -> None:
    top = tmp_path / name
    repository.rename(top)
    inner = top / "src" / name
    inner.mkdir(parents=True)
    for start in (top, inner, top / ".git", top / ".git" / "refs"):
        found = Repository.discover(start)
        assert (found.top, found.common_dir, found.is_bare) == (top, top / ".git", False)


@pytest.mark.parametrize("name", ODD)
def test_a_second_worktree_leads_to_the_main_one_and_both_are_listed(
    name: str, tmp_path: Path, repository: Path
) -> None:
    second = tmp_path / name
    git(repository, "worktree", "add", "-q", "-b", "feature", "--", str(second))
    found = Repository.discover(second)
    assert found.top == repository
    trees = found.worktrees()
    assert [(tree.path, tree.branch) for tree in trees] == [(repository, "main"), (second, "feature")]
    assert trees[1].git_dir.parent == repository / ".git/worktrees"
    assert trees[0].head == trees[1].head == found.tip("main")


def test_a_worktree_whose_folder_is_gone_is_left_out(tmp_path: Path, repository: Path) -> None:
    git(repository, "worktree", "add", "-q", str(tmp_path / "second"))
    (tmp_path / "second").rename(tmp_path / "moved")
    assert [tree.path for tree in Repository.discover(repository).worktrees()] == [repository]


def test_bare_repository_with_a_worktree(tmp_path: Path, repository: Path) -> None:
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "-q", "--bare", str(repository), str(bare))
    git(bare, "worktree", "add", "-q", "-b", "feature", str(tmp_path / "second"))
    for start in (bare, bare / "refs", tmp_path / "second"):
        found = Repository.discover(start)
        assert (found.top, found.common_dir, found.is_bare) == (bare, bare, True)
        assert [tree.branch for tree in found.worktrees()] == ["feature"]
        assert found.tip("main") == git(repository, "rev-parse", "main")


def test_a_git_directory_elsewhere(tmp_path: Path) -> None:
    top, elsewhere = tmp_path / "top", tmp_path / "elsewhere"
    git(tmp_path, "init", "-q", "-b", "main", f"--separate-git-dir={elsewhere}", str(top))
    commit(top, {"a": "1"})
    found = Repository.discover(top)
    assert (found.top, found.common_dir) == (top, elsewhere)
    assert [tree.path for tree in found.worktrees()] == [top]


def test_unborn_branch(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main", "new")
    found = Repository.discover(tmp_path / "new")
    assert found.tip("main") is None
    assert not found.branch_exists("main")
    assert found.root_commits() == []
    (tree,) = found.worktrees()
    assert (tree.head, tree.branch, tree.operation) == ("", "main", None)


def test_detached_head(repository: Path) -> None:
    git(repository, "checkout", "-q", "--detach")
    found = Repository.discover(repository)
    (tree,) = found.worktrees()
    assert (tree.head, tree.branch, tree.operation) == (found.tip("main"), None, None)


def test_tips_trees_and_roots(repository: Path) -> None:
    root = git(repository, "rev-parse", "HEAD")
    tip = commit(repository, {"-f": "x"})
    found = Repository.discover(repository)
    assert found.tip("main") == tip
    assert found.tip("missing") is None
    assert found.root_commits() == [root]
    assert found.tree(tip) == git(repository, "rev-parse", "HEAD^{tree}")
    with pytest.raises(GitError, match="no commit deadbeef"):
        found.tree("deadbeef")
    with pytest.raises(UsageError):
        found.tip("-f")


def test_roots_where_only_a_detached_head_exists(repository: Path) -> None:
    root = git(repository, "rev-parse", "HEAD")
    git(repository, "checkout", "-q", "--detach")
    git(repository, "branch", "-q", "-D", "main")
    assert Repository.discover(repository).root_commits() == [root]


def test_no_repository_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"not a git repository: .*-C DIR"):
        Repository.discover(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        Repository.discover(tmp_path / "gone")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_a_repository_of_somebody_else_names_the_setting(repository: Path) -> None:
    os.chown(repository, 12345, 12345)
    with pytest.raises(UsageError, match=r"belongs to another user.*git config --global --add safe.directory '.*shop'"):
        Repository.discover(repository)


@pytest.mark.parametrize(
    ("command", "operation", "branch"),
    [
        (("merge", "other"), "merge", "main"),
        (("cherry-pick", "other"), "cherry-pick", "main"),
        (("revert", "HEAD~1"), "revert", "main"),
        (("rebase", "other"), "rebase", "main"),
        (("rebase", "--apply", "other"), "rebase", "main"),
    ],
)
def test_operations_in_progress(command: tuple[str, ...], operation: str, branch: str, repository: Path) -> None:
    conflicting(repository)
    if operation == "revert":
        commit(repository, {"README": "later\n"}, "later")
    fails(repository, *command)
    (tree,) = Repository.discover(repository).worktrees()
    assert (tree.operation, tree.branch) == (operation, branch)


def test_bisect_keeps_the_branch_that_it_comes_back_to(repository: Path) -> None:
    for number in range(4):
        commit(repository, {"n": str(number)})
    git(repository, "bisect", "start", "HEAD", "HEAD~3")
    (tree,) = Repository.discover(repository).worktrees()
    assert (tree.operation, tree.branch) == ("bisect", "main")


def test_am_in_progress(repository: Path, tmp_path: Path) -> None:
    conflicting(repository)
    (tmp_path / "patch").write_text(git(repository, "format-patch", "--stdout", "-1", "other") + "\n")
    fails(repository, "am", str(tmp_path / "patch"))
    (tree,) = Repository.discover(repository).worktrees()
    assert (tree.operation, tree.branch) == ("am", "main")


def test_between_two_picks_of_a_sequence(repository: Path) -> None:
    conflicting(repository)
    git(repository, "checkout", "-q", "other")
    commit(repository, {"new": "x"}, "second")
    git(repository, "checkout", "-q", "main")
    fails(repository, "cherry-pick", "other~1", "other")
    git(repository, "checkout", "-q", "--ours", "README")
    git(repository, "add", "README")
    git(repository, "commit", "-q", "--allow-empty", "-m", "picked by hand")
    assert not (repository / ".git/CHERRY_PICK_HEAD").exists()
    (tree,) = Repository.discover(repository).worktrees()
    assert tree.operation == "cherry-pick"


def test_an_operation_in_a_second_worktree_is_that_worktrees(repository: Path, tmp_path: Path) -> None:
    conflicting(repository)
    git(repository, "worktree", "add", "-q", str(tmp_path / "second"), "other")
    fails(tmp_path / "second", "rebase", "main")
    main, second = Repository.discover(repository).worktrees()
    assert (main.operation, main.branch) == (None, "main")
    assert (second.operation, second.branch) == ("rebase", "other")
