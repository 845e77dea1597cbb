"""A push that cannot be sent is queued, sent later, and told about where the remote has moved meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollcage.core.execute.sending import flush, send
from rollcage.core.services import Services
from tests.conftest import ManualClock, git
from tests.gitrepo.conftest import commit
from tests.loop import Shop


@pytest.fixture
def remote(shop: Shop, tmp_path: Path) -> Path:
    """Return a bare repository that is the shop's remote, away for now: its folder has another name."""
    there = tmp_path / "there.git"
    git(tmp_path, "clone", "-q", "--bare", str(shop.path), str(there))
    git(shop.path, "remote", "add", "origin", str(there))
    return there


@pytest.fixture
def services(shop: Shop, clock: ManualClock) -> Services:
    return shop.open(clock).services()


def away(remote: Path) -> Path:
    return remote.rename(remote.with_name("away.git"))


def test_it_is_queued_once_waits_longer_each_time_and_is_sent_when_the_remote_is_back(
    shop: Shop, services: Services, clock: ManualClock, remote: Path
) -> None:
    head = shop.commit("planner", "more", {"plan.md": "more"})
    hidden = away(remote)
    for _ in range(2):
        assert send(services, "main", "origin", why="rb-1").state == "unreachable"
    (queued,) = services.store.outgoing()
    assert (queued.sha, queued.why, queued.tries) == (head, "rb-1", 1)
    assert flush(services) == []
    assert services.store.outgoing()[0].tries == 1  # it is not due yet
    clock.advance(31)
    assert flush(services) == []
    waiting = services.store.outgoing()[0]
    assert (waiting.tries, (waiting.next_try - clock.now()).total_seconds()) == (2, 60.0)
    hidden.rename(remote)
    assert flush(services) == []
    (sent,) = flush(services, queued_before=clock.now())
    assert sent.state == "sent"
    assert git(remote, "rev-parse", "main") == head
    assert (services.store.outgoing(), services.store.verify_audit().ok) == ([], True)


@pytest.mark.parametrize("theirs_has_ours", [True, False])
def test_where_the_remote_has_moved_it_is_looked_at_and_never_merged(
    shop: Shop, services: Services, remote: Path, tmp_path: Path, theirs_has_ours: bool
) -> None:
    head = shop.commit("planner", "more", {"plan.md": "more"})
    theirs = tmp_path / "theirs"
    git(tmp_path, "clone", "-q", str(shop.path if theirs_has_ours else remote), str(theirs))
    made = commit(theirs, {"theirs": "theirs"})
    git(theirs, "push", "-q", str(remote), "HEAD:main")
    refs = git(shop.path, "for-each-ref")
    done = send(services, "main", "origin")
    assert done.state == ("pushed" if theirs_has_ours else "rejected")
    assert done.sha == made
    assert git(remote, "rev-parse", "main") == made
    assert git(shop.path, "for-each-ref") == refs
    assert git(shop.path, "rev-parse", "main") == head


def test_a_queued_push_that_meets_others_work_ends_as_a_conflict_with_an_alert(
    shop: Shop, services: Services, clock: ManualClock, remote: Path, tmp_path: Path
) -> None:
    shop.commit("planner", "more", {"plan.md": "more"})
    theirs = tmp_path / "theirs"
    git(tmp_path, "clone", "-q", str(remote), str(theirs))
    hidden = away(remote)
    send(services, "main", "origin", why="rb-1")
    hidden.rename(remote)
    commit(theirs, {"theirs": "theirs"})
    git(theirs, "push", "-q", "origin", "HEAD:main")
    clock.advance(31)
    (ended,) = flush(services)
    assert ended.state == "conflict"
    assert "1 commits on main that are not here" in ended.words
    assert [each.body["rollback"] for each in services.store.events_since(0) if each.event == "alert"] == ["rb-1"]
    assert flush(services) == []
