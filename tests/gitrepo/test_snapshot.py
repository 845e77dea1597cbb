"""A snapshot holds every uncommitted byte, in the mirror itself, and changes nothing of the user's."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import subprocess
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rollcage.core.errors import GitError, StoreError
from rollcage.core.gitrepo.content import ChangedWhileReadError, Reader
from rollcage.core.gitrepo.mirror import Mirror
from rollcage.core.gitrepo.paths import shown
from rollcage.core.gitrepo.snapshot import GitSnapshot, take, verify
from rollcage.core.gitrepo.vault import read_manifest
from rollcage.core.gitrepo.working_files import blob_id
from tests.conftest import git
from tests.gitrepo.conftest import commit, mirror_of
from tests.gitrepo.worlds import Content, files_of, picture, write

AT = datetime(2026, 11, 20, 14, 2, 10, tzinfo=UTC)
BYTES = bytes(range(256)) + b"\r\nmixed\nends\r"


@pytest.fixture
def mirror(repository: Path, tmp_path: Path) -> Mirror:
    return mirror_of(repository, tmp_path / "state")


def snap(mirror: Mirror, name: str = "one") -> GitSnapshot:
    return take(mirror.repository, mirror, name, AT)


def content(mirror: Mirror, oid: str) -> bytes:
    """Return a blob as the mirror has it by itself, without the user's objects."""
    return mirror.git.run("cat-file", "blob", oid, env={"GIT_OBJECT_DIRECTORY": str(mirror.path / "own")}).out


def held(mirror: Mirror, snapshot: GitSnapshot, number: int = 0) -> dict[str, tuple[str, bytes] | None]:
    """Return the files of a working tree that the snapshot holds: mode and bytes; None: known to be deleted."""
    manifest: dict[str, Any] = read_manifest(mirror, snapshot.commit)
    found: dict[str, tuple[str, bytes] | None] = {}
    for file in manifest["worktrees"][number]["files"]:
        deleted = file["what"] == "deleted"
        found[file["path"]] = None if deleted else (file["mode"], content(mirror, file["oid"]))
    return found


def index_of(mirror: Mirror, snapshot: GitSnapshot) -> dict[str, Any]:
    manifest: dict[str, Any] = read_manifest(mirror, snapshot.commit)
    index: dict[str, Any] = manifest["worktrees"][0]
    return index


def test_a_clean_repository_has_a_snapshot_too(repository: Path, mirror: Mirror) -> None:
    snapshot = snap(mirror)
    assert (snapshot.dirty, snapshot.untracked, snapshot.warnings) == (0, 0, ())
    assert snapshot.head == git(repository, "rev-parse", "HEAD")
    assert mirror.git.text("rev-parse", "refs/rollcage/snapshots/one") == snapshot.commit
    assert verify(mirror.repository, mirror, snapshot.commit) == []


def test_the_raw_bytes_of_changed_and_untracked_files_are_held(repository: Path, mirror: Mirror) -> None:
    git(repository, "config", "core.autocrlf", "true")
    work: dict[str | bytes, Content] = {
        "README": BYTES,
        "tool": ("100755", b"#!/bin/sh\n"),
        "link": ("120000", b"no\xffwhere"),
        "deep/er/file": "x",
        "a path/with spaces": "1",
        "Grüße": "2",
        'q"uo\\te': "3",
        "new\nline": "4",
        "-f": "5",
        b"caf\xe9": "6",
        ".GIT": "7",
        ".gitmodules~": "8",
    }
    write(repository, work)
    snapshot = snap(mirror)
    assert held(mirror, snapshot) == {shown(path): found for path, found in files_of(repository).items()}
    assert (snapshot.dirty, snapshot.untracked) == (1, len(work) - 1)


def test_filters_and_ignored_files(repository: Path, mirror: Mirror) -> None:
    git(repository, "config", "filter.shout.clean", "tr a-z A-Z")
    write(repository, {".gitattributes": "* filter=shout\n", ".gitignore": "*.log\n", "README": "quiet", "a.log": "x"})
    found = held(mirror, snap(mirror))
    assert found["README"] == ("100644", b"quiet")
    assert "a.log" not in found


