"""The Issue verbs: their JSON, their exit codes, what is refused, and what happens without a network."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rollcage.console.issue_input import read_batch
from rollcage.core.clock import SystemClock
from rollcage.core.coordination.embedded import EmbeddedLeases
from rollcage.core.errors import UsageError
from rollcage.core.store.identity import identify
from rollcage.core.store.paths import RepositoryPaths
from tests.conftest import git
from tests.console.cli_support import Ran, Rollcage, runner
from tests.issues.conftest import GitHub, fault_proxy, github

__all__ = ["fault_proxy", "github"]

NOBODY = "http://127.0.0.1:1"
"""Nobody listens there."""


@pytest.fixture
def paths(repository: Path) -> RepositoryPaths:
    return identify(repository / ".git", lambda: git(repository, "rev-list", "--max-parents=0", "HEAD").split())


@pytest.fixture
def rollcage(
    capsys: pytest.CaptureFixture[str], paths: RepositoryPaths, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> Rollcage:
    monkeypatch.chdir(repository)
    return runner(capsys)


def one(ran: Ran) -> dict[str, Any]:
    """Return the only JSON line of a command that went well."""
    assert ran.code == 0, ran.err
    (record,) = ran.records
    return record


def created(rollcage: Rollcage, title: str = "fix", *options: str) -> int:
    return int(one(rollcage("issue", "create", "--title", title, *options, "--json"))["issue"]["number"])


def shown(rollcage: Rollcage, number: int = 1) -> dict[str, Any]:
    return one(rollcage("issue", "show", str(number), "--json"))


def say(monkeypatch: pytest.MonkeyPatch, content: str | bytes) -> None:
    """Put ``content`` on standard input."""
    raw = content.encode() if isinstance(content, str) else content
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(raw), isatty=lambda: False))


# What they answer


def test_create_show_and_update_answer_as_documented(rollcage: Rollcage, paths: RepositoryPaths) -> None:
    record = one(
        rollcage(
            "issue", "create", "--title", "fix it", "--body", "why", "--label", "b", "--label", "a,b: 'c'", "--json"
        )
    )
    assert list(record) == ["event", "created", "issue"]
    assert (record["event"], record["created"]) == ("issue", True)
    assert list(record["issue"]) == ["number", "title", "body", "state", "labels", "assignees", "version", "lock"]
    again = one(rollcage("issue", "create", "--title", "Fix it", "--json"))
    assert (again["created"], again["reason"], again["issue"]["number"]) == (False, "duplicate_exists", 1)
    leases = EmbeddedLeases(paths, SystemClock())
    token = leases.acquire("issue/1", "bob").token
    seen = shown(rollcage)
    assert seen.pop("event") == "issue"
    lock = seen.pop("lock")
    assert {"lock": None, **seen} == {**record["issue"], "lock": None}
    assert (lock["holder"], lock["token"], lock["expires"].endswith("Z")) == ("bob", token, True)
    leases.close()
    change = ("--set", "title=fixed = done", "--set", "state=closed", "--set", "assignees=zoe, ann", "--add-label", "x")
    record = one(rollcage("issue", "update", "1", *change, "--expect", seen["version"], "--json"))
    assert list(record) == ["event", "updated", "attempt", "issue"]
    assert (record["updated"], record["attempt"]) == (True, 1)
    issue = record["issue"]
    assert (issue["title"], issue["state"], issue["assignees"]) == ("fixed = done", "closed", ["ann", "zoe"])
    assert issue["labels"] == ["a,b: 'c'", "b", "x"]
    record = one(rollcage("issue", "update", "#1", "--remove-label", "a,b: 'c'", "--set", "assignees=", "--json"))
    assert (record["issue"]["labels"], record["issue"]["assignees"]) == (["b", "x"], [])


def test_people_are_told_in_words(rollcage: Rollcage) -> None:
    assert rollcage("issue", "create", "--title", "fix", "--body", "a\nb").out == "Issue 1 was created\n"
    assert rollcage("issue", "create", "--title", "fix").out.startswith("Issue 1 is there already, open")
    out = rollcage("issue", "show", "1").out
    assert out.startswith("Issue 1 (open): fix\nversion: ")
    assert out.endswith("\n\na\nb\n")
    assert "Issue 1 was updated; version " in rollcage("issue", "update", "1", "--set", "body=c").out
    assert "Issue 1 is so already" in rollcage("issue", "update", "1", "--set", "body=c").out
    lines = rollcage("issues").out.splitlines()
    assert [line.split()[:3] for line in lines] == [["issue", "state", "title"], ["1", "open", "fix"]]
    assert "nothing waits to be sent" in rollcage("issue", "sync").err


@pytest.mark.parametrize(
    ("value", "labels"),
    [
        ("a, b,a", ["a", "b"]),
        ("", []),
        ("[]", []),
        ('["a, \\"b\\"", "c:d"]', ['a, "b"', "c:d"]),
        ("status:review, comp:titanic", ["comp:titanic", "status:review"]),
    ],
)
def test_a_list_is_json_or_words_with_commas(rollcage: Rollcage, value: str, labels: list[str]) -> None:
    created(rollcage, "fix", "--label", "old")
    assert one(rollcage("issue", "update", "1", "--set", f"labels={value}", "--json"))["issue"]["labels"] == labels


TITLES = [
    "日本語のタイトル",
    "עברית و عربي",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 e\u0301",
    "\u202eright to left",
    "[/] [bold]",
    "a\u200bb",
    "' \" ; $(x) `y`",
    "\ufb01",
]


def test_titles_and_bodies_of_every_kind_come_back_as_they_were(rollcage: Rollcage) -> None:
    body = "\u202e\x1b[31mred\ttab\r\n" + "x" * 60_000
    for title in TITLES:
        record = one(rollcage("issue", "create", "--title", title, "--body", body, "--json"))["issue"]
        assert (record["title"], record["body"]) == (title, body)
    out = rollcage("issue", "show", "4").out + rollcage("issues").out
    assert "\x1b" not in out
    assert "\u202e" not in out


def test_a_body_and_a_batch_come_from_standard_input(rollcage: Rollcage, monkeypatch: pytest.MonkeyPatch) -> None:
    say(monkeypatch, "read\nfrom\n")
    assert one(rollcage("issue", "create", "--title", "t", "--body", "-", "--json"))["issue"]["body"] == "read\nfrom\n"
    say(monkeypatch, '{"id":"a","op":"close","args":{"number":1}}\n\n')
    assert one(rollcage("issue", "batch", "-", "--json"))["success"] is True
    assert shown(rollcage)["state"] == "closed"


def test_a_conflict_that_stays_is_exit_4_with_both_values(rollcage: Rollcage) -> None:
    created(rollcage)
    version = shown(rollcage)["version"]
    rollcage("issue", "update", "1", "--set", "title=theirs")
    change = ("issue", "update", "1", "--set", "title=ours", "--expect", version)
    ran = rollcage(*change, "--json")
    assert ran.code == 4
    assert ran.records == [
        {
            "event": "issue",
            "updated": False,
            "reason": "persistent_conflict",
            "ours": {"title": "ours"},
            "theirs": {"title": "theirs"},
        }
    ]
    ran = rollcage(*change)
    assert (ran.code, ran.out) == (4, "ours    title: ours\ntheirs  title: theirs\n")
    assert shown(rollcage)["title"] == "theirs"
    assert one(rollcage("issue", "update", "1", "--set", "body=both", "--expect", version, "--json"))["updated"] is True


def test_a_batch_is_done_whole_or_undone(rollcage: Rollcage, tmp_path: Path) -> None:
    created(rollcage)
    lines = [
        {"id": "c", "op": "comment", "args": {"number": 1, "body": "hi"}, "after": ["a"]},
        {"id": "a", "op": "create", "args": {"title": "new", "labels": ["x"]}},
        {"id": "u", "op": "update", "args": {"number": 1, "set": {"title": "other", "labels": ["b"]}}},
        {"id": "l", "op": "label", "args": {"number": 1, "add": ["c"]}, "after": ["u"]},
    ]
    file = tmp_path / "batch.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    record = one(rollcage("issue", "batch", str(file), "--json"))
    assert set(record.pop("executed_operations")) == {"a", "c", "u", "l"}
    assert record == {"event": "issue", "success": True, "undone_operations": [], "total_operations": 4}
    assert (shown(rollcage)["title"], shown(rollcage)["labels"]) == ("other", ["b", "c"])
    lines = [
        {"id": "a", "op": "close", "args": {"number": 1}},
        {"id": "b", "op": "close", "args": {"number": 77}, "after": ["a"]},
    ]
    file.write_text("\n".join(map(json.dumps, lines)))
    ran = rollcage("issue", "batch", str(file), "--json")
    assert ran.code == 5
    assert ran.records == [
        {
            "event": "issue",
            "success": False,
            "executed_operations": [],
            "undone_operations": ["a"],
            "total_operations": 2,
        }
    ]
    assert "there is no Issue 77" in ran.err
    assert shown(rollcage)["state"] == "open"


def test_the_list_is_of_open_ones_unless_asked_otherwise(rollcage: Rollcage) -> None:
    for title in ("one", "two", "three"):
        created(rollcage, title, "--label", title)
    rollcage("issue", "update", "2", "--set", "state=closed")
    assert [record["number"] for record in rollcage("issues", "--json").records] == [3, 1]
    assert [record["number"] for record in rollcage("issues", "--state", "all", "--json").records] == [3, 2, 1]
    (record,) = rollcage("issues", "--label", "one", "--json").records
    assert (record["event"], record["title"], record["lock"]) == ("issue", "one", None)
    assert "no closed Issues" in rollcage("issues", "--state", "closed", "--label", "one").err


def test_an_issue_that_somebody_holds_is_exit_75_for_others_and_free_for_their_command(
    rollcage: Rollcage, paths: RepositoryPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    created(rollcage)
    leases = EmbeddedLeases(paths, SystemClock())
    token = leases.acquire("issue/1", "bob").token
    monkeypatch.setenv("ROLLCAGE_LOCK_NAME", "issue/1")
    monkeypatch.setenv("ROLLCAGE_LOCK_TOKEN", str(token))
    assert rollcage("issue", "update", "1", "--set", "title=mine").code == 0
    monkeypatch.setenv("ROLLCAGE_LOCK_TOKEN", str(token + 1))
    ran = rollcage("issue", "update", "1", "--set", "title=late")
    assert (ran.code, shown_title(leases, paths)) == (1, "mine")
    leases.close()


def shown_title(leases: EmbeddedLeases, paths: RepositoryPaths) -> str:
    import sqlite3

    return str(sqlite3.connect(paths.issues_db).execute("SELECT title FROM issue").fetchone()[0])


def test_an_agent_writes_in_its_own_name_and_within_its_competition(
    rollcage: Rollcage, repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = tmp_path / "settings.yml"
    settings.write_text("version: 1\ncompetitions: {titanic: {}, apollo: {}}\n")
    config = ("--config", str(settings))
    monkeypatch.setenv("ROLLCAGE_AGENT", "ann")
    monkeypatch.setenv("ROLLCAGE_COMPETITION", "titanic")
    record = one(rollcage(*config, "issue", "create", "--title", "[titanic] ann: fix", "--json"))
    assert record["issue"]["labels"] == ["agent:ann", "comp:titanic"]
    ran = rollcage(*config, "issue", "create", "--title", "[apollo] bob: fix", "--label", "comp:apollo")
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    monkeypatch.setenv("ROLLCAGE_COMPETITION", "apollo")
    assert rollcage(*config, "issue", "update", "1", "--set", "title=x").code == 1
    ran = rollcage(*config, "issue", "sync", "--keep", "ours", "op-1")
    assert "only an operator decides" in ran.err
    monkeypatch.delenv("ROLLCAGE_AGENT")
    monkeypatch.delenv("ROLLCAGE_COMPETITION")
    assert [record["title"] for record in rollcage("issues", "--json").records] == ["[titanic] ann: fix"]


def test_an_agent_in_a_clone_means_the_issues_of_its_fleet(
    rollcage: Rollcage, paths: RepositoryPaths, repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    created(rollcage)
    git(tmp_path, "clone", "-q", str(repository), "clone")
    monkeypatch.setenv("ROLLCAGE_INBOX", str(paths.inbox_db))
    assert len(rollcage("-C", str(tmp_path / "clone"), "issues", "--json").records) == 1


# What is refused


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["create"], "Missing option '--title'"),
        (["create", "--title", ""], "the title is empty"),
        (["create", "--title", " \t "], "the title is empty"),
        (["create", "--title", "a\nb"], "allowed: one line of text"),
        (["create", "--title", "x" * 100_000], "the title has 100,000 characters; allowed: at most 256"),
        (["create", "--title", "a\udcffb"], "half a character"),
        (
            ["create", "--title", "t", "--body", "x" * 100_000],
            "the body has 100,000 characters",
        ),
        (["create", "--title", "t", "--body", "a\0b"], "NUL"),
        (["create", "--title", "t", "--label", ""], "is no label"),
        (["create", "--title", "t", "--label", "a\nb"], "is no label"),
        (["create", "--title", "t", "--label", "x" * 51], "at most 50"),
        (["create", "--title", "t", *(f"--assignee=a{number}" for number in range(11))], "11 assignees are named"),
        (["create", "--title", "t", "--colour", "red"], "No such option"),
        (["show"], "Missing argument 'N'"),
        (["show", "first"], "'first' is no Issue; allowed: its number"),
        (["show", "0"], "'0' is no number of an Issue"),
        (["show", "9" * 17], "is no number of an Issue"),
        (["update", "1"], "nothing is to be updated"),
        (["update", "1", "--set", "title"], "--set 'title'; allowed: FIELD=VALUE, of title, body"),
        (["update", "1", "--set", "colour=red"], "allowed: FIELD=VALUE, of title, body, state, labels, assignees"),
        (["update", "1", "--set", "title=a", "--set", "title=b"], "--set title is given twice"),
        (["update", "1", "--set", "state=ajar"], "the state is 'ajar'; allowed: open, closed"),
        (["update", "1", "--set", "labels=[a, b]"], "is no list; allowed: words with commas, or JSON"),
        (["update", "1", "--set", "labels=[1]"], "is no list of texts"),
        (["update", "1", "--set", "labels=a,,b"], "is no label"),
        (["update", "1", "--set", "labels=a", "--add-label", "b"], "--set labels is the whole set"),
        (["update", "1", "--add-label", "b", "--remove-label", "b"], "is to be added and removed"),
        (["update", "1", "--set", "title=a", "--expect", "new"], "'new' is no version"),
        (["batch"], "Missing argument"),
        (["batch", "/nonesuch"], "/nonesuch: No such file or directory"),
        (["sync", "--keep", "mine", "op-1"], "'mine' is not one of"),
        (["sync", "--keep", "ours"], "go together"),
        (["sync", "op-1"], "go together"),
    ],
)
def test_wrong_usage_is_one_line_before_anything_is_opened(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)  # there is no repository here
    ran = runner(capsys)("issue", *words)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert ran.err.startswith("rollcage: ")
    assert said in ran.err


def test_an_operation_that_is_none_is_one_line_and_exit_2(rollcage: Rollcage) -> None:
    ran = rollcage("issue", "show", "op-7")
    assert (ran.code, "op-7 is no operation that creates an Issue" in ran.err) == (2, True)
    ran = rollcage("issue", "sync", "--keep", "ours", "op-1")
    assert (ran.code, "op-1 is not in the outbox" in ran.err) == (2, True)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsense", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "must be a JSON object"),
        ('{"id":"a","op":"close","args":{"number":1},"then":[]}', "unknown key 'then'; allowed: id, op, args, after"),
        ('{"op":"close","args":{"number":1}}', "id None; allowed: a text"),
        ('{"id":"x\\u001b[31m","op":"close","args":{"number":1}}', "allowed: a text of 1 to 100 plain characters"),
        ('{"id":"a","op":"delete","args":{}}', "op 'delete'; allowed: create, update, comment, label, close"),
        ('{"id":"a","op":["close"],"args":{}}', "op ['close']"),
        ('{"id":"a","op":"close","args":[]}', "args must be an object"),
        ('{"id":"a","op":"close","args":{}}', "close: number is missing in args"),
        ('{"id":"a","op":"close","args":{"number":"1"}}', "is no number of an Issue"),
        ('{"id":"a","op":"close","args":{"number":true}}', "is no number of an Issue"),
        ('{"id":"a","op":"close","args":{"number":1,"why":"x"}}', "close: unknown key 'why' in args"),
        ('{"id":"a","op":"create","args":{"title":7}}', "the title is no text"),
        ('{"id":"a","op":"create","args":{"title":"t","labels":"a"}}', "labels: 'a' is no list of texts"),
        ('{"id":"a","op":"update","args":{"number":1,"set":{}}}', "set must be an object of fields"),
        ('{"id":"a","op":"update","args":{"number":1,"set":{"colour":"red"}}}', "there is no field 'colour'"),
        ('{"id":"a","op":"update","args":{"number":1,"set":{"title":"t"},"expect":1}}', "1 is no version"),
        ('{"id":"a","op":"label","args":{"number":1}}', "nothing is to be added or removed"),
        ('{"id":"a","op":"comment","args":{"number":1,"body":null}}', "the body is no text"),
        ('{"id":"a","op":"close","args":{"number":1},"after":"b"}', "after: 'b' is no list of texts"),
    ],
)
def test_a_bad_line_of_a_batch_is_named_and_nothing_is_done(
    monkeypatch: pytest.MonkeyPatch, line: str, said: str
) -> None:
    say(monkeypatch, f'{{"id":"z","op":"create","args":{{"title":"new"}}}}\n{line}\n')
    with pytest.raises(UsageError) as raised:
        read_batch("-")
    assert raised.value.exit_code == 2
    assert str(raised.value).startswith("line 2: ")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "\x1b" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the batch is empty"),
        (b"\xff", "is no UTF-8: byte 1"),
        (b'{"id":"a","op":"close","args":{"number":1}}\n' * 2, "'a' is there twice"),
        (b'{"id":"a","op":"close","args":{"number":1},"after":["b"]}\n', "comes after 'b', which is not in the batch"),
        (b'{"id":"a","op":"close","args":{"number":1},"after":["a"]}\n', "wait for each other"),
    ],
    ids=["empty", "bytes", "twice", "unknown", "circle"],
)
def test_a_batch_that_is_none_is_refused_whole(monkeypatch: pytest.MonkeyPatch, content: bytes, said: str) -> None:
    say(monkeypatch, content)
    with pytest.raises(UsageError, match=said):
        read_batch("-")


def test_a_batch_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [json.dumps({"id": str(each), "op": "close", "args": {"number": 1}}) for each in range(10_001)]
    say(monkeypatch, "\n".join(lines))
    with pytest.raises(UsageError, match="has 10001 operations; allowed: at most 10000"):
        read_batch("-")


def test_a_missing_token_is_one_line_and_nothing_is_queued(rollcage: Rollcage, tmp_path: Path) -> None:
    ran = rollcage("--config", settings(tmp_path, NOBODY, "owner/name"), "issue", "create", "--title", "x")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "$GITHUB_TOKEN" in ran.err
    assert "nothing waits" in rollcage("issue", "sync").err


# Without a network, and with it again


def settings(folder: Path, url: str, repository: str) -> str:
    file = folder / "github.yml"
    file.write_text(f"version: 1\ntracker: {{kind: github, repo: {repository}, base_url: '{url}'}}\n")
    return str(file)


def test_offline_it_is_queued_and_sent_when_there_is_a_network(
    rollcage: Rollcage, tmp_path: Path, github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", github.token)
    offline = ("--config", settings(tmp_path, NOBODY, github.repository))
    assert one(rollcage(*offline, "issue", "create", "--title", "new", "--json")) == {
        "event": "issue",
        "queued": True,
        "operation": "op-1",
    }
    assert one(rollcage(*offline, "issue", "update", "op-1", "--add-label", "x", "--json"))["operation"] == "op-2"
    ran = rollcage(*offline, "issue", "sync", "--json")
    assert (ran.code, [(each["operation"], each["state"]) for each in ran.records]) == (
        1,
        [("op-1", "waiting"), ("op-2", "waiting")],
    )
    assert "cannot be reached" in ran.err
    assert github.issues() == []
    online = ("--config", settings(tmp_path, github.url, github.repository))
    ran = rollcage(*online, "issue", "sync", "--json")
    assert (ran.code, [(each["operation"], each["state"], each["number"]) for each in ran.records]) == (
        0,
        [("op-1", "sent", 1), ("op-2", "sent", 1)],
    )
    (issue,) = github.issues()
    assert (issue["title"], [label["name"] for label in issue["labels"]]) == ("new", ["x"])
    version = one(rollcage(*online, "issue", "show", "op-1", "--json"))["version"]
    offline = ("--config", settings(tmp_path, NOBODY, github.repository))
    ran = rollcage(*offline, "issue", "show", "1", "--json")
    assert (one(ran)["offline"], one(ran)["version"], "as it was seen at" in ran.err) == (True, version, True)
    assert [each["number"] for each in rollcage(*offline, "issues", "--json").records] == [1]
    # What others do meanwhile is not overwritten: the operator is asked.
    rollcage(*offline, "issue", "update", "1", "--set", "title=ours")
    github.direct("PATCH", "/issues/1", {"title": "theirs"})
    online = ("--config", settings(tmp_path, github.url, github.repository))
    ran = rollcage(*online, "issue", "sync", "--json")
    (record,) = ran.records
    assert (ran.code, record["state"], record["ours"], record["theirs"]) == (
        4,
        "conflict",
        {"title": "ours"},
        {"title": "theirs"},
    )
    ran = rollcage(*online, "issue", "sync", "--keep", "theirs", "op-3")
    assert (ran.code, "dropped" in ran.out) == (0, True)
    assert github.issues()[0]["title"] == "theirs"


def test_the_help_of_each_verb_is_there(rollcage: Rollcage) -> None:
    out = rollcage("issue", "--help").out
    for verb in ("create", "show", "update", "batch", "sync"):
        assert f"\n  {verb} " in out
        assert f"Usage: rollcage issue {verb}" in rollcage("issue", verb, "--help").out
    assert os.environ.get("ROLLCAGE_AGENT") is None
