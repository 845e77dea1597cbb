"""Polling tells each change once, over restarts and lags, and costs nothing where nothing changes."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from rollcage.core.config import Level, TrackerSettings
from rollcage.core.engine import Engine
from rollcage.core.errors import UsageError
from rollcage.core.issues.errors import TrackerOfflineError, TrackerRefusedError
from rollcage.core.issues.github.polling import Change, Poller
from rollcage.core.issues.github.tracker import GitHubTracker, open_github
from rollcage.core.issues.github.watch import IssueWatch
from rollcage.core.issues.github.webhook import PORT, SECRET, WebhookReceiver, open_webhook
from rollcage.core.store.paths import RepositoryPaths
from rollcage.core.store.store import Store

from ..conftest import ManualClock
from ..loop import Shop, eventually
from .conftest import GitHub
from .fault_proxy import Fault


@pytest.fixture
def paths(tmp_path: Path) -> RepositoryPaths:
    root = tmp_path / "state" / "repositories" / "shop"
    root.mkdir(parents=True)
    return RepositoryPaths(root)


def settings(github: GitHub) -> TrackerSettings:
    return TrackerSettings(kind="github", repo=github.repository, base_url=github.url)


@pytest.fixture
def tracker(github: GitHub, paths: RepositoryPaths, clock: ManualClock) -> Iterator[GitHubTracker]:
    made = open_github(settings(github), paths, clock, {"GITHUB_TOKEN": github.token})
    yield made
    made.close()


@pytest.fixture
def file(paths: RepositoryPaths) -> Path:
    return paths.root / "watched.db"


@pytest.fixture
def poller(tracker: GitHubTracker, file: Path, clock: ManualClock) -> Iterator[Poller]:
    made = Poller(tracker, file, clock)
    yield made
    made.close()


def looked(poller: Poller, *, sweep: bool = False) -> list[tuple[int, str]]:
    told: list[Change] = []
    poller.look(told.append, sweep=sweep)
    return [(change.number, change.kind) for change in told]


def test_each_change_is_told_once(poller: Poller, github: GitHub) -> None:
    github.direct("POST", "/issues", {"title": "one"})
    assert looked(poller) == []  # the first time all is new
    github.direct("PATCH", "/issues/1", {"title": "two"})
    github.direct("POST", "/issues", {"title": "another"})
    assert sorted(looked(poller)) == [(1, "changed"), (2, "created")]
    assert looked(poller) == []
    github.direct("PATCH", "/issues/1", {"state": "closed"})
    assert looked(poller) == [(1, "closed")]
    github.direct("PATCH", "/issues/1", {"state": "open"})
    github.direct("POST", "/issues/2/labels", {"labels": ["x"]})
    assert sorted(looked(poller)) == [(1, "reopened"), (2, "changed")]


def test_a_comment_is_no_change_of_what_rollcage_writes(poller: Poller, github: GitHub) -> None:
    github.direct("POST", "/issues", {"title": "one"})
    assert looked(poller) == []
    github.direct("POST", "/issues/1/comments", {"body": "c"})
    assert looked(poller) == []


def test_nothing_new_is_a_304_and_costs_no_request(poller: Poller, tracker: GitHubTracker, github: GitHub) -> None:
    github.direct("POST", "/issues", {"title": "one"})
    looked(poller)
    looked(poller)
    before = tracker.budget()
    for _ in range(5):
        assert looked(poller) == []
    after = tracker.budget()
    assert before is not None
    assert after is not None
    assert after.remaining == before.remaining
    statuses = [each.answer.status for each in github.proxy.asked("GET", "/issues$") if each.answer]
    assert statuses[-5:] == [304] * 5


def test_an_empty_repository_is_watched_too(poller: Poller, github: GitHub) -> None:
    assert looked(poller) == []
    assert looked(poller) == []
    github.direct("POST", "/issues", {"title": "the first"})
    assert looked(poller) == [(1, "created")]


def test_many_changes_at_once_are_all_told_over_pages(poller: Poller, github: GitHub) -> None:
    looked(poller)
    for number in range(120):
        github.direct("POST", "/issues", {"title": f"t{number}"})
    assert sorted(looked(poller)) == [(number, "created") for number in range(1, 121)]
    assert looked(poller) == []


def test_a_restart_tells_nothing_again_and_misses_nothing(
    poller: Poller, tracker: GitHubTracker, github: GitHub, file: Path, clock: ManualClock
) -> None:
    github.direct("POST", "/issues", {"title": "one"})
    looked(poller)
    poller.close()
    github.direct("PATCH", "/issues/1", {"title": "meanwhile"})
    again = Poller(tracker, file, clock)
    assert looked(again) == [(1, "changed")]
    again.close()
    third = Poller(tracker, file, clock)
    assert looked(third) == []
    third.close()


def test_what_could_not_be_told_is_told_by_the_next_look(poller: Poller, github: GitHub) -> None:
    looked(poller)
    github.direct("POST", "/issues", {"title": "one"})

    class FullDiskError(Exception):
        pass

    def full(_: Change) -> None:
        raise FullDiskError

    with pytest.raises(FullDiskError):
        poller.look(full)
    assert looked(poller) == [(1, "created")]


def test_a_list_that_breaks_off_loses_nothing(poller: Poller, github: GitHub) -> None:
    looked(poller)
    for number in range(101):
        github.direct("POST", "/issues", {"title": f"t{number}"})
    github.proxy.fail(Fault.RESET_BEFORE, method="GET", after=1, times=3)
    told: list[Change] = []
    with pytest.raises(TrackerOfflineError):
        poller.look(told.append)
    poller.look(told.append)
    assert sorted(change.number for change in told) == list(range(1, 102))


def test_a_sweep_finds_what_lists_of_changes_do_not_show(
    poller: Poller, tracker: GitHubTracker, github: GitHub, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for title in "abc":
        github.direct("POST", "/issues", {"title": title})
    looked(poller)
    listed = tracker.listed

    def without_two(parameters: dict[str, str], etag: str = "") -> object:
        for answer, issues in listed(parameters, etag):
            yield answer, [issue for issue in issues if issue.number != 2]

    monkeypatch.setattr(tracker, "listed", without_two)  # a list that lags, or lost one
    assert looked(poller, sweep=True) == []
    rule = github.proxy.fail(Fault.ISSUES_DISABLED, method="GET", path="/issues/2$", times=None)
    assert looked(poller, sweep=True) == [(2, "gone")]
    assert looked(poller, sweep=True) == []
    github.proxy.rules.remove(rule)
    monkeypatch.undo()
    clock.advance(3601)  # by itself, once an hour
    assert looked(poller) == [(2, "created")]


def test_a_stale_list_only_delays(poller: Poller, github: GitHub) -> None:
    github.direct("POST", "/issues", {"title": "one"})
    looked(poller)
    github.proxy.freeze_lists(github.repository)
    github.direct("PATCH", "/issues/1", {"title": "two"})
    assert looked(poller) == []
    github.proxy.heal()
    assert looked(poller) == [(1, "changed")]


def test_a_clock_that_is_an_hour_off_makes_no_difference(poller: Poller, github: GitHub, clock: ManualClock) -> None:
    github.proxy.manners.clock_ahead = timedelta(hours=1)
    github.direct("POST", "/issues", {"title": "one"})
    looked(poller)
    github.direct("PATCH", "/issues/1", {"title": "two"})
    clock.advance(5)
    assert looked(poller) == [(1, "changed")]
    assert looked(poller) == []


def test_it_looks_in_its_time_and_at_once_after_a_hint(poller: Poller, github: GitHub, clock: ManualClock) -> None:
    def asked() -> int:
        return len(github.proxy.asked("GET"))

    poller.look_if_due(lambda change: None)
    first = asked()
    poller.look_if_due(lambda change: None)
    assert asked() == first
    clock.advance(2)
    poller.hint()
    poller.look_if_due(lambda change: None)
    assert asked() > first
    second = asked()
    clock.advance(16)
    poller.look_if_due(lambda change: None)
    assert asked() > second


def test_the_engines_watch_writes_events(github: GitHub, paths: RepositoryPaths, clock: ManualClock) -> None:
    store = Store.open(paths, clock)
    watch = IssueWatch(settings(github), paths, store, clock, threading.Event(), {"GITHUB_TOKEN": github.token})
    watch.look()
    github.direct("POST", "/issues", {"title": "evil \x1b[31m\u202etitle", "labels": ["comp:a"]})
    clock.advance(20)
    watch.look()
    (event,) = [each for each in store.recent_events(10) if each.event == "issue"]
    version = event.body.pop("version") if isinstance(event.body, dict) else None
    assert isinstance(version, str)
    assert event.body == {
        "number": 1,
        "change": "created",
        "title": "evil title",
        "state": "open",
        "labels": ["comp:a"],
    }
    watch.close()
    store.close()


def test_what_keeps_the_engine_from_looking_is_one_problem_until_it_is_over(
    github: GitHub, paths: RepositoryPaths, clock: ManualClock
) -> None:
    store = Store.open(paths, clock)
    watch = IssueWatch(settings(github), paths, store, clock, threading.Event(), {"GITHUB_TOKEN": github.token})
    rule = github.proxy.fail(Fault.FORBIDDEN, times=None)
    told = set()
    for _ in range(40):
        with pytest.raises(TrackerRefusedError) as refused:
            watch.look()
        told.add(str(refused.value))
        clock.advance(1)
    assert len(told) == 1
    assert 3 <= rule.hits <= 4  # and GitHub is asked in its time
    github.proxy.heal()
    clock.advance(15)
    watch.look()
    github.proxy.fail(Fault.SECONDARY_LIMIT, seconds=100)
    before = len(github.proxy.exchanges)
    for _ in range(90):  # nothing that a person could mend
        clock.advance(1)
        watch.look()
    assert len(github.proxy.exchanges) == before + 1
    watch.close()
    store.close()


def test_a_running_engine_writes_events_of_changes(github: GitHub, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", github.token)
    shop.configure(tracker={"kind": "github", "repo": github.repository, "base_url": github.url})
    monkeypatch.setattr("rollcage.core.issues.github.polling.LOOK_S", 0.1)
    monkeypatch.setattr("rollcage.core.engine.ISSUES_EVERY_S", 0.1)
    shop.open()

    def events() -> list[object]:
        return [each.body["change"] for each in shop.services.store.recent_events(50) if each.event == "issue"]

    with shop.leading() as leader:
        engine = Engine(shop.services, leader, Level.WATCH)
        engine.start()
        eventually(lambda: github.proxy.asked("GET", "/issues$"), "a first look")
        github.direct("POST", "/issues", {"title": "one"})
        eventually(events, "an event")
        engine.stop()
        assert engine.join(30)
    assert events() == ["created"]


# -- the webhook, a hint


def delivered(port: int, body: bytes, secret: str, **headers: str) -> int:
    signature = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    sent = {"X-GitHub-Event": "issues", "X-Hub-Signature-256": signature, **headers}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/", body, sent)
        return connection.getresponse().status
    finally:
        connection.close()


def test_only_a_signed_delivery_hints() -> None:
    hints: list[None] = []
    receiver = WebhookReceiver(0, "secret", lambda: hints.append(None))
    try:
        assert delivered(receiver.port, b"{}", "wrong") == 403
        assert delivered(receiver.port, b"{}", "secret", **{"X-Hub-Signature-256": ""}) == 403
        assert delivered(receiver.port, b"{}", "secret", **{"X-Hub-Signature-256": "sha256=\xe9"}) == 403
        assert delivered(receiver.port, b"x", "secret", **{"Content-Length": "26000000"}) == 413
        assert not hints
        assert delivered(receiver.port, b"{}", "secret", **{"X-GitHub-Event": "star"}) == 204
        assert not hints
        assert delivered(receiver.port, b"not even json", "secret") == 204
        assert len(hints) == 1
    finally:
        receiver.close()


def test_it_is_off_unless_both_variables_are_set() -> None:
    assert open_webhook({}, lambda: None) is None
    with pytest.raises(UsageError, match="is not set"):
        open_webhook({PORT: "4711"}, lambda: None)
    for port in ("", "0", "70000", "x", "²"):
        with pytest.raises(UsageError, match="is no port"):
            open_webhook({PORT: port, SECRET: "s"}, lambda: None)


def test_a_taken_port_is_told() -> None:
    first = WebhookReceiver(0, "s", lambda: None)
    try:
        with pytest.raises(UsageError, match="set ROLLCAGE_WEBHOOK_PORT to a free one"):
            WebhookReceiver(first.port, "s", lambda: None)
    finally:
        first.close()
