"""Rehearsal says exactly what taking commits back would give, and touches nothing of the user's."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollcage.core.errors import GitError, StoreError
from rollcage.core.gitrepo.mirror import Mirror
from rollcage.core.gitrepo.rehearse import (
    Reversal,
    lost_lines,
    make_commit,
    rehearse_onto,
    rehearse_reverts,
    rehearse_series,
)
from tests.conftest import git
from tests.gitrepo.conftest import commit, mirror_of

TEXT = "".join(f"line {number}\n" for number in range(1, 21))
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
AT = datetime(2026, 11, 20, 14, 0, tzinfo=UTC)


def tree_of(top: Path, name: str = "HEAD") -> str:
    return git(top, "rev-parse", f"{name}^{{tree}}")


def head_of(top: Path) -> str:
    return git(top, "rev-parse", "HEAD")


def one(mirror: Mirror, top: Path, target: str, **more: dict[str, str]) -> Reversal:
    (reversal,) = rehearse_reverts(mirror, head_of(top), [target], **more)
    return reversal


def files_in(mirror: Mirror, tree: str | None) -> dict[str, str]:
    """Return mode and content of every file in the tree that a rehearsal gave."""
    assert tree is not None
    lines = mirror.git.run("ls-tree", "-r", "-z", tree).out.decode().split("\0")[:-1]
    found = {}
    for line in lines:
        about, path = line.split("\t", 1)
        mode, _, blob = about.split()
        found[path] = f"{mode} " + mirror.git.run("cat-file", "blob", blob).out.decode(errors="backslashreplace")
    return found


# What comes out


def test_the_newest_commit_goes_back_to_its_parents_tree(repository: Path, mirror: Mirror) -> None:
    before = tree_of(repository)
    target = commit(repository, {"a": "1\n", "README": "changed\n"})
    assert one(mirror, repository, target) == Reversal(
        (target,), before, (), "", git(repository, "rev-parse", "HEAD~1")
    )


def test_an_older_commit_goes_and_later_work_in_the_same_file_stays(repository: Path, mirror: Mirror) -> None:
    commit(repository, {"a": TEXT})
    target = commit(repository, {"a": TEXT.replace("line 3\n", "bad\n")})
    commit(repository, {"a": TEXT.replace("line 3\n", "bad\n").replace("line 15\n", "good\n")})
    reversal = one(mirror, repository, target)
    assert files_in(mirror, reversal.tree)["a"] == "100644 " + TEXT.replace("line 15\n", "good\n")
    assert reversal.reason == ""


def test_a_file_renamed_since_is_followed(repository: Path, mirror: Mirror) -> None:
    commit(repository, {"old name": TEXT})
    target = commit(repository, {"old name": TEXT.replace("line 3\n", "bad\n")})
    (repository / "sub").mkdir()
    git(repository, "mv", "old name", 'sub/new "näme"')
    commit(repository, {})
    found = files_in(mirror, one(mirror, repository, target).tree)
    assert found == {"README": "100644 shop\n", 'sub/new "näme"': "100644 " + TEXT}


def test_a_rename_is_taken_back_with_what_was_changed_in_it_since(repository: Path, mirror: Mirror) -> None:
    commit(repository, {"a": TEXT})
    git(repository, "mv", "a", "b")
    target = commit(repository, {})
    commit(repository, {"b": TEXT.replace("line 9\n", "later\n")})
    found = files_in(mirror, one(mirror, repository, target).tree)
    assert found["a"] == "100644 " + TEXT.replace("line 9\n", "later\n")
    assert "b" not in found


def test_a_renamed_folder_is_not_guessed(repository: Path, mirror: Mirror) -> None:
    commit(repository, {"old/a": TEXT, "old/b": TEXT + "b\n", "old/c": "c\n"})
    target = commit(repository, {"old/c": None})
    git(repository, "mv", "old", "new")
    commit(repository, {})
    assert "old/c" in files_in(mirror, one(mirror, repository, target).tree)


def test_modes_links_binaries_and_odd_names(repository: Path, mirror: Mirror) -> None:
    odd = 'sp ace/ünï "q"\n\''
    commit(repository, {"run": "#!/bin/sh\n", "-f": "dash\n", odd: "odd\n", "b": bytes(range(256))})
    (repository / "link").symlink_to("run")
    before = commit(repository, {})
    (repository / "run").chmod(0o755)
    (repository / "link").unlink()
    (repository / "link").symlink_to("-f")
    target = commit(repository, {"-f": None, odd: "changed\n", "b": bytes(reversed(range(256)))})
    commit(repository, {"later": "x\n"})
    found = files_in(mirror, one(mirror, repository, target).tree)
    assert found.pop("later") == "100644 x\n"
    assert found == files_in(mirror, tree_of(repository, before))
    assert found["link"] == "120000 run"


def test_a_deleted_file_comes_back_and_an_added_one_goes(repository: Path, mirror: Mirror) -> None:
    target = commit(repository, {"README": None, "new": "x\n"})
    commit(repository, {"other": "y\n"})
    assert set(files_in(mirror, one(mirror, repository, target).tree)) == {"README", "other"}


def test_the_first_commit_can_be_taken_back(repository: Path, mirror: Mirror) -> None:
    root = head_of(repository)
    assert files_in(mirror, one(mirror, repository, root).tree) == {}
    commit(repository, {"later": "x\n"})
    reversal = one(mirror, repository, root)
    assert files_in(mirror, reversal.tree) == {"later": "100644 x\n"}
    assert reversal.parent == ""


def test_nothing_left_to_take_back(repository: Path, mirror: Mirror) -> None:
    target = commit(repository, {"a": "1\n"})
    empty = commit(repository, {})
    git(repository, "revert", "--no-edit", target)
    for sha in (target, empty):
        reversal = one(mirror, repository, sha)
        assert (reversal.reason, reversal.tree) == ("no_change", tree_of(repository))


# Conflicts


def test_conflicts_are_readable_and_name_the_file(repository: Path, mirror: Mirror) -> None:
    commit(repository, {'a "b"': TEXT, "bin": b"\0one", "gone": TEXT})
    target = commit(
        repository, {'a "b"': TEXT.replace("line 3\n", "bad\n"), "bin": b"\0two", "gone": TEXT + "x\n", "n": TEXT}
    )
    commit(
        repository, {'a "b"': TEXT.replace("line 3\n", "worse\n"), "bin": b"\0three", "gone": None, "n": TEXT + "y\n"}
    )
    reversal = one(mirror, repository, target)
    assert (reversal.tree, reversal.reason) == (None, "conflict")
    assert sorted(reversal.conflicts) == [
        '"a \\"b\\"": the same lines were changed since',
        "bin: a binary file that was changed since",
        "gone: deleted since",
        "n: changed since, and would have to be deleted",
    ]


def test_any_conflict_is_told_without_ids_of_our_making(repository: Path, mirror: Mirror) -> None:
    commit(repository, {"a": TEXT, "m": "1\n"})
    git(repository, "mv", "a", "b")
    target = commit(repository, {"m": None})
    git(repository, "mv", "b", "c")
    commit(repository, {"a/inner": "x\n", "m/inner": "y\n"})
    reversal = one(mirror, repository, target)
    assert {line.partition(":")[0] for line in reversal.conflicts} >= {"b", "m"}
    for line in reversal.conflicts:
        assert not any(len(word) == 40 for word in line.replace(":", " ").split())


def test_one_bad_target_does_not_spoil_the_others(repository: Path, mirror: Mirror) -> None:
    good = commit(repository, {"a": "1\n"})
    names = [good, "1" * 40, "-f", "HEAD", "", "a\nb", tree_of(repository), good[:10]]
    found = rehearse_reverts(mirror, good, names)
    assert [reversal.targets for reversal in found] == [(name,) for name in names]
    assert [reversal.reason for reversal in found] == ["", *["unknown_commit"] * 6, ""]
    assert found[0].tree == found[-1].tree


def test_an_unknown_head_is_an_error(mirror: Mirror) -> None:
    with pytest.raises(GitError, match="no commit 1111"):
        rehearse_reverts(mirror, "1" * 40, [])


def test_no_targets(repository: Path, mirror: Mirror) -> None:
    assert rehearse_reverts(mirror, head_of(repository), []) == []


# Merges


@pytest.fixture
def merged(repository: Path) -> tuple[str, str, str]:
    """An agent merges main into its branch, and main is fast-forwarded to it: the second parent is main's own."""
    commit(repository, {"a": TEXT})
    git(repository, "checkout", "-q", "-b", "agent")
    bad = commit(repository, {"bad": "bad\n"})
    git(repository, "checkout", "-q", "main")
    good = commit(repository, {"good": "good\n"})
    git(repository, "checkout", "-q", "agent")
    git(repository, "merge", "-q", "-m", "merge main", "main")
    merge = head_of(repository)
    git(repository, "checkout", "-q", "main")
    git(repository, "merge", "-q", "--ff-only", "agent")
    return merge, bad, good


