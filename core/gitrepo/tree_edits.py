"""Trees made from other trees by naming what is different in them: on objects, without a working tree."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..errors import StoreError
from ..text import clean
from .entries import Entry, index_info
from .mirror import Mirror
from .objects import empty_tree


def edited_tree(mirror: Mirror, tree: str, edits: Mapping[bytes, Entry | None]) -> str:
    """Return the tree that is ``tree`` with each path of ``edits`` as given there; None: without it.

    It is written into the mirror. Raises GitError, and StoreError if there is no room.
    """
    if not edits:
        return tree
    # What goes, goes first: a file may take the place of a folder.
    ordered = sorted(edits.items(), key=lambda edit: edit[1] is not None)
    try:
        with mirror.workspace() as place:
            index = {"GIT_INDEX_FILE": str(place / "index")}
            mirror.git.run("read-tree", *(["--empty"] if tree == empty_tree(tree) else [tree]), env=index)
            lines = index_info([(path, entry, 0) for path, entry in ordered], tree)
            mirror.git.run("update-index", "-z", "--index-info", stdin=lines, env=index)
            return mirror.git.text("write-tree", "--missing-ok", env=index)  # a partial clone lacks some
    except OSError as error:
        raise _no_room(mirror, error) from error


def write_blobs(mirror: Mirror, contents: list[bytes]) -> list[str]:
    """Write ``contents`` into the mirror and return their ids. Raises GitError, StoreError."""
    if not contents:
        return []
    try:
        with mirror.workspace() as place:
            for number, content in enumerate(contents):
                (place / str(number)).write_bytes(content)
            names = "".join(f"{place / str(number)}\n" for number in range(len(contents)))
            out = mirror.git.text("hash-object", "-w", "--no-filters", "--stdin-paths", stdin=names.encode())
            return out.split("\n")
    except OSError as error:
        raise _no_room(mirror, error) from error


def _no_room(mirror: Mirror, error: OSError) -> StoreError:
    place = clean(str(error.filename or Path(mirror.path).parent))
    return StoreError(f"cannot rehearse in {place}: {error.strerror}; make room there")
