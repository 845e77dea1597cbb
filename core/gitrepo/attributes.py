"""The ``.gitattributes`` of a tree as one ``info/attributes`` file, so that a bare repository merges as the tree says.

Git reads attributes from a working tree, of which a rehearsal has none; ``--attr-source`` only came with 2.41.
"""

from __future__ import annotations

import re
from functools import lru_cache

from .mirror import Mirror
from .objects import empty_tree, read_blobs
from .paths import quoted, raw

_SPECIAL = re.compile(rb"[*?\[\]\\]")


@lru_cache(maxsize=64)
def attributes(mirror: Mirror, tree: str) -> bytes:
    """Return the attributes of ``tree``, the deeper folders' after the higher ones', since the last match wins."""
    out = mirror.git.run(
        "diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", empty_tree(tree), tree,
        "--", ":(top,glob)**/.gitattributes",
    ).out  # fmt: skip
    words = out.split(b"\0")
    found = []
    for entry, path in zip(words[0::2], words[1::2], strict=False):
        _, mode, _, blob, _ = entry.split(b" ")
        if mode.startswith(b"100"):  # git does not follow a link here
            found.append((path.rpartition(b"/")[0], blob.decode()))
    found.sort(key=lambda item: (item[0].count(b"/") + bool(item[0]), item[0]))
    contents = read_blobs(mirror, [blob for _, blob in found])
    return b"".join(_below(folder, content) for (folder, _), content in zip(found, contents, strict=True))


def _below(folder: bytes, content: bytes) -> bytes:
    """Return the lines of ``folder``'s file as lines that mean the same at the top; see gitattributes(5)."""
    if not folder:
        return content + b"\n"
    place = _SPECIAL.sub(rb"\\\g<0>", folder)
    lines = []
    for line in content.splitlines():
        pattern, rest = _split(line.strip(b" \t"))
        if not pattern or pattern.startswith((b"#", b"!", b"[attr]")):  # macros count at the top only
            continue
        anchored = b"/" in pattern.removesuffix(b"/")
        whole = place + (b"/" if anchored else b"/**/") + pattern.removeprefix(b"/")
        lines.append(quoted(whole) + rest + b"\n")
    return b"".join(lines)


def _split(line: bytes) -> tuple[bytes, bytes]:
    """Return a line's pattern, unquoted, and what follows it."""
    found = re.match(rb'("(?:[^"\\]|\\.)*")(.*)', line, re.DOTALL)
    if found:
        return raw(found[1].decode("utf-8", "surrogateescape")), found[2]
    pattern = re.match(rb"[^ \t]*", line)
    end = pattern.end() if pattern else 0
    return line[:end], line[end:]
