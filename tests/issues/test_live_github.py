"""Against a real repository: off unless ``ROLLCAGE_TEST_GITHUB_TOKEN`` and ``ROLLCAGE_TEST_GITHUB_REPO`` are given.

``ROLLCAGE_TEST_GITHUB_URL`` names another server than github.com. About 50 requests. Issues cannot be deleted over
REST: what it makes is closed, and named after what made it.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from rollcage.core.clock import SystemClock
from rollcage.core.config import TrackerSettings
from rollcage.core.issues.errors import TrackerRefusedError
from rollcage.core.issues.github.claims import GitClaims
from rollcage.core.issues.github.inspection import inspect
from rollcage.core.issues.github.polling import Change, Poller
from rollcage.core.issues.github.tracker import GitHubTracker, open_github
from rollcage.core.issues.issue import Draft
from rollcage.core.store.paths import RepositoryPaths

# Read where this file is imported: `own_home` takes all ROLLCAGE_ variables away.
TOKEN, REPO, URL = (os.environ.get(f"ROLLCAGE_TEST_GITHUB_{name}", "") for name in ("TOKEN", "REPO", "URL"))
pytestmark = pytest.mark.skipif(not (TOKEN and REPO), reason="no ROLLCAGE_TEST_GITHUB_TOKEN and _REPO")
LAG_S = 30.0
"""Lists lag behind writes."""


@pytest.fixture
def paths(tmp_path: Path) -> RepositoryPaths:
    (root := tmp_path / "state" / "repositories" / "live").mkdir(parents=True)
    return RepositoryPaths(root)


@pytest.fixture
def tracker(paths: RepositoryPaths) -> Iterator[GitHubTracker]:
    settings = TrackerSettings(kind="github", repo=REPO, token_env="LIVE", base_url=URL or None)
    tracker = open_github(settings, paths, SystemClock(), {"LIVE": TOKEN})
    yield tracker
    tracker.close()


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(2.0)
    return True


def test_github_is_as_the_tests_suppose(tracker: GitHubTracker, paths: RepositoryPaths) -> None:
    assert [found for found in inspect(tracker, SystemClock()) if found.is_fault] == []
    poller = Poller(tracker, paths.root / "watched.db", SystemClock())
    poller.look(lambda change: None)
    mark, label = uuid.uuid4().hex, "rollcage: test, a/b"
    tracker.define_label(label, "c5def5", "of rollcage's own tests")
    tracker.define_label(label, "bfdadc", "of rollcage's own tests")
    assert tracker.label_definitions()[label] == ("bfdadc", "of rollcage's own tests")
    made = tracker.create(Draft(f"rollcage test {mark} 😀", f"<!-- {mark} -->\nfirst", (label,)))
    other = tracker.create(Draft(f"rollcage test blocker {mark}"))
    try:
        assert tracker.get(made.number).version == made.version
        again = tracker.write(made.number, body=f"<!-- {mark} -->\nsecond")
        assert (again.title, again.labels) == (made.title, made.labels)
        edits = tracker.body_edits(made.number)
        assert edits
        assert edits[0].body == again.body  # `diff` is the whole body
        for _ in range(2):
            tracker.remove_label(made.number, label)
        for _ in range(2):
            tracker.add_label(made.number, label)
        comment = tracker.edit_comment(tracker.comment(made.number, "a"), "b")
        assert [each.body for each in tracker.comments(made.number)] == ["b"]
        for _ in range(2):
            tracker.delete_comment(comment)
        tracker.add_blocker(made.number, other.number)
        assert tracker.blocked_by(made.number) == (other.number,)
        tracker.remove_blocker(made.number, other.number)
        assert tracker.blocked_by(made.number) == ()
        since = made.updated - timedelta(seconds=2)
        assert within(LAG_S, lambda: made.number in {each.number for each in tracker.issues(since=since)})
        with pytest.raises(TrackerRefusedError) as refused:
            tracker.write(made.number, title="x" * 300)
        assert refused.value.status == 422
        told: list[Change] = []
        poller.look(told.append)
        assert made.number in {change.number for change in told}
        poller.look(told.append)
        before = tracker.budget()
        poller.look(told.append)
        after = tracker.budget()
        assert before is not None
        assert after is not None
        assert after.remaining == before.remaining or told  # a 304 is free
    finally:
        poller.close()
        for number in (made.number, other.number):
            assert tracker.write(number, state="closed").state == "closed"


def test_a_claim_by_a_git_ref_has_one_winner(tracker: GitHubTracker) -> None:
    name = f"test/{uuid.uuid4().hex}"
    first, second = GitClaims(tracker.client), GitClaims(tracker.client)
    assert first.claim(name, "first")
    try:
        assert not second.claim(name, "second")
        assert second.content(name) == "first"
        assert not second.release_claim(name)
    finally:
        assert first.release_claim(name)
    assert first.content(name) is None
