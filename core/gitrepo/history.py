"""History as people read it: commits, whose they are, what they changed. All text from it is cleaned here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise

from ..config import AgentSettings
from ..errors import GitError
from ..model import Commit
from ..text import clean, clean_lines
from .git import revision
from .mirror import Mirror
from .objects import read_commits
from .paths import shown
from .repository import Repository

_TRAILERS = ("Agent", "Co-Authored-By", "Rollcage")
_FIELDS = ("%H", "%P", "%an <%ae>", "%ct", "%s", *(f"%(trailers:key={key},valueonly,unfold)" for key in _TRAILERS))
_BIG_FILE = "core.bigFileThreshold=5m"
"""Above it git calls a file binary, so that one huge file cannot fill the memory."""
_MORE = "\n… the patch goes on"


def commits(
    mirror: Mirror, tip: str, *, since: str | None = None, limit: int = 200, first_parent: bool = True
) -> list[Commit]:
    """Return at most ``limit`` commits that ``tip`` reaches and ``since`` does not, newest first; ``agent`` stays None.

    A merge shows what it brought to its first parent. Renamed files count under both names. Raises GitError.
    """
    done = mirror.git.run(
        "-c", _BIG_FILE, "log", "-z", "--encoding=UTF-8", f"--max-count={limit}",
        f"--format={'%x00'.join(_FIELDS)}", "--numstat", "--no-renames", "--diff-merges=first-parent",
        "--first-parent" if first_parent else "--topo-order",
        revision(tip), *([f"^{revision(since)}"] if since else []), "--",
    )  # fmt: skip
    return list(_parsed(done.out))


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a commit was made, as git's own logs tell; see `rollcage.core.observe.origin`."""

    agent: str
    """Whose place that is."""
    place: str
    """In words: ``in the working tree of executor``, ``on branch executor/fix``."""


def attribute(
    commits: Sequence[Commit],
    agents: Mapping[str, AgentSettings],
    made_by: Callable[[str], str | None] = lambda sha: None,
) -> list[Commit]:
    """Return the commits with ``agent`` filled: by trailer, then author, then ``made_by``, then ``Co-Authored-By``.

    An ``Agent:`` trailer that no settings claim names the agent itself. ``made_by`` tells for a commit in whose branch
    or working tree it was made, ``None`` where that is not known; it is asked only where the commit itself tells
    nothing. Nobody's commit keeps ``None``.
    """
    trailers, authors = _known(agents)
    return [
        replace(
            commit,
            agent=_said(commit, trailers, authors) or made_by(commit.sha) or _among(_coauthors(commit), authors),
        )
        for commit in commits
    ]


def contradictions(
    commits: Sequence[Commit], agents: Mapping[str, AgentSettings], origins: Mapping[str, Origin]
) -> dict[str, str]:
    """Return, by the id of each commit whose trailer or author contradicts where it was made, what contradicts what."""
    trailers, authors = _known(agents)
    found = {}
    for commit in commits:
        said, origin = _said(commit, trailers, authors), origins.get(commit.sha)
        if said and origin and said != origin.agent:
            found[commit.sha] = f"says that it is {said}'s, but was made {origin.place}"
    return found


def diff(mirror: Mirror, old_tree: str, new_tree: str, limit: int = 100_000) -> str:
    """Return the patch from one tree or commit to another for people: cleaned, at most ``limit`` characters."""
    out = mirror.git.run(
        "-c", _BIG_FILE, "diff-tree", "-r", "-p", "-M", "--no-ext-diff", "--no-textconv", "--src-prefix=a/",
        "--dst-prefix=b/", revision(old_tree), revision(new_tree), "--",
    ).out  # fmt: skip
    text = out[: 4 * limit].decode("utf-8", "replace")
    cut = len(out) > 4 * limit or len(text) > limit
    text = clean_lines(text, limit=limit)
    return text if len(text) <= limit and not cut else text[: limit - len(_MORE)] + _MORE


def changed_files(mirror: Mirror, a: str, b: str) -> list[str]:
    """Return the paths that differ between two trees or commits, sorted; a renamed file under both names."""
    out = mirror.git.run("diff-tree", "-r", "-z", "--name-only", "--no-renames", revision(a), revision(b), "--").out
    return sorted(shown(path) for path in out.split(b"\0") if path)


def parents(mirror: Mirror, sha: str) -> tuple[str, ...]:
    """Return the parents of a commit. Raises GitError if there is no such commit."""
    found = read_commits(mirror, [sha]).get(sha)
    if found is None:
        raise GitError(f"no commit {clean(sha, limit=80)} in {clean(str(mirror.repository.top))}")
    return found.parents


