"""Whatever the history and the checkout look like: the fault is taken back, and nothing else is."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import git
from tests.e2e.conftest import BAD, GOOD, Shop, world

NOISE = b"\x00\r\n\xff" + b"".join(hashlib.sha256(bytes([number])).digest() for number in range(100))
"""Bytes that are no text."""
TREBLE = "\n\ndef treble(a):\n    return 3 * a\n"


def status(directory: Path) -> list[str]:
    """Return git's status, a line an entry, without the settings file, which no test commits."""
    entries = git(directory, "status", "--porcelain", "-z").split("\0")
    return sorted(entry for entry in entries if entry and entry != "?? rollcage.yml")


def recover(shop: Shop) -> list[dict[str, Any]]:
    """Let rollcage recover the shop; the branch is sound then, and git's status what it was before."""
    before = status(shop.path)
    events = shop.once(code=0)
    assert events[-1]["result"] == "recovered"
    assert status(shop.path) == before
    git(shop.path, "fsck", "--strict", "--no-dangling")
    return events


def culprits(events: list[dict[str, Any]]) -> list[str]:
    return [culprit["sha"] for event in events if event["event"] == "diagnosis" for culprit in event["culprits"]]


def go_on(directory: Path) -> None:
    """Commit all as an agent does that knows of nothing; the fault must not come back with it."""
    git(directory, "commit", "-q", "--allow-empty", "-a", "-m", "go on")
    assert "a + b" in git(directory, "show", "main:calc.py")
    assert "a - b" not in git(directory, "show", "main:calc.py")


class TestHistory:
    """The fault lies anywhere in the history."""

    def test_a_later_good_commit_in_the_same_file_stays(self, shop: Shop) -> None:
        bad = shop.commit("executor", "tidy add", {"calc.py": BAD})
        shop.commit("planner", "add treble", {"calc.py": BAD + TREBLE})
        assert culprits(recover(shop)) == [bad]
        assert shop.read("calc.py") == GOOD + TREBLE
        go_on(shop.path)

    def test_a_file_renamed_by_a_later_good_commit_is_mended_under_its_new_name(self, shop: Shop) -> None:
        bad = shop.commit("executor", "tidy add", {"calc.py": BAD})
        shop.commit("planner", "move calc", {"calc.py": None, "lib/calc.py": BAD + TREBLE})
        assert culprits(recover(shop)) == [bad]
        assert shop.read("lib/calc.py") == GOOD + TREBLE
        assert not (shop.path / "calc.py").exists()

    def test_the_very_rename_that_broke_it_is_taken_back(self, shop: Shop) -> None:
        bad = shop.commit("executor", "move calc", {"calc.py": None, "calculator.py": GOOD})
        shop.commit("planner", "plan on", {"plan.md": "plan\nmore\non\n"})
        assert culprits(recover(shop)) == [bad]
        assert shop.read("calc.py") == GOOD
        assert not (shop.path / "calculator.py").exists()
        assert shop.read("plan.md") == "plan\nmore\non\n"

    def test_a_fault_on_the_branch_while_good_work_is_merged(self, shop: Shop) -> None:
        git(shop.path, "switch", "-q", "-c", "feature")
        shop.commit("planner", "feature", {"feature.md": "feature\n"})
        git(shop.path, "switch", "-q", "main")
        bad = shop.commit("executor", "tidy add", {"calc.py": BAD})
        git(shop.path, "merge", "-q", "--no-ff", "-m", "merge feature", "feature")
        shop.commit("planner", "plan on", {"plan.md": "plan\nmore\non\n"})
        assert culprits(recover(shop)) == [bad]
        assert (shop.read("feature.md"), shop.read("plan.md")) == ("feature\n", "plan\nmore\non\n")
        go_on(shop.path)

    def test_a_fault_that_came_by_a_merge_goes_and_the_branchs_own_commits_stay(self, shop: Shop) -> None:
        git(shop.path, "switch", "-q", "-c", "feature")
        bad = shop.commit("executor", "tidy add", {"calc.py": BAD})
        git(shop.path, "switch", "-q", "main")
        shop.commit("planner", "plan on", {"plan.md": "plan\nmore\non\n"})
        git(shop.path, "merge", "-q", "--no-ff", "-m", "merge feature", "feature")
        shop.commit("planner", "notes on", {"notes.md": "notes\non\n"})
        assert culprits(recover(shop)) == [bad]
        assert (shop.read("plan.md"), shop.read("notes.md")) == ("plan\nmore\non\n", "notes\non\n")
        go_on(shop.path)

    def test_of_a_merge_that_also_brought_wanted_work_only_the_fault_goes(self, shop: Shop) -> None:
        git(shop.path, "switch", "-q", "-c", "feature")
        shop.commit("planner", "feature", {"feature.md": "feature\n"})
        bad = shop.commit("executor", "tidy add", {"calc.py": BAD})
        git(shop.path, "switch", "-q", "main")
        git(shop.path, "merge", "-q", "--no-ff", "-m", "merge feature", "feature")
        assert culprits(recover(shop)) == [bad]
        assert (shop.read("calc.py"), shop.read("feature.md")) == (GOOD, "feature\n")
        go_on(shop.path)

    def test_main_moved_to_an_agents_branch_that_had_merged_main(self, shop: Shop) -> None:
        git(shop.path, "switch", "-q", "-c", "feature")
        shop.commit("executor", "tidy add", {"calc.py": BAD})
        git(shop.path, "switch", "-q", "main")
        shop.commit("planner", "plan on", {"plan.md": "plan\nmore\non\n"})
        shop.once(code=0)
        git(shop.path, "switch", "-q", "feature")
        git(shop.path, "merge", "-q", "-m", "catch up with main", "main")
        git(shop.path, "switch", "-q", "main")
        git(shop.path, "merge", "-q", "--ff-only", "feature")
        recover(shop)
        assert shop.read("plan.md") == "plan\nmore\non\n"
        go_on(shop.path)


