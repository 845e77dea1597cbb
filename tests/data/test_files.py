"""File trees outside git are kept by content and brought back exactly."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from rollcage.core.data.files import restore_trees, snapshot_trees
from rollcage.core.data.manifest import read_manifest, verify_folder, write_manifest
from rollcage.core.errors import SettingsError, StoreError

ODD_NAMES = ["-f", "a b", 'quo"te', "new\nline", "ünï", "esc\x1b[31m", os.fsdecode(b"\xff\xfe"), "back\\slash"]


@pytest.fixture
def top(tmp_path: Path) -> Path:
    top = tmp_path / "shop"
    (top / "config" / "empty").mkdir(parents=True)
    (top / "models").mkdir()
    (top / "config" / "app.ini").write_text("level = 1\n")
    (top / "config" / "run.sh").write_text("exit 0\n")
    (top / "config" / "run.sh").chmod(0o750)
    (top / "config" / "current").symlink_to("app.ini")
    (top / "config" / "dangling").symlink_to("../../nowhere")
    (top / "models" / "weights").write_bytes(os.urandom(3_000_000))
    for name in ODD_NAMES:
        (top / "models" / name).write_text(name, errors="surrogateescape")
    return top


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "kept"


def picture(folder: Path) -> dict[str, tuple[int, object]]:
    """Return everything below ``folder``: kind and mode, and content."""
    found: dict[str, tuple[int, object]] = {}
    for path in [folder, *folder.rglob("*")]:
        content: object = None
        if path.is_symlink():
            content = str(path.readlink())
        elif path.is_file():
            content = path.read_bytes()
        found[str(path.relative_to(folder))] = (path.lstat().st_mode, content)
    return found


def test_everything_comes_back_as_it_was(top: Path, kept: Path) -> None:
    before = picture(top)
    trees = snapshot_trees(top, ["config/", "models"], kept)
    assert trees.warnings == ()
    assert trees.size > 3_000_000
    (top / "config" / "app.ini").write_text("level = 2\n")
    (top / "config" / "run.sh").chmod(0o644)
    (top / "config" / "current").unlink()
    (top / "config" / "current").write_text("no link any more")
    (top / "config" / "empty").rmdir()
    (top / "config" / "empty").symlink_to("/etc")
    (top / "models" / "weights").unlink()
    (top / "models" / "weights").mkdir()
    (top / "models" / "weights" / "inner").write_text("x")
    (top / "models" / "new\nline").unlink()
    done = restore_trees(kept, top)
    assert picture(top) == before
    assert set(done.written) == {
        "config/app.ini", "config/run.sh", "config/current", "config/empty", "models/weights", '"models/new\\nline"',
    }  # fmt: skip
    assert done.extra == ()


def test_what_is_the_same_is_not_touched(top: Path, kept: Path) -> None:
    snapshot_trees(top, ["config", "models"], kept)
    inodes = {path: path.lstat().st_ino for path in top.rglob("*")}
    assert restore_trees(kept, top).written == ()
    assert {path: path.lstat().st_ino for path in top.rglob("*")} == inodes


def test_what_came_later_stays_unless_told_otherwise(top: Path, kept: Path) -> None:
    before = picture(top)
    snapshot_trees(top, ["config"], kept)
    (top / "config" / "new").mkdir()
    (top / "config" / "new" / "work.txt").write_text("somebody's work")
    (top / "elsewhere.txt").write_text("not in the trees")
    done = restore_trees(kept, top)
    assert done.extra == ("config/new", "config/new/work.txt")
    assert not done.removed
    assert (top / "config" / "new" / "work.txt").exists()
    assert restore_trees(kept, top, remove_extra=True).removed
    (top / "elsewhere.txt").unlink()
    assert picture(top) == before


def test_a_read_only_folder_comes_back_with_its_contents(top: Path, kept: Path) -> None:
    (top / "config").chmod(0o555)
    snapshot_trees(top, ["config"], kept)
    (top / "config").chmod(0o755)
    (top / "config" / "app.ini").unlink()
    restore_trees(kept, top)
    assert stat.S_IMODE((top / "config").stat().st_mode) == 0o555
    assert (top / "config" / "app.ini").read_text() == "level = 1\n"


def test_a_killed_try_is_gone_on_with(top: Path, kept: Path) -> None:
    trees = snapshot_trees(top, ["config"], kept)
    (kept / "trees.json").unlink()
    (kept / "blobs" / ".rollcage-half").write_text("ha")
    with pytest.raises(StoreError, match="was not finished"):
        restore_trees(kept, top)
    assert snapshot_trees(top, ["config"], kept) == trees
    (top / "config" / ".rollcage-half").write_text("ha")
    restore_trees(kept, top)
    assert not (top / "config" / ".rollcage-half").exists()


@pytest.mark.parametrize("path", ["../other", "/etc", ".git", ".git/hooks", ".", "", "out/inner", "config/../.."])
def test_no_path_leaves_the_checkout(top: Path, kept: Path, tmp_path: Path, path: str) -> None:
    (tmp_path / "other" / "inner").mkdir(parents=True)
    (top / "out").symlink_to(tmp_path / "other")
    with pytest.raises(SettingsError, match="leaves the repository"):
        snapshot_trees(top, [path], kept)
    assert not kept.exists()


def test_a_link_is_kept_as_a_link(top: Path, kept: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (top / "out").symlink_to(tmp_path / "secret")
    (trees,) = snapshot_trees(top, ["out"], kept).entries
    assert (trees.kind, trees.content) == ("link", str(tmp_path / "secret"))
    assert list((kept / "blobs").iterdir()) == []


def test_no_write_goes_through_a_link_that_came_later(top: Path, kept: Path, tmp_path: Path) -> None:
    (top / "config" / "deep").mkdir()
    (top / "config" / "deep" / "file").write_text("mine")
    snapshot_trees(top, ["config"], kept)
    target = tmp_path / "target"
    target.mkdir()
    (target / "file").write_text("another's")
    (top / "config" / "deep" / "file").unlink()
    (top / "config" / "deep").rmdir()
    (top / "config" / "deep").symlink_to(target)
    restore_trees(kept, top)
    assert (target / "file").read_text() == "another's"
    assert (top / "config" / "deep" / "file").read_text() == "mine"


def test_what_cannot_be_kept_is_warned_of(top: Path, kept: Path) -> None:
    os.mkfifo(top / "config" / "pipe")
    trees = snapshot_trees(top, ["config", "missing"], kept)
    assert trees.warnings == ("missing does not exist", "config/pipe is no file, folder or link; it is not kept")


def test_a_file_that_changes_while_it_is_read_is_kept_with_a_warning(top: Path, kept: Path) -> None:
    weights = top / "models" / "weights"
    os.truncate(weights, 80_000_000)  # takes long enough to read
    stop, begun = threading.Event(), threading.Event()

    def write() -> None:
        with weights.open("ab", buffering=0) as file:
            while not stop.is_set():
                file.write(b"more")
                begun.set()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert begun.wait(10)
        trees = snapshot_trees(top, ["models/weights"], kept)
    finally:
        stop.set()
        thread.join()
    assert trees.warnings == ("models/weights changed while it was read; it is kept as it came",)
    restore_trees(kept, top)
    assert weights.stat().st_size == trees.size


def test_limits_hold_before_anything_is_written(top: Path, kept: Path) -> None:
    for size, files in ((1_000_000, 100), (10**9, 3)):
        with pytest.raises(StoreError, match="name smaller folders"):
            snapshot_trees(top, ["config", "models"], kept, size_limit=size, files_limit=files)
    assert not kept.exists()


def test_a_damaged_snapshot_changes_nothing(top: Path, kept: Path) -> None:
    trees = snapshot_trees(top, ["config"], kept)
    (top / "config" / "app.ini").write_text("level = 2\n")
    (top / "config" / "run.sh").unlink()
    content = next(entry.content for entry in trees.entries if entry.path == "config/run.sh")
    (kept / "blobs" / content).write_text("exit 1\n")
    with pytest.raises(StoreError, match="is damaged: its SHA-256 differs; nothing was changed"):
        restore_trees(kept, top)
    (kept / "blobs" / content).unlink()
    with pytest.raises(StoreError, match="nothing was changed"):
        restore_trees(kept, top)
    assert (top / "config" / "app.ini").read_text() == "level = 2\n"
    (kept / "trees.json").write_text('{"paths": 3}')
    with pytest.raises(StoreError, match="damaged"):
        restore_trees(kept, top)


def test_the_manifest_seals_a_folder(top: Path, kept: Path) -> None:
    snapshot_trees(top, ["config"], kept / "files")
    (kept / "database.sqlite3").write_bytes(b"rows")
    with pytest.raises(StoreError, match="was not finished"):
        read_manifest(kept)
    size = write_manifest(kept, {"id": "snap-1", "git": {"commit": "c0ffee"}})
    assert size == sum(path.stat().st_size for path in kept.rglob("*") if path.is_file())
    manifest = read_manifest(kept)
    assert (manifest["id"], manifest["git"]) == ("snap-1", {"commit": "c0ffee"})
    assert verify_folder(kept) == []
    (kept / "database.sqlite3").write_bytes(b"rots")
    (kept / "files" / "trees.json").unlink()
    assert verify_folder(kept) == [
        "database.sqlite3 is damaged",
        "files/trees.json cannot be read: No such file or directory",
    ]
    (kept / "manifest.json").write_text("[]")
    with pytest.raises(StoreError, match="another version"):
        read_manifest(kept)
