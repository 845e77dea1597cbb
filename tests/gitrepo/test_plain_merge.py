"""What needs no merging comes out as git's own merge would have it, and all else is left to that."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from rollcage.core.gitrepo.mirror import Mirror
from rollcage.core.gitrepo.plain_merge import plain_merges
from rollcage.core.gitrepo.repository import Repository
from rollcage.core.gitrepo.threeway import Merge, merge_trees
from tests.conftest import git

PATHS = ["a", "b", "d", "d/x", "d/y", "d.x", "d0", "e/f/g", "e/f/h", "e/i", "sp ace/ü", "n\nl/x", "n\nl/y"]
CONTENTS = [f"{word}\n" * 9 for word in ("one", "two", "three", "four")]
MODES = ["100644", "100755", "120000"]

State = dict[str, tuple[str, str]]


def state(chance: random.Random, start: State | None = None) -> State:
    """Return files, at random or some steps away from ``start``; no file is also a folder."""
    files = dict(start or {})
    for _ in range(chance.randint(0, 4) if start is not None else 9):
        path = chance.choice(PATHS)
        clashes = [other for other in files if other.startswith(f"{path}/") or path.startswith(f"{other}/")]
        for other in (*clashes, path):
            files.pop(other, None)
        if chance.random() < 0.7:
            files[path] = (chance.choice(MODES[:1] * 4 + MODES), chance.choice(CONTENTS))
    return files


def trees(top: Path, states: list[State]) -> list[str]:
    """Write all states at once and return their trees."""
    lines = list[str]()
    for number, files in enumerate(states, 1):
        lines += ["commit refs/heads/made", f"mark :{number}", "committer A <a@x> 0 +0000", "data 0", "deleteall"]
        for path, (mode, content) in files.items():
            name = '"' + path.replace("\n", "\\n") + '"'
            lines += [f"M {mode} inline {name}", f"data {len(content)}", content.removesuffix("\n")]
        lines.append(f"get-mark :{number}")
    stream = "\n".join([*lines, "done", ""]).encode()
    ids = git(top, "fast-import", "--quiet", "--force", "--done", stdin=stream).split("\n")
    asked = "".join(f"{oid}^{{tree}}\n" for oid in ids).encode()
    return git(top, "cat-file", "--batch-check=%(objectname)", stdin=asked).split("\n")


@pytest.mark.parametrize("seed", [1, 2])
def test_it_agrees_with_gits_own_merge(seed: int, repository: Path, mirror: Mirror) -> None:
    chance = random.Random(seed)
    ours = state(chance)
    bases = [state(chance, ours) for _ in range(120)]
    theirs = [state(chance, base) for base in bases]
    made = trees(repository, [ours, *bases, *theirs])
    pairs = list(zip(made[1:121], made[121:], strict=True))
    plain = plain_merges(mirror, made[0], pairs)
    # Few at a time, so that git merges all of them.
    merges = [Merge(base, made[0], their) for base, their in pairs]
    real = [
        merged for at in range(0, 120, 7) for merged in merge_trees(mirror, merges[at : at + 7], attributes_of=made[0])
    ]
    for files, tree, merged in zip(theirs, plain, real, strict=True):
        assert tree is None or tree == merged.tree, (files, merged)
    assert sum(tree is not None for tree in plain) > 20
    assert any(merged.conflicts for merged in real)
    assert [each.tree for each in merge_trees(mirror, merges, attributes_of=made[0])] == [each.tree for each in real]
    checked = subprocess.run(
        ["git", "-C", mirror.path, "fsck", "--strict"], capture_output=True, text=True, check=False
    )
    assert "error" not in checked.stderr


def test_a_repository_of_sha256(tmp_path: Path) -> None:
    top = tmp_path / "other"
    top.mkdir()
    git(top, "init", "-q", "--object-format=sha256", "-b", "main")
    made = trees(
        top,
        [{"a": (MODES[0], "1\n")}, {"a": (MODES[0], "2\n")}, {"a": (MODES[0], "1\n"), "d/b": (MODES[0], "x\n")}, {}],
    )
    mirror = Mirror(Repository.discover(top), tmp_path / "mirror.git")
    mirror.ensure()
    both = trees(top, [{"a": (MODES[0], "2\n"), "d/b": (MODES[0], "x\n")}])
    found = plain_merges(
        mirror, made[2], [(made[0], made[1]), (made[1], made[0]), (made[2], made[3]), (made[2], made[2])]
    )
    assert found == [both[0], None, made[3], made[2]]
    assert mirror.git.text("ls-tree", "-r", "--name-only", both[0]) == "a\nd/b"
