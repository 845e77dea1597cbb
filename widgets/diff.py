"""Diffs for reading: a heading with the numbers for each file, then its lines, coloured by what they do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from . import figures
from .line_view import TextLines
from .spans import Line, Span, line, safe, width
from .view import Unpicking, View

_HUNK = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_WITHIN = frozenset({"", " ", "+", "-", "\\"})
"""What a line within a hunk begins with; any other ends the hunk, whatever its numbers say: a diff may be cut off."""
_NOTABLE = ("new file", "deleted file", "rename ", "copy ", "old mode", "new mode", "Binary files", "GIT binary")


@dataclass(frozen=True, slots=True)
class FileDiff:
    """The part of a diff that is about one file."""

    path: str
    added: int
    removed: int
    lines: tuple[tuple[str, str], ...]
    """(text, meaning)"""


@lru_cache(maxsize=16)
def parse(text: str) -> tuple[FileDiff, ...]:
    """Return the files of a unified diff as git writes it; other text becomes one file without a name.

    Within a hunk its own numbers say how long it is, so that a removed line ``-- x`` is not taken for a heading.
    """
    files: list[FileDiff] = []
    path, lines, added, removed = "", list[tuple[str, str]](), 0, 0
    old_left = new_left = 0

    def close() -> None:
        if path or lines:
            files.append(FileDiff(path, added, removed, tuple(lines)))

    for raw in text.split("\n"):
        if (old_left > 0 or new_left > 0) and raw[:1] in _WITHIN:
            if raw.startswith("+"):
                new_left, added = new_left - 1, added + 1
                lines.append((raw, "added"))
            elif raw.startswith("-"):
                old_left, removed = old_left - 1, removed + 1
                lines.append((raw, "removed"))
            elif raw.startswith("\\"):
                lines.append((raw, "muted"))
            else:
                old_left, new_left = old_left - 1, new_left - 1
                lines.append((raw, ""))
            continue
        old_left = new_left = 0
        hunk = _HUNK.match(raw)
        if raw.startswith("diff --git "):
            close()
            path, lines, added, removed = _path(raw), [], 0, 0
        elif hunk:
            old_left, new_left = (int(count) if count is not None else 1 for count in hunk.groups())
            lines.append((raw, "hunk"))
        elif raw.startswith(("index ", "--- ", "+++ ", "similarity ")):
            if raw.startswith("+++ ") and not raw.endswith("/dev/null"):
                path = _bare(raw[4:]) or path
        elif raw.startswith((*_NOTABLE, "\\")):
            lines.append((raw, "muted"))
        elif raw:
            lines.append((raw, ""))
    close()
    return tuple(files)


def _path(heading: str) -> str:
    """Return the new path of ``diff --git a/PATH b/PATH``."""
    rest = heading.removeprefix("diff --git ")
    if rest.endswith('"'):
        return _bare(rest[rest.rfind(' "') + 1 :])
    half = len(rest) // 2
    return _bare(rest[half + 1 :] if rest[:half][2:] == rest[half + 1 :][2:] else rest.rpartition(" b/")[2])


def _bare(name: str) -> str:
    """Return a path without git's ``b/``; a quoted one keeps its quotes."""
    name = name.removesuffix("\t")
    if name.startswith('"b/'):
        return '"' + name[3:]
    return name.removeprefix("b/")


def totals(text: str) -> tuple[int, int]:
    """Return how many lines a diff adds and removes."""
    files = parse(text)
    return sum(file.added for file in files), sum(file.removed for file in files)


def numbers(added: int, removed: int) -> str:
    """Return ``+3 −1``."""
    return f"+{added:,} −{removed:,}"


def diff_lines(text: str, cells: int) -> list[Line]:
    """Return a diff as lines; each file begins with a rule of ``cells`` cells that names it."""
    lines: list[Line] = []
    for file in parse(text):
        if file.path:
            name = f"─ {safe(file.path)} "
            count = f" {numbers(file.added, file.removed)} "
            rule = "─" * max(cells - width(name) - width(count), 0)
            lines.append((Span(name, "strong"), Span(rule, "frame"), Span(count, "strong")))
        lines += [line(text, style) for text, style in file.lines]
    return lines


def file_starts(text: str) -> list[int]:
    """Return the numbers of the lines of `diff_lines` at which files begin."""
    starts, at = [], 0
    for file in parse(text):
        starts.append(at)
        at += len(file.lines) + bool(file.path)
    return starts


class DiffView(TextLines):
    """Shows one diff; long lines scroll sideways."""

    def __init__(self, *, id: str = "diff") -> None:  # noqa: A002 - Textual's word
        """Take the id."""
        super().__init__(id=id, focusable=True)
        self._text = ""
        self._fallback: Sequence[Line] = ()
        self._painted: tuple[str, int, Sequence[Line]] | None = None

    def show_diff(self, text: str, otherwise: str = "nothing is changed in the code") -> None:
        """Show ``text``; ``otherwise`` where it is empty."""
        self._text, self._fallback = text, [line(otherwise, "muted")]
        self._draw()

    def _draw(self) -> None:
        key = (self._text, self.cells, self._fallback)
        if key == self._painted:
            return
        self._painted = key
        if self._text.strip():
            self.show_lines(diff_lines(self._text, max(self.cells, 20)), fixed=True)
        else:
            self.show_lines(self._fallback)

    def on_resize(self, event: object) -> None:
        """Draw the rules for the new width."""
        self._draw()

    def action_file(self, by: int) -> None:
        """Scroll to the next or the last file."""
        starts = file_starts(self._text)
        top = self.scroll_offset.y
        wanted = [at for at in starts if (at > top if by > 0 else at < top)]
        if wanted:
            self.scroll_to(y=wanted[0] if by > 0 else wanted[-1], animate=False)


class DiffPanel(Unpicking, DiffView):
    """The diff of the option picked."""

    def __init__(self, *, id: str = "diff") -> None:  # noqa: A002 - Textual's word
        """Take the id."""
        super().__init__(id=id)
        self._title = "Diff"

    def show(self, view: View) -> None:
        """See `Panel.show`."""
        picked = view.option_view
        if picked is None:
            self._title = "Diff"
            self.show_diff("", "no option is picked")
            return
        added, removed = totals(picked.plan.diff)
        self._title = f"Diff of {picked.option.id}  {numbers(added, removed)}" if picked.plan.diff else "Diff"
        self.show_diff(picked.plan.diff, f"{picked.option.type.value} changes no code")

    def title(self) -> Line:
        """See `Panel.title`."""
        return (Span(self._title),)

    def wanted(self) -> int:
        """See `Panel.wanted`."""
        return min(self.total(), 40) if self._text.strip() else 0


def diff_summary(text: str) -> str:
    """Return ``calc.py +1 −1``, or ``3 files +10 −2``."""
    files = parse(text)
    if not files:
        return "no code"
    added, removed = totals(text)
    what = files[0].path if len(files) == 1 and files[0].path else figures.count(len(files), "file")
    return f"{what} {numbers(added, removed)}"