def test_the_index_is_held_raw_with_blobs_that_only_it_knows(repository: Path, mirror: Mirror) -> None:
    write(repository, {"README": "staged, then changed again", "gone": "x"})
    git(repository, "add", "README")
    staged = git(repository, "rev-parse", ":README")
    write(repository, {"README": "in the working tree", "planned": "intent"})
    git(repository, "add", "--intent-to-add", "planned")
    snapshot = snap(mirror)
    described = index_of(mirror, snapshot)
    assert content(mirror, described["index"]["oid"]) == (repository / ".git/index").read_bytes()
    assert content(mirror, staged) == b"staged, then changed again"
    assert [blob["oid"] for blob in described["staged"]] == [staged]


def test_staged_blobs_survive_a_garbage_collection_of_the_users_repository(repository: Path, mirror: Mirror) -> None:
    write(repository, {"README": "staged only"})
    git(repository, "add", "README")
    staged = git(repository, "rev-parse", ":README")
    git(repository, "gc", "-q", "--prune=now")  # packs it
    snap(mirror)
    git(repository, "reset", "-q", "--hard")
    git(repository, "repack", "-a", "-d", "-q")
    git(repository, "prune", "--expire=now")
    assert content(mirror, staged) == b"staged only"


def conflicted(repository: Path) -> None:
    """Leave a merge in the middle of a conflict."""
    git(repository, "checkout", "-q", "-b", "side")
    commit(repository, {"README": "theirs\n"})
    git(repository, "checkout", "-q", "main")
    commit(repository, {"README": "ours\n"})
    subprocess.run(["git", "merge", "side"], cwd=repository, check=False, capture_output=True)


def test_a_merge_in_conflict_is_held_with_all_stages_and_its_state(repository: Path, mirror: Mirror) -> None:
    conflicted(repository)
    stages = {line.split()[1] for line in git(repository, "ls-files", "-u").splitlines()}
    snapshot = snap(mirror)
    described = index_of(mirror, snapshot)
    assert described["operation"] == "merge"
    assert {blob["oid"] for blob in described["staged"]} == stages
    assert len(stages) == 3
    merge_head = content(mirror, described["state"]["MERGE_HEAD"]["oid"]).decode().strip()
    assert merge_head == git(repository, "rev-parse", "side")
    shutil.rmtree(repository / ".git")
    assert mirror.git.text("cat-file", "-t", merge_head) == "commit"
    assert b"<<<<<<<" in (held(mirror, snapshot)["README"] or ("", b""))[1]


def test_the_autostash_of_a_rebase_and_every_stash_are_held(repository: Path, mirror: Mirror) -> None:
    base = git(repository, "rev-parse", "HEAD")
    for text in ("first", "second"):
        write(repository, {"README": text})
        git(repository, "stash", "-q")
    stashes = git(repository, "rev-list", "--walk-reflogs", "refs/stash").split()
    commit(repository, {"README": "ours\n"})
    git(repository, "checkout", "-q", "-b", "side", base)
    commit(repository, {"README": "theirs\n", "other": "1"})
    write(repository, {"other": "uncommitted"})
    command = ["git", "-c", "rebase.autoStash=true", "rebase", "main"]
    subprocess.run(command, cwd=repository, check=False, capture_output=True)
    autostash = (repository / ".git/rebase-merge/autostash").read_text().strip()
    snapshot = snap(mirror)
    assert index_of(mirror, snapshot)["operation"] == "rebase"
    shutil.rmtree(repository / ".git")
    for sha in (autostash, *stashes):
        assert mirror.git.text("cat-file", "-t", f"{sha}^{{tree}}") == "tree"
    assert mirror.git.text("show", f"{autostash}:other") == "uncommitted"


def test_what_is_hidden_from_status_is_held(repository: Path, mirror: Mirror) -> None:
    commit(repository, {"a": "1", "b": "1"})
    git(repository, "update-index", "--assume-unchanged", "a")
    git(repository, "update-index", "--skip-worktree", "b")
    write(repository, {"a": "hidden", "b": "too"})
    assert git(repository, "status", "--short") == ""
    assert held(mirror, snap(mirror)) == {"a": ("100644", b"hidden"), "b": ("100644", b"too")}