def test_a_merge_goes_back_to_the_parent_named(repository: Path, mirror: Mirror, merged: tuple[str, str, str]) -> None:
    merge, bad, good = merged
    commit(repository, {"later": "x\n"})
    found = files_in(mirror, one(mirror, repository, merge, parents={merge: good}).tree)
    assert set(found) == {"README", "a", "good", "later"}
    found = files_in(mirror, one(mirror, repository, merge, parents={merge: bad}).tree)
    assert set(found) == {"README", "a", "bad", "later"}


def test_a_merge_whose_way_back_is_unknown_shows_each(
    repository: Path, mirror: Mirror, merged: tuple[str, str, str]
) -> None:
    merge, bad, good = merged
    for parents in ({}, {merge: "1" * 40}):
        reversal = one(mirror, repository, merge, parents=parents)
        assert (reversal.tree, reversal.reason) == (None, "merge_parent")
        assert [way.parent for way in reversal.alternatives] == [bad, good]
        assert [way.tree for way in reversal.alternatives] == [tree_of(repository, bad), tree_of(repository, good)]


def test_a_merge_that_goes_back_to_the_same_either_way(repository: Path, mirror: Mirror) -> None:
    git(repository, "checkout", "-q", "-b", "agent")
    commit(repository, {}, "theirs")
    git(repository, "checkout", "-q", "main")
    commit(repository, {}, "ours")
    git(repository, "merge", "-q", "--no-commit", "agent")
    merge = commit(repository, {"evil": "x\n"})
    reversal = one(mirror, repository, merge)
    assert (reversal.tree, reversal.reason, reversal.parent) == (tree_of(repository, "HEAD~1"), "", "")


