"""An agent starts from nothing, the branch goes back itself, the branch is sent: and each way back."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from rollcage.core.coordination.embedded import EmbeddedLeases
from rollcage.core.coordination.leases import LostLeaseError
from rollcage.core.execute.own_branches import own_branches
from rollcage.core.execute.runner import plan_of, start_rollback
from rollcage.core.fleet import mailbox
from rollcage.core.fleet.handovers import unfinished
from rollcage.core.model import RollbackState
from tests.conftest import git
from tests.execute.crash import CrashServer
from tests.execute.scene import AFTER, BAD, MINE, Scene, begin, carry_on, give_worktree, history, whole_agent
from tests.execute.test_crash import FORWARD
from tests.gitrepo.worlds import status


@pytest.fixture
def own(scene: Scene) -> Path:
    """Return the executor's own working tree."""
    return give_worktree(scene)


def handovers(scene: Scene) -> list[str]:
    return sorted(str(each) for each in unfinished(scene.services().signals, ["planner"]))


def messages(scene: Scene) -> list[str]:
    return [message.text for message in mailbox.read(scene.paths, "executor")]


def test_an_agent_starts_from_nothing_and_loses_nothing(scene: Scene, bad: str, own: Path) -> None:
    old = git(own, "rev-parse", "HEAD")
    services = scene.services()
    with closing(EmbeddedLeases(services.paths, services.clock)) as leases:
        held = leases.acquire("table:users", "executor")
        other = leases.acquire("table:orders", "planner")
        first, _ = (leases.acquire("gpu", holder, permits=2) for holder in ("planner", "executor"))
        begin(scene, bad, whole_agent)
        ended = carry_on(scene)
        assert ended.state is RollbackState.DONE, ended.note
        with pytest.raises(LostLeaseError):
            leases.renew(held)
        leases.renew(other)
        leases.renew(first)
    assert git(own, "rev-parse", "HEAD") == git(scene.top, "rev-parse", "main") == ended.head_after
    assert git(own, "symbolic-ref", "--short", "HEAD") == "agents/executor"
    assert status(own) == " M plan\n?? scratch"
    assert (own / "plan").read_text() == "plan\nmore\nnot committed\n"
    assert git(services.mirror.path, "cat-file", "-t", old) == "commit"
    assert git(services.mirror.path, "for-each-ref", "--contains", old)
    assert messages(scene) == []
    assert handovers(scene) == ["h-2: planner to tester, ready"]
    records = [record for record in services.store.audit_records() if record.what == "break lock"]
    assert [record.why for record in records] == ["rb-1 lets executor start from nothing"] * 2


def test_what_was_taken_from_an_agent_is_given_back_when_it_is_undone(scene: Scene, bad: str, own: Path) -> None:
    old = git(own, "rev-parse", "HEAD")
    begin(scene, bad, whole_agent)
    scene.flag.touch()
    ended = carry_on(scene)
    assert ended.state is RollbackState.UNDONE, ended.note
    assert git(own, "rev-parse", "HEAD") == old
    assert (own / "idea").read_text() == "idea\n"
    assert status(own) == " M plan\n?? scratch"
    assert messages(scene) == ["do this next"]
    assert handovers(scene) == ["h-1: planner to executor, ready", "h-2: planner to tester, ready"]


def test_an_edit_in_the_way_stays_and_is_told(scene: Scene, bad: str, own: Path) -> None:
    old = git(own, "rev-parse", "HEAD")
    (own / "idea").write_text("a better idea\n")
    begin(scene, bad, whole_agent)
    ended = carry_on(scene)
    assert ended.state is RollbackState.DONE, ended.note
    assert git(own, "rev-parse", "HEAD") == old
    assert (own / "idea").read_text() == "a better idea\n"
    alerts = [str(each.body["text"]) for each in scene.services().store.recent_events(1000) if each.event == "alert"]
    assert any("agents/executor stays as it is: " in text for text in alerts), alerts


