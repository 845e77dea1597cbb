"""Taking only some parts of commits back, on objects: which parts there are, and which tree comes out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from .copies import find_copies, is_copy, without_copies
from .entries import Entry
from .file_changes import FileChange, Part, PartKind, pieces_of, read_changes, without
from .finely import merge_finely
from .mirror import Mirror
from .paths import shown
from .rehearse import Reversal
from .threeway import Merge
from .tree_edits import edited_tree, write_blobs
from .ways import Series, Way, read_series

__all__ = ["Part", "PartKind", "Taken", "parts_in", "parts_of", "pieces_of", "take_back", "tree_taking_back"]


@dataclass(frozen=True, slots=True)
class Taken:
    """What taking some parts back gives, and from which tree to which each step went: for `lines_lost`."""

    reversal: Reversal
    ways: tuple[Way, ...]


def parts_of(
    mirror: Mirror, head: str, targets: Sequence[str], *, parents: Mapping[str, str] | None = None
) -> list[Part]:
    """Return the files and hunks of what the targets did, in the order of steps (newest first), paths and lines.

    Empty: the targets cannot be taken back together at all (`rehearse_series` says why). A file without hunks only goes
    as a whole: it is binary, a link, a submodule, was deleted by the targets, or changed only in mode or name. Raises
    GitError.
    """
    return parts_in(mirror, read_series(mirror, head, targets, parents=parents))


def parts_in(mirror: Mirror, series: Series) -> list[Part]:
    """Like `parts_of`, for a series that was read already."""
    return [
        part
        for _, changes in read_changes(mirror, series)
        for change in changes
        for part in (change.part, *change.hunks)
    ]


def tree_taking_back(
    mirror: Mirror,
    head: str,
    targets: Sequence[str],
    parts: Sequence[str],
    *,
    parents: Mapping[str, str] | None = None,
) -> Taken:
    """Take only ``parts``, by name, of the targets back from ``head``, newest first, merged as `rehearse_finely` does.

    No parts at all are all of them. The reason is ``unknown_part`` where the targets have no such part. Raises
    GitError, StoreError.
    """
    return take_back(mirror, read_series(mirror, head, targets, parents=parents), parts)


def take_back(mirror: Mirror, series: Series, parts: Sequence[str]) -> Taken:
    """Like `tree_taking_back`, for a series that was read already."""
    if series.reason:
        return Taken(Reversal(series.targets, None, (), series.reason), ())
    copies = {name for name in parts if is_copy(name)}
    plain = [name for name in parts if name not in copies]
    steps, unknown = _steps(mirror, series, plain) if plain or not parts else ([], [])
    tree = series.head_tree
    finely: set[bytes] = set()
    for step in steps if not unknown else ():
        merged = merge_finely(mirror, Merge(step.base, tree, step.theirs), attributes_of=series.head_tree)
        if merged.tree is None:
            return Taken(Reversal(series.targets, None, merged.conflicts, "conflict", step.parent), ())
        tree = merged.tree
        finely.update(merged.finely)
    taken = tuple(steps)
    if copies and not unknown:
        found = [copy for copy in find_copies(mirror, series, tree) if copy.part.name in copies]
        unknown = sorted(copies - {copy.part.name for copy in found})
        finely.update(copy.place for copy in found)
        tree, ways = without_copies(mirror, tree, found)
        taken += tuple(ways)
    if unknown:
        why = tuple(f"{name}: the commits have no such part" for name in unknown)
        return Taken(Reversal(series.targets, None, why, "unknown_part"), ())
    reason = "no_change" if tree == series.head_tree else ""
    by_words = tuple(sorted(shown(path) for path in finely))
    parent = series.steps[-1].parent if series.steps else ""
    return Taken(Reversal(series.targets, tree, (), reason, parent, finely=by_words), taken)


def _steps(mirror: Mirror, series: Series, parts: Sequence[str]) -> tuple[list[Way], list[str]]:
    """Return the steps with only ``parts`` taken back in each, and the names that are none of its parts."""
    if not parts:
        return list(series.steps), []
    left = set(parts)
    steps = []
    for step, changes in read_changes(mirror, series):
        gone: dict[bytes, Entry | None] = {}
        back: dict[bytes, Entry | None] = {}
        texts: dict[bytes, tuple[str, bytes]] = {}
        for change in changes:
            if change.name in left:
                gone[change.path] = None
                if change.old is not None:
                    back[change.old_path] = change.old
                left -= {name for name in left if name == change.name or name.startswith(f"{change.name}#")}
                continue
            chosen = list(_chosen(change, left))
            if chosen and change.new is not None:
                texts[change.path] = (change.new.mode, without(change.text, chosen))
                left -= {part.name for part in chosen}
                left -= {name for part in chosen for name in left if name.startswith(f"{part.name}.")}
        blobs = write_blobs(mirror, [text for _, text in texts.values()])
        back.update({path: Entry(mode, blob) for (path, (mode, _)), blob in zip(texts.items(), blobs, strict=True)})
        if edits := gone | back:  # of two files that changed names, each has what the other leaves
            steps.append(replace(step, theirs=edited_tree(mirror, step.base, edits)))
    return steps, sorted(left)


def _chosen(change: FileChange, names: set[str]) -> Iterator[Part]:
    for hunk in change.hunks:
        if hunk.name in names:
            yield hunk
        elif any(name.startswith(f"{hunk.name}.") for name in names):
            yield from (piece for piece in pieces_of(hunk) if piece.name in names)
