"""Parts of a bad change are named and taken back alone; what git's merge of lines refuses comes out by words."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from rollcage.core.gitrepo.copies import find_copies
from rollcage.core.gitrepo.finely import rehearse_finely
from rollcage.core.gitrepo.mirror import Mirror
from rollcage.core.gitrepo.parts import Part, PartKind, parts_of, pieces_of, tree_taking_back
from rollcage.core.gitrepo.rehearse import lines_lost, lost_lines, rehearse_series
from rollcage.core.gitrepo.ways import read_series
from tests.conftest import git
from tests.gitrepo.conftest import commit
from tests.gitrepo.test_rehearse import files_in, head_of, tree_of

ADD = "def add(a, b):\n    return a + b\n"
BAD = ADD.replace("a + b", "a - b")
MUL = "\n\ndef mul(a, b):\n    return a * b\n"
DIV = "\n\ndef div(a, b):\n    return a / b\n"


def names(mirror: Mirror, top: Path, *targets: str) -> list[str]:
    return [part.name for part in parts_of(mirror, head_of(top), targets)]


def taken(mirror: Mirror, top: Path, targets: list[str], *parts: str) -> dict[str, str]:
    """Return the files of the tree without these parts."""
    found = tree_taking_back(mirror, head_of(top), targets, parts)
    assert found.reversal.reason == "", found.reversal
    return files_in(mirror, found.reversal.tree)


def texts(mirror: Mirror, tree: str | None) -> dict[str, str]:
    return {path: content.partition(" ")[2] for path, content in files_in(mirror, tree).items()}


# Names


def test_files_and_hunks_are_named_and_an_addition_falls_into_blocks(repository: Path, mirror: Mirror) -> None:
    commit(repository, {"calc.py": ADD + MUL, "gone": "x\n", "ü #1": "1\n"})
    target = commit(
        repository,
        {
            "calc.py": "import math\n" + BAD + MUL + DIV + DIV.replace("div", "mod"),
            "gone": None,
            "ü #1": "2\n",
            "b": b"\0",
        },
    )
    commit(repository, {"later": "x\n"})
    assert names(mirror, repository, target) == [
        "b", "calc.py", "calc.py#1", "calc.py#2", "calc.py#3", "calc.py#4", "gone", '"ü #1"', '"ü #1"#1',
    ]  # fmt: skip
    parts = {part.name: part for part in parts_of(mirror, head_of(repository), [target])}
    hunk = parts["calc.py#2"]
    assert (hunk.kind, hunk.within, hunk.path, hunk.start) == (PartKind.HUNK, "calc.py", "calc.py", 3)
    assert (hunk.gone, hunk.back) == (b"    return a - b\n", b"    return a + b\n")
    assert [parts[f"calc.py#{n}"].gone.strip().split(b"(")[0] for n in (1, 3, 4)] == [
        b"import math",
        b"def div",
        b"def mod",
    ]


def test_targets_in_a_row_are_one_change_and_others_carry_their_commit(repository: Path, mirror: Mirror) -> None:
    first = commit(repository, {"a": "1\n"})
    second = commit(repository, {"a": "2\n", "b": "1\n"})
    assert names(mirror, repository, first, second) == ["a", "a#1", "b", "b#1"]
    commit(repository, {"c": "1\n"})
    third = commit(repository, {"d": "1\n"})
    found = names(mirror, repository, second, third)
    assert found == [f"{third[:12]}:d", f"{third[:12]}:d#1"] + [f"{second[:12]}:{n}" for n in ("a", "a#1", "b", "b#1")]
    assert set(taken(mirror, repository, [second, third], f"{second[:12]}:b")) == {"README", "a", "c", "d"}


def test_unknown_parts_and_targets_are_refused(repository: Path, mirror: Mirror) -> None:
    target = commit(repository, {"a": "1\n"})
    reversal = tree_taking_back(mirror, target, [target], ["a", "a#7", "b"]).reversal
    assert (reversal.tree, reversal.reason) == (None, "unknown_part")
    assert reversal.conflicts == ("b: the commits have no such part",)
    assert tree_taking_back(mirror, target, ["1" * 40], ["a"]).reversal.reason == "unknown_commit"
    assert parts_of(mirror, target, ["1" * 40]) == []


# Taking some back


def test_all_parts_together_are_the_whole(repository: Path, mirror: Mirror) -> None:
    commit(repository, {"calc.py": ADD, "gone": "x\n", "run": "1\n", "old name": ADD + MUL})
    git(repository, "mv", "old name", "new näme")
    (repository / "run").chmod(0o755)
    target = commit(repository, {"calc.py": BAD + MUL, "gone": None, "bin": b"\0\1"})
    head = commit(repository, {"later": "x\n"})
    files = [part.name for part in parts_of(mirror, head, [target]) if part.kind is PartKind.FILE]
    assert files == ["bin", "calc.py", "gone", "new näme", "run"]
    whole = rehearse_series(mirror, head, [target]).tree
    assert tree_taking_back(mirror, head, [target], files).reversal.tree == whole
    assert tree_taking_back(mirror, head, [target], []).reversal.tree == whole


def test_one_hunk_goes_and_the_other_stays(repository: Path, mirror: Mirror) -> None:
    commit(repository, {"calc.py": ADD + MUL})
    target = commit(repository, {"calc.py": BAD + MUL + DIV})
    commit(repository, {"calc.py": "# later\n" + BAD + MUL + DIV})
    assert taken(mirror, repository, [target], "calc.py#1")["calc.py"] == "100644 # later\n" + ADD + MUL + DIV
    assert taken(mirror, repository, [target], "calc.py#2")["calc.py"] == "100644 # later\n" + BAD + MUL
    assert taken(mirror, repository, [target], "calc.py")["calc.py"] == "100644 # later\n" + ADD + MUL


def test_one_word_of_a_line_goes_and_the_other_stays(repository: Path, mirror: Mirror) -> None:
    commit(repository, {"calc.py": "def add(a, b): return a + b\n"})
    target = commit(repository, {"calc.py": "def add(a, b, places=2): return a - b\n"})
    (hunk,) = [part for part in parts_of(mirror, target, [target]) if part.kind is PartKind.HUNK]
    pieces = pieces_of(hunk)
    assert [(piece.name, piece.gone, piece.back) for piece in pieces] == [
        ("calc.py#1.1", b", places=2", b""),
        ("calc.py#1.2", b"-", b"+"),
    ]
    found = taken(mirror, repository, [target], "calc.py#1.2")
    assert found["calc.py"] == "100644 def add(a, b, places=2): return a + b\n"


def test_a_block_of_a_new_file_goes_and_the_file_stays(repository: Path, mirror: Mirror) -> None:
    target = commit(repository, {"calc.py": ADD + MUL + DIV})
    assert names(mirror, repository, target) == ["calc.py", "calc.py#1", "calc.py#2", "calc.py#3"]
    assert taken(mirror, repository, [target], "calc.py#2")["calc.py"] == "100644 " + ADD + "\n\n" + DIV.lstrip("\n")


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_line_ends_stay_as_they_are(end: str, repository: Path, mirror: Mirror) -> None:
    text = ["one", "two", "three", "four", "five"]
    line_end = end or "\n"

    def joined(words: list[str]) -> str:
        return line_end.join(words) + end

    commit(repository, {"f": joined(text)})
    target = commit(repository, {"f": joined(["1", "two", "three", "four", "5"])})
    found = taken(mirror, repository, [target], "f#2")
    assert found["f"] == "100644 " + joined(["1", "two", "three", "four", "five"])


def test_modes_links_binaries_odd_names_and_exchanged_names(repository: Path, mirror: Mirror) -> None:
    odd = b'sp "q"\n\xff'.decode(errors="surrogateescape")
    (repository / "link").symlink_to("a")
    commit(repository, {"run": "x\n", "b": bytes(range(256)), odd: "1\n", "p": ADD * 3, "q": "other\n" * 9})
    before = head_of(repository)
    (repository / "link").unlink()
    (repository / "link").symlink_to("b")
    (repository / "run").chmod(0o755)
    for old, new in (("p", "r"), ("q", "p"), ("r", "q")):
        (repository / old).rename(repository / new)
    target = commit(repository, {"b": b"\0", odd: "2\n"})
    parts = {part.name: part for part in parts_of(mirror, target, [target])}
    assert parts["b"].kind is parts["link"].kind is parts["run"].kind is PartKind.FILE
    assert not {"b#1", "link#1", "run#1"} & set(parts)
    (name,) = [name for name in parts if name.startswith('"sp') and "#" not in name]
    assert name == '"sp \\"q\\"\\n\\377"'
    for part, path in (("b", "b"), ("link", "link"), ("run", "run")):
        found = tree_taking_back(mirror, target, [target], [part]).reversal
        assert git(repository, "diff-tree", "-r", "--name-only", target, _kept(mirror, repository, found.tree)) == path
    reversal = tree_taking_back(mirror, target, [target], [f"{name}#1"]).reversal
    assert git(repository, "rev-parse", f"{_kept(mirror, repository, reversal.tree)}") == reversal.tree
    every = [part for part in parts if "#" not in part]
    assert tree_taking_back(mirror, target, [target], every).reversal.tree == tree_of(repository, before)


def _kept(mirror: Mirror, top: Path, tree: str | None) -> str:
    """Return ``tree`` for git in the user's repository, which now finds the mirror's objects."""
    assert tree is not None
    alternates = top / ".git/objects/info/alternates"
    alternates.write_text(f"{mirror.objects}\n")
    return tree


def test_a_part_is_found_in_the_file_as_it_is_called_now(repository: Path, mirror: Mirror) -> None:
    commit(repository, {"calc.py": ADD + MUL + DIV})
    target = commit(repository, {"calc.py": BAD + MUL + DIV, "notes": "good\n"})
    git(repository, "mv", "calc.py", "arithmetic.py")
    commit(repository, {"arithmetic.py": "# moved\n" + BAD + MUL + DIV})
    found = taken(mirror, repository, [target], "calc.py#1")
    assert found == {
        "README": "100644 shop\n", "notes": "100644 good\n", "arithmetic.py": "100644 # moved\n" + ADD + MUL + DIV,
    }  # fmt: skip


def test_all_hunks_together_and_all_pieces_give_what_was_there(repository: Path, mirror: Mirror) -> None:
    chance = random.Random(7)  # many files in one commit: each is a case
    words = ["def f(a):\n", "    a = 1\n", "    a = 2\n", "\n", "x\r\n", "}\n", "end"]
    before = {f"f{number}": "".join(chance.choices(words, k=chance.randrange(1, 12))) for number in range(60)}
    after = {name: "".join(chance.choices(words, k=chance.randrange(1, 12))) for name in before}
    commit(repository, dict(before))
    target = commit(repository, dict(after))
    hunks = [part for part in parts_of(mirror, target, [target]) if part.kind is PartKind.HUNK]
    pieces = [piece.name for hunk in hunks for piece in pieces_of(hunk) or [hunk]]
    assert len(pieces) > len(hunks) > 60
    wanted = {"README": "shop\n", **before}
    for names in ([hunk.name for hunk in hunks], pieces):
        assert texts(mirror, tree_taking_back(mirror, target, [target], names).reversal.tree) == wanted


# What git refuses


def test_a_later_commit_edited_the_very_line(repository: Path, mirror: Mirror) -> None:
    commit(repository, {"calc.py": ADD})
    target = commit(repository, {"calc.py": BAD})
    head = commit(repository, {"calc.py": BAD.replace("a - b", "round(a - b, 2)")})
    assert rehearse_series(mirror, head, [target]).reason == "conflict"
    reversal = rehearse_finely(mirror, head, [target])
    assert texts(mirror, reversal.tree)["calc.py"] == ADD.replace("a + b", "round(a + b, 2)")
    assert reversal.finely == ("calc.py",)
    assert reversal.tree is not None
    assert lost_lines(mirror, head, reversal.tree, [target]) == 1
    assert lost_lines(mirror, head, reversal.tree, [target], finely=reversal.finely) == 0


def test_two_bad_ones_with_a_good_one_on_the_same_line_between(repository: Path, mirror: Mirror) -> None:
    commit(repository, {"calc.py": ADD})
    first = commit(repository, {"calc.py": BAD})
    commit(repository, {"calc.py": BAD.replace("a - b", "round(a - b, 2)")})
    second = commit(repository, {"calc.py": BAD.replace("a - b", "round(a - b, 3)")})
    head = commit(repository, {"calc.py": BAD.replace("a - b", "round(number=a - b, ndigits=3)")})
    reversal = rehearse_finely(mirror, head, [first, second])
    assert texts(mirror, reversal.tree)["calc.py"] == ADD.replace("a + b", "round(number=a + b, ndigits=2)")


def test_the_later_commits_are_made_again_where_one_by_one_conflicts(repository: Path, mirror: Mirror) -> None:
    commit(repository, {"f": "x = 1\n"})
    first = commit(repository, {"f": "x = 7\n"})
    commit(repository, {"f": "x = 7 + y\n"})
    second = commit(repository, {"f": "x = 8 + y\n"})
    commit(repository, {"f": "x = 8 + y * z\n"})
    third = commit(repository, {"f": "x = 9 + y * z\n"})
    head = commit(repository, {"g": "good\n"})
    for targets in ([first, second, third], [third, first, second]):
        reversal = rehearse_finely(mirror, head, targets)
        assert texts(mirror, reversal.tree) == {"README": "shop\n", "f": "x = 1 + y * z\n", "g": "good\n"}
    assert rehearse_finely(mirror, head, [first]).conflicts == (
        "f: the same words were changed in two ways: '7' to '1' and to '9 + y * z'",
    )


def test_a_file_that_later_work_only_shortened_goes_and_one_it_extended_stays(repository: Path, mirror: Mirror) -> None:
    target = commit(repository, {"short": ADD + MUL + DIV, "gone": ADD + DIV})
    commit(repository, {"short": ADD + MUL})
    git(repository, "mv", "short", "renamed")
    commit(repository, {"gone": None})
    assert set(texts(mirror, rehearse_finely(mirror, head_of(repository), [target]).tree)) == {"README"}
    other = commit(repository, {"long": ADD})
    head = commit(repository, {"long": ADD + MUL})
    reversal = rehearse_finely(mirror, head, [other])
    assert reversal.conflicts == ("long: changed since, and would have to be deleted",)
    assert taken(mirror, repository, [other], "long#1")["long"] == "100644 " + MUL


def test_what_a_merge_brought_and_what_came_by_the_other_side(repository: Path, mirror: Mirror) -> None:
    commit(repository, {"calc.py": ADD + MUL})
    git(repository, "checkout", "-q", "-b", "agent")
    bad = commit(repository, {"calc.py": BAD + MUL, "wanted": "good\n"})
    git(repository, "checkout", "-q", "main")
    good = commit(repository, {"main": "good\n"})
    git(repository, "checkout", "-q", "agent")
    git(repository, "merge", "-q", "-m", "merge main", "main")
    merge = head_of(repository)
    git(repository, "checkout", "-q", "main")
    git(repository, "merge", "-q", "--ff-only", "agent")
    head = commit(repository, {"calc.py": BAD.replace("a - b", "float(a - b)") + MUL})
    expected = {"README": "shop\n", "main": "good\n", "calc.py": ADD.replace("a + b", "float(a + b)") + MUL}
    assert texts(mirror, rehearse_finely(mirror, head, [merge], parents={merge: good}).tree) == expected
    assert texts(mirror, rehearse_finely(mirror, head, [bad]).tree) == expected
    for target, parents in ((merge, {merge: good}), (bad, {})):
        reversal = tree_taking_back(mirror, head, [target], ["calc.py#1"], parents=parents).reversal
        assert texts(mirror, reversal.tree) == {**expected, "wanted": "good\n"}


# What is lost


def test_lines_of_parts_that_stay_are_not_lost_lines(repository: Path, mirror: Mirror) -> None:
    commit(repository, {"calc.py": ADD})
    target = commit(repository, {"calc.py": BAD + MUL})
    head = commit(repository, {"calc.py": BAD + MUL + DIV})
    found = tree_taking_back(mirror, head, [target], ["calc.py#1"])
    assert found.reversal.tree is not None
    assert texts(mirror, found.reversal.tree)["calc.py"] == ADD + MUL + DIV
    assert lines_lost(mirror, head, found.reversal.tree, found.ways) == 0
    assert lines_lost(mirror, head, tree_of(repository, "HEAD~2"), found.ways) == MUL.count("\n") + DIV.count("\n")


def test_a_huge_addition_is_not_taken_apart_line_by_line() -> None:
    hunk = Part("f#1", "f", PartKind.HUNK, "f", 1, b"x\n" * 1000, b"")
    assert pieces_of(hunk) == []


# Copied and moved since


def test_a_hunk_is_taken_back_where_it_was_moved_or_copied_to(repository: Path, mirror: Mirror) -> None:
    commit(repository, {"calc.py": ADD + MUL, "other.py": DIV})
    target = commit(repository, {"calc.py": BAD + MUL})
    commit(repository, {"copy @.py": "# copied\n" + BAD + MUL + "\n\n# and edited\n"})
    head = commit(
        repository, {"calc.py": MUL, "other.py": DIV + "\n\n" + BAD + "\n\ndef sub(a, b):\n    return add(a, -b)\n"}
    )
    whole = rehearse_finely(mirror, head, [target])
    tree = whole.tree or tree_of(repository)
    found = [copy.part.name for copy in find_copies(mirror, read_series(mirror, head, [target]), tree)]
    assert found == ['calc.py#1@"copy @.py"', "calc.py#1@other.py"]
    one = tree_taking_back(mirror, head, [target], found[1:])
    assert texts(mirror, one.reversal.tree)["other.py"].startswith(DIV + "\n\n" + ADD)
    assert texts(mirror, one.reversal.tree)["copy @.py"] == "# copied\n" + BAD + MUL + "\n\n# and edited\n"
    both = tree_taking_back(mirror, head, [target], found)
    assert texts(mirror, both.reversal.tree)["copy @.py"] == "# copied\n" + ADD + MUL + "\n\n# and edited\n"
    assert both.reversal.tree is not None
    assert lines_lost(mirror, head, both.reversal.tree, both.ways) == 0
    assert tree_taking_back(mirror, head, [target], ["calc.py#1@README"]).reversal.reason == "unknown_part"