def test_a_branch_of_the_agents_that_somebody_moved_since_stays_as_it_is(scene: Scene, bad: str, own: Path) -> None:
    begin(scene, bad, whole_agent)
    services = scene.services()
    assert carry_on(scene).state is RollbackState.DONE
    (own / "later").write_text("later\n")
    git(own, "add", "later")
    git(own, "commit", "-q", "-m", "later")
    later = git(own, "rev-parse", "HEAD")
    plan = plan_of(services, "rb-1")
    only = replace(plan, steps=tuple(each for each in plan.steps if each.name == "reset_agent"))
    turned = start_rollback(services, only, approved_by="ann@here", kind="undo", of="rb-1")
    assert carry_on(scene, turned.id).state is RollbackState.DONE
    assert git(own, "rev-parse", "HEAD") == later
    assert messages(scene) == ["do this next"]


def test_the_branch_itself_goes_back_and_its_old_tip_is_kept(scene: Scene, bad: str) -> None:
    old, first = git(scene.top, "rev-parse", "main"), git(scene.top, "rev-list", "--max-parents=0", "main")
    git(scene.top, "checkout", "-q", "--", "plan")  # else an edit of a line that goes is in the way
    begin(scene, bad, history)
    ended = carry_on(scene)
    assert ended.state is RollbackState.DONE, ended.note
    assert git(scene.top, "rev-parse", "main") == first == ended.head_after
    assert (scene.top / "calc").read_text() == AFTER
    assert git(scene.services().mirror.path, "for-each-ref", "--contains", old)
    git(scene.top, "commit", "-q", "-m", "next", "--allow-empty")
    assert git(scene.top, "show", "main:calc") + "\n" != BAD


def test_a_working_tree_on_a_branch_of_its_name_is_its_own_though_rollcage_did_not_start_it(scene: Scene) -> None:
    own = scene.place / "own"
    git(scene.top, "worktree", "add", "-q", "-b", "agents/executor", str(own), "main")
    for agent, found in (("executor", ["agents/executor"]), ("planner", [])):  # somebody else works there as well
        git(own, "commit", "-q", "--allow-empty", "-m", f"idea\n\nAgent: {agent}\n")
        services = scene.services()
        assert [each.branch for each in own_branches(services, "executor", "main")] == found
        services.store.close()


def test_a_branch_that_went_back_goes_to_its_old_tip_again(scene: Scene, bad: str) -> None:
    git(scene.top, "checkout", "-q", "--", "plan")
    before = scene.picture()
    old = git(scene.top, "rev-parse", "main")
    begin(scene, bad, history)
    scene.flag.touch()
    ended = carry_on(scene)
    assert ended.state is RollbackState.UNDONE, ended.note
    assert git(scene.top, "rev-parse", "main") == old
    assert (scene.top / "calc").read_text() == MINE
    assert scene.picture() == before


def test_history_is_not_rewritten_over_what_nobody_looked_at(scene: Scene, bad: str) -> None:
    git(scene.top, "checkout", "-q", "--", "plan")
    begin(scene, bad, history)
    new = scene.commit("planner", "news", news="news\n")
    ended = carry_on(scene)
    assert (ended.state, ended.head_after) == (RollbackState.UNDONE, "")
    assert "losing what was committed since" in ended.note
    assert git(scene.top, "rev-parse", "main") == new


@pytest.mark.parametrize("write", ["transaction", "commit"])
def test_killed_amid_rewriting_and_then_committed_upon_nothing_is_rewritten(
    scene: Scene, bad: str, server: CrashServer, write: str
) -> None:
    git(scene.top, "checkout", "-q", "--", "plan")
    begin(scene, bad, history)
    old = git(scene.top, "rev-parse", "main")
    names = ["begin", "lock", "objects", "edits", "transaction", "follow", "edit", "commit"]
    assert server.run(scene, die_at=FORWARD.index("add publish") + names.index(write))[0] == 9
    new = git(scene.top, "commit-tree", "-p", old, "-m", "on top", scene.tree())
    git(scene.top, "update-ref", "refs/heads/main", new, old)
    assert server.run(scene) == (0, "undone")
    assert git(scene.top, "rev-parse", "main") == new
    assert (scene.top / "calc").read_text() == MINE
    assert not list((scene.top / ".git").glob("*lock*"))
