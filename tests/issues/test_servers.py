"""The test's own GitHub behaves as GitHub does where rollcage depends on it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from . import openapi
from .conftest import GitHub
from .fault_proxy import Fault, FaultProxy
from .manners import Request


def ask(github: GitHub, method: str, path: str, body: object = None, **headers: str) -> tuple[int, dict[str, str], Any]:
    """Ask as a client does; return the status, the headers in lower case and the JSON (bytes: it is none)."""
    connection = http.client.HTTPConnection(urlsplit(github.url).netloc, timeout=10)
    sent = {
        "Authorization": f"token {github.token}",
        **{name.replace("_", "-"): each for name, each in headers.items()},
    }
    content = None if body is None else json.dumps(body)
    try:
        connection.request(method, path if path == "/graphql" else f"/repos/{github.repository}{path}", content, sent)
        got = connection.getresponse()
        read = got.read()
    finally:
        connection.close()
    told = {name.lower(): value for name, value in got.getheaders()}
    try:
        return got.status, told, json.loads(read) if read else None
    except ValueError:
        return got.status, told, read


def test_it_listens_on_loopback_only(fault_proxy: FaultProxy) -> None:
    listening = psutil.Process(fault_proxy.upstream.pid).net_connections()
    assert [each.laddr.ip for each in listening if each.status == psutil.CONN_LISTEN] == ["127.0.0.1"]


def test_it_dies_with_its_test_process_even_when_that_is_killed() -> None:
    script = """
