"""doctor looks at GitHub: each fault with its mend."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rollcage.console.examination import Found, Status, _tracker
from rollcage.core.clock import SystemClock
from rollcage.core.issues.github.client import GitHubClient, Request
from rollcage.core.issues.github.retry import Answer

from ..conftest import ManualClock
from ..loop import Shop
from . import emulate
from .conftest import GitHub
from .fault_proxy import Fault


@pytest.fixture
def clock() -> ManualClock:
    made = ManualClock()
    made.moment = datetime.now(UTC)
    return made


class Doctor:
    """Looks at the tracker of a shop whose settings name the test's GitHub."""

    def __init__(self, github: GitHub, shop: Shop, clock: ManualClock) -> None:
        self.github, self.shop, self.clock = github, shop, clock

    def found(self, **tracker: Any) -> list[Found]:
        given = {"kind": "github", "repo": self.github.repository, "base_url": self.github.url, **tracker}
        self.shop.configure(tracker=given)
        return list(_tracker(self.shop.open(self.clock)))


@pytest.fixture
def doctor(github: GitHub, shop: Shop, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    monkeypatch.setenv("GITHUB_TOKEN", github.token)
    return Doctor(github, shop, clock)


def test_a_github_that_works_has_no_fault(doctor: Doctor) -> None:
    (found,) = doctor.found()
    assert found.status is Status.OK
    assert doctor.github.repository in found.detail
    assert "of 5,000 requests left" in found.detail
    assert len(doctor.github.proxy.exchanges) == 1


def test_issues_of_this_machine_are_no_question(shop: Shop) -> None:
    (found,) = _tracker(shop.open(SystemClock()))
    assert (found.status, found.detail) == (Status.OK, "local: Issues live on this machine")


@pytest.mark.parametrize(
    ("fault", "status", "words", "mend"),
    [
        (Fault.EXPIRED, Status.FAULT, "expired", "make a new one"),
        (Fault.FORBIDDEN, Status.FAULT, "does not permit", "Issues: read and write"),
        (Fault.RESET_BEFORE, Status.WARNING, "written to the outbox", "look at the connection"),
        (Fault.SECONDARY_LIMIT, Status.WARNING, "asks to wait", "wait"),
    ],
)
def test_what_is_wrong_is_told_with_its_mend(
    doctor: Doctor, fault: Fault, status: Status, words: str, mend: str
) -> None:
    doctor.github.proxy.fail(fault, times=None)
    (found,) = doctor.found()
    assert found.status is status
    assert words in found.detail
    assert mend in found.mend


def test_no_token_no_repository_and_a_clock_that_is_an_hour_off(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    (found,) = doctor.found(repo="acme/no-such")
    assert (found.status, found.mend.partition(" ")[0]) == (Status.FAULT, "correct")
    doctor.clock.moment += timedelta(hours=1)
    _, found = doctor.found()
    assert found.status is Status.WARNING
    assert "3,6" in found.detail
    assert "s ahead of GitHub's" in found.detail
    monkeypatch.delenv("GITHUB_TOKEN")
    (found,) = doctor.found()
    assert (found.status, found.detail) == (Status.FAULT, "$GITHUB_TOKEN holds no token")
    assert "export one" in found.mend


def test_a_repository_without_issues_archived_or_renamed(doctor: Doctor) -> None:
    github = doctor.github
    number = github.direct("PATCH", "", {"has_issues": False, "archived": True}, emulate.OWNER)["id"]
    assert [each.mend for each in doctor.found() if each.status is Status.FAULT] == [
        "switch them on in its settings on GitHub",
        "unarchive it on GitHub",
    ]
    github.proxy.manners.rename(github.repository, f"{github.repository}-new", number)
    (found,) = doctor.found()
    assert (found.status, found.detail) == (Status.FAULT, f"{github.repository} was renamed")


def test_who_may_only_read_is_told_what_is_needed(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    def send(client: GitHubClient, request: Request) -> Answer:  # emulate gives everybody every permission
        return Answer(200, {}, {"has_issues": True, "permissions": {"pull": True, "push": False, "triage": False}})

    monkeypatch.setattr(GitHubClient, "send", send)
    faults = [each for each in doctor.found() if each.status is Status.FAULT]
    assert len(faults) == 1
    assert "may read" in faults[0].detail
    assert "Issues: read and write" in faults[0].mend