# Several together


def test_a_series_goes_back_newest_first_whatever_the_order_given(repository: Path, mirror: Mirror) -> None:
    before = tree_of(repository)
    shas = [commit(repository, {"a": f"{number}\n"}) for number in range(4)]  # each conflicts without the next
    for order in (shas, shas[::-1], [shas[2], shas[0], shas[3], shas[1]]):
        reversal = rehearse_series(mirror, shas[-1], order)
        assert (reversal.targets, reversal.tree, reversal.reason) == (tuple(shas[::-1]), before, "")


def test_a_series_with_others_work_between(repository: Path, mirror: Mirror) -> None:
    commit(repository, {"a": TEXT})
    bad, good = [], TEXT
    for number in (2, 8, 14):
        bad.append(commit(repository, {"bad": f"{number}\n"}))
        good = good.replace(f"line {number}\n", f"good {number}\n")
        commit(repository, {"a": good})
    reversal = rehearse_series(mirror, head_of(repository), bad)
    assert files_in(mirror, reversal.tree) == {"README": "100644 shop\n", "a": "100644 " + good}
    assert reversal.targets == tuple(bad[::-1])


def test_a_series_that_does_not_go_says_why(repository: Path, mirror: Mirror) -> None:
    first = commit(repository, {"a": "1\n"})
    commit(repository, {"a": "2\n"})
    third = commit(repository, {"b": "3\n"})
    git(repository, "checkout", "-q", "-b", "other", first)
    stranger = commit(repository, {"c": "4\n"})
    reversal = rehearse_series(mirror, third, [first, third])
    assert (reversal.reason, reversal.conflicts) == ("conflict", ("a: changed since, and would have to be deleted",))
    assert rehearse_series(mirror, third, [first, stranger]).reason == "not_in_history"
    assert rehearse_series(mirror, third, [first, "1" * 40]).reason == "unknown_commit"
    assert rehearse_series(mirror, third, []) == Reversal((), tree_of(repository, third), (), "no_change")