class TestFiles:
    """Names and contents of every kind, in the culprit's commit and beside it."""

    def test_odd_names_are_only_names(self, shop: Shop) -> None:
        odd = ["-f", "a b/ü 'x' \"y\".md", ":(top)x", "tab\there", "new\nline", "*.md", "$(id)", "o\u0308.md"]
        shop.commit("planner", "odd names", dict.fromkeys(odd, "1\n2\n3\n4\n5\n"))
        shop.commit("executor", "tidy add", {"calc.py": BAD, **dict.fromkeys(odd, "1\n2\nthree\n4\n5\n")})
        shop.commit("planner", "later", {odd[1]: "1\n2\nthree\n4\n5\nlater\n"})
        (shop.path / odd[0]).write_text("one\n2\nthree\n4\n5\n")  # uncommitted
        (shop.path / "--force").write_text("untracked\n")
        recover(shop)
        assert shop.read("calc.py") == GOOD
        assert shop.read(odd[0]) == "one\n2\n3\n4\n5\n"
        assert shop.read(odd[1]) == "1\n2\n3\n4\n5\nlater\n"
        assert {shop.read(name) for name in odd[2:]} == {"1\n2\n3\n4\n5\n"}
        assert status(shop.path) == [" M -f", "?? --force"]
        go_on(shop.path)

    def test_binary_files_come_back_to_the_byte(self, shop: Shop) -> None:
        shop.commit("planner", "pictures", {"a.bin": NOISE, "b.bin": NOISE, "c.bin": NOISE})
        shop.commit("executor", "tidy add", {"calc.py": BAD, "a.bin": NOISE[::-1]})
        shop.commit("planner", "a better picture", {"b.bin": NOISE * 2})
        (shop.path / "c.bin").write_bytes(NOISE * 3)
        (shop.path / "d.bin").write_bytes(NOISE * 4)
        recover(shop)
        found = [(shop.path / f"{name}.bin").read_bytes() for name in "abcd"]
        assert found == [NOISE, NOISE * 2, NOISE * 3, NOISE * 4]
        assert status(shop.path) == [" M c.bin", "?? d.bin"]
        go_on(shop.path)


