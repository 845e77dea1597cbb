"""The mirror borrows the user's objects, never changes them, and keeps what it must for ever."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rollcage.core.errors import GitError, StoreError
from rollcage.core.gitrepo.mirror import Mirror
from rollcage.core.gitrepo.repository import Repository
from tests.conftest import git
from tests.gitrepo.conftest import commit, mirror_of


@pytest.mark.parametrize("name", ["plain", "with space", "ünïcödé", '"quoted"', "#hash", "new\nline", "back\\slash"])
def test_it_reads_the_users_objects_whatever_the_path(name: str, repository: Path, tmp_path: Path) -> None:
    top = tmp_path / name
    repository.rename(top)
    tip = git(top, "rev-parse", "HEAD")
    mirror = mirror_of(top, tmp_path / f"state {name}")
    assert mirror.git.text("cat-file", "-t", tip) == "commit"
    assert mirror.git.text("count-objects").startswith("0 objects")


def test_new_commits_are_seen_without_asking(repository: Path, mirror: Mirror) -> None:
    assert mirror.git.text("cat-file", "-t", commit(repository, {"a": "1"})) == "commit"


def test_ensure_is_idempotent_and_follows_a_moved_repository(repository: Path, mirror: Mirror, tmp_path: Path) -> None:
    tip = git(repository, "rev-parse", "HEAD")
    before = {file: file.stat().st_mtime_ns for file in mirror.path.rglob("*") if file.is_file()}
    mirror.ensure()
    assert before == {file: file.stat().st_mtime_ns for file in mirror.path.rglob("*") if file.is_file()}
    repository.rename(tmp_path / "moved")
    assert mirror_of(tmp_path / "moved", mirror.path.parent).git.text("cat-file", "-t", tip) == "commit"


@pytest.mark.parametrize("missing", ["HEAD", "config", "objects/info/alternates", "objects", "refs", "info"])
def test_a_half_made_mirror_is_mended(missing: str, mirror: Mirror) -> None:
    place = mirror.path / missing
    shutil.rmtree(place) if place.is_dir() else place.write_text("[damaged")
    mirror.ensure()
    tip = mirror.repository.tip("main")
    assert tip is not None
    assert mirror.git.text("cat-file", "-t", tip) == "commit"
    assert mirror.git.text("config", "core.bare") == "true"


def test_the_users_configuration_and_hooks_have_no_say(repository: Path, mirror: Mirror, own_home: Path) -> None:
    (own_home / ".gitconfig").write_text('[merge "mine"]\n\tdriver = touch /nowhere\n')
    git(repository, "config", "merge.mine.driver", "false")
    assert mirror.git.run("config", "--get-regexp", "merge.mine", ok=(1,)).out == b""


def test_what_is_kept_survives_the_loss_of_the_users_repository(repository: Path, mirror: Mirror) -> None:
    first = commit(repository, {"a": "1"})
    ref = mirror.keep(first, "Before: the rollback!")
    assert ref == f"refs/rollcage/kept/before-the-rollback/{first}"
    second = commit(repository, {"b/c": "2"})
    mirror.keep(second, "later")
    assert mirror.keep(second, "later") == f"refs/rollcage/kept/later/{second}"
    shutil.rmtree(repository)
    assert mirror.git.text("show", f"{second}:b/c") == "2"
    assert mirror.git.run("fsck", "--full", "--strict", "--connectivity-only", second).status == 0
    assert mirror.git.text("rev-list", "--count", second) == "3"


def test_keeping_again_copies_only_what_is_new(repository: Path, mirror: Mirror) -> None:
    commit(repository, {"big": bytes(range(256)) * 4_000})
    mirror.keep(git(repository, "rev-parse", "HEAD"), "one")
    packs = set((mirror.objects / "pack").glob("*.pack"))
    mirror.keep(commit(repository, {"small": "x"}), "two")
    (new,) = set((mirror.objects / "pack").glob("*.pack")) - packs
    assert new.stat().st_size < 2_000


def test_keeping_what_does_not_exist_is_an_error(mirror: Mirror) -> None:
    with pytest.raises(GitError):
        mirror.keep("1" * 40, "x")


def test_nothing_is_written_in_the_users_repository(repository: Path, mirror: Mirror) -> None:
    before = {file: file.stat().st_mtime_ns for file in repository.rglob("*")}
    mirror.ensure()
    mirror.keep(git(repository, "rev-parse", "HEAD"), "x")
    assert before == {file: file.stat().st_mtime_ns for file in repository.rglob("*")}


def test_a_shallow_clone_ends_where_it_ends(repository: Path, tmp_path: Path) -> None:
    for number in range(3):
        commit(repository, {"n": str(number)})
    git(tmp_path, "clone", "-q", "--depth=2", f"file://{repository}", "shallow")
    mirror = mirror_of(tmp_path / "shallow", tmp_path / "state")
    tip = git(repository, "rev-parse", "HEAD")
    assert mirror.git.text("rev-list", "--count", tip) == "2"
    mirror.keep(tip, "x")


def test_sha256_repositories(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main", "--object-format=sha256", "new")
    tip = commit(tmp_path / "new", {"a": "1"})
    assert mirror_of(tmp_path / "new", tmp_path / "state").git.text("cat-file", "-t", tip) == "commit"


def test_a_place_that_cannot_be_written_is_a_clear_error(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write .*file"):
        Mirror(Repository.discover(repository), tmp_path / "file" / "mirror.git").ensure()
