"""Rollcage counts its own false alarms: what it took back and what landed again unmodified, whichever way."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rollcage.core.execute.false_alarms import count_false_alarms
from tests.conftest import git
from tests.execute.scene import BAD, GOOD, Scene, carry_on
from tests.gitrepo.worlds import edited

SLOW = {"m.slow": "bad\n"}
"""The other file that the bad commit of the scene changes."""


def by_itself(scene: Scene) -> None:
    scene.commit("executor", "tidy calc again", calc=BAD, **SLOW)


def with_other_work(scene: Scene) -> None:
    scene.commit("executor", "tidy calc again, and more", calc=BAD, news="news\n", **SLOW)


def behind_other_work(scene: Scene) -> None:
    scene.commit("planner", "more", calc=edited(GOOD, 18, "more"))
    scene.commit("executor", "tidy calc again", calc=edited(BAD, 18, "more"), **SLOW)


def otherwise(scene: Scene) -> None:
    scene.commit("executor", "tidy calc better", calc=edited(GOOD, 3, "better"))


def not_at_all(scene: Scene) -> None:
    scene.commit("planner", "news", news="news\n")


@pytest.mark.parametrize(
    ("land", "number"), [(by_itself, 1), (with_other_work, 1), (behind_other_work, 1), (otherwise, 0), (not_at_all, 0)]
)
def test_what_landed_again_unmodified_was_a_false_alarm(
    begun: Scene, land: Callable[[Scene], None], number: int
) -> None:
    git(begun.top, "checkout", "-q", "--", "calc")
    carry_on(begun)
    services = begun.services()
    assert count_false_alarms(services) == []
    land(begun)
    assert count_false_alarms(services) == ["rb-1"] * number
    if not number:
        by_itself(begun)
    begun.commit("planner", "later", later="later\n")
    count_false_alarms(services)
    assert len(services.store.false_alarms()) == 1, "each is counted once"
    records = [record.subject for record in services.store.audit_records() if record.what == "false_alarm"]
    assert records == ["rb-1"]
    services.store.close()
