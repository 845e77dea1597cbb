"""Text in cells: what a panel's line is made of, cut and filled to an exact width, safe for a terminal."""

from __future__ import annotations

from typing import NamedTuple

from rich.cells import cell_len, chop_cells, split_graphemes

from ..core.text import clean_lines


class Span(NamedTuple):
    """A piece of a line: its text and the meaning that gives its style (`rollcage.themes.looks.MEANINGS`)."""

    text: str
    style: str = ""


Line = tuple[Span, ...]
"""One line of a panel. Lines compare equal where nothing is to be redrawn."""

EMPTY: Line = ()


def line(text: str, style: str = "") -> Line:
    """Return a line of one span."""
    return (Span(text, style),)


def safe(text: str) -> str:
    """Return ``text`` as one line that a terminal only prints.

    The board's text is clean already; this is the second lock on the door, and cheap: text that is printable
    throughout passes untouched. Variation selectors go, because terminals disagree about their width.
    """
    if text.isprintable():
        return text if text.isascii() else _no_selectors(text)
    cleaned = clean_lines(text, limit=len(text)).replace("\n", " ")
    return _no_selectors("".join(char if char.isprintable() else " " if char.isspace() else "" for char in cleaned))


def _no_selectors(text: str) -> str:
    return text.replace("\ufe0e", "").replace("\ufe0f", "")


def width(text: str) -> int:
    """Return how many cells ``text`` takes."""
    return len(text) if text.isascii() else cell_len(text)


def cut(text: str, cells: int) -> str:
    """Return ``text`` in at most ``cells`` cells; what is cut off shows as ``…``."""
    if cells <= 0:
        return ""
    text = safe(text[: cells * 8 + 64])  # what is behind cannot be seen, however many marks stand on each letter
    if width(text) <= cells:
        return text
    if text.isascii():
        return text[: cells - 1] + "…"
    kept, room = 0, cells - 1
    for _start, end, size in split_graphemes(text)[0]:
        if size > room:
            break
        room -= size
        kept = end
    return text[:kept] + "…"


def fit(text: str, cells: int, *, right: bool = False) -> str:
    """Return ``text`` in exactly ``cells`` cells: cut, or filled with spaces on the left where ``right``."""
    text = cut(text, cells)
    fill = " " * (cells - width(text))
    return fill + text if right else text + fill


def line_width(spans: Line) -> int:
    """Return how many cells a line takes."""
    return sum(width(span.text) for span in spans)


def cut_line(spans: Line, cells: int) -> Line:
    """Return ``spans`` in at most ``cells`` cells, ending in ``…`` where something was cut off."""
    if line_width(spans) <= cells:
        return spans
    room, kept = cells, []
    for span in spans:
        size = width(span.text)
        if size < room:
            kept.append(span)
            room -= size
            continue
        # One cell more than there is room for makes `cut` add the mark even where this span alone would fit.
        kept.append(Span(cut(span.text + " …", room), span.style))
        break
    return tuple(kept)


def both_ends(left: Line, right: Line, cells: int) -> Line:
    """Return one line with ``left`` at its start and ``right`` at its end; ``left`` is cut where they would meet."""
    room = cells - line_width(right) - 1
    if room < 1:
        return cut_line(left, cells)
    left = cut_line(left, room)
    return (*left, Span(" " * (cells - line_width(left) - line_width(right))), *right)


def wrap(text: str, cells: int) -> list[str]:
    """Return ``text`` broken at spaces into lines of at most ``cells`` cells; longer words are broken anywhere."""
    lines: list[str] = []
    current = ""
    for word in safe(text).split():
        candidate = f"{current} {word}" if current else word
        if width(candidate) <= cells:
            current = candidate
            continue
        if current:
            lines.append(current)
        *whole, current = chop_cells(word, max(cells, 2))
        lines += whole
    if current or not lines:
        lines.append(current)
    return lines


def changed_cells(old: Line, new: Line) -> tuple[int, int]:
    """Return the cells from..to (exclusive) in which two lines differ; ``(0, 0)`` where they are equal."""
    if old == new:
        return 0, 0
    start = 0
    for before, after in zip(old, new, strict=False):
        if before != after:
            break
        start += width(after.text)
    end = old_end = 0
    for before, after in zip(reversed(old), reversed(new), strict=False):
        if before != after:
            break
        end += width(after.text)
    old_end = line_width(old) - end
    new_end = line_width(new) - end
    if line_width(old) != line_width(new):
        return start, max(line_width(old), line_width(new))
    return start, max(old_end, new_end, start + 1)