def test_every_working_tree_is_held_and_refs_and_heads(repository: Path, mirror: Mirror, tmp_path: Path) -> None:
    other = tmp_path / "other tree"
    git(repository, "worktree", "add", "-q", "-b", "side", str(other))
    inside = repository / "inside"
    git(repository, "worktree", "add", "-q", "--detach", str(inside))
    git(repository, "tag", "v1")
    write(other, {"note": "in the other"})
    write(inside, {"note": "in the inner"})
    snapshot = snap(mirror)
    assert snapshot.worktrees == (str(repository), str(other), str(inside))
    assert [held(mirror, snapshot, number) for number in range(3)] == [
        {},
        {"note": ("100644", b"in the other")},
        {"note": ("100644", b"in the inner")},
    ]
    manifest: dict[str, Any] = read_manifest(mirror, snapshot.commit)
    assert set(manifest["refs"]) == {"refs/heads/main", "refs/heads/side", "refs/tags/v1"}
    assert [worktree["branch"] for worktree in manifest["worktrees"]] == ["main", "side", None]
    assert snapshot.warnings == ()


def test_nested_repositories_and_submodules_with_work_are_named(repository: Path, mirror: Mirror) -> None:
    nested = repository / "nested"
    nested.mkdir()
    git(nested, "init", "-q")
    commit(nested, {"f": "1"})
    git(repository, "-c", "protocol.file.allow=always", "submodule", "add", "-q", "./nested", "module")
    git(repository, "commit", "-q", "-m", "with a submodule")
    write(repository, {"module/f": "work in the submodule"})
    snapshot = snap(mirror)
    assert snapshot.warnings == (
        f"{repository}: module is a repository of its own, and not in the snapshot",
        f"{repository}: nested/ is a repository of its own, and not in the snapshot",
    )


def test_an_unborn_branch_and_a_bare_repository(tmp_path: Path) -> None:
    young = tmp_path / "young"
    young.mkdir()
    git(young, "init", "-q", "-b", "main")
    write(young, {"first": "1", "second": "2"})
    git(young, "add", "first")
    mirror = mirror_of(young, tmp_path / "state")
    snapshot = snap(mirror)
    assert snapshot.head == ""
    assert held(mirror, snapshot) == {"first": ("100644", b"1"), "second": ("100644", b"2")}
    bare = tmp_path / "bare.git"
    git(tmp_path, "init", "-q", "--bare", str(bare))
    assert snap(mirror_of(bare, tmp_path / "other")).worktrees == ()


def test_nothing_of_the_users_is_touched(repository: Path, mirror: Mirror) -> None:
    write(repository, {"README": "dirty", "note": "n"})
    os.utime(repository / "README", (1, 1))  # git would like to note that in its index
    before, objects = picture(repository), sorted((repository / ".git/objects").rglob("*"))
    reflog = git(repository, "reflog")
    snap(mirror)
    assert picture(repository) == before
    assert sorted((repository / ".git/objects").rglob("*")) == objects
    assert git(repository, "reflog") == reflog


def test_it_outlives_the_users_repository(repository: Path, mirror: Mirror) -> None:
    write(repository, {"README": "dirty"})
    snapshot = snap(mirror)
    shutil.rmtree(repository)
    assert mirror.git.text("rev-list", "--count", "--objects", snapshot.head, "--")
    assert held(mirror, snapshot) == {"README": ("100644", b"dirty")}
    mirror.git.run("fsck", "--full", "--strict", "--no-dangling")


def test_verify_names_what_is_different_now(repository: Path, mirror: Mirror) -> None:
    commit(repository, {"a": "1", "b": "1"})
    write(repository, {"a": "2", "stays": "1", "goes": "1"})
    snapshot = snap(mirror)
    git(repository, "status")
    assert verify(mirror.repository, mirror, snapshot.commit) == []
    write(repository, {"a": "3", "b": "2", "goes": None})
    git(repository, "add", "b")
    git(repository, "branch", "new")
    assert verify(mirror.repository, mirror, snapshot.commit) == [
        f"{repository}: file a differs",
        f"{repository}: file b is new",
        f"{repository}: file goes is gone",
        f"{repository}: the index has other entries",
        "refs/heads/new is new",
    ]


