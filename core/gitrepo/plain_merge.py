"""Merges that need no merging: where nobody changed, since, what is to be changed. Many at once, in three processes.

Where one side has at every path just what the base has there, the other side's entries simply replace them; git's own
merge begins with these cases, too (git's ``Documentation/technical/trivial-merge.txt``). What it would think about
renames changes nothing there: a path that either side moved away differs from the base. All else, clashes of a file
with a folder among it, is left to ``git merge-tree``, which takes a few milliseconds each.

The trees that result are written as one pack: gitformat-pack(5).
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .entries import Entry, changed_entries
from .mirror import Mirror
from .objects import empty_tree

MOST_PATHS = 200
"""A change of more paths is not worth the while, and the memory."""
_FOLDER = b"40000 "
_NOTHING = b""
_PACKED_TREE = 2

Tree = dict[bytes, bytes]
"""The entries of one folder by name, each as a tree object has it: mode, name, id; in git's order."""


@dataclass(frozen=True, slots=True)
class _Change:
    """What one merge does: for each path what must be there, and what will be; None: nothing."""

    before: Mapping[bytes, Entry | None]
    after: Mapping[bytes, Entry | None]


class _ClashError(Exception):
    """A file and a folder want the same place, or somebody else's entry is in the way."""


def plain_merges(mirror: Mirror, ours: str, changes: Sequence[tuple[str, str]]) -> list[str | None]:
    """Bring each change from one tree to another (base, theirs) onto the tree ``ours``; all are ids of trees.

    Return the trees that result, written into the mirror; None for a merge that takes more than replacing entries.
    Raises GitError.
    """
    found = [_Change(*each) if each else None for each in changed_entries(mirror.git, changes, most=MOST_PATHS)]
    folders = _read_folders(mirror, ours, [path for each in found if each for path in each.after])
    new: dict[str, bytes] = {}
    results: list[str | None] = []
    for change in found:
        written: dict[str, bytes] = {}
        try:
            results.append(None if change is None else _apply(folders, ours, change, written))
            new |= written
        except _ClashError:
            results.append(None)
    _write(mirror, new, len(ours))
    return results


def _apply(folders: Mapping[bytes, Tree], ours: str, change: _Change, written: dict[str, bytes]) -> str:
    for path, before in change.before.items():
        folder, _, name = path.rpartition(b"/")
        expected = _line(name, before) if before else None
        if b"\n" in folder or folders.get(folder, {}).get(name) != expected:  # cat-file takes one name a line
            raise _ClashError
    if not change.after:
        return ours
    tree = _edited(folders, _NOTHING, change.after, written, len(ours))
    return tree or empty_tree(ours)


def _edited(
    folders: Mapping[bytes, Tree],
    folder: bytes,
    edits: Mapping[bytes, Entry | None],
    written: dict[str, bytes],
    length: int,
) -> str:
    """Return the id of ``folder`` with ``edits`` (paths relative to it); empty: nothing is left in it."""
    old = folders.get(folder, {})
    tree = dict(old)
    below: dict[bytes, dict[bytes, Entry | None]] = {}
    files: dict[bytes, Entry] = {}
    for path, entry in edits.items():
        name, slash, rest = path.partition(b"/")
        if slash:
            below.setdefault(name, {})[rest] = entry
        elif entry is None:
            tree.pop(name, None)
        else:
            files[name] = entry
    for name, inner in below.items():
        if name in tree and not _is_folder(tree[name]):
            raise _ClashError
        oid = _edited(folders, folder + b"/" + name if folder else name, inner, written, length)
        if oid:
            tree[name] = _line(name, Entry("40000", oid))
        else:
            tree.pop(name, None)
    for name, entry in files.items():
        if name in tree and _is_folder(tree[name]):
            raise _ClashError
        tree[name] = _line(name, entry)
    if not tree:
        return ""
    lines = list(tree.values())
    touched = (*below, *files)
    if tree.keys() != old.keys() or any(_is_folder(tree[name]) != _is_folder(old[name]) for name in touched):
        lines.sort(key=_order)
    content = b"".join(lines)
    oid = _hash(b"tree %d\0" % len(content) + content, length).hex()
    written[oid] = content
    return oid


def _line(name: bytes, entry: Entry) -> bytes:
    return b"%s %s\0%s" % (entry.mode.encode(), name, bytes.fromhex(entry.oid))


def _is_folder(line: bytes) -> bool:
    return line.startswith(_FOLDER)


def _order(line: bytes) -> bytes:
    """Return by what git sorts a tree: a folder as if its name ended in a slash."""
    name = line[line.index(b" ") + 1 : line.index(b"\0")]
    return name + b"/" if _is_folder(line) else name


def _hash(content: bytes, length: int) -> bytes:
    return (hashlib.sha1(content, usedforsecurity=False) if length == 40 else hashlib.sha256(content)).digest()


def _read_folders(mirror: Mirror, tree: str, paths: Sequence[bytes]) -> dict[bytes, Tree]:
    """Return the folders of ``tree`` above ``paths``, by path; the top's is empty. What is no folder is left out."""
    wanted = {_NOTHING: None}
    for path in paths:
        folder = path.rpartition(b"/")[0]
        while folder not in wanted:
            wanted[folder] = None
            folder = folder.rpartition(b"/")[0]
    names = [name for name in wanted if b"\n" not in name]
    asked = b"".join(tree.encode() + b":" + name + b"\n" for name in names)
    out = mirror.git.run("cat-file", "--batch", stdin=asked).out
    found, position = {}, 0
    for name in names:
        end = out.index(b"\n", position)
        words = out[position:end].split(b" ")
        position = end + 1
        if len(words) == 3 and words[2].isdigit():
            size = int(words[2])
            if words[1] == b"tree":
                found[name] = dict(_entries(out[position : position + size], len(tree) // 2))
            position += size + 1
    return found


def _entries(content: bytes, length: int) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position < len(content):
        space, end = content.index(b" ", position), content.index(b"\0", position)
        yield content[space + 1 : end], content[position : end + 1 + length]
        position = end + 1 + length


def _write(mirror: Mirror, trees: Mapping[str, bytes], length: int) -> None:
    if not trees:
        return
    pieces = [b"PACK", struct.pack(">II", 2, len(trees))]
    for content in trees.values():
        size = len(content)
        head = bytearray([_PACKED_TREE << 4 | size & 15 | (128 if size > 15 else 0)])
        size >>= 4
        while size:
            head.append(size & 127 | (128 if size > 127 else 0))
            size >>= 7
        pieces += [bytes(head), zlib.compress(content, 1)]
    pack = b"".join(pieces)
    mirror.git.run("index-pack", "--stdin", stdin=pack + _hash(pack, length))
