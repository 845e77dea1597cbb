"""History is read in one go, is clean text, and says whose a commit is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from rollcage.core.config import AgentSettings, CommitSettings
from rollcage.core.errors import GitError, UsageError
from rollcage.core.gitrepo.history import (
    Origin,
    attribute,
    branch_parent,
    changed_files,
    commits,
    contradictions,
    diff,
    parents,
)
from rollcage.core.gitrepo.mirror import Mirror
from rollcage.core.gitrepo.paths import quoted, raw, shown
from rollcage.core.gitrepo.repository import Repository
from rollcage.core.gitrepo.touched import touched_names
from tests.conftest import git
from tests.gitrepo.conftest import commit


def test_commits_newest_first_with_files_and_lines(repository: Path, mirror: Mirror) -> None:
    root = git(repository, "rev-parse", "HEAD")
    first = commit(repository, {"-f": "1\n2\n", "b": b"\0", "ta\tb\nnl": "x\n"}, "first\n\nbody")
    git(repository, "mv", "-f", "--", "-f", 'q"ü')
    second = commit(repository, {}, "second")
    empty = commit(repository, {}, "empty")
    found = commits(mirror, empty)
    assert [(each.sha, each.parents, each.summary) for each in found] == [
        (empty, (second,), "empty"),
        (second, (first,), "second"),
        (first, (root,), "first"),
        (root, (), "start"),
    ]
    assert [each.files for each in found] == [(), ("-f", '"q\\"ü"'), ("-f", "b", '"ta\\tb\\nnl"'), ("README",)]
    assert [each.lines for each in found] == [0, 4, 3, 1]
    assert {(each.author, each.agent, each.opted_out) for each in found} == {("Ann <ann@example.com>", None, False)}
    assert [each.sha for each in commits(mirror, empty, limit=2)] == [empty, second]
    assert [each.sha for each in commits(mirror, empty, since=first)] == [empty, second]
    assert commits(mirror, first, since=first) == []


def test_what_a_commit_touched_is_named_as_its_language_has_it(repository: Path, mirror: Mirror) -> None:
    python = (
        "class Shelf:\n    def put(self, it):\n        a = it\n        b = a\n        return b\n\ndef other():\n    0\n"
    )
    program = "int first(int x)\n{\n\tint y = x;\n\treturn y;\n}\n"
    first = commit(repository, {"shelf.py": python, "main.c": program, "notes.txt": "put off\n"}, "first")
    second = commit(repository, {"shelf.py": python.replace("return b", "return a")}, "second")
    third = commit(repository, {"main.c": program.replace("return y", "return x"), "notes.txt": "on\n"}, "third")
    found = touched_names(mirror, commits(mirror, third, limit=3))
    assert found == {first: {"Shelf", "put", "other"}, second: {"put"}, third: {"first"}}
    assert touched_names(mirror, []) == {}


def test_a_merge_shows_what_it_brought_and_the_first_parent_line_leaves_out_the_rest(
    repository: Path, mirror: Mirror
) -> None:
    git(repository, "checkout", "-q", "-b", "side")
    side = commit(repository, {"side": "1\n"}, "side")
    git(repository, "checkout", "-q", "main")
    main = commit(repository, {"main": "1\n"}, "main")
    git(repository, "merge", "-q", "-m", "merge", "side")
    tip = git(repository, "rev-parse", "HEAD")
    found = commits(mirror, tip)
    assert [each.summary for each in found] == ["merge", "main", "start"]
    assert (found[0].parents, found[0].files) == ((main, side), ("side",))
    assert {each.summary for each in commits(mirror, tip, first_parent=False)} == {"merge", "main", "side", "start"}
    assert parents(mirror, tip) == (main, side)


def test_foreign_text_is_cleaned(repository: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_AUTHOR_NAME", "r\x1b[31med\u202e[/]")
    sha = commit(
        repository, {"\x1b]52;c;aGk=\x07": "\x1b[2J\x9b1m\u202e[/]\n"}, "\x1b]0;title\x07bad\x1b[1m [@click=x]"
    )
    (found,) = commits(mirror, sha, limit=1)
    assert (found.summary, found.author) == ("bad [@click=x]", "red[/] <ann@example.com>")
    assert found.files == ('"\\033]52;c;aGk=\\a"',)
    patch = diff(mirror, f"{sha}~1", sha)
    assert "+[/]" in patch
    assert not any(char in patch for char in "\x1b\x9b\u202e\x07")


def test_odd_times_and_encodings_do_not_crash(repository: Path, mirror: Mirror) -> None:
    tree = git(repository, "rev-parse", "HEAD^{tree}")
    text = f"tree {tree}\nauthor \xff <x> 0 +0000\ncommitter y <y> 99999999999999 +0000\n\n\xff\xfe summary"
    sha = git(repository, "hash-object", "-t", "commit", "-w", "--literally", "--stdin", stdin=text.encode("latin-1"))
    (found,) = commits(mirror, sha)
    assert found.at.year in {1970, 9999}
    assert found.summary.endswith("summary")
    (start,) = commits(mirror, git(repository, "rev-parse", "HEAD"))
    assert start.at.tzinfo is UTC
    assert abs((start.at - datetime.now(UTC)).total_seconds()) < 3_600


def test_names_that_git_could_misread_are_refused(mirror: Mirror) -> None:
    for name in ("-f", "--all", "a b", ""):
        with pytest.raises(UsageError):
            commits(mirror, name)
    with pytest.raises(GitError, match="no commit 1111"):
        parents(mirror, "1" * 40)


AGENTS = {
    "executor": AgentSettings(commits=CommitSettings(trailer="exec", author="executor@bots.example")),
    "planner": AgentSettings(commits=CommitSettings(author="Planner Bot")),
    "monitor": AgentSettings(),
}


@pytest.mark.parametrize(
    ("author", "message", "agent"),
    [
        ("Ann <ann@example.com>", "x", None),
        ("Ann <ann@example.com>", "x\n\nAgent: exec", "executor"),
        ("Ann <ann@example.com>", "x\n\nagent: EXEC", "executor"),
        ("Ann <ann@example.com>", "x\n\nAgent: monitor", "monitor"),
        ("Ann <ann@example.com>", "x\n\nAgent: newcomer", "newcomer"),
        ("Ann <ann@example.com>", "x\n\nAgent: planner\nAgent: exec", "executor"),
        ("Ann <ann@example.com>", "x\n\nAgent: what a lovely day", None),
        ("Ann <ann@example.com>", "Agent: exec is mentioned\n\nbut in no trailer", None),
        ("E <Executor@Bots.example>", "x", "executor"),
        ("E <executor@bots.example>", "x\n\nAgent: monitor", "monitor"),
        ("Planner Bot <p@q>", "x", "planner"),
        ("Ann <ann@example.com>", "x\n\nCo-authored-by: E <executor@bots.example>", "executor"),
        ("Planner Bot <p@q>", "x\n\nCo-authored-by: E <executor@bots.example>", "planner"),
    ],
)
def test_whose_commit_it_is(author: str, message: str, agent: str | None, repository: Path, mirror: Mirror) -> None:
    git(repository, "commit", "-q", "--allow-empty", f"--author={author}", "-m", message)
    found = commits(mirror, git(repository, "rev-parse", "HEAD"), limit=1)
    assert found[0].agent is None
    assert attribute(found, AGENTS)[0].agent == agent


def test_where_it_was_made_counts_behind_trailer_and_author_and_before_who_helped(
    repository: Path, mirror: Mirror
) -> None:
    messages = ["x", "x\n\nAgent: monitor", "x\n\nCo-authored-by: E <executor@bots.example>"]
    shas = [commit(repository, {}, message) for message in messages]
    git(repository, "commit", "-q", "--allow-empty", "--author=E <executor@bots.example>", "-m", "x")
    shas.append(git(repository, "rev-parse", "HEAD"))
    found = commits(mirror, shas[-1], limit=4)[::-1]
    made = dict.fromkeys(shas, Origin("planner", "on branch planner"))
    owned = attribute(found, AGENTS, lambda sha: made[sha].agent)
    assert [each.agent for each in owned] == ["planner", "monitor", "planner", "executor"]
    assert contradictions(found, AGENTS, made) == {
        shas[1]: "says that it is monitor's, but was made on branch planner",
        shas[3]: "says that it is executor's, but was made on branch planner",
    }
    assert contradictions(found, AGENTS, {shas[1]: Origin("monitor", "on branch monitor")}) == {}


def test_the_opt_out_trailer(repository: Path, mirror: Mirror) -> None:
    kept = commit(repository, {}, "x\n\nRollcage: Keep")
    other = commit(repository, {}, "x\n\nRollcage: yes")
    assert [each.opted_out for each in commits(mirror, other, limit=2)] == [False, True]
    assert kept


def test_the_diff_ends_where_it_must(repository: Path, mirror: Mirror) -> None:
    before = git(repository, "rev-parse", "HEAD")
    after = commit(repository, {"a": "\tx\n" * 5_000})
    short = diff(mirror, before, after, limit=1_000)
    assert len(short) <= 1_000
    assert short.endswith("… the patch goes on")
    assert diff(mirror, before, after).count("+    x") == 5_000
    assert diff(mirror, before, before) == ""
    assert changed_files(mirror, before, after) == ["a"]


def test_changed_files_of_trees_and_commits(repository: Path, mirror: Mirror) -> None:
    before = git(repository, "rev-parse", "HEAD^{tree}")
    git(repository, "mv", "README", 'new "ü"')
    assert changed_files(mirror, before, commit(repository, {"-f": "x"})) == ['"new \\"ü\\""', "-f", "README"]


@pytest.mark.parametrize(
    "path", [b"plain", b"with space", "ünï".encode(), b'"', b"\\", b"\n\t\x1b", b"\xff\xc3", "\u202e".encode()]
)
def test_paths_come_back_from_their_shown_form(path: bytes) -> None:
    assert raw(shown(path)) == path
    assert quoted(path).startswith(b'"')
    assert shown(path).isprintable()


# The parent that a branch pointed to before a merge


def merge_of(top: Path, *, into: str, what: str) -> str:
    git(top, "checkout", "-q", into)
    git(top, "merge", "-q", "--no-ff", "-m", f"merge {what}", what)
    return git(top, "rev-parse", "HEAD")


@pytest.fixture
def branches(repository: Path) -> tuple[str, str]:
    """Return the tips of agent and main, which have diverged."""
    git(repository, "checkout", "-q", "-b", "agent")
    agent = commit(repository, {"agent": "1\n"}, "agent's")
    git(repository, "checkout", "-q", "main")
    return agent, commit(repository, {"main": "1\n"}, "main's")


def test_a_merge_made_on_the_branch(repository: Path, branches: tuple[str, str]) -> None:
    merge = merge_of(repository, into="main", what="agent")
    commit(repository, {"later": "x"})
    assert branch_parent(Repository.discover(repository), "main", merge) == branches[1]


@pytest.mark.parametrize("more", [0, 2])
def test_a_branch_fast_forwarded_to_a_merge_of_itself(more: int, repository: Path, branches: tuple[str, str]) -> None:
    merge = merge_of(repository, into="agent", what="main")
    for number in range(more):
        commit(repository, {"more": str(number)})
    git(repository, "checkout", "-q", "main")
    git(repository, "merge", "-q", "--ff-only", "agent")
    assert git(repository, "rev-parse", f"{merge}^1") == branches[0]
    assert branch_parent(Repository.discover(repository), "main", merge) == branches[1]


def test_a_merge_that_came_with_others_work(repository: Path, branches: tuple[str, str]) -> None:
    git(repository, "checkout", "-q", "-b", "helper", "main~1")
    helper = commit(repository, {"helper": "1\n"}, "helper's")
    git(repository, "checkout", "-q", "-b", "onto", "main")
    onto = commit(repository, {"onto": "1\n"}, "on main")
    merge = merge_of(repository, into="helper", what="onto")
    git(repository, "checkout", "-q", "main")
    git(repository, "merge", "-q", "--ff-only", "helper")
    assert git(repository, "rev-parse", f"{merge}^1", f"{merge}^2").split() == [helper, onto]
    assert branch_parent(Repository.discover(repository), "main", merge) == onto  # the one that holds main's old tip


def test_without_a_log_it_is_unknown_unless_our_own_says(repository: Path, branches: tuple[str, str]) -> None:
    merge = merge_of(repository, into="agent", what="main")
    git(repository, "checkout", "-q", "main")
    git(repository, "merge", "-q", "--ff-only", "agent")
    git(repository, "reflog", "expire", "--expire=now", "--all")
    found = Repository.discover(repository)
    assert branch_parent(found, "main", merge) is None
    assert branch_parent(found, "main", merge, moves=[(branches[1], merge)]) == branches[1]


def test_both_parents_hold_the_old_tip(repository: Path) -> None:
    git(repository, "checkout", "-q", "-b", "one")
    commit(repository, {"one": "1"}, "one")
    git(repository, "checkout", "-q", "-b", "two", "main")
    commit(repository, {"two": "1"}, "two")
    merge = merge_of(repository, into="one", what="two")
    git(repository, "checkout", "-q", "main")
    git(repository, "merge", "-q", "--ff-only", "one")
    assert branch_parent(Repository.discover(repository), "main", merge) is None


def test_no_merge_has_one_parent_or_none(repository: Path) -> None:
    root = git(repository, "rev-parse", "HEAD")
    found = Repository.discover(repository)
    assert branch_parent(found, "main", commit(repository, {"a": "1"})) == root
    assert branch_parent(found, "main", root) is None
    assert branch_parent(found, "missing", "1" * 40) is None
