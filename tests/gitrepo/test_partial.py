"""Partial clones: what rehearsals read is brought into the mirror; where it cannot be had, one clear refusal."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollcage.core.errors import RefusedError
from rollcage.core.gitrepo.mirror import Mirror
from rollcage.core.gitrepo.partial import missing, promisors
from rollcage.core.gitrepo.rehearse import make_commit, rehearse_reverts
from rollcage.core.gitrepo.repository import Repository
from tests.conftest import ManualClock, git
from tests.gitrepo.conftest import commit, mirror_of
from tests.gitrepo.worlds import LINES, World, edited, status


@pytest.fixture
def clone(repository: Path, tmp_path: Path) -> Path:
    """Return a clone without the blobs of old commits."""
    for text in (LINES, edited(LINES, 3, "the fault"), edited(edited(LINES, 3, "the fault"), 15, "later")):
        commit(repository, {"calc": text})
    git(repository, "config", "uploadpack.allowFilter", "true")
    git(repository, "config", "uploadpack.allowAnySHA1InWant", "true")
    git(tmp_path, "clone", "-q", "--filter=blob:none", f"file://{repository}", "partial")
    return tmp_path / "partial"


def objects(top: Path) -> set[str]:
    return {path.name for path in (top / ".git/objects").rglob("*") if path.is_file()}


def test_a_commit_is_rehearsed_and_taken_back(clone: Path, tmp_path: Path, clock: ManualClock) -> None:
    before = objects(clone)
    mirror = mirror_of(clone, tmp_path / "state")
    assert promisors(mirror.repository) == ["origin"]
    assert missing(mirror) == []
    assert objects(clone) == before
    head, bad = git(clone, "rev-parse", "HEAD"), git(clone, "rev-parse", "HEAD~1")
    (reversal,) = rehearse_reverts(mirror, head, [bad])
    assert reversal.tree is not None
    new = make_commit(mirror, reversal.tree, [head], "back", clock.now())
    World(clone, mirror, head, new).publish()
    assert (clone / "calc").read_text() == edited(LINES, 15, "later")
    assert status(clone) == ""
    assert mirror.keep_branches()


def test_where_the_remote_is_away_it_is_refused_in_one_line(clone: Path, repository: Path, tmp_path: Path) -> None:
    repository.rename(tmp_path / "away")
    mirror = Mirror(Repository.discover(clone), tmp_path / "state" / "mirror.git")
    with pytest.raises(RefusedError, match="partial clone") as refused:
        mirror.ensure()
    assert refused.value.code == "partial_clone"
    assert "\n" not in str(refused.value)
    (tmp_path / "away").rename(repository)
    mirror.ensure()
    assert missing(mirror) == []
