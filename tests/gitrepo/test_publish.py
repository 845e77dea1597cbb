"""A branch moves and its working trees follow: nobody's work is lost, and nothing comes back by the next commit."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from rollcage.core.errors import GitError, RefusedError
from rollcage.core.gitrepo.publish import plan_publication, publish, state_of
from rollcage.core.gitrepo.publish_resume import resume
from rollcage.core.gitrepo.repository import Repository
from tests.conftest import git
from tests.gitrepo.worlds import (
    LINES,
    Content,
    World,
    edited,
    files_of,
    over,
    picture,
    status,
    tree_files,
    world,
    write,
)

BAD = edited(LINES, 3, "the fault")


def refusal(here: World) -> str:
    """Return the code with which planning is refused."""
    with pytest.raises(RefusedError) as caught:
        here.plan()
    return caught.value.code


def next_commit_has(top: Path, commit: str) -> set[bytes]:
    """Return the paths that the next plain ``git commit -am`` would change."""
    git(top, "commit", "-q", "-a", "--allow-empty", "-m", "work goes on")
    return {os.fsencode(path) for path in git(top, "diff", "--name-only", "-z", commit, "HEAD").split("\0") if path}


def test_a_clean_tree_follows_and_the_next_commit_brings_nothing_back(tmp_path: Path) -> None:
    here = world(tmp_path, {"calc": BAD, "gone": "x", "other": "same"}, {"calc": LINES, "gone": None, "back/f": "f"})
    publication = here.publish()
    assert git(here.top, "rev-parse", "main") == here.new
    assert status(here.top) == ""
    assert files_of(here.top) == tree_files(here.top, here.new)
    assert state_of(here.repository, publication) == "done"
    assert next_commit_has(here.top, here.new) == set()


def test_the_move_is_in_the_reflogs_and_the_old_commit_stays_in_the_mirror(tmp_path: Path) -> None:
    here = world(tmp_path, {"calc": BAD}, {"calc": LINES})
    here.publish()
    assert git(here.top, "reflog", "-1", "--format=%gs", "main") == "rollcage: publish"
    assert git(here.top, "reflog", "-1", "--format=%gs", "HEAD") == "rollcage: publish"
    kept = here.mirror.git.text("for-each-ref", "--format=%(objectname)", "refs/rollcage/kept").split()
    assert {here.old, here.new} <= set(kept)


@pytest.mark.parametrize("number", [1, 150])
def test_objects_enter_the_users_repository_only_now(tmp_path: Path, number: int) -> None:
    here = world(tmp_path, {"calc": BAD}, {f"file {each}": f"never seen before {each}\n" for each in range(number)})
    publication = here.plan()
    missing = subprocess.run(["git", "cat-file", "-e", here.new], cwd=here.top, check=False, capture_output=True)
    assert missing.returncode != 0
    publish(here.repository, here.mirror, publication, here.record)
    git(here.top, "fsck", "--strict", "--no-dangling")


def test_other_dirty_staged_untracked_and_ignored_files_stay_as_they_are(tmp_path: Path) -> None:
    here = world(tmp_path, {"calc": BAD, "dirty": "1", "staged": "1", ".gitignore": "*.log\n"}, {"calc": LINES})
    write(here.top, {"dirty": "mine", "staged": "staged", "note": "untracked", "a.log": "ignored"})
    git(here.top, "add", "staged")
    write(here.top, {"staged": "staged and then some"})
    before, blob = files_of(here.top), git(here.top, "rev-parse", ":staged")
    here.publish()
    assert files_of(here.top) == before | {b"calc": ("100644", LINES.encode())}
    assert git(here.top, "rev-parse", ":staged") == blob
    assert status(here.top) == " M dirty\nMM staged\n?? note"


def test_an_edit_in_the_culprits_own_file_stays_an_uncommitted_edit(tmp_path: Path) -> None:
    here = world(tmp_path, {"calc": BAD}, {"calc": LINES})
    write(here.top, {"calc": ("100755", edited(BAD, 15, "my work").encode())})
    here.publish()
    assert (here.top / "calc").read_text() == edited(LINES, 15, "my work")
    assert status(here.top) == " M calc"
    assert git(here.top, "diff", "--numstat") == "1\t1\tcalc"
    assert os.access(here.top / "calc", os.X_OK)
    assert next_commit_has(here.top, here.new) == {b"calc"}
    assert git(here.top, "show", "HEAD:calc") + "\n" == edited(LINES, 15, "my work")


def test_a_staged_edit_in_the_culprits_own_file_stays_staged(tmp_path: Path) -> None:
    here = world(tmp_path, {"calc": BAD}, {"calc": LINES})
    write(here.top, {"calc": edited(BAD, 15, "staged work")})
    git(here.top, "add", "calc")
    write(here.top, {"calc": edited(edited(BAD, 15, "staged work"), 10, "later work")})
    here.publish()
    assert status(here.top) == "MM calc"
    assert git(here.top, "show", ":calc") + "\n" == edited(LINES, 15, "staged work")
    assert (here.top / "calc").read_text() == edited(edited(LINES, 15, "staged work"), 10, "later work")


@pytest.mark.parametrize(
    ("new", "work"),
    [
        pytest.param({"calc": LINES}, {"calc": edited(LINES, 3, "on the same line")}, id="same line"),
        pytest.param({"calc": LINES}, {"calc": None}, id="deleted by its owner"),
        pytest.param({"calc": None}, {"calc": edited(BAD, 15, "mine")}, id="edited, to be deleted"),
        pytest.param({"blob": b"\0old"}, {"blob": b"\0mine"}, id="binary"),
        pytest.param({"calc": LINES}, {"calc": ("120000", b"blob")}, id="made a link"),
        pytest.param({"back": "old"}, {"back": "mine"}, id="untracked in the way"),
        pytest.param({"back.log": "old"}, {"back.log": "mine"}, id="ignored in the way"),
        pytest.param({"dir": "a file"}, {"dir/x.log": "ignored in a folder in the way"}, id="folder in the way"),
        pytest.param({"dir/file": "old"}, {"dir": "a file in the way of a folder"}, id="file in the way"),
    ],
)
def test_an_overlapping_edit_is_refused_by_name_and_nothing_changes(
    tmp_path: Path, new: Mapping[str, Content], work: Mapping[str, Content]
) -> None:
    old: dict[str, Content] = {"calc": BAD, "blob": b"\0bad", ".gitignore": "*.log\n"}
    here = world(tmp_path, old, new)
    write(here.top, work)
    before = picture(here.top)
    with pytest.raises(RefusedError) as caught:
        here.plan()
    assert caught.value.code == "overlap"
    assert next(iter(new)) in str(caught.value)
    assert picture(here.top) == before


def test_a_link_in_place_of_a_folder_is_never_written_through(tmp_path: Path) -> None:
    here = world(tmp_path, {"src/calc": BAD}, {"src/calc": LINES})
    outside = tmp_path / "outside"
    (here.top / "src").rename(outside)
    (here.top / "src").symlink_to(outside)
    assert refusal(here) == "overlap"
    assert (outside / "calc").read_text() == BAD


def test_an_edit_that_holds_the_new_content_already_is_no_obstacle(tmp_path: Path) -> None:
    here = world(tmp_path, {"calc": BAD, "gone": "x"}, {"calc": LINES, "gone": None})
    write(here.top, {"calc": edited(LINES, 15, "and more"), "gone": None})
    here.publish()
    assert (here.top / "calc").read_text() == edited(LINES, 15, "and more")
    assert status(here.top) == " M calc"


def test_a_file_taken_out_of_the_index_but_kept_is_refused_rather_than_removed(tmp_path: Path) -> None:
    here = world(tmp_path, {"secrets": "s3cret", "calc": BAD}, {"secrets": None, "calc": LINES})
    git(here.top, "rm", "-q", "--cached", "secrets")
    assert refusal(here) == "overlap"
    assert (here.top / "secrets").read_text() == "s3cret"


def test_a_file_whose_times_alone_changed_is_no_edit(tmp_path: Path) -> None:
    here = world(tmp_path, {"calc": BAD, "assumed": BAD}, {"calc": LINES, "assumed": LINES})
    git(here.top, "update-index", "--assume-unchanged", "assumed")
    for name in ("calc", "assumed"):
        os.utime(here.top / name, (1, 1))
    here.publish()
    assert status(here.top) == ""
    assert files_of(here.top) == tree_files(here.top, here.new)


@pytest.mark.parametrize("name", ["a path/with spaces", "Grüße/日本", "q\"uo'te", "new\nline", "-f", b"caf\xe9", "\\t"])
def test_any_name_follows_clean_and_edited(tmp_path: Path, name: str | bytes) -> None:
    second = (name if isinstance(name, bytes) else name.encode()) + b" two"
    here = world(tmp_path, {name: BAD, second: BAD}, {name: LINES, second: LINES})
    write(here.top, {second: edited(BAD, 15, "mine")})
    here.publish()
    found = files_of(here.top)
    assert found[name if isinstance(name, bytes) else name.encode()] == ("100644", LINES.encode())
    assert found[second] == ("100644", edited(LINES, 15, "mine").encode())


def test_renames_links_modes_binaries_and_files_that_become_folders_follow(tmp_path: Path) -> None:
    old: dict[str, Content] = {
        "lib/a": LINES,
        "link": ("120000", b"lib/a"),
        "tool": ("100644", b"#!"),
        "bin": b"\0\1",
        "x": "file",
    }
    new: dict[str, Content] = {
        "lib/a": None,
        "lib/b": LINES,
        "link": ("120000", b"lib/b"),
        "tool": ("100755", b"#!"),
        "bin": b"\0\2",
    }
    here = world(tmp_path, old, {**new, "x": None, "x/y": "now a folder"})
    here.publish()
    assert status(here.top) == ""
    assert files_of(here.top) == tree_files(here.top, here.new)


def test_a_merge_is_taken_back(tmp_path: Path, repository: Path) -> None:
    git(repository, "checkout", "-q", "-b", "topic")
    write(repository, {"topic": "t"})
    git(repository, "add", "topic")
    git(repository, "commit", "-q", "-m", "topic")
    git(repository, "checkout", "-q", "main")
    git(repository, "merge", "-q", "--no-ff", "-m", "merge", "topic")
    here = over(repository, tmp_path, {"topic": None})
    here.publish()
    assert sorted(files_of(here.top)) == [b"README"]
    assert git(here.top, "rev-parse", "topic")


def test_line_endings_of_the_users_configuration_are_kept_in_an_edit(tmp_path: Path) -> None:
    here = world(tmp_path, {"calc": BAD, "raw": BAD}, {"calc": LINES, "raw": LINES}, core_autocrlf="true")
    git(here.top, "rm", "-q", "--cached", "calc", "raw")
    git(here.top, "reset", "-q", "--hard")
    crlf = edited(LINES, 15, "mine").replace("\n", "\r\n")
    assert b"\r\n" in (here.top / "calc").read_bytes()
    write(here.top, {"calc": edited(BAD, 15, "mine").replace("\n", "\r\n")})
    here.publish()
    assert (here.top / "calc").read_bytes() == crlf.encode()
    assert (here.top / "raw").read_bytes() == LINES.replace("\n", "\r\n").encode()
    assert status(here.top) == " M calc"


def test_mixed_line_endings_that_git_would_not_give_back_are_refused(tmp_path: Path) -> None:
    here = world(tmp_path, {"calc": BAD}, {"calc": LINES}, core_autocrlf="true")
    write(here.top, {"calc": edited(BAD, 15, "mine\r")})
    assert refusal(here) == "overlap"


def test_uncommitted_attributes_and_filters_of_the_user_hold_for_its_files(tmp_path: Path) -> None:
    here = world(tmp_path, {"calc": BAD, "plain": BAD}, {"calc": LINES, "plain": LINES})
    git(here.top, "config", "filter.shout.smudge", "tr a-z A-Z")
    git(here.top, "config", "filter.shout.clean", "tr A-Z a-z")
    write(here.top, {".gitattributes": "calc filter=shout\n", "calc": edited(BAD, 15, "mine").upper()})
    here.publish()
    assert (here.top / "calc").read_text() == edited(LINES, 15, "mine").upper()
    assert (here.top / "plain").read_text() == LINES


def test_skipped_and_assumed_entries_keep_their_marks(tmp_path: Path) -> None:
    old = {"skipped": BAD, "assumed": BAD, "sk-other": "1", "as-other": "1", "config": BAD}
    here = world(tmp_path, old, {"skipped": LINES, "assumed": LINES, "config": LINES})
    git(here.top, "update-index", "--skip-worktree", "skipped", "sk-other", "config")
    git(here.top, "update-index", "--assume-unchanged", "assumed", "as-other")
    work = {"skipped": None, "sk-other": None, "as-other": "hidden too", "config": edited(BAD, 15, "hidden edit")}
    write(here.top, work)
    here.publish()
    marks = {line[2:]: line[0] for line in git(here.top, "ls-files", "-v").splitlines()}
    assert marks == {"skipped": "S", "sk-other": "S", "config": "S", "assumed": "h", "as-other": "h"}
    assert not (here.top / "skipped").exists()
    assert (here.top / "assumed").read_text() == LINES
    assert (here.top / "config").read_text() == edited(LINES, 15, "hidden edit")
    assert git(here.top, "rev-parse", ":skipped") == git(here.top, "rev-parse", "main:skipped")


def test_an_edit_hidden_by_assume_unchanged_is_seen(tmp_path: Path) -> None:
    here = world(tmp_path, {"calc": BAD}, {"calc": LINES})
    git(here.top, "update-index", "--assume-unchanged", "calc")
    write(here.top, {"calc": edited(LINES, 3, "hidden and overlapping")})
    assert refusal(here) == "overlap"


@pytest.mark.parametrize("sparse_index", ["false", "true"])
def test_a_sparse_checkout_stays_sparse(tmp_path: Path, sparse_index: str) -> None:
    here = world(tmp_path, {"in/a": BAD, "out/b": BAD, "out/c": "c"}, {"in/a": LINES, "out/b": LINES, "out/n": "n"})
    git(here.top, "sparse-checkout", "init", "--cone", *(["--sparse-index"] if sparse_index == "true" else []))
    git(here.top, "sparse-checkout", "set", "in")
    here.publish()
    assert set(files_of(here.top)) == {b"in/a"}
    assert (here.top / "in/a").read_text() == LINES
    assert status(here.top) == ""
    assert next_commit_has(here.top, here.new) == set()


def test_intent_to_add_and_unmerged_entries_survive(tmp_path: Path) -> None:
    here = world(tmp_path, {"calc": BAD, "torn": "base\n"}, {"calc": LINES})
    write(here.top, {"torn": "stashed\n"})
    git(here.top, "stash", "-q")
    write(here.top, {"torn": "committed\n"})
    git(here.top, "commit", "-q", "-a", "-m", "other")
    here = over(here.top, tmp_path / "again", {"calc": LINES})
    subprocess.run(["git", "stash", "apply", "-q"], cwd=here.top, check=False, capture_output=True)
    write(here.top, {"planned": "intent"})
    git(here.top, "add", "--intent-to-add", "planned")
    unmerged, torn = git(here.top, "ls-files", "-u"), (here.top / "torn").read_bytes()
    assert unmerged
    here.publish()
    assert git(here.top, "ls-files", "-u") == unmerged
    assert (here.top / "torn").read_bytes() == torn
    assert status(here.top) == " A planned\nUU torn"


@pytest.mark.parametrize("renamed_only", [True, False])
def test_an_edit_follows_a_rename(tmp_path: Path, renamed_only: bool) -> None:
    new, other = BAD if renamed_only else LINES, "unlike\n" * 30
    old = {"calc": BAD, "staged": other + LINES}
    here = world(tmp_path, old, {"calc": None, "deep/er/calc": new, "staged": None, "s": other + LINES})
    write(here.top, {"calc": edited(BAD, 15, "mine"), "staged": other + edited(LINES, 2, "staged")})
    git(here.top, "add", "staged")
    here.publish()
    assert status(here.top) == " M deep/er/calc\nM  s"
    assert (here.top / "deep/er/calc").read_text() == edited(new, 15, "mine")
    assert not (here.top / "calc").exists()
    assert next_commit_has(here.top, here.new) == {b"deep/er/calc", b"s"}


@pytest.mark.parametrize(
    "work",
    [
        pytest.param({"calc": edited(LINES, 3, "mine")}, id="same line"),
        pytest.param({"calc": edited(BAD, 15, "mine"), "new": "in the way"}, id="something in the way"),
        pytest.param({"calc": edited(BAD, 15, "mine"), "new/x": "in the way"}, id="a folder in the way"),
    ],
)
def test_an_edit_that_cannot_follow_a_rename_is_refused(tmp_path: Path, work: Mapping[str, Content]) -> None:
    here = world(tmp_path, {"calc": BAD}, {"calc": None, "new": LINES})
    write(here.top, work)
    before = picture(here.top)
    assert refusal(here) == "overlap"
    assert picture(here.top) == before


def with_submodule(tmp_path: Path, repository: Path) -> tuple[World, str]:
    """Return a world whose change takes a submodule, which is checked out, back to its first commit; and that."""
    first = git(repository, "rev-parse", "HEAD")
    (repository / "README").write_text("second\n")
    git(repository, "commit", "-q", "-a", "-m", "second")
    here = world(tmp_path, {"calc": BAD}, {})
    git(here.top, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(repository), "module")
    git(here.top, "commit", "-q", "-m", "with a submodule")
    index = {"GIT_INDEX_FILE": str(tmp_path / "index")}
    run = here.mirror.git
    here.old = git(here.top, "rev-parse", "HEAD")
    run.run("read-tree", here.old, env=index)
    run.run("update-index", "--cacheinfo", f"160000,{first},module", env=index)
    here.new = run.text("commit-tree", run.text("write-tree", env=index), "-p", here.old, "-m", "back")
    return here, first


def test_a_submodule_that_is_checked_out_follows(tmp_path: Path, repository: Path) -> None:
    here, first = with_submodule(tmp_path, repository)
    write(here.top / "module", {"untracked": "stays"})
    here.publish()
    assert git(here.top / "module", "rev-parse", "HEAD") == first
    assert files_of(here.top / "module")[b"untracked"] == ("100644", b"stays")
    assert (here.top / "module/README").read_text() == "shop\n"
    assert next_commit_has(here.top, here.new) == set()


def test_a_submodule_in_which_somebody_works_is_refused_and_named(tmp_path: Path, repository: Path) -> None:
    here, _ = with_submodule(tmp_path, repository)
    write(here.top / "module", {"README": "mine"})
    before = files_of(here.top / "module")
    assert refusal(here) == "submodule"
    git(here.top / "module", "commit", "-q", "-a", "-m", "mine")
    assert refusal(here) == "submodule"
    assert files_of(here.top / "module") == before


def test_a_submodule_goes_back_with_a_publication_that_fails(tmp_path: Path, repository: Path) -> None:
    here, _ = with_submodule(tmp_path, repository)
    second = git(here.top / "module", "rev-parse", "HEAD")

    def record(name: str, data: Mapping[str, object]) -> None:
        if name == "commit":
            assert git(here.top / "module", "rev-parse", "HEAD") != second
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        publish(here.repository, here.mirror, here.plan(), record)
    assert git(here.top / "module", "rev-parse", "HEAD") == second
    assert status(here.top) == ""


def filtered(tmp_path: Path, smudge: str) -> World:
    """Return a world with files under a filter as LFS is: required, a pointer in the commit, the content on disk."""
    config = {"filter_big_required": "true", "filter_big_clean": "sed s/content/pointer/", "filter_big_smudge": smudge}
    old = {".gitattributes": "*.bin filter=big\n", "a.bin": "content 2\n", "b.bin": "content 2\n", "c": "same"}
    return world(tmp_path, old, {"a.bin": "pointer 1\n", "b.bin": "pointer 1\n"}, **config)


def test_files_under_a_required_filter_get_their_content_and_an_edit_of_one_stays(tmp_path: Path) -> None:
    here = filtered(tmp_path, "sed s/pointer/content/")
    write(here.top, {"b.bin": "content 1\n", "c": "mine"})
    here.publish()
    assert (here.top / "a.bin").read_text() == (here.top / "b.bin").read_text() == "content 1\n"
    assert git(here.top, "show", "HEAD:a.bin") == "pointer 1"
    assert status(here.top) == " M c"


def test_without_the_program_of_a_required_filter_it_is_refused_beforehand(tmp_path: Path) -> None:
    here = filtered(tmp_path, "no-such-program")
    before = picture(here.top)
    assert refusal(here) == "filter"
    assert picture(here.top) == before


@pytest.mark.parametrize(
    "config",
    [
        {"core_untrackedCache": "true"},
        {"index_version": "4"},
        {"core_fsmonitor": "/bin/true"},  # which says that nothing ever changes
        {"core_fileMode": "false"},
        {"core_ignoreCase": "true"},
        {"core_preloadIndex": "true", "index_threads": "2", "checkout_workers": "4"},
    ],
    ids=lambda config: next(iter(config)),
)
def test_whatever_is_configured_edits_stay_and_all_else_follows(tmp_path: Path, config: dict[str, str]) -> None:
    here = world(tmp_path, {"calc": BAD, "plain": BAD, "Other": "1\n"}, {"calc": LINES, "plain": LINES}, **config)
    write(here.top, {"calc": edited(BAD, 15, "mine"), "Other": "mine\n", "note": "n"})
    git(here.top, "status")  # fills caches
    here.publish()
    assert (here.top / "calc").read_text() == edited(LINES, 15, "mine")
    assert (here.top / "plain").read_text() == LINES
    assert (here.top / "Other").read_text() == "mine\n"
    git(here.top, "config", "--unset-all", next(iter(config)).replace("_", "."))
    assert status(here.top) == " M Other\n M calc\n?? note"


def test_a_sha256_repository_follows_with_its_edits(tmp_path: Path) -> None:
    top = tmp_path / "shop"
    git(tmp_path, "init", "-q", "-b", "main", "--object-format=sha256", str(top))
    write(top, {"calc": BAD, "gone": LINES})
    git(top, "add", ".")
    git(top, "commit", "-q", "-m", "start")
    here = over(top, tmp_path, {"calc": LINES, "gone": None, "named": LINES})
    write(top, {"calc": edited(BAD, 15, "mine"), "gone": edited(LINES, 2, "mine")})
    here.publish()
    assert status(top) == " M calc\n M named"


def test_a_shallow_clone_follows(tmp_path: Path) -> None:
    here = world(tmp_path, {"calc": LINES}, {})
    for text in (BAD, BAD + "more\n"):
        write(here.top, {"calc": text})
        git(here.top, "commit", "-q", "-a", "-m", "change")
    git(tmp_path, "clone", "-q", "--depth=2", f"file://{here.top}", "shallow")
    shallow = over(tmp_path / "shallow", tmp_path / "again", {"calc": LINES + "more\n"})
    shallow.publish()
    assert status(shallow.top) == ""
    assert (shallow.top / "calc").read_text() == LINES + "more\n"


def test_a_split_index_follows(tmp_path: Path) -> None:
    here = world(tmp_path, {"calc": BAD, "other": "1"}, {"calc": LINES}, core_splitIndex="true")
    git(here.top, "update-index", "--split-index")
    write(here.top, {"other": "mine"})
    here.publish()
    assert status(here.top) == " M other"


def test_a_change_made_in_the_second_the_index_was_written_is_not_taken_for_clean(tmp_path: Path) -> None:
    here = world(tmp_path, {"calc": BAD, "other": "1"}, {"calc": LINES}, core_trustctime="false")
    moment, other = (1_700_000_000, 1_700_000_000), here.top / "other"
    os.utime(other, moment)
    git(here.top, "update-index", "--refresh")
    with other.open("r+") as stream:
        stream.write("2")  # same size, same file, same time as in the index: only the content tells
    os.utime(other, moment)
    os.utime(here.top / ".git/index", moment)
    here.publish()
    assert status(here.top) == " M other"


def test_a_detached_head_is_left_where_it_is(tmp_path: Path) -> None:
    here = world(tmp_path, {"calc": BAD}, {"calc": LINES})
    git(here.top, "checkout", "-q", "--detach")
    publication = here.publish()
    assert publication.worktrees == ()
    assert git(here.top, "rev-parse", "main") == here.new
    assert git(here.top, "rev-parse", "HEAD") == here.old
    assert status(here.top) == ""
    assert state_of(here.repository, publication) == "done"


def test_a_bare_repository_moves_its_branch(tmp_path: Path) -> None:
    here = world(tmp_path, {"calc": BAD}, {"calc": LINES})
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "-q", "--bare", str(here.top), str(bare))
    there = over(bare, tmp_path / "bare state", {"calc": LINES})
    there.publish()
    assert git(bare, "show", "main:calc") + "\n" == LINES
    assert [path.name for path in bare.rglob("*.lock")] == []


def test_every_working_tree_of_the_branch_follows_and_others_do_not(tmp_path: Path) -> None:
    here = world(tmp_path, {"calc": BAD}, {"calc": LINES})
    twin, other = tmp_path / "twin tree", tmp_path / "other"
    git(here.top, "worktree", "add", "-q", "--force", str(twin), "main")
    git(here.top, "worktree", "add", "-q", "-b", "side", str(other), "main")
    write(twin, {"calc": edited(BAD, 15, "in the twin"), "note": "n"})
    git(twin, "add", "note")
    untouched = picture(other)
    publication = here.publish()
    assert len(publication.worktrees) == 2
    assert status(here.top) == ""
    assert status(twin) == " M calc\nA  note"
    assert (twin / "calc").read_text() == edited(LINES, 15, "in the twin")
    changed = {"refs": untouched["refs"]}
    assert picture(other) | changed == untouched
    assert state_of(here.repository, publication) == "done"


def test_an_overlap_in_one_of_two_working_trees_refuses_both(tmp_path: Path) -> None:
    here = world(tmp_path, {"calc": BAD}, {"calc": LINES})
    twin = tmp_path / "twin"
    git(here.top, "worktree", "add", "-q", "--force", str(twin), "main")
    publication = here.plan()
    write(twin, {"calc": edited(LINES, 3, "mine")})
    before = picture(here.top), picture(twin)
    with pytest.raises(RefusedError) as caught:
        publish(here.repository, here.mirror, publication, here.record)
    assert caught.value.code == "overlap"
    assert (picture(here.top), picture(twin)) == before


def test_the_users_hooks_do_not_run(tmp_path: Path) -> None:
    here = world(tmp_path, {"calc": BAD}, {"calc": LINES})
    for name in ("post-checkout", "reference-transaction", "post-index-change", "post-commit", "update"):
        hook = here.top / ".git/hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran-{name}'\n")
        hook.chmod(0o755)
    here.publish()
    assert list(tmp_path.glob("ran-*")) == []


def test_a_working_tree_amid_an_operation_is_refused_by_its_own_code(tmp_path: Path) -> None:
    here = world(tmp_path, {"calc": BAD}, {"calc": LINES})
    (here.top / ".git/MERGE_HEAD").write_text(f"{here.old}\n")
    assert refusal(here) == "operation_in_progress"


def test_somebody_elses_index_lock_is_waited_for_and_never_removed(tmp_path: Path) -> None:
    here = world(tmp_path, {"calc": BAD}, {"calc": LINES})
    publication = here.plan()
    lock = here.top / ".git/index.lock"
    lock.write_bytes(b"")
    before = picture(here.top)
    with pytest.raises(RefusedError) as caught:
        publish(here.repository, here.mirror, publication, here.record, lock_wait=0.1)
    assert caught.value.code == "index_locked"
    assert str(lock) in str(caught.value)
    assert picture(here.top) == before
    timer = threading.Timer(0.1, lock.unlink)
    timer.start()
    publish(here.repository, here.mirror, publication, here.record)
    timer.join()
    assert status(here.top) == ""


def test_a_branch_held_by_somebody_else_is_refused_and_the_lock_stays(tmp_path: Path) -> None:
    here = world(tmp_path, {"calc": BAD}, {"calc": LINES})
    publication = here.plan()
    lock = here.top / ".git/refs/heads/main.lock"
    lock.write_bytes(b"")
    before = picture(here.top)
    with pytest.raises(RefusedError) as caught:
        publish(here.repository, here.mirror, publication, here.record, lock_wait=0.0)
    assert caught.value.code == "ref_locked"
    assert lock.exists()
    assert picture(here.top) == before


@pytest.mark.parametrize("moment", ["lock", "objects", "edits", "transaction"])
def test_a_branch_that_moves_at_the_worst_moment_is_refused_and_nothing_else_changes(
    tmp_path: Path, moment: str
) -> None:
    here = world(tmp_path, {"calc": BAD}, {"calc": LINES})
    write(here.top, {"calc": edited(BAD, 15, "mine")})
    publication = here.plan()
    elsewhere = git(here.top, "commit-tree", "-p", here.old, "-m", "an agent's", f"{here.old}^{{tree}}")
    before = picture(here.top)

    def record(name: str, data: Mapping[str, object]) -> None:
        if name == moment:
            git(here.top, "update-ref", "refs/heads/main", elsewhere)

    with pytest.raises(RefusedError) as caught:
        publish(here.repository, here.mirror, publication, record, lock_wait=0.2)
    assert caught.value.code == "branch_moved"
    git(here.top, "update-ref", "refs/heads/main", here.old)
    assert picture(here.top) == before
    assert state_of(here.repository, publication) == "untouched"


def test_nobody_can_commit_while_the_files_follow(tmp_path: Path) -> None:
    here = world(tmp_path, {"calc": BAD}, {"calc": LINES})
    publication = here.plan()
    attempts = []

    def record(name: str, data: Mapping[str, object]) -> None:
        if name in {"follow", "commit"}:
            for command in (["commit", "-q", "--allow-empty", "-m", "x"], ["update-ref", "refs/heads/main", here.new]):
                done = subprocess.run(["git", *command], cwd=here.top, check=False, capture_output=True)
                attempts.append(done.returncode)

    publish(here.repository, here.mirror, publication, record)
    assert attempts == [128] * 4
    assert git(here.top, "rev-parse", "main") == here.new


def test_an_edit_saved_while_the_files_follow_stops_it_and_all_goes_back(tmp_path: Path) -> None:
    here = world(tmp_path, {"calc": BAD, "other": BAD}, {"calc": LINES, "other": LINES})
    write(here.top, {"calc": edited(BAD, 15, "mine"), "other": edited(BAD, 15, "mine")})
    publication = here.plan()
    before = picture(here.top)

    def record(name: str, data: Mapping[str, object]) -> None:
        if name == "edit" and data["path"] == "other":
            write(here.top, {"other": "saved just now"})

    with pytest.raises(RefusedError) as caught:
        publish(here.repository, here.mirror, publication, record)
    assert caught.value.code == "third_content"
    write(here.top, {"other": edited(BAD, 15, "mine")})
    assert picture(here.top) == before


def with_filter(place: Path) -> World:
    """Return a world where files named ``*.odd`` pass a filter, between others that do not, and one has an edit."""
    names = ("a", "edited", "m.odd", "z")
    here = world(place, dict.fromkeys(names, BAD), dict.fromkeys(names, LINES))
    git(here.top, "config", "filter.odd.smudge", "cat")
    git(here.top, "config", "filter.odd.clean", "cat")
    git(here.top, "config", "filter.odd.required", "true")
    write(here.top, {".git/info/attributes": "*.odd filter=odd\n", "edited": edited(BAD, 15, "mine")})
    return here


def test_a_checkout_that_fails_halfway_is_taken_back(tmp_path: Path) -> None:
    here = with_filter(tmp_path)
    publication = here.plan()
    git(here.top, "config", "filter.odd.smudge", "awk '/^line 3$/ {exit 1} {print}'")  # cannot write the new content
    before = picture(here.top)
    with pytest.raises(GitError, match="read-tree"):
        publish(here.repository, here.mirror, publication, here.record)
    assert picture(here.top) == before
    assert status(here.top) == " M edited"
    assert state_of(here.repository, publication) == "untouched"


def test_a_checkout_that_can_neither_end_nor_be_taken_back_says_so_and_is_resumed(tmp_path: Path) -> None:
    here = with_filter(tmp_path)
    publication = here.plan()
    git(here.top, "config", "filter.odd.smudge", "false")  # only now: what fails before is refused by the plan
    with pytest.raises(GitError, match="read-tree") as caught:
        publish(here.repository, here.mirror, publication, here.record)
    assert "resume" in caught.value.__notes__[0]
    git(here.top, "config", "filter.odd.smudge", "cat")
    assert resume(here.repository, here.mirror, publication, here.records) == "done"
    assert status(here.top) == " M edited"
    assert (here.top / "edited").read_text() == edited(LINES, 15, "mine")
    assert {(here.top / name).read_text() for name in ("a", "m.odd", "z")} == {LINES}


def test_a_journal_that_cannot_be_written_stops_it_before_anything_is_done(tmp_path: Path) -> None:
    here = world(tmp_path, {"calc": BAD}, {"calc": LINES})
    publication = here.plan()
    before = picture(here.top)

    def record(name: str, data: Mapping[str, object]) -> None:
        if name == "commit":
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        publish(here.repository, here.mirror, publication, record)
    after = picture(here.top)
    assert (after["refs"], after["files"], after["git dir"]) == (before["refs"], before["files"], before["git dir"])
    assert status(here.top) == ""


def test_a_working_tree_added_after_planning_is_refused(tmp_path: Path) -> None:
    here = world(tmp_path, {"calc": BAD}, {"calc": LINES})
    publication = here.plan()
    git(here.top, "worktree", "add", "-q", "--force", str(tmp_path / "twin"), "main")
    with pytest.raises(RefusedError) as caught:
        publish(here.repository, here.mirror, publication, here.record)
    assert caught.value.code == "worktrees_changed"
    assert not (here.top / ".git/index.lock").exists()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    here = world(tmp_path, {"ro/calc": BAD}, {"ro/calc": LINES})
    (here.top / "ro").chmod(0o555)
    if os.access(here.top / "ro", os.W_OK):  # root may write anywhere: ask as somebody who may not
        code = as_nobody(here.top, tmp_path, lambda: refusal(here))
    else:
        code = refusal(here)
    (here.top / "ro").chmod(0o755)
    assert code == "not_writable"


def as_nobody(top: Path, place: Path, question: Callable[[], str]) -> str:
    """Return the answer of ``question``, asked by a child process that is not root."""
    reader, writer = os.pipe()
    for path in (place, *place.parents):
        if path != Path("/") and path.stat().st_uid == 0 and path != Path("/tmp"):
            path.chmod(path.stat().st_mode | 0o055)
    for root, folders, files in os.walk(place):
        for name in (*folders, *files, "."):
            os.chown(Path(root) / name, 65534, 65534, follow_symlinks=False)
    child_pid = os.fork()
    if child_pid == 0:
        try:
            os.setgid(65534)
            os.setuid(65534)
            os.write(writer, question().encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        answer = stream.read().decode()
    os.waitpid(child_pid, 0)
    return answer


def test_what_is_planned_can_be_kept_as_json(tmp_path: Path) -> None:
    here = world(tmp_path, {"calc": BAD}, {"calc": LINES})
    assert here.plan().to_json()["worktrees"] == [str(here.top)]


def test_a_branch_that_is_not_where_it_was_is_refused_at_once(tmp_path: Path) -> None:
    here = world(tmp_path, {"calc": BAD}, {"calc": LINES})
    with pytest.raises(RefusedError) as caught:
        plan_publication(Repository.discover(here.top), here.mirror, "main", here.new, here.new)
    assert caught.value.code == "branch_moved"
