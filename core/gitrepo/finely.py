"""Taking commits back where git's merge of lines conflicts: within the line, file by file, or by another order."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from ..errors import StoreError
from ..text import clean
from .entries import Entry
from .mirror import Mirror
from .objects import read_blobs
from .paths import shown
from .rehearse import Reversal
from .threeway import Merge, Unmerged, merge_trees
from .token_merge import TokenMerge, lines, merge_conflicts
from .tree_edits import edited_tree, write_blobs
from .ways import Series, read_series

MOST_REPLAYED = 40
"""So many later commits are made again one by one at most, where taking the bad ones back one by one conflicts."""
_MENDABLE = frozenset({"CONFLICT (contents)", "CONFLICT (modify/delete)", "CONFLICT (rename/delete)"})
_SIGNS = re.compile(rb"^(?:<{7,}|\|{7,}|={7,}|>{7,})", re.MULTILINE)
_END = b"\x01\n"


@dataclass(frozen=True, slots=True)
class FineMerge:
    """What came of a merge: the tree, or one readable line for each conflict."""

    tree: str | None
    conflicts: tuple[str, ...] = ()
    finely: tuple[bytes, ...] = ()
    """The paths that were merged by tokens."""


def rehearse_finely(
    mirror: Mirror, head: str, targets: Sequence[str], *, parents: Mapping[str, str] | None = None
) -> Reversal:
    """Like `rehearse_series`, but what conflicts by lines is merged by tokens, file by file.

    A file or line that was deleted since stays deleted, for what the targets did to it is gone with it. A file that
    they added goes though it was changed since, if later work only took lines out of it. Where that does not go either,
    the later commits are made again, oldest first, on what was there before the oldest target. Raises GitError,
    StoreError.
    """
    series = read_series(mirror, head, targets, parents=parents)
    if series.reason:
        return Reversal(series.targets, None, (), series.reason)
    tree, parent = series.head_tree, ""
    finely: set[bytes] = set()
    for step in series.steps:
        merged = merge_finely(mirror, Merge(step.base, tree, step.theirs), attributes_of=series.head_tree)
        if merged.tree is None:
            again = _replayed(mirror, series)
            if again is None:
                return Reversal(series.targets, None, merged.conflicts, "conflict", step.parent)
            tree, parent = again, series.steps[-1].parent
            break
        tree, parent = merged.tree, step.parent
        finely.update(merged.finely)
    return Reversal(
        series.targets,
        tree,
        (),
        "no_change" if tree == series.head_tree else "",
        parent,
        finely=tuple(sorted(shown(path) for path in finely)),
    )


def merge_finely(mirror: Mirror, merge: Merge, *, attributes_of: str, takes_back: bool = True) -> FineMerge:
    """Merge three trees as `merge_trees` does, and by tokens what conflicts there.

    ``takes_back``: the change brought in is a commit's way back, so a file may be gone on either side as
    `rehearse_finely` says. Raises GitError, StoreError.
    """
    (merged,) = merge_trees(mirror, [merge], attributes_of=attributes_of)
    if merged.tree is not None:
        return FineMerge(merged.tree)
    if not merged.rest or any(not _MENDABLE.issuperset(found.kinds or ("?",)) for found in merged.unmerged):
        return FineMerge(None, merged.conflicts)
    edits: dict[bytes, Entry | None] = {}
    texts: dict[bytes, tuple[str, bytes]] = {}
    conflicts: list[str] = []
    for found in merged.unmerged:
        outcome = _merge_one(mirror, found, takes_back=takes_back)
        if isinstance(outcome, str):
            conflicts.append(f"{shown(found.path)}: {outcome}")
        elif isinstance(outcome, bytes):
            texts[found.path] = (_mode(found), outcome)
        else:
            edits[found.path] = outcome.entry
    if conflicts:
        return FineMerge(None, tuple(conflicts))
    blobs = write_blobs(mirror, [text for _, text in texts.values()])
    edits.update({path: Entry(mode, blob) for (path, (mode, _)), blob in zip(texts.items(), blobs, strict=True)})
    return FineMerge(edited_tree(mirror, merged.rest, edits), (), tuple(texts))


@dataclass(frozen=True, slots=True)
class _Whole:
    """A file as a whole; None: not there."""

    entry: Entry | None


def _merge_one(mirror: Mirror, found: Unmerged, *, takes_back: bool) -> bytes | _Whole | str:
    """Return the merged text, or what to put there, or in words why neither is possible."""
    base, ours, theirs = found.base, found.ours, found.theirs
    if base is None:
        return "added in two ways"
    if ours is None:
        return _Whole(None) if takes_back else "deleted on one side"
    if theirs is None:
        if not (takes_back and base.is_regular and ours.is_regular):
            return "changed since, and would have to be deleted"
        before, now = (Counter(lines(text)) for text in read_blobs(mirror, [base.oid, ours.oid]))
        return _Whole(None) if now <= before else "changed since, and would have to be deleted"
    if not (base.is_regular and ours.is_regular and theirs.is_regular):
        return "no text, and changed since"
    texts = read_blobs(mirror, [base.oid, ours.oid, theirs.oid])
    merged = merge_file(mirror, *texts, deleted_stays=takes_back)
    return merged.conflict if merged.text is None else merged.text


def merge_file(mirror: Mirror, base: bytes, ours: bytes, theirs: bytes, *, deleted_stays: bool = False) -> TokenMerge:
    """Merge a file's text as git does, and by tokens (`merge_tokens`) where git finds a conflict.

    Raises GitError, StoreError.
    """
    sides = (ours, base, theirs)
    if any(b"\0" in side[:8000] for side in sides):  # as git tells text from the rest
        return TokenMerge(None, "a binary file that was changed since")
    size = max([7, *(len(found) for side in sides for found in _SIGNS.findall(side))]) + 1
    ends = all(side.endswith(b"\n") for side in sides)
    try:
        with mirror.workspace() as place:
            names = [place / name for name in ("ours", "base", "theirs")]
            for name, side in zip(names, sides, strict=True):  # git would put a line end before a marker
                name.write_bytes(side if ends else side + _END)
            done = mirror.git.run(
                "merge-file", "-p", "-q", "--diff3", f"--marker-size={size}", *map(str, names), ok=range(128)
            )
    except OSError as error:
        where = clean(os.fsdecode(error.filename or mirror.path.parent))
        raise StoreError(f"cannot rehearse in {where}: {error.strerror}; make room there") from error
    merged = merge_conflicts(done.out, size, deleted_stays=deleted_stays) if done.status else TokenMerge(done.out)
    if merged.text is None or ends:
        return merged
    return replace(merged, text=merged.text.removesuffix(_END))


def _mode(found: Unmerged) -> str:
    assert found.base is not None
    assert found.ours is not None
    assert found.theirs is not None
    return (found.theirs if found.ours.mode == found.base.mode else found.ours).mode


def _replayed(mirror: Mirror, series: Series) -> str | None:
    """Return the tree of what stood before the oldest target with the later commits but the targets made again on it.

    None: it does not go, or there is a merge among them, or they are too many.
    """
    oldest = series.steps[-1].parent
    if not oldest:
        return None
    out = mirror.git.text(
        "rev-list", "--parents", "--topo-order", f"--max-count={MOST_REPLAYED + 1}", series.head, f"^{oldest}", "--"
    )
    history = [line.split(" ") for line in out.splitlines()]
    if len(history) > MOST_REPLAYED or any(len(entry) != 2 for entry in history):
        return None
    trees = mirror.git.text(
        "rev-parse", *(f"{sha}^{{tree}}" for entry in history for sha in entry[:1]), f"{oldest}^{{tree}}"
    ).split("\n")[::-1]
    tree = trees[0]
    for (sha, _), (before, after) in zip(history[::-1], pairwise(trees), strict=True):
        if sha in series.targets:
            continue
        merged = merge_finely(mirror, Merge(before, tree, after), attributes_of=series.head_tree, takes_back=False)
        if merged.tree is None:
            return None
        tree = merged.tree
    return tree