def test_a_series_through_a_merge(repository: Path, mirror: Mirror, merged: tuple[str, str, str]) -> None:
    merge, bad, good = merged
    after = commit(repository, {"later": "x\n"})
    reversal = rehearse_series(mirror, after, [merge, after], parents={merge: good})
    assert reversal.tree == tree_of(repository, good)
    assert rehearse_series(mirror, after, [merge, after]).reason == "merge_parent"
    assert rehearse_series(mirror, after, [bad]).reason == ""


def test_a_rehearsed_tree_is_brought_onto_a_branch_that_moved(repository: Path, mirror: Mirror) -> None:
    base = commit(repository, {"a": TEXT})
    tree = one(mirror, repository, base).tree
    assert tree is not None
    moved = commit(repository, {"b": "1\n"})
    assert set(files_in(mirror, rehearse_onto(mirror, tree, moved, base).tree)) == {"README", "b"}
    assert rehearse_onto(mirror, tree, base, base).tree == tree
    assert rehearse_onto(mirror, tree_of(repository, base), moved, base).reason == "no_change"
    clash = commit(repository, {"a": TEXT + "more\n"})
    assert rehearse_onto(mirror, tree, clash, base).conflicts == ("a: changed since, and would have to be deleted",)
    with pytest.raises(GitError, match="no commit or tree"):
        rehearse_onto(mirror, "-f", clash, base)


# Who has a say


def union_history(repository: Path, attributes: dict[str, str | bytes | None]) -> str:
    """Return a commit whose taking back conflicts in every file x, unless merge=union counts there."""
    names = ["x", "deep/x", "deep/er [1]/x"]
    commit(repository, {**dict.fromkeys(names, "1\n"), **attributes})
    target = commit(repository, dict.fromkeys(names, "2\n"))
    commit(repository, dict.fromkeys(names, "3\n"))
    return target


@pytest.mark.parametrize(
    ("attributes", "united"),
    [
        ({}, set()),
        ({".gitattributes": "x merge=union"}, {"x", "deep/x", "deep/er [1]/x"}),
        ({".gitattributes": "/x merge=union\n"}, {"x"}),
        ({"deep/.gitattributes": "x merge=union\n"}, {"deep/x", "deep/er [1]/x"}),
        ({"deep/.gitattributes": "/x merge=union\n"}, {"deep/x"}),
        ({"deep/.gitattributes": '"er [[]1]/x" merge=union\n'}, {"deep/er [1]/x"}),
        ({"deep/er [1]/.gitattributes": "# note\n\n  * merge=union\n"}, {"deep/er [1]/x"}),
        ({".gitattributes": "[attr]u merge=union\n", "deep/.gitattributes": "/x u\n"}, {"deep/x"}),
        ({".gitattributes": "* merge=union\n", "deep/.gitattributes": "* !merge\n"}, {"x"}),
    ],
)
def test_attributes_are_those_of_the_commit(
    attributes: dict[str, str | bytes | None], united: set[str], repository: Path, mirror: Mirror
) -> None:
    target = union_history(repository, attributes)
    (repository / ".gitattributes").write_text("* -merge\n")  # not committed: no say
    clashed = {line.rpartition(":")[0] for line in one(mirror, repository, target).conflicts}
    assert clashed == {"x", "deep/x", "deep/er [1]/x"} - united


