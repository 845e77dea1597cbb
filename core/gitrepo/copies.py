"""A bad change that was copied or moved into other files since: found there by its lines, and taken back there."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from .entries import Entry, changes
from .file_changes import Part, PartKind, label, read_changes, without
from .finely import merge_file
from .mirror import Mirror
from .objects import read_blobs
from .paths import shown
from .token_merge import lines
from .tree_edits import edited_tree, write_blobs
from .ways import Series, Way

MOST_PLACES = 200
"""Where more files changed since, copies are not looked for."""
_COPY = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^"@])*@.*', re.DOTALL)
"""A part's name with ``@`` outside of quotes."""


def is_copy(name: str) -> bool:
    """Return whether a part's name is that of a copy."""
    return bool(_COPY.fullmatch(name))


@dataclass(frozen=True, slots=True)
class Copy:
    """A hunk found in another file."""

    part: Part
    place: bytes
    """The file in which it is now."""
    mode: str
    source: bytes
    """The file in which it was made."""
    source_mode: str
    base: bytes = field(repr=False)
    """The text of that file with it, and without it."""
    theirs: bytes = field(repr=False)
    way: Way


def find_copies(mirror: Mirror, series: Series, tree: str) -> list[Copy]:
    """Return where hunks of the series are still in ``tree``, which takes them back where they were made.

    They were moved or copied into files that changed since, and the merge that takes them back there is clean. Raises
    GitError, StoreError.
    """
    found: list[Copy] = []
    for step, files in read_changes(mirror, series):
        hunks = [(file, hunk) for file in files for hunk in file.hunks if _telling(hunk.gone)]
        since = [
            change
            for change in changes(mirror.git, step.base, tree)
            if change.new is not None and change.new.is_regular and (change.old is None or change.old.is_regular)
        ]
        if not hunks or len(since) > MOST_PLACES:
            continue
        texts = iter(read_blobs(mirror, [e.oid for change in since for e in (change.new, change.old) if e]))
        for place in since:
            now = next(texts)
            came = Counter(lines(now)) - Counter(lines(next(texts) if place.old else b""))
            for file, hunk in hunks:
                if file.path == place.path or file.new is None or place.new is None or not _telling(hunk.gone) <= came:
                    continue
                theirs = without(file.text, [hunk])
                if merge_file(mirror, file.text, now, theirs).text not in {None, now}:
                    part = replace(
                        hunk,
                        name=f"{hunk.name}@{label(place.path)}",
                        path=shown(place.path),
                        kind=PartKind.COPY,
                        within=hunk.name,
                        start=_line_of(now, hunk.gone),
                    )
                    found.append(
                        Copy(part, place.path, place.new.mode, file.path, file.new.mode, file.text, theirs, step)
                    )
    return found


def without_copies(mirror: Mirror, tree: str, copies: Sequence[Copy]) -> tuple[str, list[Way]]:
    """Return ``tree`` without ``copies``, and for each the way from its commit's tree to that without the hunk.

    Raises GitError, StoreError.
    """
    texts: dict[bytes, tuple[str, bytes]] = {}
    for copy in copies:
        mode, text = texts.get(copy.place) or (copy.mode, _text_at(mirror, tree, copy.place))
        merged = merge_file(mirror, copy.base, text, copy.theirs)
        texts[copy.place] = mode, text if merged.text is None else merged.text
    blobs = write_blobs(mirror, [*(text for _, text in texts.values()), *(copy.theirs for copy in copies)])
    edits = {path: Entry(mode, blob) for (path, (mode, _)), blob in zip(texts.items(), blobs, strict=False)}
    ways = []
    for copy, blob in zip(copies, blobs[len(texts) :], strict=True):
        before = edited_tree(mirror, copy.way.base, {copy.source: Entry(copy.source_mode, blob)})
        ways.append(replace(copy.way, theirs=before))
    return edited_tree(mirror, tree, edits), ways


def _telling(text: bytes) -> Counter[bytes]:
    """Return the lines by which a text is known again: those with some words."""
    return Counter(line for line in lines(text) if len(re.findall(rb"\w+", line)) > 2)


def _line_of(text: bytes, part: bytes) -> int:
    first = next(iter(_telling(part)))
    return text[: text.find(first)].count(b"\n") + 1


def _text_at(mirror: Mirror, tree: str, path: bytes) -> bytes:
    return mirror.git.run("cat-file", "blob", f"{tree}:{os.fsdecode(path)}").out