class TestUncommittedWork:
    """It is somebody's work: not a byte of it changes, or nothing is done."""

    def test_a_dirty_tree_stays_as_it_is(self, shop: Shop) -> None:
        shop.commit("planner", "more files", {"gone.md": "gone\n", "run.sh": "#!/bin/sh\n", "both.md": "1\n"})
        shop.commit("executor", "tidy add", {"calc.py": BAD})
        (shop.path / "plan.md").write_text("plan\r\nno line end")
        (shop.path / "both.md").write_text("1\nstaged\n")
        (shop.path / "new.md").write_text("new, staged\n")
        git(shop.path, "add", "both.md", "new.md")
        (shop.path / "both.md").write_text("1\nstaged\nand not staged\n")
        (shop.path / "gone.md").unlink()
        (shop.path / "run.sh").chmod(0o755)
        (shop.path / "drafts").mkdir()
        (shop.path / "drafts" / "draft.md").write_text("untracked\n")
        (shop.path / "__pycache__").mkdir()
        (shop.path / "__pycache__" / "ignored").write_bytes(NOISE)
        (shop.path / "link").symlink_to("nowhere")
        git(shop.path, "add", "--intent-to-add", "link")
        before = world(shop.path)
        staged = git(shop.path, "diff", "--cached", "--raw", "--abbrev=40", "--", "both.md", "new.md", "link")
        recover(shop)
        after = world(shop.path)
        assert after["status"] == before["status"]
        assert after["files"] == {**_files(before), "calc.py": GOOD.encode()}
        assert git(shop.path, "diff", "--cached", "--raw", "--abbrev=40") == staged
        assert os.access(shop.path / "run.sh", os.X_OK)
        go_on(shop.path)

    def test_an_edit_elsewhere_in_the_culprits_own_file_is_kept(self, shop: Shop) -> None:
        shop.commit("executor", "tidy add", {"calc.py": BAD})
        (shop.path / "calc.py").write_text(BAD.replace("2 * a", "a + a  # half a thought"))
        recover(shop)
        assert shop.read("calc.py") == GOOD.replace("2 * a", "a + a  # half a thought")
        assert shop.committed("calc.py") == GOOD
        assert status(shop.path) == [" M calc.py"]
        go_on(shop.path)

    def test_a_staged_edit_in_the_culprits_own_file_stays_staged(self, shop: Shop) -> None:
        shop.commit("executor", "tidy add", {"calc.py": BAD})
        (shop.path / "calc.py").write_text(BAD + TREBLE)
        git(shop.path, "add", "calc.py")
        recover(shop)
        assert shop.read("calc.py") == git(shop.path, "cat-file", "blob", ":calc.py") + "\n" == GOOD + TREBLE
        assert status(shop.path) == ["M  calc.py"]
        go_on(shop.path)

    def test_somebody_who_has_mended_it_by_hand_is_not_in_the_way(self, shop: Shop) -> None:
        shop.commit("executor", "tidy add", {"calc.py": BAD})
        (shop.path / "calc.py").write_text(GOOD)
        assert shop.once(code=0)[-1]["result"] == "recovered"
        assert shop.committed("calc.py") == shop.read("calc.py") == GOOD
        assert status(shop.path) == []

    def test_an_edit_of_the_culprits_own_line_makes_it_wait_and_nothing_is_changed(self, shop: Shop) -> None:
        shop.commit("executor", "tidy add", {"calc.py": BAD})
        (shop.path / "calc.py").write_text(BAD.replace("a - b", "a - b  # faster"))
        before = world(shop.path)
        events = shop.once(code=3)
        assert events[-1]["result"] == "waiting"
        (decision,) = [event for event in events if event["event"] == "decision"]
        assert (decision["verdict"], decision["reason"]) == ("wait", "overlap")
        assert world(shop.path) == before
        option = decision["option"]
        refused = shop.here("rollback", option, "--yes")  # a person may not lose it either
        assert refused.code != 0
        assert "calc.py" in refused.err
        assert world(shop.path) == before
        git(shop.path, "checkout", "--", "calc.py")
        assert shop.here("rollback", option, "--yes").code == 0
        assert shop.read("calc.py") == GOOD
        go_on(shop.path)