def test_attributes_below_a_folder_of_any_name(repository: Path, mirror: Mirror) -> None:
    odd = 'o"d\nd [*] \\ é'
    commit(repository, {f"{odd}/x": "1\n", "x": "1\n", f"{odd}/.gitattributes": "x merge=union\n"})
    target = commit(repository, {f"{odd}/x": "2\n"})
    commit(repository, {f"{odd}/x": "3\n"})
    assert one(mirror, repository, target).reason == ""


def test_neither_drivers_nor_attributes_of_the_user_count(repository: Path, mirror: Mirror, own_home: Path) -> None:
    target = union_history(repository, {".gitattributes": "* merge=mine\n"})
    driver = f'[merge "mine"]\n\tdriver = touch {own_home}/ran\n[core]\n\tattributesFile = {own_home}/attributes\n'
    (own_home / ".gitconfig").write_text(driver)
    (own_home / "attributes").write_text("* merge=union\n")
    (repository / ".git/info/attributes").write_text("* merge=union\n")
    git(repository, "config", "merge.mine.driver", f"touch {own_home}/ran")
    git(repository, "config", "merge.renames", "false")
    assert one(mirror, repository, target).reason == "conflict"
    assert not (own_home / "ran").exists()


# What it leaves and costs


def fingerprint(top: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of every file of the repository; of objects the size alone.

    Git renews the time of an object that it would have written, so that no pruning takes it away meanwhile.
    """
    found = {}
    for file in top.rglob("*"):
        status = file.lstat()
        found[str(file)] = (status.st_size, 0 if ".git/objects/" in str(file) else status.st_mtime_ns)
    return found


def test_nothing_changes_in_the_users_repository_and_nothing_is_left_behind(repository: Path, mirror: Mirror) -> None:
    first = commit(repository, {"a": TEXT, "b": "1\n"})
    second = commit(repository, {"a": TEXT.replace("line 3\n", "x\n")})
    third = commit(repository, {"a": TEXT.replace("line 3\n", "x\n").replace("line 17\n", "y\n"), "b": "2\n"})
    (repository / "a").write_text("dirty\n")
    (repository / "untracked").write_text("x")
    before = fingerprint(repository)
    found = [*rehearse_reverts(mirror, third, [first, second, third]), rehearse_series(mirror, third, [second, third])]
    lost_lines(mirror, third, tree_of(repository, first), [second])
    assert fingerprint(repository) == before
    assert [reversal.reason for reversal in found] == ["conflict", "", "", ""]
    assert list(mirror.path.with_name("work").iterdir()) == []
    assert mirror.git.text("for-each-ref") == ""
    objects = mirror.git.text("cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objecttype)").split(
        "\n"
    )
    ours = {line for line in objects if line.endswith("commit")}
    assert {line.split()[0] for line in ours} == {*git(repository, "rev-list", "--all").split()}


def test_many_threads_at_once(repository: Path, mirror: Mirror) -> None:
    shas = [commit(repository, {"a": f"{number}\n", f"f{number}": TEXT}) for number in range(6)]

    def work(_: int) -> list[Reversal]:
        mirror.ensure()
        mirror.keep(shas[-1], "threads")
        return rehearse_reverts(mirror, shas[-1], shas)

    with ThreadPoolExecutor(6) as threads:
        first, *others = threads.map(work, range(6))
    assert all(other == first for other in others)


def test_no_room_for_a_rehearsal_is_a_clear_error(repository: Path, mirror: Mirror) -> None:
    mirror.path.with_name("work").write_text("a file where the folder would be")
    with pytest.raises(StoreError, match=r"cannot rehearse in .*work.*make room there"):
        one(mirror, repository, head_of(repository))


def test_what_a_kill_left_of_a_rehearsal_goes_a_day_later(mirror: Mirror) -> None:
    work = mirror.path.with_name("work")
    old, new = work / "left-two-days-ago", work / "left-now"
    for folder in (old, new):
        folder.mkdir(parents=True)
    long_ago = time.time() - 2 * 86_400
    os.utime(old, (long_ago, long_ago))
    mirror.ensure()
    assert list(work.iterdir()) == [new]


def test_the_number_of_processes_does_not_grow_with_the_targets(
    repository: Path, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shas = [commit(repository, {"a": f"{number}\n"}) for number in range(12)]
    log = tmp_path / "log"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").write_text(f'#!/bin/sh\necho run >> {log}\nexec {shutil.which("git")} "$@"\n')
    (tmp_path / "bin/git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    counts = []
    # The first also reads the attributes, which are remembered; so are the commits, so each has to read its own.
    for targets in (shas[-2:], shas[-3:-1], shas[-6:], shas[-9:], shas):
        log.write_text("")
        mirror.commits.clear()
        rehearse_reverts(mirror, shas[-1], targets)
        counts.append(len(log.read_text().split()))
    assert counts[1] == counts[2] <= 4
    assert counts[3] == counts[4] <= 7  # of many some may need no merging
    assert counts[0] <= 6


def test_a_history_that_ends_early_is_not_taken_for_a_first_commit(repository: Path, tmp_path: Path) -> None:
    for number in range(3):
        commit(repository, {"n": str(number)})
    git(tmp_path, "clone", "-q", "--depth=2", f"file://{repository}", "shallow")
    mirror = mirror_of(tmp_path / "shallow", tmp_path / "state")
    found = rehearse_reverts(mirror, head_of(repository), [head_of(repository), git(repository, "rev-parse", "HEAD~1")])
    assert [reversal.reason for reversal in found] == ["", "unknown_parent"]


def test_sha256_repositories(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main", "--object-format=sha256", "new")
    first = commit(tmp_path / "new", {"a": TEXT, "sub/.gitattributes": "* merge=union\n"})
    second = commit(tmp_path / "new", {"a": TEXT + "x\n"})
    mirror = mirror_of(tmp_path / "new", tmp_path / "state")
    assert one(mirror, tmp_path / "new", second).tree == tree_of(tmp_path / "new", first)


# Commits and losses


def test_a_commit_of_ours_is_the_same_each_time(repository: Path, mirror: Mirror) -> None:
    head = head_of(repository)
    made = [make_commit(mirror, tree_of(repository), [head], "Take back äöü\n\nWhy.\n", AT) for _ in range(2)]
    assert made[0] == made[1]
    shown = mirror.git.text("show", "-s", "--format=%an <%ae> %cd|%P|%B", "--date=iso-strict", made[0])
    assert shown == f"rollcage <rollcage@localhost> 2026-11-20T14:00:00+00:00|{head}|Take back äöü\n\nWhy.\n"
    root = make_commit(mirror, tree_of(repository), [], "root", AT)
    assert mirror.git.text("rev-list", "--count", root) == "1"


def test_lost_lines_are_those_that_the_targets_did_not_add(repository: Path, mirror: Mirror) -> None:
    before = commit(repository, {"a": TEXT})
    target = commit(repository, {"a": TEXT + "bad\n--- odd\n", "new": "n\n"})
    after = commit(repository, {"a": TEXT + "bad\n--- odd\n" + "good\n", "b\t": "1\n2\n", "c": b"\0"})
    reverted = one(mirror, repository, target).tree
    assert reverted is None  # a conflict: good follows bad
    assert lost_lines(mirror, target, tree_of(repository, before), [target]) == 0
    assert lost_lines(mirror, after, tree_of(repository, before), [target]) == 4
    assert lost_lines(mirror, after, tree_of(repository, before), [target, after]) == 0
    assert lost_lines(mirror, after, tree_of(repository, after), [target]) == 0


def test_lines_in_a_file_renamed_since_are_not_counted_as_lost(repository: Path, mirror: Mirror) -> None:
    commit(repository, {"a": TEXT})
    target = commit(repository, {"a": TEXT + "bad\n"})
    git(repository, "mv", "a", "b")
    head = commit(repository, {})
    tree = one(mirror, repository, target).tree
    assert tree is not None
    assert lost_lines(mirror, head, tree, [target]) == 0


# Properties over generated histories

Step = dict[str, bytes | None]
STEPS = st.lists(
    st.dictionaries(
        st.sampled_from(["a", "-f", "d/b", "d/é \"'", "e"]),
        st.one_of(
            st.none(), st.lists(st.sampled_from(["x", "y", "z", ""]), max_size=6).map("\n".join), st.binary(max_size=8)
        ),
        max_size=3,
    ),
    min_size=1,
    max_size=6,
)


def linear(steps: list[dict[str, str | bytes | None]], top: Path) -> list[str]:
    """Write a history of ``steps`` (path to content; None: deleted); return its commits, oldest first."""
    git(top, "init", "-q", "-b", "main")
    stream = b""
    for number, step in enumerate(steps, 1):
        stream += b"commit refs/heads/main\nmark :%d\ncommitter A <a@b> %d +0000\ndata 0\n" % (
            number,
            1_700_000_000 + number,
        )
        for path, content in step.items():
            name = b'"' + path.replace('"', '\\"').encode() + b'"'
            if content is None:
                stream += b"D " + name + b"\n"
            else:
                data = content.encode() if isinstance(content, str) else content
                stream += b"M 644 inline " + name + b"\ndata %d\n" % len(data) + data + b"\n"
    git(top, "fast-import", "--quiet", stdin=stream)
    return git(top, "rev-list", "--reverse", "main").split()


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Path]:
    return (Path(tempfile.mkdtemp(dir=tmp_path)) for _ in iter(int, 1))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(steps=STEPS)
def test_taking_back_the_newest_always_gives_its_parents_tree(
    steps: list[dict[str, str | bytes | None]], places: Iterator[Path]
) -> None:
    place = next(places)
    top = place / "top"
    top.mkdir()
    shas = linear(steps, top)
    mirror = mirror_of(top, place / "state")
    before = fingerprint(top)
    found = rehearse_reverts(mirror, shas[-1], shas)
    assert found[-1].tree == (tree_of(top, f"{shas[-1]}^") if len(shas) > 1 else EMPTY_TREE)
    for reversal in found:
        assert (reversal.tree is None) == (reversal.reason == "conflict") == bool(reversal.conflicts)
    for count in range(1, len(shas)):  # all since any commit, together, give that commit's tree
        assert rehearse_series(mirror, shas[-1], shas[-count:]).tree == tree_of(top, shas[-count - 1])
    assert fingerprint(top) == before


def test_it_agrees_with_git_revert(repository: Path, mirror: Mirror) -> None:
    texts = [TEXT]
    for number in (3, 9, 15, 9):
        texts.append(
            texts[-1]
            .replace(f"line {number}\n", f"changed {number} {len(texts)}\n")
            .replace(f"d {number} 2", "d again")
        )
    shas = [commit(repository, {"a": text, f"f{index}": "x\n"}) for index, text in enumerate(texts)]
    found = rehearse_reverts(mirror, shas[-1], shas)
    for reversal in found:
        done = subprocess.run(
            ["git", "revert", "--no-edit", *reversal.targets], cwd=repository, capture_output=True, check=False
        )
        if done.returncode == 0:
            assert reversal.tree == tree_of(repository)
        else:
            assert reversal.reason == "conflict"
        git(repository, "reset", "-q", "--hard", shas[-1])
    assert {reversal.reason for reversal in found} == {"", "conflict"}
