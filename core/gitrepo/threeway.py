"""Three-way merges of trees, many at once: no working tree, no ref, no driver, no hook.

Until git 2.40 ``merge-tree`` finds the base itself, so each merge gets three commits of its own making: the base
without parents, and both sides on top of it. They are written by one ``fast-import`` into a folder that goes when the
merges are done; only the trees and blobs that result stay, in the mirror.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import GitError, StoreError
from ..text import clean
from .attributes import attributes
from .entries import Entry
from .git import Git
from .mirror import Mirror, lay_out
from .objects import empty_tree
from .paths import quoted, shown
from .plain_merge import plain_merges

_WORTH = 8
"""Merges onto one tree of which many will need no merging."""


@dataclass(frozen=True, slots=True)
class Merge:
    """Bring the change from ``base`` to ``theirs`` onto ``ours``; all three are ids of trees."""

    base: str
    ours: str
    theirs: str


@dataclass(frozen=True, slots=True)
class Unmerged:
    """A path that git could not merge, with what each side has there; None: nothing."""

    path: bytes
    base: Entry | None
    ours: Entry | None
    theirs: Entry | None
    kinds: tuple[str, ...]
    """What git calls the conflict, such as ``CONFLICT (contents)``."""


@dataclass(frozen=True, slots=True)
class Merged:
    """The tree that results, or one readable line for each conflict."""

    tree: str | None
    conflicts: tuple[str, ...]
    unmerged: tuple[Unmerged, ...] = ()
    rest: str = ""
    """With conflicts: the tree in which all is merged but these paths."""


def merge_trees(mirror: Mirror, merges: Sequence[Merge], *, attributes_of: str) -> list[Merged]:
    """Return the outcome of each merge, with the attributes of the tree ``attributes_of``.

    Raises GitError, and StoreError if the temporary folder cannot be written.
    """
    if not merges:
        return []
    plain = _without_merging(mirror, merges)
    hard = [merge for merge, tree in zip(merges, plain, strict=True) if tree is None]
    if not hard:
        return [Merged(tree, ()) for tree in plain]
    try:
        with mirror.workspace() as folder:
            merged = iter(_merge_in(folder, mirror, hard, attributes_of))
            return [next(merged) if tree is None else Merged(tree, ()) for tree in plain]
    except OSError as error:
        place = clean(str(error.filename or mirror.path.parent))
        raise StoreError(f"cannot rehearse in {place}: {error.strerror}; make room there") from error


def _without_merging(mirror: Mirror, merges: Sequence[Merge]) -> list[str | None]:
    """Return the trees of those merges that need no merging, where there are enough to be worth it; None elsewhere."""
    if len(merges) < _WORTH or len({merge.ours for merge in merges}) > 1:
        return [None] * len(merges)
    return plain_merges(mirror, merges[0].ours, [(merge.base, merge.theirs) for merge in merges])


def _merge_in(place: Path, mirror: Mirror, merges: Sequence[Merge], attributes_of: str) -> list[Merged]:
    object_format = "sha1" if len(attributes_of) == 40 else "sha256"
    lay_out(place, alternates=(mirror.objects,), object_format=object_format, durable=False)
    (place / "info/attributes").write_bytes(attributes(mirror, attributes_of))
    git = Git(place, bare=True, isolated=True)
    sides = _write_sides(git, merges)
    pairs = "".join(f"{ours} {theirs}\n" for ours, theirs in sides).encode()
    to_mirror = {
        "GIT_OBJECT_DIRECTORY": str(mirror.objects),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": quoted(os.fsencode(place / "objects")).decode(),
    }
    out = git.run("merge-tree", "--write-tree", "--stdin", stdin=pairs, env=to_mirror).out
    return list(_outcomes(out, sides))


def _write_sides(git: Git, merges: Sequence[Merge]) -> list[tuple[str, str]]:
    """Write the three commits of each merge; return the ids of the two to be merged."""
    lines: list[str] = []
    for number, merge in enumerate(merges):
        base, ours, theirs = (3 * number + offset for offset in (1, 2, 3))
        lines.append("reset refs/heads/none")
        lines += _commit(base, merge.base) + _commit(ours, merge.ours) + _commit(theirs, merge.theirs, parent=base)
        lines += [f"get-mark :{ours}", f"get-mark :{theirs}"]
    stream = "\n".join([*lines, "done", ""]).encode()
    ids = git.text("-c", "core.fsync=none", "fast-import", "--quiet", "--done", stdin=stream).split("\n")
    return list(zip(ids[0::2], ids[1::2], strict=True))


def _commit(mark: int, tree: str, *, parent: int | None = None) -> list[str]:
    """Return the lines of a commit of exactly ``tree`` on the one before it, or on the mark ``parent``."""
    lines = ["commit refs/heads/none", f"mark :{mark}", "committer rollcage <rollcage@localhost> 0 +0000", "data 0"]
    if parent is not None:
        lines.append(f"from :{parent}")
    lines.append("deleteall")
    if tree != empty_tree(tree):
        lines.append(f'M 040000 {tree} ""')
    return lines


def _outcomes(out: bytes, sides: Sequence[tuple[str, str]]) -> Iterator[Merged]:
    """Read what ``git merge-tree --stdin`` answered; git-merge-tree(1), section OUTPUT."""
    words = iter(out.decode("utf-8", "surrogateescape").split("\0"))
    for ours, theirs in sides:
        status, tree = next(words), next(words)
        if status == "1":
            if next(words) != "":
                raise GitError("git merge-tree answered in a form that rollcage does not know; report this")
            yield Merged(tree, ())
            continue
        stages: dict[str, dict[str, Entry]] = {}  # by path and stage: 1 base, 2 ours, 3 theirs
        while entry := next(words):
            about, _, path = entry.partition("\t")
            mode, oid, stage = about.split(" ")
            stages.setdefault(path, {})[stage] = Entry(mode, oid)
        texts: dict[str, str] = {}  # the first by path says most
        kinds: dict[str, list[str]] = {}
        while count := next(words):
            paths = [next(words) for _ in range(int(count))]
            kind, message = next(words), next(words)
            if kind.startswith("CONFLICT"):
                kinds.setdefault(paths[0], []).append(kind)
                text = _readable(kind, message, stages.get(paths[0], {}))
                texts.setdefault(_plain(paths[0], ours, theirs), _plain(text, ours, theirs))
        conflicts = tuple(f"{_shown(path)}: {text}" for path, text in texts.items())
        unmerged = tuple(
            Unmerged(
                path.encode("utf-8", "surrogateescape"),
                found.get("1"),
                found.get("2"),
                found.get("3"),
                tuple(kinds.pop(path, ())),
            )
            for path, found in stages.items()
        )
        # A conflict without stages at its path is told, and belongs to no file that could be merged more finely.
        rest = tree if not kinds else ""
        yield Merged(None, conflicts, unmerged, rest)


def _readable(kind: str, message: str, stages: Mapping[str, Entry]) -> str:
    """Return what stands in the way of a merge of what is (ours) with what is wanted (theirs)."""
    match kind:
        case "CONFLICT (contents)":
            return "the same lines were changed since"
        case "CONFLICT (binary)":
            return "a binary file that was changed since"
        case "CONFLICT (modify/delete)":
            return "changed since, and would have to be deleted" if "2" in stages else "deleted since"
        case _:
            return clean(message.removeprefix(f"{kind}:"), limit=400)


def _plain(text: str, ours: str, theirs: str) -> str:
    """Return ``text`` without the ids of the commits that stand for the sides: git adds them to names that clash."""
    for side, name in ((ours, "the present state"), (theirs, "the wanted state")):
        text = text.replace(f"~{side}", "").replace(side, name)
    return text


def _shown(path: str) -> str:
    return shown(path.encode("utf-8", "surrogateescape"))