def test_a_name_can_be_used_once(repository: Path, mirror: Mirror) -> None:
    first = snap(mirror)
    write(repository, {"README": "later"})
    with pytest.raises(GitError, match="exists already"):
        snap(mirror)
    assert mirror.git.text("rev-parse", "refs/rollcage/snapshots/one") == first.commit
    for name in ("../x", "-x", "a b", "x.lock", "x..y", ""):
        with pytest.raises(GitError, match="not a name"):
            snap(mirror, name)


@pytest.mark.usefixtures("repository")
def test_where_it_cannot_be_written_it_is_an_error(mirror: Mirror) -> None:
    packs = mirror.objects / "pack"
    shutil.rmtree(packs)
    packs.write_text("no folder")
    with pytest.raises((GitError, StoreError)):
        snap(mirror)
    assert mirror.git.run("for-each-ref", "refs/rollcage/snapshots").out == b""


def test_a_full_disk_is_an_error_and_leaves_no_snapshot(repository: Path, mirror: Mirror) -> None:
    write(repository, {"large": os.urandom(1 << 20)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    try:
        with pytest.raises((GitError, StoreError)):
            snap(mirror)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert mirror.git.run("for-each-ref", "refs/rollcage/snapshots").out == b""
    assert snap(mirror).untracked == 1


def test_links_that_lead_nowhere_are_held_and_pipes_stop_nothing(repository: Path, mirror: Mirror) -> None:
    write(repository, {"note": b"n", "loop": ("120000", b"loop")})
    os.mkfifo(repository / "pipe")
    (repository / "README").unlink()
    os.mkfifo(repository / "README")
    snapshot = snap(mirror)
    assert held(mirror, snapshot) == {"note": ("100644", b"n"), "loop": ("120000", b"loop"), "README": None}


class _Appending(Reader):
    """Writes to the file after it was opened, as often as told."""

    def __init__(self, file: Path, times: int) -> None:
        super().__init__("sha1")
        self.file, self.times = file, times

    def add(self, content: bytes) -> Any:
        if self.times:
            self.times -= 1
            with self.file.open("ab") as stream:
                stream.write(b"more")
        return super().add(content)


def test_a_file_written_to_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"x" * 10)
    with pytest.raises(ChangedWhileReadError):
        _Appending(file, 1).add_file(file)
    assert _Appending(file, 0).add_file(file).size == 14
    assert _Appending(file, 1).add_file(file, steady=False).size == 14


def test_a_large_file_does_not_pass_through_memory(repository: Path, mirror: Mirror) -> None:
    size = 48 << 20
    with (repository / "large").open("wb") as stream:
        stream.truncate(size)
        stream.write(b"begin")
    tracemalloc.start()
    snapshot = snap(mirror)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20
    (file,) = index_of(mirror, snapshot)["files"]
    data = (repository / "large").read_bytes()
    assert file["size"] == size
    assert file["oid"] == blob_id(data, "sha1")
    assert file["sha256"] == hashlib.sha256(data).hexdigest()


def test_it_asks_git_as_often_for_many_files_as_for_few(
    repository: Path, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = tmp_path / "calls"
    counting = tmp_path / "bin" / "git"
    counting.parent.mkdir()
    counting.write_text(f"#!/bin/sh\necho >> '{calls}'\nexec {shutil.which('git')} \"$@\"\n")
    counting.chmod(0o755)
    monkeypatch.setenv("PATH", f"{counting.parent}:{os.environ['PATH']}")
    counts = []
    for number in (1, 100):
        write(repository, {f"f{each}": f"{number} {each}" for each in range(number)})
        git(repository, "add", "--all")
        write(repository, {f"f{each}": f"{number} {each} dirty" for each in range(number)})
        calls.write_text("")
        assert snap(mirror, f"of-{number}").dirty == number
        counts.append(calls.read_text().count("\n"))
    assert counts[1] <= counts[0] < 20