class TestWorktrees:
    """The branch may be checked out here, elsewhere, twice, or nowhere."""

    def test_a_detached_head_stays_where_it_is(self, shop: Shop) -> None:
        bad = shop.commit("executor", "tidy add", {"calc.py": BAD})
        git(shop.path, "checkout", "-q", "--detach")
        (shop.path / "plan.md").write_text("half a thought\n")
        recover(shop)
        assert shop.committed("calc.py") == GOOD
        assert shop.head() != bad
        assert git(shop.path, "rev-parse", "HEAD") == bad
        assert shop.read("calc.py") == BAD
        assert status(shop.path) == [" M plan.md"]

    def test_a_second_worktree_that_has_the_branch_follows_and_keeps_its_work(self, shop: Shop, tmp_path: Path) -> None:
        shop.commit("executor", "tidy add", {"calc.py": BAD})
        git(shop.path, "switch", "-q", "-c", "elsewhere")
        second = tmp_path / "second\n tree"
        git(shop.path, "worktree", "add", "-q", str(second), "main")
        (second / "notes.md").write_text("half a thought\n")
        (second / "untracked.md").write_text("untracked\n")
        here = world(shop.path)
        recover(shop)
        assert (second / "calc.py").read_text() == GOOD
        assert (second / "notes.md").read_text() == "half a thought\n"
        assert status(second) == [" M notes.md", "?? untracked.md"]
        assert _files(world(shop.path)) == _files(here)
        assert git(shop.path, "rev-parse", "--abbrev-ref", "HEAD") == "elsewhere"
        go_on(second)

    def test_two_worktrees_that_have_the_branch_both_follow(self, shop: Shop, tmp_path: Path) -> None:
        shop.commit("executor", "tidy add", {"calc.py": BAD})
        second = tmp_path / "second"
        git(shop.path, "worktree", "add", "-q", "--force", str(second), "main")
        recover(shop)
        assert status(shop.path) == status(second) == []
        assert shop.read("calc.py") == (second / "calc.py").read_text() == GOOD
        go_on(second)

    def test_a_second_worktree_on_another_branch_is_left_alone(self, shop: Shop, tmp_path: Path) -> None:
        shop.commit("executor", "tidy add", {"calc.py": BAD})
        second = tmp_path / "second"
        git(shop.path, "worktree", "add", "-q", "-b", "feature", str(second))
        (second / "calc.py").write_text("work of its own\n")
        before = world(second)
        recover(shop)
        after = world(second)
        assert {**after, "refs": ""} == {**before, "refs": ""}
        assert git(shop.path, "rev-parse", "feature") == git(shop.path, "rev-parse", "main~1")
        go_on(shop.path)

    def test_a_worktree_whose_folder_is_gone_is_no_obstacle(self, shop: Shop, tmp_path: Path) -> None:
        shop.commit("executor", "tidy add", {"calc.py": BAD})
        second = tmp_path / "second"
        git(shop.path, "worktree", "add", "-q", "--force", str(second), "main")
        shutil.rmtree(second)
        recover(shop)
        assert shop.read("calc.py") == GOOD
        go_on(shop.path)

    @pytest.mark.parametrize("operation", ["merge", "rebase"])
    def test_an_operation_in_progress_is_not_disturbed(self, shop: Shop, operation: str) -> None:
        git(shop.path, "switch", "-q", "-c", "feature")
        shop.commit("planner", "their plan", {"plan.md": "their plan\n"})
        git(shop.path, "switch", "-q", "main")
        shop.commit("planner", "our plan", {"plan.md": "our plan\n"})
        shop.commit("executor", "tidy add", {"calc.py": BAD})
        with pytest.raises(AssertionError, match=r"CONFLICT|could not apply"):
            git(shop.path, operation, "feature")
        before = world(shop.path)
        events = shop.once(code=3)
        (decision,) = [event for event in events if event["event"] == "decision"]
        assert (decision["verdict"], decision["reason"]) == ("wait", "operation_in_progress")
        assert world(shop.path) == before
        git(shop.path, operation, "--abort")
        assert shop.here("rollback", decision["option"], "--yes").code == 0
        assert shop.read("calc.py") == GOOD
        go_on(shop.path)

    def test_an_unborn_branch_is_healthy_and_stays_unborn(self, shop: Shop, tmp_path: Path) -> None:
        new = tmp_path / "new"
        git(tmp_path, "init", "-q", "-b", "main", str(new))
        shutil.copy(shop.path / "rollcage.yml", new)
        assert shop.here("-C", str(new), "trust").code == 0
        ran = shop.here("-C", str(new), "--auto", "--once", "--json")
        assert (ran.code, ran.err) == (0, "")
        assert ran.records[-1]["result"] == "healthy"
        assert git(new, "for-each-ref") == ""
        assert status(new) == []


def _files(seen: dict[str, object]) -> dict[str, bytes]:
    files = seen["files"]
    assert isinstance(files, dict)
    return files
