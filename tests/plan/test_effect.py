"""An approval binds to the effect: it outlives what is unrelated, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from rollcage.core.model import OptionType, RecoveryPlan
from rollcage.core.plan.options import Wish, rehearse
from rollcage.core.services import Services
from tests.conftest import git
from tests.execute.scene import BAD, Scene, diagnosis_of, incident_of
from tests.gitrepo.worlds import edited


def plan(services: Services, *targets: str, message: str = "", restart: bool = True) -> RecoveryPlan:
    """Rehearse taking ``targets`` back, by the message of the first time where none is given."""
    incident = services.store.incident("inc-1") or incident_of(services)
    message = message or services.store.get_note("message") or ""
    wish = Wish(OptionType.SINGLE_COMMIT, targets, message, restart)
    made = rehearse(services, incident, diagnosis_of(incident, targets[-1]), wish, "opt-1.1")[1]
    services.store.set_note("message", services.store.get_note("message") or made.message)
    return made


def test_unrelated_commits_leave_it(scene: Scene, bad: str) -> None:
    services = scene.services()
    before = plan(services, bad)
    scene.commit("planner", "unrelated", plan="other\n", news="news\n")
    after = plan(services, bad)
    assert after.head != before.head
    assert after.tree != before.tree
    assert after.plan_hash == before.plan_hash


def test_so_do_uncommitted_edits(scene: Scene, bad: str) -> None:
    services = scene.services()
    before = plan(services, bad)
    (scene.top / "calc").write_text(edited(BAD, 10, "another edit"))
    assert plan(services, bad).plan_hash == before.plan_hash


def _commit_in_the_file(scene: Scene) -> None:
    git(scene.top, "stash", "-q")
    scene.commit("planner", "in the file", calc=edited(BAD, 18, "more"))


def _make_executable(scene: Scene) -> None:
    git(scene.top, "update-index", "--chmod=+x", "calc")
    git(scene.top, "commit", "-q", "-m", "mode only")


@pytest.mark.parametrize("change", [_commit_in_the_file, _make_executable])
def test_other_content_or_mode_of_an_affected_file_voids_it(
    scene: Scene, bad: str, change: Callable[[Scene], None]
) -> None:
    services = scene.services()
    before = plan(services, bad)
    change(scene)
    assert plan(services, bad).plan_hash != before.plan_hash


def test_another_message_restart_target_pin_or_branch_voids_it(scene: Scene, bad: str) -> None:
    services = scene.services()
    before = plan(services, bad)
    other = git(scene.top, "rev-parse", "main")
    hashes = {
        before.plan_hash,
        plan(services, bad, message="another\n").plan_hash,
        plan(services, bad, restart=False).plan_hash,
        plan(services, other).plan_hash,
        plan(services, other, bad).plan_hash,
        plan(replace(services, pin="1" * 64), bad).plan_hash,
    }
    assert len(hashes) == 6
    git(scene.top, "branch", "twin", "main")
    elsewhere = replace(services, settings=services.settings.model_copy(update={"branch": "twin"}))
    assert plan(elsewhere, bad).plan_hash not in hashes


def test_what_becomes_of_the_database_is_part_of_it(scene: Scene, bad: str) -> None:
    services = scene.services(database={"url": "sqlite:///app.db"})
    incident = incident_of(services)
    wish = Wish(OptionType.SINGLE_COMMIT, (bad,))
    hashes = {
        rehearse(services, incident, diagnosis_of(incident, bad, tables=tables), wish, "opt-1.1")[1].plan_hash
        for tables in ([], ["orders"])
    }
    assert len(hashes) == 2
