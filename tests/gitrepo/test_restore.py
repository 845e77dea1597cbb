"""Uncommitted files come back from a snapshot, except where somebody has worked on them since."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rollcage.core.errors import GitError
from rollcage.core.gitrepo.mirror import Mirror
from rollcage.core.gitrepo.restore import restore_files
from rollcage.core.gitrepo.snapshot import take
from rollcage.core.gitrepo.vault import read_manifest
from rollcage.core.gitrepo.working_files import blob_id
from tests.conftest import git
from tests.gitrepo.conftest import commit, mirror_of
from tests.gitrepo.worlds import files_of, write

AT = datetime(2026, 11, 20, 14, 2, 10, tzinfo=UTC)


@pytest.fixture
def mirror(repository: Path, tmp_path: Path) -> Mirror:
    return mirror_of(repository, tmp_path / "state")


def oid(content: bytes) -> str:
    return blob_id(content, "sha1")


def snapped(mirror: Mirror) -> str:
    return take(mirror.repository, mirror, "then", AT).commit


def test_bytes_modes_links_and_removals_come_back(repository: Path, mirror: Mirror) -> None:
    commit(repository, {"gone": "tracked", "tool": "#!"})
    write(repository, {"README": b"mine\r\n", "tool": ("100755", b"#! mine"), "link": ("120000", b"to"), "gone": None})
    write(repository, {b"d/caf\xe9": "untracked", b"big": b"z" * (3 << 20)})
    before = files_of(repository)
    snapshot = snapped(mirror)
    left = b"what rollcage left"
    for path in before:
        write(repository, {path: left})
    write(repository, {b"gone": left, b"d/caf\xe9": None, b"link": None})
    (repository / "d").rmdir()
    told = {"README": oid(left), "tool": oid(left), "gone": oid(left), "big": oid(left), "link": None}
    done = restore_files(mirror, snapshot, repository, {**told, '"d/caf\\351"': None}, "back", AT)
    assert files_of(repository) == before
    assert set(done.restored) == {"README", "tool", "gone", "big", "link", '"d/caf\\351"'}
    assert done.skipped == ()
    images: dict[str, Any] = read_manifest(mirror, done.before)
    assert {file["oid"] for file in images["files"]} == {oid(left), None}
    assert mirror.git.run("cat-file", "blob", oid(left)).out == left


def test_somebodys_newer_work_is_skipped_and_named(repository: Path, mirror: Mirror) -> None:
    write(repository, {"README": "then", "same": "then", "unknown": "then", "lost": "then"})
    snapshot = snapped(mirror)
    write(repository, {"README": "newer", "unknown": "newer", "lost": None})
    (repository / "lost").mkdir()
    told = {"README": oid(b"left"), "lost": None}
    done = restore_files(mirror, snapshot, repository, told, "back", AT)
    assert (done.restored, done.before) == ((), "")
    assert set(done.skipped) == {"README", "unknown", "lost"}
    assert (repository / "README").read_text() == "newer"


def test_nothing_is_written_through_a_link(repository: Path, mirror: Mirror, tmp_path: Path) -> None:
    write(repository, {"d/file": "then"})
    snapshot = snapped(mirror)
    write(repository, {"d/file": None})
    (repository / "d").rmdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (repository / "d").symlink_to(outside)
    done = restore_files(mirror, snapshot, repository, {"d/file": None}, "back", AT)
    assert done.skipped == ("d/file",)
    assert list(outside.iterdir()) == []


def test_the_index_is_not_touched(repository: Path, mirror: Mirror) -> None:
    write(repository, {"README": "then"})
    snapshot = snapped(mirror)
    write(repository, {"README": "left"})
    git(repository, "add", "README")
    index = (repository / ".git/index").read_bytes()
    restore_files(mirror, snapshot, repository, {"README": oid(b"left")}, "back", AT)
    assert (repository / "README").read_text() == "then"
    assert (repository / ".git/index").read_bytes() == index


def test_another_working_tree_is_an_error(repository: Path, mirror: Mirror) -> None:
    snapshot = snapped(mirror)
    with pytest.raises(GitError, match="has no working tree"):
        restore_files(mirror, snapshot, repository / "no", {}, "back", AT)
