"""The tracker GitHub, before a server that none of us wrote: single things, once, honest about what is unknown."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from rollcage.core.clock import Clock
from rollcage.core.config import TrackerSettings
from rollcage.core.errors import StoreError
from rollcage.core.issues.errors import (
    OutcomeUnknownError,
    TrackerError,
    TrackerLimitError,
    TrackerOfflineError,
    TrackerRefusedError,
)
from rollcage.core.issues.github.claims import GitClaims
from rollcage.core.issues.github.client import GitHubClient, Request
from rollcage.core.issues.github.credentials import APP_ID, APP_INSTALLATION, APP_KEY
from rollcage.core.issues.github.limiter import WRITE, Cost
from rollcage.core.issues.github.retry import Answer
from rollcage.core.issues.github.tracker import GitHubTracker, open_github
from rollcage.core.issues.issue import Draft
from rollcage.core.issues.kept import Kept
from rollcage.core.store.paths import RepositoryPaths

from ..conftest import ManualClock
from . import emulate
from .conftest import GitHub
from .fault_proxy import Fault

WRITES = "POST|PATCH|PUT|DELETE"


@pytest.fixture
def paths(tmp_path: Path) -> RepositoryPaths:
    return RepositoryPaths(tmp_path / "state" / "repositories" / "shop")


def opened(github: GitHub, paths: RepositoryPaths, clock: Clock, **environ: str) -> GitHubTracker:
    settings = TrackerSettings(kind="github", repo=github.repository, base_url=github.url)
    return open_github(settings, paths, clock, environ or {"GITHUB_TOKEN": github.token})


@pytest.fixture
def tracker(github: GitHub, paths: RepositoryPaths, clock: ManualClock) -> Iterator[GitHubTracker]:
    made = opened(github, paths, clock)
    yield made
    made.close()


def writes(github: GitHub) -> int:
    return sum(each.done for each in github.proxy.asked(WRITES))


# -- single things


def test_an_issue_comes_back_as_it_was_created(tracker: GitHubTracker) -> None:
    draft = Draft("Fix \u202e`it` [/] 😀", 'a, "b"\n- c', ("comp:a", "status: to do, soon"), ("ann", "ben"))
    made = tracker.create(draft)
    assert (made.title, made.body, made.labels, made.assignees, made.state) == (
        draft.title,
        draft.body,
        draft.labels,
        draft.assignees,
        "open",
    )
    assert tracker.get(made.number) == made


def test_a_write_sends_just_the_named_fields_and_never_if_match(tracker: GitHubTracker, github: GitHub) -> None:
    number = tracker.create(Draft("one", "text", ("a",))).number
    after = tracker.write(number, title="two")
    assert (after.title, after.body, after.labels) == ("two", "text", ("a",))
    tracker.write(number, state="closed")
    sent = [each.request for each in github.proxy.asked("PATCH")]
    assert [request.json() for request in sent] == [{"title": "two"}, {"state": "closed"}]
    assert not any("if-match" in each.request.headers for each in github.proxy.exchanges)
    assert tracker.write(number).state == "closed"  # nothing named: nothing written
    assert len(github.proxy.asked("PATCH")) == 2


def test_labels_and_people_are_added_and_removed_one_by_one_and_twice_is_no_fault(
    tracker: GitHubTracker, github: GitHub
) -> None:
    number = tracker.create(Draft("one")).number
    name = 'a b/c?d#e%2F+ü,"f"'
    for _ in range(2):
        tracker.add_label(number, name)
        tracker.add_assignee(number, "ann")
    github.direct("POST", f"/issues/{number}/labels", {"labels": ["other"]})
    assert tracker.get(number).labels == tuple(sorted((name, "other")))
    assert tracker.get(number).assignees == ("ann",)
    for _ in range(2):
        tracker.remove_label(number, name)
        tracker.remove_assignee(number, "ann")
    assert tracker.get(number).labels == ("other",)
    assert tracker.get(number).assignees == ()


def test_removing_from_an_issue_that_is_not_there_is_refused(tracker: GitHubTracker) -> None:
    with pytest.raises(TrackerRefusedError, match="knows no Issue #99") as refused:
        tracker.remove_label(99, "x")
    assert refused.value.status == 404


def test_a_label_that_would_end_the_path_is_not_sent(tracker: GitHubTracker, github: GitHub) -> None:
    number = tracker.create(Draft("one")).number
    with pytest.raises(TrackerRefusedError, match="rename it"):
        tracker.remove_label(number, "..")
    assert github.proxy.asked("DELETE") == []


def test_comments_are_appended_edited_deleted_and_listed_oldest_first(tracker: GitHubTracker) -> None:
    number = tracker.create(Draft("one")).number
    first, second = tracker.comment(number, "first"), tracker.comment(number, "second")
    changed = tracker.edit_comment(first, "first!")
    assert (changed.id, changed.body, changed.author) == (first.id, "first!", "bot")
    assert [each.body for each in tracker.comments(number)] == ["first!", "second"]
    for _ in range(2):
        tracker.delete_comment(second)
    assert [each.id for each in tracker.comments(number)] == [first.id]


def test_all_pages_are_read_newest_first_without_pull_requests(tracker: GitHubTracker, github: GitHub) -> None:
    for number in range(1, 131):
        github.direct("POST", "/issues", {"title": f"t{number}", "labels": ["even"] if number % 2 == 0 else []})
    github.direct("PATCH", "/issues/4", {"state": "closed"})
    found = [each.number for each in tracker.issues()]
    assert sorted(found, reverse=True) == [number for number in range(130, 0, -1) if number != 4]
    assert found[0] > 120  # those of one second come in any order
    assert [each.number for each in tracker.issues(state="closed", labels=("even",))] == [4]
    assert len(github.proxy.asked("GET", "/issues$")) == 3


def test_pages_are_followed_whatever_stands_in_their_addresses(
    tracker: GitHubTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = (
        '<https://elsewhere.example/x?page=1>; rel="prev", <https://elsewhere.example/repositories/7/issues?labels=a,b>'
    )
    asked = []

    def send(client: GitHubClient, request: Request) -> Answer:
        asked.append(request.path)
        return Answer(200, {"link": f'{link}; rel="next"'} if len(asked) == 1 else {}, [])

    monkeypatch.setattr(GitHubClient, "send", send)
    assert list(tracker.issues(labels=("a", "b"))) == []
    assert asked == [f"/repos/{tracker.repository}/issues", "/repositories/7/issues?labels=a,b"]


def test_a_label_with_a_comma_is_found_too(tracker: GitHubTracker, github: GitHub) -> None:
    tracker.create(Draft("one", labels=("a,b", "c")))
    tracker.create(Draft("two", labels=("a", "b", "c")))
    assert [each.title for each in tracker.issues(labels=("a,b", "c"))] == ["one"]


def test_since_is_the_servers_time(tracker: GitHubTracker) -> None:
    made = tracker.create(Draft("one"))
    assert [each.number for each in tracker.issues(since=made.updated)] == [made.number]
    assert list(tracker.issues(since=made.updated + timedelta(seconds=1))) == []


def test_an_issue_that_is_listed_on_two_pages_is_yielded_once(tracker: GitHubTracker, github: GitHub) -> None:
    for number in range(1, 102):
        github.direct("POST", "/issues", {"title": f"t{number}"})
    listing = tracker.issues()
    first = next(listing)
    github.direct("POST", "/issues", {"title": "pushes one to the second page"})
    rest = [each.number for each in listing]
    assert [first.number, *rest] == list(range(101, 0, -1))


def test_labels_are_defined_once_and_then_changed(tracker: GitHubTracker) -> None:
    tracker.define_label("status: a/b", "ff0000", "first")
    tracker.define_label("status: a/b", "00ff00", "second")
    assert tracker.label_definitions()["status: a/b"] == ("00ff00", "second")


def test_blockers_are_written_and_read(tracker: GitHubTracker) -> None:
    for title in "abc":
        tracker.create(Draft(title))
    for _ in range(2):
        tracker.add_blocker(1, 3)
        tracker.add_blocker(1, 2)
    assert tracker.blocked_by(1) == (2, 3)
    for _ in range(2):
        tracker.remove_blocker(1, 3)
    assert tracker.blocked_by(1) == (2,)


def test_the_history_of_a_body_shows_a_foreign_edit(tracker: GitHubTracker, github: GitHub) -> None:
    number = tracker.create(Draft("one", "first")).number
    github.direct("PATCH", f"/issues/{number}", {"body": "theirs"})
    tracker.write(number, body="ours")
    edits = tracker.body_edits(number)
    assert edits is not None
    assert [(each.editor, each.body) for each in edits][:2] == [("bot", "ours"), ("mallory", "theirs")]


def test_a_server_without_graphql_has_no_history_and_is_asked_once(
    github: GitHub, paths: RepositoryPaths, clock: ManualClock
) -> None:
    bare = replace(github, url=f"http://127.0.0.1:{github.proxy.upstream.port}")  # emulate has none
    tracker = opened(bare, paths, clock, GITHUB_TOKEN=f"{github.token}-0")
    number = tracker.create(Draft("one")).number
    assert tracker.body_edits(number) is None
    before = tracker.budget()
    assert tracker.body_edits(number) is None
    assert tracker.budget() == before
    tracker.close()


# -- what goes wrong


@pytest.mark.parametrize(
    ("fault", "done"),
    [
        (Fault.BAD_GATEWAY_BEFORE, False),
        (Fault.BAD_GATEWAY_AFTER, True),
        (Fault.RESET_BEFORE, False),
        (Fault.RESET_AFTER, True),
        (Fault.TRUNCATED, True),
        (Fault.HTML, False),
    ],
)
def test_a_write_whose_answer_is_lost_is_sent_once_and_its_outcome_unknown(
    tracker: GitHubTracker, github: GitHub, fault: Fault, done: bool
) -> None:
    number = tracker.create(Draft("one")).number
    before = len(github.proxy.asked(WRITES))
    calls: list[Callable[[], object]] = [
        lambda: tracker.create(Draft("two")),
        lambda: tracker.write(number, title="x"),
        lambda: tracker.add_label(number, "l"),
        lambda: tracker.comment(number, "c"),
    ]
    for sent, call in enumerate(calls, 1):
        github.proxy.fail(fault, method=WRITES)
        with pytest.raises(OutcomeUnknownError, match="look before you try again"):
            call()
        assert len(github.proxy.asked(WRITES)) == before + sent
    assert len(github.issues()) == (2 if done else 1)


@pytest.mark.parametrize("fault", [Fault.BAD_GATEWAY_BEFORE, Fault.RESET_BEFORE, Fault.TRUNCATED, Fault.HTML])
def test_a_read_is_asked_again_and_at_last_the_tracker_is_offline(
    tracker: GitHubTracker, github: GitHub, fault: Fault
) -> None:
    made = tracker.create(Draft("one"))
    github.proxy.fail(fault, method="GET", times=2)
    assert tracker.get(made.number) == made
    github.direct("PATCH", f"/issues/{made.number}", {"title": "two"})  # else a 304, which has nothing to cut off
    github.proxy.fail(fault, method="GET", times=3)
    with pytest.raises(TrackerOfflineError, match="look at the connection"):
        tracker.get(made.number)
    assert tracker.online() is False or fault in {Fault.TRUNCATED}
    tracker.get(made.number)
    assert tracker.online() is True


def test_a_slow_answer_is_not_waited_for(
    tracker: GitHubTracker, github: GitHub, clock: ManualClock, tmp_path: Path
) -> None:
    own = tracker.client
    client = GitHubClient(own.server, own.repository, own.credential, own.limiter, clock, timeout=1)
    hasty = GitHubTracker(client, Kept(tmp_path / "kept.db", own.repository))
    number = hasty.create(Draft("one")).number
    github.proxy.fail(Fault.SLOW, method="GET", seconds=60)
    assert hasty.get(number).title == "one"
    github.proxy.fail(Fault.SLOW, method="PATCH", seconds=60)
    with pytest.raises(OutcomeUnknownError, match="did not answer in time"):
        hasty.write(number, title="two")
    assert len(github.proxy.asked("PATCH")) <= 1  # nothing was sent a second time
    hasty.client.close()


def test_where_nobody_listens_nothing_was_sent(github: GitHub, paths: RepositoryPaths, clock: ManualClock) -> None:
    for address in ("http://127.0.0.1:1", "http://no-such-host.invalid.localhost:9"):
        settings = TrackerSettings.model_construct(
            kind="github", repo=github.repository, base_url=address, token_env="GITHUB_TOKEN"
        )
        gone = open_github(settings, paths, clock, {"GITHUB_TOKEN": github.token})
        with pytest.raises(TrackerOfflineError):
            gone.get(1)
        with pytest.raises(TrackerOfflineError):
            gone.create(Draft("one"))
        assert gone.online() is False
        budget = gone.budget()
        assert budget is not None
        assert (budget.points_per_minute, budget.creations_per_hour) == (0, 0)  # what was not sent costs nothing
        gone.close()


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        (Fault.EXPIRED, 401, r"does not take the token of \$GITHUB_TOKEN .*expired"),
        (Fault.FORBIDDEN, 403, "does not permit .*Issues: read and write"),
        (Fault.ISSUES_DISABLED, 410, "has no Issues .*switch them on"),
    ],
)
def test_a_refusal_is_one_line_that_says_what_to_do(
    tracker: GitHubTracker, github: GitHub, fault: Fault, status: int, words: str
) -> None:
    github.proxy.fail(fault, times=2)
    calls: list[Callable[[], object]] = [lambda: tracker.create(Draft("one")), lambda: tracker.get(1)]
    for call in calls:
        with pytest.raises(TrackerRefusedError, match=words) as refused:
            call()
        assert refused.value.status == status
        assert "\n" not in str(refused.value)
        assert github.token not in str(refused.value)
    assert len(github.proxy.exchanges) == 2  # and is not asked again


def test_a_value_that_github_does_not_take_is_told_with_its_words(tracker: GitHubTracker) -> None:
    with pytest.raises(TrackerRefusedError, match=r"too long \(maximum is 256 characters\)") as refused:
        tracker.create(Draft("x" * 100_000))
    assert refused.value.status == 422
    assert len(str(refused.value)) < 500


def test_a_renamed_repository_is_told_and_its_pages_are_not_read_without_their_query(
    tracker: GitHubTracker, github: GitHub
) -> None:
    new = f"{github.repository}-new"
    number = github.direct("PATCH", "", {"name": new.partition("/")[2]}, emulate.OWNER)["id"]
    github.proxy.manners.rename(github.repository, new, number)
    calls: list[Callable[[], object]] = [
        lambda: list(tracker.issues()),
        lambda: tracker.create(Draft("one")),
        lambda: tracker.get(1),
    ]
    for call in calls:
        with pytest.raises(TrackerRefusedError, match=re.escape("write the new name as tracker.repo")) as refused:
            call()
        assert 300 < refused.value.status < 400
    assert github.proxy.asked(path="/repositories/") == []


def test_an_answer_in_hand_counts_though_the_limits_cannot_be_written_down(
    tracker: GitHubTracker, github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object, **more: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(tracker.client.limiter, "settle", full)
    assert tracker.create(Draft("one")).number == 1
    assert len(github.issues()) == 1


# -- limits


@pytest.mark.parametrize("status", [403, 429])
def test_a_secondary_limit_with_retry_after_stops_all_who_share_the_token(
    tracker: GitHubTracker, github: GitHub, paths: RepositoryPaths, clock: ManualClock, status: int
) -> None:
    other = opened(github, paths, clock)
    github.proxy.fail(Fault.SECONDARY_LIMIT, seconds=37, status=status)
    with pytest.raises(TrackerLimitError) as limited:
        tracker.create(Draft("one"))
    assert 36 <= limited.value.seconds <= 38
    with pytest.raises(TrackerLimitError, match="asked to wait"):
        other.get(1)
    assert len(github.proxy.exchanges) == 1  # the other did not even ask
    clock.advance(38)
    assert other.create(Draft("one")).number == 1
    other.close()


def test_a_short_pause_is_waited_for_by_reads_and_told_to_writes(
    tracker: GitHubTracker, github: GitHub, clock: ManualClock
) -> None:
    made = tracker.create(Draft("one"))
    github.proxy.fail(Fault.SECONDARY_LIMIT, method="GET", seconds=5)
    began = clock.boot()
    assert tracker.get(made.number) == made
    assert 5 <= clock.boot() - began < 8
    github.proxy.fail(Fault.SECONDARY_LIMIT, method="PATCH", seconds=5)
    with pytest.raises(TrackerLimitError):
        tracker.write(made.number, title="x")
    assert len(github.proxy.asked("PATCH")) == 1


def test_without_a_time_the_pauses_grow_from_a_minute(
    tracker: GitHubTracker, github: GitHub, clock: ManualClock
) -> None:
    found = []
    for _ in range(3):
        github.proxy.fail(Fault.SECONDARY_LIMIT)
        with pytest.raises(TrackerLimitError) as limited:
            tracker.create(Draft("one"))
        found.append(round(limited.value.seconds))
        clock.advance(limited.value.seconds + 1)
    assert found == [60, 120, 240]


def test_a_used_up_hour_is_waited_for_by_the_servers_clock(
    tracker: GitHubTracker, github: GitHub, clock: ManualClock
) -> None:
    clock.moment -= timedelta(hours=1)  # this machine's clock is wrong, GitHub's counts
    github.proxy.fail(Fault.PRIMARY_LIMIT, seconds=600)
    with pytest.raises(TrackerLimitError) as limited:
        tracker.get(1)
    assert 595 <= limited.value.seconds <= 605
    with pytest.raises(TrackerLimitError):
        tracker.get(1)
    assert len(github.proxy.exchanges) == 1


@pytest.mark.parametrize(
    ("status", "headers", "message", "is_limit", "pause"),
    [
        (403, {"retry-after": "7"}, "", True, 7),
        (403, {"retry-after": "Fri, 20 Nov 2026 14:00:00 GMT"}, "", True, None),
        (429, {}, "", True, None),
        (403, {}, "You have exceeded a secondary rate limit. Please wait a few minutes.", True, None),
        (403, {}, "You have triggered an abuse detection mechanism.", True, None),
        (403, {"x-ratelimit-remaining": "0"}, "", True, None),
        (422, {}, "Validation Failed: was submitted too quickly after a previous comment", True, None),
        (403, {"x-ratelimit-remaining": "17"}, "Resource not accessible by personal access token", False, None),
        (422, {}, "Validation Failed", False, None),
        (503, {"retry-after": "7"}, "", False, 7),
    ],
)
def test_what_asks_to_wait_and_what_says_no(
    status: int, headers: dict[str, str], message: str, is_limit: bool, pause: float | None
) -> None:
    answer = Answer(status, headers, {"message": message})
    assert answer.is_limit is is_limit
    assert answer.pause == pause


def test_the_budget_is_what_github_says(tracker: GitHubTracker) -> None:
    number = tracker.create(Draft("one")).number
    tracker.get(number)
    budget = tracker.budget()
    assert budget is not None
    assert budget.limit == 5000
    assert budget.remaining is not None
    assert 4000 < budget.remaining < 5000
    assert (budget.points_per_minute, budget.creations_per_minute, budget.creations_per_hour) == (6, 1, 1)


# -- threads, tokens


def test_answers_are_not_swapped_between_threads(tracker: GitHubTracker, github: GitHub) -> None:
    for number in range(1, 9):
        github.direct("POST", "/issues", {"title": f"t{number}"})
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: (number, tracker.get(number)), [n % 8 + 1 for n in range(120)]))
    assert all(issue.number == number and issue.title == f"t{number}" for number, issue in found)


def test_closing_lets_a_waiting_thread_go(tracker: GitHubTracker, github: GitHub, paths: RepositoryPaths) -> None:
    from rollcage.core.clock import SystemClock

    waiting = opened(github, paths, SystemClock())
    waiting.client.limiter.pause(15.0)
    failed: list[TrackerError] = []

    def ask() -> None:
        try:
            waiting.get(1)
        except TrackerError as error:
            failed.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    waiting.client.close()
    thread.join(10)
    assert not thread.is_alive()
    assert "closed" in str(failed[0])
    waiting.close()


def test_closing_ends_nothing_but_the_tracker(github: GitHub, paths: RepositoryPaths, clock: ManualClock) -> None:
    leave = threading.Event()
    settings = TrackerSettings(kind="github", repo=github.repository, base_url=github.url)
    tracker = open_github(settings, paths, clock, {"GITHUB_TOKEN": github.token}, leave=leave)
    tracker.close()
    assert not leave.is_set()
    with pytest.raises(TrackerOfflineError, match="was closed"):
        tracker.get(1)


@pytest.mark.parametrize(
    ("token", "words"), [("", "holds no token"), ("a\nb", "is no token"), ("ghp_ü", "is no token")]
)
def test_no_token_is_told_before_anything_is_asked(
    github: GitHub, paths: RepositoryPaths, clock: ManualClock, token: str, words: str
) -> None:
    with pytest.raises(TrackerRefusedError, match=words) as refused:
        opened(github, paths, clock, GITHUB_TOKEN=token)
    assert refused.value.status == 401
    assert token == "" or token not in str(refused.value)


def test_no_token_is_ever_logged_or_kept(
    tracker: GitHubTracker, github: GitHub, paths: RepositoryPaths, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    tracker.create(Draft("one"))
    github.proxy.fail(Fault.EXPIRED)
    with pytest.raises(TrackerRefusedError):
        tracker.get(1)
    tracker.close()
    assert github.token not in caplog.text
    kept = [file for file in paths.root.parent.parent.rglob("*") if file.is_file()]
    assert kept
    for file in kept:
        assert github.token.encode() not in file.read_bytes()
        assert github.token not in str(file)


@pytest.fixture
def app(github: GitHub, tmp_path: Path) -> dict[str, str]:
    key = tmp_path / "app.pem"
    key.write_text(github.proxy.upstream.app_key)
    return {APP_ID: str(emulate.APP_ID), APP_KEY: str(key), APP_INSTALLATION: str(emulate.INSTALLATION_ID)}


def minted(github: GitHub) -> int:
    return len(github.proxy.asked("POST", "/access_tokens$"))


def test_a_github_app_has_one_token_for_all_threads_and_renews_it_in_time(
    github: GitHub, paths: RepositoryPaths, app: dict[str, str]
) -> None:
    clock = ManualClock()
    clock.moment = datetime.now(clock.moment.tzinfo)
    tracker = opened(github, paths, clock, **app)
    tracker.create(Draft("one"))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(tracker.get, [1] * 8))
    assert minted(github) == 1
    clock.advance(56 * 60)
    tracker.get(1)
    assert minted(github) == 2
    tracker.close()


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_github_app_works_where_this_clock_is_an_hour_off(
    github: GitHub, paths: RepositoryPaths, app: dict[str, str], hours: int
) -> None:
    clock = ManualClock()
    clock.moment = datetime.now(clock.moment.tzinfo) + timedelta(hours=hours)
    tracker = opened(github, paths, clock, **app)
    assert tracker.create(Draft("one")).number == 1
    tracker.close()


def test_a_token_that_ends_early_is_renewed_and_the_refused_write_sent_with_the_new_one(
    github: GitHub, paths: RepositoryPaths, app: dict[str, str]
) -> None:
    clock = ManualClock()
    clock.moment = datetime.now(clock.moment.tzinfo)
    tracker = opened(github, paths, clock, **app)
    github.proxy.fail(Fault.EXPIRED, path="/issues$")
    assert tracker.create(Draft("one")).number == 1
    assert minted(github) == 2
    github.proxy.fail(Fault.EXPIRED, path="/issues$", times=2)
    with pytest.raises(TrackerRefusedError, match="GitHub App"):
        tracker.create(Draft("two"))
    tracker.close()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({APP_KEY: ""}, APP_KEY),
        ({APP_INSTALLATION: "x"}, "is no number"),
        ({APP_KEY: "/no/such/file"}, "no file that can be read"),
    ],
)
def test_half_a_github_app_is_told(
    github: GitHub, paths: RepositoryPaths, clock: ManualClock, app: dict[str, str], wrong: dict[str, str], words: str
) -> None:
    with pytest.raises(TrackerRefusedError, match=words):
        opened(github, paths, clock, **{**app, **wrong})


def test_a_file_that_is_no_key_is_told_without_its_content(
    github: GitHub, paths: RepositoryPaths, clock: ManualClock, app: dict[str, str]
) -> None:
    Path(app[APP_KEY]).write_text("my secret")
    tracker = opened(github, paths, clock, **app)
    with pytest.raises(TrackerRefusedError, match="no private key") as refused:
        tracker.get(1)
    assert "secret" not in str(refused.value)
    tracker.close()


# -- claims


def test_of_many_that_claim_one_name_one_gets_it(github: GitHub, paths: RepositoryPaths, clock: ManualClock) -> None:
    trackers = [opened(github, paths, clock) for _ in range(4)]
    claims = [GitClaims(tracker.client) for tracker in trackers]
    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(lambda each: each.claim("issue/7", "agent"), claims))
    assert sorted(won) == [False, False, False, True]
    winner = claims[won.index(True)]
    assert winner.content("issue/7") == "agent"
    loser = claims[won.index(False)]
    assert not loser.release_claim("issue/7")
    assert winner.release_claim("issue/7")
    assert winner.content("issue/7") is None
    assert loser.claim("issue/7", "another")
    for tracker in trackers:
        tracker.close()


@pytest.mark.parametrize(("fault", "won"), [(Fault.RESET_AFTER, True), (Fault.BAD_GATEWAY_AFTER, True)])
def test_a_claim_whose_answer_was_lost_looks_whose_it_is(
    tracker: GitHubTracker, github: GitHub, fault: Fault, won: bool
) -> None:
    claims = GitClaims(tracker.client)
    github.proxy.fail(fault, method="POST", path="/git/refs$")
    assert claims.claim("x", "me") is won
    assert not GitClaims(tracker.client).claim("x", "another")
    github.proxy.fail(Fault.RESET_BEFORE, method="POST", path="/git/refs$")
    with pytest.raises(OutcomeUnknownError):
        claims.claim("y", "me")


def test_an_issue_that_nobody_changed_costs_nothing_to_read(
    tracker: GitHubTracker, github: GitHub, paths: RepositoryPaths, clock: ManualClock
) -> None:
    number = tracker.create(Draft("one", "text", ("a",))).number
    seen = tracker.get(number)  # by the ETag of the answer to its creation
    other = opened(github, paths, clock)
    assert other.get(number) == seen
    assert [each.answer.status for each in github.proxy.asked("GET") if each.answer] == [304, 304]
    github.direct("PATCH", f"/issues/{number}", {"title": "two"})
    assert (other.get(number).title, tracker.get(number).title) == ("two", "two")
    assert [each.answer.status for each in github.proxy.asked("GET")[2:] if each.answer] == [200, 304]
    other.close()


def test_a_list_that_nobody_changed_costs_nothing(tracker: GitHubTracker, github: GitHub) -> None:
    assert list(tracker.issues(labels=("a",))) == []
    assert list(tracker.issues(labels=("a",))) == []
    made = [tracker.create(Draft(title, labels=("a",))) for title in ("one", "two")]
    for _ in range(2):
        assert list(tracker.issues(labels=("a",))) == made[::-1]
    github.direct("PATCH", f"/issues/{made[0].number}", {"title": "ONE"})
    assert [issue.title for issue in tracker.issues(labels=("a",))] == ["two", "ONE"]
    statuses = [each.answer.status for each in github.proxy.asked("GET") if each.answer]
    assert statuses == [200, 304, 200, 304, 200]


def test_an_issue_whose_labels_we_changed_is_read_by_graphql_which_has_its_own_limit(
    tracker: GitHubTracker, github: GitHub
) -> None:
    number = tracker.create(Draft("one", "text", ("b",), ("ann",))).number
    assert tracker.add_label(number, "A") == ("A", "b")
    assert tracker.remove_label(number, "b") == ("A",)
    seen = tracker.get(number)
    assert github.proxy.asked("GET") == []
    assert (seen.labels, seen.title, seen.body, seen.state, seen.assignees) == (("A",), "one", "text", "open", ("ann",))
    tracker.client.limiter.settle(tracker.client.limiter.reserve(Cost(0, 0, queries=4_999)))
    assert tracker.get(number) == seen  # all queries are used up: plainly
    assert len(github.proxy.asked("GET")) == 1


def test_where_the_tags_of_writes_are_of_no_use_they_are_used_once(tracker: GitHubTracker, github: GitHub) -> None:
    github.proxy.manners.tags_of_writes = b"another"
    number = tracker.create(Draft("one")).number
    assert tracker.get(number).title == "one"
    for turn in range(3):
        tracker.write(number, title=f"title {turn}")
        assert tracker.get(number).title == f"title {turn}"
    assert [each.answer.status for each in github.proxy.asked("GET") if each.answer] == [200]


def test_what_was_booked_does_not_wait_and_what_is_left_is_given_back(
    tracker: GitHubTracker, github: GitHub, clock: ManualClock
) -> None:
    number, limiter = tracker.create(Draft("one")).number, tracker.client.limiter
    with tracker.booked(3, looks=1):
        for _ in range(175):
            limiter.settle(limiter.reserve(WRITE, 1e9))
        began = clock.boot()
        tracker.add_label(number, "a")
        tracker.add_label(number, "b")
        assert clock.boot() == began
        with pytest.raises(TrackerLimitError):
            tracker.client.limiter.reserve(Cost(1, 30))
    assert limiter.budget().points_per_minute == 5 + 175 * 5 + 10
    with pytest.raises(TrackerLimitError), tracker.booked(5):
        raise AssertionError