def branch_parent(
    repository: Repository, branch: str, merge_sha: str, *, moves: Sequence[tuple[str, str]] = ()
) -> str | None:
    """Return the parent of a merge that ``branch`` pointed to before the merge came into it; None: not known.

    ``moves`` are the branch's moves (old, new) that rollcage saw itself, oldest first; git's reflog comes after them.
    It is not always the first parent: after an agent merged main into its own branch and main was fast-forwarded to
    that, main pointed to the second.
    """
    merge = revision(merge_sha)
    ref = f"refs/heads/{revision(branch)}"
    found = repository.git.run("rev-list", "--parents", "--no-walk", merge, "--", ok=(0, 128)).out.decode().split()
    if len(found) < 3:
        return found[1] if len(found) == 2 else None
    after = {found[0], *_descendants(repository, found[0], ref)}
    for old, new in [*moves, *_reflog(repository, ref)]:
        if new in after and old not in after:
            return old if old in found[1:] else _only_ancestor(repository, old, found[1:])
    return None


def _descendants(repository: Repository, merge: str, ref: str) -> list[str]:
    done = repository.git.run("rev-list", "--ancestry-path", ref, f"^{merge}", "--", ok=(0, 128))
    return done.out.decode().split() if done.status == 0 else []


def _reflog(repository: Repository, ref: str) -> Iterator[tuple[str, str]]:
    """Yield the moves (old, new) of ``ref`` that git's reflog remembers, oldest first."""
    done = repository.git.run("log", "--walk-reflogs", "--format=%H", ref, "--", ok=(0, 128))
    values = done.out.decode().split()[::-1] if done.status == 0 else []
    return pairwise(values)


def _only_ancestor(repository: Repository, old: str, parents: Sequence[str]) -> str | None:
    """Return the one parent whose history has ``old``; None if that is none or more than one."""
    holders = [
        parent
        for parent in parents
        if repository.git.run("merge-base", "--is-ancestor", old, parent, ok=(0, 1, 128)).status == 0
    ]
    return holders[0] if len(holders) == 1 else None


def _parsed(out: bytes) -> Iterator[Commit]:
    """Read ``git log -z``: fields that each end in NUL, then a line end and numstat entries that each end in NUL."""
    words = out.split(b"\0")
    position = 0
    while position + len(_FIELDS) <= len(words):
        fields = [word.decode("utf-8", "replace") for word in words[position : position + len(_FIELDS)]]
        position += len(_FIELDS)
        files, lines = [], 0
        while position < len(words) and b"\t" in words[position]:  # a commit's id has no tab
            added, deleted, path = words[position].removeprefix(b"\n").split(b"\t", 2)
            files.append(shown(path))
            lines += sum(int(count) for count in (added, deleted) if count != b"-")
            position += 1
        yield _commit(fields, tuple(files), lines)


def _commit(fields: Sequence[str], files: tuple[str, ...], lines: int) -> Commit:
    sha, parents, author, seconds, summary, *values = fields
    trailers = tuple(
        (key, clean(value, limit=200))
        for key, found in zip(_TRAILERS, values, strict=True)
        for value in found.split("\n")
        if value.strip()
    )
    return Commit(
        sha=sha,
        parents=tuple(parents.split()),
        author=clean(author, limit=200),
        at=_moment(seconds),
        summary=clean(summary),
        files=files,
        lines=lines,
        opted_out=any(key == "Rollcage" and value.lower() == "keep" for key, value in trailers),
        trailers=trailers,
    )


def _moment(seconds: str) -> datetime:
    """Return git's seconds as a time; what lies beyond the year 9999 (agents can write anything) is brought back."""
    return datetime.fromtimestamp(min(max(int(seconds or 0), 0), 253_402_300_799), UTC)


_NAME = re.compile(r"[\w.@+-]{1,64}")


def _known(agents: Mapping[str, AgentSettings]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the agents by the value of their trailer and by their author, in lower case."""
    trailers = {(settings.commits.trailer or name).lower(): name for name, settings in agents.items()}
    authors = {settings.commits.author.lower(): name for name, settings in agents.items() if settings.commits.author}
    return trailers, authors


def _said(commit: Commit, trailers: Mapping[str, str], authors: Mapping[str, str]) -> str | None:
    """Return whose the commit says to be, by its trailer or its author."""
    for key, value in reversed(commit.trailers):  # the last one: a later writer adds below
        if key == "Agent" and (value.lower() in trailers or _NAME.fullmatch(value)):
            return trailers.get(value.lower(), value)
    return _among([commit.author], authors)


def _coauthors(commit: Commit) -> list[str]:
    return [value for key, value in commit.trailers if key == "Co-Authored-By"]


def _among(people: Sequence[str], authors: Mapping[str, str]) -> str | None:
    """Return the agent of the first of ``people`` that is one: by name and address, the address, or the name."""
    for person in people:
        name, _, address = person.lower().removesuffix(">").rpartition(" <")
        for known in (person.lower(), address, name):
            if known in authors:
                return authors[known]
    return None
