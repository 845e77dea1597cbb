"""A rollback is turned round, and round again, exactly; later work stays, or stands in the way and is named."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace

import pytest

from rollcage.core.errors import RefusedError, UsageError
from rollcage.core.execute.runner import carry_out, start_rollback, work_for
from rollcage.core.model import OptionType, Rollback, RollbackState, Step, StepState
from rollcage.core.plan.undo import find_undo, plan_undo
from rollcage.core.plan.validate import validate_recovery_plan
from rollcage.core.services import Services
from tests.conftest import git
from tests.execute.scene import BAD, GOOD, MINE, Scene, carry_on
from tests.gitrepo.worlds import edited


@pytest.fixture
def services(carried_out: Scene) -> Iterator[Services]:
    """Return services of a scene whose rollback rb-1 was carried out."""
    opened = carried_out.services()
    yield opened
    opened.store.close()


def turn(services: Services, subject: str, verb: str) -> Rollback:
    """Undo or redo as the engine does when an operator wishes it."""
    found = find_undo(services, subject, redo=verb == "redo")
    plan = plan_undo(services, found, verb)
    assert validate_recovery_plan(plan).valid
    record = start_rollback(services, plan, approved_by="ann@here", kind=verb, of=subject)
    return carry_out(work_for(services, record, lambda run: []))


def test_undo_redo_undo_each_exactly(services: Services, carried_out: Scene) -> None:
    taken_back, was = carried_out.tree("main"), carried_out.tree("main~1")
    before = carried_out.picture()
    assert turn(services, "rb-1", "undo").state is RollbackState.DONE
    assert carried_out.tree() == was
    assert (carried_out.top / "calc").read_text() == MINE
    assert turn(services, "rb-1", "redo").state is RollbackState.DONE
    assert carried_out.tree() == taken_back
    for name in ("head", "index", "status", "files", "locks", "leftovers"):
        assert carried_out.picture()[name] == before[name], name
    assert turn(services, "rb-1", "undo").state is RollbackState.DONE
    assert carried_out.tree() == was
    assert turn(services, "rb-4", "undo").state is RollbackState.DONE
    assert carried_out.tree() == taken_back
    log = git(carried_out.top, "log", "--format=%s", "-5", "main").split("\n")
    assert log[:4] == ["Undo rb-4", "Undo rb-1", "Redo rb-1", "Undo rb-1"]


def test_later_commits_on_other_files_and_other_lines_stay(services: Services, carried_out: Scene) -> None:
    git(carried_out.top, "stash", "-q")
    carried_out.commit("planner", "another file", news="news\n")
    carried_out.commit("planner", "another line", calc=edited(GOOD, 18, "more"))
    assert turn(services, "rb-1", "undo").state is RollbackState.DONE
    assert git(carried_out.top, "show", "main:calc") + "\n" == edited(BAD, 18, "more")
    assert git(carried_out.top, "show", "main:news") == "news"


def test_a_later_commit_on_the_same_line_stands_in_the_way_and_nothing_changes(
    services: Services, carried_out: Scene
) -> None:
    git(carried_out.top, "stash", "-q")
    carried_out.commit("planner", "the same line", calc=edited(GOOD, 3, "otherwise"))
    before = carried_out.picture()
    with pytest.raises(RefusedError, match="rb-1 cannot be turned round, for later commits conflict: calc") as refused:
        turn(services, "rb-1", "undo")
    assert refused.value.code == "undo_conflict"
    assert carried_out.picture() == before


def test_twice_is_once(services: Services) -> None:
    assert turn(services, "rb-1", "undo").state is RollbackState.DONE
    with pytest.raises(UsageError, match="rb-1 is turned round already"):
        turn(services, "rb-1", "undo")


def test_what_was_not_carried_out_or_not_undone_cannot_be_turned_round(services: Services) -> None:
    with pytest.raises(UsageError, match="there is no rollback rb-9"):
        turn(services, "rb-9", "undo")
    with pytest.raises(UsageError, match="rb-1 was not undone; there is nothing to redo"):
        turn(services, "rb-1", "redo")
    plan = plan_undo(services, find_undo(services, "rb-1", redo=False), "undo")
    running = start_rollback(services, plan, approved_by="ann@here", kind="undo", of="rb-1")
    with pytest.raises(UsageError, match=f"{running.id} is running: only one that was carried out"):
        turn(services, running.id, "undo")
    with pytest.raises(UsageError, match="rb-1 was not undone"):
        turn(services, "rb-1", "redo")


def test_a_rollback_that_changed_no_code_has_nothing_to_turn_round(services: Services) -> None:
    record = services.store.rollback("rb-1")
    assert record is not None
    with pytest.raises(UsageError, match="rb-1 changed no code"):
        plan_undo(services, replace(record, head_after=""), "undo")


def test_an_edit_that_said_the_same_as_the_rollback_comes_back_with_its_undo(begun: Scene) -> None:
    (begun.top / "calc").write_text(GOOD)
    before = begun.picture()
    assert carry_on(begun).state is RollbackState.DONE
    assert " M calc" not in str(begun.picture()["status"])
    services = begun.services()
    assert turn(services, "rb-1", "undo").state is RollbackState.DONE
    for name in ("head", "index", "status", "files", "locks", "leftovers"):
        assert begun.picture()[name] == before[name], name
    assert turn(services, "rb-1", "redo").state is RollbackState.DONE
    assert (begun.top / "calc").read_text() == GOOD
    services.store.close()


def test_without_the_snapshot_it_is_undone_all_the_same_and_told(begun: Scene) -> None:
    (begun.top / "calc").write_text(GOOD)
    done = carry_on(begun)
    services = begun.services()
    shutil.rmtree(services.paths.snapshots / done.snapshot)
    assert turn(services, "rb-1", "undo").state is RollbackState.DONE
    assert (begun.top / "calc").read_text() == BAD
    alerts = [str(event.body["text"]) for event in services.store.recent_events(1000) if event.event == "alert"]
    assert any(f"uncommitted work could not be written again, {done.snapshot} has it" in text for text in alerts)
    services.store.close()


# What a rollback did beside moving the branch is turned round as well


def done(services: Services, *steps: Step, **changed: str) -> Rollback:
    """Let the rollback rb-1 have carried out ``steps`` as well."""
    record = services.store.rollback("rb-1")
    assert record is not None
    for number, step in enumerate(steps, 90):
        services.store.save_step(replace(step, rollback=record.id, number=number))
    return replace(record, **changed)  # type: ignore[arg-type]


def step(name: str, subject: str) -> Step:
    return Step("rb-1", 90, 3, name, subject, StepState.DONE)


def test_the_database_the_agents_and_the_remote_are_turned_round_too(carried_out: Scene) -> None:
    for push, sent in (("ask", ["origin"]), ("never", [])):
        services = carried_out.services(push=push)
        record = done(services, step("reset_agent", "executor"), step("database", "down"), step("push", "origin"))
        plan = plan_undo(services, record, "undo")
        names = [(each.name, each.subject) for each in plan.steps]
        assert ("reset_agent", "executor") in names
        assert ("database", f"snapshot {record.snapshot}") in names
        assert [subject for name, subject in names if name == "push"] == sent
        assert plan.database.startswith(f"restored to {record.snapshot}, as before rb-1")
        assert validate_recovery_plan(plan).problems == ()
        services.store.save_step(replace(step("database", "rows executor since 7"), number=91))
        assert ("database", "undo rb-1") in [
            (each.name, each.subject) for each in plan_undo(services, record, "undo").steps
        ]
        services.store.close()


def test_a_branch_that_went_back_itself_goes_forward_again_or_gets_a_new_commit_where_somebody_committed_since(
    services: Services, carried_out: Scene, bad: str
) -> None:
    git(carried_out.top, "stash", "-q", "-u")
    goal, was = git(carried_out.top, "rev-parse", f"{bad}^"), git(carried_out.top, "rev-parse", "main~1")
    git(carried_out.top, "update-ref", "refs/keep", "main")
    git(carried_out.top, "reset", "-q", "--hard", goal)
    plan = plan_undo(services, done(services, head_before=was, head_after=goal), "undo")
    assert (plan.tree, plan.head) == (carried_out.tree(was), goal)
    assert not plan.rewrite
    assert [(each.name, each.subject) for each in plan.steps if each.name in {"commit", "publish"}] == [
        ("commit", was),
        ("publish", ""),
    ]
    assert validate_recovery_plan(plan).problems == ()
    git(carried_out.top, "commit", "-q", "--allow-empty", "-m", "since")
    later = plan_undo(services, done(services, head_before=was, head_after=goal), "undo")
    assert ("commit", "") in [(each.name, each.subject) for each in later.steps]
    assert later.tree == carried_out.tree(was)


def test_a_mere_restart_says_that_there_is_nothing_to_turn_round(begun: Scene) -> None:
    services = begun.services()
    record = replace(done(services), id="rb-7", head_after="", state=RollbackState.DONE)
    services.store.save_rollback(record)
    services.store.save_step(replace(step("restart_agent", "executor"), rollback="rb-7", number=1))
    with pytest.raises(UsageError, match="rb-7 only restarted executor: it changed neither code nor data"):
        plan_undo(services, record, "undo")
    services.store.save_step(replace(step("database", "rows executor since 7"), rollback="rb-7", number=2))
    plan = plan_undo(services, record, "undo")
    assert [each.name for each in plan.steps] == ["stand_by", "snapshot", "database", "verify", "resume_others"]
    assert (plan.type, plan.tree) == (OptionType.RESTART_ONLY, None)
    assert validate_recovery_plan(plan).problems == ()
    services.store.save_rollback(replace(record, id="rb-8", kind="undo", of="rb-7"))
    with pytest.raises(UsageError, match="rb-7 is turned round already, by rb-8"):
        plan_undo(services, record, "undo")
    services.store.close()
