"""A rollback goes on where only something unrelated happened meanwhile, and stops and says so where not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rollcage.core.errors import StoreError, UsageError
from rollcage.core.execute import forward
from rollcage.core.execute import steps as step_kinds
from rollcage.core.execute.journal import Journal, JournalError
from rollcage.core.execute.runner import carry_out, try_undo_again, turned_at, work_for
from rollcage.core.execute.work import NotVerifiedError, StepKind, Work
from rollcage.core.model import Hold, Rollback, RollbackState, Step, StepState
from rollcage.core.store.store import Store
from tests.conftest import git
from tests.execute.crash import CrashServer
from tests.execute.scene import AFTER, BAD, GOOD, MINE, Scene, carry_on, journal
from tests.execute.test_crash import FORWARD
from tests.gitrepo.worlds import edited, status

CLEAN = "A  .gitignore\n M calc\nM  other\n M plan\n?? draft"


def carry_out_with(scene: Scene, meddle: Callable[[str], None], **settings: object) -> Rollback:
    """Carry rb-1 out while somebody does things in between.

    ``meddle`` hears of each step that begins or ended, and of each record of a publication: ``forward install``.
    """

    class Overheard(Journal):
        def write(self, *steps: Step) -> Step:
            written = super().write(*steps)
            if len(steps) == 1:
                meddle(f"{steps[0].name} {steps[0].state}")
            return written

        def add(self, step: Step, **data: Any) -> Step:
            added = super().add(step, **data)
            for name, publication in data.items():
                if publication and publication["records"]:
                    meddle(f"{name} {publication['records'][-1][0]}")
            return added

    services = scene.services(**settings)
    try:
        record = services.store.rollback("rb-1")
        assert record is not None
        work = work_for(services, record, lambda run: [])
        return carry_out(Work(services, work.plan, Overheard(services, record), work.measure))
    finally:
        services.store.close()


def once(when: str, act: Callable[[], object]) -> Callable[[str], None]:
    """Return what does ``act`` the first time that ``when`` is heard."""
    heard: list[str] = []

    def meddle(word: str) -> None:
        if word == when and word not in heard:
            heard.append(word)
            act()

    return meddle


def steps(scene: Scene) -> dict[str, StepState]:
    listed = journal(scene)["steps"]
    assert isinstance(listed, list)
    return dict(listed)


# The branch moves


@pytest.mark.parametrize("when", ["stop_agent done", "still_valid done", "commit done", "publish doing"])
def test_an_unrelated_commit_at_any_time_before_publication_is_kept_and_it_goes_on(begun: Scene, when: str) -> None:
    ended = carry_out_with(begun, once(when, lambda: begun.commit("planner", "news", news="news\n")))
    assert ended.state is RollbackState.DONE
    assert git(begun.top, "log", "--format=%s", "-3", "main").split("\n")[1:] == ["news", "plan on"]
    assert git(begun.top, "show", "main:calc") + "\n" == GOOD
    assert (begun.top / "news").read_text() == "news\n"
    assert (begun.top / "calc").read_text() == AFTER
    assert status(begun.top) == CLEAN
    assert git(begun.top, "rev-parse", "main") == ended.head_after


@pytest.mark.parametrize("when", ["stop_agent done", "commit done", "publish doing"])
def test_a_commit_that_changes_the_effect_ends_it_with_nothing_published(begun: Scene, when: str) -> None:
    def agent() -> None:
        git(begun.top, "stash", "-q", "--", "calc")
        begun.commit("planner", "more", calc=edited(BAD, 18, "more"))

    ended = carry_out_with(begun, once(when, agent))
    assert ended.state is RollbackState.UNDONE
    assert ended.head_after == ""
    assert "main moved, and the same change would now do something else to its files" in ended.note
    assert turned_at(begun.services(), ended) == "moved"
    assert git(begun.top, "log", "--format=%s", "-1", "main") == "more"
    assert git(begun.top, "show", "main:calc") + "\n" == edited(BAD, 18, "more")
    assert status(begun.top) == CLEAN.replace(" M calc\n", "")


def test_a_branch_that_never_stands_still_ends_it_with_nothing_published(begun: Scene) -> None:
    numbers = iter(range(100))

    def meddle(word: str) -> None:
        if word == "commit done":
            begun.commit("planner", "again", news=f"{next(numbers)}\n")

    ended = carry_out_with(begun, meddle)
    assert (ended.state, ended.head_after) == (RollbackState.UNDONE, "")
    assert "main moved from" in ended.note
    assert git(begun.top, "show", "main:calc") + "\n" == BAD
    assert (begun.top / "calc").read_text() == MINE


def test_a_check_that_fails_on_the_moved_branch_ends_it_before_publication(begun: Scene) -> None:
    def agent() -> None:
        begun.commit("planner", "news", news="news\n")
        begun.flag.touch()

    ended = carry_out_with(begun, once("stop_agent done", agent))
    assert (ended.state, ended.head_after) == (RollbackState.UNDONE, "")
    assert "with the change on it check tests still fails" in ended.note
    assert git(begun.top, "log", "--format=%s", "-1", "main") == "news"


def test_a_branch_that_is_gone_ends_it(begun: Scene) -> None:
    def agent() -> None:
        git(begun.top, "checkout", "-q", "-b", "elsewhere")
        git(begun.top, "branch", "-q", "-D", "main")

    ended = carry_out_with(begun, once("stop_agent done", agent))
    assert (ended.state, ended.head_after) == (RollbackState.UNDONE, "")
    assert "branch main does not exist any more" in ended.note


# Working trees


@pytest.mark.parametrize("when", ["stop_agent done", "publish doing"])
def test_a_working_tree_that_was_added_meanwhile_follows_too(begun: Scene, tmp_path: Path, when: str) -> None:
    twin = tmp_path / "twin"
    add = ("worktree", "add", "-q", "--force", str(twin), "main")
    ended = carry_out_with(begun, once(when, lambda: git(begun.top, *add)))
    assert ended.state is RollbackState.DONE
    assert (twin / "calc").read_text() == GOOD
    assert status(twin) == ""
    assert status(begun.top) == CLEAN


@pytest.mark.parametrize("record", ["lock", "transaction", "follow", "commit"])
def test_a_working_tree_that_was_added_after_a_kill_follows_too(
    begun: Scene, tmp_path: Path, server: CrashServer, record: str
) -> None:
    names = ["begin", "lock", "objects", "edits", "transaction", "follow", "edit", "commit", "install", "unlock"]
    assert server.run(begun, die_at=FORWARD.index("add publish") + names.index(record))[0] == 9
    twin = tmp_path / "twin"
    git(begun.top, "worktree", "add", "-q", "--force", str(twin), "main")
    assert server.run(begun) == (0, "done")
    assert (twin / "calc").read_text() == GOOD
    assert status(twin) == ""
    assert status(begun.top) == CLEAN


def test_a_commit_on_top_after_a_kill_behind_publication_is_kept(begun: Scene, server: CrashServer) -> None:
    assert server.run(begun, die_at=FORWARD.index("finish publish"), when="before")[0] == 9
    git(begun.top, "stash", "-q", "--", "calc")
    begun.commit("planner", "on top", calc=edited(GOOD, 18, "more"))
    assert server.run(begun) == (0, "done")
    assert git(begun.top, "log", "--format=%s", "-1", "main") == "on top"
    assert journal(begun)["moved"]
    assert not list((begun.top / ".git").glob("*lock*"))


# Undoing


def test_undoing_keeps_what_was_committed_on_top(begun: Scene) -> None:
    begun.flag.touch()
    ended = carry_out_with(begun, once("publish done", lambda: begun.commit("planner", "on top", news="news\n")))
    assert ended.state is RollbackState.UNDONE
    assert git(begun.top, "show", "main:calc") + "\n" == BAD
    assert git(begun.top, "show", "main:news") == "news"
    assert (begun.top / "calc").read_text() == MINE
    assert status(begun.top) == CLEAN
    assert ended.head_after == git(begun.top, "rev-parse", "main")


def test_a_way_back_that_conflicts_is_said_and_can_be_tried_again(begun: Scene) -> None:
    begun.flag.touch()
    services = begun.services()
    services.store.set_hold("planner", Hold.STANDBY)

    def agent() -> None:
        git(begun.top, "stash", "-q", "--", "calc")
        begun.commit("planner", "the same line", calc=edited(GOOD, 3, "otherwise"))

    ended = carry_out_with(begun, once("publish done", agent))
    assert ended.state is RollbackState.FAILED
    assert "check tests still fails; not undone: publish: the way back conflicts with later commits: calc" in ended.note
    assert "(undo_conflict)" in ended.note
    assert "main is at" in ended.note
    assert "rollcage undo rb-1" in ended.note
    assert steps(begun)["publish"] is StepState.DONE
    assert journal(begun)["holds"] == {"executor": Hold.STOPPED, "planner": Hold.STANDBY}
    begun.commit("planner", "away with it", calc=GOOD)
    again = try_undo_again(services, ended, "ann@here")
    assert again.state is RollbackState.RUNNING
    undone = carry_out(work_for(services, again, lambda run: []))
    assert undone.state is RollbackState.UNDONE
    assert git(begun.top, "show", "main:calc") + "\n" == BAD
    assert begun.services().store.rollback("rb-1") == undone
    assert journal(begun)["holds"] == {"executor": Hold.STOPPED, "planner": Hold.NONE}
    with pytest.raises(UsageError, match="rb-1 is undone: nothing of it is left to undo"):
        try_undo_again(services, undone, "ann@here")


def test_an_edit_in_a_half_done_publication_is_left_alone_and_named(begun: Scene, server: CrashServer) -> None:
    at = FORWARD.index("add publish") + 7
    assert server.run(begun, die_at=at)[0] == 9
    theirs = edited(AFTER, 18, "a third thing")
    (begun.top / "calc").write_text(theirs)
    assert server.run(begun) == (0, "failed")
    assert (begun.top / "calc").read_text() == theirs
    assert git(begun.top, "show", "main:calc") + "\n" == BAD
    note = str(journal(begun)["note"])
    assert "somebody changed calc in" in note
    assert "(third_content)" in note
    assert not list((begun.top / ".git").glob("*lock*"))


def test_a_publication_that_fails_when_the_branch_has_moved_is_finished_before_it_is_undone(begun: Scene) -> None:
    before = begun.picture()
    index, away = begun.top / ".git" / "index", begun.top / ".git" / "away"

    def meddle(word: str) -> None:
        if word == "forward install":  # from here on the new index cannot be put into its place
            index.rename(away)
            index.mkdir()
        elif word == "publish failed":
            index.rmdir()
            away.rename(index)

    ended = carry_out_with(begun, meddle)
    assert ended.state is RollbackState.UNDONE
    assert ended.note.startswith("publish: Is a directory: ")
    for name in ("head", "index", "status", "files", "locks", "leftovers"):
        assert begun.picture()[name] == before[name], name


def test_a_branch_that_moves_while_it_is_undone_is_no_obstacle(begun: Scene) -> None:
    begun.flag.touch()
    when = once("checks failed", lambda: begun.commit("planner", "in between", news="news\n"))
    ended = carry_out_with(begun, when)
    assert ended.state is RollbackState.UNDONE
    assert git(begun.top, "show", "main:news") == "news"
    assert git(begun.top, "show", "main:calc") + "\n" == BAD


def test_a_way_back_that_the_branch_left_behind_is_planned_anew(begun: Scene, server: CrashServer) -> None:
    begun.flag.touch()
    assert server.run(begun, die_at=FORWARD.index("finish checks"))[0] == 9
    assert server.run(begun, die_at=6)[0] == 9  # amid the records of the way back
    lock = begun.top / ".git" / "index.lock"
    assert lock.read_text().startswith("rollcage")
    lock.unlink()  # somebody did what git says, and went on
    begun.commit("planner", "on top", news="news\n")
    assert server.run(begun) == (0, "undone")
    assert git(begun.top, "show", "main:news") == "news"
    assert git(begun.top, "show", "main:calc") + "\n" == BAD
    assert (begun.top / "calc").read_text() == MINE
    assert git(begun.top, "log", "--format=%s", "main").count("Undo rb-1") == 1
    assert not list((begun.top / ".git").glob("*lock*"))


# Not verified, and kept


def test_kept_though_not_verified_others_work_on_and_the_problem_agent_stays_stopped(begun: Scene) -> None:
    begun.flag.touch()
    services = begun.services()
    services.store.set_hold("planner", Hold.STANDBY)
    services.store.close()
    ended = carry_on(begun, on_unverified="keep")
    assert ended.state is RollbackState.UNVERIFIED
    assert ended.note == "after the rollback check tests still fails"
    assert git(begun.top, "show", "main:calc") + "\n" == GOOD
    assert journal(begun)["holds"] == {"executor": Hold.STOPPED, "planner": Hold.NONE}
    assert steps(begun)["checks"] is StepState.FAILED
    assert steps(begun)["resume_others"] is StepState.DONE


@pytest.mark.parametrize("write", ["finish checks", "begin resume_others", "finish resume_others"])
def test_kept_also_where_it_was_killed_at_it(begun: Scene, server: CrashServer, write: str) -> None:
    begun.flag.touch()
    settings = {"on_unverified": "keep"}
    at = (
        FORWARD.index("finish checks")
        + {"finish checks": 0, "begin resume_others": 1, "finish resume_others": 2}[write]
    )
    assert server.run(begun, die_at=at, settings=settings)[0] == 9
    assert server.run(begun, settings=settings) == (0, "unverified")
    assert git(begun.top, "show", "main:calc") + "\n" == GOOD


def test_what_would_mend_nothing_is_not_taken_back(begun: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def do(work: Work, step: Step) -> dict[str, object]:
        raise NotVerifiedError("the database was broken before", spare=True)

    monkeypatch.setitem(step_kinds.KINDS, "verify", StepKind(do))
    ended = carry_on(begun)
    assert ended.state is RollbackState.UNVERIFIED
    assert git(begun.top, "show", "main:calc") + "\n" == GOOD


# What fails


def test_no_snapshot_no_rollback(begun: Scene) -> None:
    (begun.paths.snapshots).rmdir() if begun.paths.snapshots.exists() else None
    begun.paths.snapshots.write_text("in the way")
    before = begun.picture()
    ended = carry_on(begun)
    assert (ended.state, ended.head_after) == (RollbackState.UNDONE, "")
    assert "snap-" in ended.note
    assert "cannot be written" in ended.note
    assert begun.picture() == before
    assert journal(begun)["holds"] == {"executor": Hold.STOPPED}


def test_a_defect_is_raised_when_all_was_undone(begun: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def do(work: Work, step: Step) -> dict[str, object]:
        raise ValueError("oops")

    monkeypatch.setitem(step_kinds.KINDS, "verify", StepKind(do))
    before = begun.picture()
    with pytest.raises(ValueError, match="oops"):
        carry_on(begun)
    assert journal(begun)["state"] is RollbackState.UNDONE
    assert "a defect of rollcage: ValueError('oops')" in str(journal(begun)["note"])
    for name in ("index", "status", "files", "locks", "leftovers"):
        assert begun.picture()[name] == before[name]


def test_steps_of_a_newer_rollcage_are_left_to_it(begun: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = r"rb-1 has steps that this rollcage does not know \(metrics\): update it"
    with monkeypatch.context() as patch:
        patch.delitem(step_kinds.KINDS, "metrics")
        with pytest.raises(JournalError, match=unknown):
            carry_on(begun)
    assert journal(begun)["state"] is RollbackState.RUNNING
    assert carry_on(begun).state is RollbackState.DONE


def test_a_state_that_cannot_be_written_between_steps_leaves_all_to_be_carried_on(
    begun: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Store, event: str, body: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "append_event", full)
        with pytest.raises(JournalError, match="the disk is full"):
            carry_on(begun)
    assert journal(begun)["state"] is RollbackState.RUNNING
    assert carry_on(begun).state is RollbackState.DONE


def test_a_slow_phase_is_told_once(begun: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "PHASE_DEADLINE_S", {1: 0.0, 2: 300.0, 3: 600.0, 4: 900.0})
    carry_on(begun)
    events = [event for event in begun.services().store.recent_events(1000) if event.event == "alert"]
    assert [event.body["rollback"] for event in events if "over its 0 s" in str(event.body["text"])] == ["rb-1"]


def test_phases_are_told_in_order(begun: Scene) -> None:
    carry_on(begun)
    events = [event.body for event in begun.services().store.recent_events(1000) if event.event == "phase"]
    told = [(body["phase"], body["state"]) for body in events]
    assert told == [(phase, state) for phase in (1, 2, 3, 4) for state in ("started", "done")]


# Uncommitted work


def test_an_edit_that_says_the_same_as_the_rollback_is_there_again_when_that_is_undone(begun: Scene) -> None:
    (begun.top / "calc").write_text(GOOD)  # somebody mended it by hand, and did not commit
    before = begun.picture()
    begun.flag.touch()
    ended = carry_on(begun)
    assert ended.state is RollbackState.UNDONE
    for name in ("head", "index", "status", "files", "locks", "leftovers"):
        assert begun.picture()[name] == before[name], name


def test_but_not_over_what_somebody_did_since(begun: Scene) -> None:
    (begun.top / "calc").write_text(GOOD)
    begun.flag.touch()
    newer = edited(GOOD, 18, "newer")
    ended = carry_out_with(begun, once("checks failed", lambda: (begun.top / "calc").write_text(newer)))
    assert ended.state is RollbackState.UNDONE
    assert (begun.top / "calc").read_text() == edited(BAD, 18, "newer")
