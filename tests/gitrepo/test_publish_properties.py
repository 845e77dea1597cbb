"""Over generated trees, changes and local work: no uncommitted byte is lost, and everything else is the new commit."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollcage.core.errors import RefusedError
from rollcage.core.gitrepo.publish import state_of
from rollcage.core.gitrepo.snapshot import take, verify
from tests.conftest import git
from tests.gitrepo.worlds import LINES, Content, World, edited, files_of, picture, status, tree_files, world, write

EXAMPLES = int(os.environ.get("TORTURE_EXAMPLES", "12"))
NAMES = ["a", "b c", "d/é", "-f"]
"""None is a folder of another, so that any set of them is a tree."""

EXECUTABLE = ("100755", b"#!\n")
LINK = ("120000", b"a")
BINARY = b"\0\1\2"
TEXTS: list[Content] = [LINES, edited(LINES, 3, "three"), edited(LINES, 16, "sixteen")]
CONTENTS: list[Content] = [*TEXTS, *TEXTS, EXECUTABLE, LINK, BINARY, ""]
EDIT = "somebody's edit of what is there"

trees = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(CONTENTS), min_size=2)
changes = st.dictionaries(st.sampled_from(NAMES), st.sampled_from([None, *CONTENTS]), min_size=1)
works = st.dictionaries(
    st.sampled_from([*NAMES, "untracked"]), st.sampled_from([EDIT] * 8 + [*CONTENTS, None, b"\0mine"]), max_size=3
)
stagings = st.sets(st.sampled_from(NAMES), max_size=2)


@pytest.fixture(scope="module")
def shelf() -> Iterator[Path]:
    """Yield a folder for the examples of a test."""
    place = Path(tempfile.mkdtemp())
    yield place
    shutil.rmtree(place)


def lines_of(content: tuple[str, bytes] | None) -> set[bytes]:
    return set(content[1].split(b"\n")) if content else set()


def check_published(here: World, before: dict[bytes, tuple[str, bytes]], dirty: set[bytes]) -> None:
    """Compare the working tree after a publication with what it was, and with the commits."""
    after, old, new = files_of(here.top), tree_files(here.top, here.old), tree_files(here.top, here.new)
    for path in before.keys() | after.keys() | new.keys():
        if path not in dirty:
            assert after.get(path) == new.get(path), path
        elif old.get(path) == new.get(path):
            assert after.get(path) == before.get(path), path
        else:  # merged: every line that was somebody's own is there, and nothing of the old that the new took away
            own = lines_of(before.get(path)) - lines_of(old.get(path))
            assert own <= lines_of(after.get(path)), path
            taken = lines_of(old.get(path)) - lines_of(new.get(path))
            assert not taken & (lines_of(after.get(path)) - lines_of(new.get(path))), path


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(old=trees, new=changes, work=works, staged=stagings)
def test_uncommitted_work_is_kept_and_all_else_becomes_the_new_commit(
    shelf: Path,
    own_home: Path,
    old: dict[str, Content],
    new: dict[str, Content],
    work: dict[str, Content],
    staged: set[str],
) -> None:
    place = Path(tempfile.mkdtemp(dir=shelf))
    here = world(place, old, {name: content for name, content in new.items() if content is not None or name in old})
    work = {name: _edit(old.get(name)) if content == EDIT else content for name, content in work.items()}
    write(here.top, work)
    git(here.top, "add", "--all", "--", *[f":(literal){name}" for name in staged if name in old or work.get(name)])
    dirty = {line[3:].encode() for line in _status(here).split("\0") if line}
    before, everything, index = files_of(here.top), picture(here.top), git(here.top, "ls-files", "--stage")
    snapshot = take(here.repository, here.mirror, "before", datetime.now(UTC))
    try:
        publication = here.publish()
    except RefusedError as error:
        refused = error.code
    else:
        refused = ""
    if refused:
        assert (refused, bool(dirty)) == ("overlap", True)
        assert picture(here.top) == everything
        assert verify(here.repository, here.mirror, snapshot.commit) == []
        return
    assert state_of(here.repository, publication) == "done"
    check_published(here, before, dirty)
    if not dirty:
        assert status(here.top) == ""
    _check_index(here, index)


def _edit(content: Content) -> Content:
    """Return ``content`` with one line changed that no commit changes, where it has one."""
    return edited(content, 10, "my work") if isinstance(content, str) and "line 10\n" in content else "mine"


def _status(here: World) -> str:
    return git(here.top, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all")


def _check_index(here: World, before: str) -> None:
    """Nothing that was staged as it was in the old commit stays so where the new one changed it."""
    old = git(here.top, "ls-tree", "-r", "-z", here.old)
    new = git(here.top, "ls-tree", "-r", "-z", here.new)
    changed = set(old.replace(" blob ", " ").split("\0")) - set(new.replace(" blob ", " ").split("\0")) - {""}
    staged = {line.replace(" 0\t", "\t") for line in git(here.top, "ls-files", "--stage", "-z").split("\0")}
    assert not changed & staged, before
