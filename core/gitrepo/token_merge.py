"""Three-way merges within the line: by words, numbers, signs and spaces, where a merge of whole lines conflicts.

The same idea as Jujutsu's ``merge.hunk-level = "word"``; the three-way merge is diff3's (Khanna, Kunal, Pierce: A
Formal Investigation of Diff3, 2007). Every change of either side is in what results, or there is no result. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from ..text import clean

_TOKEN = re.compile(rb"[A-Za-z0-9_\x80-\xff]+|\r?\n|[ \t\f\v]+|.", re.DOTALL)
_LINE_START = re.compile(rb"(?<=\n)")
_WORD = re.compile(rb"[A-Za-z0-9_\x80-\xff]")
MOST_TOKENS = 4_000
"""In a longer text tokens are not compared: time grows with the square, and so does the risk of a chance likeness."""
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Edit:
    """``new`` in place of what lies from ``start`` up to ``end``, counted in whatever the two texts were split into."""

    start: int
    end: int
    new: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class TokenMerge:
    """What came of a merge: the text, or why there is none in one readable line."""

    text: bytes | None
    conflict: str = ""


def tokens(text: bytes) -> list[bytes]:
    """Return ``text`` in pieces: words with their digits, runs of spaces, line ends, and every other byte by itself.

    Bytes above 0x7f belong to words, so that no character of UTF-8 is split.
    """
    return _TOKEN.findall(text)


def token_edits(old: bytes, new: bytes) -> list[Edit]:
    """Return what turns the tokens of ``old`` into those of ``new``, in order, no two of them touching.

    Lines are matched first, then tokens in what is left. Where two changes have only spaces and signs between them
    that are shorter than either, they are one change (the *semantic cleanup* of Fraser's diff-match-patch): else signs
    that are alike by chance would hold pieces together that have nothing to do with one another. One word for one word
    on either side is no chance: ``a & b`` and ``x & y`` are the same but for their words.
    """
    old_lines, new_lines = lines(old), lines(new)
    edits: list[Edit] = []
    position = done = 0
    for edit in sequence_edits(old_lines, new_lines):
        position += sum(len(tokens(line)) for line in old_lines[done : edit.start])
        before, after = tokens(b"".join(old_lines[edit.start : edit.end])), tokens(b"".join(edit.new))
        edits += [Edit(e.start + position, e.end + position, e.new) for e in sequence_edits(before, after)]
        position += len(before)
        done = edit.end
    return _cleaned(tokens(old), edits)


def sequence_edits(old: Sequence[bytes], new: Sequence[bytes]) -> list[Edit]:
    """Return what turns ``old`` into ``new``, in order, no two of them touching."""
    if len(old) + len(new) > MOST_TOKENS:
        return [Edit(0, len(old), tuple(new))] if list(old) != list(new) else []
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    return [Edit(a, b, tuple(new[c:d])) for tag, a, b, c, d in matcher.get_opcodes() if tag != "equal"]


def merge_tokens(base: bytes, ours: bytes, theirs: bytes, *, deleted_stays: bool = False) -> TokenMerge:
    """Merge two texts that both came of ``base``.

    It conflicts where both sides changed the same token, not alike, and where both put something in at one place: in
    which order it belongs would be a guess. Changes that only touch do not. Symmetric in ``ours`` and ``theirs``.

    ``deleted_stays``: what theirs changed within lines that ours deleted whole is gone with them, and no conflict.
    """
    if ours in (theirs, base):
        return TokenMerge(theirs)
    if theirs == base:
        return TokenMerge(ours)
    parts = tokens(base)
    ours_edits, theirs_edits = token_edits(base, ours), token_edits(base, theirs)
    if deleted_stays:
        theirs_edits = _without_deleted(parts, ours_edits, theirs_edits)
    for mine in ours_edits:
        for other in theirs_edits:
            if mine != other and _overlap(mine, other):
                return TokenMerge(None, _conflict(parts, mine, other))
    every = sorted({*ours_edits, *theirs_edits}, key=lambda edit: (edit.start, edit.end))
    return TokenMerge(applied(parts, every))


def applied(parts: Sequence[bytes], edits: Sequence[Edit]) -> bytes:
    """Return ``parts`` with ``edits``, which are in order and do not overlap."""
    pieces: list[bytes] = []
    position = 0
    for edit in edits:
        pieces += [*parts[position : edit.start], *edit.new]
        position = edit.end
    return b"".join([*pieces, *parts[position:]])


def lines(text: bytes) -> list[bytes]:
    """Return the lines with their ends, as git counts them: only a line feed ends one."""
    return [line for line in _LINE_START.split(text) if line]


def merge_conflicts(marked: bytes, size: int, *, deleted_stays: bool = False) -> TokenMerge:
    """Merge what git could not: ``marked`` is its answer in diff3 style, with markers of ``size`` signs.

    What git merged stays as it is. See `merge_tokens` for ``deleted_stays``.
    """
    pieces: list[bytes] = []
    for piece in _pieces(marked, size):
        if isinstance(piece, bytes):
            pieces.append(piece)
            continue
        merged = merge_tokens(*piece, deleted_stays=deleted_stays)
        if merged.text is None:
            return merged
        pieces.append(merged.text)
    return TokenMerge(b"".join(pieces))


def _pieces(marked: bytes, size: int) -> Iterator[bytes | tuple[bytes, bytes, bytes]]:
    """Yield what is merged, and (base, ours, theirs) of each conflict."""
    signs = re.compile(rb"(?:<{%d}|\|{%d}|={%d}|>{%d})(?: [^\n]*)?\r?\n" % (size, size, size, size))
    sides: list[list[bytes]] = [[]]
    for line in lines(marked):
        if not signs.fullmatch(line):
            sides[-1].append(line)
        elif line.startswith(b">"):
            ours, base, theirs = (b"".join(side) for side in sides[1:])
            yield base, ours, theirs
            sides = [[]]
        else:
            if line.startswith(b"<"):
                yield b"".join(sides.pop())
                sides.append([])
            sides.append([])
    yield b"".join(sides[0])


def _overlap(one: Edit, other: Edit) -> bool:
    if one.start == other.start and one.end == other.end:
        return True
    return one.start < other.end and other.start < one.end


def _without_deleted(parts: Sequence[bytes], ours: Sequence[Edit], theirs: Sequence[Edit]) -> list[Edit]:
    """Return ``theirs`` without changes of words within lines that ``ours`` deletes whole."""
    gone: set[Edit] = set()
    for mine in ours:
        starts_line = mine.start == 0 or parts[mine.start - 1].endswith(b"\n")
        if mine.new or not starts_line or not parts[mine.end - 1].endswith(b"\n"):
            continue
        near = [edit for edit in theirs if edit.start <= mine.end and edit.end >= mine.start]
        if all(mine.start <= edit.start < edit.end <= mine.end and _within_line(parts, edit) for edit in near):
            gone.update(near)
    return [edit for edit in theirs if edit not in gone]


def _within_line(parts: Sequence[bytes], edit: Edit) -> bool:
    return not any(word.endswith(b"\n") for word in (*parts[edit.start : edit.end], *edit.new))


def _cleaned(parts: Sequence[bytes], edits: Sequence[Edit]) -> list[Edit]:
    found: list[Edit] = []
    for edit in edits:
        between = parts[found[-1].end : edit.start] if found else []
        if found and (not between or _is_chance(parts, between, found[-1], edit)):
            found[-1] = Edit(found[-1].start, edit.end, (*found[-1].new, *between, *edit.new))
        else:
            found.append(edit)
    return found


def _is_chance(parts: Sequence[bytes], between: Sequence[bytes], one: Edit, other: Edit) -> bool:
    text = b"".join(between)
    if _WORD.search(text) or b"\n" in text or (not text.isspace() and all(_is_word(parts, e) for e in (one, other))):
        return False
    return len(text) <= min(_size(parts, one), _size(parts, other))


def _is_word(parts: Sequence[bytes], edit: Edit) -> bool:
    """Return whether one word takes the place of one word."""
    return all(len(side) == 1 and _WORD.match(side[0]) for side in (parts[edit.start : edit.end], edit.new))


def _size(parts: Sequence[bytes], edit: Edit) -> int:
    return max(len(b"".join(parts[edit.start : edit.end])), len(b"".join(edit.new)))


def _conflict(parts: Sequence[bytes], mine: Edit, other: Edit) -> str:
    start, end = min(mine.start, other.start), max(mine.end, other.end)
    words = [_text(parts[start:end]), *sorted({_text(mine.new), _text(other.new)})]
    return f"the same words were changed in two ways: {words[0]} to {' and to '.join(words[1:])}"


def _text(words: Sequence[bytes]) -> str:
    text = clean(b"".join(words).decode("utf-8", "replace"), limit=_SHOWN)
    return f"'{text}'" if text else "nothing"
