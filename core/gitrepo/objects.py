"""Reading many objects of the mirror with one git process."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..errors import GitError
from ..text import clean
from .mirror import Mirror

_OBJECT_ID = re.compile(r"[0-9a-f]{4,64}")
_COMMITS_KEPT = 10_000
"""So many commits are remembered: some megabytes."""
_EMPTY_TREES = {
    40: "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    64: "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
}


@dataclass(frozen=True, slots=True)
class CommitObject:
    """A commit as it is written, whatever grafts, replacements or a shallow clone say."""

    sha: str
    tree: str
    parents: tuple[str, ...]


def empty_tree(like: str) -> str:
    """Return the id of the tree without entries, in the object format of the id ``like``."""
    return _EMPTY_TREES[len(like)]


def read_commits(mirror: Mirror, ids: Iterable[str], *, afresh: bool = False) -> dict[str, CommitObject]:
    """Return the commits by the names asked for; what is missing, ambiguous or no commit is left out.

    A commit named in full is read once, for it never becomes another; ``afresh``: see whether it is still there.
    """
    asked = [name for name in dict.fromkeys(ids) if _OBJECT_ID.fullmatch(name)]
    found = {} if afresh else {name: commit for name in asked if (commit := mirror.commits.get(name))}
    unread = [name for name in asked if name not in found]
    for name, (sha, content) in zip(unread, _batch(mirror, [f"{name}^{{commit}}" for name in unread]), strict=True):
        if content is None:
            continue
        headers = content.partition(b"\n\n")[0].decode("ascii", "replace").split("\n")
        parents = tuple(line.removeprefix("parent ") for line in headers if line.startswith("parent "))
        found[name] = CommitObject(sha, headers[0].removeprefix("tree "), parents)
    if len(mirror.commits) > _COMMITS_KEPT:
        mirror.commits.clear()
    mirror.commits.update((name, commit) for name, commit in found.items() if name == commit.sha)  # no short name
    return {name: found[name] for name in asked if name in found}


def read_trees(mirror: Mirror, names: Sequence[str]) -> list[str]:
    """Return the ids of the trees that ``names`` (ids of commits or trees) are or have. Raises GitError."""
    lines = "".join(f"{name if _OBJECT_ID.fullmatch(name) else '-'}^{{tree}}\n" for name in names)
    out = mirror.git.text("cat-file", "--batch-check=%(objectname) %(objecttype)", stdin=lines.encode()).split("\n")
    for name, line in zip(names, out, strict=True):
        if not line.endswith(" tree"):
            raise GitError(f"no commit or tree {clean(name, limit=80)} in {clean(str(mirror.path))}")
    return [line.removesuffix(" tree") for line in out]


def read_blobs(mirror: Mirror, ids: Sequence[str]) -> list[bytes]:
    """Return the contents of the blobs. Raises GitError if one is missing."""
    contents = []
    for name, (_, content) in zip(ids, _batch(mirror, ids), strict=True):
        if content is None:
            raise GitError(f"object {clean(name, limit=80)} is missing in {clean(str(mirror.path))}")
        contents.append(content)
    return contents


def _batch(mirror: Mirror, names: Sequence[str]) -> Iterator[tuple[str, bytes | None]]:
    """Yield (id, content) for each name, content None where there is no such object: gitformat of cat-file --batch."""
    if not names:
        return
    out = mirror.git.run("cat-file", "--batch", stdin="".join(f"{name}\n" for name in names).encode()).out
    position = 0
    for _ in names:
        end = out.index(b"\n", position)
        words = out[position:end].split(b" ")
        position = end + 1
        if len(words) != 3 or not words[2].isdigit():
            yield "", None
            continue
        size = int(words[2])
        yield words[0].decode(), out[position : position + size]
        position += size + 1