import tempfile, pathlib, sys, time
from tests.issues.emulate import Emulate, missing
if missing(): print(0, flush=True); sys.exit()
with Emulate.started(pathlib.Path(tempfile.mkdtemp()), "http://127.0.0.1:9") as server:
    print(server.pid, flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as test:
        assert test.stdout
        pid = int(test.stdout.readline())
        if pid == 0:
            pytest.skip("no emulate here")
        server = psutil.Process(pid)
        os.kill(test.pid, signal.SIGKILL)
    psutil.wait_procs([server], timeout=10)
    assert not server.is_running()


def test_etags_cost_nothing_where_nothing_changed(github: GitHub) -> None:
    github.direct("POST", "/issues", {"title": "one"})
    status, first, told = ask(github, "GET", "/issues/1")
    assert status == 200
    assert told["updated_at"].endswith("Z")
    assert "." not in told["updated_at"]
    status, again, nothing = ask(github, "GET", "/issues/1", If_None_Match=first["etag"])
    assert (status, nothing) == (304, None)
    assert again["x-ratelimit-remaining"] == first["x-ratelimit-remaining"]
    github.direct("PATCH", "/issues/1", {"title": "two"})
    assert ask(github, "GET", "/issues/1", If_None_Match=first["etag"])[0] == 200


def test_a_conditional_write_is_refused(github: GitHub) -> None:
    github.direct("POST", "/issues", {"title": "one"})
    assert ask(github, "PATCH", "/issues/1", {"title": "two"}, If_Match='"x"')[0] == 400
    assert github.issues()[0]["title"] == "one"


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
def test_a_write_whose_answer_is_lost_was_done_or_not(github: GitHub, fault: Fault, done: bool) -> None:
    rule = github.proxy.fail(fault, method="POST", path="/issues$")
    try:
        status, _, _ = ask(github, "POST", "/issues", {"title": "one"})
    except (ConnectionResetError, http.client.IncompleteRead):
        status = 0
    assert status in {0, 502, 503}
    assert rule.hits == 1
    assert len(github.issues()) == done
    assert ask(github, "POST", "/issues", {"title": "two"})[0] == 201


def test_limits_say_what_is_left_and_when_to_come_again(github: GitHub) -> None:
    proxy = github.proxy
    proxy.fail(Fault.SECONDARY_LIMIT)
    status, headers, _ = ask(github, "GET", "/issues")
    assert (status, "retry-after" in headers) == (403, False)
    proxy.fail(Fault.SECONDARY_LIMIT, seconds=7, status=429)
    status, headers, _ = ask(github, "GET", "/issues")
    assert (status, headers["retry-after"]) == (429, "7")
    proxy.fail(Fault.PRIMARY_LIMIT, seconds=30)
    status, headers, _ = ask(github, "GET", "/issues")
    assert (status, headers["x-ratelimit-remaining"]) == (403, "0")
    assert 25 < int(headers["x-ratelimit-reset"]) - time.time() < 35


def test_enforced_limits_follow_the_clock_they_are_given(github: GitHub) -> None:
    now, limits = [1_000.0], github.proxy.manners.limits
    limits.enforced, limits.clock = True, lambda: now[0]
    made = [ask(github, "POST", "/issues", {"title": "one"})[0] for _ in range(81)]
    assert made == [201] * 80 + [403]
    now[0] += 61
    assert ask(github, "POST", "/issues", {"title": "one"})[0] == 201
    assert github.proxy.manners.usage("bot") == (81, 81, 5)


def test_the_servers_clock_may_be_an_hour_ahead_in_all_that_it_says(github: GitHub) -> None:
    github.proxy.manners.clock_ahead = timedelta(hours=1)
    github.direct("POST", "/issues", {"title": "one"})
    status, headers, told = ask(github, "GET", "/issues?since=2026-01-01T00:00:00Z")
    assert status == 200
    said = parsedate_to_datetime(headers["date"])
    assert abs((said - datetime.fromisoformat(told[0]["updated_at"])).total_seconds()) < 60
    assert said.timestamp() - time.time() > 3_000
    assert ask(github, "GET", f"/issues?since={told[0]['updated_at']}")[2] == told


def test_frozen_lists_lag_behind_and_single_reads_do_not(github: GitHub) -> None:
    github.direct("POST", "/issues", {"title": "old", "labels": ["a"]})
    rule = github.proxy.freeze_lists(github.repository)
    github.direct("POST", "/issues", {"title": "new"})
    github.direct("PATCH", "/issues/1", {"state": "closed"})
    assert [each["title"] for each in ask(github, "GET", "/issues?labels=a")[2]] == ["old"]
    assert [each["title"] for each in ask(github, "GET", "/issues")[2]] == ["old"]
    assert ask(github, "GET", "/issues/1")[2]["state"] == "closed"
    assert rule.hits == 2


def test_a_renamed_repository_sends_on(github: GitHub) -> None:
    github.direct("POST", "/issues", {"title": "one"})
    new = f"{github.repository}-new"
    told = github.direct("PATCH", "", {"name": new.split("/")[1]}, "acme")
    github.proxy.manners.rename(github.repository, new, told["id"])
    status, headers, _ = ask(github, "GET", "/issues/1")
    assert status == 301
    connection = http.client.HTTPConnection(urlsplit(github.url).netloc)
    connection.request("GET", urlsplit(headers["location"]).path, headers={"Authorization": f"token {github.token}"})
    assert json.loads(connection.getresponse().read())["title"] == "one"
    connection.close()
    github.proxy.exchanges.clear()  # "/repositories/1/issues/1" is where GitHub sends, and no path of its description


def test_a_foreign_token_and_a_repository_without_issues_are_refused(github: GitHub) -> None:
    assert ask(github, "GET", "/issues", Authorization="token stolen")[0] == 401
    github.proxy.fail(Fault.ISSUES_DISABLED, path="/issues")
    assert ask(github, "GET", "/issues")[0] == 410


def test_blockers_are_kept_by_issue_id(github: GitHub) -> None:
    one, two = (github.direct("POST", "/issues", {"title": title}) for title in ("one", "two"))
    place = f"/issues/{one['number']}/dependencies/blocked_by"
    assert ask(github, "POST", place, {"issue_id": two["id"]})[0] == 201
    assert [each["number"] for each in ask(github, "GET", place)[2]] == [two["number"]]
    assert [each["number"] for each in ask(github, "GET", "/issues/2/dependencies/blocking")[2]] == [one["number"]]
    assert ask(github, "DELETE", f"{place}/{two['id']}")[0] == 200
    assert ask(github, "GET", place)[2] == []


def test_the_history_of_a_body_tells_who_wrote_what(github: GitHub) -> None:
    github.direct("POST", "/issues", {"title": "one", "body": "first"}, "ann")
    github.direct("PATCH", "/issues/1", {"body": "second"})
    github.direct("PATCH", "/issues/1", {"title": "no body"})
    query = """query($owner: String!, $name: String!, $number: Int!) {
        repository(owner: $owner, name: $name) { issue(number: $number) {
            userContentEdits(first: 20) { totalCount nodes { editedAt editor { login } diff } } } } }"""
    owner, name = github.repository.split("/")
    variables = {"owner": owner, "name": name, "number": 1}
    _, _, told = ask(github, "POST", "/graphql", {"query": query, "variables": variables})
    edits = told["data"]["repository"]["issue"]["userContentEdits"]
    assert [(each["editor"]["login"], each["diff"]) for each in edits["nodes"]] == [
        ("mallory", "second"),
        ("ann", "first"),
    ]
    wrong = query.replace("diff", "difference")
    assert "errors" in ask(github, "POST", "/graphql", {"query": wrong, "variables": variables})[2]


def test_labels_that_are_added_together_are_all_there(github: GitHub) -> None:
    from concurrent.futures import ThreadPoolExecutor

    github.direct("POST", "/issues", {"title": "one"})
    with ThreadPoolExecutor(8) as pool:
        statuses = list(
            pool.map(lambda n: ask(github, "POST", "/issues/1/labels", {"labels": [f"l{n}"]})[0], range(24))
        )
    assert set(statuses) == {200}
    assert {each["name"] for each in github.issues()[0]["labels"]} == {f"l{n}" for n in range(24)}


GOOD: list[tuple[str, str, dict[str, str], object]] = [
    ("GET", "/repos/a/b/issues", {"state": "all", "per_page": "100", "since": "2026-01-01T00:00:00Z"}, None),
    ("POST", "/repos/a/b/issues", {}, {"title": "x", "body": "y", "labels": ["a"], "assignees": ["ann"]}),
    ("PATCH", "/repos/a/b/issues/1", {}, {"state": "closed", "state_reason": "completed"}),
    ("DELETE", "/repos/a/b/issues/1/labels/a%2Fb", {}, None),
    ("POST", "/repos/a/b/issues/1/dependencies/blocked_by", {}, {"issue_id": 7}),
    ("GET", "/repos/a/b/git/ref/heads/rollcage/claims/1", {}, None),
]
BAD: list[tuple[str, str, dict[str, str], object]] = [
    ("GET", "/repos/a/b/issue", {}, None),
    ("PUT", "/repos/a/b/issues/1", {}, {"title": "x"}),
    ("GET", "/repos/a/b/issues", {"state": "opened"}, None),
    ("GET", "/repos/a/b/issues", {"label": "a"}, None),
    ("GET", "/repos/a/b/issues", {"since": "2026-01-01 00:00"}, None),
    ("POST", "/repos/a/b/issues", {}, {"body": "no title"}),
    ("POST", "/repos/a/b/issues", {}, {"title": "x", "label": ["a"]}),
    ("PATCH", "/repos/a/b/issues/1", {}, {"state": "done"}),
    ("POST", "/repos/a/b/issues/1/dependencies/blocked_by", {}, {"issue_id": "7"}),
]


@pytest.mark.parametrize(("fits", "asked"), [*((True, each) for each in GOOD), *((False, each) for each in BAD)])
def test_requests_are_held_against_githubs_own_description(
    fault_proxy: FaultProxy, fits: bool, asked: tuple[str, str, dict[str, str], object]
) -> None:
    method, path, query, content = asked
    body = b"" if content is None else json.dumps(content).encode()
    assert (openapi.wrong(Request(method, path, path, query, {}, body, "bot")) == ()) is fits
