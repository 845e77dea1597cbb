"""What commits did, as parts that can be taken back: files, hunks, pieces of a hunk, each with a name that stays.

A part is named from the targets alone, so a plan can list parts and anybody finds the same ones again: ``calc.py`` is
all that was done to the file, ``calc.py#2`` the second hunk of it, ``calc.py#2.1`` the first piece of that, and
``calc.py#2@sums.py`` the same hunk in a file into which it was moved or copied since (`rollcage.core.gitrepo.copies`).
Where the targets do not follow one another directly, the commit stands before it: ``0123456789ab:calc.py#2``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache

from .entries import Entry
from .mirror import Mirror
from .objects import read_blobs
from .paths import raw, shown
from .token_merge import lines, token_edits, tokens
from .ways import Series, Way

_BIG_FILE = "core.bigFileThreshold=5m"
"""Above it git calls a file binary; it is one part then."""
MOST_BYTES = 32 * 1024 * 1024
"""Where the files that the targets changed are larger together, before and after, each is one part."""
MOST_LINES = 40
"""A longer addition is not taken apart line by line."""
_HUNK = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")


class PartKind(StrEnum):
    """How fine a part is."""

    FILE = "file"
    HUNK = "hunk"
    PIECE = "piece"
    """Words within changed lines, or single lines of an addition."""
    COPY = "copy"
    """A hunk in another file, into which it was moved or copied since."""


@dataclass(frozen=True, slots=True)
class Part:
    """Something that the targets did, which can be taken back by itself."""

    name: str
    path: str
    """The file as the targets left it, as git shows it."""
    kind: PartKind
    within: str
    """The name of the coarser part that it belongs to; empty for a file."""
    start: int
    """Its first line in the file as the targets left it, from 1."""
    gone: bytes
    """The text that goes; empty for a file that is no text."""
    back: bytes
    """The text that comes back."""
    added: bool = False
    """The targets added the whole file."""
    replaces: tuple[int, int] = (0, 0)
    """Where ``gone`` lies in the file as the targets left it: from this byte up to that one."""


@dataclass(frozen=True, slots=True)
class FileChange:
    """What the targets did to one file: ``old`` is before them, ``new`` after."""

    prefix: str
    old_path: bytes
    path: bytes
    old: Entry | None
    new: Entry | None
    hunks: tuple[Part, ...] = ()
    text: bytes = field(default=b"", repr=False)
    before: bytes = field(default=b"", repr=False)

    @property
    def name(self) -> str:
        return self.prefix + label(self.path)

    @property
    def part(self) -> Part:
        return Part(
            self.name,
            shown(self.path),
            PartKind.FILE,
            "",
            1,
            self.text,
            self.before,
            self.old is None,
            (0, len(self.text)),
        )


def label(path: bytes) -> str:
    """Return ``path`` as it stands in names: in quotes also where it has one of the signs that names are made with."""
    text = shown(path)
    return f'"{text}"' if not text.startswith('"') and any(sign in text for sign in "#:@") else text


def pieces_of(hunk: Part) -> list[Part]:
    """Return what a hunk can be split into: changed words, or the lines of an addition; fewer than two is none."""
    found = []
    if hunk.back:
        parts = tokens(hunk.gone)
        offsets = [0]
        for part in parts:
            offsets.append(offsets[-1] + len(part))
        found = [
            (offsets[edit.start], offsets[edit.end], b"".join(edit.new)) for edit in token_edits(hunk.gone, hunk.back)
        ]
    elif hunk.gone.count(b"\n") <= MOST_LINES:
        position = 0
        for line in lines(hunk.gone):
            found.append((position, position + len(line), b""))
            position += len(line)
    if len(found) < 2:
        return []
    first = hunk.replaces[0]
    return [
        Part(
            f"{hunk.name}.{number}", hunk.path, PartKind.PIECE, hunk.name,
            hunk.start + hunk.gone[:start].count(b"\n"), hunk.gone[start:end], back, hunk.added,
            (first + start, first + end),
        )
        for number, (start, end, back) in enumerate(found, 1)
    ]  # fmt: skip


def without(text: bytes, parts: Sequence[Part]) -> bytes:
    """Return ``text`` with ``parts``, in order, taken back."""
    pieces, position = [], 0
    for part in parts:
        start, end = part.replaces
        pieces += [text[position:start], part.back]
        position = end
    return b"".join([*pieces, text[position:]])


def read_changes(mirror: Mirror, series: Series) -> Iterator[tuple[Way, tuple[FileChange, ...]]]:
    """Yield what the targets did, step by step and file by file. Raises GitError."""
    for step in series.steps:
        prefix = f"{step.sha[:12]}:" if len(series.steps) > 1 else ""
        yield step, _changes_of(mirror, step, prefix)


@lru_cache(maxsize=4)
def _changes_of(mirror: Mirror, step: Way, prefix: str) -> tuple[FileChange, ...]:
    """Return what the targets of one step did, file by file; kept, since a search asks again and again."""
    out = mirror.git.run(
        "-c", _BIG_FILE, "diff-tree", "-r", "-z", "-M", "--raw", "--no-abbrev", step.theirs, step.base, "--"
    ).out
    words = iter(out.split(b"\0"))
    changes = []
    for about in words:
        if not about:
            continue
        old_mode, new_mode, old, new, status = about.decode().removeprefix(":").split(" ")
        old_path = next(words)
        path = next(words) if status[0] == "R" else old_path
        before = None if old_mode == "000000" else Entry(old_mode, old)
        after = None if new_mode == "000000" else Entry(new_mode, new)
        changes.append(FileChange(prefix, old_path, path, before, after))
    oids = [entry.oid for change in changes for entry in (change.old, change.new) if entry and entry.is_regular]
    ranges = _ranges(mirror, step) if _size(mirror, oids) <= MOST_BYTES else {}
    texts = [change for change in changes if change.new and change.new.is_regular and change.path in ranges]
    blobs = iter(
        read_blobs(mirror, [entry.oid for c in texts for entry in (c.new, c.old) if entry and entry.is_regular])
    )
    with_text = {}
    for change in texts:
        text = next(blobs)
        before_text = next(blobs) if change.old and change.old.is_regular else b""
        full = replace(change, text=text, before=before_text)
        with_text[change.path] = replace(full, hunks=tuple(_hunks(full, ranges[change.path])))
    return tuple(with_text.get(change.path, change) for change in changes)


def _size(mirror: Mirror, oids: Sequence[str]) -> int:
    stdin = "".join(f"{oid}\n" for oid in oids).encode()
    out = mirror.git.text("cat-file", "--batch-check=%(objectsize)", stdin=stdin) if oids else ""
    return sum(int(line) for line in out.splitlines() if line.isdigit())


_Range = tuple[int, int, int, int]
"""Start and number of lines before, start and number after; from 0."""


def _ranges(mirror: Mirror, step: Way) -> dict[bytes, list[_Range]]:
    """Return the hunks of each file that is text, by its path afterwards."""
    out = mirror.git.run(
        "-c", _BIG_FILE, "diff-tree", "-r", "-p", "-U0", "-M", "--diff-algorithm=histogram", "--no-indent-heuristic",
        "--no-prefix", "--no-ext-diff", "--no-textconv", step.theirs, step.base, "--",
    ).out  # fmt: skip
    found: dict[bytes, list[_Range]] = {}
    left, path = 0, b""
    for line in out.split(b"\n"):
        if left:
            left -= not line.startswith(b"\\")
        elif line.startswith(b"+++ "):
            path = raw(line.removeprefix(b"+++ ").removesuffix(b"\t").decode("utf-8", "surrogateescape"))
        elif hunk := _HUNK.match(line):
            a, b, c, d = int(hunk[1]), int(hunk[2] or 1), int(hunk[3]), int(hunk[4] or 1)
            found.setdefault(path, []).append((a - (b > 0), b, c - (d > 0), d))
            left = b + d
    return found


def _hunks(change: FileChange, ranges: Sequence[_Range]) -> Iterator[Part]:
    """Yield the hunks of a file, split where a new block begins.

    What was there before belongs to the block that is most like it; the others are additions.
    """
    before, after = lines(change.before), lines(change.text)
    offsets = [0]
    for line in after:
        offsets.append(offsets[-1] + len(line))
    spans = []
    for old, removed, new, added in ranges:
        back = b"".join(before[old : old + removed])
        starts = [new + start for start in _blocks(after[new : new + added], follows=removed > 0)]
        blocks = list(zip(starts, [*starts[1:], new + added], strict=True))
        likest = max(blocks, key=lambda block: _alike(b"".join(after[block[0] : block[1]]), back))
        spans += [(start, end, back if (start, end) == likest else b"") for start, end in blocks]
    for number, (start, end, back) in enumerate(spans, 1):
        yield Part(
            f"{change.name}#{number}", shown(change.path), PartKind.HUNK, change.name, start + 1,
            b"".join(after[start:end]), back, change.old is None, (offsets[start], offsets[end]),
        )  # fmt: skip


def _blocks(text: Sequence[bytes], *, follows: bool) -> list[int]:
    """Return at which lines a block begins: behind blank ones, with as little indentation as any has.

    The blank lines go with the block behind them if the text ``follows`` something or begins with some, else with the
    one before: so whichever block is taken away, the others are as far apart as they were.
    """
    indents = [len(line) - len(line.lstrip()) for line in text if line.strip()]
    least = min(indents, default=0)
    leads = follows or bool(text and not text[0].strip())
    starts, blank, begun = [0], 0, False
    for number, line in enumerate(text):
        if not line.strip():
            blank += begun
            continue
        # What begins with a closing bracket goes on with what is there.
        if blank and len(line) - len(line.lstrip()) == least and line.lstrip()[:1] not in b")]}":
            starts.append(number - blank if leads else number)
        blank, begun = 0, True
    return starts


def _alike(one: bytes, other: bytes) -> int:
    return (Counter(tokens(one)) & Counter(tokens(other))).total()
